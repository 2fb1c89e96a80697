#include "appliance/control/live_settings.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>
#include <variant>

#include "appliance/process/config_check.h"
#include "appliance/process/machine.h"
#include "appliance/process/service_notify.h"
#include "appliance/settings/config_changes.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

// The limits of a scanner on this machine, from its own clamd.conf; unknown if that cannot be found.
scan::ScannerLimits LimitsOfScanner(const net::Endpoint& endpoint) {
  const auto* address = std::get_if<net::SocketAddress>(&endpoint);
  if (address == nullptr) return {};
  const bool local = address->family() == AF_UNIX;
  if (!local && address->Host() != "127.0.0.1" && address->Host() != "::1") return {};
  const std::optional<scan::FoundClamdConf> found =
      local ? scan::FindClamdConf(address->ToString(), 0) : scan::FindClamdConf("", address->port());
  return found.has_value() ? found->conf.limits : scan::ScannerLimits();
}

std::string Joined(const std::vector<std::string_view>& names) {
  std::string text;
  for (const std::string_view name : names) core::Append(text, text.empty() ? "" : ", ", name);
  return text;
}

}  // namespace

std::vector<scan::ScannerLimits> LimitsOfScanners(const Config& config) {
  std::vector<scan::ScannerLimits> limits;
  for (const net::Endpoint& endpoint : config.clam_address) limits.push_back(LimitsOfScanner(endpoint));
  return limits;
}

std::vector<std::string> QueueWarnings(const Config& config, const std::vector<scan::ScannerLimits>& limits,
                                       size_t workers) {
  std::vector<std::string> warnings;
  for (size_t i = 0; i < limits.size(); ++i) {
    const uint32_t share = scan::ShareOfQueue(limits[i], workers);
    if (share == 0 || uint64_t{2} * config.clam_connections * workers < limits[i].queue_max) continue;
    warnings.push_back(core::Cat("ClamConnections: ", config.clam_connections, " for each of ", workers,
                                 " workers are not below half of the MaxQueue (", limits[i].queue_max,
                                 ") of ", net::ToString(config.clam_address[i]), "; each will hold ",
                                 std::min(share, config.clam_connections)));
  }
  return warnings;
}

Parsed LoadConfig(const CommandLine& command_line) {
  absl::StatusOr<std::string> text = ReadConfigFile(command_line.config_file);
  if (text.ok()) {
    return ParseConfig(*text, command_line.config_file, command_line.program, command_line.overrides);
  }
  Parsed parsed = {};
  Problem problem;
  problem.text = std::string(text.status().message());
  parsed.problems.push_back(std::move(problem));
  return parsed;
}

LiveSettings::Names LiveSettings::NamesOf(const Config& config) {
  Names found;
  for (const auto* endpoints : {&config.out_address, &config.clam_address}) {
    for (size_t i = 0; i < endpoints->size(); ++i) {
      const auto* name = std::get_if<net::HostName>(&(*endpoints)[i]);
      if (name == nullptr) continue;
      found.names.push_back(*name);
      found.endpoints.push_back(i);
    }
    if (endpoints == &config.out_address) found.of_servers = found.names.size();
  }
  return found;
}

uint64_t LiveSettings::body_memory_bytes() const {
  return config_.body_memory_bytes != 0 ? config_.body_memory_bytes : DefaultBodyMemory();
}

absl::Status LiveSettings::Begin(Config config, size_t workers, bool listen_is_void) {
  listen_is_void_ = listen_is_void;
  config_ = std::move(config);
  workers_count_ = workers;
  listeners_count_ = std::max(config_.listen.size(), size_t{1});
  Addresses found;
  for (const net::HostName& name : NamesOf(config_).names) found.push_back(AddressesOf(name));
  return Make(found);
}

