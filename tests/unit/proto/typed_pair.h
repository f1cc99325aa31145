// Two peers of one region of this process, and what the receiver reported.
#ifndef IVMQ_TESTS_UNIT_PROTO_TYPED_PAIR_H_
#define IVMQ_TESTS_UNIT_PROTO_TYPED_PAIR_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/inproc.h"
#include "ivmq/node.h"
#include "ivmq/proto.h"

#include "support/reports.h"

namespace ivmq::testing {

inline constexpr std::chrono::seconds kLimit{30};

struct TypedPair {
  explicit TypedPair(std::uint64_t region_size = 16 << 20, NodeOptions options = {}) {
    const auto region = InprocRegion::Create(region_size, {.max_peers = 8});
    EXPECT_TRUE(region.ok()) << region.status().ToString();
    sender = Open(**region, options, "sender");
    options.on_report = reports.Sink();
    receiver = Open(**region, options, "receiver");
  }

  static std::unique_ptr<Node> Open(InprocRegion& region, NodeOptions options, const char* name) {
    auto transport = region.Join();
    EXPECT_TRUE(transport.ok()) << transport.status().ToString();
    options.name = name;
    auto node = Node::Open(*std::move(transport), std::move(options));
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    return *std::move(node);
  }

  [[nodiscard]] PeerId to() const { return receiver->id(); }
  [[nodiscard]] std::uint64_t unhandled() const {
    return receiver->counter(layout::Counter::kUnhandled);
  }
  [[nodiscard]] std::uint64_t unparsable() const {
    return receiver->counter(layout::Counter::kUnparsable);
  }

  // Polls until `count` messages were taken in all; false if they do not come.
  template <typename Handler>
  bool Receive(Handler& handler, std::size_t count) const {
    const auto deadline = std::chrono::steady_clock::now() + kLimit;
    for (std::size_t taken = 0; taken < count;) {
      const std::size_t now = receiver->Poll(handler);
      taken += now;
      if (now != 0) continue;
      (void)receiver->Wait(std::chrono::milliseconds(100));
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "received " << taken << " of " << count << " messages";
        return false;
      }
    }
    return true;
  }

  // Bytes that claim to be of a type.
  [[nodiscard]] SendResult SendRaw(std::string_view type_name, std::string_view bytes) const {
    return sender->Send(to(),
                        {.kind = layout::FrameKind::kTypedByName, .type = 0, .name = type_name},
                        std::as_bytes(std::span(bytes)));
  }
  [[nodiscard]] SendResult SendRaw(std::uint32_t id, std::string_view bytes) const {
    return sender->Send(to(), {.kind = layout::FrameKind::kTypedById, .type = id, .name = {}},
                        std::as_bytes(std::span(bytes)));
  }

  Reports reports;  // the receiver's
  std::unique_ptr<Node> sender;
  std::unique_ptr<Node> receiver;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_UNIT_PROTO_TYPED_PAIR_H_
