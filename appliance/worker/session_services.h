// SessionServices: what a worker lends to its sessions, and to what they are made of. Worker-local.
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

// The settings as a worker's sessions use them: its own copy, shared by the sessions that began under it.
struct SessionSettings {
  SessionConfig config = {};
  HeaderTemplate header = {};
  AddressList servers = {};  // OutAddress; the worker's thread only, once a session has it
};

struct SessionServices {
  core::Loop& loop;
  core::BodyPool& bodies;
  scan::ClamdPool& scanners;
  WorkerStats& stats;
  EventLog& log;
  // For new sessions, one for each listener.
  std::vector<std::shared_ptr<SessionSettings>> settings;
  core::LinkedList<Session> sessions = {};         // those that are served now, in the order of their start
  bool stopping = false;                           // sessions end when no transaction is open
  ClientCounts* client_counts = nullptr;           // of all workers; null: clients are not counted
  ReportOutlet* reports = nullptr;                 // any thread's; null: nothing is kept or reported
  std::vector<net::SocketAddress> listening = {};  // this program's own addresses, for TransparentProxy
  net::OutgoingPorts* outgoing_ports = nullptr;    // all workers'; null: no TransparentProxy
  net::ChunkingProof chunking_proof = {};          // of the servers
};

}  // namespace bivalve::appliance
