#include "hostile/peers.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/node.h"
#include "ivmq/rpc/generic.h"

#include "common/process.h"

namespace ivmq::campaign {
namespace {

using rpc::ClientContext;
using rpc::Endpoint;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kSay = "/campaign.Echo/Say";
constexpr std::string_view kTalk = "/campaign.Echo/Talk";
// How long a call may take beyond its deadline, and one without trouble at all.
constexpr seconds kSlack{20};

struct Head {
  std::uint64_t number;
  std::uint64_t sum;
};

std::uint64_t Sum(std::span<const std::byte> bytes) {
  std::uint64_t sum = bytes.size();
  for (const std::byte byte : bytes) sum = sum * 31 + static_cast<std::uint64_t>(byte);
  return sum;
}

// An endpoint with a service, as both kinds of peers have it.
class Member {
 public:
  Member(Stage& stage, std::uint32_t self, std::uint64_t seed)
      : stage_(stage), self_(self), me_(stage.peers.at(self)), random_(seed) {
    service_.AddUnary(std::string(kSay), [](rpc::ServerContext* /*context*/,
                                            const std::string* request, std::string* response) {
      *response = *request;
      return Status();
    });
    service_.AddBidiStream(std::string(kTalk),
                           [](rpc::ServerContext* /*context*/,
                              rpc::ServerReaderWriter<std::string, std::string>* stream) {
                             std::string text;
                             while (stream->Read(&text) && stream->Write(text)) {
                             }
                             return Status();
                           });
  }

 protected:
  [[nodiscard]] Status Open(const std::string& address, NodeOptions options,
                            std::function<void(const Message&)> on_message) {
    auto endpoint =
        Endpoint::Open(address, {.node = std::move(options), .on_message = std::move(on_message)});
    if (!endpoint.ok()) return endpoint.status();
    endpoint_ = *std::move(endpoint);
    rpc::ServerBuilder builder(endpoint_);
    auto server =
        builder.RegisterService(&service_).SetThreads(2).SetMaxThreads(16).BuildAndStart();
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    me_.slot = node().id().slot;
    return {};
  }
  void Close() {
    if (endpoint_ == nullptr) return;
    stage_.rings_given_up += node().counter(layout::Counter::kRingsPoisoned);
    Step(90);
    if (server_) server_->Shutdown(Clock::now() + milliseconds(100));
    server_.reset();
    Step(91);
    endpoint_.reset();
  }
  [[nodiscard]] Node& node() const { return endpoint_->node(); }
  // Says what comes now; the referee sees a step that does not end.
  void Step(std::uint32_t step) {
    me_.step = step;
    me_.stepped_at = MonotonicNanoseconds();
  }
  [[nodiscard]] bool IsOver() const { return stage_.part >= Part::kSettle; }
  std::uint64_t Below(std::uint64_t limit) { return random_() % limit; }

  Stage& stage_;
  const std::uint32_t self_;
  Peer& me_;
  std::mt19937_64 random_;
  rpc::GenericService service_;
  std::shared_ptr<Endpoint> endpoint_;
  std::unique_ptr<rpc::Server> server_;
};

// ---- Spared ----

class Spared : public Member {
 public:
  using Member::Member;

  int Run(const std::string& address) {
    if (const Status status = Open(address, {.name = NameOfPeer(self_)},
                                   [this](const Message& message) { Handle(message); });
        !status.ok()) {
      stage_.faults.Add(Fault::kCrashed, NameOfPeer(self_) + ": " + status.ToString());
      return 1;
    }
    Meet();
    while (!IsOver()) {
      Step(1);
      const auto to = static_cast<std::uint32_t>(Below(kPeers));
      if (to == self_) continue;
      if (to < kSpared) {
        SendTo(to);
        if (Below(8) == 0) CallTo(to);
      } else {
        SendToExposed(to);
      }
      if (Below(4) == 0) std::this_thread::sleep_for(std::chrono::microseconds(Below(1000)));
    }
    me_.done = true;
    while (stage_.part != Part::kEnd) {
      Step(2);
      std::this_thread::sleep_for(milliseconds(5));
    }
    const Status status = node().status();
    Close();
    if (status.ok()) return 0;
    stage_.faults.Add(Fault::kLost, NameOfPeer(self_) + ": " + status.ToString());
    return 1;
  }

