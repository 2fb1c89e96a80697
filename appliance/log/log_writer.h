// LogWriter: takes the events out of the workers' queues and has them written. On the control thread.
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
  // All outlive the writer. `reader`: what the writers of the queues know of this end of them; its `wake`
  // leads to Wake().
  LogWriter(core::Loop& loop, LogSink& sink, EventLog::Reader& reader)
      : loop_(loop), sink_(sink), reader_(reader), wake_(loop) {}

  // A queue to empty, from now on. Outlives the writer.
  void Add(core::LogQueue& queue) { queues_.push_back(&queue); }
  // A line about a session; 0: about none.
  void Say(Severity severity, uint64_t session, std::string_view text);
  // There is something in a queue or the sink.
  void Wake() { wake_.Notify(); }

  // Writes until Stop() was called, and then what is there. Suspends.
  core::Task<void> Run();
  void Stop();
  // For an end without waiting: hands over to the sink what the queues have. Whether there was something.
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
