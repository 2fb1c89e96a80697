// LogWriter: takes the events out of the workers' queues and has them written. Control thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/log/event.h"
#include "appliance/log/log_sink.h"
#include "core/condition.h"
#include "core/log_queue.h"
#include "core/loop.h"
#include "core/task.h"

namespace bivalve::appliance {

class LogWriter {
 public:
  // All outlive the writer. `reader`: the state that this end shares with the writers of the queues; its
  // `wake` must lead to Wake().
  LogWriter(core::Loop& loop, LogSink& sink, EventLog::Reader& reader)
      : loop_(loop), sink_(sink), reader_(reader), wake_(loop) {}

  // From now on, empties `queue` too. The queue outlives the writer.
  void Add(core::LogQueue& queue) { queues_.push_back(&queue); }
  // Writes a line about a session; 0: about no session.
  void Say(Severity severity, uint64_t session, std::string_view text);
  // To be called when there is something in a queue or in the sink.
  void Wake() { wake_.Notify(); }

  // Writes until Stop() is called, and then what is left. Suspends.
  core::Task<void> Run();
  void Stop();
  // For an end without waiting: moves the events of the queues to the sink. Returns true if there were any.
  bool DrainQueues();

 private:
  core::Loop& loop_;
  LogSink& sink_;
  EventLog::Reader& reader_;
  std::vector<core::LogQueue*> queues_;
  core::Condition wake_;
  bool stopping_ = false;
  std::string record_;
};

}  // namespace bivalve::appliance
