#include "terminal.h"

#include <langinfo.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <clocale>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <system_error>

#include "command.h"
#include "output.h"

namespace ivmq::tool {
namespace {

// The other screen; no cursor; a line that is too long ends at the edge.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
constexpr std::string_view kLeave = "\x1b[?7h\x1b[?25h\x1b[?1049l";

sigset_t Watched() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGWINCH);
  sigaddset(&signals, SIGTSTP);
  return signals;
}

std::optional<std::size_t> FromEnvironment(const char* name) {
  const char* const text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  const auto number = ParseNumber(text, 10'000);
  return number && *number != 0 ? std::optional<std::size_t>(*number) : std::nullopt;
}

}  // namespace

TerminalSize SizeOfTerminal() {
  TerminalSize size;
  winsize window{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col != 0 && window.ws_row != 0) {
    return {window.ws_col, window.ws_row};
  }
  size.columns = FromEnvironment("COLUMNS").value_or(size.columns);
  size.rows = FromEnvironment("LINES").value_or(size.rows);
  return size;
}

bool HasTerminal() { return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1; }

bool WritesUtf8() {
  (void)std::setlocale(LC_CTYPE, "");
  return std::string_view(nl_langinfo(CODESET)) == "UTF-8";
}

void HoldScreenSignals() {
  const sigset_t watched = Watched();
  (void)pthread_sigmask(SIG_BLOCK, &watched, nullptr);
}

Screen::Screen() {
  const sigset_t watched = Watched();
  signals_ = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals_ < 0 || tcgetattr(STDIN_FILENO, &before_) != 0) {
    throw std::system_error(errno, std::generic_category(), "the terminal");
  }
  Enter();
}

Screen::~Screen() {
  Leave();
  close(signals_);
}

void Screen::Enter() {
  termios raw = before_;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
  Print(kEnter);
}

void Screen::Leave() {
  (void)TryPrint(kLeave);
  (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
}

void Screen::Show(std::string_view lines) {
  std::string frame = "\x1b[H";
  while (!lines.empty()) {
    const std::size_t end = std::min(lines.find('\n'), lines.size());
    frame += lines.substr(0, end);
    frame += "\x1b[K";  // nothing is left of what was there
    lines.remove_prefix(std::min(end + 1, lines.size()));
    if (!lines.empty()) frame += "\r\n";
  }
  Print(frame + "\x1b[J");
}

void Screen::HandleSignals() {
  signalfd_siginfo signal{};
  while (read(signals_, &signal, sizeof(signal)) == static_cast<ssize_t>(sizeof(signal))) {
    if (signal.ssi_signo != SIGTSTP) continue;
    Leave();
    (void)kill(getpid(), SIGSTOP);  // until somebody sends SIGCONT
    Enter();
  }
}

std::string Screen::Wait(std::chrono::nanoseconds timeout, const Interrupt& interrupt) {
  std::array<pollfd, 3> waits{
      {{STDIN_FILENO, POLLIN, 0}, {signals_, POLLIN, 0}, {interrupt.fd(), POLLIN, 0}}};
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(timeout);
  (void)poll(waits.data(), waits.size(),
             static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3600 * 1000)));
  if (waits[1].revents != 0) HandleSignals();
  if (waits[0].revents == 0) return {};
  std::array<char, 64> keys{};
  const ssize_t got = read(STDIN_FILENO, keys.data(), keys.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return {};
  if (got <= 0) return "q";
  return {keys.data(), static_cast<std::size_t>(got)};
}

}  // namespace ivmq::tool
