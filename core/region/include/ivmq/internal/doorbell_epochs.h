// Which clients of ivmqd have each other's doorbells.
//
// A server tells all its clients of each other. Clients of a former server, among them the devices
// of guests, which never connect again, know nobody who came later, and nobody who came later knows
// them. A process cannot tell who its device was told of, so the server says it in the header, by
// ivposition: see layout::ApartId.
#ifndef IVMQ_INTERNAL_DOORBELL_EPOCHS_H_
#define IVMQ_INTERNAL_DOORBELL_EPOCHS_H_

#include <cstdint>
#include <set>

#include "ivmq/internal/region.h"

namespace ivmq {

// A small value, as Region. What it reads any peer may have written.
class DoorbellEpochs {
 public:
  explicit DoorbellEpochs(const Region& region) : region_(region) {}

  // ---- For any peer. Thread-safe. ----

  // The epoch of the server that gave this client its doorbells.
  [[nodiscard]] std::uint64_t Of(std::uint16_t ivposition) const noexcept;
  // Whether the two have each other's doorbells, as far as is known.
  [[nodiscard]] bool AreTogether(std::uint16_t a, std::uint16_t b) const noexcept {
    if (a == b) return true;
    const std::uint64_t epoch = Of(a);
    return epoch == Of(b) && epoch != layout::kEpochUnsure;
  }

  // ---- For the server alone ----

  // Begins the next epoch. `former`: the clients of former servers that may still be there.
  void Begin(const std::set<std::uint16_t>& former) const;
  // From now on this client is not told of others.
  void SetApart(std::uint16_t ivposition) const noexcept { Set(ivposition, layout::kEpochUnsure); }
  // It is gone, or has been told of all others.
  void Forget(std::uint16_t ivposition) const noexcept;

 private:
  void Set(std::uint16_t ivposition, std::uint64_t epoch) const noexcept;
  void Announce() const noexcept {
    region_.header().peers_generation.fetch_add(1, std::memory_order_release);
  }

  Region region_;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_DOORBELL_EPOCHS_H_
