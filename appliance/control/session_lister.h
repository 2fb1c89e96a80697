// SessionLister: GET /sessions. Asks every worker through its mailbox for the sessions that last longest, and
// puts the answers together. Nobody waits for it: a worker answers between two turns of its own, and one that
// does not answer in time is left out. Control thread only.
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

// The JSON of GET /sessions: of all workers' answers the `limit` sessions that last longest, longest first.
// `silent`: workers that have not answered.
std::string SessionsJson(std::vector<WorkerSessions> answers, size_t limit, size_t silent);
// The number of sessions that a query asks for ("limit=20"): 1 to kSessionsMax, kSessionsDefault when it does
// not say, or says nonsense.
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
  // Those under way. An answer names its question, and finds nobody when it comes too late.
  std::map<uint64_t, Question*> questions_;
  uint64_t asked_ = 0;
};

}  // namespace bivalve::appliance
