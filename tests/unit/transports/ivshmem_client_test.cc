#include "ivmq/ivshmem_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/address.h"

#include "fake_ivshmem_server.h"
#include "src/ivshmem_protocol.h"
#include "support/temp_folder.h"

namespace ivmq {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::Conversation;
using testing::CountDescriptors;
using testing::Drain;
using testing::FakeIvshmemServer;
using ::testing::HasSubstr;
using testing::MakeEventfd;
using testing::MakeMemory;
using RingResult = IvshmemClient::RingResult;

constexpr std::size_t kSize = 1 << 20;

std::vector<UniqueFd> MakeEventfds(int count) {
  std::vector<UniqueFd> fds;
  fds.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) fds.push_back(MakeEventfd());
  return fds;
}

std::vector<int> Raw(const std::vector<UniqueFd>& fds) {
  std::vector<int> raw;
  raw.reserve(fds.size());
  for (const UniqueFd& fd : fds) raw.push_back(fd.get());
  return raw;
}

void AwaitReadable(int fd) {
  pollfd wait{fd, POLLIN, 0};
  ASSERT_EQ(poll(&wait, 1, -1), 1);
}

// Has `server` greet a client that is number 3, has two vectors, and sees peer 1 with two.
class IvshmemClientTest : public ::testing::Test {
 protected:
  void Connect() {
    server_ = std::make_unique<FakeIvshmemServer>([this](const Conversation& conversation) {
      conversation.Send(ivshmem::kVersion);
      conversation.Send(3);
      conversation.Send(ivshmem::kSharedMemory, memory_.get());
      for (const UniqueFd& fd : peer_) conversation.Send(1, fd.get());
      for (const UniqueFd& fd : own_) conversation.Send(3, fd.get());
    });
    auto client = IvshmemClient::Connect(server_->path());
    ASSERT_TRUE(client.ok()) << client.status().ToString();
    client_ = *std::move(client);
    talk_ = server_->Finish();
    // The second own vector may come after Connect() has returned.
    while (client_->vectors() < own_.size()) {
      AwaitReadable(client_->control_fd());
      ASSERT_TRUE(client_->HandleControl());
    }
  }

  const UniqueFd memory_ = MakeMemory(kSize);
  const std::vector<UniqueFd> peer_ = MakeEventfds(2);
  const std::vector<UniqueFd> own_ = MakeEventfds(2);
  std::unique_ptr<FakeIvshmemServer> server_;
  std::unique_ptr<IvshmemClient> client_;
  Conversation talk_{-1};
};

TEST_F(IvshmemClientTest, GreetingGivesIdMemoryAndPeers) {
  Connect();
  EXPECT_EQ(client_->id(), 3);
  EXPECT_EQ(client_->vectors(), 2U);
  EXPECT_EQ(lseek(client_->shared_memory(), 0, SEEK_END), static_cast<off_t>(kSize));
  ASSERT_EQ(client_->peers().size(), 1U);
  EXPECT_EQ(client_->peers()[0].id, 1);
  EXPECT_EQ(client_->peers()[0].vectors, 2U);
  EXPECT_TRUE(client_->connection().ok());
}

TEST_F(IvshmemClientTest, RingWritesTheEventfdOfThatPeerAndVector) {
  Connect();
  EXPECT_EQ(client_->Ring(1, 1), RingResult::kRung);
  EXPECT_EQ(Drain(peer_[0].get()), 0U);
  EXPECT_EQ(Drain(peer_[1].get()), 1U);
  EXPECT_EQ(client_->Ring(1, 2), RingResult::kNoSuchVector);
  EXPECT_EQ(client_->Ring(2, 0), RingResult::kNoSuchPeer);
}

TEST_F(IvshmemClientTest, RingOfAFullCounterDoesNotBlock) {
  Connect();
  const std::uint64_t most = UINT64_MAX - 1;
  ASSERT_EQ(write(peer_[0].get(), &most, sizeof(most)), 8);
  EXPECT_EQ(client_->Ring(1, 0), RingResult::kRung);
  EXPECT_EQ(Drain(peer_[0].get()), most);
}

