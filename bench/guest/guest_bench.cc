// guest_bench: one side of a pair of guests that measure round trips between them. The client
// prints Markdown. bench/guests.sh boots the guests and runs it; see ../README.md.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "ivmq/address.h"
#include "ivmq/guest_device.h"

#include "candidates/ivmq_node.h"
#include "candidates/ivmq_ring.h"
#include "candidates/kernel.h"
#include "drive.h"
#include "driver/uapi/ivmq.h"
#include "report.h"

namespace ivmq::bench {
namespace {

constexpr std::size_t kRingBytes = 256U << 10;
constexpr std::array<std::size_t, 2> kSizes{64, 16384};
constexpr std::uint16_t kPort = 7700;

// The start of the memory that both guests have beside the region, all zero at first.
struct Scratch {
  alignas(64) std::atomic<std::uint64_t> arrived[2];  // times that each side crossed the line
  alignas(
      64) std::atomic<std::uint64_t> doorbell[2];  // where each side is rung: peer << 32 | vector
  alignas(64) std::atomic<std::uint64_t> word[2];  // the message of each side, for bare doorbells
  static constexpr std::size_t kRings = layout::kPage;  // offset of the pair of bare rings
};
static_assert(sizeof(Scratch) <= Scratch::kRings);

struct Guest {
  Side side = Side::kClient;
  std::string doorbell;                 // node of the device with a region
  std::span<std::byte> memory;          // of the device without doorbells
  std::shared_ptr<const void> mapping;  // of it
  std::string server;                   // IPv4 address of the server's guest

  [[nodiscard]] Scratch& scratch() const { return *reinterpret_cast<Scratch*>(memory.data()); }
  // Both guests are here. Asleep: whoever waits must not take time from whoever is to come.
  void Cross() const {
    const std::uint64_t mine = scratch().arrived[static_cast<std::size_t>(side)].fetch_add(1) + 1;
    while (scratch().arrived[static_cast<std::size_t>(Other(side))].load() < mine) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }
};

[[noreturn]] void FailErrno(const std::string& what) { Fail(what + ": " + std::strerror(errno)); }

// The driver and nothing else: a word in shared memory, a doorbell, poll() and read().
class BareDoorbell {
 public:
  static constexpr bool kBare = true;

  explicit BareDoorbell(const Guest& guest)
      : guest_(guest),
        self_(static_cast<std::size_t>(guest.side)),
        other_(1 - self_),
        node_(open(guest.doorbell.c_str(), O_RDWR | O_CLOEXEC), "open") {
    ivmq_info info{};
    if (ioctl(node_.get(), IVMQ_IOC_INFO, &info) != 0) FailErrno("IVMQ_IOC_INFO");
    ivmq_vector vector{};
    vector.eventfd = -1;
    if (ioctl(node_.get(), IVMQ_IOC_ALLOC_VECTOR, &vector) != 0) {
      FailErrno("IVMQ_IOC_ALLOC_VECTOR");
    }
    guest.scratch().word[self_].store(~std::uint64_t{0});
    guest.scratch().doorbell[self_].store(std::uint64_t{info.ivposition} << 32 | vector.vector);
  }
  void Open() {
    const std::uint64_t doorbell = guest_.scratch().doorbell[other_].load();
    ring_ = {.peer = static_cast<std::uint32_t>(doorbell >> 32),
             .vector = static_cast<std::uint32_t>(doorbell)};
  }
  bool TrySend(Message message) {
    guest_.scratch().word[self_].store(internal::FirstWord(message), std::memory_order_release);
    if (ioctl(node_.get(), IVMQ_IOC_RING, &ring_) != 0) FailErrno("IVMQ_IOC_RING");
    return true;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    if (!rung_) return 0;
    rung_ = false;
    const std::uint64_t word = guest_.scratch().word[other_].load(std::memory_order_acquire);
    use({reinterpret_cast<const std::byte*>(&word), sizeof word});
    return 1;
  }
  void Wait() {
    pollfd rung{node_.get(), POLLIN, 0};
    std::uint64_t count = 0;
    if (poll(&rung, 1, -1) != 1 || read(node_.get(), &count, sizeof count) != sizeof count) {
      FailErrno("poll and read");
    }
    rung_ = true;
  }

 private:
  const Guest& guest_;
  std::size_t self_;
  std::size_t other_;
  Descriptor node_;
  ivmq_ring ring_{};
  bool rung_ = false;
};

class BareRing {
 public:
  static constexpr bool kBare = false;

  explicit BareRing(const Guest& guest)
      : side_(guest.side), memory_(guest.memory.data() + Scratch::kRings) {
    if (side_ == Side::kServer) End::Initialize(memory_, kRingBytes);
  }
  void Open() { end_.Open(side_, memory_, kRingBytes); }
  bool TrySend(Message message) { return end_.TrySend(message); }
  void Flush() { end_.Flush(); }
  template <typename Use>
  std::size_t Receive(Use&& use) {
    return end_.Receive(use);
  }
  void Wait() { end_.Wait(); }

