#include "log_limiter.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace ivmq::server {
namespace {

constexpr double kStockSeconds = 10;
constexpr std::size_t kManyUsers = 1024;

}  // namespace

double LogLimiter::Stock(const User& user, Clock::time_point now) const {
  const std::chrono::duration<double> passed = now - user.filled_at;
  return std::min(user.stock + passed.count() * rate_, rate_ * kStockSeconds);
}

void LogLimiter::ForgetQuiet(Clock::time_point now) {
  std::erase_if(users_, [&](const auto& entry) {
    return entry.second.left_out == 0 && Stock(entry.second, now) >= rate_ * kStockSeconds;
  });
}

std::optional<std::uint64_t> LogLimiter::Ask(uid_t uid, Clock::time_point now) {
  if (rate_ == 0) return 0;
  if (users_.size() >= kManyUsers) ForgetQuiet(now);
  const auto [entry, is_new] = users_.try_emplace(uid, User{rate_ * kStockSeconds, now, 0});
  User& user = entry->second;
  user.stock = Stock(user, now);
  user.filled_at = now;
  if (user.stock < 1) {
    ++user.left_out;
    ++omitted_;
    return std::nullopt;
  }
  user.stock -= 1;
  return std::exchange(user.left_out, 0);
}

}  // namespace ivmq::server
