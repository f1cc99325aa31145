#include "client_backlog.h"

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ivmq::server {
namespace {

using Kind = ClientBacklog::Kind;
using Message = ClientBacklog::Message;
using ::testing::ElementsAre;

std::vector<Message> TakeAll(ClientBacklog& backlog) {
  std::vector<Message> messages;
  while (const auto message = backlog.Next()) {
    messages.push_back(*message);
    backlog.Sent(*message);
  }
  return messages;
}

void Take(ClientBacklog& backlog, int count) {
  for (int i = 0; i < count; ++i) {
    const auto message = backlog.Next();
    ASSERT_TRUE(message);
    backlog.Sent(*message);
  }
}

TEST(ClientBacklogTest, GreetsInTheOrderOfTheProtocol) {
  ClientBacklog backlog(3, 2, {1, 2});
  EXPECT_THAT(
      TakeAll(backlog),
      ElementsAre(Message{Kind::kVersion}, Message{Kind::kOwnId, 3}, Message{Kind::kSharedMemory},
                  Message{Kind::kVector, 1, 0}, Message{Kind::kVector, 1, 1},
                  Message{Kind::kVector, 2, 0}, Message{Kind::kVector, 2, 1},
                  Message{Kind::kVector, 3, 0}, Message{Kind::kVector, 3, 1}));
  EXPECT_EQ(backlog.owed(), 0U);
}

TEST(ClientBacklogTest, AQemuGetsItsOwnVectorsBeforeThoseOfThePeers) {
  ClientBacklog backlog(3, 2, {1, 2}, ClientBacklog::Order::kOwnFirst);
  Take(backlog, 3);
  backlog.Come(4);
  EXPECT_THAT(TakeAll(backlog),
              ElementsAre(Message{Kind::kVector, 3, 0}, Message{Kind::kVector, 3, 1},
                          Message{Kind::kVector, 1, 0}, Message{Kind::kVector, 1, 1},
                          Message{Kind::kVector, 2, 0}, Message{Kind::kVector, 2, 1},
                          Message{Kind::kVector, 4, 0}, Message{Kind::kVector, 4, 1}));
  EXPECT_EQ(backlog.owed(), 0U);
}

TEST(ClientBacklogTest, AMessageStaysNextUntilItIsSent) {
  ClientBacklog backlog(1, 1, {});
  EXPECT_EQ(backlog.Next(), backlog.Next());
  backlog.Sent({Kind::kVersion});
  EXPECT_EQ(backlog.Next(), (Message{Kind::kOwnId, 1}));
}

TEST(ClientBacklogTest, APeerThatComesDuringTheGreetingIsAnnouncedAfterTheOwnVectors) {
  ClientBacklog backlog(5, 1, {2});
  Take(backlog, 3);
  backlog.Come(1);
  EXPECT_THAT(TakeAll(backlog),
              ElementsAre(Message{Kind::kVector, 2, 0}, Message{Kind::kVector, 5, 0},
                          Message{Kind::kVector, 1, 0}));
}

TEST(ClientBacklogTest, APeerThatGoesBeforeItWasAnnouncedIsNeverMentioned) {
  ClientBacklog backlog(1, 2, {7});
  backlog.Come(2);
  backlog.Come(3);
  backlog.Gone(2);
  backlog.Gone(7);
  EXPECT_THAT(
      TakeAll(backlog),
      ElementsAre(Message{Kind::kVersion}, Message{Kind::kOwnId, 1}, Message{Kind::kSharedMemory},
                  Message{Kind::kVector, 1, 0}, Message{Kind::kVector, 1, 1},
                  Message{Kind::kVector, 3, 0}, Message{Kind::kVector, 3, 1}));
}

TEST(ClientBacklogTest, AnEndIsAnnouncedOnceAndBeforeNewPeers) {
  ClientBacklog backlog(1, 1, {2});
  TakeAll(backlog);
  backlog.Come(3);
  backlog.Gone(2);
  backlog.Gone(2);
  EXPECT_THAT(TakeAll(backlog), ElementsAre(Message{Kind::kGone, 2}, Message{Kind::kVector, 3, 0}));
  backlog.Gone(2);
  EXPECT_EQ(backlog.Next(), std::nullopt);
}

TEST(ClientBacklogTest, AnAnnouncementIsCutShortIfItsPeerGoes) {
  ClientBacklog backlog(1, 3, {});
  TakeAll(backlog);
  backlog.Come(2);
  Take(backlog, 1);
  backlog.Gone(2);
  EXPECT_THAT(TakeAll(backlog), ElementsAre(Message{Kind::kGone, 2}));
}

TEST(ClientBacklogTest, AnAnnouncementIsFinishedIfThePeersIdWillBeLent) {
  ClientBacklog backlog(1, 3, {});
  TakeAll(backlog);
  backlog.Come(2);
  Take(backlog, 1);
  backlog.Forget(2);
  EXPECT_THAT(TakeAll(backlog),
              ElementsAre(Message{Kind::kVector, 2, 1}, Message{Kind::kVector, 2, 2}));
}

TEST(ClientBacklogTest, ALentIdIsAnnouncedOnlyToWhoDoesNotKnowIt) {
  ClientBacklog knows(1, 1, {2});
  TakeAll(knows);
  knows.Forget(2);
  knows.Come(2);
  EXPECT_EQ(knows.Next(), std::nullopt);

  ClientBacklog does_not(3, 1, {2});
  does_not.Forget(2);
  TakeAll(does_not);
  does_not.Come(2);
  EXPECT_THAT(TakeAll(does_not), ElementsAre(Message{Kind::kVector, 2, 0}));
}

TEST(ClientBacklogTest, WhatIsOwedIsBoundedByIdsHoweverManyPeersComeAndGo) {
  ClientBacklog backlog(1, 8, {});
  TakeAll(backlog);
  for (std::uint16_t id = 2; id < 60000; ++id) {
    backlog.Come(id);
    EXPECT_LE(backlog.owed(), 1U);
    backlog.Gone(id);
  }
  EXPECT_EQ(backlog.owed(), 0U);
}

TEST(ClientBacklogTest, WithoutRoomTheOwnVectorsComeAndTheOthersLater) {
  ClientBacklog backlog(3, 2, {1, 2});
  EXPECT_EQ(backlog.told(), 1U);
  Take(backlog, 4);
  EXPECT_EQ(backlog.told(), 2U);
  // What was begun is finished.
  EXPECT_EQ(backlog.Next(false), (Message{Kind::kVector, 1, 1}));
  Take(backlog, 1);
  for (const std::uint32_t vector : {0U, 1U}) {
    const auto own = backlog.Next(false);
    ASSERT_EQ(own, (Message{Kind::kVector, 3, vector}));
    backlog.Sent(*own);
  }
  backlog.Come(4);
  EXPECT_EQ(backlog.Next(false), std::nullopt);
  EXPECT_EQ(backlog.owed(), 2U);
  EXPECT_EQ(backlog.told(), 2U);
  EXPECT_THAT(TakeAll(backlog),
              ElementsAre(Message{Kind::kVector, 2, 0}, Message{Kind::kVector, 2, 1},
                          Message{Kind::kVector, 4, 0}, Message{Kind::kVector, 4, 1}));
}

TEST(ClientBacklogTest, AnEndNeedsNoRoom) {
  ClientBacklog backlog(1, 1, {2});
  TakeAll(backlog);
  backlog.Come(3);
  backlog.Gone(2);
  EXPECT_EQ(backlog.Next(false), (Message{Kind::kGone, 2}));
  backlog.Sent({Kind::kGone, 2});
  EXPECT_EQ(backlog.Next(false), std::nullopt);
}

// A client that reads whenever it likes, against peers that come and go at random: each message is
// one that the protocol allows, and in the end it knows exactly the living peers.
TEST(ClientBacklogTest, RandomTrafficLeavesAConsistentView) {
  constexpr std::uint32_t kVectors = 3;
  std::mt19937 random(20240);  // NOLINT(bugprone-random-generator-seed): repeatable
  for (int round = 0; round < 300; ++round) {
    std::set<std::uint16_t> living = {1, 2, 3};
    std::uint16_t last = 4;  // the client itself
    ClientBacklog backlog(4, kVectors, living);
    std::map<std::uint16_t, std::uint32_t> view;  // id -> vectors
    std::set<std::uint16_t> gone;
    const auto read_one = [&] {
      const auto message = backlog.Next(/*has_room=*/random() % 4 != 0);
      if (!message) return false;
      backlog.Sent(*message);
      if (message->kind == Kind::kVector) {
        EXPECT_FALSE(gone.contains(message->id));
        EXPECT_EQ(message->vector, view[message->id]++);
        EXPECT_LE(view[message->id], kVectors);
      } else if (message->kind == Kind::kGone) {
        EXPECT_EQ(view.erase(message->id), 1U) << "gone, but never announced";
        EXPECT_TRUE(gone.insert(message->id).second) << "announced as gone twice";
      }
      return true;
    };
    for (int step = 0; step < 200; ++step) {
      switch (random() % 4) {
        case 0:
          backlog.Come(++last);
          living.insert(last);
          break;
        case 1:
          if (!living.empty()) {
            auto victim = living.begin();
            std::advance(victim, random() % living.size());
            backlog.Gone(*victim);
            living.erase(victim);
          }
          break;
        default:
          (void)read_one();
      }
    }
    while (backlog.Next()) (void)read_one();
    living.insert(4);
    std::set<std::uint16_t> known;
    for (const auto& [id, vectors] : view) {
      known.insert(id);
      EXPECT_EQ(vectors, kVectors);
    }
    ASSERT_EQ(known, living) << "round " << round;
  }
}

}  // namespace
}  // namespace ivmq::server
