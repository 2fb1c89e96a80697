#include "net/dot_search.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bivalve::net::internal {
namespace {

// Bytes up to this one count as a control character before a dot.
constexpr char kControlMax = '\r';

// The bits that make a 'c' of 'b', 'B' and 'C'.
constexpr char kBOrC = 0x21;

constexpr ptrdiff_t kGroupSpan = kGroupBytes;

// The group of 1 to 64 bytes before `end`. Copies the bytes if there are fewer than 64.
template <typename Set, Mark kMark>
Group LastGroup(const char* begin, const char* end) {
  const auto bytes = static_cast<size_t>(end - begin);
  if (bytes == kGroupBytes) return {begin, Set::template Marks64<kMark>(begin)};
  std::array<char, 1 + kGroupBytes> copy{};
  std::memcpy(copy.data(), begin - 1, 1 + bytes);
  const uint64_t marks = Set::template Marks64<kMark>(copy.data() + 1);
  return {begin, marks & ((uint64_t{1} << bytes) - 1)};
}

template <typename Set, Mark kMark>
Group SearchLoop(const char* begin, const char* end) {
  for (; end - begin > kGroupSpan; begin += kGroupSpan) {
    if (const uint64_t marks = Set::template Marks64<kMark>(begin); marks != 0) return {begin, marks};
  }
  return LastGroup<Set, kMark>(begin, end);
}

// Eight bytes at once in a plain integer. Each function sets the top bit of exactly those bytes that match.
// Additions never carry into the next byte, so the result does not depend on the byte order.
namespace swar {

constexpr uint64_t kOnes = 0x0101010101010101;
constexpr uint64_t kTops = 0x80 * kOnes;
constexpr uint64_t kLows = 0x7f * kOnes;

uint64_t Load(const char* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

constexpr uint64_t Equals(uint64_t word, char byte) {
  const uint64_t difference = word ^ (kOnes * static_cast<unsigned char>(byte));
  return ~(((difference & kLows) + kLows) | difference) & kTops;
}

constexpr uint64_t AtMost(uint64_t word, char byte) {
  return ~(((word & kLows) + kOnes * (0x7fu - static_cast<unsigned char>(byte))) | word) & kTops;
}

// ASCII bytes above `byte`.
constexpr uint64_t Above(uint64_t word, char byte) { return ~AtMost(word, byte) & ~word & kTops; }

template <Mark kMark>
uint64_t Marks(const char* p) {
  const uint64_t byte = Load(p);
  const uint64_t before = Load(p - 1);
  if constexpr (kMark == Mark::kBareCrOrBC) {
    const uint64_t b_or_c = Equals(byte | (kOnes * kBOrC), 'c');
    return (Equals(before, '\r') & ~Equals(byte, '\n')) | (Equals(before, '\n') & b_or_c);
  } else if constexpr (kMark == Mark::kDelimiterAfterLf) {
    return (Equals(byte, '-') | Equals(byte, '(')) & Equals(before, '\n');
  } else if constexpr (kMark == Mark::kNotBase64) {
    const uint64_t lower = byte | (kOnes * 0x20);
    const uint64_t letter = Above(lower, 'a' - 1) & AtMost(lower, 'z');
    // '/' comes before the digits.
    const uint64_t digit = Above(byte, '.') & AtMost(byte, '9');
    return ~(letter | digit | Equals(byte, '+')) & kTops;
  } else if constexpr (kMark == Mark::kDotAfterLf) {
    return Equals(byte, '.') & Equals(before, '\n');
  } else {
    uint64_t marks = Equals(byte, '.') & AtMost(before, kControlMax);
    if constexpr (kMark == Mark::kDotOrBareNewline) marks |= Equals(byte, '\n') ^ Equals(before, '\r');
    return marks;
  }
}

}  // namespace swar

struct Portable {
  template <Mark kMark>
  static uint64_t Marks64(const char* p) {
    uint64_t result = 0;
    for (unsigned word = 0; word < kGroupBytes; word += 8) {
      const uint64_t marks = swar::Marks<kMark>(p + word);
      if (marks == 0) continue;
      std::array<char, 8> bytes;
      std::memcpy(bytes.data(), &marks, sizeof marks);
      for (unsigned i = 0; i < 8; ++i) {
        if (bytes[i] != 0) result |= uint64_t{1} << (word + i);
      }
    }
    return result;
  }