// Makes the objects for the workers from config_.
absl::Status LiveSettings::Make(const Addresses& found) {
  absl::StatusOr<HeaderTemplate> header = HeaderTemplate::Compile(config_.header);
  if (!header.ok()) return header.status();
  const uint32_t carried = RaiseDescriptorLimit(config_.connections_max);
  const bool news = shared_.connections_max.exchange(carried) != carried;
  if (carried < config_.connections_max && news) {
    callbacks_.say(Severity::kWarning,
                   core::Cat("MaxConnections: the descriptor limit carries ", carried, " connections, not ",
                             config_.connections_max, "; raise it (ulimit -n)"));
  }
  if (config_.connections_per_client_max != 0 && shared_.client_counts == nullptr)
    shared_.client_counts = std::make_unique<ClientCounts>();

  scanner_names_.clear();
  scanner_rows_.clear();
  for (const net::Endpoint& endpoint : config_.clam_address) {
    scanner_names_.push_back(net::ToString(endpoint));
    const auto row = std::find_if(rows_.begin(), rows_.end(), [this](const net::Endpoint& one) {
      return net::ToString(one) == scanner_names_.back();
    });
    scanner_rows_.push_back(static_cast<size_t>(row - rows_.begin()));
    if (row != rows_.end()) continue;
    const std::lock_guard lock(rows_mutex_);
    rows_.push_back(endpoint);
  }

  const std::vector<scan::ScannerLimits> limits = LimitsOfScanners(config_);
  for (const std::string& warning : QueueWarnings(config_, limits, workers_count_))
    callbacks_.say(Severity::kWarning, warning);
  const Names names = NamesOf(config_);
  by_worker_.clear();
  for (size_t i = 0; i < workers_count_; ++i) {
    WorkerSettings worker;
    worker.config = config_;
    const auto sessions = std::make_shared<SessionSettings>();
    sessions->config = config_;
    sessions->header = *header;
    sessions->servers = AddressList(config_.out_address);
    worker.sessions.assign(listeners_count_, sessions);
    worker.scanner_addresses = std::make_shared<AddressList>(config_.clam_address);
    for (size_t n = 0; n < found.size(); ++n) {
      AddressList& list = n < names.of_servers ? sessions->servers : *worker.scanner_addresses;
      list.Set(names.endpoints[n], found[n]);
    }
    worker.scanner_limits = limits;
    worker.scanner_rows = scanner_rows_;
    worker.body_memory_bytes = body_memory_bytes() / workers_count_;
    by_worker_.push_back(std::move(worker));
  }
  for (size_t n = 0; n < found.size(); ++n) {
    if (!found[n].empty()) continue;
    callbacks_.say(Severity::kWarning,
                   core::Cat("'", names.names[n].name, "' cannot be looked up; it is tried again and again"));
  }
  return absl::OkStatus();
}

scan::ScannerLimits LiveSettings::LimitsOfRow(size_t row) const {
  std::optional<net::Endpoint> endpoint;
  {
    const std::lock_guard lock(rows_mutex_);
    if (row < rows_.size()) endpoint = rows_[row];
  }
  return endpoint.has_value() ? LimitsOfScanner(*endpoint) : scan::ScannerLimits();
}

void LiveSettings::Follow(std::vector<Worker*> workers) {
  workers_ = std::move(workers);
  Watch();
}

// The addresses of a name go into the lists that were made for it, even if those are no longer in use.
void LiveSettings::Watch() {
  resolver_ = std::make_unique<Resolver>();
  const Names names = NamesOf(config_);
  for (size_t n = 0; n < names.names.size(); ++n) {
    const size_t endpoint = names.endpoints[n];
    const bool server = n < names.of_servers;
    resolver_->Watch(names.names[n], [workers = workers_, lists = by_worker_, endpoint,
                                      server](const std::vector<net::SocketAddress>& addresses) {
      for (size_t i = 0; i < workers.size(); ++i) {
        const WorkerSettings& one = lists[i];
        workers[i]->Post(
            [sessions = one.sessions, scanners = one.scanner_addresses, endpoint, server, addresses] {
              if (!server) scanners->Set(endpoint, addresses);
              for (const auto& settings : sessions) {
                if (server) settings->servers.Set(endpoint, addresses);
              }
            });
      }
    });
  }
  resolver_->Start();
}

