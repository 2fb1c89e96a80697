#include "net/connection.h"

#include "net/socket_name.h"
#include "net/transparent.h"

namespace bivalve::net {

SocketAddress Connection::local() const { return SocketName(stream_.fd()); }

SocketAddress Connection::peer() const { return PeerName(stream_.fd()); }

SocketAddress Connection::original_destination() const { return OriginalDestination(stream_.fd()); }

Connection::Line Connection::PeekLine() {
  std::string_view input = stream_.input();
  size_t end = input.find('\n');
  if (discarding_) {
    stream_.Consume(end == std::string_view::npos ? input.size() : end + 1);
    if (end == std::string_view::npos) return {};
    discarding_ = false;
    input = stream_.input();
    end = input.find('\n');
  }
  if (end == std::string_view::npos ? input.size() >= line_bytes_max_ : end >= line_bytes_max_) {
    discarding_ = true;
    return {LineState::kTooLong, {}};
  }
  if (end == std::string_view::npos) return {};
  std::string_view text = input.substr(0, end);
  if (text.ends_with('\r')) text.remove_suffix(1);
  return {LineState::kLine, text};
}

Connection::Line Connection::NextLine() {
  const Line line = PeekLine();
  if (line.state == LineState::kLine) stream_.Consume(stream_.input().find('\n') + 1);
  return line;
}

}  // namespace bivalve::net
