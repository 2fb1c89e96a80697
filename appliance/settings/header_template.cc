#include "appliance/settings/header_template.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "core/text.h"

namespace bivalve::appliance {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
constexpr std::string_view kUnknownAddress = "unknown";

// Zone names are letters, or a number such as "+0330" if the zone has no name. Anything else, which a TZ
// variable may contain, would not be safe inside a comment.
bool IsPlainZone(std::string_view zone) {
  return !zone.empty() && zone.size() <= 8 && std::ranges::all_of(zone, [](char c) {
    const char lower = core::AsciiLower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-';
  });
}

// Visible in a header field's body, without white space.
bool IsVisible(char c) { return c > ' ' && c < '\x7f'; }

// RFC 5322 section 2.2: printable ASCII except the colon.
bool IsFieldName(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) { return IsVisible(c) && c != ':'; });
}

std::string_view ShownAddress(std::string_view address) {
  return address.empty() ? kUnknownAddress : address.substr(0, HeaderTemplate::kAddressBytesMax);
}

void AppendAddress(std::string& out, std::string_view address) {
  for (const char c : ShownAddress(address)) out.push_back(IsVisible(c) ? c : '?');
}

absl::Status Unknown(char introducer, char c, std::string_view known) {
  std::string text = "unknown sequence '";
  text.push_back(introducer);
  core::AppendEscaped(text, std::string_view(&c, 1));
  core::Append(text, "'; known are ", known);
  return absl::InvalidArgumentError(text);
}

}  // namespace

std::string_view DateFormatter::Format(std::chrono::system_clock::time_point time) {
  const std::time_t second =
      std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(time));
  if (size_ != 0 && second == second_) return {text_.data(), size_};

  std::tm local = {};
  local.tm_mday = 1;
  localtime_r(&second, &local);
  const long minutes = std::labs(local.tm_gmtoff) / 60;
  const std::string_view zone = local.tm_zone == nullptr ? std::string_view() : local.tm_zone;
  int size =
      std::snprintf(text_.data(), text_.size(), "%s, %d %s %04d %02d:%02d:%02d %c%02ld%02ld",
                    kDays[static_cast<size_t>(local.tm_wday)].data(), local.tm_mday,
                    kMonths[static_cast<size_t>(local.tm_mon)].data(), local.tm_year + 1900, local.tm_hour,
                    local.tm_min, local.tm_sec, local.tm_gmtoff < 0 ? '-' : '+', minutes / 60, minutes % 60);
  size_ = std::min(static_cast<size_t>(size), text_.size() - 1);
  if (IsPlainZone(zone)) {
    size = std::snprintf(text_.data() + size_, text_.size() - size_, " (%s)", local.tm_zone);
    size_ = std::min(size_ + static_cast<size_t>(size), text_.size() - 1);
  }
  second_ = second;
  return {text_.data(), size_};
}

absl::StatusOr<HeaderTemplate> HeaderTemplate::Compile(std::string_view value) {
  HeaderTemplate result;
  if (value.empty()) return result;
  absl::StatusOr<std::vector<Piece>> pieces = Tokenise(value);
  if (!pieces.ok()) return pieces.status();
  // The last line end is added by us.
  while (!pieces->empty() && pieces->back().text.ends_with('\n')) {
    pieces->back().text.pop_back();
    if (pieces->back().text.empty()) pieces->pop_back();
  }
  if (absl::Status status = CheckLines(*pieces); !status.ok()) return status;

  result.at_top_ = core::StartsWithIgnoreCase(pieces->front().text, "Received:");
  if (pieces->back().kind != Piece::Kind::kText) pieces->push_back({});
  pieces->back().text.push_back('\n');
  for (Piece& piece : *pieces) {
    for (size_t at = 0; (at = piece.text.find('\n', at)) != std::string::npos; at += 2) {
      piece.text.insert(at, 1, '\r');
    }
  }
  result.pieces_ = *std::move(pieces);
  tzset();
  result.date_.Format(std::chrono::system_clock::now());
  return result;
}

