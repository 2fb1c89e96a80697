// A message's memory is a mapped file. Somebody with the right to do so (a scanner that runs as our own user,
// an administrator on a full disk) can cut the file short under its mapping, and whoever reads or writes
// there then gets SIGBUS, which would end the process with all its sessions. Here zeros take the place of
// what is gone, and the thread that met them is told.
#pragma once

#include <cstdint>

namespace bivalve::core {

// Takes SIGBUS over for the process: in a shared mapping of a file without a name, which is what bodies are,
// zeros take the place of all that follows. Anywhere else SIGBUS ends the process as before. Call once,
// before there are threads.
void SurviveShrunkenFiles();

// How often this thread has met a file that was cut short. Whoever works on content looks before and after:
// when the figure has grown, what was read may be zeros. Never suspends.
uint64_t ShrunkenFilesMet();

}  // namespace bivalve::core
