// The header for scanned mail: compiled once from the Header setting, expanded for every message.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace bivalve::appliance {

// Dates as in RFC 5322 section 3.3, in local time with the zone's name as a comment:
// "Tue, 1 Jul 2003 10:52:37 +0200 (CEST)". Formats once in each second; other calls cost one comparison.
// Worker-local, copied for each worker.
class DateFormatter {
 public:
  // Borrows until the next call.
  std::string_view Format(std::chrono::system_clock::time_point time);

  static constexpr size_t kBytesMax = 48;

 private:
  std::time_t second_ = 0;
  size_t size_ = 0;  // 0: nothing computed yet
  std::array<char, kBytesMax> text_ = {};
};

// Worker-local, because it contains the formatter of the date; each worker has its own copy.
class HeaderTemplate {
 public:
  // No header: empty() is true.
  HeaderTemplate() = default;

  // Compiles the value of Header: %i client address, %l local address, %d date, %%; \r \n \t \\. The empty
  // value gives an empty template. Several fields and folded lines (RFC 5322 section 2.2.3) may be written
  // with \n. An error says what would not be a valid header section. Blocks: reads the time zone, so that
  // Expand need not.
  static absl::StatusOr<HeaderTemplate> Compile(std::string_view value);

  // The header for one message: complete lines, each with CRLF; nothing if empty(). Addresses come from peers
  // (a local socket's name may hold any byte): a byte that cannot be in a header becomes '?', and long
  // addresses are cut. One allocation. Never suspends.
  std::string Expand(std::string_view client_address, std::string_view local_address,
                     std::chrono::system_clock::time_point time);

  bool empty() const { return pieces_.empty(); }
  // True if it belongs at the top of the header section, not at its end: a trace field (RFC 5321 4.4).
  bool at_top() const { return at_top_; }

  // A local socket's path has up to 107 bytes.
  static constexpr size_t kAddressBytesMax = 108;
  static constexpr size_t kLineBytesMax = 998;  // RFC 5322 section 2.1.1, without CRLF

 private:
  struct Piece {
    enum class Kind : uint8_t { kText, kClientAddress, kLocalAddress, kDate };
    Kind kind = Kind::kText;
    std::string text;
  };

  static absl::StatusOr<std::vector<Piece>> Tokenise(std::string_view value);
  static absl::Status CheckLines(const std::vector<Piece>& pieces);

  std::vector<Piece> pieces_;
  bool at_top_ = false;
  DateFormatter date_;
};

}  // namespace bivalve::appliance
