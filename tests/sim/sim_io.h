// SimIo: replaces the kernel in tests. One seed decides everything that a kernel, a network and a clock may
// decide; the same seed gives the same run.
//
//   sim::SimIo io(seed, {.short_recv = 0.5, .reset = 0.02});
//   core::Loop loop(io);
//   io.Listen(address, address_bytes, [&] { return &server; });   // who answers a kConnect
//   const int fd = io.Accept(client);                              // a connection as if accepted
//   scope.Spawn(RunSession(loop, fd));
//   EXPECT_TRUE(io.Run(loop, [&] { return scope.running() == 0; }));
//   EXPECT_THAT(io.Problems(), IsEmpty());
//
// How it works:
//
//  1. Submit() only puts the operation on a list. Nothing completes, and no peer is called, outside of
//     Wait().
//  2. Wait() lists everything that could happen now: an operation completes, bytes of a peer arrive, bytes
//     reach a peer, a function given to After() is due. It picks one by the seed, lets it happen, lists
//     again, and returns after a number of picks that the seed decides. An operation submitted during a
//     Wait() completes in a later one.
//  3. Time stands still while anything can happen. If nothing can, it jumps to the next delayed event or to
//     the deadline, whichever comes first. If there is neither, the run has stalled: stalled() is true.
//  4. Sockets are numbers from kFirstDescriptor on, which no real descriptor has. No number is used twice,
//     so that each close has exactly one meaning. Operations on other descriptors (memfds, files, pipes, an
//     eventfd) become the real system call, as soon as they are picked.
//  5. A connection is two queues in each direction. What a peer sends is under way until a pick lets some
//     of it arrive, and a receive takes some of what has arrived: both are cut by the chance `short_recv`.
//     What we send goes into a send buffer of `send_buffer_bytes`, and a pick hands some of it to the peer.
//     A send completes when all of it is in that buffer, so a peer that does not read delays long sends but
//     not short ones.
//  6. A send is whole unless the connection fails or the send is cancelled half-way: then the result is the
//     number of bytes that were sent, or the error if there were none, like the kernel with MSG_WAITALL.
//  7. Cancel is a race. The operation ends with -ECANCELED or, if it could complete, with its real result;
//     chance decides. An operation that cannot complete is ended by a cancel, but not at once.
//  8. A peer's orderly end arrives after its bytes; a receive then gives 0. After a reset, bytes that have
//     already arrived can still be received; then comes -ECONNRESET once, then 0. A send gives -ECONNRESET
//     or -EPIPE. Sending to a peer that has closed succeeds once, and resets the connection when the bytes
//     reach it.
//  9. After Shutdown(), receives give the bytes that have arrived and then 0, and sends give -EPIPE. The
//     peer learns of it, as of Close(), by OnClose, after the last byte.
// 10. kRecvBuffer fills SimIo's own buffers, counts leased ones, overwrites returned ones, and gives
//     -ENOBUFS if all are leased or by the chance `no_buffers`. The memory of a send must not change until
//     it completes.
// 11. By chance, at any arrival or delivery, the peer resets the connection (`reset`), ends it in order
//     (`hang_up`), or is never heard of again (`silence`); connections are refused (`refuse`), and anything
//     may take up to `delay_max` (`delay`).
// 12. Violations are recorded and not asserted, so that a test can print the seed: Problems().
//
// Not simulated: the reset that a real kernel sends when a socket is closed with unread input, urgent data,
// datagrams.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/io.h"
#include "core/loop.h"

namespace bivalve::sim {

// The same numbers from the same seed on every system (the standard distributions do not promise this).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  // 0 … end - 1; `end` > 0.
  uint64_t Below(uint64_t end) { return Next() % end; }
  bool Chance(double chance);

 private:
  uint64_t state_;
};

class SimIo;
class SimPeer;

// A peer's end of one connection. Lives as long as its SimIo; calls after the end of the connection do
// nothing.
class SimSocket {
 public:
  SimSocket(const SimSocket&) = delete;
  ~SimSocket();

