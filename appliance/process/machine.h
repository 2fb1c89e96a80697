// What the machine or the container offers this process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bivalve::appliance {

size_t UsableCpus();

// A quarter of the memory of the machine, or of the container if that is less. In bytes.
uint64_t DefaultBodyMemory();

// Raises the descriptor limit as far as needed and allowed. Returns how many connections it is enough for.
uint32_t RaiseDescriptorLimit(uint32_t connections_wanted);

}  // namespace bivalve::appliance
