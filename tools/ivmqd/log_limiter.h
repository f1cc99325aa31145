// Keeps one user's clients from filling the log.
#ifndef IVMQ_TOOLS_IVMQD_LOG_LIMITER_H_
#define IVMQ_TOOLS_IVMQD_LOG_LIMITER_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>

namespace ivmq::server {

// A user has a stock of ten seconds' worth of lines, which grows by `lines_per_second`.
// Thread-compatible.
class LogLimiter {
 public:
  using Clock = std::chrono::steady_clock;

  // 0: no limit.
  explicit LogLimiter(std::uint32_t lines_per_second) : rate_(lines_per_second) {}

  void SetRate(std::uint32_t lines_per_second) noexcept { rate_ = lines_per_second; }

  // Whether a line about a client of `uid` may be logged: how many were left out since the last one
  // that might. Nothing: this one is left out, too.
  std::optional<std::uint64_t> Ask(uid_t uid, Clock::time_point now);

  // Lines that were left out so far.
  [[nodiscard]] std::uint64_t omitted() const noexcept { return omitted_; }

 private:
  struct User {
    double stock = 0;
    Clock::time_point filled_at{};
    std::uint64_t left_out = 0;
  };

  // Forgets users who have said nothing for long, so that memory is bounded by those who do.
  void ForgetQuiet(Clock::time_point now);
  [[nodiscard]] double Stock(const User& user, Clock::time_point now) const;

  double rate_;
  std::uint64_t omitted_ = 0;
  std::map<uid_t, User> users_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_LOG_LIMITER_H_