  void Send(std::string_view bytes);
  // The peer sends no more bytes, but still reads.
  void EndSending();
  // The peer has ended the connection: it reads no more either.
  void Close();
  void Reset();
  // The peer leaves bytes in the send buffer.
  void StopReading() { reading_ = false; }
  void ResumeReading() { reading_ = true; }

  // Our descriptor.
  int fd() const { return fd_; }
  // Neither the peer nor chance has ended the connection.
  bool open() const { return !peer_closed_ && !reset_; }
  SimIo& io() { return io_; }

 private:
  friend class SimIo;
  SimSocket(SimIo& io, int fd, SimPeer& peer) : io_(io), fd_(fd), peer_(peer) {}

  SimIo& io_;
  int fd_;
  SimPeer& peer_;
  bool connect_told_ = false;
  bool close_told_ = false;
  bool reading_ = true;
  bool silent_ = false;       // by chance: never heard of again
  bool peer_ended_ = false;   // no more bytes behind under_way_
  bool peer_closed_ = false;  // the peer does not read either
  bool end_arrived_ = false;  // a receive may give 0
  bool reset_ = false;
  bool reset_seen_ = false;                           // a receive or send has given the error
  bool shut_down_ = false;                            // by us; closed too
  bool output_ended_ = false;                         // by us: only our direction
  bool closed_ = false;                               // by us
  std::string under_way_;                             // from the peer
  std::string arrived_;                               // from the peer
  std::string send_buffer_;                           // to the peer
  uint64_t delivered_ = 0;                            // bytes that reached the peer
  std::deque<std::pair<uint64_t, int>> descriptors_;  // each belongs to the byte at that position
  core::MonoTime arrival_not_before_ = {};
  core::MonoTime delivery_not_before_ = {};
};

// The program at the other end. Called only from SimIo::Wait; outlives the SimIo, or at least its last Wait.
class SimPeer {
 public:
  virtual ~SimPeer() = default;
  virtual void OnConnect(SimSocket&) {}
  virtual void OnBytes(SimSocket&, std::string_view) {}
  // A descriptor came with the next byte (SCM_RIGHTS). Takes ownership of `fd`.
  virtual void OnDescriptor(SimSocket&, int fd);
  // Our side or chance has ended the connection. Not called if the peer itself has ended it.
  virtual void OnClose(SimSocket&) {}
};

struct SimOptions {
  // Chances, 0 to 1.
  double short_recv = 0;
  double reset = 0;
  double hang_up = 0;
  double silence = 0;
  double refuse = 0;
  double no_buffers = 0;
  double delay = 0;
  core::Duration delay_max = std::chrono::milliseconds(50);
  size_t send_buffer_bytes = size_t{64} << 10;
  uint32_t buffers = 64;
  uint32_t buffer_bytes = 4096;
  bool trace = false;  // each step on standard error
};

class SimIo final : public core::Io {
 public:
  static constexpr int kFirstDescriptor = 1'000'000'000;

  explicit SimIo(uint64_t seed, SimOptions options = {});
  ~SimIo() override;

  // --- The world around the code under test.

  // Makes a peer for each connection to `address`; a null peer refuses it. Other addresses refuse all
  // connections.
  void Listen(const sockaddr* address, socklen_t address_bytes, std::function<SimPeer*()> factory);
  // Connections to `address` are neither accepted nor refused.
  void Ignore(const sockaddr* address, socklen_t address_bytes);
  // A connected descriptor, as if accepted from `peer`, which gets its OnConnect later.
  int Accept(SimPeer& peer);
  // A listening descriptor for kAccept, and a connection from `peer` to it.
  int OpenListener();
  void Call(int listener, SimPeer& peer);
  // Runs `function` in a Wait after `delay`.
  void After(core::Duration delay, std::function<void()> function);
  Random& random() { return random_; }

  // Turns the loop until done() (true), or until nothing can ever happen again or `turns_max` is reached
  // (false).
  template <typename Done>
  bool Run(core::Loop& loop, Done done, uint64_t turns_max = 1'000'000) {
    while (!done() && turns_max-- > 0) {
      loop.Turn();
      if (stalled_) break;
    }
    return done();
  }
  // The last Wait() had no deadline and nothing to wait for.
  bool stalled() const { return stalled_; }

