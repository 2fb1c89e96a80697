// The reply to EHLO (RFC 5321 section 4.1.1.1): what the server can do, and which of it a client may see.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bivalve::net {

// What a session needs to know about the server.
struct ServerExtensions {
  bool pipelining = false;
  bool chunking = false;
  bool binary_mime = false;
  bool eight_bit_mime = false;
  bool xclient = false;
  bool xforward = false;
  bool enhanced_status_codes = false;
  bool size = false;        // the keyword was there
  uint64_t size_bytes = 0;  // 0: no limit stated
};

// Whether a session that authenticates by this SASL mechanism may continue in an encoding of the mechanism,
// which no scanner can read. Such mechanisms are hidden and must be refused in AUTH. Case does not matter.
bool HasSecurityLayer(std::string_view mechanism);

// Whether this SASL mechanism binds itself to the TLS channel that it runs on (RFC 5801 section 4:
// SCRAM-SHA-256-PLUS and similar ones). A session through a filter has no such channel from end to end, so
// these mechanisms are hidden and must be refused too. Case does not matter.
bool BindsToTls(std::string_view mechanism);

// The text behind an extension's keyword in a whole EHLO reply of several lines with codes; nullopt if the
// extension is not offered. Case does not matter. Borrows from `reply`.
std::optional<std::string_view> FindExtensionValues(std::string_view reply, std::string_view keyword);

// Builds the client's EHLO reply from the server's, line by line.
//
//   EhloReply reply("smtp.passthru", {.size_bytes_max = 100 << 20, .chunking = false});
//   reply.Add(text)…   once for every line of the server's reply, the greeting line first
//   reply.Finish()     the whole reply to send, each line with CRLF, the last one "250 "
//
// The server's first line becomes "250-<host name>". Only extensions that the table in ehlo.cc shows remain:
// those that are known to work through a filter or to change nothing in the dialogue. So STARTTLS, XCLIENT,
// CHECKPOINT, BURL, TURN, early pipelining, PRDR, REQUIRETLS, Exchange's own (XEXCH50, X-EXPS,
// X-ANONYMOUSTLS, X-LINK2STATE …) and all future ones are hidden. CHUNKING and BINARYMIME depend on the
// options; BINARYMIME needs CHUNKING (RFC 3030 section 3), so it is shown only if the server has both. AUTH
// keeps its mechanisms except those that bring a security layer (HasSecurityLayer: GSSAPI, DIGEST-MD5 and
// similar ones) or bind themselves to TLS (BindsToTls). AUTH without any mechanism left is hidden; the old
// form "AUTH=…" is treated the same way. PIPELINING is always shown. SIZE is the smaller of the server's
// limit and size_bytes_max (if one of them is 0: the other one; if both are 0: "SIZE 0" if the server had the
// keyword, otherwise no SIZE); it is shown even if only size_bytes_max is set. All other lines pass
// unchanged, in the server's order. PIPELINING and SIZE stand where the server had them, otherwise at the
// end.
class EhloReply {
 public:
  struct Options {
    uint64_t size_bytes_max = 0;  // our own limit; 0: none
    bool chunking = false;        // this filter takes BDAT: CHUNKING is shown if the server has it
    bool binary_mime = false;     // with `chunking`, BINARYMIME may be shown too
  };
  EhloReply(std::string_view host_name, Options options);

  // Adds the text (without code and separator) of the server's next line.
  void Add(std::string_view text);
  // The whole reply. Call once, after the last Add.
  std::string Finish();
  const ServerExtensions& server() const { return server_; }

 private:
  void AppendSize();

  Options options_;
  ServerExtensions server_;
  std::string lines_;                     // "250-…\r\n" each
  std::optional<size_t> binary_mime_at_;  // where BINARYMIME stands in `lines_`
  bool greeting_seen_ = false;
};

}  // namespace bivalve::net
