// FakeClamd: a scanner under a test's control, over real sockets. By itself it only answers PINGs. A test
// looks at the scans that have arrived and decides which answers are sent, in which order, and when a
// connection closes. Lives in the test's thread: Poll() reads what has arrived.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/fd.h"
#include "core/text.h"

namespace bivalve::scan {

class FakeClamd {
 public:
  struct Connection {
    core::UniqueFd fd;
    bool session = false;
    bool ended = false;  // by the client
    uint32_t id = 0;     // of the last command
    uint32_t pings = 0;
    std::string input;
    std::deque<core::UniqueFd> descriptors;
    bool uploading = false;
    std::string content;  // of the upload, so far
    bool open() const { return fd.valid(); }
  };
  struct Scan {
    size_t connection = 0;
    uint32_t id = 0;
    core::UniqueFd descriptor;  // FILDES
    std::string content;        // INSTREAM
    bool stream() const { return !descriptor.valid(); }
  };

  // An empty path: TCP on a port chosen by the system.
  explicit FakeClamd(std::string path) : path_(std::move(path)) { Listen(); }
  FakeClamd(const FakeClamd&) = delete;
  ~FakeClamd() { Vanish(); }

  // Where to connect, in the form that ScannerOptions needs.
  std::function<socklen_t(sockaddr_storage&)> address() {
    return [this](sockaddr_storage& out) {
      std::memcpy(&out, &address_, sizeof(address_));
      return address_bytes_;
    };
  }

