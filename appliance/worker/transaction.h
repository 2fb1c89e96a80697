// Transaction: what a session knows of the mail transaction that is open (RFC 5321 section 3.3).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/body.h"
#include "net/mail_data.h"

namespace bivalve::appliance {

struct Transaction {
  // Recipients kept for the log; further ones are only counted.
  static constexpr size_t kRecipientsKept = 100;
  // Those for Quarantine and VirusAction.
  static constexpr size_t kRecipientLinesBytesMax = size_t{1} << 20;

  bool mail_accepted = false;
  uint32_t recipients_accepted = 0;
  std::string reverse_path;
  std::vector<std::string> forward_paths;
  std::string mail_parameters;       // of MAIL, for Quarantine
  std::string recipient_lines;       // for Quarantine and VirusAction, one per line
  std::string recipient_parameters;  // theirs, one line each, ended by a line feed; for Quarantine
  uint32_t recipients_left_out = 0;  // of these
  uint64_t declared_bytes = 0;       // SIZE= of MAIL; 0: not said
  bool binary_mime = false;          // BODY=BINARYMIME

  // BDAT so far (RFC 3030). A transaction in which a chunk could not be kept takes no further ones.
  std::unique_ptr<core::Body> chunks;
  net::MailDataFault chunks_fault = net::MailDataFault::kNone;  // why one could not be kept

  bool in_chunks() const { return chunks != nullptr || chunks_fault != net::MailDataFault::kNone; }
  bool has_recipients() const { return mail_accepted && recipients_accepted > 0; }

  void AddRecipient(std::string_view path) {
    ++recipients_accepted;
    if (forward_paths.size() < kRecipientsKept) forward_paths.emplace_back(path);
  }
  void AddRecipientLine(std::string_view path, std::string_view parameters) {
    const size_t bytes = recipient_lines.size() + recipient_parameters.size();
    if (bytes + path.size() + parameters.size() >= kRecipientLinesBytesMax) {
      ++recipients_left_out;
      return;
    }
    if (!recipient_lines.empty()) recipient_lines += '\n';
    recipient_lines += path;
    // An empty path in front leaves no line.
    if (recipient_lines.empty()) return;
    recipient_parameters += parameters;
    recipient_parameters += '\n';
  }
};

}  // namespace bivalve::appliance
