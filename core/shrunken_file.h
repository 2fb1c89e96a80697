// A message's memory is a mapped file. Anybody with the right to do so (a scanner that runs as our own user,
// an administrator on a full disk) can cut the file short under its mapping. A thread that reads or writes
// there then gets SIGBUS, which would end the process with all its sessions. Here zeros take the place of the
// missing bytes, and the thread that met them is told.
#pragma once

#include <cstdint>

namespace bivalve::core {

// Handles SIGBUS for the process. In a shared mapping of an unnamed file, as bodies are, zeros take the place
// of everything that follows. Anywhere else SIGBUS ends the process as before. Call once, before any thread
// is started.
void SurviveShrunkenFiles();

// How often this thread has met a file that was cut short. Code that works on content compares the figure
// before and after: if it has grown, the bytes read may be zeros. Never suspends.
uint64_t ShrunkenFilesMet();

}  // namespace bivalve::core
