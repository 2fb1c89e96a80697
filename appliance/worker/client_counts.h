// ClientCounts: how many connections each client address has open, over all workers, for
// MaxConnectionsPerClient.
//
// Workers share no locks, and an attacker must not be able to make this object grow, so it is a count-min
// sketch: four rows of counters. An address counts in one cell of each row, which a hash with a secret key
// chooses. The smallest of its four cells is never less than the address's count. It is more only if another
// address shares all four cells; with 20,000 other clients that happens less than once in 30,000 times, and
// then the other address's connections count against this client too. 4 MiB, allocated only if the setting is
// on. Any thread.
#pragma once

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>

#include "core/check.h"
#include "net/address.h"

namespace bivalve::appliance {

class ClientCounts {
 public:
  ClientCounts() : cells_(std::make_unique<std::atomic<uint32_t>[]>(kRows * kCellsOfRow)) {
    BV_CHECK(getrandom(key_.data(), sizeof(key_), 0) == sizeof(key_));
  }
  ClientCounts(const ClientCounts&) = delete;

  // Counts a connection and returns how many the client has now, including this one. Call Remove() exactly
  // once for each. Clients without an address (local sockets) are not counted: always 1.
  uint32_t Add(const net::SocketAddress& client) {
    uint64_t words[2];
    if (!WordsOf(client, words)) return 1;
    uint32_t count = UINT32_MAX;
    for (size_t row = 0; row < kRows; ++row) {
      count = std::min(count, Cell(row, words).fetch_add(1, std::memory_order_relaxed) + 1);
    }
    return count;
  }
  void Remove(const net::SocketAddress& client) {
    uint64_t words[2];
    if (!WordsOf(client, words)) return;
    for (size_t row = 0; row < kRows; ++row) Cell(row, words).fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  __extension__ using Wide = unsigned __int128;
  static constexpr size_t kRows = 4;
  static constexpr size_t kCellsOfRow = size_t{1} << 18;

  // The IPv4 address, or the first 64 bits of an IPv6 address: a client has all addresses with these bits.
  static bool WordsOf(const net::SocketAddress& client, uint64_t (&words)[2]) {
    words[0] = words[1] = 0;
    if (client.family() == AF_INET) {
      std::memcpy(&words[0], &reinterpret_cast<const sockaddr_in*>(client.raw())->sin_addr, 4);
      words[1] = AF_INET;
      return true;
    }
    if (client.family() != AF_INET6) return false;
    const in6_addr& in6 = reinterpret_cast<const sockaddr_in6*>(client.raw())->sin6_addr;
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&in6);
    std::memcpy(&words[0], in6.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 8);
    words[1] = mapped ? AF_INET : AF_INET6;
    return true;
  }

  // Multiply and fold, keyed for each row: without the key nobody can aim at the cells of another client.
  std::atomic<uint32_t>& Cell(size_t row, const uint64_t (&words)[2]) {
    const Wide product = Wide{words[0] ^ key_[row * 3]} * ((words[1] ^ key_[row * 3 + 1]) | 1);
    uint64_t hash = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64) ^ key_[row * 3 + 2];
    hash *= 0x9e3779b97f4a7c15;
    return cells_[row * kCellsOfRow + (hash >> (64 - 18))];
  }

  std::array<uint64_t, kRows * 3> key_;
  std::unique_ptr<std::atomic<uint32_t>[]> cells_;
};

}  // namespace bivalve::appliance
