#include "tools/docs/roff.h"

#include <algorithm>

namespace bivalve::appliance {

std::vector<std::string> Sentences(std::string_view text) {
  std::vector<std::string> sentences;
  while (!text.empty()) {
    size_t end = text.find(". ");
    end = end == std::string_view::npos ? text.size() : end + 1;
    sentences.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return sentences;
}

std::string Roff(std::string_view text) {
  std::string out;
  if (text.starts_with('.') || text.starts_with('\'')) out += "\\&";
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
  }
  return out;
}

std::string RoffArgument(std::string_view text) {
  std::string out = "\"";
  for (const char c : Roff(text)) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

}  // namespace bivalve::appliance