TEST_F(IvshmemClientTest, RingNeverBlocksEvenOnABlockingEventfd) {
  for (const UniqueFd& fd : peer_) ASSERT_EQ(fcntl(fd.get(), F_SETFL, 0), 0);
  Connect();
  const std::uint64_t most = UINT64_MAX - 1;
  ASSERT_EQ(write(peer_[0].get(), &most, sizeof(most)), 8);
  EXPECT_EQ(client_->Ring(1, 0), RingResult::kRung);
}

TEST_F(IvshmemClientTest, WaitTellsVectorAndCount) {
  Connect();
  EXPECT_EQ(client_->Ring(3, 1), RingResult::kRung);
  EXPECT_EQ(client_->Ring(3, 1), RingResult::kRung);
  const auto rung = client_->Wait(steady_clock::time_point::max());
  ASSERT_TRUE(rung.ok());
  EXPECT_EQ(rung->vector, 1U);
  EXPECT_EQ(rung->count, 2U);
}

TEST_F(IvshmemClientTest, WaitTakesVectorsInTurn) {
  Connect();
  for (const std::uint32_t expected : {0U, 1U, 0U}) {
    EXPECT_EQ(client_->Ring(3, 0), RingResult::kRung);
    EXPECT_EQ(client_->Ring(3, 1), RingResult::kRung);
    const auto rung = client_->Wait(steady_clock::time_point::max());
    ASSERT_TRUE(rung.ok());
    EXPECT_EQ(rung->vector, expected);
  }
}

TEST_F(IvshmemClientTest, WaitEndsAtItsDeadline) {
  Connect();
  const auto rung = client_->Wait(steady_clock::now() + milliseconds(5));
  EXPECT_EQ(rung.status().code(), StatusCode::kDeadlineExceeded);
}

TEST_F(IvshmemClientTest, WaitHandlesAnnouncements) {
  Connect();
  const std::vector<UniqueFd> newcomer = MakeEventfds(1);
  client_->RingWhenKnown(8, 0);
  std::thread waiter([this] {
    const auto rung = client_->Wait(steady_clock::time_point::max());
    EXPECT_TRUE(rung.ok());
  });
  talk_.Send(8, newcomer[0].get());
  AwaitReadable(newcomer[0].get());
  EXPECT_EQ(client_->Ring(3, 0), RingResult::kRung);
  waiter.join();
}

TEST_F(IvshmemClientTest, WaitDoesNotBlockOnAnEventfdThatSomebodyMadeBlocking) {
  Connect();
  ASSERT_EQ(fcntl(own_[0].get(), F_SETFL, 0), 0);
  EXPECT_EQ(client_->Wait(steady_clock::now() + milliseconds(5)).status().code(),
            StatusCode::kDeadlineExceeded);
  EXPECT_EQ(client_->Ring(3, 0), RingResult::kRung);
  EXPECT_TRUE(client_->Wait(steady_clock::now() + milliseconds(30000)).ok());
}

// A node's poller and its heartbeat do so.
TEST_F(IvshmemClientTest, ThreadsThatHandleControlAtOnceLoseNoAnnouncement) {
  Connect();
  constexpr std::uint16_t kNewcomers = 200;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([this] {
      while (client_->connection().ok() && client_->peers().size() <= kNewcomers) {
        (void)client_->HandleControl();
      }
    });
  }
  const std::vector<UniqueFd> doorbell = MakeEventfds(1);
  for (std::uint16_t i = 0; i < kNewcomers; ++i) {
    talk_.Send(static_cast<std::uint16_t>(100 + i), doorbell[0].get());
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(client_->connection().ok()) << client_->connection().ToString();
  EXPECT_EQ(client_->peers().size(), kNewcomers + 1U);
}

TEST_F(IvshmemClientTest, NewcomerIsKnownAfterItsAnnouncement) {
  Connect();
  const std::vector<UniqueFd> newcomer = MakeEventfds(2);
  for (const UniqueFd& fd : newcomer) talk_.Send(9, fd.get());
  AwaitReadable(client_->control_fd());
  EXPECT_TRUE(client_->HandleControl());
  ASSERT_EQ(client_->peers().size(), 2U);
  EXPECT_EQ(client_->peers()[1].vectors, 2U);
  EXPECT_EQ(client_->Ring(9, 1), RingResult::kRung);
  EXPECT_EQ(Drain(newcomer[1].get()), 1U);
}

