// Every call ends: whatever it waits for, and whatever ends it.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/peer_table.h"

#include "call_kinds.h"
#include "echo_pair.h"
#include "support/still_peer.h"

namespace ivmq::testing {
namespace {

// ---- Peers ----

std::unique_ptr<Transport> JoinTo(InprocRegion& region) {
  auto transport = region.Join();
  EXPECT_TRUE(transport.ok()) << transport.status().ToString();
  return *std::move(transport);
}
std::unique_ptr<Node> OpenIn(InprocRegion& region, const NodeOptions& options) {
  auto node = Node::Open(JoinTo(region), options);
  EXPECT_TRUE(node.ok()) << node.status().ToString();
  return *std::move(node);
}
std::shared_ptr<InprocRegion> RegionOf(std::uint32_t ring_capacity) {
  auto made = InprocRegion::Create(std::uint64_t{32} << 20,
                                   {.max_peers = 8, .ring_capacity = ring_capacity});
  EXPECT_TRUE(made.ok()) << made.status().ToString();
  return *std::move(made);
}

// Takes what comes, and answers nothing.
class Taker {
 public:
  explicit Taker(Node& node)
      : thread_([this, &node] {
          while (!stop_) {
            if (node.Poll([](const Message& /*message*/) {}) == 0) (void)node.Wait(kPatience);
          }
        }),
        node_(node) {}
  ~Taker() {
    stop_ = true;
    node_.Wake();
    thread_.join();
  }
  Taker(const Taker&) = delete;
  Taker& operator=(const Taker&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
  Node& node_;
};

void FillRing(Node& node, PeerId to) {
  while (node.Send(to, "x") == SendResult::kOk) {
  }
}

// Has the receiver keep memory for a message of `bytes` bytes that never comes.
void BeginLargeMessage(Node& node, PeerId to, std::uint64_t bytes) {
  const layout::FragmentHeader header{.total = bytes, .offset = 0};
  std::array<std::byte, sizeof(header) + 64> fragment{};
  std::memcpy(fragment.data(), &header, sizeof(header));
  EXPECT_EQ(node.Send(to, {.kind = layout::FrameKind::kFragment}, fragment), SendResult::kOk);
}

// ---- The table ----

// What the calls wait for.
enum class State {
  kPeer,      // somebody of the server's name
  kProvider,  // somebody who offers the service
  kReturn,    // of a durable server
  kRoom,      // in a full ring
  kLarge,     // their turn to send a large message, and room for all of it
  kMemory,    // of the receiver, for a large message
  kThread,    // of the server's
  kAnswer,    // the response, a message, or credit for one more
};
enum class Reason {
  kDeadline,
  kCancel,
  kSuspicion,
  kDeath,         // of the server
  kDurableDeath,  // the same of a durable one
  kOwnDeath,      // the client's life is declared over
};
enum class Kinds { kSynchronous, kAsynchronous };

std::span<const Kind> KindsOf(Kinds kinds) {
  return kinds == Kinds::kSynchronous ? std::span<const Kind>(kSynchronous)
                                      : std::span<const Kind>(kAsynchronous);
}

struct Case {
  State state;
  Reason reason;
  Kinds kinds;
  std::string name;
};

std::vector<Case> Cases() {
  using enum Reason;
  const std::vector<Reason> asked{kDeadline, kCancel, kOwnDeath};
  const std::vector<Reason> any{kDeadline, kCancel, kSuspicion, kDeath, kDurableDeath, kOwnDeath};
  const std::vector<std::tuple<State, const char*, std::vector<Reason>>> states{
      {State::kPeer, "ForAPeer", asked},
      {State::kProvider, "ForAProvider", asked},
      {State::kReturn, "ForAReturn", asked},
      {State::kRoom, "ForRoom", any},
      {State::kLarge, "ToSendMuch", any},
      {State::kMemory, "ForMemory", {kDeadline, kCancel, kDeath, kOwnDeath}},
      {State::kThread, "ForAThread", asked},
      {State::kAnswer, "ForAnAnswer", any}};
  const std::array reasons{"Deadline", "Cancel", "Suspicion", "Death", "DurableDeath", "OwnDeath"};
  std::vector<Case> cases;
  for (const auto& [state, waits, ends] : states) {
    for (const Reason reason : ends) {
      for (const Kinds kinds : {Kinds::kSynchronous, Kinds::kAsynchronous}) {
        cases.push_back(
            {state, reason, kinds,
             std::string(kinds == Kinds::kSynchronous ? "Synchronous" : "Asynchronous") + waits +
                 "Until" + reasons[static_cast<std::size_t>(reason)]});
      }
    }
  }
  return cases;
}

::testing::Matcher<StatusCode> CodeOf(Reason reason) {
  switch (reason) {
    case Reason::kDeadline:
      return StatusCode::DEADLINE_EXCEEDED;
    case Reason::kCancel:
      return StatusCode::CANCELLED;
    case Reason::kOwnDeath:  // some may have to begin still
      return ::testing::AnyOf(StatusCode::UNAVAILABLE, StatusCode::FAILED_PRECONDITION);
    default:
      return StatusCode::UNAVAILABLE;
  }
}

class CallEndTest : public ::testing::TestWithParam<Case> {
 protected:
  static constexpr std::uint64_t kLargeBytes = std::uint64_t{1} << 20;