 private:
  using End = RingEnd<RingUse::kPlain>;

  Side side_;
  std::byte* memory_;
  End end_;
};

template <NodeUse kUse>
class GuestNode {
 public:
  static constexpr bool kBare = false;

  explicit GuestNode(const Guest& guest) : guest_(guest) {}
  void Open() {
    auto node = Node::Open("ivmq:" + guest_.doorbell, NodeEnd<kUse>::Options(guest_.side));
    if (!node.ok()) Fail("open: " + node.status().ToString());
    end_.Open(guest_.side, *std::move(node));
  }
  bool TrySend(Message message) { return end_.TrySend(message); }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    return end_.Receive(use);
  }
  void Wait() { end_.Wait(); }

 private:
  const Guest& guest_;
  NodeEnd<kUse> end_;
};

// What programs do today: a connection, a message of known size, blocking calls.
class Tcp {
 public:
  static constexpr bool kBare = false;

  explicit Tcp(const Guest& guest) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kPort);
    if (inet_pton(AF_INET, guest.server.c_str(), &address.sin_addr) != 1) {
      Fail("'" + guest.server + "' is no IPv4 address");
    }
    const auto* const name = reinterpret_cast<const sockaddr*>(&address);
    if (guest.side == Side::kServer) {
      const Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
      const int on = 1;
      setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      if (bind(listener.get(), name, sizeof address) != 0) FailErrno("bind");
      if (listen(listener.get(), 1) != 0) FailErrno("listen");
      guest.Cross();
      socket_.emplace(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept");
    } else {
      guest.Cross();
      socket_.emplace(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
      if (connect(socket_->get(), name, sizeof address) != 0) FailErrno("connect");
    }
    const int on = 1;
    setsockopt(socket_->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  void Open() {}
  bool TrySend(Message message) {
    received_.resize(message.size());
    while (!message.empty()) {
      const ssize_t sent = send(socket_->get(), message.data(), message.size(), MSG_NOSIGNAL);
      if (sent <= 0) FailErrno("send");
      message = message.subspan(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    for (std::size_t at = 0; at < received_.size();) {
      const ssize_t got = recv(socket_->get(), received_.data() + at, received_.size() - at, 0);
      if (got <= 0) FailErrno("recv");
      at += static_cast<std::size_t>(got);
    }
    use(Message(received_));
    return 1;
  }
  void Wait() {}
  // The size that both sides send.
  void Expect(std::size_t bytes) { received_.resize(bytes); }

 private:
  std::optional<Descriptor> socket_;
  std::vector<std::byte> received_;
};

template <typename C>
Latency Run(const Guest& guest, const Slot& slot) {
  guest.Cross();
  std::vector<Ticks> samples;
  {
    C candidate(guest);
    if constexpr (requires { candidate.Expect(slot.bytes); }) candidate.Expect(slot.bytes);
    guest.Cross();
    candidate.Open();
    guest.Cross();
    if (guest.side == Side::kClient) {
      samples = RoundTripClient(candidate, slot);
    } else {
      RoundTripServer(candidate, slot);
    }
  }
  return guest.side == Side::kClient ? Percentiles(samples) : Latency{};
}

struct Candidate {
  std::string name;
  std::function<Latency(const Guest&, const Slot&)> run;
  std::size_t floor;  // the candidate that it is compared with
};

constexpr std::size_t kDoorbell = 0;
constexpr std::size_t kBlocking = 1;
constexpr std::size_t kRing = 2;
constexpr std::size_t kPolling = 3;
constexpr std::size_t kTrusting = 4;
constexpr std::size_t kTcp = 5;

const std::vector<Candidate>& Candidates() {
  static const std::vector<Candidate> kCandidates{
      {"floor: a bare doorbell, poll and read", Run<BareDoorbell>, kDoorbell},
      {"**ivmq node**, sleeping", Run<GuestNode<NodeUse::kSleeps>>, kDoorbell},
      {"floor: a bare ring", Run<BareRing>, kRing},
      {"**ivmq node**, polling", Run<GuestNode<NodeUse::kCopies>>, kRing},
      {"ivmq node, polling, trusting its peers", Run<GuestNode<NodeUse::kInPlace>>, kRing},
      {"TCP over virtio-net", Run<Tcp>, kTcp},
  };
  return kCandidates;
}

struct Series {
  std::vector<double> p50, p99, max;
};

double MedianRatio(const Series& of, const Series& to) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < of.p50.size(); ++i) ratios.push_back(of.p50[i] / to.p50[i]);
  return Median(ratios);
}

using Figures = std::vector<std::array<Series, kSizes.size()>>;

void Print(const Figures& figures, int rounds) {
  PrintSection("Round trip, guest to guest",
               fmt::format("Microseconds from a message to its answer of the same size, through "
                           "the driver. Both guests take turns with all candidates; medians over "
                           "{} rounds, max over all. `/ floor` and `TCP /` are ratios of the p50, "
                           "round by round. A bare doorbell carries 8 bytes, whatever the size.",
                           rounds));
  for (std::size_t size = 0; size < kSizes.size(); ++size) {
    Table table({Bytes(kSizes[size]), "p50", "p99", "max", "/ floor", "TCP /"});
    for (std::size_t i = 0; i < figures.size(); ++i) {
      const Series& s = figures[i][size];
      const std::size_t floor = Candidates()[i].floor;
      table.Row({Candidates()[i].name, Short(Median(s.p50)), Short(Median(s.p99)),
                 Short(Largest(s.max)),
                 i == kTcp ? "" : Short(MedianRatio(s, figures[floor][size])),
                 Short(MedianRatio(figures[kTcp][size], s))});
    }
    table.Print();
  }
  Aims aims;
  aims.AtMost("sleeping, 64 B, node / bare doorbell",
              MedianRatio(figures[kBlocking][0], figures[kDoorbell][0]), 1.2);
  aims.AtMost("sleeping, 16 KiB, node / bare doorbell",
              MedianRatio(figures[kBlocking][1], figures[kDoorbell][1]), 1.5);
  // A bare doorbell carries no such message: copying and checking it takes most of what is over.
  Series rung_and_copied = figures[kDoorbell][1];
  for (std::size_t i = 0; i < rung_and_copied.p50.size(); ++i) {
    rung_and_copied.p50[i] += figures[kRing][1].p50[i];
  }
  aims.AtMost("sleeping, 16 KiB, node / bare doorbell and bare ring, added",
              MedianRatio(figures[kBlocking][1], rung_and_copied), 1.2);
  aims.AtMost("polling, 64 B, node / bare ring",
              MedianRatio(figures[kPolling][0], figures[kRing][0]), 1.5);
  aims.AtMost("polling, 16 KiB, node that trusts its peers / bare ring",
              MedianRatio(figures[kTrusting][1], figures[kRing][1]), 1.5);
  aims.Print();
}

// The devices of this guest: one with doorbells and a region, one without.
void FindDevices(Guest* guest) {
  for (const std::string& bdf : ListIvshmemDevices(std::string(kPciDevices))) {
    const auto device = InspectPciDevice(std::string(kPciDevices), bdf);
    if (!device.ok()) Fail(bdf + ": " + device.status().message());
    const GuestWay way = WayTo(*device);
    if (device->doorbell) {
      guest->doorbell = way.file;
      continue;
    }
    auto memory = OpenRegion(way.address, Access::kReadWrite);
    if (!memory.ok()) Fail(memory.status().ToString());
    guest->memory = memory->memory;
    guest->mapping = memory->mapping;
  }
  if (guest->doorbell.empty() ||
      guest->memory.size() < Scratch::kRings + RingEnd<RingUse::kPlain>::PairBytes(kRingBytes)) {
    Fail("needs an ivshmem-doorbell device, and an ivshmem-plain one of 1 MiB that is all zero");
  }
}

}  // namespace

// Each guest has a core of the host for itself.
int Cores() { return 2; }

void Fail(std::string_view what) {
  std::fflush(stdout);
  fmt::print(stderr, "guest_bench: {}\n", what);
  _exit(1);
}

}  // namespace ivmq::bench

int main(int argc, char** argv) {
  using namespace ivmq::bench;  // NOLINT(google-build-using-namespace)
  CLI::App app(
      "Measures round trips between two guests; the client prints Markdown.\n"
      "Start both with the same options.\n"
      "Example: guest_bench server 10.0.0.1 in one, guest_bench client 10.0.0.1 in the other");
  std::string role;
  Guest guest;
  int rounds = 9;
  int milliseconds = 200;
  app.add_option("ROLE", role, "client or server")
      ->required()
      ->check(CLI::IsMember({"client", "server"}));
  app.add_option("ADDRESS", guest.server, "the server's IPv4 address")->required();
  app.add_option("--rounds", rounds, "how often the candidates take turns")
      ->check(CLI::Range(1, 1000));
  app.add_option("--slot", milliseconds, "milliseconds for one candidate, size and round")
      ->check(CLI::Range(1, 60000));
  CLI11_PARSE(app, argc, argv);

  guest.side = role == "client" ? Side::kClient : Side::kServer;
  FindDevices(&guest);
  Figures figures(Candidates().size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t size = 0; size < kSizes.size(); ++size) {
      for (std::size_t i = 0; i < figures.size(); ++i) {
        const Latency latency =
            Candidates()[i].run(guest, {.bytes = kSizes[size],
                                        .ring_bytes = kRingBytes,
                                        .duration = std::chrono::milliseconds(milliseconds)});
        figures[i][size].p50.push_back(latency.p50);
        figures[i][size].p99.push_back(latency.p99);
        figures[i][size].max.push_back(latency.max);
      }
    }
  }
  if (guest.side == Side::kClient) Print(figures, rounds);
  return 0;
}
