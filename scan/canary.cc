#include "scan/canary.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/escaping.h"
#include "core/check.h"
#include "core/text.h"
#include "scan/scan_image.h"

namespace bivalve::scan {
namespace {

// Written in parts, so that no scanner takes this source or the program for a virus.
std::string Eicar() {
  static constexpr std::array<std::string_view, 7> kParts = {
      "X5O!P%@AP", "[4\\PZX54(P^)", "7CC)7}$", "EICAR-STANDARD-", "ANTIVIRUS-", "TEST-FILE", "!$H+H*"};
  std::string all;
  for (const std::string_view part : kParts) all += part;
  return all;
}

struct Magic {
  std::string_view bytes;
  size_t image_offset;
};
constexpr Magic kMagics[] = {{"ustar", 257}, {"EFI PART", 512}};

// A field that holds each magic at that magic's offset, behind a front of 64 bytes or a multiple of 64.
// `begin`: where the field begins in the content.
std::string MagicField(size_t begin) {
  static constexpr std::string_view kName = "X-Bivalve-Magics: ";
  static constexpr size_t kFrontStep = kFrontLine.size();
  std::string field(kName);
  size_t furthest = 0;
  for (const Magic& magic : kMagics) furthest = std::max(furthest, magic.image_offset);
  field.resize(furthest, 'x');
  for (const Magic& magic : kMagics) {
    for (size_t front = kFrontStep; front + begin + kName.size() <= magic.image_offset; front += kFrontStep) {
      const size_t at = magic.image_offset - front - begin;
      // A magic must not overwrite another one: both would be spoiled.
      const bool free = field.find_first_not_of('x', at) >= at + magic.bytes.size();
      if (free) field.replace(at, magic.bytes.size(), magic.bytes);
    }
  }
  return field + "\r\n";
}

}  // namespace

const std::string& CanaryContent() {
  static const std::string first = core::Cat(kCanaryMark, "a scanner's self-test\r\n");
  static const std::string content =
      core::Cat(first, MagicField(first.size()),
                "From: <bivalve@localhost>\r\n"
                "To: <bivalve@localhost>\r\n"
                "Subject: self-test of the scanner\r\n"
                "MIME-Version: 1.0\r\n"
                "Content-Type: multipart/mixed; boundary=\"=_bivalve_canary\"\r\n"
                "\r\n"
                "--=_bivalve_canary\r\n"
                "Content-Type: text/plain\r\n"
                "\r\n"
                "This message never leaves the machine: it shows that the scanner finds what it must.\r\n"
                "--=_bivalve_canary\r\n"
                "Content-Type: application/octet-stream; name=\"canary.com\"\r\n"
                "Content-Transfer-Encoding: base64\r\n"
                "Content-Disposition: attachment; filename=\"canary.com\"\r\n"
                "\r\n",
                absl::Base64Escape(Eicar()),
                "\r\n"
                "--=_bivalve_canary--\r\n");
  return content;
}

core::Task<std::unique_ptr<core::Body>> MakeCanary(core::BodyPool& bodies) {
  const std::string& content = CanaryContent();
  std::unique_ptr<core::Body> body = co_await bodies.Acquire(content.size());
  if (body == nullptr) co_return nullptr;
  BV_CHECK(body->room().size() >= content.size());
  std::memcpy(body->room().data(), content.data(), content.size());
  body->Extend(content.size());
  co_return body;
}

core::Task<std::unique_ptr<core::Body>> MakeCanary(core::BodyPool& bodies, core::Condition& wake,
                                                   uint64_t image_bytes) {
  // Takes about a tenth of a millisecond.
  static constexpr size_t kStepBytes = size_t{256} << 10;
  static constexpr std::string_view kLine =
      "It has lines behind its end until it is as large as the message that it speaks for.\r\n";
  std::unique_ptr<core::Body> body = co_await MakeCanary(bodies);
  size_t in_line = 0;
  while (body != nullptr && body->image_bytes() < image_bytes) {
    if (body->room().empty()) {
      const bool grown = co_await bodies.Grow(*body);
      if (!grown) {
        bodies.Release(std::move(body));
        break;
      }
    }
    const size_t bytes =
        std::min({body->room().size(), kStepBytes, size_t{image_bytes} - body->image_bytes()});
    std::span<char> room = body->room().first(bytes);
    while (!room.empty()) {
      const std::string_view part = kLine.substr(in_line, room.size());
      std::memcpy(room.data(), part.data(), part.size());
      room = room.subspan(part.size());
      in_line = (in_line + part.size()) % kLine.size();
    }
    body->Extend(bytes);
    (void)co_await wake.Wait(wake.loop().Now());
  }
  co_return body;
}

}  // namespace bivalve::scan
