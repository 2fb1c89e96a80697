#include "net/end_of_data.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "net/dot_search.h"

namespace bivalve::net {
namespace {

using internal::Group;
using internal::Mark;
using internal::Simd;

// Bytes around a dot that some server takes for (a part of) a line end.
constexpr bool IsLineEdge(char c) { return c == '\r' || c == '\n' || c == '\0'; }

// Closes the gaps that stuffed dots leave, in one forward pass; without stuffed dots nothing moves. Bytes are
// written at least one place before the last omitted dot. So the byte before that dot and everything behind
// it keep their wire values, and no check of a later byte looks back further than that.
class Compaction {
 public:
  explicit Compaction(char* data) : data_(data) {}

  // Omits the byte at `offset`.
  void Omit(size_t offset) {
    Keep(offset);
    run_ = offset + 1;
  }
  // Keeps everything between the last omitted byte and `offset`. Returns where the kept bytes end now.
  size_t Keep(size_t offset) {
    const size_t bytes = offset - run_;
    if (kept_ != run_) Move(data_ + kept_, data_ + run_, bytes);
    kept_ += bytes;
    run_ = offset;
    return kept_;
  }

 private:
  // In place of memmove, whose call costs more than the move itself for the short lines of a message that is
  // all dots.
  static void Move(char* to, const char* from, size_t bytes) {
    if (bytes >= 8 && bytes <= 16) {
      MoveOverlapping<uint64_t>(to, from, bytes);
    } else if (bytes >= 4 && bytes < 8) {
      MoveOverlapping<uint32_t>(to, from, bytes);
    } else if (bytes < 4) {
      for (size_t i = 0; i < bytes; ++i) to[i] = from[i];
    } else {
      std::memmove(to, from, bytes);
    }
  }
  // Copies the first and the last bytes by one word each; both words are read before either is written.
  template <typename Word>
  static void MoveOverlapping(char* to, const char* from, size_t bytes) {
    Word first;
    Word last;
    std::memcpy(&first, from, sizeof first);
    std::memcpy(&last, from + bytes - sizeof last, sizeof last);
    std::memcpy(to, &first, sizeof first);
    std::memcpy(to + bytes - sizeof last, &last, sizeof last);
  }

