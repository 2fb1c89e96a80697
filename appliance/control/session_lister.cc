#include "appliance/control/session_lister.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "appliance/control/http_server.h"
#include "appliance/log/event.h"

namespace bivalve::appliance {

size_t SessionLimit(std::string_view query) {
  const std::string_view text = FindQueryValue(query, "limit");
  size_t limit = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
  if (error == std::errc::result_out_of_range) return kSessionsMax;
  if (error != std::errc() || end != text.data() + text.size()) return kSessionsDefault;
  return std::clamp(limit, size_t{1}, kSessionsMax);
}

std::string SessionsJson(std::vector<WorkerSessions> answers, size_t limit, size_t silent) {
  std::vector<SessionInfo> sessions;
  size_t total = 0;
  for (WorkerSessions& answer : answers) {
    total += answer.total;
    std::move(answer.longest.begin(), answer.longest.end(), std::back_inserter(sessions));
  }
  std::ranges::sort(sessions, [](const SessionInfo& a, const SessionInfo& b) {
    return a.age_seconds != b.age_seconds ? a.age_seconds > b.age_seconds : a.number < b.number;
  });
  if (sessions.size() > limit) sessions.resize(limit);

  using Json = nlohmann::ordered_json;
  Json json = {{"total", total}, {"shown", sessions.size()}, {"silent_workers", silent}};
  json["sessions"] = Json::array();
  for (const SessionInfo& one : sessions) {
    json["sessions"].push_back({{"id", SessionText(one.number)},
                                {"worker", one.worker},
                                {"client", one.client},
                                {"helo", one.helo},
                                {"phase", kSessionPhaseNames[static_cast<size_t>(one.phase)]},
                                {"age_seconds", one.age_seconds},
                                {"phase_seconds", one.phase_seconds},
                                {"messages", one.messages},
                                {"bytes", one.bytes},
                                {"from", one.from},
                                {"scanner", one.scanner}});
  }
  // The strings that clients send may hold any bytes.
  return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

core::Task<std::string> SessionLister::List(size_t limit) {
  const uint64_t number = asked_++;
  Question question(loop_);
  questions_[number] = &question;
  for (Worker* worker : workers_) {
    worker->ListSessions(limit, [this, number](WorkerSessions sessions) {
      auto answer = std::make_shared<WorkerSessions>(std::move(sessions));
      mailbox_.Post([this, number, answer = std::move(answer)] {
        const auto found = questions_.find(number);
        if (found == questions_.end()) return;
        found->second->answers.push_back(std::move(*answer));
        found->second->answered.Notify();
      });
    });
  }
  const core::MonoTime deadline = loop_.Now() + kAnswerTime;
  bool in_time = true;
  while (in_time && question.answers.size() < workers_.size())
    in_time = co_await question.answered.Wait(deadline);
  questions_.erase(number);
  const size_t silent = workers_.size() - question.answers.size();
  co_return SessionsJson(std::move(question.answers), limit, silent);
}

}  // namespace bivalve::appliance
