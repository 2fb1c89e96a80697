// Mail data as it comes over the wire (RFC 5321 section 4.1.1.4): finds its end, takes the dot-stuffing
// (section 4.5.2) out in place, and tells whether some server could see an end where there is none.
// Puts the stuffing back for the way out. Not for BDAT, whose chunks are counted and never stuffed.
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

// Finds the end of one message's data. Never suspends, never allocates; state is a few bytes, so that any
// cut of the input gives the same result.
//
//   EndOfData end(EndOfData::Check::kGuard);
//   do { block = held bytes + what was received; auto r = end.Process(block); … } while (!r.ended);
class EndOfData {
 public:
  // How much is looked for beside the end.
  enum class Check : uint8_t {
    kNone,         // only the end
    kGuard,        // also dot lines whose line ends are not both CRLF: see ambiguous()
    kBareNewline,  // also every CR without LF and LF without CR: see bare_newline()
  };

  struct Result {
    // Bytes of content now at the front of the block: stuffing removed, and the line "." not among them.
    size_t content_bytes = 0;
    // Undecided bytes that follow the content directly (at most kHeldBytesMax). The next block must begin
    // with them. Zero when `ended`.
    size_t held_bytes = 0;
    // End of data was seen: what the client sent after it begins at `rest_offset` of the block and is
    // untouched. Otherwise rest_offset is the size of the block as it was given.
    bool ended = false;
    size_t rest_offset = 0;
  };

  static constexpr size_t kHeldBytesMax = 8;

  explicit EndOfData(Check check) : check_(check) {}

  // Looks through `block`, which begins with the bytes that the last call held back, and compacts it in
  // place. Call again with more after !ended; not after ended.
  Result Process(std::span<char> block);

  // A dot line was seen that is not CRLF "." CRLF but that some server could take for the end: a dot with
  // CR, LF or NUL (or the start of the data) before it and CR, LF or NUL after it. CR CR LF "." CR LF
  // counts too, and still ends the data. Always false with Check::kNone.
  bool ambiguous() const { return ambiguous_; }
  // A CR without LF or an LF without CR was seen. Only with Check::kBareNewline.
  bool bare_newline() const { return bare_newline_; }
  // A dot that begins a line for some servers only: behind an LF without CR, where nearly all take it for
  // stuffing (and so do we), or behind a CR without LF. A dot alone is ambiguous() and stays. CR is looked at
  // only with a check, and only up to what is ambiguous().
  bool dot_after_bare_newline() const { return dot_after_bare_newline_; }
  // Dots taken out so far.
  uint64_t stuffed_dots() const { return stuffed_dots_; }
  // The content may have lines, behind LF with or without CR, that begin with a dot.
  bool may_need_stuffing() const { return stuffed_dots_ > 0 || lone_dot_; }

 private:
  static constexpr size_t kBeforeBytes = 3;

  friend class EndOfDataPeer;  // tests choose the search

  enum class Finding : uint8_t { kNothing, kStuffedDot, kEnd, kUndecided };

  Result ProcessWith(internal::Simd simd, std::span<char> block);
  internal::Mark SearchMark() const;
  // What the byte *at is, with `left` bytes from it to the end of the block; sets ambiguous_ and
  // bare_newline_. Three bytes before it can be read too.
  Finding Decide(const char* at, size_t left);
  void RememberBefore(std::span<const char> wire);

  Check check_;
  bool ambiguous_ = false;
  bool bare_newline_ = false;
  bool dot_after_bare_newline_ = false;
  bool lone_dot_ = false;  // one behind a bare LF has stayed
  uint64_t stuffed_dots_ = 0;
  // The last wire bytes before the block, oldest first; at the start of the data they read CR LF, because
  // the command line before it ended so. (What stands before that must be neither CR nor NUL, which would
  // make a message that consists of the end alone ambiguous.)
  std::array<char, kBeforeBytes> before_ = {' ', '\r', '\n'};
};

// Where the next stuffed dot has to go: the offset in `content` of the first '.' that begins a line (after
// LF, with or without CR, or at offset 0 when `at_line_start`), or content.size() when there is none. Never
// suspends.
//
// A sender writes content up to and including that dot, then the dot once more as the start of the rest:
//   for (;;) { size_t dot = NextDot(content, at_line_start); emit content[0, dot); if none: break;
//              emit "."; … go on behind … }
size_t NextDot(std::string_view content, bool at_line_start);

// Where dots stand close: copies content[from, to) to `out` with the stuffing put in, a dot before each one
// behind an LF, and a CR before such an LF that has none. A dot at `from` itself stays as it is, and one at
// `to` must not be behind an LF. `out` has room for StuffedBytesMax(to - from). Returns the end of what was
// written. Never suspends.
char* CopyStuffed(std::string_view content, size_t from, size_t to, char* out);
// With what is written behind the end and then again.
constexpr size_t StuffedBytesMax(size_t bytes) { return 2 * bytes + 16; }

}  // namespace bivalve::net
