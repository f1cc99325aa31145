// Frames that no correct peer sends, or that come too late.
#include <cstdint>
#include <cstring>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "echo_pair.h"

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;

// docs/rpc-format.md, written down a second time.
struct RawHeader {
  std::uint32_t sender = 0;
  std::uint32_t receiver = 0;
  std::uint32_t call_high = 0;
  std::uint32_t metadata_bytes = 0;
  std::uint64_t method = 0;
  std::uint64_t argument = 0;
};
static_assert(sizeof(RawHeader) == 32);

constexpr std::uint8_t kRequest = 16;
constexpr std::uint8_t kClientMessage = 17;
constexpr std::uint8_t kCancel = 18;
constexpr std::uint8_t kEnd = 24;
constexpr std::uint8_t kServerMessage = 25;

std::uint64_t PathHash(std::string_view path) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : path) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

struct RawFrame {
  std::uint8_t kind = 0;
  std::uint32_t call = 0;
  RawHeader header;
  std::string rest;
};

// A peer without the RPC layer, which can say anything.
class RawPeer {
 public:
  RawPeer(const ServicePair& pair, const std::string& name) {
    auto transport = pair.region->Join();
    EXPECT_TRUE(transport.ok());
    auto node = Node::Open(*std::move(transport), {.name = name});
    EXPECT_TRUE(node.ok()) << node.status().ToString();
    node_ = *std::move(node);
  }

  [[nodiscard]] RawHeader To(PeerId peer) const {
    return {.sender = node_->id().incarnation, .receiver = peer.incarnation};
  }
  void Send(PeerId to, std::uint8_t kind, std::uint32_t call, const RawHeader& header,
            const std::string& rest = {}) {
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
    SendBytes(to, kind, call, bytes + rest);
  }
  void SendBytes(PeerId to, std::uint8_t kind, std::uint32_t call, const std::string& bytes) {
    EXPECT_EQ(node_->Send(to, {.kind = static_cast<layout::FrameKind>(kind), .type = call},
                          std::as_bytes(std::span(bytes)),
                          {.when_full = WhenFull::kWait, .timeout = kPatience}),
              SendResult::kOk);
  }
  // The next frame that comes.
  RawFrame Receive() {
    std::optional<RawFrame> frame;
    while (!frame) {
      const std::size_t count = node_->Poll(
          [&](const Message& message) {
            frame.emplace();
            frame->kind = static_cast<std::uint8_t>(message.kind);
            frame->call = message.type;
            std::memcpy(&frame->header, message.payload.data(), sizeof(frame->header));
            frame->rest = message.text().substr(sizeof(frame->header));
          },
          1);
      if (count == 0) {
        EXPECT_TRUE(node_->Wait(kPatience));
      }
    }
    return *frame;
  }
  [[nodiscard]] Node& node() { return *node_; }

 private:
  std::unique_ptr<Node> node_;
};

class FrameTest : public ::testing::Test {
 protected:
  FrameTest() : server_(pair_.server_endpoint->node().id()) {}

  // A request that is right, and its answer: what came before has broken nothing.
  void ExpectAnswer() {
    RawHeader header = raw_.To(server_);
    header.method = PathHash("/ivmq.test.Echo/Say");
    const int calls = pair_.service.calls;
    raw_.Send(server_, kRequest, ++call_, header);
    const RawFrame end = raw_.Receive();
    EXPECT_EQ(end.kind, kEnd);
    EXPECT_EQ(end.call, call_);
    EXPECT_EQ(end.header.argument, 0U);
    EXPECT_EQ(pair_.service.calls, calls + 1);
  }

  EchoPair pair_;
  RawPeer raw_{pair_, "raw"};
  const PeerId server_;
  std::uint32_t call_ = 100;
};

TEST_F(FrameTest, ARequestForAFormerLifeOfTheServerIsDiscarded) {
  RawHeader header = raw_.To(server_);
  header.method = PathHash("/ivmq.test.Echo/Say");
  --header.receiver;
  raw_.Send(server_, kRequest, 1, header);
  ExpectAnswer();
  EXPECT_EQ(pair_.service.calls, 1);
  EXPECT_EQ(pair_.server_endpoint->node().counter(layout::Counter::kUnparsable), 1U);
}

