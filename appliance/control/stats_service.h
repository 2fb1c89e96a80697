// StatsService: makes the responses for the paths of the statistics address. Control thread only. It reads
// the workers' counters and asks the workers about their running sessions.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/control/http_server.h"
#include "appliance/control/session_lister.h"
#include "appliance/stats/accounting.h"
#include "appliance/stats/stats_report.h"
#include "appliance/viruses/virus_report.h"
#include "appliance/worker/worker.h"
#include "core/loop.h"
#include "core/mailbox.h"
#include "core/task.h"

namespace bivalve::appliance {

class StatsService {
 public:
  // `workers` may grow until the first request. `mailbox`: this thread's. All outlive the service.
  StatsService(core::Loop& loop, core::Mailbox& mailbox, const std::vector<Worker*>& workers,
               const AccountingCheck& accounting, const ReportOutlet& reports, StatsReport::About about);

  // What the statistics say about the service as a whole; may change between requests.
  StatsReport::About& about() { return about_; }
  StatsReport Report() const;
  // The scanner's version as it last told any worker; empty if it is not known or the scanner is no longer
  // configured.
  std::string ScannerVersion(std::string_view scanner) const;

  // The routes for HttpServer. The service outlives the server.
  std::vector<HttpServer::Route> Routes();
  // From now on /readyz says that no mail is accepted.
  void SetStopping() { stopping_ = true; }

 private:
  core::Task<HttpResponse> Stats(std::string_view query) const;
  core::Task<HttpResponse> Metrics() const;
  core::Task<HttpResponse> Sessions(std::string_view query);
  core::Task<HttpResponse> Health() const;
  core::Task<HttpResponse> Readiness() const;

  const std::vector<Worker*>& workers_;
  const AccountingCheck& accounting_;
  const ReportOutlet& reports_;
  StatsReport::About about_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  SessionLister lister_;
  bool stopping_ = false;
};

}  // namespace bivalve::appliance
