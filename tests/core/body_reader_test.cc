#include "core/body_reader.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "tests/core/body_fixture.h"

namespace bivalve::core {
namespace {

class BodyReaderTest : public BodyFixture {
 protected:
  // Large pages are kept, so that a growing body moves into them.
  void KeepALargeBody() {
    std::unique_ptr<Body> body = Acquire();
    ASSERT_TRUE(Fill(*body, Pattern(4 * kMebi)));
    pool_->Release(std::move(body));
  }
};

TEST_F(BodyReaderTest, ReadsBehindTheWriter) {
  std::unique_ptr<Body> body = Acquire();
  const std::string content = Pattern(3 * kMebi);
  BodyReader reader(*body);
  std::string read;
  EXPECT_FALSE(reader.HasMore());
  for (size_t at = 0; at < content.size(); at += 100'000) {
    ASSERT_TRUE(Fill(*body, content.substr(at, 100'000)));
    EXPECT_TRUE(reader.HasMore());
    const std::string_view part = reader.Take(70'000);
    EXPECT_EQ(part.size(), std::min<size_t>(70'000, body->content_bytes() - read.size()));
    read += part;
    reader.Done(part.size());
  }
  while (reader.HasMore()) {
    const std::string_view part = reader.Take(SIZE_MAX);
    read += part.substr(0, 1000);
    reader.Done(std::min<size_t>(part.size(), 1000));
  }
  EXPECT_TRUE(read == content);
  EXPECT_EQ(reader.offset(), content.size());
  pool_->Release(std::move(body));
}

// As if a send in flight read from there.
TEST_F(BodyReaderTest, FindsWhatItHoldsInItsPlaceWhereverTheBodyGrows) {
  for (const bool in_file : {false, true}) {
    for (const bool kept : {false, true}) {
      BodyPool::Options options = DefaultOptions();
      options.in_memory_message_bytes_max = 2 * kMebi;
      if (in_file) options.memory_bytes_max = 0;
      MakePool(options);
      if (kept) KeepALargeBody();
      std::unique_ptr<Body> body = Acquire();
      const std::string content = Pattern(20 * kMebi);
      ASSERT_TRUE(Fill(*body, content.substr(0, 50'000)));
      BodyReader reader(*body);
      const std::string_view held = reader.Take(SIZE_MAX);
      ASSERT_TRUE(Fill(*body, content.substr(50'000)));
      EXPECT_TRUE(body->in_file());
      EXPECT_TRUE(held == content.substr(0, 50'000));
      EXPECT_TRUE(body->content() == content);
      reader.Done(held.size());
      const std::string_view rest = reader.Take(SIZE_MAX);
      EXPECT_TRUE(rest == content.substr(50'000));
      reader.Done(rest.size());
      pool_->Release(std::move(body));
      EXPECT_EQ(pool_->bodies_out(), 0u) << "what was held is back as well";
      EXPECT_EQ(pool_->file_bodies(), 0u);
    }
  }
}

// Without a move nothing changes its address, whoever reads.
TEST_F(BodyReaderTest, NeedsNoOtherPlaceUpToTheLargestInMemory) {
  std::unique_ptr<Body> body = Acquire();
  const char* const at = body->room().data();
  ASSERT_TRUE(Fill(*body, Pattern(30 * kMebi)));
  EXPECT_FALSE(body->in_file());
  EXPECT_EQ(body->content().data(), at);
  pool_->Release(std::move(body));
}

TEST_F(BodyReaderTest, KeepsThePlaceOfAFileAsWell) {
  BodyPool::Options options = DefaultOptions();
  options.memory_bytes_max = 0;
  MakePool(options);
  std::unique_ptr<Body> body = Acquire();
  const char* const at = body->room().data();
  ASSERT_TRUE(Fill(*body, Pattern(50 * kMebi)));
  EXPECT_TRUE(body->in_file());
  EXPECT_EQ(body->content().data(), at);
  pool_->Release(std::move(body));
}

TEST_F(BodyReaderTest, AMessageBeyondTheLargestFileHasNoRoom) {
  BodyPool::Options options = DefaultOptions();
  options.memory_bytes_max = 0;
  options.in_file_message_bytes_max = 6 * kMebi;
  MakePool(options);
  std::unique_ptr<Body> body = Acquire();
  EXPECT_FALSE(Fill(*body, Pattern(7 * kMebi)));
  EXPECT_EQ(body->image_bytes(), 6 * kMebi);
  EXPECT_TRUE(body->content() == Pattern(7 * kMebi).substr(0, body->content_bytes()));
  pool_->Release(std::move(body));
}

TEST_F(BodyReaderTest, AbortsWhenABodyIsTakenFromUnderIt) {
  std::unique_ptr<Body> body = Acquire();
  ASSERT_TRUE(Fill(*body, "held"));
  BodyReader reader(*body);
  (void)reader.Take(1);
  EXPECT_DEATH(pool_->Shrink(*body), "readers_");
  reader.Done(1);
  pool_->Release(std::move(body));
}

}  // namespace
}  // namespace bivalve::core
