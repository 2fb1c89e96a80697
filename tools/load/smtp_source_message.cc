#include "tools/load/smtp_source_message.h"

#include <algorithm>
#include <cstring>
#include <ctime>

#include "core/check.h"
#include "core/text.h"

namespace bivalve::tools {
namespace {

constexpr size_t kLineBytes = 78;                        // RFC 2045's 76, and CRLF
constexpr size_t kVariationLines = 16'384;               // of different fillings: 1.2 MB
constexpr std::string_view kToken = "0000000000000000";  // stands where messages differ
constexpr std::string_view kBoundary = "=_smtp_source_part";

// Lines of base64's characters: they never begin with a dot, and do not compress.
std::string MakeFilling(size_t lines, Random random) {
  constexpr std::string_view kCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text(lines * kLineBytes, '\n');
  for (size_t line = 0; line < lines; ++line) {
    char* at = text.data() + line * kLineBytes;
    uint64_t bits = 0;
    for (size_t i = 0; i + 2 < kLineBytes; ++i) {
      if (i % 10 == 0) bits = random.Next();
      *at++ = kCharacters[bits % 64];
      bits /= 64;
    }
    *at = '\r';
  }
  return text;
}

// RFC 5322 section 3.3.
std::string Today() {
  const time_t now = std::time(nullptr);
  tm parts = {};
  gmtime_r(&now, &parts);
  std::array<char, 64> text;
  return std::string(text.data(),
                     std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S +0000", &parts));
}

}  // namespace

MessageLibrary::MessageLibrary(const SourceSettings& settings)
    : random_content_(settings.random_content),
      infected_share_(settings.infected_share),
      from_(settings.from),
      to_(settings.to),
      helo_(settings.helo),
      date_(Today()),
      short_line_(kLineBytes - 1, 'x') {
  short_line_.append("\r\n");
  double sum = 0;
  for (const SourceSettings::Size& size : settings.sizes) {
    sum += size.weight;
    shares_.push_back(sum);
    clean_.push_back(Make(size.bytes, false));
    infected_.push_back(Make(size.bytes, true));
  }
  for (double& share : shares_) share /= sum;
  size_t lines = 0;
  for (const Template& one : clean_) lines = std::max(lines, one.filling_lines);
  if (random_content_) variations_ = kVariationLines;
  filling_ = MakeFilling(lines + variations_, Random(settings.seed));
}

MessageLibrary::Template MessageLibrary::Make(uint64_t bytes, bool infected) const {
  Template made;
  std::string& head = made.head;
  core::Append(head, "From: <", from_, ">\r\nTo: <", to_, ">\r\nSubject: Load test ", kToken,
               "\r\nMessage-ID: <", kToken, "@", helo_, ">\r\nDate: ", date_, "\r\nMIME-Version: 1.0\r\n");
  if (infected) {
    core::Append(head, "Content-Type: multipart/mixed; boundary=\"", kBoundary, "\"\r\n\r\n--", kBoundary,
                 "\r\n");
    core::Append(made.tail, "--", kBoundary,
                 "\r\nContent-Type: application/octet-stream; name=\"eicar.com\"\r\n"
                 "Content-Disposition: attachment; filename=\"eicar.com\"\r\n"
                 "Content-Transfer-Encoding: 7bit\r\n\r\n",
                 Eicar(), "\r\n--", kBoundary, "--\r\n");
  }
  core::Append(head, "Content-Type: text/plain; charset=us-ascii\r\n\r\n", kToken, "\r\n");
  for (size_t at = head.find(kToken); at != std::string::npos; at = head.find(kToken, at + kToken.size())) {
    made.tokens.push_back(at);
  }
  const size_t around = head.size() + made.tail.size();
  const size_t filling = bytes > around ? static_cast<size_t>(bytes) - around : 0;
  made.filling_lines = filling / kLineBytes;
  size_t last_bytes = filling % kLineBytes;
  if (last_bytes == 1) {
    // No line is one byte long.
    last_bytes = made.filling_lines > 0 ? kLineBytes + 1 : 2;
    if (made.filling_lines > 0) --made.filling_lines;
  }
  made.last_line = std::string_view(short_line_).substr(short_line_.size() - last_bytes);
  return made;
}

void MessageLibrary::Fill(SourceMessage& message, Random& random) const {
  const double size = random.Unit();
  size_t index = 0;
  while (index + 1 < shares_.size() && size >= shares_[index]) ++index;
  message.infected = random.Happens(infected_share_);
  const Template& made = message.infected ? infected_[index] : clean_[index];
  size_t first_line = 0;
  if (random_content_) {
    message.head = made.head;
    uint64_t token = random.Next();
    std::array<char, kToken.size()> digits;
    for (char& digit : digits) {
      digit = "0123456789abcdef"[token % 16];
      token /= 16;
    }
    for (const size_t at : made.tokens) std::memcpy(message.head.data() + at, digits.data(), digits.size());
    message.pieces[0] = message.head;
    first_line = random.Below(variations_);
  } else {
    message.pieces[0] = made.head;
  }
  message.pieces[1] =
      std::string_view(filling_).substr(first_line * kLineBytes, made.filling_lines * kLineBytes);
  message.pieces[2] = made.last_line;
  message.pieces[3] = made.tail;
  message.bytes = 0;
  for (const std::string_view piece : message.pieces) message.bytes += piece.size();
}

std::string MessageLibrary::Eicar() {
  return core::Cat("X5O!P%@AP", "[4\\PZX54(P^)", "7CC)7}$", "EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE",
                   "!$H+H*");
}

}  // namespace bivalve::tools
