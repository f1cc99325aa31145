#include "ring_walk.h"

#include <algorithm>
#include <cstring>
#include <span>

#include <fmt/format.h>

namespace ivmq::tool {
namespace {

constexpr std::size_t kPreviewBytes = 32;
constexpr int kAttempts = 16;

// REQUIRES: the payload lies within the ring.
WalkedRecord Describe(const RingView& ring, std::uint64_t position, layout::RecordKind kind,
                      std::uint64_t length) {
  WalkedRecord record;
  record.position = position;
  record.kind = kind;
  record.length = length;
  if (kind != layout::RecordKind::kData || length < sizeof(layout::Frame)) return record;
  const std::span payload(ring.data + (position & (ring.capacity - 1)) + layout::kRecordHeader,
                          length);
  std::memcpy(&record.frame, payload.data(), sizeof(record.frame));
  record.has_frame = true;
  std::span rest = payload.subspan(sizeof(layout::Frame));
  const bool named = record.frame.kind == layout::FrameKind::kTypedByName;
  if (named && record.frame.name_bytes <= rest.size()) {
    record.type_name.assign(reinterpret_cast<const char*>(rest.data()), record.frame.name_bytes);
    rest = rest.subspan(record.frame.name_bytes);
  }
  rest = rest.first(std::min(rest.size(), kPreviewBytes));
  record.preview.assign(rest.begin(), rest.end());
  return record;
}

RingWalk WalkOnce(const RingView& ring, std::uint64_t start, std::size_t limit) {
  RingWalk walk;
  if (start % layout::kRecordAlign != 0) {
    walk.problem = fmt::format("`acked` is {}, which is not a multiple of 8", start);
    return walk;
  }
  // Before the records that it covers.
  const std::uint64_t committed = ring.header->committed.load(std::memory_order_acquire);
  std::uint64_t position = start;
  while (position - start < ring.capacity) {
    const std::uint64_t word = ring.CommitWordAt(position).load(std::memory_order_acquire);
    if (word == 0) break;
    const std::uint64_t room = ring.capacity - (position & (ring.capacity - 1));
    const std::uint64_t length = layout::CommitLength(word);
    const std::uint64_t size = layout::RecordSize(length);
    const layout::RecordKind kind = layout::CommitKind(word);
    const bool known = kind == layout::RecordKind::kData || kind == layout::RecordKind::kPad;
    if (!layout::CommitTagMatches(word, position) || size > room || !known) {
      walk.problem =
          fmt::format("{:#018x} at position {} is not a valid commit word", word, position);
      break;
    }
    if (kind == layout::RecordKind::kData) ++walk.messages;
    if (walk.records.size() < limit) walk.records.push_back(Describe(ring, position, kind, length));
    position += size;
  }
  walk.bytes = position - start;
  if (walk.problem.empty() && committed > position) {
    walk.problem = fmt::format("there is no record at position {}, though {} bytes were committed",
                               position, committed);
  }
  return walk;
}

}  // namespace

RingWalk WalkRing(const RingView& ring, std::size_t limit) {
  RingWalk walk;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::uint64_t acked = ring.header->acked.load(std::memory_order_acquire);
    walk = WalkOnce(ring, acked, limit);
    // Space that the consumer has given back may be overwritten, so that only a still ring is
    // damaged.
    if (walk.problem.empty() || acked == ring.header->acked.load(std::memory_order_acquire)) {
      return walk;
    }
  }
  walk.problem = "the ring changes too fast to be read";
  return walk;
}

}  // namespace ivmq::tool
