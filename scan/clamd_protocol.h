// clamd's protocol: the commands that we send, and the replies, which are trusted only in exactly the forms
// that clamd writes. Pure functions over bytes; sessions (IDSESSION) only. Every command here begins with 'z'
// and ends in NUL; this form asks for replies that end in NUL.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "scan/verdict.h"

namespace bivalve::scan {

namespace internal {
template <size_t N>
consteval std::string_view WithNuls(const char (&text)[N]) {
  return {text, N - 1};
}
}  // namespace internal

// Opens a session. clamd never answers IDSESSION itself, so a PING follows it: "1: PONG" says that the
// scanner serves us. The commands of a session are numbered from 1, PINGs included.
inline constexpr std::string_view kOpenSession = internal::WithNuls("zIDSESSION\0zPING\0");
inline constexpr std::string_view kPing = internal::WithNuls("zPING\0");
// Never used in a session, because clamd writes this answer in two pieces there.
inline constexpr std::string_view kVersion = internal::WithNuls("zVERSION\0");
// Sent in one message with the one byte that carries the descriptor; otherwise clamd says PROTOCOL ERROR.
inline constexpr std::string_view kFildes = internal::WithNuls("zFILDES\0\0");
// Followed by chunks; a chunk of no bytes ends the stream.
inline constexpr std::string_view kInstream = internal::WithNuls("zINSTREAM\0");

// The header of an INSTREAM chunk: its bytes as 32 bits, most significant first.
using ChunkHeader = std::array<char, 4>;
constexpr ChunkHeader MakeChunkHeader(uint32_t bytes) {
  return {static_cast<char>(bytes >> 24), static_cast<char>(bytes >> 16), static_cast<char>(bytes >> 8),
          static_cast<char>(bytes)};
}

// Anything longer than this is not a reply: clamd writes a path, a number and a signature name.
inline constexpr size_t kRecordBytesMax = 4096;
// Longer signature names and error texts are cut; the message still counts as infected.
inline constexpr size_t kTextBytesMax = 256;

enum class RecordState : uint8_t { kWhole, kIncomplete, kTooLong };
struct Record {
  RecordState state = RecordState::kIncomplete;
  std::string_view text;  // kWhole: without the NUL or LF; borrows from the input
  size_t bytes = 0;       // kWhole: including it
};
// The first record of `input`. Both NUL and LF end a record: "COMMAND READ TIMED OUT" ends in LF whatever
// form was requested, and the next record may follow immediately.
Record NextRecord(std::string_view input);

enum class ReplyKind : uint8_t {
  kPong,
  kOk,
  kFound,      // text: the signature name
  kError,      // text: everything before " ERROR"
  kRefused,    // the same; the scanner did not get our descriptor, cannot use it or does not know FILDES
  kSizeLimit,  // the same; the stream was longer than the scanner accepts
  kReadTimeOut,
  kNonsense,
};
enum class ReplyShape : uint8_t { kNone, kDescriptor, kStream };
struct Reply {
  ReplyKind kind = ReplyKind::kNonsense;
  ReplyShape shape = ReplyShape::kNone;  // "fd[N]: " or "stream: " before the reply
  uint32_t id = 0;                       // 0: none
  std::string_view text;                 // borrows from the record
};
// Parses one record. Anything that clamd does not write is kNonsense. Never suspends.
Reply ParseReply(std::string_view record);

// The meaning of a reply to a scan: kOk, kFound, kError, kRefused or kSizeLimit. A signature that only says
// that the scanner stopped at one of its limits is not a virus; if it stopped at its MaxScanTime, the result
// is kTimeout.
Verdict ToVerdict(const Reply& reply);

}  // namespace bivalve::scan
