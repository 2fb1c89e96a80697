// Mail data by DATA and BDAT into a body, over simulated IO: whatever the cuts, the body has the content that
// was sent, and the bytes behind it stay in the stream.
#include <memory>
#include <string>
#include <utility>

#include "core/body_pool.h"
#include "core/scope.h"
#include "net/mail_data.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/sim_io.h"

using namespace bivalve;

namespace {

class Sender final : public sim::SimPeer {
 public:
  explicit Sender(std::string bytes) : bytes_(std::move(bytes)) {}
  void OnConnect(sim::SimSocket& socket) override {
    socket.Send(bytes_);
    socket.EndSending();
  }

 private:
  std::string bytes_;
};

struct Plan {
  bool bdat = false;
  uint64_t chunk_bytes = 0;
  net::MailDataLimits limits;
};

struct Got {
  net::MailDataResult result;
  std::string content;
  std::string rest;
  bool done = false;
};

// Behind CRLF every dot is stuffing; behind a bare LF only a dot that is not alone on its line.
std::string Unstuffed(std::string_view lines) {
  std::string content;
  for (size_t i = 0; i < lines.size(); ++i) {
    const bool begins_line = i == 0 || lines.substr(0, i).ends_with("\r\n");
    const bool alone =
        i + 1 < lines.size() && std::string_view("\r\n\0", 3).find(lines[i + 1]) != std::string::npos;
    if (lines[i] == '.' && (begins_line || (lines[i - 1] == '\n' && !alone))) continue;
    content += lines[i];
  }
  return content;
}

core::Task<void> Receive(core::Loop& loop, core::BodyPool& bodies, int fd, const Plan& plan, Got& got) {
  core::Condition wake(loop);
  net::Connection client(loop, wake, 1000);
  client.stream().Adopt(fd);
  std::unique_ptr<core::Body> body = co_await bodies.Acquire(0);
  core::Patience patience(std::chrono::seconds(30));
  if (plan.bdat) {
    patience.Start(loop.Now());
    got.result = co_await net::ReceiveChunk(loop, client, bodies, body.get(), plan.chunk_bytes, false,
                                            plan.limits, patience);
  } else {
    got.result = co_await net::ReceiveData(loop, client, bodies, *body, net::EndOfData::Check::kGuard,
                                           plan.limits, patience);
  }
  got.content = body->content();
  got.rest = client.stream().input();
  bodies.Release(std::move(body));
  co_await client.stream().Close();
  got.done = true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::Text(data, size));
  const uint64_t seed = choices.Number();
  Plan plan;
  plan.bdat = choices.Below(2) == 0;
  plan.chunk_bytes = choices.Byte() * 17u;
  plan.limits.message_bytes_max = choices.Below(4) == 0 ? 100 : 0;
  std::string wire(choices.rest());
  // Sometimes more than a body's first room.
  if (seed % 16 == 0 && !wire.empty()) {
    const std::string unit = wire;
    while (wire.size() < 150'000) wire += unit;
    plan.chunk_bytes *= 40;
  }

  Sender sender(wire);
  sim::SimIo io(seed, {.short_recv = 0.5});
  core::Loop loop(io);
  {
    core::BodyPool bodies(loop, {});
    core::Scope scope(loop);
    Got got;
    const int fd = io.Accept(sender);
    scope.Spawn(Receive(loop, bodies, fd, plan, got));
    BV_CHECK(io.Run(loop, [&] { return scope.running() == 0; }));
    BV_CHECK(got.done && bodies.bodies_out() == 0);
    using Status = net::MailDataResult::Status;
    if (plan.bdat) {
      BV_CHECK((got.result.status == Status::kComplete) == (wire.size() >= plan.chunk_bytes));
      if (got.result.status == Status::kComplete && got.result.fault != net::MailDataFault::kTooLarge) {
        BV_CHECK(got.content == std::string_view(wire).substr(0, plan.chunk_bytes));
      }
      if (got.result.fault == net::MailDataFault::kTooLarge) BV_CHECK(got.content.empty());
    } else {
      const bool empty_message = wire.starts_with(".\r\n");
      const size_t end = empty_message ? 0 : wire.find("\r\n.\r\n");
      BV_CHECK((got.result.status == Status::kComplete) == (end != std::string::npos));
      if (got.result.status == Status::kComplete && got.result.fault != net::MailDataFault::kTooLarge) {
        BV_CHECK(got.content == Unstuffed(empty_message ? std::string() : wire.substr(0, end + 2)));
        const std::string behind = wire.substr(empty_message ? 3 : end + 5);
        BV_CHECK(behind.starts_with(got.rest));
      }
    }
  }
  BV_CHECK(io.Problems().empty());
  return 0;
}