  template <Mark kMark>
  static Group Search(const char* begin, const char* end) {
    return SearchLoop<Portable, kMark>(begin, end);
  }
};

#if defined(__x86_64__)

struct Sse2 {
  // Bytes from `first` to `last`.
  static __m128i Within(__m128i bytes, char first, char last) {
    const __m128i offset = _mm_sub_epi8(bytes, _mm_set1_epi8(first));
    const __m128i most = _mm_set1_epi8(static_cast<char>(last - first));
    return _mm_cmpeq_epi8(_mm_min_epu8(offset, most), offset);
  }

  template <Mark kMark>
  static __m128i Marks16(const char* p) {
    const __m128i byte = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i before = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p - 1));
    const __m128i lf = _mm_set1_epi8('\n');
    const __m128i cr = _mm_set1_epi8('\r');
    if constexpr (kMark == Mark::kDelimiterAfterLf) {
      const __m128i first =
          _mm_or_si128(_mm_cmpeq_epi8(byte, _mm_set1_epi8('-')), _mm_cmpeq_epi8(byte, _mm_set1_epi8('(')));
      return _mm_and_si128(first, _mm_cmpeq_epi8(before, lf));
    }
    if constexpr (kMark == Mark::kBareCrOrBC) {
      const __m128i b_or_c = _mm_cmpeq_epi8(_mm_or_si128(byte, _mm_set1_epi8(kBOrC)), _mm_set1_epi8('c'));
      const __m128i first = _mm_and_si128(b_or_c, _mm_cmpeq_epi8(before, lf));
      return _mm_or_si128(first, _mm_andnot_si128(_mm_cmpeq_epi8(byte, lf), _mm_cmpeq_epi8(before, cr)));
    }
    if constexpr (kMark == Mark::kNotBase64) {
      const __m128i lower = _mm_or_si128(byte, _mm_set1_epi8(0x20));
      const __m128i letter = Within(lower, 'a', 'z');
      // '/' comes before the digits.
      const __m128i digit = Within(byte, '/', '9');
      const __m128i plus = _mm_cmpeq_epi8(byte, _mm_set1_epi8('+'));
      return _mm_xor_si128(_mm_or_si128(_mm_or_si128(letter, digit), plus), _mm_set1_epi8(-1));
    }
    const __m128i dot = _mm_cmpeq_epi8(byte, _mm_set1_epi8('.'));
    if constexpr (kMark == Mark::kDotAfterLf) {
      return _mm_and_si128(dot, _mm_cmpeq_epi8(before, lf));
    } else {
      const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(before, _mm_set1_epi8(kControlMax)), before);
      const __m128i marks = _mm_and_si128(dot, control);
      if constexpr (kMark == Mark::kDotAfterControl) return marks;
      return _mm_or_si128(marks, _mm_xor_si128(_mm_cmpeq_epi8(byte, lf), _mm_cmpeq_epi8(before, cr)));
    }
  }

  template <Mark kMark>
  static uint64_t Marks64(const char* p) {
    const __m128i a = Marks16<kMark>(p);
    const __m128i b = Marks16<kMark>(p + 16);
    const __m128i c = Marks16<kMark>(p + 32);
    const __m128i d = Marks16<kMark>(p + 48);
    if (Bits(_mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))) == 0) return 0;
    return Bits(a) | Bits(b) << 16 | Bits(c) << 32 | Bits(d) << 48;
  }

  template <Mark kMark>
  static Group Search(const char* begin, const char* end) {
    return SearchLoop<Sse2, kMark>(begin, end);
  }

 private:
  static uint64_t Bits(__m128i marks) { return static_cast<unsigned>(_mm_movemask_epi8(marks)); }
};

// Marked by an attribute, so that one binary runs on every x86-64.
#define BIVALVE_AVX2 __attribute__((target("avx2")))

