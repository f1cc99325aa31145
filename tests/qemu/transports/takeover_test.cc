// The server is killed again and again, or replaced, while peers in two guests and on the host talk,
// and newcomers talk with a guest whose QEMU connected to the first server.
#include <algorithm>
#include <deque>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fixture.h"
#include "service_manager.h"
#include "succession.h"
#include "support/program.h"

namespace ivmq::testing {
namespace {

// Who keeps what the server has.
class TakeoverGuestTest : public TransportsTest, public ::testing::WithParamInterface<std::string> {
 protected:
  TakeoverGuestTest() {
    EXPECT_EQ(server_->Terminate(), 0);
    const Succession::Command command =
        Ivmqd(socket_, {"--size", "16M", "--vectors", std::to_string(kVectors)}, GetParam());
    servers_ = std::make_unique<Succession>(socket_, std::deque<Succession::Command>{}, command,
                                            log_, GetParam() == "systemd" ? &manager_ : nullptr);
  }
  [[nodiscard]] std::string Log() const {
    std::ifstream file(log_);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string log_ = folder_ / "log";
  ServiceManager manager_{folder_ / "notify", 4096};
  std::unique_ptr<Succession> servers_;
};

INSTANTIATE_TEST_SUITE_P(Keepers, TakeoverGuestTest, ::testing::Values("keeper", "systemd"),
                         [](const auto& keeper) { return keeper.param; });

TEST_P(TakeoverGuestTest, NobodyInGuestsOrOnTheHostNoticesAHundredKilledServers) {
  constexpr int kKills = 100;
  constexpr int kCount = 100'000;
  const auto old_guest = WithDriver("old", "6.1");
  const auto new_guest = WithDriver("new", "6.12");
  ASSERT_TRUE(old_guest != nullptr && new_guest != nullptr);
  Peer old_sitter(*old_guest, "auto", "old_sitter", "sit");
  Peer new_sitter(*new_guest, "auto", "new_sitter", "sit");
  ASSERT_TRUE(old_sitter.Await(": driver") && new_sitter.Await(": driver"));

  const std::vector<std::string> names{"old", "new", "h1", "h2", "h3", "h4"};
  std::deque<Peer> peers;
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::string what = "talk " + std::to_string(i) + " " + std::to_string(kCount);
    for (const std::string& other : names) {
      if (other != names[i]) what += " " + other;
    }
    if (i < 2) {
      peers.emplace_back(i == 0 ? *old_guest : *new_guest, "auto", names[i], what);
    } else {
      peers.push_back(OnHost(names[i], what));
    }
  }
  for (int kill = 0; kill < kKills && !HasFailure(); ++kill) {
    servers_->Kill();
    if (kill % 4 != 0) continue;
    // Both ways by doorbells: the guest did not know the newcomer, and answers it.
    const std::string sitter = kill % 8 == 0 ? "old_sitter" : "new_sitter";
    Peer newcomer = OnHost("n" + std::to_string(kill), "ask " + sitter + " " + names[0]);
    const Result said = newcomer.Wait();
    EXPECT_EQ(said.status, 0) << said.output << Log();
    EXPECT_THAT(said.output, ::testing::HasSubstr("net finds 0\n"));
  }
  for (Peer& peer : peers) ExpectNoneLost(peer.Finish());
  for (const std::string sitter : {"old_sitter", "new_sitter"}) {
    Peer end = OnHost("end", "say " + sitter + " end");
    (void)end.Finish();
  }
  ExpectNoneLost(old_sitter.Finish());
  ExpectNoneLost(new_sitter.Finish());
  EXPECT_EQ(servers_->killed(), kKills);
  EXPECT_EQ(servers_->Terminate(), 0) << Log();
}

class UpgradeGuestTest : public TransportsTest {
 protected:
  UpgradeGuestTest() { EXPECT_EQ(server_->Terminate(), 0); }
  [[nodiscard]] std::vector<std::string> Arguments(std::vector<std::string> more = {}) const {
    more.insert(more.end(),
                {"--size", "16M", "--vectors", std::to_string(kVectors), "--keep", "keeper"});
    return more;
  }
  // By doorbells, both ways.
  void ExpectAnswer(const std::string& newcomer, const std::string& sitter) const {
    Peer peer = OnHost(newcomer, "ask " + sitter + " " + newcomer);
    const Result said = peer.Wait();
    EXPECT_EQ(said.status, 0) << said.output;
    EXPECT_THAT(said.output, ::testing::HasSubstr("net finds 0\n"));
  }
};

TEST_F(UpgradeGuestTest, GuestsTalkOnWhileServersOfOtherMinorVersionsReplaceEachOther) {
  ServerProcess first(socket_, Arguments());
  first.AwaitReady();
  const auto one = WithDriver("one", "6.1");
  const auto two = WithDriver("two", "6.12");
  ASSERT_TRUE(one != nullptr && two != nullptr);
  Peer sitter(*one, "auto", "sitter", "sit");
  ASSERT_TRUE(sitter.Await(": driver"));
  Peer left(*one, "auto", "left", "talk 0 200000 right");
  Peer right(*two, "auto", "right", "talk 1 200000 left");

  Program other(SteppingIvmqd(socket_, {"lend", "-", "1.9+8", "upgrade", "large"}),
                {.errors_apart = true});
  other.AwaitLine(Stream::kErrors, "serving");
  EXPECT_EQ(first.Wait(), 0);
  ExpectAnswer("second", "sitter");
  ServerProcess last(socket_, Arguments({"--upgrade"}));
  last.AwaitReady();
  EXPECT_EQ(other.Wait(), 0);
  ExpectAnswer("third", "sitter");

  ExpectNoneLost(left.Finish());
  ExpectNoneLost(right.Finish());
  Peer end = OnHost("end", "say sitter end");
  (void)end.Finish();
  ExpectNoneLost(sitter.Finish());
  EXPECT_EQ(last.Terminate(), 0);
}

}  // namespace
}  // namespace ivmq::testing
