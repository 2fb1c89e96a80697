#include "scan/clamd_protocol.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "core/check.h"

namespace bivalve::scan {
namespace {

constexpr size_t kDigitsMax = 10;

// Prefix of the signature names by which clamd says that it stopped at a limit (AlertExceedsMax).
constexpr std::string_view kLimitsExceeded = "Heuristics.Limits.Exceeded";

// Takes a decimal number, without a sign or a leading zero, from the front of `text`.
std::optional<uint32_t> TakeNumber(std::string_view& text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0 || digits > kDigitsMax || (digits > 1 && text.front() == '0')) return std::nullopt;
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(digits);
  return number;
}

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool TakeSuffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// Texts that say that the descriptor did not arrive or may not be read. The "Can't" texts are cl_strerror's
// for clamd's first steps with any descriptor; a message's content cannot cause them.
bool IsRefusal(std::string_view text) {
  static constexpr std::string_view kRefusals[] = {
      "No file descriptor received.",
      "FILDES: didn't receive file descriptor.",
      "Not a regular file",
      "Not a regular file.",
      "Can't access file",
      "Can't get file status",
      "Can't open file or directory",
      "PROTOCOL ERROR: ancillary data sent without FILDES.",
      // clamd does not know the command, or was built without it.
      "Command invalid inside IDSESSION.",
      "FILDES support not compiled in.",
  };
  return std::find(std::begin(kRefusals), std::end(kRefusals), text) != std::end(kRefusals);
}

}  // namespace

Record NextRecord(std::string_view input) {
  const size_t end = input.substr(0, kRecordBytesMax + 1).find_first_of(internal::WithNuls("\0\n"));
  if (end != std::string_view::npos) return {RecordState::kWhole, input.substr(0, end), end + 1};
  return {input.size() > kRecordBytesMax ? RecordState::kTooLong : RecordState::kIncomplete, {}, 0};
}

Reply ParseReply(std::string_view record) {
  Reply reply;
  std::string_view rest = record;
  if (const std::optional<uint32_t> id = TakeNumber(rest); id.has_value()) {
    if (*id == 0 || !TakePrefix(rest, ": ")) return {};
    reply.id = *id;
  }
  const auto as = [&reply](ReplyKind kind, std::string_view text = {}) {
    reply.kind = kind;
    reply.text = text.substr(0, kTextBytesMax);
    return reply;
  };
  if (rest == "PONG") return as(ReplyKind::kPong);
  if (rest == "COMMAND READ TIMED OUT") return as(ReplyKind::kReadTimeOut);
  // Two refusals without the word ERROR; the first one may come without a number.
  if (rest == "UNKNOWN COMMAND" || rest == "COMMAND UNAVAILABLE") return as(ReplyKind::kRefused, rest);

  if (TakePrefix(rest, "stream: ")) {
    reply.shape = ReplyShape::kStream;
  } else if (rest.starts_with("fd[")) {
    rest.remove_prefix(3);
    if (!TakeNumber(rest).has_value() || !TakePrefix(rest, "]: ")) return {};
    reply.shape = ReplyShape::kDescriptor;
  }
  if (TakeSuffix(rest, " ERROR")) {
    if (rest.empty()) return {};
    if (rest == "INSTREAM size limit exceeded.") return as(ReplyKind::kSizeLimit, rest);
    return as(IsRefusal(rest) ? ReplyKind::kRefused : ReplyKind::kError, rest);
  }
  if (reply.shape == ReplyShape::kNone) return {};
  if (rest == "OK") return as(ReplyKind::kOk);
  // A name may contain spaces, even "FOUND OK": everything up to the last " FOUND" is the name.
  if (TakeSuffix(rest, " FOUND") && !rest.empty()) return as(ReplyKind::kFound, rest);
  return {};
}

Verdict ToVerdict(const Reply& reply) {
  Verdict verdict;
  verdict.text = reply.text;
  switch (reply.kind) {
    case ReplyKind::kOk:
      verdict.kind = VerdictKind::kClean;
      return verdict;
    case ReplyKind::kFound:
      if (reply.text.starts_with(kLimitsExceeded)) {
        // Time is the only limit that the same message may not reach again.
        const bool time = reply.text.substr(kLimitsExceeded.size()) == ".MaxScanTime";
        verdict.cause = time ? NoVerdict::kTimeout : NoVerdict::kLimits;
      } else {
        verdict.kind = VerdictKind::kInfected;
      }
      return verdict;
    case ReplyKind::kSizeLimit:
      verdict.cause = NoVerdict::kSize;
      return verdict;
    case ReplyKind::kError:
    case ReplyKind::kRefused:
      verdict.cause = NoVerdict::kError;
      return verdict;
    case ReplyKind::kPong:
    case ReplyKind::kReadTimeOut:
    case ReplyKind::kNonsense:
      break;
  }
  BV_CHECK(false);
  return verdict;
}

}  // namespace bivalve::scan
