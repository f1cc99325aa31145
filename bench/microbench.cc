// ivmq_microbench: the parts of ivmq by themselves, on one thread. What two cores make of them
// stands in ivmq_bench.
#include <sys/mman.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/fence.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"
#include "ivmq/internal/ring.h"
#include "ivmq/internal/wake.h"
#include "ivmq/node.h"
#include "ivmq/transport.h"

namespace ivmq {
namespace {

using benchmark::State;

template <typename T>
T OrDie(Result<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
    std::abort();
  }
  return *std::move(result);
}

void OrDie(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

// Zeroed, page-aligned memory.
class Pages {
 public:
  explicit Pages(std::size_t bytes) : bytes_(bytes) {
    void* const memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    data_ = static_cast<std::byte*>(memory);
  }
  ~Pages() { munmap(data_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  [[nodiscard]] std::span<std::byte> get() const { return {data_, bytes_}; }

 private:
  std::byte* data_;
  std::size_t bytes_;
};

// Nodes of one process over one region; they poll.
class PagesTransport final : public Transport {
 public:
  explicit PagesTransport(const Pages& pages) : memory_(pages.get()) {
    info_.address = info_.description = "memory of this process";
  }
  [[nodiscard]] std::span<std::byte> memory() const noexcept override { return memory_; }
  [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }
  void Ring(std::uint16_t /*ivposition*/, std::uint32_t /*vector*/) noexcept override {}

 private:
  std::span<std::byte> memory_;
  TransportInfo info_;
};

struct FormattedPages : Pages {
  FormattedPages(std::size_t bytes, const FormatOptions& options) : Pages(bytes) {
    OrDie(Format(get(), options));
  }
};

constexpr std::uint64_t kRingCapacity = 256U << 10;

struct RingPair {
  RingPair() : pages(RingView::Footprint(kRingCapacity)) {
    const RingView ring = RingView::At(pages.get().data(), kRingCapacity);
    ring.Initialize(1);
    producer = Producer(ring);
    consumer = OrDie(Consumer::Open(ring));
  }
  Pages pages;
  Producer producer;
  Consumer consumer;
};

// ---- Ring
// -----------------------------------------------------------------------------------------

// Claim, commit and take one message of `range` bytes, without touching its payload.
void BM_RingMessage(State& state) {
  RingPair ring;
  const auto bytes = static_cast<std::uint64_t>(state.range(0));
  for (auto _ : state) {
    std::span<std::byte> room;
    if (ring.producer.TryClaim(bytes, &room) != ClaimResult::kOk) state.SkipWithError("full");
    ring.producer.Commit();
    std::span<const std::byte> payload;
    if (ring.consumer.Peek(&payload) != PeekResult::kRecord) state.SkipWithError("empty");
    benchmark::DoNotOptimize(payload.data());
    ring.consumer.Release();
  }
}
// 131064 = half the capacity - 8: every second one is preceded by a pad.
BENCHMARK(BM_RingMessage)->Arg(0)->Arg(64)->Arg(1024)->Arg(100000)->Arg(131064);

// `range` messages of 64 bytes a commit.
void BM_RingBatch(State& state) {
  RingPair ring;
  for (auto _ : state) {
    for (std::int64_t i = 0; i < state.range(0); ++i) {
      std::span<std::byte> room;
      if (ring.producer.TryClaim(64, &room) != ClaimResult::kOk) state.SkipWithError("full");
    }
    ring.producer.Commit();
    PeekResult end;
    const std::size_t count = ring.consumer.Poll(
        [](std::span<const std::byte> p) { benchmark::DoNotOptimize(p.data()); }, 1000, &end);
    if (count != static_cast<std::size_t>(state.range(0))) state.SkipWithError("lost");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_RingBatch)->Arg(1)->Arg(16)->Arg(256);

// A look at an empty ring.
void BM_RingEmptyPeek(State& state) {
  RingPair ring;
  for (auto _ : state) {
    std::span<const std::byte> payload;
    if (ring.consumer.Peek(&payload) != PeekResult::kEmpty) state.SkipWithError("not empty");
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_RingEmptyPeek);

// A claim that does not fit: reads `released` each time.
void BM_RingFullClaim(State& state) {
  RingPair ring;
  std::span<std::byte> room;
  while (ring.producer.TryClaim(64, &room) == ClaimResult::kOk) ring.producer.Commit();
  for (auto _ : state) {
    if (ring.producer.TryClaim(64, &room) != ClaimResult::kFull) state.SkipWithError("not full");
  }
}
BENCHMARK(BM_RingFullClaim);

// A successor's walk over a full ring of 64-byte records.
void BM_RingRecover(State& state) {
  RingPair ring;
  std::span<std::byte> room;
  while (ring.producer.TryClaim(64, &room) == ClaimResult::kOk) ring.producer.Commit();
  const RingView view = RingView::At(ring.pages.get().data(), kRingCapacity);
  for (auto _ : state) {
    const Producer successor = OrDie(Producer::Recover(view));
    benchmark::DoNotOptimize(successor.position());
  }
}
BENCHMARK(BM_RingRecover);

// What a message to a receiver that may sleep costs beside the commit.
void BM_FenceAndArmedCheck(State& state) {
  const Pages pages(layout::kPage);
  const auto* const armed = reinterpret_cast<const layout::Word*>(pages.get().data());
  WakeCheck check;
  for (auto _ : state) {
    FullFence();
    if (check.MustRing(*armed)) state.SkipWithError("armed");
  }
}
BENCHMARK(BM_FenceAndArmedCheck);

// ---- Region, arena, names
// -------------------------------------------------------------------------

// Checks magic, CRC and every offset of the header.
void BM_RegionAttach(State& state) {
  const FormattedPages pages(16U << 20, {});
  for (auto _ : state) {
    const Region region = OrDie(Region::Attach(pages.get()));
    benchmark::DoNotOptimize(region.max_peers());
  }
}
BENCHMARK(BM_RegionAttach);

// Carves a ring and frees it, beside `range` others.
void BM_ArenaCarve(State& state) {
  const FormattedPages pages(64U << 20, {.max_peers = 64});
  const Region region = OrDie(Region::Attach(pages.get()));
  const Arena arena(region);
  const PeerTable table(region);
  PagesTransport transport(pages);
  std::vector<PeerId> peers;
  for (std::int64_t i = 0; i < state.range(0) + 2; ++i) {
    const std::string name = "peer-" + std::to_string(i);
    peers.push_back(OrDie(table.Claim({.name = name, .boot_id = ReadBootId()}, transport)).id);
  }
  const auto carve = [&](PeerId consumer, PeerId producer) {
    return OrDie(
        arena.Carve(consumer.slot, producer.slot, producer.incarnation, consumer.incarnation));
  };
  for (std::size_t i = 2; i < peers.size(); ++i) carve(peers[i], peers[0]);
  for (auto _ : state) {
    const CarvedRing carved = carve(peers[0], peers[1]);
    arena.Free(region.CellIndex(peers[0].slot, peers[1].slot), carved.cell.ToWord());
  }
}
BENCHMARK(BM_ArenaCarve)->Arg(0)->Arg(60);

// Claims a name and leaves, beside `range` other live names.
void BM_NameClaim(State& state) {
  const FormattedPages pages(64U << 20, {.max_peers = 1024, .ring_capacity = 16U << 10});
  const PeerTable table(OrDie(Region::Attach(pages.get())));
  PagesTransport transport(pages);
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    OrDie(table.Claim({.name = "other-" + std::to_string(i), .boot_id = ReadBootId()}, transport));
  }
  for (auto _ : state) {
    const ClaimedSlot slot = OrDie(table.Claim({.name = "me", .boot_id = {1, 1}}, transport));
    table.Leave(slot, transport);
    table.Reclaim();
  }
}
BENCHMARK(BM_NameClaim)->Arg(0)->Arg(63)->Arg(1000)->Unit(benchmark::kMicrosecond);

void BM_NameLookup(State& state) {
  const FormattedPages pages(64U << 20, {.max_peers = 1024, .ring_capacity = 16U << 10});
  const PeerTable table(OrDie(Region::Attach(pages.get())));
  PagesTransport transport(pages);
  std::string name;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    name = "other-" + std::to_string(i);
    OrDie(table.Claim({.name = name, .boot_id = ReadBootId()}, transport));
  }
  for (auto _ : state) {
    if (!table.Find(name)) state.SkipWithError("not found");
  }
}
BENCHMARK(BM_NameLookup)->Arg(1)->Arg(64)->Arg(1000)->Unit(benchmark::kMicrosecond);

// ---- Node
// -----------------------------------------------------------------------------------------

struct NodePair {
  explicit NodePair(std::uint64_t region_bytes, FormatOptions format, bool trust = true)
      : pages(region_bytes, format),
        receiver(OrDie(Node::Open(std::make_unique<PagesTransport>(pages),
                                  {.name = "receiver", .trust_peers = trust}))),
        sender(OrDie(Node::Open(std::make_unique<PagesTransport>(pages), {.name = "sender"}))) {}
  FormattedPages pages;
  std::unique_ptr<Node> receiver;
  std::unique_ptr<Node> sender;
};

// Sends a message of `range` bytes and handles it.
void SendAndHandle(State& state, NodePair& nodes) {
  const std::vector<std::byte> message(static_cast<std::size_t>(state.range(0)));
  const PeerId to = nodes.receiver->id();
  std::size_t handled = 0;
  const auto handler = [&](const Message& got) { handled += got.payload.size(); };
  for (auto _ : state) {
    if (nodes.sender->Send(to, message) != SendResult::kOk) {
      state.SkipWithError("cannot send");
      break;
    }
    const std::size_t due = handled + message.size();
    while (handled < due) nodes.receiver->Poll(handler);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void BM_NodeMessage(State& state) {
  NodePair nodes(16U << 20, {.max_peers = 4, .ring_capacity = 1U << 20}, /*trust=*/false);
  SendAndHandle(state, nodes);
}
BENCHMARK(BM_NodeMessage)->Arg(64)->Arg(1024)->Arg(16384)->Arg(262144);

// The same by a sender, shared and exclusive, handled in place.
void SendByName(State& state, bool exclusive) {
  NodePair nodes(16U << 20, {.max_peers = 4, .ring_capacity = 1U << 20});
  Sender sender = OrDie(nodes.sender->OpenSender("receiver", {.exclusive = exclusive}));
  const std::vector<std::byte> message(static_cast<std::size_t>(state.range(0)));
  std::size_t handled = 0;
  const auto handler = [&](const Message& got) { handled += got.payload.size(); };
  for (auto _ : state) {
    if (sender.Send(message) != SendResult::kOk) {
      state.SkipWithError("cannot send");
      break;
    }
    const std::size_t due = handled + message.size();
    while (handled < due) nodes.receiver->Poll(handler);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void BM_SenderMessage(State& state) { SendByName(state, /*exclusive=*/false); }
BENCHMARK(BM_SenderMessage)->Arg(64)->Arg(1024);

void BM_SenderMessageExclusive(State& state) { SendByName(state, /*exclusive=*/true); }
BENCHMARK(BM_SenderMessageExclusive)->Arg(64)->Arg(1024);

void BM_NodeMessageInPlace(State& state) {
  NodePair nodes(16U << 20, {.max_peers = 4, .ring_capacity = 1U << 20});
  SendAndHandle(state, nodes);
}
BENCHMARK(BM_NodeMessageInPlace)->Arg(64)->Arg(1024)->Arg(16384)->Arg(262144);

// Too large for a record of this ring of 1 MiB: goes in fragments.
void BM_NodeFragments(State& state) {
  NodePair nodes(16U << 20, {.max_peers = 4, .ring_capacity = 1U << 20});
  SendAndHandle(state, nodes);
}
BENCHMARK(BM_NodeFragments)->Arg(600'000);

// A poll that finds nothing, with `range` idle peers that each have a ring to this node.
void BM_NodeIdlePoll(State& state) {
  const auto idle = static_cast<std::uint32_t>(state.range(0));
  NodePair nodes(256U << 20, {.max_peers = 1024, .ring_capacity = 64U << 10});
  const Region& region = nodes.receiver->region();
  const PeerTable table(region);
  const Arena arena(region);
  PagesTransport transport(nodes.pages);
  const PeerId hub = nodes.receiver->id();
  for (std::uint32_t i = 0; i < idle; ++i) {
    const ClaimedSlot slot = OrDie(
        table.Claim({.name = "idle-" + std::to_string(i), .boot_id = ReadBootId()}, transport));
    OrDie(arena.Carve(hub.slot, slot.id.slot, slot.id.incarnation, hub.incarnation));
    region.slot(hub.slot).inbound_changes.fetch_add(1);
  }
  // Until every ring has been looked at and is known to be idle.
  for (int i = 0; i < 20'000; ++i) nodes.receiver->Poll([](const Message&) {});
  for (auto _ : state) benchmark::DoNotOptimize(nodes.receiver->Poll([](const Message&) {}));
}
BENCHMARK(BM_NodeIdlePoll)->Arg(0)->Arg(63)->Arg(255)->Arg(1020);

}  // namespace
}  // namespace ivmq

BENCHMARK_MAIN();
