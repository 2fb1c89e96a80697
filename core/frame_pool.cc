#include "core/frame_pool.h"

#include <array>
#include <cstdint>
#include <new>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define BIVALVE_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BIVALVE_ADDRESS_SANITIZER
#endif
#endif

namespace bivalve::core {
namespace {

constexpr size_t kGranuleBytes = 64;
constexpr size_t kClasses = 64;  // frames up to 4 KiB; larger ones go to malloc
// Frames kept of each size. After a burst the others go back to the system.
[[maybe_unused]] constexpr uint32_t kKeptFrames = 256;

struct FreeFrameNode {
  FreeFrameNode* next;
};

struct FrameLists {
  std::array<FreeFrameNode*, kClasses> head = {};
  std::array<uint32_t, kClasses> count = {};
  ~FrameLists() { Release(); }
  void Release() {
    for (FreeFrameNode*& list : head) {
      while (list != nullptr) ::operator delete(std::exchange(list, list->next));
    }
    count = {};
  }
};

thread_local FrameLists lists;

[[maybe_unused]] constexpr size_t ClassOf(size_t bytes) {
  return (bytes + kGranuleBytes - 1) / kGranuleBytes - 1;
}

}  // namespace

#ifdef BIVALVE_ADDRESS_SANITIZER
// Under AddressSanitizer every frame is a separate allocation, so that a use after free is detected.
void* AllocateFrame(size_t bytes) { return ::operator new(bytes); }
void FreeFrame(void* frame, size_t) { ::operator delete(frame); }
#else
void* AllocateFrame(size_t bytes) {
  const size_t index = ClassOf(bytes);
  if (index >= kClasses) return ::operator new(bytes);
  FreeFrameNode*& head = lists.head[index];
  if (head == nullptr) return ::operator new((index + 1) * kGranuleBytes);
  --lists.count[index];
  return std::exchange(head, head->next);
}

void FreeFrame(void* frame, size_t bytes) {
  const size_t index = ClassOf(bytes);
  if (index >= kClasses || lists.count[index] >= kKeptFrames) {
    ::operator delete(frame);
    return;
  }
  FreeFrameNode*& head = lists.head[index];
  head = new (frame) FreeFrameNode{head};
  ++lists.count[index];
}
#endif

void ReleaseFramePool() { lists.Release(); }

}  // namespace bivalve::core
