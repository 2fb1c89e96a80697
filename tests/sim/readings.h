// The images of a message that a scanner must see, put together independently of how a body makes them.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "net/header_section.h"
#include "net/line_survey.h"
#include "net/mime_parts.h"
#include "net/plain_mime.h"
#include "net/transfer_encoding.h"
#include "scan/scan_image.h"

namespace bivalve::sim {

// Adds the images of one header section's readings.
inline void AddHeadImages(std::string_view content, const net::HeaderSection& header,
                          std::vector<std::string>& images) {
  const std::string& front = scan::Front();
  images.push_back(front + std::string(content));
  for (const net::Reading& reading : header.readings) {
    if (reading.as_it_is) continue;
    const std::string head = net::ReadHead(content, reading);
    const size_t front_bytes = front.size() - (head.size() - reading.head_bytes);
    images.push_back(front.substr(0, front_bytes - 2) + "\r\n" + head +
                     std::string(content.substr(reading.head_bytes)));
  }
}

inline std::string Decoded(net::TransferEncoding encoding, std::string_view encoded) {
  net::TransferDecoder decoder(encoding, encoded);
  std::string decoded;
  std::array<char, 4096> room;
  while (const size_t bytes = decoder.Decode(room)) decoded.append(room.data(), bytes);
  return decoded;
}

inline void AddMailImages(std::string_view content, std::vector<std::string>& images) {
  const net::HeaderSection header = net::ExamineHeaderSection(content);
  AddHeadImages(content, header, images);
  if (header.well_formed && net::IsPlainMime(content, net::SurveyLines(content))) return;
  for (const bool messages : {true, false}) {
    for (const net::MimePart& part : net::FindMimeParts(content).parts) {
      if (part.message != messages) continue;
      const std::string decoded = Decoded(part.encoding, content.substr(part.begin, part.end - part.begin));
      if (!decoded.empty()) images.push_back((messages ? scan::Front() : std::string()) + decoded);
    }
  }
}

inline std::vector<std::string> ImagesOf(std::string_view content) {
  std::vector<std::string> images;
  AddMailImages(content, images);
  std::string with_lf(content);
  bool bare_cr = false;
  for (size_t i = 0; i < content.size(); ++i) {
    if (content[i] != '\r' || content.substr(i + 1).starts_with('\n')) continue;
    with_lf[i] = '\n';
    bare_cr = true;
  }
  if (bare_cr) AddMailImages(with_lf, images);
  if (!net::ExamineHeaderSection(content).well_formed) images.emplace_back(content);
  return images;
}

}  // namespace bivalve::sim
