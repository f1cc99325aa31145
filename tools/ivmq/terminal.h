// The terminal of a command that draws on all of it.
#ifndef IVMQ_TOOLS_IVMQ_TERMINAL_H_
#define IVMQ_TOOLS_IVMQ_TERMINAL_H_

#include <termios.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "interrupt.h"

namespace ivmq::tool {

struct TerminalSize {
  std::size_t columns = 80;
  std::size_t rows = 24;
};
// Of standard output if it is a terminal, or as $COLUMNS and $LINES say; else 80 x 24.
[[nodiscard]] TerminalSize SizeOfTerminal();

// Whether standard input and output are a terminal.
[[nodiscard]] bool HasTerminal();

// Whether the locale writes UTF-8. Sets the program's locale to the user's.
[[nodiscard]] bool WritesUtf8();

// Holds the signals that a Screen takes back from this thread and those it starts from now on.
void HoldScreenSignals();

// Takes the terminal over: its other screen, without a cursor, keys at once and not echoed. At its
// end, and while the process is suspended (Ctrl-Z), the terminal is as it was before. REQUIRES:
// HasTerminal(), and HoldScreenSignals() was called before threads were started. Thread-compatible.
class Screen {
 public:
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // Shows these lines, each at most as wide as the terminal, from the top on, and nothing else.
  void Show(std::string_view lines);

  // Waits until keys were pressed, the size of the terminal has changed, the interrupt has come or
  // `timeout` has passed. The keys; at the end of the input, "q".
  [[nodiscard]] std::string Wait(std::chrono::nanoseconds timeout, const Interrupt& interrupt);

 private:
  void Enter();
  void Leave();
  void HandleSignals();

  termios before_{};
  int signals_ = -1;  // SIGWINCH and SIGTSTP
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_TERMINAL_H_
