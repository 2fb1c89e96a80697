// The fixture for tests of Stream over the real kernel.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <utility>

#include "core/ring.h"
#include "core/stream.h"
#include "tests/core/run_task.h"
#include "tests/core/sockets.h"

namespace bivalve::core {

class StreamTest : public testing::Test {
 protected:
  ~StreamTest() override {
    if (stream_.open()) Await(stream_.Close());
  }

  template <typename T>
  T Await(Task<T> task) {
    return RunTask(loop_, std::move(task));
  }
  void AdoptLocal() {
    SocketPair pair = LocalPair();
    stream_.Adopt(pair.ours.Release());
    peer_ = std::move(pair.peer);
  }
  void AdoptTcp() {
    SocketPair pair = TcpPair();
    stream_.Adopt(pair.ours.Release());
    peer_ = std::move(pair.peer);
  }
  MonoTime In(Duration time) { return ring_->Now() + time; }
  // Turns the loop until `done`, at most some seconds.
  template <typename Done>
  bool TurnUntil(Done done) {
    const MonoTime give_up = In(std::chrono::seconds(10));
    while (!done() && ring_->Now() < give_up) loop_.Turn(give_up);
    return done();
  }
  void Turns(int count) {
    for (int i = 0; i < count; ++i) loop_.Turn(ring_->Now());
  }

  std::unique_ptr<Ring> ring_ = Ring::Open({}).value();
  Loop loop_{*ring_};
  Condition wake_{loop_};
  Stream stream_{loop_, wake_};
  UniqueFd peer_;
};

}  // namespace bivalve::core