  // The window of a stream fits the ring, or a message is larger than it.
  CallEndTest() : region_(RegionOf(GetParam().state == State::kAnswer ? 2U << 20 : 64U << 10)) {
    endpoint_ = rpc::Endpoint::Make(Open({.name = "client"}));
  }
  ~CallEndTest() override {
    for (const auto& call : calls_) {
      if (call->thread.joinable()) call->thread.join();
    }
    if (server_ == nullptr) return;
    service_.release.set_value();
    EXPECT_TRUE(busy_.end.get().ok());
  }

  [[nodiscard]] std::unique_ptr<Node> Open(const NodeOptions& options) const {
    return OpenIn(*region_, options);
  }

  // Has the calls that follow wait for what the state says.
  void Prepare() {
    const State state = GetParam().state;
    const Reason reason = GetParam().reason;
    stub_ =
        Echo::NewStub(state == State::kProvider ? endpoint_->CreateServiceChannel("ivmq.test.Echo")
                                                : endpoint_->CreateChannel("server"));
    Node& client = endpoint_->node();
    switch (state) {
      case State::kPeer:
      case State::kProvider:
        return;
      case State::kReturn:
        (void)Open({.name = "server", .durable = true});
        return;
      case State::kThread:
        return StartBusyServer();
      case State::kMemory:
        server_node_ = Open({.name = "server",
                             .max_message_bytes = 2 * kLargeBytes,
                             .reassembly_bytes = 2 * kLargeBytes});
        other_ = Open({.name = "other"});
        BeginLargeMessage(*other_, server_node_->id(), 2 * kLargeBytes);
        (void)server_node_->Poll([](const Message& /*message*/) {});
        taker_.emplace(*server_node_);
        return;
      case State::kRoom:
      case State::kLarge:
      case State::kAnswer:
        break;
    }
    if (reason == Reason::kSuspicion) {
      still_server_.emplace(JoinTo(*region_), "server");
    } else {
      server_node_ = Open({.name = "server", .durable = reason == Reason::kDurableDeath});
    }
    if (state == State::kRoom) FillRing(client, client.Lookup("server")->id);
  }
  void StartBusyServer() {
    server_endpoint_ = rpc::Endpoint::Make(Open({.name = "server"}));
    rpc::ServerBuilder builder(server_endpoint_);
    auto built = builder.RegisterService(&service_).SetThreads(1).SetMaxThreads(1).BuildAndStart();
    ASSERT_TRUE(built.ok()) << built.status().ToString();
    server_ = *std::move(built);
    busy_client_ = rpc::Endpoint::Make(Open({.name = "other"}));
    busy_.request.set_wait_release(true);
    SayWithCallback(*Echo::NewStub(busy_client_->CreateChannel("server")), busy_);
    service_.waiting.acquire();
  }

