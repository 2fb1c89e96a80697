// What is printed: text from strangers made harmless, columns, and figures for people.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace bivalve::ctl {

// One printable line, whatever `text` holds, as core/printable.h says, cut behind `characters_max`.
std::string Printable(std::string_view text, size_t characters_max = 1000);
// For programs, two blanks for a step: ASCII only, so that nothing in it is obeyed by a terminal either. What
// is no UTF-8 becomes U+FFFD.
std::string JsonText(const nlohmann::ordered_json& json);
// Printable() for a text of several lines: line feeds stay, and so do tabs and a carriage return before a
// line feed.
std::string PrintableLines(std::string_view text);

// How many columns of a terminal a printable text takes: two for wide characters, none for combining ones.
size_t Columns(std::string_view text);
// Exactly `columns` wide: cut (a '~' at its end) or filled with blanks, at the left for `right`.
std::string Fitted(std::string_view text, size_t columns, bool right = false);

// The words of `text` as lines of at most `columns`, each ended by a line feed.
std::string Wrapped(std::string_view text, size_t columns, size_t indent = 0);

// "999", "1.2K", "34M": at most four characters up to the petabytes. Units of 1024 for bytes, 1000 else.
std::string ShortBytes(uint64_t bytes);
std::string ShortCount(double count);
// "0.4s", "12s", "3m05s", "2h10m", "4d02h".
std::string ShortTime(double seconds);
// "850us", "12.3ms", "1.25s".
std::string ShortLatency(uint64_t microseconds);

// Rows of cells under titles, two blanks between the columns. Cells are made Printable. With `width` (0:
// none) the columns that may shrink give way until a row fits.
struct Column {
  std::string title;
  bool right = false;
  bool may_shrink = false;
};
std::string Table(const std::vector<Column>& columns, const std::vector<std::vector<std::string>>& rows,
                  size_t width);

// Columns of the terminal that standard output is; 0 when it is none.
size_t OutputWidth();

}  // namespace bivalve::ctl
