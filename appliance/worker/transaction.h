// Transaction: what a session knows about the open mail transaction (RFC 5321 section 3.3).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/body.h"
#include "net/mail_data.h"
#include "net/recipient.h"

namespace bivalve::appliance {

struct Transaction {
  // Recipients that the log names. Further ones are only counted.
  static constexpr size_t kRecipientsLogged = 100;
  // Limit for the paths and parameters of the recipients that Quarantine and VirusAction get.
  static constexpr size_t kRecipientBytesMax = size_t{1} << 20;

  bool mail_accepted = false;
  uint32_t recipients_accepted = 0;
  std::string reverse_path;
  std::string mail_parameters;  // of MAIL, for Quarantine
  // The first accepted recipients, as many as the log, Quarantine or VirusAction need.
  std::vector<net::Recipient> recipients;
  size_t recipient_bytes = 0;   // bytes in `recipients`
  uint64_t declared_bytes = 0;  // SIZE= of MAIL; 0: not given
  bool binary_mime = false;     // BODY=BINARYMIME

  // The chunks of BDAT so far (RFC 3030). If one could not be kept, the transaction takes no further ones.
  std::unique_ptr<core::Body> chunks;
  net::MailDataFault chunks_fault = net::MailDataFault::kNone;  // why a chunk could not be kept

  bool in_chunks() const { return chunks != nullptr || chunks_fault != net::MailDataFault::kNone; }
  bool has_recipients() const { return mail_accepted && recipients_accepted > 0; }

  uint32_t recipients_left_out() const {
    return recipients_accepted - static_cast<uint32_t>(recipients.size());
  }
  // `all`: also recipients that the log does not name.
  void AddRecipient(std::string_view path, std::string_view parameters, bool all) {
    // Once one recipient was left out, all later ones are left out too.
    const bool complete = recipients.size() == recipients_accepted++;
    const size_t bytes = recipient_bytes + path.size() + parameters.size();
    if (!complete || bytes > kRecipientBytesMax || (!all && recipients.size() >= kRecipientsLogged)) return;
    recipient_bytes = bytes;
    recipients.push_back({.path = std::string(path), .parameters = std::string(parameters)});
  }
};

}  // namespace bivalve::appliance