  void Listen() {
    const bool local = !path_.empty();
    if (local) {
      auto& address = reinterpret_cast<sockaddr_un&>(address_);
      address.sun_family = AF_UNIX;
      BV_CHECK(path_.size() < sizeof(address.sun_path));
      std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
      address_bytes_ = sizeof(sockaddr_un);
    } else if (address_bytes_ == 0) {
      auto& address = reinterpret_cast<sockaddr_in&>(address_);
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address_bytes_ = sizeof(sockaddr_in);
    }
    listener_.Reset(socket(address_.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int on = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (local) unlink(path_.c_str());
    BV_CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address_), address_bytes_) == 0);
    BV_CHECK(listen(listener_.get(), 64) == 0);
    socklen_t bytes = sizeof(address_);
    if (!local) getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address_), &bytes);
  }

  // Like the end of the process.
  void Vanish() {
    listener_.Reset();
    if (!path_.empty()) unlink(path_.c_str());
    for (Connection& connection : connections) connection.fd.Reset();
  }

  // Reads what has arrived. Never blocks.
  void Poll() {
    if (listener_.valid()) {
      for (;;) {
        const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) break;
        connections.emplace_back().fd.Reset(fd);
      }
    }
    if (!reading) return;
    for (size_t i = 0; i < connections.size(); ++i) {
      while (connections[i].open() && Read(i)) {
      }
    }
  }

  // Sends "ID: text" and NUL.
  void Reply(const Scan& scan, std::string_view text) {
    Say(scan.connection, core::Cat(scan.id, ": ", text, '\0'));
  }
  // Answers "clean", in the right shape.
  void ReplyOk(const Scan& scan) { Reply(scan, scan.stream() ? "stream: OK" : "fd[9]: OK"); }
  void Say(size_t connection, std::string_view bytes) {
    if (!connections[connection].open()) return;
    (void)send(connections[connection].fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  void Close(size_t connection) { connections[connection].fd.Reset(); }
  void CloseAll() {
    for (Connection& connection : connections) connection.fd.Reset();
  }

  size_t open_connections() const {
    size_t count = 0;
    for (const Connection& connection : connections) count += connection.open() && !connection.ended ? 1 : 0;
    return count;
  }

  std::vector<Connection> connections;  // in the order of accepting
  std::vector<Scan> scans;              // in the order of arrival
  bool reading = true;
  bool answers_pings = true;
  uint32_t unanswered_pings = 0;
  bool drops_descriptors = false;  // as a security module may do
  std::string version;             // the answer to VERSION; empty: closes without an answer
  uint32_t version_questions = 0;
  // Called when an upload has at least this many bytes, with its connection and id; 0: never.
  size_t upload_limit = 0;
  std::function<void(size_t connection, uint32_t id)> on_upload_limit;
  std::function<void(const Scan&)> on_scan;

 private:
  bool Read(size_t index) {
    Connection& connection = connections[index];
    std::array<char, 16384> buffer;
    iovec piece = {buffer.data(), buffer.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(4 * sizeof(int))> control;
    msghdr message = {};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t bytes = recvmsg(connection.fd.get(), &message, MSG_CMSG_CLOEXEC);
    if (bytes <= 0) {
      if (bytes == 0 || (errno != EAGAIN && errno != EINTR)) connection.ended = true;
      return false;
    }
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      BV_CHECK(header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS);
      BV_CHECK(header->cmsg_len == CMSG_LEN(sizeof(int)));  // exactly one: clamd leaks the others
      int fd;
      std::memcpy(&fd, CMSG_DATA(header), sizeof(int));
      core::UniqueFd owner(fd);
      if (!drops_descriptors) connection.descriptors.push_back(std::move(owner));
    }
    connection.input.append(buffer.data(), static_cast<size_t>(bytes));
    while (connection.open() && Step(index)) {
    }
    return connection.open();
  }

  // Handles one command or one chunk.
  bool Step(size_t index) {
    Connection& connection = connections[index];
    std::string& input = connection.input;
    if (connection.uploading) return StepUpload(index);
    const size_t end = input.find('\0');
    if (end == std::string::npos) return false;
    const std::string command = input.substr(0, end);
    size_t used = end + 1;
    if (command == "zIDSESSION") {
      BV_CHECK(!connection.session);
      connection.session = true;
      input.erase(0, used);
      return true;
    }
    if (!connection.session && command == "zVERSION") {
      ++version_questions;
      if (!version.empty()) Say(index, core::Cat(version, '\0'));
      connection.fd.Reset();
      return false;
    }
    BV_CHECK(connection.session);
    if (command == "zFILDES" && input.size() == used) return false;  // its byte has not arrived yet
    ++connection.id;
    if (command == "zPING") {
      ++connection.pings;
      if (answers_pings) {
        Say(index, core::Cat(connection.id, ": PONG", '\0'));
      } else {
        ++unanswered_pings;
      }
    } else if (command == "zFILDES") {
      ++used;
      if (drops_descriptors) {
        connection.fd.Reset();
        return false;
      }
      BV_CHECK(!connection.descriptors.empty());
      Scan scan;
      scan.connection = index;
      scan.id = connection.id;
      scan.descriptor = std::move(connection.descriptors.front());
      connection.descriptors.pop_front();
      Add(std::move(scan));
    } else {
      BV_CHECK(command == "zINSTREAM");
      connection.uploading = true;
      connection.content.clear();
    }
    input.erase(0, used);
    return true;
  }

  bool StepUpload(size_t index) {
    Connection& connection = connections[index];
    std::string& input = connection.input;
    if (input.size() < 4) return false;
    uint32_t chunk = 0;
    for (size_t i = 0; i < 4; ++i) chunk = chunk << 8 | static_cast<unsigned char>(input[i]);
    if (upload_limit > 0 && connection.content.size() + input.size() >= upload_limit) {
      on_upload_limit(index, connection.id);
      return false;
    }
    if (input.size() < 4 + chunk) return false;
    connection.content.append(input, 4, chunk);
    input.erase(0, 4 + chunk);
    if (chunk == 0) {
      connection.uploading = false;
      Scan scan;
      scan.connection = index;
      scan.id = connection.id;
      scan.content = std::move(connection.content);
      connection.content.clear();
      Add(std::move(scan));
    }
    return true;
  }

  void Add(Scan scan) {
    scans.push_back(std::move(scan));
    if (on_scan) on_scan(scans.back());
  }

  std::string path_;
  sockaddr_storage address_ = {};
  socklen_t address_bytes_ = 0;
  core::UniqueFd listener_;
};

}  // namespace bivalve::scan