TEST_F(IvshmemClientTest, RingForAnUnknownPeerIsDeliveredOnceAtItsAnnouncement) {
  Connect();
  client_->RingWhenKnown(9, 1);
  client_->RingWhenKnown(9, 1);
  const std::vector<UniqueFd> newcomer = MakeEventfds(2);
  for (const UniqueFd& fd : newcomer) talk_.Send(9, fd.get());
  EXPECT_TRUE(client_->HandleControl());
  EXPECT_EQ(Drain(newcomer[0].get()), 0U);
  EXPECT_EQ(Drain(newcomer[1].get()), 1U);
}

TEST_F(IvshmemClientTest, RingsForUnknownPeersAreBounded) {
  Connect();
  for (std::uint32_t peer = 100; peer < 65536; ++peer) {
    client_->RingWhenKnown(static_cast<std::uint16_t>(peer), 0);
  }
  const UniqueFd kept = MakeEventfd();
  const UniqueFd dropped = MakeEventfd();
  talk_.Send(355, kept.get());
  talk_.Send(356, dropped.get());
  EXPECT_TRUE(client_->HandleControl());
  EXPECT_EQ(Drain(kept.get()), 1U);
  EXPECT_EQ(Drain(dropped.get()), 0U);
}

TEST_F(IvshmemClientTest, PeerThatHasGoneIsNotRungAndItsEventfdsAreClosed) {
  Connect();
  const std::size_t before = CountDescriptors();
  talk_.Send(1);
  EXPECT_TRUE(client_->HandleControl());
  EXPECT_EQ(CountDescriptors(), before - 2);
  EXPECT_TRUE(client_->peers().empty());
  EXPECT_EQ(client_->Ring(1, 0), RingResult::kNoSuchPeer);
  client_->RingWhenKnown(1, 0);
  talk_.Send(1, peer_[0].get());
  EXPECT_TRUE(client_->HandleControl());
  EXPECT_EQ(Drain(peer_[0].get()), 0U) << "a ring from before the peer's return";
  EXPECT_EQ(client_->Ring(1, 0), RingResult::kRung);
}

TEST_F(IvshmemClientTest, PeerReportedGoneTwiceOrNeverSeenIsHarmless) {
  Connect();
  talk_.Send(1);
  talk_.Send(1);
  talk_.Send(77);
  EXPECT_TRUE(client_->HandleControl());
  EXPECT_TRUE(client_->connection().ok());
}

TEST_F(IvshmemClientTest, EventfdsStayInUseWhenTheServerHasGone) {
  Connect();
  talk_.Close();
  AwaitReadable(client_->control_fd());
  EXPECT_FALSE(client_->HandleControl());
  EXPECT_FALSE(client_->HandleControl());
  EXPECT_EQ(client_->connection().code(), StatusCode::kUnavailable);
  EXPECT_EQ(client_->Ring(1, 0), RingResult::kRung);
  EXPECT_EQ(Drain(peer_[0].get()), 1U);
  EXPECT_EQ(client_->Ring(3, 0), RingResult::kRung);
  EXPECT_TRUE(client_->Wait(steady_clock::time_point::max()).ok());
}

// A server that numbers its clients anew, or one that comes later.
TEST_F(IvshmemClientTest, AnnouncementsOfAnotherConnectionTakeThePlaceOfFormerOnes) {
  Connect();
  talk_.Send(8);  // is gone
  talk_.Close();
  while (client_->HandleControl()) AwaitReadable(client_->control_fd());

  const auto own = MakeEventfds(1);
  FakeIvshmemServer next([&](const Conversation& c) { c.Greet(4, memory_.get(), Raw(own)); });
  auto fresh = IvshmemClient::Connect(next.path());
  ASSERT_TRUE(fresh.ok()) << fresh.status().ToString();
  const Conversation talk = next.Finish();
  client_->Adopt(*std::move(fresh));
  client_->RingWhenKnown(8, 0);
  const auto newcomers = MakeEventfds(3);
  talk.Send(1, newcomers[0].get());
  talk.Send(1, newcomers[1].get());
  talk.Send(8, newcomers[2].get());
  AwaitReadable(client_->control_fd());
  ASSERT_TRUE(client_->HandleControl());

  ASSERT_EQ(client_->peers().size(), 2U);
  EXPECT_EQ(client_->peers()[0].vectors, 2U);
  for (std::uint32_t vector = 0; vector < 2; ++vector) {
    EXPECT_EQ(client_->Ring(1, vector), RingResult::kRung);
    EXPECT_EQ(Drain(newcomers[vector].get()), 1U);
    EXPECT_EQ(Drain(peer_[vector].get()), 0U);
  }
  EXPECT_EQ(Drain(newcomers[2].get()), 1U) << "its number was another's, which is gone";
}

