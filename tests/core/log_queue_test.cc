#include "core/log_queue.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "core/text.h"
#include "tests/sim/sim_io.h"

namespace bivalve::core {
namespace {

TEST(LogQueue, IsEmptyAtFirst) {
  LogQueue queue(64);
  std::string record = "untouched";
  EXPECT_FALSE(queue.Pop(record));
  EXPECT_EQ(queue.dropped(), 0u);
}

TEST(LogQueue, GivesRecordsInOrder) {
  LogQueue queue(1024);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(queue.Push(Cat("record ", i)));
  std::string record;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(queue.Pop(record));
    EXPECT_EQ(record, Cat("record ", i));
  }
  EXPECT_FALSE(queue.Pop(record));
}

TEST(LogQueue, TakesAnEmptyRecord) {
  LogQueue queue(64);
  EXPECT_TRUE(queue.Push(std::string_view()));
  std::string record = "x";
  ASSERT_TRUE(queue.Pop(record));
  EXPECT_EQ(record, "");
}

TEST(LogQueue, TakesARecordOfExactlyItsCapacity) {
  LogQueue queue(64);
  std::string record;
  for (int round = 0; round < 5; ++round) {
    EXPECT_TRUE(queue.Push(std::string(60, 'x')));
    EXPECT_FALSE(queue.Push(""));
    ASSERT_TRUE(queue.Pop(record));
    EXPECT_EQ(record, std::string(60, 'x'));
    EXPECT_TRUE(queue.Push("shift"));  // the next round wraps elsewhere
    ASSERT_TRUE(queue.Pop(record));
  }
  EXPECT_EQ(queue.dropped(), 5u);
}

TEST(LogQueue, DropsAndCountsWhatDoesNotFit) {
  LogQueue queue(64);
  EXPECT_FALSE(queue.Push(std::string(61, 'x')));
  EXPECT_TRUE(queue.Push(std::string(30, 'a')));
  EXPECT_FALSE(queue.Push(std::string(30, 'b')));
  EXPECT_EQ(queue.dropped(), 2u);
  std::string record;
  ASSERT_TRUE(queue.Pop(record));
  EXPECT_EQ(record, std::string(30, 'a'));
  EXPECT_TRUE(queue.Push(std::string(30, 'c')));
  ASSERT_TRUE(queue.Pop(record));
  EXPECT_EQ(record, std::string(30, 'c'));
}

// Each record contains its own number and length, so that torn or mixed records show.
std::string NumberedRecord(uint64_t number, size_t bytes) {
  std::string record = Cat(number, ' ');
  record.resize(record.size() + bytes, static_cast<char>('a' + number % 26));
  return record;
}

TEST(LogQueue, KeepsRecordsWholeAcrossThreads) {
  constexpr uint64_t kRecords = 100'000;
  LogQueue queue(4096);
  uint64_t pushed = 0;
  std::thread writer([&] {
    sim::Random random(1);
    for (uint64_t i = 0; i < kRecords; ++i) {
      if (queue.Push(NumberedRecord(i, random.Below(200)))) {
        ++pushed;
      } else {
        std::this_thread::yield();
      }
    }
    while (!queue.Push("end")) std::this_thread::yield();
  });
  uint64_t popped = 0;
  uint64_t next = 0;
  for (std::string record; record != "end";) {
    if (!queue.Pop(record)) {
      std::this_thread::yield();
      continue;
    }
    if (record == "end") break;
    const uint64_t number = std::stoull(record);
    ASSERT_GE(number, next);
    next = number + 1;
    const size_t front = record.find(' ') + 1;
    ASSERT_EQ(record, NumberedRecord(number, record.size() - front));
    ++popped;
  }
  writer.join();
  EXPECT_EQ(popped, pushed);
  EXPECT_GE(queue.dropped(), kRecords - pushed);
}

}  // namespace
}  // namespace bivalve::core
