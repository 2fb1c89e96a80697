#include <benchmark/benchmark.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "core/fd.h"
#include "core/ring.h"

namespace bivalve::core {
namespace {

class CountedOp final : public IoOp {
 public:
  explicit CountedOp(Io& io) : io_(io) {}

 private:
  void OnComplete(IoResult) override {
    if (buffer_id() >= 0) io_.ReturnBuffer(buffer_id());
  }
  Io& io_;
};

struct Pair {
  Pair() {
    int fds[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
    ours.Reset(fds[0]);
    peer.Reset(fds[1]);
  }
  UniqueFd ours;
  UniqueFd peer;
};

std::unique_ptr<Ring> OpenRing() { return Ring::Open({}).value(); }

void Wait(Ring& ring, const IoOp& op) {
  while (op.in_flight()) ring.Wait(kNever);
}

// What does the cheapest trip to the kernel cost: reading one byte that is there, submitted and awaited
// alone?
void BM_OneOperation(benchmark::State& state) {
  auto ring = OpenRing();
  Pair pair;
  CountedOp op(*ring);
  char byte = 0;
  op.request = IoRequest::Receive(pair.ours.get(), {&byte, 1});
  op.request.flags = MSG_PEEK;
  if (send(pair.peer.get(), "x", 1, 0) != 1) std::abort();
  for (auto _ : state) {
    ring->Submit(op);
    Wait(*ring, op);
  }
}
BENCHMARK(BM_OneOperation);

// What does it cost to receive a command line whose bytes are there, in place and through the ring's own
// buffers?
void BM_SendThenReceive(benchmark::State& state) {
  auto ring = OpenRing();
  Pair pair;
  CountedOp op(*ring);
  std::string line(30, 'x');
  std::string room(4096, '\0');
  for (auto _ : state) {
    if (send(pair.peer.get(), line.data(), line.size(), 0) < 0) std::abort();
    if (state.range(0) != 0) {
      op.request = IoRequest::ReceiveBuffer(pair.ours.get());
    } else {
      op.request = IoRequest::Receive(pair.ours.get(), room);
    }
    ring->Submit(op);
    Wait(*ring, op);
  }
  state.counters["enters/op"] =
      static_cast<double>(ring->counts().enters) / static_cast<double>(state.iterations());
}
BENCHMARK(BM_SendThenReceive)->ArgName("buffer")->Arg(0)->Arg(1);

// What does a request with its answer cost between two parties on one ring, for this many pairs at once? The
// more pairs, the fewer system calls for each: this is the purpose of the ring.
void BM_SendAndReceivePairs(benchmark::State& state) {
  auto ring = OpenRing();
  const auto count = static_cast<size_t>(state.range(0));
  std::vector<Pair> pairs(count);
  std::vector<std::unique_ptr<CountedOp>> sends;
  std::vector<std::unique_ptr<CountedOp>> receives;
  for (size_t i = 0; i < count; ++i) {
    sends.push_back(std::make_unique<CountedOp>(*ring));
    receives.push_back(std::make_unique<CountedOp>(*ring));
  }
  std::string line(30, 'x');
  for (auto _ : state) {
    for (size_t i = 0; i < count; ++i) {
      receives[i]->request = IoRequest::ReceiveBuffer(pairs[i].ours.get()).WaitFirst(true);
      ring->Submit(*receives[i]);
      sends[i]->request = IoRequest::Send(pairs[i].peer.get(), line);
      ring->Submit(*sends[i]);
    }
    for (size_t i = 0; i < count; ++i) {
      Wait(*ring, *receives[i]);
      Wait(*ring, *sends[i]);
    }
  }
  const auto trips = static_cast<double>(state.iterations()) * static_cast<double>(count);
  state.SetItemsProcessed(static_cast<int64_t>(trips));
  state.counters["enters/trip"] = static_cast<double>(ring->counts().enters) / trips;
}
BENCHMARK(BM_SendAndReceivePairs)->ArgName("pairs")->Arg(1)->Arg(16)->Arg(128);

}  // namespace
}  // namespace bivalve::core
