// All that a region holds, decoded, with what is inconsistent marked.
#ifndef IVMQ_TOOLS_IVMQ_REGION_REPORT_H_
#define IVMQ_TOOLS_IVMQ_REGION_REPORT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"

#include "output.h"

namespace ivmq::tool {

// The fields of a header, whatever they are.
[[nodiscard]] Json RawHeaderJson(const layout::Header& header);

// Reads only, and nothing outside of the region. Each object that is inconsistent gets "problems",
// a list of texts. Where the region is in use, a look that finds something is repeated, so that no
// change that was under way is taken for damage. Thread-compatible.
class RegionReport {
 public:
  // Records that are shown of one ring at most.
  static constexpr std::size_t kMostRecords = 100'000;

  explicit RegionReport(const Region& region);

  // The slots that were ever used, also those of peers that left, with their last figures.
  [[nodiscard]] Json Slots();
  // All rings, with their records up to so many each.
  [[nodiscard]] Json Rings(std::size_t records);
  // One, from `producer` to `consumer`.
  [[nodiscard]] Json Ring(std::uint32_t producer, std::uint32_t consumer, std::size_t records);
  [[nodiscard]] Json Heaps();

  // Everything that was found so far, each with the place where it is.
  [[nodiscard]] const std::vector<std::string>& problems() const noexcept { return problems_; }

  // The name of the slot's peer, in this life or the last one; "slot 7" if it has none.
  [[nodiscard]] std::string NameAt(std::uint32_t slot) const;

 private:
  using Problems = std::vector<std::string>;

  [[nodiscard]] Json SlotJson(std::uint32_t slot, Problems* problems) const;
  [[nodiscard]] Json RingJson(std::uint32_t producer, std::uint32_t consumer, std::size_t records,
                              Problems* problems) const;
  void AddRecords(const RingView& ring, std::uint32_t producer, std::size_t records, Json* json,
                  Problems* problems) const;
  [[nodiscard]] Json ExtentJson(std::uint32_t slot, std::uint32_t extent, Problems* problems) const;
  void CheckUnits(std::uint32_t index, const layout::Cell& cell, Problems* problems) const;
  // What `look` gives, and what it finds at `place`, if it finds it again.
  template <typename Look>
  Json Settled(const std::string& place, Look look);

  Region region_;
  std::map<std::uint32_t, std::string> names_;
  Problems problems_;
};

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_REGION_REPORT_H_
