// The ids of clients and the eventfds that belong to them.
//
//            Take()             Lend()
//   unused ---------> in use ---------------> lendable --Take()--> in use
//                        \--- Retire() ---> never again
//
// An id is in use until nobody can write the region by it any more, connected or not.
//
// An id keeps its eventfds while it is in use or lendable: everybody who knows it may go on
// ringing it, and nobody needs to be told when it is lent. They are made non-blocking, but that
// flag is common to all who have them, and a QEMU clears it for a moment when it receives them.
#ifndef IVMQ_TOOLS_IVMQD_ID_POOL_H_
#define IVMQ_TOOLS_IVMQD_ID_POOL_H_

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "ivmq/status.h"

#include "descriptor_store.h"
#include "eventfd_signal.h"
#include "region_server.h"
#include "src/unique_fd.h"

namespace ivmq::server {

// 0xffff means "no id" in a peer slot.
inline constexpr std::uint16_t kLastId = 0xfffe;

using IdSet = std::bitset<65536>;

// Thread-compatible.
class IdPool {
 public:
  // The first id is `first`; with kLend those from `lowest` up to it follow when the ids above are
  // used up. `keep` has eventfds kept. REQUIRES: lowest <= first <= kLastId
  IdPool(std::uint32_t vectors, IdPolicy policy, std::uint16_t lowest, std::uint16_t first,
         std::function<KeptFd(UniqueFd)> keep = &KeptFd::Only)
      : vectors_(vectors),
        policy_(policy),
        lowest_(lowest),
        first_(first),
        keep_(std::move(keep)) {}

  // An id that a former server has given out, with all its eventfds, or without any: then it is
  // never given again.
  void Restore(std::uint16_t id, bool is_in_use, std::vector<KeptFd> eventfds);

  // An id for a new client: a lendable one, its eventfds drained, or an unused one with new
  // eventfds. Never one of `held`: ids that peers of the region have which are no clients of this
  // server. RESOURCE_EXHAUSTED if there is no id or no descriptor left; nothing has changed then.
  Result<std::uint16_t> Take(const IdSet& held);

  // Whether Take() would make no new eventfds.
  [[nodiscard]] bool CanLend(const IdSet& held) const { return Lendable(held).has_value(); }

  // REQUIRES of both: `id` is in use
  void Lend(std::uint16_t id);
  void Retire(std::uint16_t id);

  // Ids that have eventfds: in use and lendable.
  [[nodiscard]] std::size_t size() const noexcept { return ids_.size(); }

  [[nodiscard]] bool Has(std::uint16_t id) const { return ids_.contains(id); }
  // All eventfds of an id. REQUIRES: Has(id)
  [[nodiscard]] std::span<const KeptFd> eventfds(std::uint16_t id) const {
    return ids_.at(id).eventfds;
  }
  // The eventfd of an id's vector, -1 if there is none.
  [[nodiscard]] int eventfd(std::uint16_t id, std::uint32_t vector) const;
  // Rings an id's vector, if it has one. Never blocks: see EventfdSignal.
  void Ring(std::uint16_t id, std::uint32_t vector) noexcept;

 private:
  enum class State : std::uint8_t { kInUse, kLendable };
  struct Entry {
    State state = State::kInUse;
    std::vector<KeptFd> eventfds;
  };

  [[nodiscard]] std::optional<std::uint16_t> Lendable(const IdSet& held) const;
  [[nodiscard]] std::optional<std::uint16_t> Unused(const IdSet& held) const;

  std::uint32_t vectors_;
  IdPolicy policy_;
  std::uint16_t lowest_;
  std::uint16_t first_;
  std::function<KeptFd(UniqueFd)> keep_;
  IdSet ever_used_;
  std::map<std::uint16_t, Entry> ids_;
  EventfdSignal signal_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_ID_POOL_H_