  char* data_;
  size_t run_ = 0;   // begin of the bytes not yet moved
  size_t kept_ = 0;  // where they will go
};

}  // namespace

EndOfData::Result EndOfData::Process(std::span<char> block) {
  return ProcessWith(internal::BestSimd(), block);
}

EndOfData::Result EndOfData::ProcessWith(Simd simd, std::span<char> block) {
  const size_t size = block.size();
  if (size == 0) return {};
  Compaction compaction(block.data());

  // The first bytes of the block behind the bytes before it, which decide about a dot among the first ones.
  std::array<char, kBeforeBytes + 5> start{};
  std::copy(before_.begin(), before_.end(), start.begin());
  std::copy_n(block.begin(), std::min(size, start.size() - kBeforeBytes), start.begin() + kBeforeBytes);

  // The search does not see the bytes before the block, so the first byte is always checked.
  Group group = {block.data(), 1};
  size_t group_offset = 0;
  size_t next_offset = 1;
  for (;;) {
    for (; group.marks != 0; group.marks &= group.marks - 1) {
      const size_t offset = group_offset + static_cast<size_t>(std::countr_zero(group.marks));
      const char* const at = offset < kBeforeBytes ? &start[kBeforeBytes + offset] : &block[offset];
      switch (Decide(at, size - offset)) {
        case Finding::kNothing:
          break;
        case Finding::kStuffedDot:
          compaction.Omit(offset);
          ++stuffed_dots_;
          break;
        case Finding::kEnd:
          return {.content_bytes = compaction.Keep(offset), .ended = true, .rest_offset = offset + 3};
        case Finding::kUndecided:
          RememberBefore(block.first(offset));
          return {.content_bytes = compaction.Keep(size) - (size - offset),
                  .held_bytes = size - offset,
                  .rest_offset = size};
      }
    }
    if (next_offset >= size) break;
    group = internal::NextGroup(simd, SearchMark(), block.data() + next_offset, block.data() + size);
    group_offset = static_cast<size_t>(group.at - block.data());
    next_offset = group_offset + internal::kGroupBytes;
  }
  RememberBefore(block);
  return {.content_bytes = compaction.Keep(size), .rest_offset = size};
}

internal::Mark EndOfData::SearchMark() const {
  // Marks that have been found once are not searched again.
  if (check_ == Check::kBareNewline && !bare_newline_) return Mark::kDotOrBareNewline;
  if (check_ != Check::kNone && !ambiguous_) return Mark::kDotAfterControl;
  return Mark::kDotAfterLf;
}

inline EndOfData::Finding EndOfData::Decide(const char* at, size_t left) {
  if (check_ == Check::kBareNewline && (at[0] == '\n') != (at[-1] == '\r')) bare_newline_ = true;
  if (at[0] != '.' || !IsLineEdge(at[-1])) return Finding::kNothing;

  if (left == 1) return Finding::kUndecided;
  const bool begins_line = at[-1] == '\n' && at[-2] == '\r';
  if (begins_line && at[1] == '\r') {
    if (left == 2) return Finding::kUndecided;
    if (at[2] == '\n') {
      // CR CR LF "." CR LF and NUL CR LF "." CR LF: a server that drops or adds a CR, or ends its strings at
      // a NUL, sees a different line end before the dot than we do.
      if (check_ != Check::kNone && (at[-3] == '\r' || at[-3] == '\0')) ambiguous_ = true;
      return Finding::kEnd;
    }
  }
  const bool alone = IsLineEdge(at[1]);
  if (check_ != Check::kNone && alone) ambiguous_ = true;
  if (begins_line) return Finding::kStuffedDot;
  if (alone) {
    lone_dot_ = true;
    return Finding::kNothing;
  }
  if (at[-1] == '\n') {
    dot_after_bare_newline_ = true;
    // Postfix and sendmail remove the dot, and their readers must not see a different message than the
    // scanner.
    return Finding::kStuffedDot;
  }
  // After an ambiguous line the search no longer looks for dots after a CR.
  if (at[-1] == '\r' && check_ != Check::kNone && !ambiguous_) dot_after_bare_newline_ = true;
  return Finding::kNothing;
}

void EndOfData::RememberBefore(std::span<const char> wire) {
  for (const char byte : wire.last(std::min(wire.size(), before_.size()))) {
    before_ = {before_[1], before_[2], byte};
  }
}

namespace {

// Copies to a place that has room for 16 bytes more. Short runs, for which a call would cost more than the
// copy, are copied as 16 bytes if `end` allows.
char* CopyRun(const char* from, size_t bytes, const char* end, char* out) {
  constexpr size_t kAtOnce = 16;
  if (bytes <= kAtOnce && end - from >= static_cast<ptrdiff_t>(kAtOnce)) {
    std::memcpy(out, from, kAtOnce);
  } else {
    std::memcpy(out, from, bytes);
  }
  return out + bytes;
}

}  // namespace

char* CopyStuffed(std::string_view content, size_t from, size_t to, char* out) {
  const internal::Simd simd = internal::BestSimd();
  const char* const end = content.data() + content.size();
  const char* const stop = content.data() + to;
  const char* at = content.data() + from;
  for (const char* look = at + 1; look < stop;) {
    const internal::Group group = internal::NextGroup(simd, Mark::kDotAfterLf, look, stop);
    for (uint64_t marks = group.marks; marks != 0; marks &= marks - 1) {
      const char* const dot = group.at + std::countr_zero(marks);
      out = CopyRun(at, static_cast<size_t>(dot - at), end, out);
      at = dot;
      if (dot - content.data() < 2 || dot[-2] != '\r') {
        out[-1] = '\r';
        *out++ = '\n';
      }
      *out++ = '.';
    }
    look = group.at + internal::kGroupBytes;
  }
  return CopyRun(at, static_cast<size_t>(stop - at), end, out);
}

size_t NextDot(std::string_view content, bool at_line_start) {
  return internal::NextDot(internal::BestSimd(), content, at_line_start);
}

namespace internal {

size_t NextMark(Simd simd, Mark mark, std::string_view content, size_t from) {
  const char* const end = content.data() + content.size();
  for (from = std::max<size_t>(from, 1); from < content.size(); from += kGroupBytes) {
    const Group group = NextGroup(simd, mark, content.data() + from, end);
    from = static_cast<size_t>(group.at - content.data());
    if (group.marks != 0) return from + static_cast<size_t>(std::countr_zero(group.marks));
  }
  return content.size();
}

size_t NextDot(Simd simd, std::string_view content, bool at_line_start) {
  if (at_line_start && content.starts_with('.')) return 0;
  return NextMark(simd, Mark::kDotAfterLf, content, 1);
}

}  // namespace internal
}  // namespace bivalve::net
