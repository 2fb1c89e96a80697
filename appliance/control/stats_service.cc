#include "appliance/control/stats_service.h"

#include <algorithm>
#include <utility>

#include "appliance/stats/process_stats.h"
#include "appliance/stats/prometheus.h"

namespace bivalve::appliance {

StatsService::StatsService(core::Loop& loop, core::Mailbox& mailbox, const std::vector<Worker*>& workers,
                           const AccountingCheck& accounting, const ReportOutlet& reports,
                           StatsReport::About about)
    : workers_(workers),
      accounting_(accounting),
      reports_(reports),
      about_(std::move(about)),
      lister_(loop, mailbox, workers) {
  about_.process_started = ProcessStartTime();
  about_.started = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::vector<HttpServer::Route> StatsService::Routes() {
  using Query = std::string_view;
  return {
      {"/stats", [this](Query query) { return Stats(query); }},
      {"/metrics", [this](Query) { return Metrics(); }},
      {"/sessions", [this](Query query) { return Sessions(query); }},
      {"/healthz", [this](Query) { return Health(); }},
      {"/readyz", [this](Query) { return Readiness(); }},
  };
}

StatsReport StatsService::Report() const {
  StatsReport::About about = about_;
  about.accounting_violations = accounting_.violations();
  about.not_kept = reports_.not_kept();
  about.uptime_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  about.process = ReadProcessStats();
  std::vector<const WorkerStats*> stats;
  for (const Worker* worker : workers_) stats.push_back(&worker->stats());
  return StatsReport(std::move(about), stats);
}

std::string StatsService::ScannerVersion(std::string_view scanner) const {
  const auto found = std::ranges::find(about_.scanners, scanner);
  const auto index = static_cast<size_t>(found - about_.scanners.begin());
  if (found == about_.scanners.end()) return {};
  const size_t row = about_.scanner_rows.empty() ? index : about_.scanner_rows[index];
  for (const Worker* worker : workers_) {
    if (row >= worker->stats().scanners.size()) continue;
    if (std::string version = worker->stats().scanners[row]->version.Get(); !version.empty()) return version;
  }
  return {};
}

core::Task<HttpResponse> StatsService::Stats(std::string_view query) const {
  const bool with_buckets = FindQueryValue(query, "buckets") == "1";
  HttpResponse response = {.content_type = "application/json", .body = Report().Json(with_buckets)};
  co_return response;
}

core::Task<HttpResponse> StatsService::Metrics() const {
  HttpResponse response = {.content_type = std::string(PrometheusText::kContentType),
                           .body = Report().Prometheus()};
  co_return response;
}

core::Task<HttpResponse> StatsService::Sessions(std::string_view query) {
  HttpResponse response = {.content_type = "application/json"};
  response.body = co_await lister_.List(SessionLimit(query));
  co_return response;
}

core::Task<HttpResponse> StatsService::Health() const {
  HttpResponse response = {.body = "ok\n"};
  co_return response;
}

core::Task<HttpResponse> StatsService::Readiness() const {
  HttpResponse response = {.body = "ready\n"};
  if (stopping_) {
    response = {.status = 503, .body = "stopping\n"};
  } else if (!Report().AnyScannerUp()) {
    response = {.status = 503, .body = "no scanner answers\n"};
  }
  co_return response;
}

}  // namespace bivalve::appliance
