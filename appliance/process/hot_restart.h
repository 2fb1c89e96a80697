// The hot restart: one process replaces another one without losing a connection.
//
// The old process starts the new one with its listening sockets and a channel, and continues as before. Then:
//
//   new  "failed TEXT"   for each reason why it does not start; it ends
//   new  "ready"         it has read its settings, its workers run, a scanner has passed its test
//   old  "go"
//   new                  accepts connections, beside the old one
//   new  "left N"        for each descriptor that it does not want, by the old one's number
//   new  "took"
//   old                  stops accepting, empties the sockets that were left, closes the channel
//   new                  looks into the sockets' queues once more
//   old                  lets its sessions end, and ends
//
// Until "took" nothing changes for the old process, whatever happens to the new one. Control thread.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "appliance/log/event.h"
#include "appliance/process/handover.h"
#include "core/condition.h"
#include "core/fd.h"
#include "core/loop.h"
#include "core/stream.h"
#include "core/task.h"

namespace bivalve::appliance {

// The process that will follow this one.
class Successor {
 public:
  // What to start. The path is the one that was used at the start, so a new version at that path runs next.
  struct Program {
    std::string path;
    std::string directory;
    std::vector<std::string> arguments;
    bool new_session = false;  // for a daemon
  };
  struct Callbacks {
    std::function<void(Severity, std::string)> say;
    std::function<Legacy()> legacy;                     // everything except the channel
    std::function<void(std::string why)> failed;        // everything is as before
    std::function<void(pid_t, std::vector<int>)> took;  // pid and left sockets; AcceptsNoMore() must follow
  };

  Successor(core::Loop& loop, Program program, Callbacks callbacks)
      : loop_(loop), wake_(loop), program_(std::move(program)), callbacks_(std::move(callbacks)) {}
  Successor(const Successor&) = delete;

  bool under_way() const { return under_way_; }
  // Tries to start a successor; one call at a time. Suspends until it has taken over or has failed.
  core::Task<void> Start(std::chrono::seconds timeout);
  // To be called after it has taken over, when this process does not accept any more.
  void AcceptsNoMore();
  // The service stops: ends an attempt under way.
  void Stop();

 private:
  struct Attempt;
  core::Task<void> Run(Attempt& attempt);
  bool TakeLine(Attempt& attempt, core::Stream& stream);
  core::Task<std::string> End(pid_t pid, bool by_itself);

  core::Loop& loop_;
  core::Condition wake_;
  const Program program_;
  const Callbacks callbacks_;
  bool under_way_ = false;
  bool stopping_ = false;
  bool accepts_no_more_ = false;
};

// The process that this one follows.
class Predecessor {
 public:
  struct Callbacks {
    std::function<bool()> prepared;           // including the scanners
    std::function<absl::Status()> take_over;  // begins to accept
    std::function<void()> alone;              // no other process accepts any more
    std::vector<int> left;
  };

  Predecessor() = default;
  Predecessor(pid_t pid, core::UniqueFd channel) : pid_(pid), channel_(std::move(channel)) {}

  bool present() const { return channel_.valid(); }
  pid_t pid() const { return pid_; }
  // Tells the predecessor why this process will not start. Call before TakeOver. Never blocks.
  void Failed(std::string_view text) const;
  // Waits until this process is prepared and then until the other one agrees, and takes over. If the other
  // process has ended meanwhile, it takes over too, because there is no other process left. Suspends.
  core::Task<absl::Status> TakeOver(core::Loop& loop, Callbacks callbacks);
  void Stop();

 private:
  core::Task<absl::Status> Talk(core::Stream& stream, core::Condition& wake, Callbacks& callbacks);
  core::Task<void> AwaitEnd(core::Stream& stream, core::Condition& wake);

  pid_t pid_ = 0;
  core::UniqueFd channel_;
  core::Condition* wake_ = nullptr;
  bool stopping_ = false;
};

}  // namespace bivalve::appliance
