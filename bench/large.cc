// One-way rates of large messages: in fragments through a small ring, and lent in the heap.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "ivmq/internal/copy.h"
#include "ivmq/node.h"

#include "candidates/ideal_ring.h"
#include "candidates/ivmq_node.h"
#include "drive.h"
#include "suites.h"

namespace ivmq::bench {
namespace {

enum class LargeUse : std::uint8_t {
  kFragments,    // Send(): in pieces through a ring of 256 KiB
  kLent,         // Loan(): copied out of the heap
  kLentInPlace,  // the same, read in the heap: NodeOptions::trust_peers
};

template <LargeUse kUse>
class LargeNode {
 public:
  static constexpr bool kBare = false;

  explicit LargeNode(const Slot& slot)
      : region_(std::max<std::size_t>(64U << 20, std::bit_ceil(16 * slot.bytes)),
                {.max_peers = 4, .ring_capacity = 256U << 10}, 2) {}

  void Open(Side side) {
    NodeOptions options;
    options.name = Name(side);
    options.trust_peers = kUse == LargeUse::kLentInPlace;
    node_ = region_.Open(static_cast<std::uint32_t>(side), std::move(options));
    (void)AwaitPeer(*node_, Name(Other(side)));
    Result<Sender> sender = node_->OpenSender(
        Name(Other(side)), {.when_full = WhenFull::kWait, .timeout = std::chrono::seconds(10)});
    if (!sender.ok()) Fail("sender: " + sender.status().ToString());
    sender_.emplace(*std::move(sender));
  }
  bool TrySend(Message message) {
    if constexpr (kUse == LargeUse::kFragments) {
      return Sent(sender_->Send(message));
    } else {
      Loan loan = sender_->Loan(message.size());
      if (!Sent(loan.result())) return false;
      CopyBlock(loan.payload().data(), message.data(), message.size());
      return Sent(loan.Publish());
    }
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    return node_->Poll([&](const ivmq::Message& message) { use(message.payload); });
  }
  void Wait() { SpinOnce(); }

 private:
  static const char* Name(Side side) { return side == Side::kClient ? "client" : "server"; }
  bool Sent(SendResult result) const {
    if (result != SendResult::kOk) Fail("send: " + sender_->Explain(result).ToString());
    return true;
  }

  LocalRegion region_;
  std::unique_ptr<Node> node_;  // before the region goes
  std::optional<Sender> sender_;
};

constexpr const char* kFragments = "**ivmq node**, fragments";
constexpr const char* kLent = "**ivmq node**, lent";
constexpr const char* kInPlace = "**ivmq node**, lent, trusting its peers";

}  // namespace

void LargeMessages(const Plan& plan, Outcome& outcome) {
  struct Candidate {
    const char* name;
    double (*rate)(const Slot&);
  };
  std::vector<Candidate> candidates = {
      {"ideal ring, 64 KiB pieces, copied out", Rate<IdealPieces>},
      {kFragments, Rate<LargeNode<LargeUse::kFragments>>},
      {kLent, Rate<LargeNode<LargeUse::kLent>>},
      {kInPlace, Rate<LargeNode<LargeUse::kLentInPlace>>},
  };
  std::erase_if(candidates, [&](const Candidate& each) { return !plan.Takes(each.name); });
  const std::vector<std::size_t> sizes = {1U << 20, 2U << 20, 4U << 20, 8U << 20};
  std::map<std::size_t, std::map<std::string, std::vector<double>>> rates;
  for (int round = 0; round < plan.rounds; ++round) {
    for (const std::size_t bytes : sizes) {
      for (const Candidate& each : candidates) {
        const std::string what = fmt::format("large, {}, {}", each.name, Bytes(bytes));
        Progress(fmt::format("{}/{} {}", round + 1, plan.rounds, what));
        rates[bytes][each.name].push_back(
            each.rate({bytes, QueueBytes(bytes), plan.slot, what, ""}));
      }
    }
  }
  Progress("");

  PrintSection("Large messages",
               fmt::format("GB a second, one way, written by the sender and read by the receiver; "
                           "in parentheses the ratio to fragments, round by round. Medians over {} "
                           "rounds.",
                           plan.rounds));
  std::vector<std::string> head{"messages of"};
  for (const std::size_t bytes : sizes) head.push_back(Bytes(bytes));
  Table table(head);
  for (const Candidate& each : candidates) {
    std::vector<std::string> row{each.name};
    for (const std::size_t bytes : sizes) {
      const std::vector<double>& of = rates[bytes][each.name];
      const double rate = Median(of) * static_cast<double>(bytes);
      row.push_back(
          fmt::format("{:.1f} ({:.2f})", rate / 1e9, MedianRatio(of, rates[bytes][kFragments])));
      outcome.results.Add("large", each.name,
                          {{"bytes", static_cast<double>(bytes)}, {"bytes_per_second", rate}});
    }
    table.Row(row);
  }
  table.Print();

  const auto ratio = [&](std::size_t bytes, const char* name) {
    return MedianRatio(rates[bytes][name], rates[bytes][kFragments]);
  };
  for (const std::size_t bytes : {sizes.front(), sizes.back()}) {
    outcome.aims.AtLeast(fmt::format("large, {}, lent / in fragments", Bytes(bytes)),
                         ratio(bytes, kLent), 1);
    outcome.aims.AtLeast(
        fmt::format("large, {}, lent and read in place / in fragments", Bytes(bytes)),
        ratio(bytes, kInPlace), 1.2);
  }
}

}  // namespace ivmq::bench
