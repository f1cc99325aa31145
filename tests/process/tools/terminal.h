// A terminal with ivmq in it.
#ifndef IVMQ_TESTS_PROCESS_TOOLS_TERMINAL_H_
#define IVMQ_TESTS_PROCESS_TOOLS_TERMINAL_H_

#include <termios.h>

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/child.h"

namespace ivmq::testing {

// The screen of a terminal, as the escape sequences leave it that ivmq writes; others fail the test.
// A character is one column.
class EmulatedScreen {
 public:
  EmulatedScreen(std::size_t columns, std::size_t rows);

  void Write(std::string_view bytes);
  void Resize(std::size_t columns, std::size_t rows);

  // Without blanks at the ends of lines.
  [[nodiscard]] std::string text() const;
  // The first line with that text; empty: there is none.
  [[nodiscard]] std::string LineWith(std::string_view text) const;
  [[nodiscard]] bool is_other_screen() const noexcept { return is_other_; }
  [[nodiscard]] bool has_cursor() const noexcept { return has_cursor_; }
  // Something was written beyond the last column.
  [[nodiscard]] bool overflowed() const noexcept { return overflowed_; }

 private:
  // Takes a whole sequence or character off the front of pending_; false: it is not all there yet.
  bool Take();
  void Obey(std::string_view parameters, char command);
  void Put(std::string_view character);

  std::size_t columns_;
  std::vector<std::vector<std::string>> lines_;  // characters
  std::size_t row_ = 0;
  std::size_t column_ = 0;
  bool is_other_ = false;
  bool has_cursor_ = true;
  bool overflowed_ = false;
  std::string pending_;
};

// Thread-compatible; killed at the end of its life.
class Terminal {
 public:
  Terminal(std::vector<std::string> arguments, std::size_t columns, std::size_t rows = 24);
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // Waits until the screen is so; fails the test, with the screen, if that takes half a minute
  // or the program ends before.
  bool Await(const std::function<bool(const EmulatedScreen&)>& is_so);
  // The same for a text on it.
  bool AwaitText(std::string_view text);
  [[nodiscard]] const EmulatedScreen& screen() const noexcept { return screen_; }

  void Type(std::string_view keys) const;
  void Resize(std::size_t columns, std::size_t rows);
  void Signal(int signal) const { process_.Signal(signal); }
  [[nodiscard]] pid_t pid() const noexcept { return process_.pid(); }
  // Whether keys wait for the end of a line, and are echoed, as before the program.
  [[nodiscard]] bool IsCooked() const;
  // Reads to the program's end; its exit status.
  int Wait();

 private:
  // False at the end.
  bool Read(int timeout);

  int master_ = -1;
  EmulatedScreen screen_;
  Child process_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_TOOLS_TERMINAL_H_
