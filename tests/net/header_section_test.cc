#include "net/header_section.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace bivalve::net {
namespace {

std::vector<size_t> BlankLinesAt(const HeaderSection& section) {
  std::vector<size_t> offsets;
  for (const Reading& reading : section.readings) {
    if (!reading.as_it_is && reading.blank_line) offsets.push_back(reading.head_bytes);
  }
  std::sort(offsets.begin(), offsets.end());
  return offsets;
}

TEST(HeaderSection, HasOneReadingWhenItIsWellFormed) {
  for (const std::string_view content :
       {"", "A: b\r\n\r\nbody", "A: b\n\nbody", "A: b\r\n\nbody",
        "A:b\r\n folded\r\n\tmore\r\n\r\n \r\nbody\r\n", "\r\nA : b\r\n", "\nbody", "A: b\r\n", "A: b",
        "A!#$%&'*+-.^_`|~: \xe2\x82\xac\r\n\r\nX", "A:\r\n\r\n"}) {
    const HeaderSection section = ExamineHeaderSection(content);
    EXPECT_TRUE(section.well_formed) << content;
    EXPECT_TRUE(section.readings.empty()) << content;
  }
}

TEST(HeaderSection, EndsBeforeTheBlankLine) {
  EXPECT_EQ(ExamineHeaderSection("A: b\r\nC: d\r\n\r\nbody\r\n\r\n").bytes, 12u);
  EXPECT_EQ(ExamineHeaderSection("A: b\nC: d\n\nbody").bytes, 10u);
  EXPECT_EQ(ExamineHeaderSection("\r\nbody").bytes, 0u);
  EXPECT_EQ(ExamineHeaderSection("A: b\r\n").bytes, 6u) << "everything, without a blank line";
  EXPECT_EQ(ExamineHeaderSection("").bytes, 0u);
}

TEST(HeaderSection, EndsBeforeTheFirstLineThatIsNoField) {
  for (const std::string_view line :
       {"text\r\n", " \r\n", "\t\r\n", ":\r\n", ": x\r\n", "..\r\n", "\f\r\n", "\v\r\n", "X-Foo : y\r\n",
        "X\xe9: y\r\n", "From a Mon\r\n", ">From a\r\n", "\r\r\n", "==\r\n", "YmFzZTY0\n"}) {
    const std::string content = std::string("A: b\r\n") + std::string(line) + "C: d\r\n\r\nbody";
    const HeaderSection section = ExamineHeaderSection(content);
    EXPECT_EQ(section.bytes, 6u) << line;
    EXPECT_FALSE(section.well_formed) << line;
    ASSERT_GE(section.readings.size(), 2u) << line;
    EXPECT_EQ(section.readings.front(), Reading()) << line;
    const std::vector<size_t> blank_lines = BlankLinesAt(section);
    EXPECT_EQ(std::count(blank_lines.begin(), blank_lines.end(), 6), 1) << line;
  }
}

// A body without a blank line before it does not hide a blank line that comes later.
TEST(HeaderSection, DoesNotLookBehindATextThatNobodyTakesForAField) {
  const HeaderSection section = ExamineHeaderSection("A: b\r\ntext\r\nC : d\r\n \r\n\r\nbody");
  EXPECT_EQ(BlankLinesAt(section), std::vector<size_t>({6}));
  EXPECT_EQ(section.readings.size(), 2u);
}

// A server that takes "X : y" for a field continues behind it, and for one that does not the header section
// ends there. The same holds for each other kind of doubtful line, whatever stands between them.
TEST(HeaderSection, ReadsOnBehindEachKindOfDoubt) {
  const HeaderSection section =
      ExamineHeaderSection("A: b\r\nX : y\r\nY : z\r\n \r\nC: d\r\n: e\r\ntext\r\nD: e\r\n");
  EXPECT_EQ(BlankLinesAt(section), std::vector<size_t>({6, 20, 29, 34}));
}

TEST(HeaderSection, TakesAMailboxsFirstLineForOneThatMayBeSkipped) {
  const HeaderSection section = ExamineHeaderSection("From a@b Mon\r\nA: b\r\n\r\nbody");
  EXPECT_FALSE(section.well_formed);
  EXPECT_EQ(section.bytes, 20u) << "nothing is put in front of it";
  EXPECT_EQ(BlankLinesAt(section), std::vector<size_t>({0}));
}

TEST(HeaderSection, DrawsColonsToTheirNames) {
  const std::string_view content = "A : b\r\nContent-Type \t:\tx\r\nC: d : e\r\n\r\nX : y";
  const HeaderSection section = ExamineHeaderSection(content);
  const Reading whole = {.as_it_is = false, .head_bytes = 36};
  ASSERT_NE(std::find(section.readings.begin(), section.readings.end(), whole), section.readings.end());
  EXPECT_EQ(ReadHead(content, whole), "A:  b\r\nContent-Type: \t\tx\r\nC: d : e\r\n");
}

TEST(HeaderSection, ReadsABareCarriageReturnAsABlank) {
  const std::string_view content = "A: b\rtext\r\n\r\nbody";
  const HeaderSection section = ExamineHeaderSection(content);
  EXPECT_FALSE(section.well_formed);
  EXPECT_EQ(section.bytes, 11u);
  const Reading flat = {.as_it_is = false, .head_bytes = 11};
  EXPECT_EQ(section.readings, std::vector<Reading>({Reading(), flat}));
  EXPECT_EQ(ReadHead(content, flat), "A: b text\r\n");
}

TEST(HeaderSection, StopsWhereItIsTooLong) {
  std::string fields;
  for (int i = 0; i < 100; ++i) fields += "X-Long: x\r\n";
  EXPECT_EQ(ExamineHeaderSection(fields + "\r\nbody", 500).bytes, 506u);
  EXPECT_TRUE(ExamineHeaderSection(fields + "\r\nbody", 500).well_formed);
  EXPECT_EQ(ExamineHeaderSection(fields + "\r\nbody", 1100).bytes, 1100u);
  EXPECT_GT(ExamineHeaderSection("X: " + fields.substr(0, 3) + std::string(1000, 'x'), 500).bytes, 500u);
  EXPECT_EQ(ExamineHeaderSection("A: b\r\n" + std::string(1000, 'x'), 500).bytes, 6u);
}

// For any message, the readings are few, differ from each other, and fit into the body's memory.
TEST(HeaderSection, KeepsItsPromisesForAnyBytes) {
  const std::vector<std::string> pieces = {
      "A: b",  "\r\n", "\n",    "\r", " ", "\t",   ":",    "X : y", "text",
      "From ", ">",    "\xe9:", "\0", ".", "fold", "\r\n", "\r\n",  "B:"};
  std::mt19937 random(20);
  size_t odd = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string content;
    for (uint32_t n = random() % 16; n > 0; --n) content += pieces[random() % pieces.size()];
    const HeaderSection section = ExamineHeaderSection(content);
    ASSERT_LE(section.bytes, content.size());
    ASSERT_TRUE(section.bytes == 0 || section.bytes == content.size() || content[section.bytes - 1] == '\n')
        << content;
    ASSERT_LE(section.readings.size(), kReadingsMax);
    ASSERT_EQ(section.well_formed, section.readings.empty());
    odd += section.well_formed ? 0 : 1;
    for (size_t i = 0; i < section.readings.size(); ++i) {
      const Reading& reading = section.readings[i];
      ASSERT_EQ(std::count(section.readings.begin(), section.readings.end(), reading), 1);
      if (reading.as_it_is) continue;
      ASSERT_LE(reading.head_bytes, content.size());
      const std::string head = ReadHead(content, reading);
      ASSERT_EQ(head.size(), reading.head_bytes + (reading.blank_line ? 2 : 0));
    }
  }
  EXPECT_GT(odd, 1000u);
}

}  // namespace
}  // namespace bivalve::net