TEST_F(IvshmemClientTest, AnotherConnectionTakesThePlaceOfALostOne) {
  Connect();
  talk_.Close();
  EXPECT_FALSE(client_->HandleControl());
  const int former_socket = client_->control_fd();
  const int former_own = client_->vector_fd(0);
  client_->RingWhenKnown(5, 0);

  const UniqueFd memory = MakeMemory(kSize);
  const auto own = MakeEventfds(1);
  const auto newcomer = MakeEventfds(1);
  FakeIvshmemServer next([&](const Conversation& conversation) {
    conversation.Send(ivshmem::kVersion);
    conversation.Send(4);
    conversation.Send(ivshmem::kSharedMemory, memory.get());
    conversation.Send(5, newcomer[0].get());
    conversation.Send(4, own[0].get());
  });
  auto fresh = IvshmemClient::Connect(next.path());
  ASSERT_TRUE(fresh.ok()) << fresh.status().ToString();
  (void)next.Finish();
  const std::size_t descriptors = CountDescriptors();
  client_->Adopt(*std::move(fresh));

  EXPECT_TRUE(client_->connection().ok());
  EXPECT_EQ(client_->id(), 4);
  EXPECT_EQ(client_->vectors(), 1U);
  // The ring that waited for peer 5, and the peer that the next server has not announced.
  EXPECT_EQ(Drain(newcomer[0].get()), 1U);
  EXPECT_EQ(client_->Ring(1, 1), RingResult::kRung);
  EXPECT_EQ(Drain(peer_[1].get()), 1U);
  // Those who watch the former descriptors do not watch a stranger's meanwhile.
  EXPECT_NE(client_->control_fd(), former_socket);
  EXPECT_NE(client_->vector_fd(0), former_own);
  EXPECT_EQ(CountDescriptors(), descriptors - 1) << "the former memory was not closed";
  client_->CloseFormer();
  EXPECT_EQ(CountDescriptors(), descriptors - 4);
}

TEST_F(IvshmemClientTest, DroppedPeersAreRungAtTheirNextAnnouncement) {
  Connect();
  client_->DropPeers();
  EXPECT_TRUE(client_->peers().empty());
  client_->RingWhenKnown(1, 0);
  talk_.Send(1, peer_[0].get());
  AwaitReadable(client_->control_fd());
  ASSERT_TRUE(client_->HandleControl());
  EXPECT_EQ(Drain(peer_[0].get()), 1U);
  EXPECT_GE(client_->vector_fd(1), 0);
}

TEST_F(IvshmemClientTest, SixtyFourVectorsAreFineAndOneMoreEndsTheConnection) {
  Connect();
  const UniqueFd fd = MakeEventfd();
  for (int i = 0; i < 64; ++i) talk_.Send(9, fd.get());
  EXPECT_TRUE(client_->HandleControl());
  EXPECT_EQ(client_->peers()[1].vectors, 64U);
  EXPECT_EQ(client_->Ring(9, 63), RingResult::kRung);
  talk_.Send(9, fd.get());
  EXPECT_FALSE(client_->HandleControl());
  EXPECT_EQ(client_->connection().code(), StatusCode::kDataLoss);
  EXPECT_THAT(client_->connection().message(), HasSubstr("peer 9"));
}

TEST_F(IvshmemClientTest, ServerSeesWhenItsConnectionIsDropped) {
  Connect();
  talk_.Send(70000);
  EXPECT_FALSE(client_->HandleControl());
  char byte = 0;
  EXPECT_EQ(recv(talk_.socket(), &byte, 1, 0), 0);
}

// What ends a connection after the greeting, and with which words.
struct BadAnnouncement {
  const char* name;
  std::int64_t value;
  enum class Fd { kNone, kEventfd, kFile, kPipe } fd;
  const char* words;
};

