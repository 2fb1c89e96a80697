// Memory for coroutine frames: free lists of the calling thread, by size. A frame freed on another thread
// than the one that made it would change lists; sessions never change threads, so that does not happen on the
// mail path, and would be harmless.
#pragma once

#include <cstddef>

namespace bivalve::core {

// Never returns null: aborts when the system has no memory.
void* AllocateFrame(size_t bytes);
// `bytes` as given to AllocateFrame.
void FreeFrame(void* frame, size_t bytes);
// Frees what the calling thread's lists hold. Call before a thread that ran coroutines ends.
void ReleaseFramePool();

}  // namespace bivalve::core
