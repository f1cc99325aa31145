#include "metrics.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "metrics_listener.h"
#include "support/temp_folder.h"

namespace ivmq::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

PeerInfo Peer(std::uint32_t slot, std::string name, std::uint64_t sent,
              std::uint32_t incarnation = 1) {
  PeerInfo peer;
  peer.id = {slot, incarnation};
  peer.name = std::move(name);
  peer.state = layout::PeerState::kLive;
  peer.counters[static_cast<std::size_t>(layout::Counter::kMessagesSent)] = sent;
  return peer;
}

// ---- Sums ----

class CounterTotalsTest : public ::testing::Test {
 protected:
  // What was sent, after a look at these peers.
  std::uint64_t Look(std::vector<PeerInfo> peers) {
    inspect::RegionSample sample;
    sample.peers = std::move(peers);
    totals_.Look(sample);
    return totals_.values()[static_cast<std::size_t>(layout::Counter::kMessagesSent)];
  }

  CounterTotals totals_;
};

TEST_F(CounterTotalsTest, WhatAPeerCountedStaysWhenItHasGone) {
  EXPECT_EQ(Look({Peer(0, "a", 5), Peer(3, "b", 7)}), 12U);
  EXPECT_EQ(Look({Peer(0, "a", 6)}), 13U);
  EXPECT_EQ(Look({}), 13U);
}

TEST_F(CounterTotalsTest, TheNextPeerOfASlotCountsFromNothing) {
  EXPECT_EQ(Look({Peer(0, "a", 5, 1)}), 5U);
  EXPECT_EQ(Look({Peer(0, "b", 2, 2)}), 7U);
  EXPECT_EQ(Look({Peer(0, "b", 3, 2)}), 8U);
}

TEST_F(CounterTotalsTest, APeerThatCountsBackwardsMakesNoSumSmallerOrLarger) {
  EXPECT_EQ(Look({Peer(0, "a", 50)}), 50U);
  EXPECT_EQ(Look({Peer(0, "a", 10)}), 50U);
  EXPECT_EQ(Look({Peer(0, "a", 50)}), 50U);
  EXPECT_EQ(Look({Peer(0, "a", 51)}), 51U);
}

TEST_F(CounterTotalsTest, ASumStopsAtItsEnd) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(Look({Peer(0, "a", kMost - 1), Peer(1, "b", 7)}), kMost);
}

// ---- The text ----

std::string Text(const RegionFigures& figures) { return MetricsText({figures}, {}); }

