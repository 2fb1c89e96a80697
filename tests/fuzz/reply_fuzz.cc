// Reply lines of a server: the code is in range, the text is the rest of the line, and the parts put together
// are the same line.
#include <string>

#include "core/text.h"
#include "net/smtp_reply.h"
#include "tests/fuzz/fuzz.h"

using namespace bivalve;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line = fuzz::Text(data, size);
  const auto reply = net::ParseReplyLine(line);
  if (!reply.has_value()) return 0;
  BV_CHECK(reply->code >= 200 && reply->code <= 599);
  BV_CHECK(net::IsPositive(reply->code) + net::IsIntermediate(reply->code) + net::IsTransient(reply->code) +
               net::IsPermanent(reply->code) ==
           1);
  fuzz::CheckBorrows(line, reply->text);
  if (line.size() > 3) BV_CHECK(core::Cat(reply->code, reply->last ? ' ' : '-', reply->text) == line);
  return 0;
}
