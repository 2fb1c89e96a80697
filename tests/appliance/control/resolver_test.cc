// Only names that need no name server: numeric addresses, and a name that cannot exist.
#include "appliance/control/resolver.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bivalve::appliance {
namespace {

using std::chrono::seconds;

// How many threads this process has. Does not list /proc/self/task: if a thread ends meanwhile, the list may
// omit another one.
int Threads() {
  std::ifstream status("/proc/self/status");
  std::string word;
  int threads = 0;
  while (status >> word) {
    if (word == "Threads:") status >> threads;
  }
  return threads;
}
// Counted before any test. ThreadSanitizer starts a thread of its own together with a program's first one.
const int kThreadsAtStart = [] {
  pid_t first = 0;
  std::thread([&first] { first = gettid(); }).join();
  while (tgkill(getpid(), first, 0) == 0) std::this_thread::yield();
  return Threads();
}();

TEST(Resolver, SaysWhatEachNameMeans) {
  // On the heap and never freed by a failing test, because the resolver's thread may still use it.
  auto first = std::make_shared<std::promise<std::string>>();
  auto second = std::make_shared<std::promise<std::string>>();
  Resolver resolver;
  const auto tell = [](const std::shared_ptr<std::promise<std::string>>& promise) {
    return [promise, told = false](const std::vector<net::SocketAddress>& addresses) mutable {
      if (!std::exchange(told, true)) promise->set_value(addresses.front().ToString());
    };
  };
  resolver.Watch({.name = "127.0.0.1", .port = 25}, tell(first));
  resolver.Watch({.name = "127.0.0.2", .port = 26}, tell(second));
  resolver.Start();
  auto first_told = first->get_future();
  auto second_told = second->get_future();
  ASSERT_EQ(first_told.wait_for(seconds(30)), std::future_status::ready);
  ASSERT_EQ(second_told.wait_for(seconds(30)), std::future_status::ready);
  EXPECT_EQ(first_told.get(), "127.0.0.1:25");
  EXPECT_EQ(second_told.get(), "127.0.0.2:26");
}

// A temporary failure of a name server must not discard the last answer.
TEST(Resolver, SaysNothingOfANameThatDoesNotResolve) {
  auto called = std::make_shared<std::atomic<bool>>(false);
  auto reached = std::make_shared<std::promise<void>>();
  Resolver resolver;
  resolver.Watch({.name = "no such name", .port = 25}, [called](const auto&) { called->store(true); });
  resolver.Watch({.name = "127.0.0.1", .port = 25}, [reached, told = false](const auto&) mutable {
    if (!std::exchange(told, true)) reached->set_value();
  });
  resolver.Start();
  ASSERT_EQ(reached->get_future().wait_for(seconds(30)), std::future_status::ready);
  EXPECT_FALSE(called->load());
}

TEST(Resolver, CallsNobodyAfterItsEnd) {
  for (int i = 0; i < 50; ++i) {
    auto alive = std::make_shared<std::atomic<bool>>(true);
    auto late = std::make_shared<std::atomic<bool>>(false);
    {
      Resolver resolver;
      resolver.Watch({.name = "127.0.0.1", .port = 25}, [alive, late](const auto&) {
        if (!alive->load()) late->store(true);
      });
      resolver.Start();
    }
    alive->store(false);
    EXPECT_FALSE(late->load());
  }
}

TEST(Resolver, HasAThreadOnlyWhereThereAreNames) {
  // The threads of other tests end first.
  const auto give_up = std::chrono::steady_clock::now() + seconds(30);
  while (Threads() != kThreadsAtStart && std::chrono::steady_clock::now() < give_up)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_EQ(Threads(), kThreadsAtStart);
  Resolver without;
  without.Start();
  EXPECT_EQ(Threads(), kThreadsAtStart);
  Resolver with;
  with.Watch({.name = "127.0.0.1", .port = 25}, [](const auto&) {});
  with.Start();
  EXPECT_EQ(Threads(), kThreadsAtStart + 1);
}

}  // namespace
}  // namespace bivalve::appliance