class BadAnnouncementTest : public IvshmemClientTest,
                            public ::testing::WithParamInterface<BadAnnouncement> {};

TEST_P(BadAnnouncementTest, EndsTheConnectionWithAReport) {
  Connect();
  const std::size_t before = CountDescriptors();
  const UniqueFd eventfd = MakeEventfd();
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd reading(ends[0]);
  const UniqueFd writing(ends[1]);
  int fd = -1;
  if (GetParam().fd == BadAnnouncement::Fd::kEventfd) fd = eventfd.get();
  if (GetParam().fd == BadAnnouncement::Fd::kFile) fd = memory_.get();
  if (GetParam().fd == BadAnnouncement::Fd::kPipe) fd = writing.get();
  talk_.Send(GetParam().value, fd);
  EXPECT_FALSE(client_->HandleControl());
  EXPECT_EQ(client_->connection().code(), StatusCode::kDataLoss);
  EXPECT_THAT(client_->connection().message(), HasSubstr(GetParam().words));
  EXPECT_EQ(CountDescriptors(), before + 3) << "this test's own three";
}

INSTANTIATE_TEST_SUITE_P(
    , BadAnnouncementTest,
    ::testing::Values(
        BadAnnouncement{"SharedMemoryAgain", -1, BadAnnouncement::Fd::kFile, "-1, which is no id"},
        BadAnnouncement{"NegativeId", -2, BadAnnouncement::Fd::kNone, "-2, which is no id"},
        BadAnnouncement{"IdTooLarge", 65536, BadAnnouncement::Fd::kEventfd,
                        "65536, which is no id"},
        BadAnnouncement{"SecondOwnId", 3, BadAnnouncement::Fd::kNone, "id again"},
        BadAnnouncement{"FileInPlaceOfAnEventfd", 1, BadAnnouncement::Fd::kFile, "no eventfd"},
        BadAnnouncement{"PipeInPlaceOfAnEventfd", 5, BadAnnouncement::Fd::kPipe, "no eventfd"}),
    [](const auto& test) { return test.param.name; });

// ---- Greetings that fail ----

struct BadGreeting {
  const char* name;
  std::function<void(const Conversation&)> script;
  StatusCode code;
  const char* words;
};

class BadGreetingTest : public ::testing::TestWithParam<BadGreeting> {};

TEST_P(BadGreetingTest, IsAnErrorWithItsReasonAndLeaksNothing) {
  const std::size_t before = CountDescriptors();
  {
    FakeIvshmemServer server(GetParam().script);
    const auto client = IvshmemClient::Connect(server.path(), std::chrono::minutes(1));
    ASSERT_FALSE(client.ok());
    EXPECT_EQ(client.status().code(), GetParam().code) << client.status().ToString();
    EXPECT_THAT(client.status().message(), HasSubstr(GetParam().words));
  }
  EXPECT_EQ(CountDescriptors(), before);
}

void SendStart(const Conversation& conversation) {
  conversation.Send(ivshmem::kVersion);
  conversation.Send(3);
}