void LiveSettings::Reload() {
  if (stopped_) return;
  if (reading_) {
    again_ = true;
    return;
  }
  NotifyReloading();
  Parsed parsed = LoadConfig(command_line_);
  if (parsed.ok()) std::ranges::move(Surroundings(parsed), std::back_inserter(parsed.problems));
  if (!Report(parsed.problems) || !KeepAndCheck(parsed)) return;
  const Names names = NamesOf(parsed.config);
  if (names.names.empty()) {
    Apply(std::move(parsed.config), {});
    return;
  }
  reading_ = true;
  look_up_ = std::make_unique<NameLookUp>(names.names,
                                          [this, fresh = std::move(parsed.config)](Addresses addresses) {
                                            callbacks_.post([this, fresh, addresses = std::move(addresses)] {
                                              if (stopped_) return;
                                              reading_ = false;
                                              Apply(fresh, addresses);
                                              if (std::exchange(again_, false)) Reload();
                                            });
                                          });
}

std::vector<Problem> LiveSettings::Surroundings(const Parsed& parsed) const {
  const Situation situation{
      .stage = Situation::Stage::kReload, .listen_is_void = listen_is_void_, .in_force = &config_};
  return CheckSurroundings(parsed, command_line_.config_file, situation);
}

// Logs a line for each problem. Returns false if the file is not taken.
bool LiveSettings::Report(const std::vector<Problem>& problems) {
  const Problem* first = nullptr;
  for (const Problem& problem : problems) {
    const bool warning = problem.kind == Problem::Kind::kWarning;
    callbacks_.say(warning ? Severity::kWarning : Severity::kError,
                   core::Cat(warning ? "warning: " : "", ToString(problem)));
    if (!warning && first == nullptr) first = &problem;
  }
  if (first != nullptr) Fail(ToString(*first));
  return first == nullptr;
}

// Settings that cannot change keep their values; the rest of the file must be valid together with them.
bool LiveSettings::KeepAndCheck(Parsed& parsed) {
  Config& fresh = parsed.config;
  const Changes changes = ChangesOf(config_, fresh);
  if (!changes.at_next_start.empty()) {
    callbacks_.say(Severity::kWarning,
                   core::Cat("cannot change while the program runs, and stay as they were: ",
                             Joined(changes.at_next_start)));
  }
  KeepWhatCannotChange(config_, fresh);
  const std::vector<std::string_view> missing = MissingSettings(fresh);
  if (missing.empty()) {
    if (changes.at_next_start.empty()) return true;
    // Warnings were already logged.
    std::vector<Problem> problems = Surroundings(parsed);
    std::erase_if(problems, [](const Problem& one) { return one.kind == Problem::Kind::kWarning; });
    return Report(problems);
  }
  Fail(core::Cat(
      command_line_.config_file, ": ", missing.front(),
      ": is required as long as the settings are in force that cannot change while the program runs"));
  return false;
}

void LiveSettings::Apply(Config fresh, const Addresses& found) {
  const std::string changed = Joined(ChangesOf(config_, fresh).now);
  Config before = std::exchange(config_, std::move(fresh));
  if (const absl::Status status = Make(found); !status.ok()) {
    config_ = std::move(before);
    Fail(std::string(status.message()));
    return;
  }
  resolver_.reset();
  for (size_t i = 0; i < workers_.size(); ++i) workers_[i]->Change(by_worker_[i]);
  Watch();
  ++reloads_.count;
  reloads_.last_error.clear();
  reloads_.time = std::chrono::system_clock::now();
  callbacks_.changed();
  callbacks_.say(Severity::kNotice,
                 changed.empty() ? "the configuration was read again; nothing has changed"
                                 : core::Cat("the configuration was read again: ", changed,
                                             changed.find(',') == std::string::npos ? " has a new value"
                                                                                    : " have new values"));
  NotifyServiceManager("READY=1\nSTATUS=The configuration was read again.");
}

void LiveSettings::Fail(std::string_view why) {
  ++reloads_.failed;
  reloads_.last_error = why;
  reloads_.time = std::chrono::system_clock::now();
  callbacks_.changed();
  callbacks_.say(Severity::kError, core::Cat("the configuration is not taken, the old settings stay: ", why));
  NotifyServiceManager(core::Cat("READY=1\nSTATUS=The configuration was not taken: ", why));
}

void LiveSettings::Stop() {
  stopped_ = true;
  look_up_.reset();
  resolver_.reset();
}

}  // namespace bivalve::appliance
