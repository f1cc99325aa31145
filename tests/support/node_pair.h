// Nodes that talk within one process, over the eventfds of a test.
#ifndef IVMQ_TESTS_SUPPORT_NODE_PAIR_H_
#define IVMQ_TESTS_SUPPORT_NODE_PAIR_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/region.h"
#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/eventfd_transport.h"
#include "support/random.h"
#include "support/sizes.h"

namespace ivmq::testing {

// Long enough for any test on any machine; reached only by a test that fails.
inline constexpr std::chrono::seconds kPatience{30};
inline constexpr SendOptions kWait{.when_full = WhenFull::kWait, .timeout = kPatience};
inline constexpr auto kIgnore = [](const Message&) {};

// Ends the test program if it cannot be opened.
inline std::unique_ptr<Node> OpenNode(std::unique_ptr<Transport> transport, NodeOptions options) {
  Result<std::unique_ptr<Node>> node = Node::Open(std::move(transport), std::move(options));
  if (!node.ok()) {
    ADD_FAILURE() << node.status().ToString();
    std::abort();
  }
  return *std::move(node);
}
inline std::unique_ptr<Node> OpenNode(Hub& hub, std::uint16_t ivposition, NodeOptions options,
                                      EventfdTransportOptions transport = {}) {
  return OpenNode(MakeTransport(hub, ivposition, transport), std::move(options));
}

// Polls and waits until `done` says so; false if patience ran out.
template <typename Handler>
bool PollUntil(Node& node, Handler&& handler, const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    if (node.Poll(handler) == 0 && !done()) (void)node.Wait(std::chrono::milliseconds(100));
  }
  return true;
}

// Receives `count` messages as text.
inline std::vector<std::string> ReceiveTexts(Node& node, std::size_t count) {
  std::vector<std::string> texts;
  EXPECT_TRUE(PollUntil(
      node, [&](const Message& message) { texts.emplace_back(message.text()); },
      [&] { return texts.size() >= count; }));
  return texts;
}

// Receives one message, which must come from `from` with the pattern of that number.
inline void ReceivePattern(Node& node, PeerId from, std::uint64_t number) {
  bool received = false;
  EXPECT_TRUE(PollUntil(
      node,
      [&](const Message& message) {
        EXPECT_EQ(message.from, from);
        EXPECT_TRUE(HasPattern(message.payload, number));
        received = true;
      },
      [&] { return received; }));
}

// A region and the nodes in it.
class NodeTest : public ::testing::Test {
 protected:
  explicit NodeTest(std::uint64_t region_bytes = 4 * kMiB,
                    const FormatOptions& format = {.max_peers = 8})
      : hub_(region_bytes, format) {}

  // Each has the next ivposition, from 1 on.
  std::unique_ptr<Node> Open(const std::string& name, NodeOptions options = {},
                             EventfdTransportOptions transport = {}) {
    options.name = name;
    return OpenNode(hub_, next_ivposition_++, std::move(options), transport);
  }

  [[nodiscard]] const Region& region() const { return hub_.region(); }
  // The cell of the ring between two nodes, and the ring.
  [[nodiscard]] layout::Word& CellWordOf(PeerId producer, PeerId consumer) const {
    return region().cell(region().CellIndex(consumer.slot, producer.slot));
  }
  [[nodiscard]] layout::Cell CellOf(PeerId producer, PeerId consumer) const {
    return layout::Cell::FromWord(CellWordOf(producer, consumer).load());
  }
  [[nodiscard]] RingView RingOf(PeerId producer, PeerId consumer) const {
    return *region().RingOf(CellOf(producer, consumer));
  }

  Hub hub_;
  std::uint16_t next_ivposition_ = 1;
};

// Two of them.
class NodePairTest : public NodeTest {
 protected:
  explicit NodePairTest(EventfdTransportOptions transport = {})
      : a_(Open("a", {}, transport)), b_(Open("b", {}, transport)) {}
  NodePairTest(std::uint64_t region_bytes, const FormatOptions& format)
      : NodeTest(region_bytes, format), a_(Open("a")), b_(Open("b")) {}

  std::unique_ptr<Node> a_;
  std::unique_ptr<Node> b_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_NODE_PAIR_H_