TEST_F(FrameTest, AMethodThatIsNotOfferedIsUnimplemented) {
  RawHeader header = raw_.To(server_);
  header.method = PathHash("/ivmq.test.Echo/Shout");
  raw_.Send(server_, kRequest, 1, header);
  const RawFrame end = raw_.Receive();
  EXPECT_EQ(end.header.argument, static_cast<std::uint64_t>(StatusCode::UNIMPLEMENTED));
  EXPECT_EQ(end.rest, "");
  ExpectAnswer();
}

TEST_F(FrameTest, BytesThatAreNoRequestMessageEndWithInternal) {
  RawHeader header = raw_.To(server_);
  header.method = PathHash("/ivmq.test.Echo/Say");
  raw_.Send(server_, kRequest, 1, header, "\xff\xff\xff");
  const RawFrame end = raw_.Receive();
  EXPECT_EQ(end.header.argument, static_cast<std::uint64_t>(StatusCode::INTERNAL));
  EXPECT_THAT(end.rest, HasSubstr("ivmq.test.Request"));
  EXPECT_EQ(pair_.service.calls, 0);
  ExpectAnswer();
}

TEST_F(FrameTest, MetadataThatIsNoneEndsWithInternal) {
  RawHeader header = raw_.To(server_);
  header.method = PathHash("/ivmq.test.Echo/Say");
  header.metadata_bytes = 12;
  raw_.Send(server_, kRequest, 1, header, std::string("\0\377\0\0\377\0\0\0key1", 12));
  EXPECT_EQ(raw_.Receive().header.argument, static_cast<std::uint64_t>(StatusCode::INTERNAL));
  ExpectAnswer();
}

TEST_F(FrameTest, TruncatedFramesAreCountedAndBreakNothing) {
  RawHeader header = raw_.To(server_);
  header.method = PathHash("/ivmq.test.Echo/Say");
  const std::string whole(reinterpret_cast<const char*>(&header), sizeof(header));
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    raw_.SendBytes(server_, kRequest, 1, whole.substr(0, bytes));
  }
  // Metadata beyond the frame's end, and more than there may be.
  header.metadata_bytes = 1;
  raw_.Send(server_, kRequest, 1, header);
  header.metadata_bytes = (256U << 10) + 1;
  raw_.Send(server_, kRequest, 1, header, std::string(header.metadata_bytes, '\0'));
  ExpectAnswer();
  EXPECT_EQ(pair_.server_endpoint->node().counter(layout::Counter::kUnparsable),
            sizeof(header) + 2);
}

TEST_F(FrameTest, FramesOfCallsThatAreNotThereAndOfNoKindBreakNothing) {
  for (unsigned kind = 16; kind < 32; ++kind) {
    if (kind == kRequest) continue;
    RawHeader header = raw_.To(server_);
    header.argument = ~std::uint64_t{0};
    raw_.Send(server_, static_cast<std::uint8_t>(kind), 1, header, "\xff\xff\xff");
  }
  ExpectAnswer();
}

TEST_F(FrameTest, ASecondRequestOfTheSameCallIsRefused) {
  RawHeader header = raw_.To(server_);
  header.method = PathHash("/ivmq.test.Echo/Chat");
  raw_.Send(server_, kRequest, 1, header);
  raw_.Send(server_, kRequest, 1, header);
  EXPECT_EQ(raw_.Receive().header.argument, static_cast<std::uint64_t>(StatusCode::INTERNAL));
  raw_.Send(server_, kCancel, 1, raw_.To(server_));
  // The handler's end, whatever it is.
  EXPECT_EQ(raw_.Receive().kind, kEnd);
  ExpectAnswer();
}