  // --- What happened.

  // Violations (a descriptor closed twice, closed with operations in flight, used after its close; memory of
  // a send that changed in flight; a buffer returned twice), and everything left over: operations in flight,
  // leased buffers, open descriptors. For the end of a test; in the middle of a test only the violations
  // count.
  std::vector<std::string> Problems() const;
  const std::vector<std::string>& failures() const { return failures_; }
  int opens(int fd) const;
  int closes(int fd) const;
  size_t open_descriptors() const;
  size_t buffers_leased() const;
  uint64_t buffers_used() const { return buffers_used_; }  // leases so far
  size_t operations_in_flight() const { return pending_.size(); }
  uint64_t completions() const { return completions_; }

  // --- core::Io
  core::MonoTime Now() const override { return now_; }
  void Wait(core::MonoTime deadline) override;
  int OpenSocket(int family) override;
  std::optional<uid_t> PeerUser(int) const override { return std::nullopt; }
  void Shutdown(int fd) override;
  void ShutdownOutput(int fd) override;
  void Close(int fd) override;
  std::span<char> Buffer(int buffer_id) override;
  void ReturnBuffer(int buffer_id) override;

 private:
  friend class SimSocket;

  struct Descriptor {
    int opens = 1;
    int closes = 0;
    bool listening = false;
    SimSocket* socket = nullptr;   // connected
    std::deque<SimPeer*> callers;  // listening: not yet accepted
  };
  struct Pending {
    core::IoOp* op = nullptr;
    core::MonoTime not_before;
    uint64_t turn = 0;  // in which the operation was submitted
    bool cancelled = false;
    size_t sent = 0;
    size_t memory_hash = 0;  // of the bytes to send
  };
  struct Timed {
    core::MonoTime when;
    std::function<void()> function;
  };
  // An event that can happen now.
  struct Candidate {
    enum class Kind : uint8_t { kOperation, kArrival, kDelivery, kTimed } kind;
    size_t index;
  };

  void DoSubmit(core::IoOp& op) override;
  void DoCancel(core::IoOp& op) override;

  void ListCandidates();
  core::MonoTime NextTime() const;
  void Happen(const Candidate& candidate);
  bool CanComplete(const Pending& pending) const;
  bool CanArrive(const SimSocket& socket) const;
  bool CanDeliver(const SimSocket& socket) const;
  void Step(size_t index);
  void Finish(size_t index, const Completion& completion);
  void StepAccept(size_t index);
  void StepConnect(size_t index);
  void StepReceive(size_t index);
  void StepSend(size_t index);
  void StepReal(size_t index);
  void Arrive(SimSocket& socket);
  void Deliver(SimSocket& socket);
  // True if chance ended or silenced the connection.
  bool Misfortune(SimSocket& socket);
  void TakeDescriptors(SimSocket& socket, const msghdr& message);

  int NewDescriptor();
  SimSocket& NewSocket(int fd, SimPeer& peer);
  Descriptor* Find(int fd);
  const Descriptor* Find(int fd) const;
  SimSocket* SocketOf(int fd) const;
  core::MonoTime Delay();
  size_t Cut(size_t bytes);
  void Fail(std::string what);
  void Trace(const char* what, int fd, int64_t result);

  SimOptions options_;
  Random random_;
  core::MonoTime now_ = core::MonoTime(std::chrono::hours(1));
  uint64_t turn_ = 0;
  bool stalled_ = false;
  int next_descriptor_ = kFirstDescriptor;
  std::map<int, Descriptor> descriptors_;
  std::vector<std::unique_ptr<SimSocket>> sockets_;
  std::map<std::string, std::function<SimPeer*()>> listeners_;  // an empty function: ignored
  std::vector<Pending> pending_;
  std::vector<Timed> timed_;
  std::vector<Candidate> candidates_;
  std::vector<char> buffer_memory_;
  std::vector<int> free_buffers_;
  std::vector<bool> leased_;
  uint64_t buffers_used_ = 0;
  uint64_t completions_ = 0;
  std::vector<std::string> failures_;
};

}  // namespace bivalve::sim