TEST(MetricsTest, ServerAndRegionHaveTheirFigures) {
  RegionFigures figures;
  figures.name = "acme";
  figures.size = 4096;
  figures.server.admitted = 3;
  figures.server.refused[static_cast<std::size_t>(Refusal::kQuota)] = 2;
  figures.clients.push_back({.id = 1, .state = ClientState::kLingering});
  figures.totals[static_cast<std::size_t>(layout::Counter::kNetFinds)] = 9;
  figures.sample.rings.push_back({.producer = 0, .consumer = 1, .capacity = 1000});
  figures.sample.rings.back().unread.bytes = 250;
  figures.sample.rings.back().unread.messages = 4;
  const std::string text = MetricsText({figures}, {.log_lines_dropped = 17, .takeovers = 2});
  for (const char* const line :
       {"ivmqd_log_lines_dropped_total 17\n", "ivmqd_takeovers_total 2\n",
        "ivmqd_admitted_total{region=\"acme\"} 3\n",
        "ivmqd_refused_total{region=\"acme\",reason=\"quota\"} 2\n",
        "ivmqd_refused_total{region=\"acme\",reason=\"user\"} 0\n",
        "ivmqd_clients{region=\"acme\",state=\"lingering\"} 1\n",
        "ivmq_region_bytes{region=\"acme\"} 4096\n", "ivmq_net_finds_total{region=\"acme\"} 9\n",
        "ivmq_rings{region=\"acme\"} 1\n", "ivmq_rings_unread_bytes{region=\"acme\"} 250\n",
        "ivmq_rings_unread_messages{region=\"acme\"} 4\n",
        "ivmq_fullest_ring_ratio{region=\"acme\"} 0.25\n", "# TYPE ivmq_net_finds_total counter\n",
        "# TYPE ivmqd_clients gauge\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(MetricsTest, SeveralRegionsShareAFamily) {
  RegionFigures a;
  RegionFigures b;
  b.name = "b";
  const std::string text = MetricsText({a, b}, {});
  EXPECT_THAT(text, AllOf(HasSubstr("ivmq_rings{region=\"default\"} 0\n"
                                    "ivmq_rings{region=\"b\"} 0\n")));
  EXPECT_EQ(text.find("# TYPE ivmq_rings gauge"), text.rfind("# TYPE ivmq_rings gauge"));
}

// A name is what a peer writes into shared memory.
TEST(MetricsTest, NoNameOfAPeerMakesALineOfItsOwn) {
  RegionFigures figures;
  figures.sample.peers = {Peer(0, "a\"} 1\nivmq_rings 7\n\\\xff", 5)};
  const std::string text = Text(figures);
  EXPECT_THAT(text, HasSubstr("ivmq_peer_messages_sent_total{region=\"default\",peer="
                              "\"a\\\"} 1?ivmq_rings 7?\\\\?\"} 5\n"));
  EXPECT_THAT(text, Not(HasSubstr("\nivmq_rings 7")));
}

TEST(MetricsTest, TwoPeersOfOneNameMakeOneSeries) {
  RegionFigures figures;
  figures.sample.peers = {Peer(0, "a", 5), Peer(1, "a", 6)};
  const std::string text = Text(figures);
  const std::string series = "ivmq_peer_messages_sent_total{region=\"default\",peer=\"a\"}";
  EXPECT_THAT(text, HasSubstr(series + " 5\n"));
  EXPECT_EQ(text.find(series), text.rfind(series));
}

TEST(MetricsTest, ManyPeersMakeNoMoreSeriesThanSome) {
  RegionFigures figures;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    figures.sample.peers.push_back(Peer(i, "p" + std::to_string(i), 1));
  }
  const std::string text = Text(figures);
  std::size_t series = 0;
  for (std::size_t at = 0;
       (at = text.find("\nivmq_peer_messages_sent_total{", at)) != std::string::npos; ++at) {
    ++series;
  }
  EXPECT_EQ(series, kMostPeersWithMetrics);
  EXPECT_THAT(text, HasSubstr("ivmq_peers{region=\"default\",state=\"live\"} 1000\n"));
}

// ---- Where they are served ----

TEST(MetricsListenerTest, OnlyThisMachineIsServed) {
  for (const char* const address :
       {"", "9464", ":9464", "0.0.0.0:9464", "192.0.2.1:9464", "[::]:9464", "::1:9464",
        "localhost:9464", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:1 ", "[::1]",
        "[]:1", "tcp:127.0.0.1:1"}) {
    const auto listening = ListenForMetrics(address);
    ASSERT_FALSE(listening.ok()) << address;
    EXPECT_EQ(listening.status().code(), StatusCode::kInvalidArgument) << address;
  }
}

TEST(MetricsListenerTest, AFreePortIsNamed) {
  const auto listening = ListenForMetrics("127.0.0.1:0");
  ASSERT_TRUE(listening.ok()) << listening.status().ToString();
  EXPECT_THAT(listening->where,
              AllOf(StartsWith("http://127.0.0.1:"), HasSubstr("/metrics"), Not(HasSubstr(":0/"))));
}

TEST(MetricsListenerTest, APortThatIsTakenIsAnError) {
  const auto first = ListenForMetrics("127.0.0.1:0");
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  const std::string address = first->where.substr(7, first->where.rfind('/') - 7);
  const auto second = ListenForMetrics(address);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.status().message(), StartsWith(address));
}

TEST(MetricsListenerTest, AUnixSocketIsNotForEverybody) {
  const testing::TempFolder folder;
  const auto listening = ListenForMetrics("unix:" + folder / "m");
  ASSERT_TRUE(listening.ok()) << listening.status().ToString();
  EXPECT_EQ(std::filesystem::status(folder / "m").permissions(), std::filesystem::perms{0660});
}

}  // namespace
}  // namespace ivmq::server
