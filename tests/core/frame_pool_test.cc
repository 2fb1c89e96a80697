#include "core/frame_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

namespace bivalve::core {
namespace {

// Frames of all sizes do not overlap: each is filled and checked again.
TEST(FramePool, GivesEachFrameMemoryOfItsOwn) {
  struct Frame {
    unsigned char* memory;
    size_t bytes;
    unsigned char mark;
  };
  for (int round = 0; round < 3; ++round) {
    std::vector<Frame> frames;
    for (size_t bytes = 1; bytes < 6000; bytes += 37) {
      const auto mark = static_cast<unsigned char>(bytes);
      frames.push_back({static_cast<unsigned char*>(AllocateFrame(bytes)), bytes, mark});
      std::memset(frames.back().memory, mark, bytes);
    }
    for (const Frame& frame : frames) {
      for (size_t i = 0; i < frame.bytes; ++i) ASSERT_EQ(frame.memory[i], frame.mark);
      FreeFrame(frame.memory, frame.bytes);
    }
  }
  ReleaseFramePool();
}

TEST(FramePool, GivesBackABurst) {
  std::vector<void*> frames;
  for (int i = 0; i < 2000; ++i) frames.push_back(AllocateFrame(100));
  EXPECT_EQ(std::set<void*>(frames.begin(), frames.end()).size(), frames.size());
  for (void* frame : frames) FreeFrame(frame, 100);
  ReleaseFramePool();
  FreeFrame(AllocateFrame(100), 100);
  ReleaseFramePool();
}

}  // namespace
}  // namespace bivalve::core
