#include "tests/sim/sim_requests.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "core/text.h"

namespace bivalve::sim {

using core::Cat;
using core::IoCode;
using core::IoRequest;

bool IsSend(IoCode code) { return code == IoCode::kSend || code == IoCode::kSendMsg; }

std::string AddressKey(const sockaddr* address, socklen_t bytes) {
  const auto text = [](const void* from, size_t size) {
    return std::string(static_cast<const char*>(from), size);
  };
  switch (address->sa_family) {
    case AF_INET: {
      const auto& in = *reinterpret_cast<const sockaddr_in*>(address);
      return Cat("4", text(&in.sin_port, sizeof(in.sin_port)), text(&in.sin_addr, sizeof(in.sin_addr)));
    }
    case AF_INET6: {
      const auto& in = *reinterpret_cast<const sockaddr_in6*>(address);
      return Cat("6", text(&in.sin6_port, sizeof(in.sin6_port)), text(&in.sin6_addr, sizeof(in.sin6_addr)));
    }
    default: {
      const auto& local = *reinterpret_cast<const sockaddr_un*>(address);
      const size_t room = bytes - std::min<size_t>(bytes, offsetof(sockaddr_un, sun_path));
      const bool is_abstract = room > 0 && local.sun_path[0] == '\0';
      return Cat("u", text(local.sun_path, is_abstract ? room : strnlen(local.sun_path, room)));
    }
  }
}

std::string SendBytes(const IoRequest& request, size_t skip, size_t bytes_max) {
  std::string bytes;
  const auto add = [&](const void* base, size_t size) {
    const size_t skipped = std::min(skip, size);
    skip -= skipped;
    bytes.append(static_cast<const char*>(base) + skipped,
                 std::min(size - skipped, bytes_max - bytes.size()));
  };
  if (request.code == IoCode::kSend) {
    if (request.bytes > 0) add(request.address, request.bytes);
  } else {
    const auto& message = *static_cast<const msghdr*>(request.address);
    for (size_t i = 0; i < message.msg_iovlen; ++i) {
      if (message.msg_iov[i].iov_len > 0) add(message.msg_iov[i].iov_base, message.msg_iov[i].iov_len);
    }
  }
  return bytes;
}

size_t HashOfSend(const IoRequest& request) {
  return std::hash<std::string>()(SendBytes(request, 0, SIZE_MAX));
}

size_t SizeOfSend(const IoRequest& request) {
  if (request.code == IoCode::kSend) return request.bytes;
  return IoRequest::BytesOf(*static_cast<const msghdr*>(request.address));
}

bool Ready(int fd, int16_t events) {
  pollfd poll_fd = {.fd = fd, .events = events, .revents = 0};
  return poll(&poll_fd, 1, 0) != 0;
}

}  // namespace bivalve::sim
