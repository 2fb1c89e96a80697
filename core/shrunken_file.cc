#include "core/shrunken_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <optional>
#include <string_view>

namespace bivalve::core {
namespace {

thread_local constinit uint64_t files_met = 0;

struct Mapping {
  uintptr_t begin = 0;
  uintptr_t end = 0;
};

// Removes a hexadecimal number from the front of `text`, and the byte behind it.
uintptr_t TakeHex(std::string_view& text) {
  uintptr_t number = 0;
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c >= '0' && c <= '9') {
      number = number * 16 + static_cast<uintptr_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      number = number * 16 + static_cast<uintptr_t>(c - 'a' + 10);
    } else {
      break;
    }
  }
  return number;
}

// A line of /proc/self/maps (proc(5)): "begin-end rw-s offset device inode path".
std::optional<Mapping> ParseBody(std::string_view line, uintptr_t address) {
  Mapping mapping;
  mapping.begin = TakeHex(line);
  mapping.end = TakeHex(line);
  if (address < mapping.begin || address >= mapping.end) return std::nullopt;
  const bool shared = line.size() > 3 && line[3] == 's';
  if (!shared || !line.ends_with(" (deleted)")) return std::nullopt;
  return mapping;
}

// In a signal handler: no allocation, only system calls.
std::optional<Mapping> FindBody(uintptr_t address) {
  const int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (maps < 0) return std::nullopt;
  std::optional<Mapping> found;
  std::array<char, 4096> buffer;  // the paths of our files are short
  size_t held = 0;
  for (;;) {
    const ssize_t bytes = read(maps, buffer.data() + held, buffer.size() - held);
    if (bytes <= 0) break;
    held += static_cast<size_t>(bytes);
    std::string_view text(buffer.data(), held);
    for (size_t end; !found.has_value() && (end = text.find('\n')) != std::string_view::npos;) {
      found = ParseBody(text.substr(0, end), address);
      text.remove_prefix(end + 1);
    }
    if (found.has_value()) break;
    if (text.size() == buffer.size()) text = {};
    for (size_t i = 0; i < text.size(); ++i) buffer[i] = text[i];
    held = text.size();
  }
  close(maps);
  return found;
}

void OnBusError(int signal_number, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  if (info->si_code == BUS_ADRERR) {
    if (const std::optional<Mapping> body = FindBody(address); body.has_value()) {
      const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
      const uintptr_t begin = address / page * page;
      void* const zeros = mmap(reinterpret_cast<void*>(begin), body->end - begin, PROT_READ | PROT_WRITE,
                               MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (zeros != MAP_FAILED) {
        ++files_met;
        return;
      }
    }
  }
  // Not our file: the faulting instruction runs again and ends the process.
  signal(signal_number, SIG_DFL);
  if (info->si_code <= 0) raise(signal_number);
}

}  // namespace

void SurviveShrunkenFiles() {
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

uint64_t ShrunkenFilesMet() { return files_met; }

}  // namespace bivalve::core
