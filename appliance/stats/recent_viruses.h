// RecentViruses: the last infected messages of a worker, for statistics. It has a fixed number of places of a
// fixed size, so a flood of infected messages costs no memory and waits for nobody. Only the owner adds; any
// thread reads.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "core/published.h"

namespace bivalve::appliance {

struct RecentVirus {
  uint64_t time_us = 0;  // since 1970
  uint64_t session = 0;
  std::string name = {};  // cut at RecentViruses::kNameBytesMax
  std::string client = {};
};

class RecentViruses {
 public:
  static constexpr size_t kKept = 50;
  static constexpr size_t kNameBytesMax = 128;
  static constexpr size_t kClientBytesMax = 64;

  // Owner only. Replaces the oldest entry.
  void Add(std::string_view name, uint64_t time_us, uint64_t session, std::string_view client) {
    Place place;
    place.time_us = time_us;
    place.session = session;
    place.name_bytes = static_cast<uint32_t>(std::min(name.size(), kNameBytesMax));
    place.client_bytes = static_cast<uint32_t>(std::min(client.size(), kClientBytesMax));
    std::memcpy(place.name.data(), name.data(), place.name_bytes);
    std::memcpy(place.client.data(), client.data(), place.client_bytes);
    const uint64_t added = added_.load(std::memory_order_relaxed);
    places_[added % kKept].Set(place);
    added_.store(added + 1, std::memory_order_release);
  }

  // Any thread. In no particular order.
  std::vector<RecentVirus> Read() const {
    std::vector<RecentVirus> viruses;
    const uint64_t used = std::min<uint64_t>(added_.load(std::memory_order_acquire), kKept);
    for (uint64_t i = 0; i < used; ++i) {
      const Place place = places_[i].Get();
      viruses.push_back({.time_us = place.time_us,
                         .session = place.session,
                         .name = std::string(place.name.data(), place.name_bytes),
                         .client = std::string(place.client.data(), place.client_bytes)});
    }
    return viruses;
  }

 private:
  struct Place {
    uint64_t time_us = 0;
    uint64_t session = 0;
    uint32_t name_bytes = 0;
    uint32_t client_bytes = 0;
    std::array<char, kNameBytesMax> name = {};
    std::array<char, kClientBytesMax> client = {};
  };
  std::array<core::Published<Place>, kKept> places_;
  std::atomic<uint64_t> added_ = 0;
};

}  // namespace bivalve::appliance
