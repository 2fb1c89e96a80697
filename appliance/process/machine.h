// What the machine, or the container, has for this process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bivalve::appliance {

size_t UsableCpus();

// A quarter of the machine's memory, or of the container's where that is less. In bytes.
uint64_t DefaultBodyMemory();

// Raises the descriptor limit as far as it is needed and allowed, and returns how many connections it
// carries.
uint32_t RaiseDescriptorLimit(uint32_t connections_wanted);

}  // namespace bivalve::appliance