TEST_F(FrameTest, AClientThatSendsBeyondItsCreditIsCutOff) {
  RawHeader header = raw_.To(server_);
  header.method = PathHash("/ivmq.test.Echo/Say");
  Request blocks;
  blocks.set_wait_release(true);
  // Its only threads wait for the test, so that nobody reads the stream.
  raw_.Send(server_, kRequest, 1, header, blocks.SerializeAsString());
  raw_.Send(server_, kRequest, 2, header, blocks.SerializeAsString());
  pair_.service.waiting.acquire();
  pair_.service.waiting.acquire();
  header.method = PathHash("/ivmq.test.Echo/Collect");
  raw_.Send(server_, kRequest, 3, header);
  Request large;
  large.set_data(std::string(64 << 10, 'x'));
  for (int i = 0; i < 100; ++i) {
    raw_.Send(server_, kClientMessage, 3, raw_.To(server_), large.SerializeAsString());
  }
  pair_.service.release.set_value();
  std::optional<RawFrame> end;
  for (int ends = 0; ends < 3;) {
    const RawFrame frame = raw_.Receive();
    if (frame.kind != kEnd) continue;
    ++ends;
    if (frame.call == 3) end = frame;
  }
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->header.argument, static_cast<std::uint64_t>(StatusCode::INTERNAL));
  ExpectAnswer();
}

// ---- The client's side ----

TEST_F(FrameTest, AnAnswerOfAnotherPeerEndsNoCall) {
  Request request;
  request.set_wait_release(true);
  Response response;
  ClientContext context;
  auto status = pair_.stub->async()->Say(&context, &request, &response);
  pair_.service.waiting.acquire();
  const PeerId client = pair_.client_endpoint->node().id();
  // Ids are guessed easily.
  for (std::uint32_t call = 0; call < 64; ++call) {
    for (std::uint32_t high = 0; high < 4; ++high) {
      RawHeader header = raw_.To(client);
      header.call_high = high;
      raw_.Send(client, kEnd, call, header);
      header.sender = server_.incarnation;
      raw_.Send(client, kEnd, call, header);
    }
  }
  pair_.service.release.set_value();
  EXPECT_TRUE(status.get().ok());
  EXPECT_THAT(response.text(), HasSubstr("client"));
}

// A server that answers calls to "raw" with frames of the test's.
TEST_F(FrameTest, AServerThatSendsNonsenseEndsTheCallWithInternal) {
  const auto stub = Echo::NewStub(pair_.client_endpoint->CreateChannel("raw"));
  const PeerId client = pair_.client_endpoint->node().id();
  struct Answer {
    const char* what;
    std::uint8_t kind;
    std::uint64_t argument;
    std::uint32_t metadata_bytes;
    std::string rest;
  };
  const std::vector<Answer> answers = {
      {"bytes that are no response", kEnd, 0, 0, "\xff\xff\xff"},
      {"metadata that is none", kEnd, 5, 4, "\xff\xff\xff\xff"},
  };
  for (const Answer& answer : answers) {
    ClientContext context;
    context.set_deadline(Soon());
    Request request;
    Response response;
    auto status = stub->async()->Say(&context, &request, &response);
    const RawFrame asked = raw_.Receive();
    RawHeader header = raw_.To(client);
    header.call_high = asked.header.call_high;
    header.argument = answer.argument;
    header.metadata_bytes = answer.metadata_bytes;
    raw_.Send(client, answer.kind, asked.call, header, answer.rest);
    EXPECT_EQ(status.get().error_code(), StatusCode::INTERNAL) << answer.what;
  }
}

TEST_F(FrameTest, ACodeThatNobodyHasNamedIsUnknownWithItsTextAndMetadata) {
  const auto stub = Echo::NewStub(pair_.client_endpoint->CreateChannel("raw"));
  const PeerId client = pair_.client_endpoint->node().id();
  const auto entry = [](char kind, const std::string& key, const std::string& value) {
    return std::string{
               kind, static_cast<char>(key.size()), 0, 0, static_cast<char>(value.size()), 0, 0,
               0} +
           key + value;
  };
  const std::string metadata =
      entry(1, "why", "odd") + entry(2, "", "the message") + entry(3, "", "the details");
  for (const std::uint64_t code : {std::uint64_t{17}, std::uint64_t{1} << 32, ~std::uint64_t{0}}) {
    ClientContext context;
    context.set_deadline(Soon());
    Request request;
    Response response;
    auto answer = stub->async()->Say(&context, &request, &response);
    const RawFrame asked = raw_.Receive();
    RawHeader header = raw_.To(client);
    header.call_high = asked.header.call_high;
    header.argument = code;
    header.metadata_bytes = static_cast<std::uint32_t>(metadata.size());
    raw_.Send(client, kEnd, asked.call, header, metadata);
    const rpc::Status status = answer.get();
    EXPECT_EQ(status.error_code(), StatusCode::UNKNOWN) << code;
    EXPECT_EQ(status.error_message(), "the message");
    EXPECT_EQ(status.error_details(), "the details");
    EXPECT_EQ(context.GetServerTrailingMetadata().count("why"), 1U);
  }
}

