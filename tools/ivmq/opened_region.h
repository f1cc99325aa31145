// A region as commands that are no peers see it.
#ifndef IVMQ_TOOLS_IVMQ_OPENED_REGION_H_
#define IVMQ_TOOLS_IVMQ_OPENED_REGION_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "ivmq/address.h"
#include "ivmq/internal/region.h"
#include "ivmq/status.h"

#include "output.h"

namespace ivmq::tool {

struct OpenedRegion {
  RegionMemory memory;
  Region region;
};

// Opens and checks the region of an address. Errors as OpenRegion() and Region::Attach(), and start
// with the address.
Result<OpenedRegion> OpenFormatted(const std::string& address, Access access = Access::kReadOnly);

// The slot that a number or the name of a peer stands for. NOT_FOUND: neither.
Result<std::uint32_t> SlotOf(const OpenedRegion& opened, const std::string& word);

// What a header says about the region's shape.
Json GeometryJson(const Geometry& geometry);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_OPENED_REGION_H_
