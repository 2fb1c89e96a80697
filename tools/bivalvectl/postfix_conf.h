// Postfix's main.cf and master.cf, as far as bivalvectl check asks about them. Takes what it understands and
// passes over the rest: Postfix is the judge of its own files.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bivalve::ctl {

// A service of master.cf, as "smtp inet n - n - - smtpd -o name=value".
struct PostfixService {
  std::string name = {};
  std::string type = {};
  std::string command = {};
  int line = 0;
  std::map<std::string, std::string> overrides = {};
};

struct PostfixValue {
  std::string text = {};
  std::string file = {};  // "main.cf" or "master.cf"
  int line = 0;           // 0: the default
};

class PostfixConf {
 public:
  static PostfixConf Parse(std::string_view main_cf, std::string_view master_cf);

  const std::vector<PostfixService>& services() const { return services_; }

  // What a parameter is for a service (nullptr: for none in particular), references to others replaced.
  PostfixValue Value(const PostfixService* service, const std::string& name,
                     std::string_view default_text) const;
  // The same as a number, or as a time ("100", "100s", "5m", "1h"); nullopt when it is none.
  static std::optional<uint64_t> Number(const PostfixValue& value);
  static std::optional<std::chrono::seconds> Time(const PostfixValue& value);

 private:
  std::string Expand(const PostfixService* service, std::string_view text, int depth) const;

  struct Parameter {
    std::string text = {};
    int line = 0;
  };
  std::map<std::string, Parameter> main_;
  std::vector<PostfixService> services_;
};

}  // namespace bivalve::ctl
