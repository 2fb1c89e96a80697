// The terminal as bivalvectl top uses it: a screen of its own, keys without Enter, and everything as it was
// at the end, whatever the end is. Plain ANSI and termios: what is drawn is a list of lines once a second,
// for which ncurses would be one more library to install.
#pragma once

#include <termios.h>

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "tools/bivalvectl/top_view.h"

namespace bivalve::ctl {

class Terminal {
 public:
  // Whether standard output is a terminal that obeys escape sequences.
  static bool Usable();

  // Takes the terminal over. One at a time.
  Terminal();
  Terminal(const Terminal&) = delete;
  // Gives it back. So do the signals that end the process (and then end it), and the one that stops it.
  ~Terminal();

  struct Size {
    size_t columns = 80;
    size_t rows = 24;
  };
  static Size CurrentSize();

  void Draw(const std::vector<TopLine>& lines);

  // What happened first: a key, a new size (or the return from a stop), or the end of `seconds`.
  enum class Event : unsigned char { kKey, kResize, kTime };
  Event Wait(double seconds, char& key);

 private:
  bool keys_ = false;  // standard input is a terminal, too
};

}  // namespace bivalve::ctl
