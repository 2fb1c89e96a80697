// SessionServices: what a worker lends to its sessions and to their parts. Worker-local.
#pragma once

#include <memory>
#include <vector>

#include "appliance/log/event.h"
#include "appliance/settings/config.h"
#include "appliance/settings/header_template.h"
#include "appliance/stats/worker_stats.h"
#include "appliance/viruses/virus_report.h"
#include "appliance/worker/address_list.h"
#include "appliance/worker/client_counts.h"
#include "core/body_pool.h"
#include "core/linked_list.h"
#include "core/loop.h"
#include "net/address.h"
#include "net/chunking_proof.h"
#include "net/transparent.h"
#include "scan/clamd_pool.h"

namespace bivalve::appliance {

class Session;

// The settings for a worker's sessions: the worker's own copy, shared by the sessions that began with it.
struct SessionSettings {
  SessionConfig config = {};
  HeaderTemplate header = {};
  AddressList servers = {};  // OutAddress; only the worker's thread uses it once a session has it
};

struct SessionServices {
  core::Loop& loop;
  core::BodyPool& bodies;
  scan::ClamdPool& scanners;
  WorkerStats& stats;
  EventLog& log;
  // For new sessions, one for each listener.
  std::vector<std::shared_ptr<SessionSettings>> settings;
  core::LinkedList<Session> sessions = {};         // the running ones, in the order of their start
  bool stopping = false;                           // sessions end as soon as no transaction is open
  ClientCounts* client_counts = nullptr;           // shared by all workers; null: clients are not counted
  ReportOutlet* reports = nullptr;                 // shared by all threads; null: nothing is kept or reported
  std::vector<net::SocketAddress> listening = {};  // this program's own addresses, for TransparentProxy
  net::OutgoingPorts* outgoing_ports = nullptr;    // shared by all workers; null: no TransparentProxy
  net::ChunkingProof chunking_proof = {};          // which servers have proven that they know BDAT
};

}  // namespace bivalve::appliance
