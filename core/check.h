// BV_CHECK: a condition that only a programming error can break, checked in every build. It is never used for
// anything that a peer, the kernel or an operator can cause.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace bivalve::core {

[[noreturn]] inline void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace bivalve::core

#define BV_CHECK(condition)                          \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? void()                                      \
       : ::bivalve::core::CheckFailed(#condition, __FILE__, __LINE__))
