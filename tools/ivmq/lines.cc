#include "lines.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace ivmq::tool {

std::optional<std::string> Lines::Next() {
  for (;;) {
    const std::size_t end = buffer_.find('\n', scanned_);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      scanned_ = 0;
      return line;
    }
    scanned_ = buffer_.size();
    if (buffer_.size() > limit_ || !Fill()) {
      if (buffer_.empty() || interrupt_.requested()) return std::nullopt;
      scanned_ = 0;
      return std::exchange(buffer_, {});
    }
  }
}

bool Lines::Fill() {
  std::array<pollfd, 3> waits{
      {{STDIN_FILENO, POLLIN, 0}, {interrupt_.fd(), POLLIN, 0}, {stop_, POLLIN, 0}}};
  std::array<char, 65536> bytes{};
  while (!ended_) {
    (void)poll(waits.data(), waits.size(), -1);
    if (interrupt_.requested() || waits[2].revents != 0) return false;
    if (waits[0].revents == 0) continue;
    const ssize_t got = read(STDIN_FILENO, bytes.data(), bytes.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) throw std::system_error(errno, std::generic_category(), "standard input");
    ended_ = got == 0;
    buffer_.append(bytes.data(), static_cast<std::size_t>(got));
    return got > 0;
  }
  return false;
}

}  // namespace ivmq::tool
