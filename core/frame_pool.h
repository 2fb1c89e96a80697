// Memory for coroutine frames: free lists by size, one set for each thread. A frame that is freed on a thread
// other than the one that made it would change lists. This would be harmless, and does not happen on the mail
// path because sessions never change threads.
#pragma once

#include <cstddef>

namespace bivalve::core {

// Never returns null: aborts if the system has no memory.
void* AllocateFrame(size_t bytes);
// `bytes` is the value given to AllocateFrame.
void FreeFrame(void* frame, size_t bytes);
// Frees the calling thread's lists. Call it before a thread that ran coroutines ends.
void ReleaseFramePool();

}  // namespace bivalve::core