// Splits into texts and the values between them. Every line end, however it is written, becomes one '\n'.
absl::StatusOr<std::vector<HeaderTemplate::Piece>> HeaderTemplate::Tokenise(std::string_view value) {
  std::vector<Piece> pieces;
  bool after_cr = false;
  auto add_text = [&](char c) {
    if (pieces.empty() || pieces.back().kind != Piece::Kind::kText) pieces.push_back({});
    pieces.back().text.push_back(c);
  };
  auto add_value = [&](Piece::Kind kind) { pieces.push_back({.kind = kind, .text = {}}); };

  for (size_t i = 0; i < value.size(); ++i) {
    const char c = value[i];
    const bool was_after_cr = std::exchange(after_cr, false);
    if (c != '%' && c != '\\') {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x80) return absl::InvalidArgumentError("a header may hold ASCII characters only");
      if (byte == 0x7f || (byte < ' ' && c != '\t')) {
        return absl::InvalidArgumentError("a header may not hold control characters");
      }
      add_text(c);
      continue;
    }
    if (++i == value.size()) return absl::InvalidArgumentError(core::Cat("ends with a single '", c, "'"));
    const char next = value[i];
    if (c == '%') {
      switch (next) {
        case 'i':
          add_value(Piece::Kind::kClientAddress);
          break;
        case 'l':
          add_value(Piece::Kind::kLocalAddress);
          break;
        case 'd':
          add_value(Piece::Kind::kDate);
          break;
        case '%':
          add_text('%');
          break;
        default:
          return Unknown(c, next, "%i %l %d %%");
      }
    } else {
      switch (next) {
        case 'r':
          add_text('\n');
          after_cr = true;
          break;
        case 'n':
          if (!was_after_cr) add_text('\n');
          break;
        case 't':
          add_text('\t');
          break;
        case '\\':
          add_text('\\');
          break;
        default:
          return Unknown(c, next, "\\r \\n \\t \\\\");
      }
    }
  }
  return pieces;
}

absl::Status HeaderTemplate::CheckLines(const std::vector<Piece>& pieces) {
  // In the sample each value is one control character, which no text contains.
  std::string sample;
  for (const Piece& piece : pieces) {
    switch (piece.kind) {
      case Piece::Kind::kText:
        sample += piece.text;
        break;
      case Piece::Kind::kClientAddress:
        sample += '\1';
        break;
      case Piece::Kind::kLocalAddress:
        sample += '\2';
        break;
      case Piece::Kind::kDate:
        sample += '\3';
        break;
    }
  }
  auto as_written = [](std::string_view line) {
    std::string out;
    for (const char c : line) {
      switch (c) {
        case '\1':
          out += "%i";
          break;
        case '\2':
          out += "%l";
          break;
        case '\3':
          out += "%d";
          break;
        case '\t':
          out += "\\t";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '%':
          out += "%%";
          break;
        default:
          out += c;
      }
    }
    return out;
  };
  if (sample.empty()) return absl::InvalidArgumentError("holds nothing but line ends");

  std::string_view rest = sample;
  bool first = true;
  while (true) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    size_t bytes = 0;
    for (const char c : line) bytes += c == '\1' || c == '\2' || c == '\3' ? kAddressBytesMax : 1;
    if (core::Trim(line).empty()) {
      return absl::InvalidArgumentError("an empty line would end the message's header section");
    }
    const bool folded = line.front() == ' ' || line.front() == '\t';
    if (folded && first) return absl::InvalidArgumentError("a header may not start with white space");
    const size_t colon = line.find(':');
    if (!folded && (colon == std::string_view::npos || !IsFieldName(line.substr(0, colon)))) {
      return absl::InvalidArgumentError(
          core::Cat("'", as_written(line), "' is no header: it must be like \"Name: text\"",
                    first ? "" : ", or start with a blank or \\t to continue the line before it"));
    }
    if (bytes > kLineBytesMax) {
      return absl::InvalidArgumentError(
          core::Cat("a line of the header can become longer than ", kLineBytesMax, " bytes"));
    }
    if (end == std::string_view::npos) return absl::OkStatus();
    rest.remove_prefix(end + 1);
    first = false;
  }
}

std::string HeaderTemplate::Expand(std::string_view client_address, std::string_view local_address,
                                   std::chrono::system_clock::time_point time) {
  const std::string_view date = date_.Format(time);
  size_t bytes = 0;
  for (const Piece& piece : pieces_) {
    switch (piece.kind) {
      case Piece::Kind::kText:
        bytes += piece.text.size();
        break;
      case Piece::Kind::kClientAddress:
        bytes += ShownAddress(client_address).size();
        break;
      case Piece::Kind::kLocalAddress:
        bytes += ShownAddress(local_address).size();
        break;
      case Piece::Kind::kDate:
        bytes += date.size();
        break;
    }
  }
  std::string out;
  out.reserve(bytes);
  for (const Piece& piece : pieces_) {
    switch (piece.kind) {
      case Piece::Kind::kText:
        out += piece.text;
        break;
      case Piece::Kind::kClientAddress:
        AppendAddress(out, client_address);
        break;
      case Piece::Kind::kLocalAddress:
        AppendAddress(out, local_address);
        break;
      case Piece::Kind::kDate:
        out += date;
        break;
    }
  }
  return out;
}

}  // namespace bivalve::appliance
