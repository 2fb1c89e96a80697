// Edits of MIME fields (RFC 2045) that libclamav reads differently from mail programs. It takes a field that
// ends in a semicolon for one that goes on, and with it the next field or the blank line; an open quote
// likewise; it takes the last of two fields of one name where others take the first; and it does not look
// into multiparts and messages of types that it does not know. Each edit shows it what the others see, in the
// same place and length. Pure functions over bytes; they never suspend.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/body.h"

namespace bivalve::net {

// Behind the last line of the header section that begins at `begin`: at the first empty line, or where no
// more than `bytes_max` have passed.
size_t HeaderSectionEnd(std::string_view content, size_t begin, size_t bytes_max);

// Adds the edits for the fields between `begin` and `end`, and for the first bytes of the body behind them.
void EditFields(std::string_view content, size_t begin, size_t end, std::vector<core::Body::Edit>& edits);

// Adds edits that make folded lines of white space alone the rest of the line before: to most readers they
// are that, and to libclamav the end of the header section of a part.
void EditFolds(std::string_view content, size_t begin, size_t end, std::vector<core::Body::Edit>& edits);

}  // namespace bivalve::net
