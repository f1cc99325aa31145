// An arbitrary region: attaching is refused or works, and then nothing that a node does with it
// crashes, hangs, leaves the region's memory or grows without bound.
//
// Input: one byte of flags, then bytes for the region of 64 KiB.
//   bit 0  the header's CRC is made to fit
//   bit 1  the bytes are patches (offset 2 bytes, length 1 byte, the bytes) of a region with two
//          peers, a ring, and an extent of a heap with a message; else they are the region's first
//          bytes, and zeros follow
//   bit 2  a node is opened before the patches are applied, as if somebody wrote them while it runs
//   bit 3  a node is opened afterwards; without it a run needs no thread and takes microseconds
// The node is the successor of the peer that the ring leads to.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/extent.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/header_crc.h"
#include "support/memory_transport.h"

namespace ivmq {
namespace {

using testing::MemoryTransport;

constexpr std::size_t kRegionSize = 64U << 10;

void Require(bool condition) {
  if (!condition) std::abort();
}

// Page-aligned memory on the heap, so that the address sanitizer guards its ends.
class Memory {
 public:
  Memory() : base_(static_cast<std::byte*>(::operator new(kRegionSize, kAlignment))) {
    std::memset(base_, 0, kRegionSize);
  }
  ~Memory() { ::operator delete(base_, kAlignment); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {base_, kRegionSize}; }

