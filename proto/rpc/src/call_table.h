// The calls that a client waits for, by their ids.
#ifndef IVMQ_RPC_CALL_TABLE_H_
#define IVMQ_RPC_CALL_TABLE_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "ivmq/internal/spin_lock.h"
#include "ivmq/rpc/client_context.h"
#include "ivmq/rpc/status.h"

#include "src/call_access.h"
#include "src/call_life.h"
#include "src/frame.h"

namespace ivmq::rpc::internal {

// A call from its request to its end. Who takes it out of the table ends it.
class ClientCall {
 public:
  // Whether frames before its end reach it; then the table holds a reference to it.
  const bool has_streams;
  // Whether a thread waits for its end and looks at its deadline. Otherwise the thread that polls
  // does.
  const bool waits;

  ClientCall(const ClientCall&) = delete;
  ClientCall& operator=(const ClientCall&) = delete;

  ClientContext& context;
  CallLife life;
  std::uint64_t id = 0;  // 0: it has never been in the table

  // Ends the call; `end` is the server's frame, nullptr if there is none. On any thread, also while
  // another one begins the call. The call may be gone afterwards.
  virtual void End(Status status, const Parsed* end) = 0;
  // Its request found no room yet. Who cuts it does not tell the server: if the request goes all
  // the same, its beginner does. He clears this, once it has gone, before he looks at the life; the
  // other one looks at this behind the end.
  std::atomic<bool> is_unsent{false};
  // Its request is on its way as a QueuedFrame: nothing may be sent behind it yet. For the thread
  // that polls.
  bool awaits_request = false;
  // It has been sent. By the thread that polls.
  virtual void OnRequestSent() {}
  // A frame before the end. False: no correct server sends it.
  [[nodiscard]] virtual bool OnFrame(Kind /*kind*/, const Parsed& /*frame*/) { return false; }

  // Of those that have streams.
  void Ref() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void Unref() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 protected:
  ClientCall(const Node& node, ClientContext& context_in, bool has_streams_in, bool waits_in)
      : has_streams(has_streams_in),
        waits(waits_in),
        context(context_in),
        life(node, CallAccess::deadline(context_in), CallAccess::cancelled(context_in)) {}
  virtual ~ClientCall() = default;

 private:
  std::atomic<int> references_{1};
};

// Thread-safe. Ids are never used twice, so that a late answer meets no other call.
class CallTable {
 public:
  static constexpr std::uint32_t kMostCalls = 1U << 20;

  // Gives the call its id, which is never 0. False: there are kMostCalls.
  bool Insert(ClientCall& call) {
    const std::lock_guard lock(lock_);
    if (free_ == kNone) {
      if (entries_.size() == kMostCalls) return false;
      free_ = static_cast<std::uint32_t>(entries_.size());
      entries_.emplace_back();
    }
    Entry& entry = entries_[free_];
    call.id = ++entry.uses << kIndexBits | free_;
    entry.call = &call;
    free_ = entry.next_free;
    return true;
  }

  // Takes the call out, to be ended; nullptr if it has ended already.
  ClientCall* Remove(std::uint64_t id) noexcept {
    const std::lock_guard lock(lock_);
    Entry* const entry = Find(id);
    return entry == nullptr ? nullptr : Take(*entry, /*answered=*/false);
  }
  // The same if it goes to that peer, which has ended it.
  ClientCall* RemoveAnswered(std::uint64_t id, PeerId to) noexcept {
    const std::lock_guard lock(lock_);
    Entry* const entry = Find(id);
    if (entry == nullptr || !(entry->call->life.peer() == to)) return nullptr;
    return Take(*entry, /*answered=*/true);
  }
  // Takes out all that `condition(const ClientCall&)` holds for.
  template <typename Condition>
  std::vector<ClientCall*> RemoveAll(Condition condition) {
    std::vector<ClientCall*> removed;
    const std::lock_guard lock(lock_);
    for (Entry& entry : entries_) {
      if (entry.call == nullptr || !condition(*entry.call)) continue;
      removed.push_back(Take(entry, /*answered=*/false));
    }
    return removed;
  }

  // The call with streams, with a reference for the caller; nullptr if there is none.
  ClientCall* FindStreams(std::uint64_t id, PeerId to) noexcept {
    const std::lock_guard lock(lock_);
    Entry* const entry = Find(id);
    if (entry == nullptr || !entry->call->has_streams || !(entry->call->life.peer() == to)) {
      return nullptr;
    }
    entry->call->Ref();
    return entry->call;
  }

 private:
  static constexpr int kIndexBits = 20;
  static constexpr std::uint32_t kNone = ~0U;
  struct Entry {
    ClientCall* call = nullptr;
    std::uint32_t next_free = kNone;
    std::uint64_t uses = 0;
  };

  Entry* Find(std::uint64_t id) noexcept {
    const std::uint64_t index = id & (kMostCalls - 1);
    if (index >= entries_.size()) return nullptr;
    Entry& entry = entries_[index];
    return entry.call != nullptr && entry.uses == id >> kIndexBits ? &entry : nullptr;
  }
  ClientCall* Take(Entry& entry, bool answered) noexcept {
    ClientCall* const call = std::exchange(entry.call, nullptr);
    call->life.SetEnded(answered);
    entry.next_free = free_;
    free_ = static_cast<std::uint32_t>(&entry - entries_.data());
    return call;
  }

  SpinLock lock_;
  std::vector<Entry> entries_;
  std::uint32_t free_ = kNone;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_CALL_TABLE_H_
