// Mail data as sent over the wire (RFC 5321 section 4.1.1.4): finds its end, removes the dot-stuffing
// (section 4.5.2) in place, and reports whether some server could see an end where there is none. Adds the
// stuffing again for delivery. Not for BDAT, whose chunks are counted and never stuffed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bivalve::net {

namespace internal {
enum class Simd : uint8_t;  // net/dot_search.h
enum class Mark : uint8_t;
}  // namespace internal

// Finds the end of one message's data. Never suspends, never allocates. The state is a few bytes, so the
// result does not depend on how the input is cut.
//
//   EndOfData end(EndOfData::Check::kGuard);
//   do { block = held bytes + what was received; auto r = end.Process(block); … } while (!r.ended);
class EndOfData {
 public:
  // What is searched besides the end.
  enum class Check : uint8_t {
    kNone,         // only the end
    kGuard,        // also dot lines whose line ends are not both CRLF: see ambiguous()
    kBareNewline,  // also every CR without LF and LF without CR: see bare_newline()
  };

  struct Result {
    // Bytes of content that are now at the front of the block: without stuffing and without the final line
    // ".".
    size_t content_bytes = 0;
    // Undecided bytes that directly follow the content (at most kHeldBytesMax). The next block must begin
    // with them. Zero if `ended`.
    size_t held_bytes = 0;
    // The end of data was found: what the client sent after it begins at `rest_offset` of the block and is
    // unchanged. Otherwise rest_offset is the size of the block.
    bool ended = false;
    size_t rest_offset = 0;
  };

  static constexpr size_t kHeldBytesMax = 8;

  explicit EndOfData(Check check) : check_(check) {}

  // Searches `block`, which must begin with the bytes that the last call held back, and compacts it in place.
  // If not `ended`, call again with more; if `ended`, do not call again.
  Result Process(std::span<char> block);

  // A dot line was found that is not CRLF "." CRLF but that some server could take for the end: a dot with
  // CR, LF or NUL (or the start of the data) before it and CR, LF or NUL after it. CR CR LF "." CR LF counts
  // too, and still ends the data. Always false with Check::kNone.
  bool ambiguous() const { return ambiguous_; }
  // A CR without LF or an LF without CR was found. Only with Check::kBareNewline.
  bool bare_newline() const { return bare_newline_; }
  // A dot was found that begins a line for some servers only: behind an LF without CR, where nearly all
  // servers remove it as stuffing (and so do we), or behind a CR without LF. A dot alone on its line is
  // ambiguous() and is kept. CR is searched only with a check, and only until a line is ambiguous().
  bool dot_after_bare_newline() const { return dot_after_bare_newline_; }
  // Number of dots removed so far.
  uint64_t stuffed_dots() const { return stuffed_dots_; }
  // Whether the content may have lines, behind LF with or without CR, that begin with a dot.
  bool may_need_stuffing() const { return stuffed_dots_ > 0 || lone_dot_; }

 private:
  static constexpr size_t kBeforeBytes = 3;

  friend class EndOfDataPeer;  // lets tests choose the search

  enum class Finding : uint8_t { kNothing, kStuffedDot, kEnd, kUndecided };

  Result ProcessWith(internal::Simd simd, std::span<char> block);
  internal::Mark SearchMark() const;
  // Decides what the byte *at is, with `left` bytes from it to the end of the block. Sets ambiguous_ and
  // bare_newline_. The three bytes before it must be readable too.
  Finding Decide(const char* at, size_t left);
  void RememberBefore(std::span<const char> wire);

  Check check_;
  bool ambiguous_ = false;
  bool bare_newline_ = false;
  bool dot_after_bare_newline_ = false;
  bool lone_dot_ = false;  // a dot behind a bare LF was kept
  uint64_t stuffed_dots_ = 0;
  // The last wire bytes before the block, oldest first. At the start of the data the last two are CR LF,
  // because the command line ended so. (The byte before them must be neither CR nor NUL; otherwise a message
  // that consists of the end alone would be ambiguous.)
  std::array<char, kBeforeBytes> before_ = {' ', '\r', '\n'};
};

// Where the next stuffing dot belongs: the offset in `content` of the first '.' that begins a line (after LF,
// with or without CR, or at offset 0 if `at_line_start`), or content.size() if there is none. Never suspends.
//
// A sender writes the content up to and including that dot, and then the same dot again as the start of the
// rest:
//   for (;;) { size_t dot = NextDot(content, at_line_start); emit content[0, dot); if none: break;
//              emit "."; … go on behind … }
size_t NextDot(std::string_view content, bool at_line_start);

// For places with many dots: copies content[from, to) to `out` and adds the stuffing: a dot before each dot
// behind an LF, and a CR before such an LF that has none. A dot at `from` itself stays as it is. A dot at
// `to` must not be behind an LF. `out` must have room for StuffedBytesMax(to - from). Returns the end of what
// was written. Never suspends.
char* CopyStuffed(std::string_view content, size_t from, size_t to, char* out);
// Includes the bytes that are written beyond the end and then overwritten.
constexpr size_t StuffedBytesMax(size_t bytes) { return 2 * bytes + 16; }

}  // namespace bivalve::net
