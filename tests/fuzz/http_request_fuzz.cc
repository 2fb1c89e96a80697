// Requests to the statistics address.
#include <string>

#include "appliance/control/http_server.h"
#include "tests/fuzz/fuzz.h"

using namespace bivalve;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view head = fuzz::Text(data, size);
  appliance::HttpRequest request;
  if (!appliance::ParseHttpRequest(head, request)) return 0;
  fuzz::CheckBorrows(head, request.method);
  fuzz::CheckBorrows(head, request.path);
  fuzz::CheckBorrows(head, request.query);
  fuzz::CheckBorrows(head, appliance::FindQueryValue(request.query, "limit"));
  if (request.host.has_value()) {
    fuzz::CheckBorrows(head, *request.host);
    (void)appliance::IsOwnHost(*request.host, "a.example");
  }
  BV_CHECK(!request.method.empty() && request.path.starts_with('/'));
  BV_CHECK(request.path.find_first_of(" ?\r\n") == std::string_view::npos);
  return 0;
}