 private:
  // Rings and calls in both directions with all other spared ones.
  void Meet() {
    for (std::uint32_t to = 0; to < kSpared; ++to) {
      if (to == self_) continue;
      Step(3);
      const Result<PeerInfo> peer = node().Await(NameOfPeer(to), kSlack);
      if (!peer.ok()) {
        stage_.faults.Add(Fault::kLost, NameOfPeer(self_) + ": " + peer.status().ToString());
        return;
      }
      peers_.at(to) = peer->id;
      channels_.at(to) = endpoint_->CreateChannel(NameOfPeer(to));
      SendTo(to);
      CallTo(to);
    }
    me_.met_all = true;
  }

  void SendTo(std::uint32_t to) {
    SparedPair& pair = stage_.pair(self_, to);
    const std::uint64_t size = Below(40) == 0 ? Below(200'000) : Below(1000);
    std::vector<std::byte> bytes(sizeof(Head) + size);
    const std::span<std::byte> body = std::span(bytes).subspan(sizeof(Head));
    std::uint64_t value = random_();
    for (std::byte& byte : body) byte = static_cast<std::byte>(value = value * 25 + 7);
    const Head head{pair.sent + 1, Sum(body)};
    std::memcpy(bytes.data(), &head, sizeof(head));
    const SendResult result = node().Send(peers_.at(to), {.type = self_, .name = {}}, bytes,
                                          {.when_full = WhenFull::kWait, .timeout = kSlack});
    if (result == SendResult::kOk) {
      ++pair.sent;
      ++stage_.spared_messages;
    } else {
      stage_.faults.Add(Fault::kLost,
                        fmt::format("{} to {}: {}", NameOfPeer(self_), NameOfPeer(to),
                                    node().Explain(result, peers_.at(to)).ToString()));
    }
  }

  void SendToExposed(std::uint32_t to) {
    Step(4);
    const Result<PeerInfo> peer = node().Lookup(NameOfPeer(to));
    if (!peer.ok()) return;
    const std::vector<std::byte> bytes(Below(40) == 0 ? Below(100'000) : Below(1000));
    (void)node().Send(peer->id, {.type = self_, .name = {}}, bytes,
                      {.when_full = WhenFull::kWait, .timeout = milliseconds(Below(20))});
  }

  void CallTo(std::uint32_t to) {
    Step(5);
    const std::string request(Below(20) == 0 ? Below(100'000) : Below(500), 'x');
    std::string response;
    ClientContext context;
    context.set_deadline(Clock::now() + kSlack);
    context.set_wait_for_ready(true);  // its service comes after its name
    const Status status =
        rpc::GenericStub(channels_.at(to)).Call(&context, kSay, request, &response);
    ++stage_.spared_calls;
    // While the other one builds its server, it has no services.
    if (status.code() == StatusCode::kUnimplemented && !me_.met_all) {
      std::this_thread::sleep_for(milliseconds(1));
      return CallTo(to);
    }
    if (status.ok() && response == request) return;
    stage_.faults.Add(Fault::kSparedCall,
                      fmt::format("{} to {}: {}", NameOfPeer(self_), NameOfPeer(to),
                                  status.ok() ? "another response" : status.ToString()));
  }

  void Handle(const Message& message) {
    const std::uint32_t from = message.type;
    // Exposed ones send as well; whose slot it is nobody can forge between spared ones.
    if (from >= kSpared || message.from.slot != stage_.peers.at(from).slot) return;
    SparedPair& pair = stage_.pair(from, self_);
    Head head{};
    const bool is_whole = message.payload.size() >= sizeof(head);
    if (is_whole) std::memcpy(&head, message.payload.data(), sizeof(head));
    const std::uint64_t expected = pair.handled + 1;
    if (!is_whole || head.number != expected ||
        head.sum != Sum(message.payload.subspan(sizeof(head)))) {
      stage_.faults.Add(Fault::kOrder, fmt::format("{} to {}: number {} in place of {}, {} bytes",
                                                   NameOfPeer(from), NameOfPeer(self_), head.number,
                                                   expected, message.payload.size()));
      pair.handled = head.number;
      return;
    }
    pair.handled = expected;
  }

  std::array<PeerId, kSpared> peers_{};
  std::array<std::shared_ptr<rpc::Channel>, kSpared> channels_;
};

// ---- Exposed ----

class Exposed : public Member {
 public:
  using Member::Member;

  int Run(const std::string& address) {
    bytes_.resize(300'000);
    while (!IsOver()) {
      if (endpoint_ == nullptr || !node().status().ok() || Below(2000) == 0) {
        Reopen(address);
        continue;
      }
      Act();
      if (Below(8) == 0) std::this_thread::sleep_for(std::chrono::microseconds(Below(500)));
      Reap(false);
    }
    me_.done = true;
    Reap(true);
    LetGo();
    return 0;
  }

 private:
  struct Call {
    ClientContext context;
    std::string request;
    std::string response;
    std::future<Status> ends;
    Clock::time_point deadline;
  };

  void LetGo() {
    Step(80);
    {
      const std::lock_guard lock(kept_mutex_);
      kept_.clear();
    }
    subscriptions_.clear();
    topics_.clear();
    senders_.clear();
    Close();
  }

  void Reopen(const std::string& address) {
    Reap(true);
    LetGo();
    Step(10);
    // The reassembly of one hostile sender must not take all memory.
    NodeOptions options{.name = fmt::format("{}-{}", NameOfPeer(self_), Below(4)),
                        .durable = Below(2) == 0,
                        .trust_peers = Below(2) == 0,
                        .max_message_bytes = 1U << 20,
                        .reassembly_bytes = 4U << 20,
                        .kept_bytes = 1U << 20};
    if (Below(2) == 0) options.name = NameOfPeer(self_);
    options.on_report = [this](const Status& status) { reported_ += status.message().size(); };
    const Status status =
        Open(address, std::move(options), [this](const Message& message) { Handle(message); });
    if (!status.ok()) {
      ++stage_.nodes_refused;
      LetGo();
      std::this_thread::sleep_for(milliseconds(Below(20)));
      return;
    }
    ++stage_.nodes_opened;
  }

  void Handle(const Message& message) {
    read_ += Sum(message.payload) + message.type_name.size();
    ++stage_.exposed_messages;
    if (message.type % 16 != 0) return;
    const std::lock_guard lock(kept_mutex_);
    kept_.push_back(message.Keep());
    if (kept_.size() > 20) {
      read_ += Sum(kept_.front().payload);
      kept_.pop_front();
    }
  }

  PeerId SomePeer() {
    if (known_.empty() || Below(50) == 0) {
      known_.clear();
      for (const PeerInfo& peer : node().Peers().peers) known_.push_back(peer.id);
      if (known_.empty()) return {};
    }
    return known_[Below(known_.size())];
  }
  std::span<const std::byte> SomeBytes(std::uint64_t most) {
    return std::span<const std::byte>(bytes_).first(Below(most));
  }
  SendOptions Brief() {
    return {.when_full = static_cast<WhenFull>(Below(3)), .timeout = milliseconds(Below(20))};
  }

  void Act() {
    const auto step = static_cast<std::uint32_t>(20 + Below(32));
    Step(step);
    const PeerId to = SomePeer();
    const MessageType type{.type = static_cast<std::uint32_t>(100 + Below(1000)), .name = {}};
    switch (step) {
      case 20:
        (void)node().Send(to, type, SomeBytes(bytes_.size()), Brief());
        return;
      case 21: {
        Batch batch = node().StartBatch(to, Brief());
        std::span<std::byte> payload;
        for (int i = 0; i < 5; ++i) {
          if (batch.TryClaim(type, Below(300), &payload) != SendResult::kOk) break;
          std::ranges::fill(payload, std::byte{1});
        }
        (void)batch.Commit();
        return;
      }
      case 22:
        (void)node().SendInPlace(to, type, Below(500), [](std::span<std::byte> out) {
          std::ranges::fill(out, std::byte{2});
        });
        return;
      case 23:
      case 24:
        return Lend();
      case 25:
      case 26:
        return Publish();
      case 27:
        (void)node().SetServices({"campaign.Echo", fmt::format("campaign.S{}", Below(3))});
        return;
      case 28:
        (void)node().Await(SomeName(), milliseconds(Below(5)));
        return;
      case 29:
        return Talk();
      case 30:
      case 31:
      case 32:
      case 33:
        return Begin();
      case 34:
        (void)node().Peers();
        (void)node().Lookup(SomeName());
        return;
      default:
        (void)node().Send(to, type, SomeBytes(500), Brief());
    }
  }

  std::string SomeName() { return NameOfPeer(static_cast<std::uint32_t>(Below(kPeers))); }

  void Lend() {
    if (senders_.size() < 3) {
      auto sender = node().OpenSender(SomeName(), {.exclusive = Below(8) == 0});
      if (sender.ok()) senders_.push_back(*std::move(sender));
    }
    if (senders_.empty()) return;
    Sender& sender = senders_[Below(senders_.size())];
    auto loan = sender.Loan(Below(bytes_.size()), {}, Brief());
    if (loan.result() != SendResult::kOk) return;
    std::ranges::fill(loan.payload(), std::byte{3});
    (void)loan.Publish();
    if (Below(100) == 0) senders_.clear();
  }

  void Publish() {
    if (topics_.size() < 2) {
      auto topic = node().Advertise(fmt::format("campaign/{}/{}", self_, Below(3)),
                                    {.history = 2, .timeout = milliseconds(5)});
      if (topic.ok()) topics_.push_back(*std::move(topic));
    }
    if (subscriptions_.size() < 2) {
      auto subscription = node().Subscribe("campaign/**", [this](const TopicMessage& message) {
        read_ += Sum(message.message.payload);
        ++stage_.exposed_messages;
      });
      if (subscription.ok()) subscriptions_.push_back(*std::move(subscription));
    }
    if (topics_.empty()) return;
    (void)topics_[Below(topics_.size())].Publish(SomeBytes(Below(10) == 0 ? 200'000 : 300));
    if (Below(100) == 0) topics_.clear();
    if (Below(100) == 0) subscriptions_.clear();
  }

  void Begin() {
    if (calls_.size() >= 32) return;
    Call& call = calls_.emplace_back();
    call.request.assign(Below(20) == 0 ? Below(200'000) : Below(300), 'y');
    const milliseconds limit(Below(300));
    call.deadline = Clock::now() + limit;
    call.context.set_deadline(call.deadline);
    call.context.set_wait_for_ready(false);
    call.ends = rpc::GenericStub(endpoint_->CreateChannel(SomeName()))
                    .CallFuture(&call.context, kSay, call.request, &call.response);
    ++stage_.exposed_calls;
    if (Below(10) == 0) call.context.TryCancel();
  }

  void Talk() {
    ClientContext context;
    context.set_deadline(Clock::now() + milliseconds(Below(100)));
    rpc::GenericStub stub(endpoint_->CreateChannel(SomeName()));
    const auto stream = stub.BidiStream(&context, kTalk);
    std::string text(Below(2000), 'z');
    for (int i = 0; i < 5; ++i) {
      if (!stream->Write(text) || !stream->Read(&text)) break;
    }
    if (Below(2) == 0) (void)stream->WritesDone();
    context.TryCancel();
    (void)stream->Finish();
    ++stage_.exposed_calls;
  }

  // Takes what has ended; `all`: waits for that. A call that has not is a fault.
  void Reap(bool all) {
    Step(70);
    for (auto call = calls_.begin(); call != calls_.end();) {
      const Clock::time_point latest = call->deadline + kSlack;
      const auto state = all ? call->ends.wait_until(latest) : call->ends.wait_for(seconds(0));
      if (state == std::future_status::ready) {
        if (call->ends.get().ok()) ++stage_.exposed_calls_ok;
        call = calls_.erase(call);
        continue;
      }
      if (Clock::now() > latest) {
        stage_.faults.Add(Fault::kEndless, NameOfPeer(self_) + ": a call did not end");
        (void)std::fflush(nullptr);
        _exit(1);
      }
      ++call;
    }
  }

  std::vector<std::byte> bytes_;
  std::vector<PeerId> known_;
  std::vector<Sender> senders_;
  std::vector<Topic> topics_;
  std::vector<Subscription> subscriptions_;
  std::list<Call> calls_;
  std::mutex kept_mutex_;
  std::deque<Message> kept_;
  std::atomic<std::uint64_t> read_{0};
  std::atomic<std::uint64_t> reported_{0};
};

}  // namespace

int RunSpared(Stage& stage, const std::string& address, std::uint32_t self, std::uint64_t seed) {
  return std::make_unique<Spared>(stage, self, seed)->Run(address);
}

int RunExposed(Stage& stage, const std::string& address, std::uint32_t self, std::uint64_t seed) {
  return std::make_unique<Exposed>(stage, self, seed)->Run(address);
}

}  // namespace ivmq::campaign
