// Sends one message to a mail server, for bivalvectl quarantine release. Blocking and simple: one message,
// one connection. Not for the mail path, which has net/delivery.h.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "net/address.h"
#include "net/recipient.h"

namespace bivalve::ctl {

struct Submission {
  std::string host_name;  // for EHLO
  std::string from;       // without angle brackets; empty: the null reverse-path
  std::vector<net::Recipient> recipients;
  std::string_view content;
  // Of MAIL, as the client said them; or none. Those that ask for notifications and the like are sent where
  // the server offers that, and those of the recipients too; SIZE, BODY and SMTPUTF8 are of the content.
  std::string mail_parameters = {};
  std::chrono::seconds timeout{300};
};

struct SubmissionResult {
  std::string reply;                                         // the server's last word on the message
  std::vector<std::pair<std::string, std::string>> refused;  // recipients, and the server's reply to each
};

// What is in `path` that a server could read as its end, or as something else than a path between angle
// brackets (RFC 5321 section 4.1.2), for a sentence: "a blank". Empty: nothing. What is quoted is
// part of it; bytes above ASCII are the server's to judge.
std::string_view PathFault(std::string_view path);

// Those of `parameters` that are handed on to a server with these extensions (its reply to EHLO), each with a
// blank before it. The error names one that would be more than a parameter.
absl::StatusOr<std::string> OfferedParameters(std::string_view parameters, std::string_view extensions);

// Content that DATA cannot carry as it is: without a line end at its end, or with a dot line whose line ends
// are not both CRLF, where some servers would see the end of the message (and begin the next one).
bool NeedsChunking(std::string_view content);

// The mail data for DATA: dot-stuffed, with the line that ends it.
std::string Stuffed(std::string_view content);

// Sends the message byte for byte: by DATA, or by BDAT (RFC 3030) where DATA cannot carry it and the server
// offers that. OK when the server has taken it for at least one recipient. Blocks.
absl::StatusOr<SubmissionResult> Submit(const net::SocketAddress& server, const Submission& submission);

}  // namespace bivalve::ctl
