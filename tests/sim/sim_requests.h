// Reads the requests of the simulated kernel.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/io.h"

namespace bivalve::sim {

bool IsSend(core::IoCode code);
// A key for an address: two spellings of one address (padding, a path with or without its NUL) give the same
// key.
std::string AddressKey(const sockaddr* address, socklen_t bytes);
// The bytes that a send still has to send, from `skip` on, at most `bytes_max`.
std::string SendBytes(const core::IoRequest& request, size_t skip, size_t bytes_max);
size_t HashOfSend(const core::IoRequest& request);
size_t SizeOfSend(const core::IoRequest& request);
// Whether a real descriptor is ready for poll(2)'s `events` now.
bool Ready(int fd, int16_t events);

}  // namespace bivalve::sim
