#include "tools/docs/manual.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "appliance/settings/options.h"
#include "core/text.h"
#include "tools/docs/roff.h"

namespace bivalve::appliance {
namespace {

constexpr std::string_view kHead =
    R"(.\" Made by tools/gen_docs from the table in appliance/settings/options.cc. Change that, and run
.\" tools/gen_docs conf.5 >appliance/man/bivalved.conf.5
.Dd 2026-11-22
.Dt BIVALVED.CONF 5
.Os
.Sh NAME
.Nm bivalved.conf
.Nd configuration file of bivalved
.Sh DESCRIPTION
.Xr bivalved 8
reads
.Pa /etc/bivalved.conf
when it starts; if it is started as
.Nm clamsmtpd ,
it reads
.Pa /etc/clamsmtpd.conf .
The option
.Fl f
names another file.
.Pp
A setting is a line
.Ql Name : value .
Names may be written in upper or lower case; white space around the name, the colon and the value is ignored.
Empty lines and lines that begin with
.Ql #
are ignored.
A setting may be written only once, unless its description says that it may be repeated.
With an unknown name or a wrong value the program does not start;
.Nm bivalved Fl -check-config
reports everything that is wrong with a file.
.Pp
Switches are
.Cm on
or
.Cm off ;
.Cm yes , no , true , false , 1
and
.Cm 0
have the same meanings.
Times are seconds.
Sizes are bytes, or units of 1024 with the suffix
.Cm K , M
or
.Cm G .
.Sh SETTINGS
.Bl -tag -width Ds
)";

constexpr std::string_view kMiddle = R"(.El
.Ss Old names
These names still work, with a warning.
.Bl -tag -width Ds
)";

constexpr std::string_view kTail = R"(.El
.Sh ADDRESSES
.Bl -tag -width "[2001:db8::1]:25" -compact
.It Ar /path
a local socket
.It Ar 25
a port alone; the description of each setting says what it means
.It Ar 192.0.2.1:25
an IPv4 address and a port
.It Ar [2001:db8::1]:25
an IPv6 address and a port
.It Ar mail.example.org:25
a host name and a port
.El
.Sh FILES
.Bl -tag -width /etc/clamsmtpd.conf -compact
.It Pa /etc/bivalved.conf
.It Pa /etc/clamsmtpd.conf
.El
.Sh SEE ALSO
.Xr bivalved 8 ,
.Xr clamd 8
)";

constexpr std::string_view kSampleHead =
    R"(# The configuration of bivalved, with every setting and its default. See bivalved.conf(5).
# Made by tools/gen_docs from the table in appliance/settings/options.cc.
#
# Lines that begin with # are ignored.
)";

bool NothingExists(const std::string&) { return false; }

std::string Default(const Option& option) {
  return std::string(DefaultText(option, ProgramName::kBivalved, NothingExists));
}

void AppendSetting(std::string& out, const Option& option) {
  core::Append(out, ".It Cm ", option.name, '\n');
  for (const std::string& sentence : Sentences(option.doc)) core::Append(out, Roff(sentence), '\n');
  if (!option.alias_of.empty()) return;
  if (option.on_reload == OnReload::kNextStart) out += "A change takes effect at the next start.\n";
  if (option.required) {
    out += ".Pp\nRequired.\n";
  } else if (!Default(option).empty()) {
    core::Append(out, ".Pp\nDefault:\n.Ql ", RoffArgument(Default(option)), '\n');
  }
  if (option.repeatable()) out += ".Pp\nMay be repeated.\n";
}

// The words as comment lines of at most 78 characters.
void AppendComment(std::string& out, std::string_view text) {
  constexpr size_t kLineBytesMax = 78;
  size_t line_bytes = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    if (line_bytes + 1 + end > kLineBytesMax) {
      out += '\n';
      line_bytes = 0;
    }
    if (line_bytes == 0) {
      out += '#';
      line_bytes = 1;
    }
    core::Append(out, ' ', text.substr(0, end));
    line_bytes += 1 + end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  out += '\n';
}

}  // namespace

std::string ConfigManual() {
  std::string out(kHead);
  for (const Option& option : Options()) {
    if (option.alias_of.empty()) AppendSetting(out, option);
  }
  out += kMiddle;
  for (const Option& option : Options()) {
    if (!option.alias_of.empty()) AppendSetting(out, option);
  }
  out += kTail;
  return out;
}

std::string SampleConfig() {
  std::string out(kSampleHead);
  for (const Option& option : Options()) {
    if (!option.alias_of.empty()) continue;
    out += '\n';
    AppendComment(out, option.doc);
    const std::string value = option.required ? "10026" : Default(option);
    core::Append(out, option.required ? "" : "#", option.name, value.empty() ? ":" : ": ", value, '\n');
  }
  return out;
}

}  // namespace bivalve::appliance
