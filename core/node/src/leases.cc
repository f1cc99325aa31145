#include "src/leases.h"

#include "src/readers.h"

namespace ivmq {

using layout::Counter;

bool LeaseBook::Reserve(std::uint64_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  if (context_ == nullptr || bytes > most_ || kOverhead + bytes > most_ - used_) return false;
  used_ += kOverhead + bytes;
  context_->Count(Counter::kKept);
  context_->Count(Counter::kKeptNow);
  return true;
}

void LeaseBook::End(std::uint64_t bytes, bool holds_record) noexcept {
  const std::lock_guard lock(mutex_);
  used_ -= kOverhead + bytes;
  if (context_ == nullptr) return;
  context_->Count(Counter::kKeptNow, ~std::uint64_t{0});
  if (holds_record) readers_->RequestLookAtLeases();
}

void LeaseBook::Detach() noexcept {
  const std::lock_guard lock(mutex_);
  context_ = nullptr;
}

}  // namespace ivmq
