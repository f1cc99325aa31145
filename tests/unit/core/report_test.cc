// NodeOptions::on_report is code of the user's: it may take its time, send, and throw.
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/ring.h"
#include "ivmq/node.h"

#include "support/node_pair.h"
#include "support/reports.h"

namespace ivmq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Hub;
using testing::kIgnore;
using testing::kPatience;
using testing::kWait;
using testing::OpenNode;
using testing::PollUntil;
using testing::ReceiveTexts;
using testing::Reports;
using ::testing::UnorderedElementsAre;

class ReportTest : public testing::NodeTest {
 protected:
  std::unique_ptr<Node> OpenA(std::function<void(const Status&)> on_report) {
    return Open("a", {.on_report = std::move(on_report)});
  }
  // A node whose reports wait for `may`.
  std::unique_ptr<Node> OpenHeldUp(Reports& reports, std::promise<void>& may) {
    return OpenA([told = reports.Sink(), may = may.get_future().share()](const Status& status) {
      may.wait();
      told(status);
    });
  }
  static Status Numbered(int number) { return {StatusCode::kInternal, std::to_string(number)}; }

  std::unique_ptr<Node> b_ = Open("b");
};

TEST_F(ReportTest, ANodeGoesOnWhileItsReportsAreTold) {
  Reports reports;
  std::promise<void> go_on;
  auto a = OpenHeldUp(reports, go_on);
  for (int i = 0; i < 3; ++i) a->Report(Numbered(i));
  EXPECT_EQ(a->Send(b_->id(), "x"), SendResult::kOk);
  EXPECT_THAT(ReceiveTexts(*b_, 1), ElementsAre("x"));
  EXPECT_THAT(reports.All(), ElementsAre());
  go_on.set_value();
  EXPECT_THAT(reports.Await(3), ElementsAre(HasSubstr("0"), HasSubstr("1"), HasSubstr("2")));
}

// The report of a ring that was given up comes from the midst of a send to the same peer.
TEST_F(ReportTest, WhatATransportComplainsOfIsReportedWithItsAddress) {
  class Complaining final : public testing::EventfdTransport {
   public:
    explicit Complaining(Hub& hub) : EventfdTransport(hub, 2), info_(EventfdTransport::info()) {
      info_.complaint = Status(StatusCode::kFailedPrecondition, "too few vectors");
    }
    [[nodiscard]] const TransportInfo& info() const noexcept override { return info_; }

   private:
    TransportInfo info_;
  };
  Reports reports;
  const auto node =
      OpenNode(std::make_unique<Complaining>(hub_), {.name = "a", .on_report = reports.Sink()});
  EXPECT_THAT(reports.Await(1), ElementsAre(HasSubstr("test:2: too few vectors")));
}

TEST_F(ReportTest, AReportMaySendToThePeerThatItIsAbout) {
  Node* node = nullptr;
  auto a = OpenA(
      [&](const Status&) { EXPECT_EQ(node->Send(b_->id(), "report", kWait), SendResult::kOk); });
  node = a.get();
  ASSERT_EQ(a->Send(b_->id(), "lost"), SendResult::kOk);
  RingOf(a->id(), b_->id()).CommitWordAt(0).store(~std::uint64_t{0});
  ASSERT_EQ(b_->Poll(kIgnore), 0U);
  while (a->counter(layout::Counter::kRingsPoisoned) == 0) {
    (void)a->Send(b_->id(), testing::Pattern(1000, 1));
  }
  std::size_t heard = 0;
  EXPECT_TRUE(PollUntil(
      *b_, [&](const Message& message) { heard += message.text() == "report" ? 1U : 0U; },
      [&] { return heard != 0; }));
}

TEST_F(ReportTest, TheEndOfANodeTellsWhatWaits) {
  Reports reports;
  std::promise<void> go_on;
  auto a = OpenHeldUp(reports, go_on);
  for (int i = 0; i < 100; ++i) a->Report(Numbered(i));
  go_on.set_value();
  a.reset();
  EXPECT_EQ(reports.All().size(), 100U);
}

// From the end of its heartbeat on, too.
TEST_F(ReportTest, WhatIsToldAtTheEndOfANodeMayAskIt) {
  class Watched final : public testing::EventfdTransport {
   public:
    Watched(Hub& hub, std::promise<void>& began, std::promise<void>& ended)
        : EventfdTransport(hub, 2), began_(began), ended_(ended) {}
    // Called by the heartbeat.
    Status Attend(const Move& move) override {
      if (!std::exchange(called_, true)) {
        ended_.set_value_at_thread_exit();
        began_.set_value();
      }
      return EventfdTransport::Attend(move);
    }

   private:
    std::promise<void>& began_;
    std::promise<void>& ended_;
    bool called_ = false;
  };
  std::promise<void> began;
  std::promise<void> ended;
  Node* node = nullptr;
  std::size_t told = 0;
  const auto ask = [&, heartbeat = ended.get_future().share()](const Status&) {
    heartbeat.wait();
    EXPECT_EQ(node->Peers().peers.size(), 2U);
    EXPECT_TRUE(node->Lookup("b").ok());
    EXPECT_TRUE(node->Await("b", kPatience).ok());
    EXPECT_FALSE(node->IsSuspected(b_->id()));
    ++told;
  };
  auto a = OpenNode(std::make_unique<Watched>(hub_, began, ended), {.name = "a", .on_report = ask});
  node = a.get();
  began.get_future().wait();
  for (int i = 0; i < 3; ++i) node->Report(Numbered(i));
  a.reset();
  EXPECT_EQ(told, 3U);
}

TEST_F(ReportTest, ReportsThatAreTooManyAreCounted) {
  Reports reports;
  std::promise<void> begun;
  std::promise<void> go_on;
  auto a = OpenA([&, told = reports.Sink(), may = go_on.get_future().share(),
                  first = true](const Status& status) mutable {
    if (std::exchange(first, false)) begun.set_value();
    may.wait();
    told(status);
  });
  a->Report(Numbered(0));
  begun.get_future().wait();
  for (int i = 1; i <= 3000; ++i) a->Report(Numbered(i));
  go_on.set_value();
  a.reset();
  ASSERT_EQ(reports.All().size(), 1026U);
  EXPECT_THAT(reports.All()[1024], HasSubstr("1024"));
  EXPECT_THAT(reports.All()[1025], HasSubstr("1976"));
}

TEST_F(ReportTest, AReportAtWhichOnReportThrowsIsMissing) {
  Reports reports;
  auto a = OpenA([told = reports.Sink(), first = true](const Status& status) mutable {
    if (std::exchange(first, false)) throw std::runtime_error("not now");
    told(status);
  });
  a->Report(Numbered(1));
  a->Report(Numbered(2));
  EXPECT_THAT(reports.Await(2),
              UnorderedElementsAre(HasSubstr("2"), HasSubstr("1 reports are missing")));
}

}  // namespace
}  // namespace ivmq
