// LongScans: the content of scans that have been running for long. If the same message is sent again because
// its client gave up, it waits for the running scan and does not start another one. Worker-local: a client
// that comes back to another worker starts one more scan there, at most one for each worker.
//
// For an ordinary message this costs one look at a list that is nearly always empty: only a long scan is
// hashed, and only a message of the same size is compared. Both happen in steps, so that no large message
// holds up the worker.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "core/sha256.h"

namespace bivalve::scan {

class Request;

// The bytes of the trace fields (Received, Return-Path, Delivered-To) at the very top of a message, which
// differ each time it is sent. Only whole, ordinary lines count as trace fields; 0 in case of doubt. The
// remaining content decides how a mail is decoded, and the scanner's image begins with a trace line anyway,
// so ignoring trace fields cannot hide a virus.
size_t TraceBytes(std::string_view content);

class LongScans {
 public:
  static constexpr size_t kStepBytes = size_t{256} << 10;  // at most about a millisecond

  // The scan `serial` has been running for long.
  void Remember(uint64_t serial, std::string_view content);
  bool Remembers(uint64_t serial) const;
  // The scan has ended. Returns the requests that waited for it.
  std::vector<Request*> End(uint64_t serial);

  // Whether a message of this content could be a remembered one.
  bool MayKnow(std::string_view content) const;
  // Compares a request, in the following steps.
  void Compare(Request& request, std::string_view content);
  // The request's session has left.
  void Forget(const Request& request);
  std::vector<Request*> ForgetAll();

  // Whether there is anything to hash.
  bool busy() const;
  // Hashes for a millisecond at most. Returns a request that turned out to be no message that is remembered.
  Request* Step();

 private:
  // A hash to come, under way or done. The content lives as long as its scan or request.
  struct Hash {
    std::string_view rest;  // to be hashed
    bool begun = false;
    std::optional<core::Sha256::Digest> digest = {};
    // `state` hashes nothing else until there is a digest, or this one is forgotten.
    void Step(core::Sha256& state);
  };
  struct Scan {
    uint64_t serial = 0;
    size_t bytes = 0;  // without trace fields
    Hash hash;
    std::vector<Request*> followers = {};
  };
  struct Comparison {
    Request* request = nullptr;
    size_t bytes = 0;
    Hash hash;
  };

  // In both lists the first that has no digest is hashed until it has one, so one state for each is enough.
  std::vector<Scan> scans_;
  std::vector<Comparison> comparisons_;
  core::Sha256 scans_state_;
  core::Sha256 comparisons_state_;
};

}  // namespace bivalve::scan
