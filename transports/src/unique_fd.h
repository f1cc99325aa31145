// A file descriptor that is closed when its owner goes.
#ifndef IVMQ_TRANSPORTS_SRC_UNIQUE_FD_H_
#define IVMQ_TRANSPORTS_SRC_UNIQUE_FD_H_

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace ivmq {

// Thread-compatible.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  ~UniqueFd() { reset(); }
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  // Leaves errno alone.
  void reset(int fd = -1) noexcept {
    const int old = std::exchange(fd_, fd);
    if (old < 0) return;
    const int saved = errno;
    close(old);
    errno = saved;
  }

 private:
  int fd_ = -1;
};

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_UNIQUE_FD_H_
