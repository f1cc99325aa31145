#include "terminal.h"

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>

namespace ivmq::testing {
namespace {

constexpr int kSilence = 30'000;
constexpr std::chrono::seconds kPatience{30};

winsize SizeOf(std::size_t columns, std::size_t rows) {
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = static_cast<unsigned short>(rows);
  return size;
}

}  // namespace

EmulatedScreen::EmulatedScreen(std::size_t columns, std::size_t rows) { Resize(columns, rows); }

void EmulatedScreen::Resize(std::size_t columns, std::size_t rows) {
  columns_ = columns;
  lines_.assign(rows, std::vector<std::string>(columns, " "));
  row_ = column_ = 0;
}

std::string EmulatedScreen::text() const {
  std::string text;
  for (const auto& line : lines_) {
    for (const std::string& character : line) text += character;
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

std::string EmulatedScreen::LineWith(std::string_view wanted) const {
  const std::string all = text();
  const std::size_t at = all.find(wanted);
  if (at == std::string::npos) return {};
  const std::size_t begin = at == 0 ? 0 : all.rfind('\n', at) + 1;
  return all.substr(begin, all.find('\n', at) - begin);
}

void EmulatedScreen::Write(std::string_view bytes) {
  pending_ += bytes;
  while (!pending_.empty() && Take()) {
  }
}

bool EmulatedScreen::Take() {
  const auto first = static_cast<unsigned char>(pending_[0]);
  std::size_t taken = 1;
  if (first == '\x1b') {
    if (pending_.size() < 2) return false;
    if (pending_[1] != '[') {
      ADD_FAILURE() << "an escape sequence with byte " << static_cast<int>(pending_[1]);
    } else {
      const std::size_t end = pending_.find_first_not_of("0123456789;?", 2);
      if (end == std::string::npos) return false;
      Obey(std::string_view(pending_).substr(2, end - 2), pending_[end]);
      taken = end + 1;
    }
  } else if (first == '\r') {
    column_ = 0;
  } else if (first == '\n') {
    if (row_ + 1 < lines_.size()) {
      ++row_;
    } else {
      overflowed_ = overflowed_ || is_other_;
    }
  } else if (first >= 0x20) {
    taken = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (pending_.size() < taken) return false;
    Put(std::string_view(pending_).substr(0, taken));
  }
  pending_.erase(0, taken);
  return true;
}

void EmulatedScreen::Put(std::string_view character) {
  if (column_ >= columns_) {
    overflowed_ = overflowed_ || is_other_;
    return;
  }
  lines_[row_][column_++] = character;
}

void EmulatedScreen::Obey(std::string_view parameters, char command) {
  const auto clear = [this](std::size_t row, std::size_t column) {
    std::fill(lines_[row].begin() + static_cast<std::ptrdiff_t>(std::min(column, columns_)),
              lines_[row].end(), " ");
  };
  if (command == 'm') return;
  if (command == 'H' && parameters.empty()) {
    row_ = column_ = 0;
  } else if (command == 'K' && parameters.empty()) {
    clear(row_, column_);
  } else if (command == 'J' && (parameters.empty() || parameters == "2")) {
    const bool all = parameters == "2";
    if (!all) clear(row_, column_);
    for (std::size_t row = all ? 0 : row_ + 1; row < lines_.size(); ++row) clear(row, 0);
  } else if ((command == 'h' || command == 'l') && parameters == "?1049") {
    is_other_ = command == 'h';
  } else if ((command == 'h' || command == 'l') && parameters == "?25") {
    has_cursor_ = command == 'h';
  } else if ((command != 'h' && command != 'l') || parameters != "?7") {
    ADD_FAILURE() << "an escape sequence ESC [ " << parameters << command;
  }
}

Terminal::Terminal(std::vector<std::string> arguments, std::size_t columns, std::size_t rows)
    : screen_(columns, rows) {
  arguments.insert(arguments.begin(), IVMQ_PATH);
  std::vector<char*> argv;
  for (std::string& word : arguments) argv.push_back(word.data());
  argv.push_back(nullptr);
  const winsize size = SizeOf(columns, rows);
  const pid_t pid = forkpty(&master_, nullptr, nullptr, &size);
  if (pid < 0) {
    std::perror("forkpty");
    std::abort();
  }
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("LC_ALL", "C.UTF-8", 1);
    unsetenv("IVMQ_ADDRESS");
    execv(argv[0], argv.data());
    std::perror(argv[0]);
    _exit(127);
  }
  process_ = Child(pid);
}

Terminal::~Terminal() { close(master_); }

bool Terminal::Read(int timeout) {
  pollfd wait{master_, POLLIN, 0};
  if (poll(&wait, 1, timeout) <= 0) return false;
  std::array<char, 65536> bytes;
  const ssize_t got = read(master_, bytes.data(), bytes.size());
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;  // EIO: nobody has the other end
  screen_.Write({bytes.data(), static_cast<std::size_t>(got)});
  return true;
}

bool Terminal::Await(const std::function<bool(const EmulatedScreen&)>& is_so) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!is_so(screen_)) {
    if (!Read(kSilence) || std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << "the screen did not become so:\n" << screen_.text();
      return false;
    }
  }
  return true;
}

bool Terminal::AwaitText(std::string_view text) {
  return Await([text](const EmulatedScreen& screen) { return !screen.LineWith(text).empty(); });
}

void Terminal::Type(std::string_view keys) const {
  ASSERT_EQ(write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
}

void Terminal::Resize(std::size_t columns, std::size_t rows) {
  screen_.Resize(columns, rows);
  const winsize size = SizeOf(columns, rows);
  ASSERT_EQ(ioctl(master_, TIOCSWINSZ, &size), 0);  // signals the program
}

bool Terminal::IsCooked() const {
  termios settings{};
  EXPECT_EQ(tcgetattr(master_, &settings), 0);
  return (settings.c_lflag & ICANON) != 0 && (settings.c_lflag & ECHO) != 0;
}

int Terminal::Wait() {
  while (Read(kSilence)) {
  }
  return process_.Wait();
}

}  // namespace ivmq::testing
