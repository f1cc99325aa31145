// Nodes over the eventfds of a test.
#ifndef IVMQ_TESTS_SUPPORT_NODE_PAIR_H_
#define IVMQ_TESTS_SUPPORT_NODE_PAIR_H_

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/eventfd_transport.h"
#include "support/random.h"

namespace ivmq::testing {

// Long enough for any test on any machine; reached only by a test that fails.
inline constexpr std::chrono::seconds kPatience{30};
inline constexpr SendOptions kWait{.when_full = WhenFull::kWait, .timeout = kPatience};
inline constexpr auto kIgnore = [](const Message&) {};

inline std::unique_ptr<Node> OpenNode(Hub& hub, std::uint16_t ivposition, NodeOptions options,
                                      EventfdTransportOptions transport = {}) {
  Result<std::unique_ptr<Node>> node =
      Node::Open(MakeTransport(hub, ivposition, transport), std::move(options));
  if (!node.ok()) {
    ADD_FAILURE() << node.status().ToString();
    std::abort();
  }
  return *std::move(node);
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

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_NODE_PAIR_H_
