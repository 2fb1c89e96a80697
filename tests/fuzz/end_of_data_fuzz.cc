// The end of mail data, compared with a reference that reads one byte at a time and knows nothing about
// blocks: the same content, the same end and the same judgement, however the input is cut.
#include <string>
#include <vector>

#include "net/end_of_data.h"
#include "tests/fuzz/fuzz.h"

using namespace bivalve;

namespace {

struct Outcome {
  std::string content;
  bool ended = false;
  std::string rest;
  bool ambiguous = false;
  bool bare_newline = false;
};

bool Edge(char c) { return c == '\r' || c == '\n' || c == '\0'; }

// RFC 5321 section 4.5.2 to the letter, and what most servers do with a bare LF, over the whole wire at once.
Outcome Reference(std::string_view wire, net::EndOfData::Check check) {
  Outcome out;
  const std::string seen = std::string(" \r\n") + std::string(wire);  // the bytes before the data
  for (size_t i = 3; i < seen.size(); ++i) {
    const char c = seen[i];
    const bool at_line_start = seen[i - 1] == '\n' && seen[i - 2] == '\r';
    if (c == '.') {
      const std::string_view after = std::string_view(seen).substr(i + 1);
      if (at_line_start && after.starts_with("\r\n")) {
        if (check != net::EndOfData::Check::kNone && (seen[i - 3] == '\r' || seen[i - 3] == '\0'))
          out.ambiguous = true;
        out.ended = true;
        out.rest = after.substr(2);
        return out;
      }
      if (Edge(seen[i - 1]) && !after.empty() && Edge(after[0]) && check != net::EndOfData::Check::kNone)
        out.ambiguous = true;
      if (at_line_start) continue;
      // Also behind a bare LF, unless the dot is alone.
      if (seen[i - 1] == '\n' && !after.empty() && !Edge(after[0])) continue;
    }
    out.content += c;
    if (check == net::EndOfData::Check::kBareNewline && (c == '\n') != (seen[i - 1] == '\r'))
      out.bare_newline = true;
  }
  return out;
}

Outcome InBlocks(std::string_view wire, net::EndOfData::Check check, fuzz::Choices& choices) {
  Outcome out;
  net::EndOfData end(check);
  std::string held;
  while (!wire.empty()) {
    const size_t bytes = std::min<size_t>(wire.size(), 1 + choices.Below(120));
    // A separate block, so that a sanitizer detects every access beyond it.
    std::vector<char> block(held.begin(), held.end());
    block.insert(block.end(), wire.begin(), wire.begin() + static_cast<ptrdiff_t>(bytes));
    wire.remove_prefix(bytes);
    const net::EndOfData::Result found = end.Process(block);
    BV_CHECK(found.held_bytes <= net::EndOfData::kHeldBytesMax);
    out.content.append(block.data(), found.content_bytes);
    held.assign(block.data() + found.content_bytes, found.held_bytes);
    if (found.ended) {
      out.ended = true;
      out.rest.assign(block.begin() + static_cast<ptrdiff_t>(found.rest_offset), block.end());
      out.rest += wire;
      break;
    }
  }
  if (!out.ended) out.content += held;
  out.ambiguous = end.ambiguous();
  out.bare_newline = end.bare_newline();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Choices choices(fuzz::Text(data, size));
  const auto check = static_cast<net::EndOfData::Check>(choices.Below(3));
  const size_t cuts = choices.Below(32);
  fuzz::Choices cut_choices(choices.Text(cuts));
  const std::string_view wire = choices.rest();
  const Outcome expected = Reference(wire, check);
  const Outcome found = InBlocks(wire, check, cut_choices);
  BV_CHECK(found.ended == expected.ended);
  BV_CHECK(found.rest == expected.rest);
  if (expected.ended) {
    BV_CHECK(found.content == expected.content);
    BV_CHECK(found.ambiguous == expected.ambiguous);
    BV_CHECK(found.bare_newline == expected.bare_newline);
  }
  // The stuffed content has no end inside, and decodes to the same content.
  std::string out;
  std::string_view rest = expected.content;
  for (bool start = true;;) {
    const size_t dot = net::NextDot(rest, start);
    out += rest.substr(0, dot);
    if (dot == rest.size()) break;
    out += '.';
    rest.remove_prefix(dot);
    // The dot itself, which belongs to the content.
    out += '.';
    rest.remove_prefix(1);
    start = false;
  }
  const bool whole_line = expected.content.empty() || expected.content.ends_with("\r\n");
  out += whole_line ? ".\r\n" : "\r\n.\r\n";
  const Outcome back = Reference(out, net::EndOfData::Check::kNone);
  BV_CHECK(back.ended && back.rest.empty());
  BV_CHECK(back.content == (whole_line ? expected.content : expected.content + "\r\n"));
  return 0;
}