INSTANTIATE_TEST_SUITE_P(
    , BadGreetingTest,
    ::testing::Values(BadGreeting{"RefusalByVersion1", [](const Conversation& c) { c.Send(1); },
                                  StatusCode::kFailedPrecondition,
                                  "the server refuses this client"},
                      BadGreeting{"OtherVersion", [](const Conversation& c) { c.Send(2); },
                                  StatusCode::kFailedPrecondition, "protocol version 2, not 0"},
                      BadGreeting{"ClosedAtOnce", [](const Conversation& c) { c.Close(); },
                                  StatusCode::kUnavailable, "it sent nothing at all"},
                      BadGreeting{"ClosedWithinAMessage",
                                  [](const Conversation& c) {
                                    c.SendBytes(std::array<std::byte, 5>{});
                                    c.Close();
                                  },
                                  StatusCode::kDataLoss, "within a message"},
                      BadGreeting{"ClosedAfterTheId",
                                  [](const Conversation& c) {
                                    SendStart(c);
                                    c.Close();
                                  },
                                  StatusCode::kUnavailable, "it sent no shared memory"},
                      BadGreeting{"VersionWithADescriptor",
                                  [](const Conversation& c) { c.Send(0, MakeEventfd().get()); },
                                  StatusCode::kDataLoss, "with the protocol version"},
                      BadGreeting{"IdWithADescriptor",
                                  [](const Conversation& c) {
                                    c.Send(0);
                                    c.Send(3, MakeEventfd().get());
                                  },
                                  StatusCode::kDataLoss, "with this client's id"},
                      BadGreeting{"IdOutOfRange",
                                  [](const Conversation& c) {
                                    c.Send(0);
                                    c.Send(65536);
                                  },
                                  StatusCode::kDataLoss, "65536, which is no id"},
                      BadGreeting{"SharedMemoryWithoutADescriptor",
                                  [](const Conversation& c) {
                                    SendStart(c);
                                    c.Send(-1);
                                  },
                                  StatusCode::kDataLoss,
                                  "without a file descriptor in place of the shared memory"},
                      BadGreeting{"SecondIdInPlaceOfTheSharedMemory",
                                  [](const Conversation& c) {
                                    SendStart(c);
                                    c.Send(4, MakeEventfd().get());
                                  },
                                  StatusCode::kDataLoss, "in place of the shared memory"},
                      BadGreeting{"OwnVectorThatIsNoEventfd",
                                  [](const Conversation& c) {
                                    const UniqueFd memory = MakeMemory(kSize);
                                    c.Greet(3, memory.get(), {memory.get()});
                                  },
                                  StatusCode::kDataLoss, "no eventfd for peer 3"}),
    [](const auto& test) { return test.param.name; });

// A server that falls silent. How far it came until then is a matter of time, so that the limit
// grows until it came far enough.
void ExpectSilence(const std::vector<std::int64_t>& values, std::string_view words) {
  const UniqueFd memory = MakeMemory(kSize);
  for (milliseconds limit(10);; limit *= 2) {
    FakeIvshmemServer server([&](const Conversation& conversation) {
      for (const std::int64_t value : values) {
        const int fd = value == ivshmem::kSharedMemory ? memory.get() : -1;
        (void)ivshmem::SendMessage(conversation.socket(), value, fd);
      }
    });
    const Status status = IvshmemClient::Connect(server.path(), limit).status();
    ASSERT_EQ(status.code(), StatusCode::kDeadlineExceeded) << status.ToString();
    if (status.message().find(words) != std::string::npos) return;
  }
}

TEST(IvshmemClientGreetingTest, SilentServerIsADeadlineExceededThatSaysHowFarItCame) {
  ExpectSilence({}, "it sent nothing at all");
  ExpectSilence({0}, "its version only");
  ExpectSilence({0, 3}, "it sent no shared memory");
  ExpectSilence({0, 3, -1}, "does it offer vectors?");
}

TEST(IvshmemClientGreetingTest, MayComeInPiecesOfOneByte) {
  const UniqueFd memory = MakeMemory(kSize);
  const UniqueFd own = MakeEventfd();
  FakeIvshmemServer server([&](const Conversation& conversation) {
    const auto send = [&](std::int64_t value, int fd) {
      const auto bytes = std::as_bytes(std::span(&value, 1));
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        conversation.SendBytes(bytes.subspan(i, 1),
                               i == 0 && fd >= 0 ? std::vector{fd} : std::vector<int>{});
      }
    };
    send(0, -1);
    send(65535, -1);
    send(-1, memory.get());
    send(65535, own.get());
  });
  const auto client = IvshmemClient::Connect(server.path());
  ASSERT_TRUE(client.ok()) << client.status().ToString();
  EXPECT_EQ((*client)->id(), 65535);
}

TEST(IvshmemClientGreetingTest, IdZeroIsAnId) {
  const UniqueFd memory = MakeMemory(kSize);
  const std::vector<UniqueFd> own = MakeEventfds(1);
  FakeIvshmemServer server([&](const Conversation& c) { c.Greet(0, memory.get(), Raw(own)); });
  const auto client = IvshmemClient::Connect(server.path());
  ASSERT_TRUE(client.ok()) << client.status().ToString();
  EXPECT_EQ((*client)->id(), 0);
}

