// QuarantineRecord: what is kept beside a quarantined message, as virus.XXXXXX.json: the envelope it came
// with, who sent it, what was found and by whom, and how to tell that the file is still the message. Written
// by the control thread, read by bivalvectl.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "net/recipient.h"

namespace bivalve::appliance {

// The name of a quarantined message: this and six letters or digits.
inline constexpr std::string_view kQuarantinePrefix = "virus.";
inline constexpr std::string_view kRecordSuffix = ".json";
// A file that is being written and must have a name has this behind it. Records of older versions too.
inline constexpr std::string_view kPartialSuffix = ".new";

struct QuarantineRecord {
  std::string id = {};  // the message's file name
  std::chrono::system_clock::time_point time = {};
  std::string session = {};  // as in the log
  std::string virus = {};
  std::string from = {};             // empty: the null reverse-path
  std::string mail_parameters = {};  // of MAIL, as they came, with white space between them
  std::vector<net::Recipient> recipients = {};
  uint64_t recipients_left_out = 0;  // accepted, and more than is kept of one transaction
  // Who connected and what it called itself; with XFORWARD, who had connected to that one. Empty: not known.
  std::string client = {};
  std::string helo = {};
  std::string remote = {};
  std::string remote_helo = {};
  std::string scanner = {};  // address as configured
  std::string scanner_version = {};
  uint64_t size_bytes = 0;
  std::string sha256 = {};  // of the message, in hexadecimal
};

// One JSON object and a line end. An envelope that is not UTF-8 is kept to the byte: each byte then stands as
// the character of that number, and "envelope_encoding" says "iso-8859-1".
std::string ToJson(const QuarantineRecord& record);
// The reverse. An error says what is missing or wrong. Members that are not known are passed over.
absl::StatusOr<QuarantineRecord> ParseQuarantineRecord(std::string_view json);

}  // namespace bivalve::appliance
