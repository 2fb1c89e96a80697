#include "tools/bivalvectl/output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/printable.h"
#include "core/text.h"

namespace bivalve::ctl {
namespace {

using core::Decode;
using core::Range;
using core::Utf8Character;

constexpr std::array kWide = {Range{0x1100, 0x115f},  Range{0x2e80, 0x303e}, Range{0x3041, 0xa4cf},
                              Range{0xac00, 0xd7a3},  Range{0xf900, 0xfaff}, Range{0xfe30, 0xfe6f},
                              Range{0xff00, 0xff60},  Range{0xffe0, 0xffe6}, Range{0x1f300, 0x1faff},
                              Range{0x20000, 0x3fffd}};
constexpr std::array kCombining = {Range{0x0300, 0x036f}, Range{0x1ab0, 0x1aff}, Range{0x1dc0, 0x1dff},
                                   Range{0x20d0, 0x20ff}, Range{0xfe00, 0xfe0f}, Range{0xfe20, 0xfe2f}};

size_t ColumnsOf(uint32_t code) {
  if (core::IsIn(kCombining, code)) return 0;
  return core::IsIn(kWide, code) ? 2 : 1;
}

std::string ShortFigure(double value, double unit) {
  static constexpr std::string_view kUnits = "KMGTPE";
  if (value < 999.5) {
    char text[16];
    std::snprintf(text, sizeof(text), "%.0f", value);
    return text;
  }
  size_t power = 0;
  for (value /= unit; value >= 999.5 && power + 1 < kUnits.size(); ++power) value /= unit;
  char text[32];
  std::snprintf(text, sizeof(text), value < 9.95 ? "%.1f%c" : "%.0f%c", value, kUnits[power]);
  return text;
}

}  // namespace

std::string Printable(std::string_view text, size_t characters_max) {
  return core::Printable(text, characters_max);
}

std::string JsonText(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', true, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string PrintableLines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Utf8Character c = Decode(text);
    const bool line_end = text.front() == '\n' || text.front() == '\t' || text.starts_with("\r\n");
    if (line_end || text.front() == '\\') {
      if (text.front() != '\r') out += text.front();
    } else {
      out += core::Shown(c, text.substr(0, c.bytes));
    }
    text.remove_prefix(c.bytes);
  }
  return out;
}

size_t Columns(std::string_view text) {
  size_t columns = 0;
  while (!text.empty()) {
    const Utf8Character c = Decode(text);
    columns += ColumnsOf(c.code);
    text.remove_prefix(c.bytes);
  }
  return columns;
}

std::string Fitted(std::string_view text, size_t columns, bool right) {
  const size_t needed = Columns(text);
  if (needed <= columns) {
    const std::string blanks(columns - needed, ' ');
    return right ? core::Cat(blanks, text) : core::Cat(text, blanks);
  }
  if (columns == 0) return {};
  std::string out;
  size_t used = 0;
  while (!text.empty()) {
    const Utf8Character c = Decode(text);
    if (used + ColumnsOf(c.code) > columns - 1) break;
    used += ColumnsOf(c.code);
    out += text.substr(0, c.bytes);
    text.remove_prefix(c.bytes);
  }
  out += '~';
  return out + std::string(columns - used - 1, ' ');
}

std::string Wrapped(std::string_view text, size_t columns, size_t indent) {
  std::string out;
  size_t used = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    if (used != 0 && used + 1 + end > columns) {
      out += '\n';
      used = 0;
    }
    if (used == 0) {
      out.append(indent, ' ');
      used = indent;
    } else {
      out += ' ';
      ++used;
    }
    out += text.substr(0, end);
    used += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (used != 0) out += '\n';
  return out;
}

std::string ShortBytes(uint64_t bytes) { return ShortFigure(static_cast<double>(bytes), 1024); }
std::string ShortCount(double count) { return ShortFigure(count, 1000); }

std::string ShortTime(double seconds) {
  char text[48];
  const auto whole = static_cast<uint64_t>(std::clamp(seconds, 0.0, 1e12));
  if (seconds < 10) {
    std::snprintf(text, sizeof(text), "%.1fs", std::max(seconds, 0.0));
  } else if (whole < 60) {
    std::snprintf(text, sizeof(text), "%lus", whole);
  } else if (whole < 3600) {
    std::snprintf(text, sizeof(text), "%lum%02lus", whole / 60, whole % 60);
  } else if (whole < 86400) {
    std::snprintf(text, sizeof(text), "%luh%02lum", whole / 3600, whole / 60 % 60);
  } else {
    std::snprintf(text, sizeof(text), "%lud%02luh", whole / 86400, whole / 3600 % 24);
  }
  return text;
}

std::string ShortLatency(uint64_t microseconds) {
  char text[48];
  const auto us = static_cast<double>(microseconds);
  if (microseconds < 1000) {
    std::snprintf(text, sizeof(text), "%luus", microseconds);
  } else if (microseconds < 1'000'000) {
    std::snprintf(text, sizeof(text), microseconds < 100'000 ? "%.1fms" : "%.0fms", us / 1e3);
  } else {
    std::snprintf(text, sizeof(text), microseconds < 100'000'000 ? "%.2fs" : "%.0fs", us / 1e6);
  }
  return text;
}

std::string Table(const std::vector<Column>& columns, const std::vector<std::vector<std::string>>& rows,
                  size_t width) {
  constexpr size_t kShrunkMin = 8;
  std::vector<std::vector<std::string>> cells;
  std::vector<size_t> widths;
  for (const Column& column : columns) widths.push_back(Columns(column.title));
  for (const auto& row : rows) {
    cells.emplace_back();
    for (size_t i = 0; i < columns.size(); ++i) {
      cells.back().push_back(Printable(row[i], 300));
      widths[i] = std::max(widths[i], Columns(cells.back().back()));
    }
  }
  size_t total = 2 * (columns.size() - 1);
  for (const size_t one : widths) total += one;
  while (width != 0 && total > width) {
    size_t* widest = nullptr;
    for (size_t i = 0; i < columns.size(); ++i) {
      if (columns[i].may_shrink && widths[i] > kShrunkMin && (widest == nullptr || widths[i] > *widest))
        widest = &widths[i];
    }
    if (widest == nullptr) break;
    --*widest;
    --total;
  }
  std::string out;
  const auto append_row = [&](auto cell_of) {
    std::string line;
    for (size_t i = 0; i < columns.size(); ++i) {
      if (i > 0) line += "  ";
      line += Fitted(cell_of(i), widths[i], columns[i].right);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    core::Append(out, line, '\n');
  };
  append_row([&columns](size_t i) { return std::string_view(columns[i].title); });
  for (const auto& row : cells) append_row([&row](size_t i) { return std::string_view(row[i]); });
  return out;
}

size_t OutputWidth() {
  winsize size = {};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col != 0 ? size.ws_col : 80;
}

}  // namespace bivalve::ctl
