// PROXY headers: a complete header stays complete with any bytes behind it, and every beginning of it is
// incomplete, never anything else. A bad one stays bad.
#include <string>

#include "net/proxy_header.h"
#include "tests/fuzz/fuzz.h"

using namespace bivalve;
using State = net::ProxyHeader::State;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(fuzz::Text(data, size));
  const net::ProxyHeader header = net::ParseProxyHeader(input);
  const net::ProxyHeader more = net::ParseProxyHeader(input + "EHLO a\r\n");
  switch (header.state) {
    case State::kWhole: {
      BV_CHECK(header.bytes > 0 && header.bytes <= input.size() && header.bytes <= net::kProxyHeaderBytesMax);
      BV_CHECK(more.state == State::kWhole && more.bytes == header.bytes && more.client == header.client);
      BV_CHECK((header.client.family() == AF_UNSPEC) == (header.local.family() == AF_UNSPEC));
      for (size_t end = 0; end < header.bytes; ++end) {
        BV_CHECK(net::ParseProxyHeader(std::string_view(input).substr(0, end)).state == State::kIncomplete);
      }
      break;
    }
    case State::kIncomplete:
      BV_CHECK(input.size() < net::kProxyHeaderBytesMax);
      break;
    case State::kBad:
      BV_CHECK(more.state == State::kBad);
      break;
  }
  return 0;
}
