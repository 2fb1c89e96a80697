// The messages that smtp_source sends. Made once, at the start; sending one costs no copy of its body.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/load/shared.h"
#include "tools/load/smtp_source_settings.h"

namespace bivalve::tools {

// One message as it goes over the wire: the pieces one after the other. No line begins with a dot, and the
// last one ends in CRLF, so that it goes by DATA and by BDAT alike. Borrows from the library that filled it.
struct SourceMessage {
  static constexpr size_t kPieces = 4;
  SourceMessage() = default;
  SourceMessage(const SourceMessage&) = delete;

  std::array<std::string_view, kPieces> pieces = {};
  uint64_t bytes = 0;
  bool infected = false;
  std::string head;  // the first piece's memory where messages differ
};

// All that a run sends. Immutable: threads share it.
class MessageLibrary {
 public:
  explicit MessageLibrary(const SourceSettings& settings);
  MessageLibrary(const MessageLibrary&) = delete;

  // Makes the next message: size, infection and content are drawn from `random`.
  void Fill(SourceMessage& message, Random& random) const;

  // The EICAR test file. Put together when called, so that it stands in no file of ours.
  static std::string Eicar();

 private:
  struct Template {
    std::string head;  // header section, and what comes before the filling
    std::string tail;  // what comes after it
    size_t filling_lines = 0;
    std::string_view last_line;  // of the filling, shorter or a little longer; into short_lines_
    std::vector<size_t> tokens;  // offsets in head of what makes messages differ
  };

  Template Make(uint64_t bytes, bool infected) const;

  bool random_content_;
  double infected_share_;
  std::string from_, to_, helo_, date_;
  std::string short_line_;
  std::string filling_;         // lines of random text
  size_t variations_ = 1;       // lines at which a message's filling may begin
  std::vector<double> shares_;  // of the sizes, added up
  std::vector<Template> clean_;
  std::vector<Template> infected_;
};

}  // namespace bivalve::tools