  // Begins a call on a thread of its own.
  Call& Begin(Kind kind, std::chrono::milliseconds timeout) {
    Call& call = *calls_.emplace_back(std::make_unique<Call>());
    const State state = GetParam().state;
    const bool is_large = state == State::kLarge || state == State::kMemory;
    call.request.set_data(std::string(is_large ? kLargeBytes : 20'000, 'x'));
    call.context.set_wait_for_ready(state == State::kPeer || state == State::kProvider ||
                                    state == State::kReturn);
    if (timeout != kNone) {
      call.context.set_deadline(std::chrono::system_clock::now() + timeout);
    }
    call.thread = std::thread([this, kind, &call] { kind(*stub_, call); });
    return call;
  }
  // Until something of them can be seen.
  void AwaitBegun() const {
    const State state = GetParam().state;
    if (state == State::kPeer || state == State::kProvider || state == State::kReturn) return;
    const layout::Counter seen = state == State::kThread || state == State::kAnswer
                                     ? layout::Counter::kMessagesSent
                                     : layout::Counter::kRingsFull;
    const std::uint64_t before = state == State::kRoom ? 1 : 0;  // FillRing()
    while (endpoint_->node().counter(seen) <= before) std::this_thread::yield();
  }
  void Bring(Reason reason) {
    if (reason == Reason::kCancel) {
      for (const auto& call : calls_) call->context.TryCancel();
    } else if (reason == Reason::kDeath || reason == Reason::kDurableDeath) {
      taker_.reset();
      server_node_.reset();
    } else if (reason == Reason::kOwnDeath) {
      const PeerTable table(endpoint_->node().region());
      EXPECT_EQ(table.MarkIvpositionDead(endpoint_->node().transport().info().ivposition), 1U);
    }
  }
  static void ExpectEnd(Call& call, const ::testing::Matcher<StatusCode>& code) {
    ASSERT_EQ(call.end.wait_for(kPatience), std::future_status::ready);
    const rpc::Status status = call.end.get();
    EXPECT_THAT(status.error_code(), code) << status.error_message();
  }

  static constexpr std::chrono::milliseconds kNone{0};

  const std::shared_ptr<InprocRegion> region_;
  // The server: one of these.
  std::unique_ptr<Node> server_node_;
  std::optional<StillPeer> still_server_;
  EchoService service_;
  std::shared_ptr<rpc::Endpoint> server_endpoint_;
  std::unique_ptr<rpc::Server> server_;
  // Who takes what the calls wait for.
  std::unique_ptr<Node> other_;
  std::shared_ptr<rpc::Endpoint> busy_client_;
  Call busy_;
  std::optional<Taker> taker_;

  std::shared_ptr<rpc::Endpoint> endpoint_;
  std::unique_ptr<Echo::Stub> stub_;
  std::vector<std::unique_ptr<Call>> calls_;
};

INSTANTIATE_TEST_SUITE_P(Calls, CallEndTest, ::testing::ValuesIn(Cases()),
                         [](const auto& param) { return param.param.name; });

TEST_P(CallEndTest, EveryKindEndsAndOnlyThen) {
  ASSERT_NO_FATAL_FAILURE(Prepare());
  const Reason reason = GetParam().reason;
  const bool is_deadline = reason == Reason::kDeadline;
  for (const Kind kind : KindsOf(GetParam().kinds)) {
    (void)Begin(kind, is_deadline ? std::chrono::milliseconds(50) : kNone);
  }
  // On a slow machine a deadline may pass before anything can be seen.
  if (!is_deadline) AwaitBegun();
  // Beside them, one whose deadline is far away.
  Call* const later =
      is_deadline ? &Begin(KindsOf(GetParam().kinds).front(), std::chrono::hours(1)) : nullptr;
  Bring(reason);
  const auto code = CodeOf(reason);
  for (const auto& call : calls_) {
    if (call.get() != later) ExpectEnd(*call, code);
  }
  if (later == nullptr) return;
  EXPECT_NE(later->end.wait_for(std::chrono::seconds(0)), std::future_status::ready);
  later->context.TryCancel();
  ExpectEnd(*later, StatusCode::CANCELLED);
}

// ---- What the table has not ----

class WaitTest : public ::testing::Test {
 protected:
  [[nodiscard]] static std::future_status Await(const Call& call) {
    return call.end.wait_for(kPatience);
  }
  [[nodiscard]] std::shared_ptr<rpc::Endpoint> OpenClient() const {
    return rpc::Endpoint::Make(OpenIn(*region_, {.name = "client"}));
  }

  const std::shared_ptr<InprocRegion> region_ = RegionOf(64U << 10);
  // Takes messages only when it is told to.
  const std::unique_ptr<Node> server_ = OpenIn(*region_, {.name = "server"});
};

TEST_F(WaitTest, TheEndOfTheOwnLifeCutsCallsAndRefusesNewOnes) {
  const auto endpoint = OpenClient();
  ASSERT_TRUE(server_->SetServices({"ivmq.test.Echo"}).ok());
  const auto stub = Echo::NewStub(endpoint->CreateServiceChannel("ivmq.test.Echo"));
  Call under_way;
  SayWithCallback(*stub, under_way);
  std::size_t requests = 0;
  while (requests == 0) requests = server_->Poll([](const Message& /*message*/) {});
  const Node& node = endpoint->node();
  ASSERT_EQ(PeerTable(node.region()).MarkIvpositionDead(node.transport().info().ivposition), 1U);
  ASSERT_EQ(Await(under_way), std::future_status::ready);
  EXPECT_EQ(under_way.end.get().error_code(), StatusCode::UNAVAILABLE);
  for (const auto& channel :
       {endpoint->CreateChannel("server"), endpoint->CreateServiceChannel("ivmq.test.Echo")}) {
    Call later;
    SayWithCallback(*Echo::NewStub(channel), later);
    ASSERT_EQ(Await(later), std::future_status::ready);
    EXPECT_EQ(later.end.get().error_code(), StatusCode::FAILED_PRECONDITION);
  }
}

TEST_F(WaitTest, ADeadlineIsKeptAlthoughAnotherOnePassesWhileTheRequestWaits) {
  const auto endpoint = OpenClient();
  const auto stub = Echo::NewStub(endpoint->CreateChannel("server"));
  Call first;
  first.context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  SayWithCallback(*stub, first);
  FillRing(endpoint->node(), server_->id());
  Call second;
  second.context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(400));
  std::atomic<bool> begun{false};
  std::thread beginner([&] {
    SayWithCallback(*stub, second);
    begun = true;
  });
  ASSERT_EQ(Await(first), std::future_status::ready);
  EXPECT_EQ(first.end.get().error_code(), StatusCode::DEADLINE_EXCEEDED);
  while (!begun) (void)server_->Poll([](const Message& /*message*/) {});
  beginner.join();
  ASSERT_EQ(Await(second), std::future_status::ready);
  EXPECT_EQ(second.end.get().error_code(), StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(WaitTest, NoCancelIsKeptForARequestThatNeverWent) {
  const auto endpoint = OpenClient();
  const auto stub = Echo::NewStub(endpoint->CreateChannel("server"));
  FillRing(endpoint->node(), server_->id());
  const auto full = [&] { return endpoint->node().counter(layout::Counter::kRingsFull); };
  const std::uint64_t before = full();
  Call never;
  std::thread caller([&] { SayWithCallback(*stub, never); });
  // It tries, and then waits.
  while (full() < before + 2) std::this_thread::yield();
  never.context.TryCancel();
  caller.join();
  ASSERT_EQ(Await(never), std::future_status::ready);
  EXPECT_EQ(never.end.get().error_code(), StatusCode::CANCELLED);
  // What is kept for it would go with the next call, and before its cancel.
  int requests = 0;
  int cancels = 0;
  const auto count = [&](const Message& message) {
    if (message.kind == layout::FrameKind{16}) ++requests;
    if (message.kind == layout::FrameKind{18}) ++cancels;
  };
  while (server_->Poll(count) != 0) {
  }
  Call next;
  SayWithCallback(*stub, next);
  while (requests == 0) (void)server_->Poll(count);
  next.context.TryCancel();
  EXPECT_EQ(next.end.get().error_code(), StatusCode::CANCELLED);
  while (cancels == 0 || server_->Poll(count) != 0) (void)server_->Poll(count);
  EXPECT_EQ(cancels, 1);
}

TEST_F(WaitTest, AServerHearsOnlyOfTheTimeThatIsLeftBehindTheWaitForIt) {
  const auto endpoint = OpenClient();
  const auto stub = Echo::NewStub(endpoint->CreateChannel("late"));
  constexpr std::chrono::hours kWhole{1};
  const auto start = std::chrono::steady_clock::now();
  Call call;
  call.context.set_deadline(start + kWhole);
  call.context.set_wait_for_ready(true);
  std::thread caller([&] { SayAndWait(*stub, call); });
  // It may have begun to wait.
  while (std::chrono::steady_clock::now() < start + std::chrono::milliseconds(20)) {
    std::this_thread::yield();
  }
  const auto waited = std::chrono::steady_clock::now() - start;
  const auto late = OpenIn(*region_, {.name = "late"});
  std::uint64_t left = 0;
  while (left == 0) {
    (void)late->Poll([&](const Message& message) {
      // The last word of the header: nanoseconds until the deadline.
      std::memcpy(&left, &message.payload[24], sizeof(left));
    });
  }
  EXPECT_LE(std::chrono::nanoseconds(left), kWhole - waited);
  call.context.TryCancel();
  caller.join();
  EXPECT_EQ(call.end.get().error_code(), StatusCode::CANCELLED);
}

TEST_F(WaitTest, TheEndOfTheEndpointEndsItsCalls) {
  auto endpoint = OpenClient();
  auto stub = Echo::NewStub(endpoint->CreateChannel("server"));
  std::array<Call, 3> calls;
  SayWithCallback(*stub, calls[0]);
  SayInCoroutine(*stub, calls[1]);
  Call& third = calls[2];
  auto future = stub->async()->Say(&third.context, &third.request, &third.response);
  stub.reset();
  endpoint.reset();
  for (Call* const call : {&calls[0], &calls[1]}) {
    ASSERT_EQ(Await(*call), std::future_status::ready);
    EXPECT_EQ(call->end.get().error_code(), StatusCode::CANCELLED);
  }
  ASSERT_EQ(future.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(future.get().error_code(), StatusCode::CANCELLED);
}

}  // namespace
}  // namespace ivmq::testing