TEST_F(FrameTest, AServerThatSendsBeyondItsCreditIsCutOff) {
  const auto stub = Echo::NewStub(pair_.client_endpoint->CreateChannel("raw"));
  const PeerId client = pair_.client_endpoint->node().id();
  ClientContext context;
  context.set_deadline(Soon());
  Request request;
  const auto reader = stub->Count(&context, request);
  const RawFrame asked = raw_.Receive();
  std::thread flood([&] {
    RawHeader header = raw_.To(client);
    header.call_high = asked.header.call_high;
    for (int i = 0; i < 100; ++i) {
      raw_.Send(client, kServerMessage, asked.call, header, std::string(64 << 10, '\0'));
    }
  });
  // Polls without reading the stream.
  ClientContext another;
  another.set_deadline(Soon());
  request.set_wait_release(true);
  Response response;
  std::thread release([&] {
    flood.join();
    pair_.service.release.set_value();
  });
  EXPECT_TRUE(pair_.stub->Say(&another, request, &response).ok());
  release.join();
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::INTERNAL);
}

// While the request waits, what it is made of is in use.
TEST_F(FrameTest, AnAnswerBeforeTheRequestEndsTheCallBehindItsBeginning) {
  const auto stub = Echo::NewStub(pair_.client_endpoint->CreateChannel("raw"));
  Node& client = pair_.client_endpoint->node();
  while (client.Send(raw_.node().id(), "x") == SendResult::kOk) {
  }
  struct Call {
    ClientContext context;
    Request request;
    Response response;
  };
  std::promise<rpc::Status> ended;
  std::future<rpc::Status> end = ended.get_future();
  std::thread caller([&] {
    auto* const call = new Call;
    call->context.AddMetadata("much", std::string(1000, 'x'));
    stub->async()->Say(&call->context, &call->request, &call->response,
                       [call, &ended](rpc::Status status) {
                         delete call;
                         ended.set_value(std::move(status));
                       });
  });
  // The id of an endpoint's first call is guessed easily.
  while (end.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
    raw_.Send(client.id(), kEnd, 1U << 20, raw_.To(client.id()));
  }
  EXPECT_TRUE(end.get().ok());
  caller.join();
}

TEST_F(FrameTest, ADeadlineEndsAReadWhoseCreditFindsNoRoom) {
  const auto stub = Echo::NewStub(pair_.client_endpoint->CreateChannel("raw"));
  Node& client = pair_.client_endpoint->node();
  ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  const auto reader = stub->Count(&context, Request());
  const RawFrame asked = raw_.Receive();
  while (client.Send(raw_.node().id(), "x") == SendResult::kOk) {
  }
  auto status = std::async(std::launch::async, [&] {
    Response::Part part;
    while (reader->Read(&part)) {
    }
    return reader->Finish();
  });
  // What is no field of a part is part of one all the same. Half a window is credit's worth.
  Response large;
  large.set_data(std::string(20'000, 'x'));
  RawHeader header = raw_.To(client.id());
  header.call_high = asked.header.call_high;
  for (int i = 0; i < 10; ++i) {
    raw_.Send(client.id(), kServerMessage, asked.call, header, large.SerializeAsString());
  }
  ASSERT_EQ(status.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(status.get().error_code(), StatusCode::DEADLINE_EXCEEDED);
}

}  // namespace
}  // namespace ivmq::testing
