// clamd's replies: only what clamd writes is believed, and OK only in its two exact forms.
#include <string>

#include "scan/clamd_protocol.h"
#include "tests/fuzz/fuzz.h"

using namespace bivalve;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input = fuzz::Text(data, size);
  for (int records = 0; records < 64; ++records) {
    const scan::Record record = scan::NextRecord(input);
    if (record.state != scan::RecordState::kWhole) {
      BV_CHECK((record.state == scan::RecordState::kTooLong) == (input.size() > scan::kRecordBytesMax));
      break;
    }
    BV_CHECK(record.bytes == record.text.size() + 1 && record.bytes <= scan::kRecordBytesMax + 1);
    fuzz::CheckBorrows(input, record.text);
    const scan::Reply reply = scan::ParseReply(record.text);
    BV_CHECK(reply.text.size() <= scan::kTextBytesMax);
    fuzz::CheckBorrows(record.text, reply.text);
    if (reply.kind == scan::ReplyKind::kOk) {
      BV_CHECK(reply.shape != scan::ReplyShape::kNone && record.text.ends_with(": OK"));
      BV_CHECK(record.text.find("FOUND") == std::string_view::npos &&
               record.text.find("ERROR") == std::string_view::npos);
    }
    switch (reply.kind) {
      case scan::ReplyKind::kOk:
      case scan::ReplyKind::kFound:
      case scan::ReplyKind::kError:
      case scan::ReplyKind::kRefused:
      case scan::ReplyKind::kSizeLimit: {
        const scan::Verdict verdict = scan::ToVerdict(reply);
        BV_CHECK((verdict.kind == scan::VerdictKind::kClean) == (reply.kind == scan::ReplyKind::kOk));
        break;
      }
      default:
        break;
    }
    input.remove_prefix(record.bytes);
  }
  return 0;
}
