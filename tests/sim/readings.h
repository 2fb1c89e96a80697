// What a scanner has to be shown of a message: every image, put together without a look at how a body does
// it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/body.h"
#include "net/header_section.h"
#include "net/part_headers.h"

namespace bivalve::sim {

// The images of one header section's readings.
inline void AddHeadImages(std::string_view content, const net::HeaderSection& header,
                          std::vector<std::string>& images) {
  const std::string& front = core::Body::Front();
  images.push_back(front + std::string(content));
  for (const net::Reading& reading : header.readings) {
    if (reading.as_it_is) continue;
    const std::string head = net::ReadHead(content, reading);
    const size_t front_bytes = front.size() - (head.size() - reading.head_bytes);
    images.push_back(front.substr(0, front_bytes - 2) + "\r\n" + head +
                     std::string(content.substr(reading.head_bytes)));
  }
}

inline void AddMailImages(std::string_view content, std::vector<std::string>& images) {
  const net::HeaderSection header = net::ExamineHeaderSection(content);
  AddHeadImages(content, header, images);
  const net::PartHeaders parts = net::ExaminePartHeaders(content, header.bytes);
  for (const std::vector<core::Body::Edit>* const edits : {&parts.edits, &parts.folded}) {
    if (edits->empty()) continue;
    std::string edited(content);
    for (const core::Body::Edit& edit : *edits) edited.replace(edit.offset, edit.bytes.size(), edit.bytes);
    AddHeadImages(edited, header, images);
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