 private:
  static constexpr std::align_val_t kAlignment{layout::kPage};
  std::byte* base_;
};

// An extent of the heap of slot 1, which is smaller than the arena would carve one.
layout::BlockDescriptor PopulateHeap(const Region& region, const layout::Cell& ring) {
  const Geometry& g = region.geometry();
  const layout::Cell cell{.generation = 1,
                          .first_unit = ring.first_unit + g.UnitsFor(layout::kMinRingCapacity),
                          .capacity_log2 = 14,
                          .state = layout::CellState::kLive};
  const std::uint32_t index = region.HeapCellIndex(1, 2);
  const std::optional<ExtentView> extent = ExtentOf(region, cell);
  Require(extent.has_value());
  extent->Describe(index, cell);
  for (std::uint32_t unit = 0; unit < g.UnitsFor(extent->memory.size()); ++unit) {
    region.owner(cell.first_unit + unit)
        .store(layout::Owner{.generation = 1, .cell_plus_one = index + 1}.ToWord());
  }
  region.cell(index).store(cell.ToWord());
  return {.extent = 2, .generation = 1, .offset = 64, .bytes = 16000};
}

// Two live peers and a ring with records from slot 1 to slot 0. `has_left`: the peer in slot 0.
void Populate(std::span<std::byte> memory, bool has_left) {
  Require(Format(memory, {.max_peers = 4, .ring_capacity = 0}).ok());
  const Region region = *Region::Attach(memory);
  MemoryTransport transport(memory);
  const PeerTable table(region);
  for (const char* name : {"a", "b"}) {
    Require(
        table.Claim({.name = name, .durable = true, .pid = 1, .boot_id = {1, 2}}, transport).ok());
  }
  const Result<CarvedRing> carved = Arena(region).Carve(0, 1, 1, 1);
  Require(carved.ok());
  Producer producer(carved->ring);
  const layout::BlockDescriptor block = PopulateHeap(region, carved->cell);
  const layout::Frame inner{.kind = layout::FrameKind::kBytes};
  std::span<std::byte> record;
  Require(producer.TryClaim(2 * sizeof(layout::Frame) + sizeof(block), &record) ==
          ClaimResult::kOk);
  std::memset(record.data(), 0, record.size());
  record[0] = static_cast<std::byte>(layout::FrameKind::kBlock);
  std::memcpy(record.data() + sizeof(inner), &block, sizeof(block));
  std::memcpy(record.data() + sizeof(inner) + sizeof(block), &inner, sizeof(inner));
  producer.Commit();
  for (std::size_t i = 0; i < 5; ++i) {
    std::span<std::byte> payload;
    Require(producer.TryClaim(i < 4 ? 32 : sizeof(layout::Frame), &payload) == ClaimResult::kOk);
    std::memset(payload.data(), 0, payload.size());
    payload[0] = static_cast<std::byte>(i + 1);  // each kind of frame
    producer.Commit();
  }
  producer.PublishCommitted();
  if (!has_left) return;
  layout::Life life = layout::Life::FromWord(region.slot(0).life.load());
  life.state = layout::PeerState::kDead;
  region.slot(0).life.store(life.ToWord());
}

void ApplyPatches(std::span<std::byte> memory, std::span<const std::uint8_t> input) {
  while (input.size() > 3) {
    const std::size_t offset = input[0] | std::size_t{input[1]} << 8;
    const std::size_t length =
        std::min<std::size_t>({input[2], input.size() - 3, memory.size() - offset});
    std::memcpy(memory.data() + offset, input.data() + 3, length);
    input = input.subspan(3 + length);
  }
}

std::size_t Sum(std::span<const std::byte> bytes) {
  std::size_t sum = 0;
  for (const std::byte byte : bytes) sum += std::to_integer<std::size_t>(byte);
  return sum;
}

void UseHeap(const Region& region, std::span<const std::byte> record) {
  layout::BlockDescriptor descriptor;
  if (record.size() < sizeof(layout::Frame) + sizeof(descriptor)) return;
  std::memcpy(&descriptor, record.data() + sizeof(layout::Frame), sizeof(descriptor));
  for (std::uint32_t slot = 0; slot < region.max_peers(); ++slot) {
    if (const auto block = BlockOf(region, slot, descriptor)) (void)Sum(*block);
  }
}

void UseRing(const Region& region, const RingView& ring) {
  if (Result<Consumer> consumer = Consumer::Open(ring); consumer.ok()) {
    PeekResult end = PeekResult::kRecord;
    const auto use = [&](std::span<const std::byte> bytes) {
      (void)Sum(bytes);
      UseHeap(region, bytes);
    };
    (void)consumer->Poll(use, 1000, &end);
    if (end == PeekResult::kEmpty) consumer->PublishReleased();
    (void)consumer->TakeWakeRequest();
  }
  if (Result<Producer> producer = Producer::Recover(ring); producer.ok()) {
    std::span<std::byte> payload;
    for (std::uint64_t size = 0; size < producer->max_payload(); size = size * 2 + 1) {
      if (producer->TryClaim(size, &payload) != ClaimResult::kOk) break;
      std::fill(payload.begin(), payload.end(), std::byte{1});
      producer->Commit();
    }
    producer->PublishCommitted();
  }
}

void UseNode(Node& node) {
  SendOptions at_once;
  at_once.timeout = std::chrono::nanoseconds(0);
  const auto handler = [&](const Message& message) {
    (void)Sum(message.payload);
    (void)node.Send(message.from, message.payload, at_once);
  };
  const std::string large(40000, 'x');
  // Publishes to whoever says that it has subscribed, itself included.
  Result<Topic> topic = node.Advertise("fuzz", {.history = 1, .timeout = at_once.timeout});
  const Result<Subscription> subscription = node.Subscribe(
      "**", [](const TopicMessage& m) { (void)(Sum(m.message.payload) + m.topic.size()); });
  for (int round = 0; round < 3; ++round) {
    if (topic.ok()) {
      (void)topic->Publish("hello");
      (void)topic->Publish(large);
    }
    (void)node.Poll(handler, 100);
    for (const PeerInfo& peer : node.Peers().peers) {
      (void)node.Send(peer.id, "hello");
      (void)node.Send(peer.id, large, at_once);
      (void)node.Explain(SendResult::kNoRoom, peer.id);
    }
    (void)node.Lookup("a");
    (void)node.Arm();
  }
}

std::unique_ptr<Node> OpenNode(std::span<std::byte> memory) {
  NodeOptions options;
  options.name = "a";
  options.durable = true;
  options.max_message_bytes = 1U << 20;
  options.reassembly_bytes = 1U << 20;
  Result<std::unique_ptr<Node>> node =
      Node::Open(std::make_unique<MemoryTransport>(memory), std::move(options));
  if (node.ok()) return *std::move(node);
  Require(!node.status().message().empty());
  return nullptr;
}

// A claim that stands still is waited for, by design; two seconds are too long here.
void EndClaims(const Region& region) {
  for (std::uint32_t s = 0; s < region.max_peers(); ++s) {
    layout::Life life = layout::Life::FromWord(region.slot(s).life.load());
    if (life.state != layout::PeerState::kClaiming) continue;
    life.state = layout::PeerState::kDead;
    region.slot(s).life.store(life.ToWord());
  }
}

void UseRegion(const Region& region, bool with_node) {
  const Geometry& g = region.geometry();
  Require(g.arena_offset + std::uint64_t{g.unit_count} * g.unit_size <= kRegionSize);
  const PeerTable table(region);
  const Arena arena(region);
  (void)table.Snapshot();
  (void)table.Find("a");
  (void)arena.Stats();
  if (with_node) {
    EndClaims(region);
    const std::span memory(reinterpret_cast<std::byte*>(&region.header()), kRegionSize);
    if (const std::unique_ptr<Node> node = OpenNode(memory)) UseNode(*node);
  }
  for (std::uint32_t index = 0; index < g.pair_cells(); ++index) {
    if (const auto ring = region.RingOf(layout::Cell::FromWord(region.cell(index).load()))) {
      UseRing(region, *ring);
    }
  }
  for (std::uint32_t slot = 0; slot < g.max_peers; ++slot) {
    const layout::Life life = layout::Life::FromWord(region.slot(slot).life.load());
    (void)arena.Carve(slot, (slot + 1) % g.max_peers, 1, life.incarnation);
    (void)arena.CarveExtent(slot, slot % layout::kHeapExtents, 16U << 10, 64U << 10);
  }
  (void)table.MarkIvpositionDead(1);
  (void)table.Forget("b");
  table.Reclaim();
}

void Run(std::span<const std::uint8_t> input) {
  if (input.empty()) return;
  const std::uint8_t flags = input[0];
  input = input.subspan(1);
  const Memory memory;
  std::unique_ptr<Node> early;
  if ((flags & 2) != 0) {
    Populate(memory.bytes(), (flags & 12) != 0);
    if ((flags & 4) != 0) early = OpenNode(memory.bytes());
    ApplyPatches(memory.bytes(), input);
  } else {
    std::memcpy(memory.bytes().data(), input.data(), std::min(input.size(), kRegionSize));
  }
  if ((flags & 1) != 0) testing::RepairHeaderCrc(memory.bytes());
  if (early != nullptr) UseNode(*early);
  early.reset();
  if (const Result<Region> region = Region::Attach(memory.bytes()); region.ok()) {
    UseRegion(*region, (flags & 8) != 0);
  } else {
    Require(!region.status().message().empty());
  }
}

}  // namespace
}  // namespace ivmq

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ivmq::Run({data, size});
  return 0;
}
