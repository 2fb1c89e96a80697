// The searches behind end_of_data, 64 bytes at a time: the best one for this machine, and for tests each by
// itself. They find the few places that need a closer look; the caller decides what each of them is. Not for
// use elsewhere.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bivalve::net::internal {

// Instruction sets that have a search, the weakest first.
enum class Simd : uint8_t { kPortable, kSse2, kAvx2 };

// Whether this build and this machine have the instruction set.
bool HasSimd(Simd simd);
// The best instruction set that this build and this machine have.
Simd BestSimd();

// What makes a byte worth a look: the byte itself and the byte before it.
enum class Mark : uint8_t {
  kDotAfterLf,        // '.' after LF
  kDotAfterControl,   // '.' after a byte of 0 to 13: one compare finds CR, LF and NUL, and a few more
  kDotOrBareNewline,  // the same, LF after anything but CR, and anything but LF after CR
  kDelimiterAfterLf,  // '-' or '(' after LF
  kBareCrOrBC,        // anything but LF after CR, and 'b' or 'c' of any case after LF
  kNotBase64,         // bytes that base64 does not use: no letter, digit, '+' or '/'
};

struct Group {
  const char* at = nullptr;  // the first byte of the group
  uint64_t marks = 0;        // bit n: at[n] is marked
};

// The first group of 64 bytes that has a mark, in steps of 64 from `begin`. The last group may be shorter;
// `begin` must be before `end`. If there is no mark, the last group is returned with marks of 0. The byte
// before `begin` is read too.
Group NextGroup(Simd simd, Mark mark, const char* begin, const char* end);

inline constexpr size_t kGroupBytes = 64;

// Calls `see(offset)` for each marked byte of `content` except the first byte, in order, until `see` returns
// false.
template <typename See>
void ForEachMark(Simd simd, Mark mark, std::string_view content, const See& see) {
  const char* const end = content.data() + content.size();
  for (size_t from = 1; from < content.size();) {
    const Group group = NextGroup(simd, mark, content.data() + from, end);
    const auto at = static_cast<size_t>(group.at - content.data());
    for (uint64_t marks = group.marks; marks != 0; marks &= marks - 1) {
      if (!see(at + static_cast<size_t>(std::countr_zero(marks)))) return;
    }
    from = at + kGroupBytes;
  }
}

// NextDot() of end_of_data.h with a given search.
size_t NextDot(Simd simd, std::string_view content, bool at_line_start);
// The offset of the first marked byte at or after `from`, but not 0; content.size() if there is none.
size_t NextMark(Simd simd, Mark mark, std::string_view content, size_t from);

}  // namespace bivalve::net::internal
