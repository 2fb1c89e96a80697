#include "scan/published_text.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>

namespace bivalve::scan {
namespace {

TEST(PublishedText, HoldsWhatWasSetLast) {
  PublishedText text;
  EXPECT_EQ(text.Get(), "");
  text.Set("ClamAV 1.4.6/27500/Tue Jan  6 09:00:00 2026");
  EXPECT_EQ(text.Get(), "ClamAV 1.4.6/27500/Tue Jan  6 09:00:00 2026");
  text.Set("");
  EXPECT_EQ(text.Get(), "");
  text.Set(std::string(1000, 'x'));
  EXPECT_EQ(text.Get(), std::string(PublishedText::kBytesMax, 'x'));
}

// A reader never sees parts of two texts.
TEST(PublishedText, IsReadWhole) {
  PublishedText text;
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; i < 20000; ++i) text.Set(std::string(100, static_cast<char>('a' + i % 20)));
    stop = true;
  });
  while (!stop) {
    const std::string seen = text.Get();
    EXPECT_EQ(seen.find_first_not_of(seen.empty() ? 'a' : seen[0]), std::string::npos);
  }
  writer.join();
}

}  // namespace
}  // namespace bivalve::scan
