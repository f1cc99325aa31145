// A life that goes on under another ivposition: its process lost the connection to the server, and
// has a new one.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "ivmq/node.h"

#include "support/eventfd_transport.h"
#include "support/node_pair.h"
#include "support/sizes.h"

namespace ivmq {
namespace {

using layout::Counter;
using testing::EventfdTransport;
using testing::Hub;
using testing::kMiB;
using testing::kPatience;
using testing::kWait;
using testing::OpenNode;
using testing::PollUntil;

// Moves to `target` at the next call of Attend(), and is woken there from then on.
class MovingTransport final : public EventfdTransport {
 public:
  MovingTransport(Hub& hub, std::uint16_t ivposition)
      : EventfdTransport(hub, ivposition), hub_(hub) {}

  void MoveTo(std::uint16_t ivposition) noexcept { target_ = ivposition; }
  void AwaitMove() const noexcept {
    while (!moved_) std::this_thread::yield();
  }
  [[nodiscard]] int wake_fd() const noexcept override {
    return moved_ ? hub_.doorbell(static_cast<std::uint16_t>(target_))
                  : EventfdTransport::wake_fd();
  }
  Status Attend(const Move& move) override {
    if (target_ < 0 || moved_ || !move(static_cast<std::uint16_t>(target_))) return {};
    moved_ = true;
    return {StatusCode::kUnavailable, "moved"};
  }

 private:
  Hub& hub_;
  std::atomic<int> target_{-1};
  std::atomic<bool> moved_{false};
};

class MoveTest : public testing::NodeTest {
 protected:
  MoveTest() : NodeTest(kMiB, {.max_peers = 4}) {
    auto transport = std::make_unique<MovingTransport>(hub_, 1);
    transport_ = transport.get();
    NodeOptions options;
    options.name = "mover";
    options.on_report = [this](const Status& status) { reports_.set_value(status); };
    mover_ = OpenNode(std::move(transport), std::move(options));
  }

  std::promise<Status> reports_;
  MovingTransport* transport_ = nullptr;
  std::unique_ptr<Node> mover_;
};

TEST_F(MoveTest, ItKeepsItsNameAndItsRingsAndIsWokenAtTheNewDoorbell) {
  auto sender = OpenNode(hub_, 2, {.name = "sender"});
  const PeerId mover = mover_->id();
  std::string got;
  const auto take = [&](const Message& message) { got = message.text(); };
  ASSERT_EQ(sender->Send(mover, "before", kWait), SendResult::kOk);
  ASSERT_TRUE(PollUntil(*mover_, take, [&] { return got == "before"; }));

  transport_->MoveTo(3);
  transport_->AwaitMove();
  EXPECT_EQ(reports_.get_future().get().message(), "moved");
  const auto info = sender->Lookup("mover");
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->ivposition, 3);
  EXPECT_EQ(info->id, mover) << "it is another life";
  EXPECT_TRUE(mover_->status().ok());

  // Nothing rings the former doorbell any more.
  std::thread waker([&] {
    for (int i = 0; i < 20; ++i) ASSERT_EQ(sender->Send(mover, "after", kWait), SendResult::kOk);
  });
  for (int left = 20; left > 0;) {
    left -= static_cast<int>(mover_->Poll(take));
    if (left > 0) (void)mover_->Wait(kPatience);
  }
  waker.join();
  EXPECT_EQ(got, "after");
  EXPECT_EQ(mover_->counter(Counter::kNetFinds), 0U);
  EXPECT_EQ(mover_->Send(sender->id(), "back", kWait), SendResult::kOk);
}

TEST_F(MoveTest, ItsSlotComesBackWhenItLeaves) {
  transport_->MoveTo(3);
  transport_->AwaitMove();
  const std::uint32_t slot = mover_->id().slot;
  mover_.reset();
  EXPECT_EQ(layout::Life::FromWord(region().slot(slot).life.load()).state,
            layout::PeerState::kFree);
}

}  // namespace
}  // namespace ivmq
