// Messages that outlive their handlers: see Message::Keep().
#ifndef IVMQ_LEASES_H_
#define IVMQ_LEASES_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "src/node_context.h"

namespace ivmq {

class Readers;

// The leases of a node. Outlives it, as they may. Thread-safe.
class LeaseBook {
 public:
  LeaseBook(NodeContext& context, Readers& readers) noexcept
      : most_(context.options.kept_bytes), context_(&context), readers_(&readers) {}

  // Room for a lease of `bytes` bytes of memory. False: too many are kept.
  [[nodiscard]] bool Reserve(std::uint64_t bytes) noexcept;
  // Gives it back. `holds_record`: the poller has to look at its ring.
  void End(std::uint64_t bytes, bool holds_record) noexcept;
  // The node is going: its poller hears of nothing any more.
  void Detach() noexcept;

 private:
  static constexpr std::uint64_t kOverhead = 256;

  const std::uint64_t most_;
  std::mutex mutex_;
  NodeContext* context_;  // guarded by mutex_, as what follows; nullptr: the node is gone
  Readers* readers_;
  std::uint64_t used_ = 0;
};

// Whether a lease that holds a record has ended: shared by it and its ring's reader.
using LeaseEnd = std::shared_ptr<std::atomic<bool>>;

// What a kept message owns. Ends on any thread.
class Lease {
 public:
  // REQUIRES: the book has reserved `bytes`.
  Lease(std::shared_ptr<LeaseBook> book, std::uint64_t bytes) noexcept
      : book_(std::move(book)), bytes_(bytes) {}
  ~Lease() {
    if (end_) end_->store(true, std::memory_order_release);
    book_->End(bytes_, end_ != nullptr);
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  void HoldRecord(LeaseEnd end) noexcept { end_ = std::move(end); }

  // Set before anybody else knows of it.
  std::string type_name;
  std::unique_ptr<std::byte[]> memory;  // of the payload; nullptr: that lies in the ring
  std::span<const std::byte> payload;

 private:
  std::shared_ptr<LeaseBook> book_;
  std::uint64_t bytes_;
  LeaseEnd end_;
};

}  // namespace ivmq

#endif  // IVMQ_LEASES_H_