struct Avx2 {
  BIVALVE_AVX2 static __m256i Within(__m256i bytes, char first, char last) {
    const __m256i offset = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first));
    const __m256i most = _mm256_set1_epi8(static_cast<char>(last - first));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(offset, most), offset);
  }

  template <Mark kMark>
  BIVALVE_AVX2 static __m256i Marks32(const char* p) {
    const __m256i byte = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i before = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p - 1));
    const __m256i lf = _mm256_set1_epi8('\n');
    const __m256i cr = _mm256_set1_epi8('\r');
    if constexpr (kMark == Mark::kDelimiterAfterLf) {
      const __m256i first = _mm256_or_si256(_mm256_cmpeq_epi8(byte, _mm256_set1_epi8('-')),
                                            _mm256_cmpeq_epi8(byte, _mm256_set1_epi8('(')));
      return _mm256_and_si256(first, _mm256_cmpeq_epi8(before, lf));
    }
    if constexpr (kMark == Mark::kBareCrOrBC) {
      const __m256i b_or_c =
          _mm256_cmpeq_epi8(_mm256_or_si256(byte, _mm256_set1_epi8(kBOrC)), _mm256_set1_epi8('c'));
      const __m256i first = _mm256_and_si256(b_or_c, _mm256_cmpeq_epi8(before, lf));
      return _mm256_or_si256(first,
                             _mm256_andnot_si256(_mm256_cmpeq_epi8(byte, lf), _mm256_cmpeq_epi8(before, cr)));
    }
    if constexpr (kMark == Mark::kNotBase64) {
      const __m256i lower = _mm256_or_si256(byte, _mm256_set1_epi8(0x20));
      const __m256i letter = Within(lower, 'a', 'z');
      const __m256i digit = Within(byte, '/', '9');
      const __m256i plus = _mm256_cmpeq_epi8(byte, _mm256_set1_epi8('+'));
      return _mm256_xor_si256(_mm256_or_si256(_mm256_or_si256(letter, digit), plus), _mm256_set1_epi8(-1));
    }
    const __m256i dot = _mm256_cmpeq_epi8(byte, _mm256_set1_epi8('.'));
    if constexpr (kMark == Mark::kDotAfterLf) {
      return _mm256_and_si256(dot, _mm256_cmpeq_epi8(before, lf));
    } else {
      const __m256i control =
          _mm256_cmpeq_epi8(_mm256_min_epu8(before, _mm256_set1_epi8(kControlMax)), before);
      const __m256i marks = _mm256_and_si256(dot, control);
      if constexpr (kMark == Mark::kDotAfterControl) return marks;
      return _mm256_or_si256(marks,
                             _mm256_xor_si256(_mm256_cmpeq_epi8(byte, lf), _mm256_cmpeq_epi8(before, cr)));
    }
  }

  template <Mark kMark>
  BIVALVE_AVX2 static uint64_t Marks64(const char* p) {
    const __m256i a = Marks32<kMark>(p);
    const __m256i b = Marks32<kMark>(p + 32);
    const __m256i any = _mm256_or_si256(a, b);
    if (_mm256_testz_si256(any, any) != 0) return 0;
    const auto low = static_cast<unsigned>(_mm256_movemask_epi8(a));
    const auto high = static_cast<unsigned>(_mm256_movemask_epi8(b));
    return uint64_t{high} << 32 | low;
  }

  // SearchLoop again, because Marks64 can only be inlined into a function with the same attribute.
  template <Mark kMark>
  BIVALVE_AVX2 static Group Search(const char* begin, const char* end) {
    for (; end - begin > kGroupSpan; begin += kGroupSpan) {
      if (const uint64_t marks = Marks64<kMark>(begin); marks != 0) return {begin, marks};
    }
    return LastGroup<Avx2, kMark>(begin, end);
  }
};

#endif  // defined(__x86_64__)

template <typename Set>
Group SearchFor(Mark mark, const char* begin, const char* end) {
  switch (mark) {
    case Mark::kDotAfterLf:
      return Set::template Search<Mark::kDotAfterLf>(begin, end);
    case Mark::kDotAfterControl:
      return Set::template Search<Mark::kDotAfterControl>(begin, end);
    case Mark::kDelimiterAfterLf:
      return Set::template Search<Mark::kDelimiterAfterLf>(begin, end);
    case Mark::kBareCrOrBC:
      return Set::template Search<Mark::kBareCrOrBC>(begin, end);
    case Mark::kNotBase64:
      return Set::template Search<Mark::kNotBase64>(begin, end);
    case Mark::kDotOrBareNewline:
      return Set::template Search<Mark::kDotOrBareNewline>(begin, end);
  }
  return {begin, 0};
}

}  // namespace

bool HasSimd(Simd simd) {
#if defined(__x86_64__)
  return simd != Simd::kAvx2 || __builtin_cpu_supports("avx2") != 0;
#else
  return simd == Simd::kPortable;
#endif
}

Simd BestSimd() {
#if defined(__x86_64__)
  return HasSimd(Simd::kAvx2) ? Simd::kAvx2 : Simd::kSse2;
#else
  return Simd::kPortable;
#endif
}

Group NextGroup(Simd simd, Mark mark, const char* begin, const char* end) {
#if defined(__x86_64__)
  if (simd == Simd::kAvx2) return SearchFor<Avx2>(mark, begin, end);
  if (simd == Simd::kSse2) return SearchFor<Sse2>(mark, begin, end);
#else
  static_cast<void>(simd);
#endif
  return SearchFor<Portable>(mark, begin, end);
}

}  // namespace bivalve::net::internal