TEST(IvshmemClientGreetingTest, EndClosesEverything) {
  const std::size_t before = CountDescriptors();
  {
    const UniqueFd memory = MakeMemory(kSize);
    const UniqueFd bell = MakeEventfd();
    FakeIvshmemServer server([&](const Conversation& conversation) {
      SendStart(conversation);
      conversation.Send(ivshmem::kSharedMemory, memory.get());
      for (int vector = 0; vector < 5; ++vector) conversation.Send(2, bell.get());
      conversation.Send(3, bell.get());
    });
    ASSERT_TRUE(IvshmemClient::Connect(server.path()).ok());
  }
  EXPECT_EQ(CountDescriptors(), before);
}

TEST(IvshmemClientConnectTest, MissingSocketIsNotFoundWithTheRemedy) {
  const auto client = IvshmemClient::Connect("/nonexistent/ivmq.sock");
  EXPECT_EQ(client.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(client.status().message(), HasSubstr("ivmqd --socket /nonexistent/ivmq.sock"));
}

TEST(IvshmemClientConnectTest, SocketOfADeadServerIsUnavailable) {
  const testing::TempFolder folder;
  const std::string path = folder / "stale.sock";
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  socket.reset();
  const auto client = IvshmemClient::Connect(path);
  EXPECT_EQ(client.status().code(), StatusCode::kUnavailable);
}

TEST(IvshmemClientConnectTest, ServerThatNeverAcceptsIsADeadlineExceeded) {
  const testing::TempFolder folder;
  const std::string path = folder / "busy.sock";
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  ASSERT_EQ(listen(listener.get(), 0), 0);
  const UniqueFd first(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(connect(first.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  const auto client = IvshmemClient::Connect(path, milliseconds(20));
  EXPECT_EQ(client.status().code(), StatusCode::kDeadlineExceeded);
}

TEST(IvshmemClientConnectTest, RegularFileIsToldFromASocket) {
  const testing::TempFolder folder;
  const std::string path = folder.Write("region", "");
  const auto client = IvshmemClient::Connect(path);
  EXPECT_EQ(client.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(client.status().message(), HasSubstr("file:" + path));
}

TEST(IvshmemClientConnectTest, DatagramSocketIsNoServer) {
  const testing::TempFolder folder;
  const std::string path = folder / "datagram.sock";
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM, 0));
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  EXPECT_EQ(IvshmemClient::Connect(path).status().code(), StatusCode::kInvalidArgument);
}

TEST(IvshmemClientConnectTest, PathTooLongForASocketIsRefused) {
  const auto client = IvshmemClient::Connect(std::string(108, 'x'));
  EXPECT_EQ(client.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(client.status().message(), HasSubstr("107"));
}

TEST(IvshmemClientConnectTest, AbstractSocketIsRefused) {
  const auto client = IvshmemClient::Connect("@ivmq");
  EXPECT_EQ(client.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(client.status().message(), HasSubstr("abstract"));
}

// ---- Through addresses ----

UniqueFd MakeFormattedMemory() {
  UniqueFd memory = MakeMemory(kSize);
  const std::string path = "/proc/self/fd/" + std::to_string(memory.get());
  // CreateRegionFile takes no link; this is one.
  auto mapping = OpenRegion("file:" + path, Access::kReadWrite);
  EXPECT_TRUE(mapping.ok()) << mapping.status().ToString();
  EXPECT_TRUE(Format(mapping->memory, {.max_peers = 4}).ok());
  return memory;
}

TEST(HostTransportTest, SaysWhoItIsAndIsWokenByItsFirstVector) {
  const UniqueFd memory = MakeFormattedMemory();
  const std::vector<UniqueFd> own = MakeEventfds(2);
  const UniqueFd peer = MakeEventfd();
  FakeIvshmemServer server([&](const Conversation& c) {
    c.Send(0);
    c.Send(5);
    c.Send(-1, memory.get());
    c.Send(2, peer.get());
    for (const UniqueFd& fd : own) c.Send(5, fd.get());
  });
  const auto opened = OpenTransport("unix:" + server.path());
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  Transport& transport = **opened;
  EXPECT_EQ(transport.info().ivposition, 5);
  EXPECT_EQ(transport.info().vector, 0U);
  EXPECT_TRUE(transport.info().can_ring);
  EXPECT_TRUE(transport.info().wakeable);
  EXPECT_EQ(transport.lock_domain(), 0U);
  EXPECT_EQ(transport.memory().size(), kSize);
  transport.Ring(2, 0);
  EXPECT_EQ(Drain(peer.get()), 1U);
  transport.Ring(5, 0);
  AwaitReadable(transport.wake_fd());
  EXPECT_EQ(Drain(transport.wake_fd()), 1U);
  server.Finish().Close();
  AwaitReadable(transport.control_fd());
  EXPECT_FALSE(transport.HandleControl());
}

TEST(HostTransportTest, MemoryThatIsNoRegionIsRefusedWithTheAddress) {
  const UniqueFd memory = MakeMemory(kSize);
  const std::vector<UniqueFd> own = MakeEventfds(1);
  FakeIvshmemServer server([&](const Conversation& c) { c.Greet(1, memory.get(), Raw(own)); });
  const auto opened = OpenTransport("unix:" + server.path());
  EXPECT_EQ(opened.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(opened.status().message(), HasSubstr("unix:" + server.path()));
}

TEST(HostTransportTest, MemoryWithAnOddSizeIsRefused) {
  const UniqueFd memory = MakeMemory(kSize - 4096);
  const std::vector<UniqueFd> own = MakeEventfds(1);
  FakeIvshmemServer server([&](const Conversation& c) { c.Greet(1, memory.get(), Raw(own)); });
  const auto opened = OpenTransport("unix:" + server.path());
  EXPECT_EQ(opened.status().code(), StatusCode::kFailedPrecondition);
}

TEST(HostTransportTest, EventfdInPlaceOfTheMemoryIsRefused) {
  const std::vector<UniqueFd> own = MakeEventfds(1);
  FakeIvshmemServer server([&](const Conversation& c) { c.Greet(1, own[0].get(), Raw(own)); });
  EXPECT_EQ(OpenTransport("unix:" + server.path()).status().code(), StatusCode::kInvalidArgument);
}

TEST(ObserverTest, TakesNoIdFromAServerThatKnowsObservers) {
  const UniqueFd memory = MakeFormattedMemory();
  FakeIvshmemServer server([&](const Conversation& c) {
    EXPECT_TRUE(ivshmem::IsObserver(c.socket()));
    c.Send(ivshmem::kVersion);
    c.Send(ivshmem::kSharedMemory, memory.get());
    c.Close();
  });
  const auto region = OpenRegion("unix:" + server.path());
  ASSERT_TRUE(region.ok()) << region.status().ToString();
  EXPECT_TRUE(Region::Attach(region->memory).ok());
}

TEST(ObserverTest, WorksWithAServerThatTakesItForAClient) {
  const UniqueFd memory = MakeFormattedMemory();
  FakeIvshmemServer server([&](const Conversation& c) {
    c.Send(ivshmem::kVersion);
    c.Send(17);
    c.Send(ivshmem::kSharedMemory, memory.get());
  });
  const auto region = OpenRegion("unix:" + server.path());
  ASSERT_TRUE(region.ok()) << region.status().ToString();
  EXPECT_TRUE(Region::Attach(region->memory).ok());
}

TEST(ObserverTest, RefusalAndNonsenseAreErrors) {
  FakeIvshmemServer refusing([](const Conversation& c) { c.Send(ivshmem::kRefusal); });
  EXPECT_EQ(OpenRegion("unix:" + refusing.path()).status().code(), StatusCode::kFailedPrecondition);
  FakeIvshmemServer strange([](const Conversation& c) {
    c.Send(0);
    c.Send(1);
    c.Send(2);
  });
  EXPECT_EQ(OpenRegion("unix:" + strange.path()).status().code(), StatusCode::kDataLoss);
}

TEST(ObserverTest, ClientIsNotTakenForAnObserver) {
  const UniqueFd memory = MakeMemory(kSize);
  const std::vector<UniqueFd> own = MakeEventfds(1);
  FakeIvshmemServer server([&](const Conversation& c) {
    EXPECT_FALSE(ivshmem::IsObserver(c.socket()));
    c.Greet(1, memory.get(), Raw(own));
  });
  EXPECT_TRUE(IvshmemClient::Connect(server.path()).ok());
}

}  // namespace
}  // namespace ivmq
