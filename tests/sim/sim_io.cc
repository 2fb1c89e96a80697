#include "tests/sim/sim_io.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "core/text.h"
#include "tests/sim/sim_requests.h"

namespace bivalve::sim {
namespace {

using core::Cat;
using core::IoCode;
using core::IoRequest;
using core::MonoTime;

constexpr char kReturnedByte = '\xDD';  // fills a returned buffer

}  // namespace

// --- Random (splitmix64)

uint64_t Random::Next() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

bool Random::Chance(double chance) {
  return chance > 0 && static_cast<double>(Next() >> 11) * 0x1p-53 < chance;
}

// --- The peer's side

SimSocket::~SimSocket() {
  for (const auto& [position, fd] : descriptors_) close(fd);
}

void SimSocket::Send(std::string_view bytes) {
  if (!peer_ended_ && !reset_) under_way_.append(bytes);
}

void SimSocket::EndSending() { peer_ended_ = true; }

void SimSocket::Close() {
  peer_ended_ = true;
  peer_closed_ = true;
}

void SimSocket::Reset() {
  if (reset_) return;
  reset_ = true;
  peer_ended_ = peer_closed_ = true;
  // Bytes under way may arrive before the reset or be lost with it.
  if (!closed_ && io_.random_.Chance(0.5)) arrived_ += under_way_;
  under_way_.clear();
  send_buffer_.clear();
}

void SimPeer::OnDescriptor(SimSocket&, int fd) { close(fd); }

// --- The world

SimIo::SimIo(uint64_t seed, SimOptions options)
    : options_(options),
      random_(seed),
      buffer_memory_(size_t{options.buffers} * options.buffer_bytes, kReturnedByte),
      leased_(options.buffers, false) {
  for (uint32_t id = 0; id < options_.buffers; ++id) free_buffers_.push_back(static_cast<int>(id));
}

SimIo::~SimIo() = default;

void SimIo::Listen(const sockaddr* address, socklen_t address_bytes, std::function<SimPeer*()> factory) {
  listeners_[AddressKey(address, address_bytes)] = std::move(factory);
}

void SimIo::Ignore(const sockaddr* address, socklen_t address_bytes) {
  listeners_[AddressKey(address, address_bytes)] = nullptr;
}

int SimIo::Accept(SimPeer& peer) {
  const int fd = NewDescriptor();
  NewSocket(fd, peer);
  return fd;
}

int SimIo::OpenListener() {
  const int fd = NewDescriptor();
  Find(fd)->listening = true;
  return fd;
}

void SimIo::Call(int listener, SimPeer& peer) {
  Descriptor* descriptor = Find(listener);
  BV_CHECK(descriptor != nullptr && descriptor->listening);
  descriptor->callers.push_back(&peer);
}

void SimIo::After(core::Duration delay, std::function<void()> function) {
  timed_.push_back({now_ + delay, std::move(function)});
}

// --- What happened

std::vector<std::string> SimIo::Problems() const {
  std::vector<std::string> problems = failures_;
  if (!pending_.empty()) problems.push_back(Cat(pending_.size(), " operations are still in flight"));
  if (buffers_leased() > 0) problems.push_back(Cat(buffers_leased(), " buffers are still leased"));
  for (const auto& [fd, descriptor] : descriptors_) {
    if (descriptor.closes == 0) problems.push_back(Cat("descriptor ", fd, " is still open"));
  }
  return problems;
}

int SimIo::opens(int fd) const {
  const Descriptor* descriptor = Find(fd);
  return descriptor == nullptr ? 0 : descriptor->opens;
}

int SimIo::closes(int fd) const {
  const Descriptor* descriptor = Find(fd);
  return descriptor == nullptr ? 0 : descriptor->closes;
}

size_t SimIo::open_descriptors() const {
  return static_cast<size_t>(std::count_if(descriptors_.begin(), descriptors_.end(),
                                           [](const auto& entry) { return entry.second.closes == 0; }));
}

size_t SimIo::buffers_leased() const {
  return static_cast<size_t>(std::count(leased_.begin(), leased_.end(), true));
}

void SimIo::Fail(std::string what) {
  if (options_.trace) std::fprintf(stderr, "sim: FAILURE: %s\n", what.c_str());
  failures_.push_back(std::move(what));
}

void SimIo::Trace(const char* what, int fd, int64_t result) {
  if (!options_.trace) return;
  const auto elapsed = now_ - MonoTime(std::chrono::hours(1));
  std::fprintf(stderr, "sim: %9.3f ms  %-8s fd %d: %lld\n", static_cast<double>(elapsed.count()) / 1e6, what,
               fd >= kFirstDescriptor ? fd - kFirstDescriptor : fd, static_cast<long long>(result));
}

// --- core::Io

int SimIo::OpenSocket(int) { return NewDescriptor(); }

void SimIo::Shutdown(int fd) {
  if (fd < kFirstDescriptor) {
    shutdown(fd, SHUT_RDWR);
    return;
  }
  const Descriptor* descriptor = Find(fd);
  if (descriptor == nullptr || descriptor->closes > 0) {
    Fail(Cat("descriptor ", fd, " was shut down when it was not open"));
  } else if (descriptor->socket != nullptr) {
    Trace("shutdown", fd, 0);
    descriptor->socket->shut_down_ = true;
  }
}

void SimIo::ShutdownOutput(int fd) {
  if (fd < kFirstDescriptor) {
    shutdown(fd, SHUT_WR);
    return;
  }
  if (SimSocket* socket = SocketOf(fd); socket != nullptr) {
    Trace("end", fd, 0);
    socket->output_ended_ = true;
  }
}

void SimIo::Close(int fd) {
  if (fd < kFirstDescriptor) {
    if (close(fd) != 0) Fail(Cat("descriptor ", fd, " was closed when it was not open"));
    return;
  }
  Descriptor* descriptor = Find(fd);
  if (descriptor == nullptr) {
    Fail(Cat("descriptor ", fd, " was closed and never opened"));
    return;
  }
  Trace("close", fd, 0);
  if (++descriptor->closes > 1) Fail(Cat("descriptor ", fd, " was closed ", descriptor->closes, " times"));
  for (const Pending& pending : pending_) {
    if (pending.op->request.fd == fd) {
      Fail(Cat("descriptor ", fd, " was closed with an operation in flight"));
    }
  }
  if (SimSocket* socket = descriptor->socket; socket != nullptr) {
    socket->shut_down_ = socket->closed_ = true;
    socket->under_way_.clear();
    socket->arrived_.clear();
  }
}

std::span<char> SimIo::Buffer(int buffer_id) {
  return {buffer_memory_.data() + static_cast<size_t>(buffer_id) * options_.buffer_bytes,
          options_.buffer_bytes};
}

void SimIo::ReturnBuffer(int buffer_id) {
  const auto index = static_cast<size_t>(buffer_id);
  if (index >= leased_.size() || !leased_[index]) {
    Fail(Cat("buffer ", buffer_id, " was returned and not leased"));
    return;
  }
  leased_[index] = false;
  std::ranges::fill(Buffer(buffer_id), kReturnedByte);
  free_buffers_.push_back(buffer_id);
}

void SimIo::DoSubmit(core::IoOp& op) {
  const IoRequest& request = op.request;
  const Descriptor* submitted_on = Find(request.fd);
  if (request.fd >= kFirstDescriptor && (submitted_on == nullptr || submitted_on->closes > 0))
    Fail(Cat("an operation was submitted on descriptor ", request.fd, ", which is not open"));
  Pending pending;
  pending.op = &op;
  pending.not_before = Delay();
  pending.turn = turn_;
  if (IsSend(request.code)) pending.memory_hash = HashOfSend(request);
  pending_.push_back(pending);
}

void SimIo::DoCancel(core::IoOp& op) {
  for (Pending& pending : pending_) {
    if (pending.op == &op) pending.cancelled = true;
  }
}

void SimIo::Wait(MonoTime deadline) {
  ++turn_;
  stalled_ = false;
  ListCandidates();
  while (candidates_.empty()) {
    if (deadline <= now_) return;
    const MonoTime next = NextTime();
    if (next == core::kNever && deadline == core::kNever) {
      stalled_ = true;
      return;
    }
    now_ = std::min(next, deadline);
    ListCandidates();
    if (next > deadline) return;
  }
  uint64_t steps = 1 + random_.Below(candidates_.size());
  if (deadline <= now_ && random_.Chance(0.25)) steps = 0;
  for (; steps > 0 && !candidates_.empty(); --steps) {
    const Candidate picked = candidates_[random_.Below(candidates_.size())];
    Happen(picked);
    ListCandidates();
  }
}

// --- What can happen, and when

void SimIo::ListCandidates() {
  candidates_.clear();
  for (size_t i = 0; i < pending_.size(); ++i) {
    const Pending& pending = pending_[i];
    if (pending.turn < turn_ && pending.not_before <= now_ && (pending.cancelled || CanComplete(pending))) {
      candidates_.push_back({Candidate::Kind::kOperation, i});
    }
  }
  for (size_t i = 0; i < sockets_.size(); ++i) {
    const SimSocket& socket = *sockets_[i];
    if (socket.arrival_not_before_ <= now_ && CanArrive(socket)) {
      candidates_.push_back({Candidate::Kind::kArrival, i});
    }
    if (socket.delivery_not_before_ <= now_ && CanDeliver(socket)) {
      candidates_.push_back({Candidate::Kind::kDelivery, i});
    }
  }
  for (size_t i = 0; i < timed_.size(); ++i) {
    if (timed_[i].when <= now_) candidates_.push_back({Candidate::Kind::kTimed, i});
  }
}

// The next moment at which something delayed can happen. Called when nothing can happen now.
MonoTime SimIo::NextTime() const {
  MonoTime next = core::kNever;
  const auto consider = [&](MonoTime when) {
    if (when > now_) next = std::min(next, when);
  };
  for (const Pending& pending : pending_) {
    if (pending.cancelled || CanComplete(pending)) consider(pending.not_before);
  }
  for (const auto& socket : sockets_) {
    if (CanArrive(*socket)) consider(socket->arrival_not_before_);
    if (CanDeliver(*socket)) consider(socket->delivery_not_before_);
  }
  for (const Timed& timed : timed_) consider(timed.when);
  return next;
}

bool SimIo::CanComplete(const Pending& pending) const {
  const IoRequest& request = pending.op->request;
  const bool simulated = request.fd >= kFirstDescriptor;
  const SimSocket* socket = SocketOf(request.fd);
  const Descriptor* descriptor = Find(request.fd);
  if (simulated && (descriptor == nullptr || descriptor->closes > 0)) return true;  // -EBADF
  switch (request.code) {
    case IoCode::kAccept:
      return descriptor == nullptr || !descriptor->listening || !descriptor->callers.empty();
    case IoCode::kConnect: {
      const auto listener = listeners_.find(
          AddressKey(static_cast<const sockaddr*>(request.address), static_cast<socklen_t>(request.bytes)));
      return listener == listeners_.end() || listener->second != nullptr;
    }
    case IoCode::kRecv:
    case IoCode::kRecvMsg:
    case IoCode::kRecvBuffer:
      return socket == nullptr || !socket->arrived_.empty() || socket->end_arrived_ || socket->reset_ ||
             socket->shut_down_;
    case IoCode::kSend:
    case IoCode::kSendMsg:
      return socket == nullptr || socket->reset_ || socket->shut_down_ ||
             socket->send_buffer_.size() < options_.send_buffer_bytes;
    case IoCode::kRead:
      return simulated || Ready(request.fd, POLLIN);
    case IoCode::kWrite:
    case IoCode::kOpenAt:
    case IoCode::kAllocate:
      return true;
  }
  return true;
}

bool SimIo::CanArrive(const SimSocket& socket) const {
  if (!socket.connect_told_ || socket.closed_ || socket.silent_ || socket.reset_) return false;
  return !socket.under_way_.empty() || (socket.peer_ended_ && !socket.end_arrived_);
}

bool SimIo::CanDeliver(const SimSocket& socket) const {
  if (socket.silent_ || socket.close_told_) return false;
  if (!socket.connect_told_) return true;
  if (socket.reset_) return false;
  if (!socket.send_buffer_.empty()) return socket.reading_ || socket.peer_closed_;
  return (socket.shut_down_ || socket.output_ended_) && !socket.peer_closed_;
}

void SimIo::Happen(const Candidate& candidate) {
  switch (candidate.kind) {
    case Candidate::Kind::kOperation:
      Step(candidate.index);
      return;
    case Candidate::Kind::kArrival:
      Arrive(*sockets_[candidate.index]);
      return;
    case Candidate::Kind::kDelivery:
      Deliver(*sockets_[candidate.index]);
      return;
    case Candidate::Kind::kTimed: {
      const std::function<void()> function = std::move(timed_[candidate.index].function);
      timed_.erase(timed_.begin() + static_cast<ptrdiff_t>(candidate.index));
      function();
      return;
    }
  }
}

// --- Connections

void SimIo::Arrive(SimSocket& socket) {
  if (Misfortune(socket)) return;
  if (socket.under_way_.empty()) {
    socket.end_arrived_ = true;
    return;
  }
  const size_t bytes = Cut(socket.under_way_.size());
  socket.arrived_.append(socket.under_way_, 0, bytes);
  socket.under_way_.erase(0, bytes);
  socket.arrival_not_before_ = Delay();
}

void SimIo::Deliver(SimSocket& socket) {
  if (!socket.connect_told_) {
    socket.connect_told_ = true;
    socket.arrival_not_before_ = Delay();
    Trace("connect", socket.fd_, 0);
    socket.peer_.OnConnect(socket);
    return;
  }
  if (socket.send_buffer_.empty()) {
    socket.close_told_ = true;
    Trace("closed", socket.fd_, 0);
    socket.peer_.OnClose(socket);
    return;
  }
  if (socket.peer_closed_) {  // nobody reads there any more
    socket.Reset();
    Trace("reset", socket.fd_, 0);
    return;
  }
  if (Misfortune(socket)) return;
  while (!socket.descriptors_.empty() && socket.descriptors_.front().first == socket.delivered_) {
    const int descriptor = socket.descriptors_.front().second;
    socket.descriptors_.pop_front();
    socket.peer_.OnDescriptor(socket, descriptor);
  }
  size_t bytes = Cut(socket.send_buffer_.size());
  if (!socket.descriptors_.empty()) {
    bytes = std::min<size_t>(bytes, socket.descriptors_.front().first - socket.delivered_);
  }
  bytes = std::min(bytes, socket.send_buffer_.size());  // OnDescriptor may have reset the connection
  const std::string part = socket.send_buffer_.substr(0, bytes);
  socket.send_buffer_.erase(0, bytes);
  socket.delivered_ += bytes;
  socket.delivery_not_before_ = Delay();
  Trace("to peer", socket.fd_, static_cast<int64_t>(bytes));
  if (!part.empty()) socket.peer_.OnBytes(socket, part);
}

bool SimIo::Misfortune(SimSocket& socket) {
  const bool reset = random_.Chance(options_.reset);
  if (reset || random_.Chance(options_.hang_up)) {
    const bool tell = socket.open();
    if (reset) {
      socket.Reset();
    } else {
      socket.Close();
    }
    Trace(reset ? "reset" : "hang up", socket.fd_, 0);
    if (tell) {
      socket.close_told_ = true;
      socket.peer_.OnClose(socket);
    }
    return true;
  }
  if (random_.Chance(options_.silence)) {
    Trace("silence", socket.fd_, 0);
    socket.silent_ = true;
    return true;
  }
  return false;
}

// --- Small things

int SimIo::NewDescriptor() {
  descriptors_[next_descriptor_] = {};
  return next_descriptor_++;
}

SimSocket& SimIo::NewSocket(int fd, SimPeer& peer) {
  sockets_.push_back(std::unique_ptr<SimSocket>(new SimSocket(*this, fd, peer)));
  SimSocket& socket = *sockets_.back();
  socket.delivery_not_before_ = Delay();
  Find(fd)->socket = &socket;
  return socket;
}

SimIo::Descriptor* SimIo::Find(int fd) {
  const auto found = descriptors_.find(fd);
  return found == descriptors_.end() ? nullptr : &found->second;
}

const SimIo::Descriptor* SimIo::Find(int fd) const {
  const auto found = descriptors_.find(fd);
  return found == descriptors_.end() ? nullptr : &found->second;
}

SimSocket* SimIo::SocketOf(int fd) const {
  const Descriptor* descriptor = Find(fd);
  return descriptor == nullptr ? nullptr : descriptor->socket;
}

// Zero, or by chance some time.
MonoTime SimIo::Delay() {
  if (!random_.Chance(options_.delay)) return now_;
  return now_ + core::Duration(random_.Below(static_cast<uint64_t>(options_.delay_max.count()) + 1));
}

// All of `bytes`, or by chance only some; at least one.
size_t SimIo::Cut(size_t bytes) {
  if (bytes <= 1 || !random_.Chance(options_.short_recv)) return bytes;
  return 1 + static_cast<size_t>(random_.Below(bytes - 1));
}

}  // namespace bivalve::sim
