#include "tests/sim/session_sim_clamd.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "scan/canary.h"
#include "tests/sim/readings.h"

namespace bivalve::sim {
namespace {

using core::Cat;

std::string ReadAll(int fd) {
  std::string content;
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t bytes = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(content.size()));
    if (bytes <= 0) return content;
    content.append(buffer.data(), static_cast<size_t>(bytes));
  }
}

}  // namespace

void SimClamd::OnDescriptor(SimSocket& socket, int fd) {
  if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
    ledger_.Problem("scanner: the descriptor can be written to");
  dialogues_[&socket].descriptors.emplace_back(fd);
}

void SimClamd::OnBytes(SimSocket& socket, std::string_view bytes) {
  Dialogue& d = dialogues_[&socket];
  d.input.append(bytes);
  while (!d.over && (d.uploading ? TakeChunk(d) : Command(d))) {
  }
}

// False: more bytes must arrive first.
bool SimClamd::Command(Dialogue& d) {
  const size_t end = d.input.find('\0');
  if (end == std::string::npos) return false;
  const std::string command = d.input.substr(0, end);
  const size_t bytes = end + (command == "zFILDES" ? 2 : 1);  // one more byte carries the descriptor
  if (d.input.size() < bytes) return false;
  d.input.erase(0, bytes);
  if (command == "zIDSESSION") {
    if (std::exchange(d.session, true)) ledger_.Problem("scanner: IDSESSION twice");
    return true;
  }
  if (!d.session) ledger_.Problem("scanner: ", command, " outside of a session");
  ++d.commands;
  if (command == "zPING") {
    d.socket->Send(Cat(d.commands, ": PONG", '\0'));
  } else if (command == "zINSTREAM") {
    d.uploading = true;
    d.upload.clear();
  } else if (command == "zFILDES" && d.descriptors.size() == 1) {
    auto scan = std::make_shared<Scan>();
    scan->dialogue = &d;
    scan->id = d.commands;
    scan->descriptor = std::move(d.descriptors.front());
    d.descriptors.clear();
    scan->image = ReadAll(scan->descriptor.get());
    Begin(std::move(scan));
  } else {
    ledger_.Problem("scanner: unknown command, or not one descriptor with it: ", command);
  }
  return true;
}

bool SimClamd::TakeChunk(Dialogue& d) {
  if (d.input.size() < 4) return false;
  size_t bytes = 0;
  for (size_t i = 0; i < 4; ++i) bytes = bytes << 8 | static_cast<unsigned char>(d.input[i]);
  if (d.input.size() < 4 + bytes) return false;
  d.upload.append(d.input, 4, bytes);
  d.input.erase(0, 4 + bytes);
  if (bytes > 0) return true;
  d.uploading = false;
  auto scan = std::make_shared<Scan>();
  scan->dialogue = &d;
  scan->id = d.commands;
  scan->image = std::move(d.upload);
  d.upload.clear();
  Begin(std::move(scan));
  return true;
}

void SimClamd::Begin(std::shared_ptr<Scan> scan) {
  if (random_.Chance(chances_.silent)) return;
  if (!random_.Chance(chances_.late)) return Answer(*scan);
  const auto delay = std::chrono::milliseconds(1 + random_.Below(random_.Chance(0.1) ? 20'000 : 300));
  scan->dialogue->socket->io().After(delay, [this, scan] { Answer(*scan); });
}

void SimClamd::Answer(const Scan& scan) {
  Dialogue& d = *scan.dialogue;
  if (d.over || d.socket->io().closes(d.socket->fd()) > 0) return;
  // As long as the session is open, a message that is being scanned must not change.
  if (scan.descriptor.valid() && ReadAll(scan.descriptor.get()) != scan.image) {
    ledger_.Problem("scanner: an image changed under the scan");
  }
  if (random_.Chance(chances_.vanish)) {
    if (random_.Chance(0.5)) d.socket->Send(Cat(scan.id, ": fd["));
    if (random_.Chance(0.5)) d.socket->Reset();
    d.socket->Close();
    d.over = true;
    return;
  }
  const std::string shape = scan.descriptor.valid() ? "fd[9]" : "stream";
  if (random_.Chance(chances_.error)) {
    constexpr std::array<std::string_view, 4> kErrors = {
        "Can't allocate memory ERROR", "Exceeded time limit ERROR",
        "Heuristics.Limits.Exceeded.MaxFileSize FOUND", "Malformed database ERROR"};
    d.socket->Send(Cat(scan.id, ": ", shape, ": ", kErrors[random_.Below(kErrors.size())], '\0'));
    return;
  }
  if (random_.Chance(chances_.nonsense)) {
    const std::array<std::string, 8> nonsense = {
        Cat(scan.id, ": ", shape, ": ok", '\0'),
        Cat(scan.id, ": OK", '\0'),
        Cat(scan.id + 1000, ": ", shape, ": OK", '\0'),
        Cat(shape, ": OK", '\0'),
        Cat(scan.id, ": PONG", '\0'),
        Cat("COMMAND READ TIMED OUT\n"),
        std::string(5000, 'x'),
        Cat(scan.id, scan.descriptor.valid() ? ": stream: OK" : ": fd[9]: OK", '\0')};
    d.socket->Send(nonsense[random_.Below(nonsense.size())]);
    return;
  }
  Judge(scan, shape);
}

void SimClamd::Judge(const Scan& scan, std::string_view shape) {
  const std::string_view image = scan.image;
  if (image.find(scan::kCanaryMark) != std::string_view::npos) {
    scan.dialogue->socket->Send(Cat(scan.id, ": ", shape, ": ", kVirusName, " FOUND", '\0'));
    return;
  }
  const bool infected =
      ledger_.mutation != Mutation::kScannerIsBlind && image.find(kVirusMark) != std::string::npos;
  bool known = false;
  for (Message& message : ledger_.messages) {
    if (!message.whole) continue;
    const std::vector<std::string> images = ImagesOf(message.content);
    if (!std::exchange(message.read, true)) message.unread = images;
    if (std::find(images.begin(), images.end(), image) == images.end()) continue;
    known = true;
    if (!infected) std::erase(message.unread, image);
  }
  if (!known) ledger_.Problem("scanner: an image of ", image.size(), " bytes of what no client has sent");
  scan.dialogue->socket->Send(infected ? Cat(scan.id, ": ", shape, ": ", kVirusName, " FOUND", '\0')
                                       : Cat(scan.id, ": ", shape, ": OK", '\0'));
}

}  // namespace bivalve::sim
