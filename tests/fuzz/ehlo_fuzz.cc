// EHLO replies: whatever a server offers, the client gets a well-formed reply without hidden extensions.
#include <string>

#include "core/text.h"
#include "net/ehlo.h"
#include "net/smtp_reply.h"
#include "tests/fuzz/fuzz.h"

using namespace bivalve;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::Text(data, size));
  const net::EhloReply::Options options{.size_bytes_max = choices.Number(),
                                        .chunking = choices.Below(2) == 0};
  net::EhloReply ehlo("filter.example", options);
  for (std::string_view rest = choices.rest(); !rest.empty();) {
    // In the form that the session uses: lines without CR LF inside.
    const size_t end = rest.find('\n');
    std::string line(rest.substr(0, end));
    while (line.ends_with('\r')) line.pop_back();
    ehlo.Add(line);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  const std::string text = ehlo.Finish();
  bool last = false;
  size_t pipelining = 0;
  size_t lines = 0;
  for (std::string_view rest = text; !rest.empty(); ++lines) {
    const size_t end = rest.find("\r\n");
    BV_CHECK(end != std::string_view::npos && !last);
    const auto line = net::ParseReplyLine(rest.substr(0, end));
    BV_CHECK(line.has_value() && line->code == 250);
    last = line->last;
    const std::string_view trimmed = core::Trim(line->text, " \t");
    const std::string_view keyword = trimmed.substr(0, trimmed.find_first_of(" \t="));
    if (lines > 0) {
      for (const std::string_view hidden :
           {"STARTTLS", "XCLIENT", "XEXCH50", "CHECKPOINT", "BURL", "TURN", "ATRN", "PRDR", "PIPECONNECT",
            "X-EXPS", "X-ANONYMOUSTLS", "X-LINK2STATE", "REQUIRETLS", "BINARYMIME"}) {
        BV_CHECK(!core::EqualsIgnoreCase(keyword, hidden));
      }
      if (!options.chunking) BV_CHECK(!core::EqualsIgnoreCase(keyword, "CHUNKING"));
      pipelining += core::EqualsIgnoreCase(keyword, "PIPELINING");
    }
    rest.remove_prefix(end + 2);
  }
  BV_CHECK(last && pipelining == 1);
  return 0;
}
