#include "server/peers.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/node.h"

#include "common/process.h"

namespace ivmq::campaign {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr seconds kPatience{20};
// For a place in the queue of connections, which the rude ones take from whoever waits for it as soon
// as there is one: chance decides, and a busy machine deals seldom.
constexpr seconds kPatienceToConnect{150};
constexpr std::uint32_t kNumbered = 1;  // types of messages
constexpr std::uint32_t kPing = 2;
constexpr std::uint32_t kPong = 3;

std::string NameOfHonest(std::uint32_t peer) { return "honest-" + std::to_string(peer); }

struct Head {
  std::uint64_t number;
  std::uint32_t from;
  std::uint32_t size;
};

}  // namespace

int RunHonest(Stage& stage, const std::string& address, std::uint32_t self, std::uint64_t seed) {
  HonestPeer& me = stage.peers.at(self);
  std::mt19937_64 random(seed);
  auto opened = Node::Open(address, {.name = NameOfHonest(self)});
  if (!opened.ok()) {
    stage.faults.Add(Fault::kRefused, NameOfHonest(self) + ": " + opened.status().ToString());
    return 1;
  }
  Node& node = **opened;
  std::jthread receiver([&](const std::stop_token& stop) {
    (void)node.Run(stop, [&](const Message& message) {
      if (message.type == kPing) {
        (void)node.Send(message.from, {.type = kPong, .name = {}}, message.payload);
        return;
      }
      Head head{};
      if (message.payload.size() >= sizeof(head)) {
        std::memcpy(&head, message.payload.data(), sizeof(head));
      }
      if (head.from >= kHonest || head.number != me.handled.at(head.from) + 1 ||
          message.payload.size() != sizeof(head) + head.size) {
        stage.faults.Add(Fault::kOrder,
                         fmt::format("{} from {}: number {}, {} bytes", NameOfHonest(self),
                                     head.from, head.number, message.payload.size()));
        return;
      }
      me.handled.at(head.from) = head.number;
    });
  });
  me.ready = true;
  std::vector<std::byte> bytes(100'000);
  while (stage.part < Part::kSettle) {
    me.stepped_at = MonotonicNanoseconds();
    // Mostly so rarely that its receiver sleeps meanwhile.
    std::this_thread::sleep_for(microseconds(random() % 4000));
    const auto to = static_cast<std::uint32_t>(random() % kHonest);
    if (to == self) continue;
    const auto peer = node.Await(NameOfHonest(to), kPatience);
    if (!peer.ok()) {
      stage.faults.Add(Fault::kLost, peer.status().ToString());
      continue;
    }
    const Head head{me.sent.at(to) + 1, self,
                    static_cast<std::uint32_t>(random() % (random() % 50 == 0 ? 90'000 : 500))};
    std::memcpy(bytes.data(), &head, sizeof(head));
    const SendResult result = node.Send(peer->id, {.type = kNumbered, .name = {}},
                                        std::span(bytes).first(sizeof(head) + head.size),
                                        {.when_full = WhenFull::kWait, .timeout = kPatience});
    if (result == SendResult::kOk) {
      me.sent.at(to) = head.number;
      ++stage.messages;
    } else {
      stage.faults.Add(Fault::kLost, node.Explain(result, peer->id).ToString());
    }
  }
  me.done = true;
  while (stage.part != Part::kEnd) {
    me.stepped_at = MonotonicNanoseconds();
    std::this_thread::sleep_for(milliseconds(5));
  }
  receiver.request_stop();
  receiver.join();
  me.net_finds = node.counter(layout::Counter::kNetFinds);
  if (const Status status = node.status(); !status.ok()) {
    stage.faults.Add(Fault::kLost, status.ToString());
  }
  return 0;
}

int RunNewcomer(Stage& stage, const std::string& address, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Clock::time_point begin = Clock::now();
  bool tries_again = false;
  for (std::uint64_t number = 1; stage.part < Part::kSettle; ++number) {
    stage.newcomer_stepped_at = MonotonicNanoseconds();
    if (!std::exchange(tries_again, false)) begin = Clock::now();
    const std::uint64_t downs = stage.downs;
    auto node = Node::Open(address, {.name = fmt::format("newcomer-{}", number)});
    if (!node.ok()) {
      if (stage.is_down || stage.downs != downs) {
        ++stage.turned_away;
        std::this_thread::sleep_for(milliseconds(10));
        continue;
      }
      tries_again = node.status().code() == StatusCode::kDeadlineExceeded &&
                    Clock::now() < begin + kPatienceToConnect;
      if (tries_again) continue;
      stage.faults.Add(Fault::kRefused, node.status().ToString());
      std::this_thread::sleep_for(milliseconds(10));
      continue;
    }
    const auto to = static_cast<std::uint32_t>(random() % kHonest);
    const auto peer = (*node)->Await(NameOfHonest(to), kPatience);
    bool answered = false;
    if (peer.ok()) {
      (void)(*node)->Send(peer->id, {.type = kPing, .name = {}},
                          std::as_bytes(std::span(&number, 1)));
      while (!answered && Clock::now() < begin + 2 * kPatience) {
        if ((*node)->Poll([&](const Message& message) { answered |= message.type == kPong; }) ==
            0) {
          (void)(*node)->Wait(milliseconds(200));
        }
      }
    }
    if (!answered) {
      stage.faults.Add(Fault::kUnheard, fmt::format("newcomer {} by {}: {}", number,
                                                    NameOfHonest(to), peer.status().ToString()));
    }
    if (const std::uint64_t finds = (*node)->counter(layout::Counter::kNetFinds); finds != 0) {
      stage.faults.Add(Fault::kNet, fmt::format("newcomer {}: {} finds", number, finds));
    }
    const std::int64_t took = (Clock::now() - begin).count();
    if (took > stage.longest_join) stage.longest_join = took;
    ++stage.newcomers;
    node->reset();
    std::this_thread::sleep_for(microseconds(random() % 20'000));
  }
  return 0;
}

}  // namespace ivmq::campaign
