// Recipient: one RCPT of a mail transaction, as the client sent it (RFC 5321 section 4.1.1.3).
#pragma once

#include <string>

namespace bivalve::net {

struct Recipient {
  std::string path = {};        // what stands between "<" and ">"
  std::string parameters = {};  // behind the path, with white space between them

  bool operator==(const Recipient&) const = default;
};

}  // namespace bivalve::net
