// Recipient: one RCPT of a mail transaction, as the client sent it (RFC 5321 section 4.1.1.3).
#pragma once

#include <string>

namespace bivalve::net {

struct Recipient {
  std::string path = {};        // the text between "<" and ">"
  std::string parameters = {};  // behind the path, separated by white space

  bool operator==(const Recipient&) const = default;
};

}  // namespace bivalve::net
