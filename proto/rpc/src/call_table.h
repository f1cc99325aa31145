// The calls that a client waits for, by their ids.
#ifndef IVMQ_RPC_CALL_TABLE_H_
#define IVMQ_RPC_CALL_TABLE_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "ivmq/internal/spin_lock.h"
#include "ivmq/rpc/client.h"
#include "ivmq/rpc/internal/status_names.h"

#include "src/call_access.h"
#include "src/call_frame.h"
#include "src/call_life.h"
#include "src/call_state.h"

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
  virtual void End(Status status, const CallFrame* end) = 0;
  // Whether whoever calls this ends the call, which is in no table.
  [[nodiscard]] bool TakeEnd() noexcept {
    return life.state().On(ClientCallEvent::kCut).has_value();
  }
  // Its request was sent by another thread than its beginner's, and the call is wanted. By the
  // thread that polls.
  virtual void OnRequestSent() {}
  // A frame before the end. False: no correct server sends it.
  [[nodiscard]] virtual bool OnFrame(CallFrameKind /*kind*/, const CallFrame& /*frame*/) {
    return false;
  }

  // Of those that have streams.
  void Ref() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void Unref() noexcept {
    // Whoever has the only one gives it to nobody meanwhile.
    if (references_.load(std::memory_order_acquire) == 1 ||
        references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      delete this;
    }
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

// A call that was taken out of the table, to be ended by whoever has done so; or none.
struct TakenCall {
  ClientCall* call = nullptr;
  ClientCallState before = ClientCallState::kNew;

  // Whether the server is to be told that the call is cut.
  [[nodiscard]] bool was_sent() const noexcept { return before == ClientCallState::kSent; }
};

// A queued request that has gone, or never will.
struct FinishedRequest {
  ClientCall* call = nullptr;  // with a reference, if it has streams and did not end meanwhile
  bool is_cut = false;         // it was cut meanwhile: if the request has gone the server is told
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
    call.life.state().Set(ClientCallEvent::kList);
    entry.call = &call;
    free_ = entry.next_free;
    return true;
  }

  // Takes the call out, to be cut; none if it has ended already.
  TakenCall Remove(std::uint64_t id) noexcept {
    const std::lock_guard lock(lock_);
    Entry* const entry = Find(id);
    return entry == nullptr ? TakenCall() : Cut(*entry);
  }
  // Takes it out if it goes to that peer, which has ended it; nullptr otherwise.
  ClientCall* RemoveAnswered(std::uint64_t id, PeerId to) noexcept {
    const std::lock_guard lock(lock_);
    Entry* const entry = Find(id);
    if (entry == nullptr || !(entry->call->life.peer() == to)) return nullptr;
    entry->call->life.state().Set(ClientCallEvent::kAnswer);
    return Take(*entry, Request::kAnswered);
  }
  // Takes out all that `condition(const ClientCall&)` holds for, to be cut.
  template <typename Condition>
  std::vector<TakenCall> RemoveAll(Condition condition) {
    std::vector<TakenCall> removed;
    const std::lock_guard lock(lock_);
    for (Entry& entry : entries_) {
      if (entry.call == nullptr || !condition(*entry.call)) continue;
      removed.push_back(Cut(entry));
    }
    return removed;
  }

  // ---- A request that another thread sends ----

  // The call's is queued from here on until FinishRequest(). False: the call has ended.
  [[nodiscard]] bool SetQueued(std::uint64_t id) noexcept {
    const std::lock_guard lock(lock_);
    Entry* const entry = Find(id);
    if (entry != nullptr) entry->request = Request::kQueued;
    return entry != nullptr;
  }
  [[nodiscard]] bool WantsRequest(std::uint64_t id) noexcept {
    const std::lock_guard lock(lock_);
    return Find(id) != nullptr;
  }
  // REQUIRES: it is queued.
  FinishedRequest FinishRequest(std::uint64_t id, bool sent) noexcept {
    const std::lock_guard lock(lock_);
    Entry& entry = entries_[id & (kMostCalls - 1)];
    const Request request = std::exchange(entry.request, Request::kNotQueued);
    if (entry.call == nullptr) {
      Free(entry);
      return {nullptr, request == Request::kCut};
    }
    if (sent) (void)entry.call->life.state().On(ClientCallEvent::kSend);
    if (!entry.call->has_streams) return {};
    entry.call->Ref();
    return {entry.call, false};
  }

  // ----

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
  enum class Request : std::uint8_t {
    kNotQueued,
    kQueued,    // the entry is used again only when it is not any more
    kCut,       // the same, and the call was cut
    kAnswered,  // the same, and the server has ended it
  };
  struct Entry {
    ClientCall* call = nullptr;
    std::uint32_t next_free = kNone;
    Request request = Request::kNotQueued;
    std::uint64_t uses = 0;
  };

  Entry* Find(std::uint64_t id) noexcept {
    const std::uint64_t index = id & (kMostCalls - 1);
    if (index >= entries_.size()) return nullptr;
    Entry& entry = entries_[index];
    return entry.call != nullptr && entry.uses == id >> kIndexBits ? &entry : nullptr;
  }
  TakenCall Cut(Entry& entry) noexcept {
    const std::optional<ClientCallState> before =
        entry.call->life.state().On(ClientCallEvent::kCut);
    return {Take(entry, Request::kCut), *before};
  }
  // `how`: what becomes of the entry if its request is queued.
  ClientCall* Take(Entry& entry, Request how) noexcept {
    if (entry.request == Request::kQueued) [[unlikely]] {
      entry.request = how;
    } else {
      Free(entry);
    }
    return std::exchange(entry.call, nullptr);
  }
  void Free(Entry& entry) noexcept {
    entry.next_free = free_;
    free_ = static_cast<std::uint32_t>(&entry - entries_.data());
  }

  SpinLock lock_;
  std::vector<Entry> entries_;
  std::uint32_t free_ = kNone;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_CALL_TABLE_H_
