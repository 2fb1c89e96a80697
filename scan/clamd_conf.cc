#include "scan/clamd_conf.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include "core/text.h"

namespace bivalve::scan {
namespace {

constexpr size_t kFileBytesMax = size_t{1} << 20;

std::string_view Trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// A number, which may have K, M or G behind it.
std::optional<uint64_t> ParseAmount(std::string_view text) {
  uint64_t amount = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount);
  if (error != std::errc()) return std::nullopt;
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  if (unit.empty()) return amount;
  if (unit.size() > 1 || amount >> 32 != 0) return std::nullopt;
  switch (core::AsciiLower(unit.front())) {
    case 'k':
      return amount << 10;
    case 'm':
      return amount << 20;
    case 'g':
      return amount << 30;
    default:
      return std::nullopt;
  }
}

// Like clamd's own parser: yes, true, 1, no, false, 0.
void SetSwitch(std::string_view text, bool& value) {
  for (const std::string_view word : {"yes", "true", "1"})
    value = value || core::EqualsIgnoreCase(text, word);
  for (const std::string_view word : {"no", "false", "0"})
    value = value && !core::EqualsIgnoreCase(text, word);
}

}  // namespace

uint32_t ShareOfQueue(const ScannerLimits& limits, size_t workers) {
  if (limits.queue_max == 0) return 0;
  const size_t below_half = (limits.queue_max - 1) / 2;
  return static_cast<uint32_t>(std::max<size_t>(below_half / workers, 1));
}

uint32_t ThreadsOf(const ScannerLimits& limits) {
  static constexpr uint32_t kDefault = 10;
  return limits.threads_max != 0 ? limits.threads_max : kDefault;
}

uint32_t ShareOfThreads(const ScannerLimits& limits, size_t workers) {
  return static_cast<uint32_t>(std::max<size_t>(ThreadsOf(limits) / 2 / workers, 1));
}

ClamdConf ParseClamdConf(std::string_view text) {
  static constexpr uint64_t kMebi = uint64_t{1} << 20;
  static constexpr uint64_t kCountMax = 1'000'000'000;
  ClamdConf conf;
  conf.limits = {.known = true,
                 .file_bytes_max = 100 * kMebi,
                 .scan_bytes_max = 400 * kMebi,
                 .stream_bytes_max = 100 * kMebi,
                 .scan_time_max = std::chrono::milliseconds(120'000)};
  uint32_t threads = 10;
  uint32_t queue = 100;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    const size_t space = std::min(line.find_first_of(" \t"), line.size());
    const std::string_view name = line.substr(0, space);
    std::string_view value = Trimmed(line.substr(space));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
      value = value.substr(1, value.size() - 2);
    if (core::EqualsIgnoreCase(name, "LocalSocket")) conf.local_socket = value;
    if (core::EqualsIgnoreCase(name, "AlertExceedsMax")) SetSwitch(value, conf.alert_exceeds_max);
    if (core::EqualsIgnoreCase(name, "ConcurrentDatabaseReload")) SetSwitch(value, conf.concurrent_reload);
    const std::optional<uint64_t> amount = ParseAmount(value);
    if (!amount.has_value()) continue;
    if (core::EqualsIgnoreCase(name, "TCPSocket") && *amount <= 65535) {
      conf.tcp_ports.push_back(static_cast<uint16_t>(*amount));
    } else if (core::EqualsIgnoreCase(name, "MaxFileSize")) {
      conf.limits.file_bytes_max = *amount;
    } else if (core::EqualsIgnoreCase(name, "MaxScanSize")) {
      conf.limits.scan_bytes_max = *amount;
    } else if (core::EqualsIgnoreCase(name, "StreamMaxLength")) {
      conf.limits.stream_bytes_max = *amount;
    } else if (core::EqualsIgnoreCase(name, "MaxScanTime") && *amount <= 86'400'000) {
      conf.limits.scan_time_max = std::chrono::milliseconds(*amount);
    } else if (core::EqualsIgnoreCase(name, "MaxThreads") && *amount > 0 && *amount <= 65535) {
      threads = static_cast<uint32_t>(*amount);
    } else if (core::EqualsIgnoreCase(name, "MaxQueue") && *amount > 0 && *amount <= 65535) {
      queue = static_cast<uint32_t>(*amount);
    } else if (core::EqualsIgnoreCase(name, "ReadTimeout") && *amount <= kCountMax) {
      conf.read_timeout = std::chrono::seconds(*amount);
    } else if (core::EqualsIgnoreCase(name, "CommandReadTimeout") && *amount <= kCountMax) {
      conf.command_read_timeout = std::chrono::seconds(*amount);
    }
  }
  // clamd itself raises the value to this.
  conf.limits.queue_max = std::max(queue, 2 * threads);
  conf.limits.threads_max = threads;
  conf.threads_max = threads;
  return conf;
}

std::optional<std::string> ReadClamdConf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text(kFileBytesMax, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return text;
}

std::optional<FoundClamdConf> FindClamdConf(std::string_view socket_path, uint16_t tcp_port) {
  std::vector<std::string> places = {"/etc/clamav/clamd.conf", "/etc/clamd.conf", "/etc/clamd.d/scan.conf",
                                     "/usr/local/etc/clamd.conf"};
  if (const size_t slash = socket_path.rfind('/'); slash != std::string_view::npos) {
    places.insert(places.begin(), core::Cat(socket_path.substr(0, slash), "/clamd.conf"));
  }
  for (const std::string& place : places) {
    const std::optional<std::string> text = ReadClamdConf(place);
    if (!text.has_value() || text->empty()) continue;
    FoundClamdConf found{.path = place, .conf = ParseClamdConf(*text)};
    // /var/run is a link to /run, and both spellings are used.
    const auto canonical = [](std::string_view path) {
      return path.starts_with("/var/run/") ? path.substr(4) : path;
    };
    const std::vector<uint16_t>& ports = found.conf.tcp_ports;
    const bool its_own = socket_path.empty() ? std::count(ports.begin(), ports.end(), tcp_port) > 0
                                             : canonical(found.conf.local_socket) == canonical(socket_path);
    if (its_own) return found;
  }
  return std::nullopt;
}

}  // namespace bivalve::scan
