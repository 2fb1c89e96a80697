// SessionLister: serves GET /sessions. It asks every worker through its mailbox for its oldest sessions and
// merges the answers. Nobody waits for it: a worker answers between two turns of its own loop, and a worker
// that does not answer in time is left out. Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/worker/session_info.h"
#include "appliance/worker/worker.h"
#include "core/condition.h"
#include "core/loop.h"
#include "core/mailbox.h"
#include "core/task.h"

namespace bivalve::appliance {

// The JSON of GET /sessions: the `limit` oldest sessions among all workers' answers, oldest first. `silent`:
// the number of workers that have not answered.
std::string SessionsJson(std::vector<WorkerSessions> answers, size_t limit, size_t silent);
// The number of sessions that a query asks for ("limit=20"): 1 to kSessionsMax; kSessionsDefault if the query
// has no number or a bad one.
size_t SessionLimit(std::string_view query);
inline constexpr size_t kSessionsDefault = 100;
inline constexpr size_t kSessionsMax = 1000;

class SessionLister {
 public:
  static constexpr core::Duration kAnswerTime = std::chrono::seconds(1);

  // `mailbox`: this thread's; answers come through it. `workers` may grow until the first List().
  SessionLister(core::Loop& loop, core::Mailbox& mailbox, const std::vector<Worker*>& workers)
      : loop_(loop), mailbox_(mailbox), workers_(workers) {}

  // Suspends, for kAnswerTime at most.
  core::Task<std::string> List(size_t limit);

 private:
  // One question to all workers, in the frame of its List().
  struct Question {
    explicit Question(core::Loop& loop) : answered(loop) {}
    core::Condition answered;
    std::vector<WorkerSessions> answers;
  };

  core::Loop& loop_;
  core::Mailbox& mailbox_;
  const std::vector<Worker*>& workers_;
  // Questions under way, by number. An answer carries the number; if it comes too late it finds no entry.
  std::map<uint64_t, Question*> questions_;
  uint64_t asked_ = 0;
};

}  // namespace bivalve::appliance
