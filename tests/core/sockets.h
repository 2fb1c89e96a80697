// For tests: real, blocking sockets, as a peer would use them.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "core/fd.h"

namespace bivalve::core {

struct SocketPair {
  UniqueFd ours;
  UniqueFd peer;
};

inline SocketPair LocalPair() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// Listens on a free port of the loopback interface.
class TcpListener {
 public:
  TcpListener() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof(address_);
    EXPECT_EQ(bind(fd(), address(), bytes), 0);
    EXPECT_EQ(listen(fd(), 100), 0);
    EXPECT_EQ(getsockname(fd(), reinterpret_cast<sockaddr*>(&address_), &bytes), 0);
  }
  int fd() const { return socket_.get(); }
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }
  socklen_t address_bytes() const { return sizeof(address_); }

  UniqueFd Connect() const {
    UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(client.get(), address(), address_bytes()), 0);
    return client;
  }
  UniqueFd Accept() const { return UniqueFd(accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC)); }
  void Close() { socket_.Reset(); }

 private:
  UniqueFd socket_;
  sockaddr_in address_ = {};
};

inline SocketPair TcpPair() {
  const TcpListener listener;
  UniqueFd peer = listener.Connect();
  return {listener.Accept(), std::move(peer)};
}

inline void SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ASSERT_GT(sent, 0);
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

// Receives until `bytes` have arrived or the other side has ended.
inline std::string ReceiveAll(int fd, size_t bytes = SIZE_MAX) {
  std::string received;
  char room[65536];
  while (received.size() < bytes) {
    const ssize_t got = recv(fd, room, std::min(sizeof(room), bytes - received.size()), 0);
    if (got <= 0) break;
    received.append(room, static_cast<size_t>(got));
  }
  return received;
}

// Makes closing it send a reset.
inline void ResetOnClose(int fd) {
  const linger now = {.l_onoff = 1, .l_linger = 0};
  ASSERT_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
}

}  // namespace bivalve::core
