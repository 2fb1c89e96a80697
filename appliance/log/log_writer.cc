#include "appliance/log/log_writer.h"

#include <atomic>
#include <chrono>

namespace bivalve::appliance {
namespace {

// Interval between two checks of the queues while lines keep coming.
constexpr core::Duration kInterval = std::chrono::milliseconds(50);

}  // namespace

void LogWriter::Say(Severity severity, uint64_t session, std::string_view text) {
  Event event;
  event.severity = severity;
  event.session = session;
  event.time_us = EventTime();
  event.fields.push_back({EventField::kDetail, text});
  sink_.Add(event);
  wake_.Notify();
}

void LogWriter::Stop() {
  stopping_ = true;
  wake_.Notify();
}

bool LogWriter::DrainQueues() {
  bool any = false;
  Event event;
  for (core::LogQueue* queue : queues_) {
    while (queue->Pop(record_)) {
      any = true;
      if (DecodeEvent(record_, event)) sink_.Add(event);
    }
  }
  return any;
}

// Checks the queues every kInterval while lines come, then sleeps until a worker wakes it.
core::Task<void> LogWriter::Run() {
  for (;;) {
    const bool last = stopping_;
    bool any = DrainQueues();
    co_await sink_.Flush(loop_);
    if (last) co_return;
    if (any) {
      (void)co_await wake_.Wait(loop_.Now() + kInterval);
      continue;
    }
    reader_.asleep.store(true);
    // Pairs with EventLog::Commit: finds a record whose writer did not see yet that we are asleep.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    any = DrainQueues();
    if (!any) (void)co_await wake_.Wait();
    reader_.asleep.store(false);
  }
}

}  // namespace bivalve::appliance
