// Looks into a ring without taking part in it.
#ifndef IVMQ_TOOLS_IVMQ_RING_WALK_H_
#define IVMQ_TOOLS_IVMQ_RING_WALK_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/ring.h"

namespace ivmq::tool {

struct WalkedRecord {
  std::uint64_t position = 0;
  layout::RecordKind kind = layout::RecordKind::kNone;
  std::uint64_t length = 0;
  bool has_frame = false;
  layout::Frame frame;
  std::string type_name;
  std::vector<std::byte> preview;  // the payload's first bytes, behind the frame and the type name
};

// What the committed records say that the consumer has not acknowledged.
struct RingWalk {
  std::uint64_t messages = 0;         // data records
  std::uint64_t bytes = 0;            // of records, headers and pads included
  std::vector<WalkedRecord> records;  // the first `limit`
  std::string problem;                // empty, or what was found that no correct peer writes
};

// Walks from `acked` to the last committed record, and says so if `committed` lies behind it; never
// writes, never reads outside of the ring, takes at most one round. If the ring moves on meanwhile
// it begins again, and gives up after a few times.
RingWalk WalkRing(const RingView& ring, std::size_t limit);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_RING_WALK_H_
