// A peer of the guests campaign, in a guest or on the host:
//
//   numbered_peer ADDRESS CIRCLE.NAME
//
// It sends numbered messages to all peers of its circle, as they come and go, and checks those that
// they send. SIGUSR1: it sends each of them a last one. SIGTERM: it leaves. What it prints, with
// peers as NAME SLOT.INCARNATION:
//   is PEER             it has joined
//   heard PEER          the first message of a peer that has had one of this peer's
//   sent PEER N         N is the last message to it
//   settled             after the last of these lines
//   got PEER N          N was the last message of it; all before it came, in order
//   FAULT: TEXT         what was promised was broken
//   over: TEXT          its life is over; it ends
//   messages N          at its end: what it has received
//   finds N             which of it no doorbell announced since it last heard a peer for the first time
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/node.h"

namespace ivmq::campaign {
namespace {

using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr seconds kPatience{60};
constexpr std::size_t kMostWords = 3000;  // a message of so many takes several records

struct Head {
  std::uint64_t number = 0;  // from 1, of those to this life of the receiver
  std::uint64_t heard = 0;   // the last number that came from the receiver
  std::uint64_t is_last = 0;
};

// What follows the head of a message.
std::span<const std::uint64_t> WordsOf(std::uint64_t number,
                                       std::array<std::uint64_t, kMostWords>& words) {
  const std::size_t count = number % 64 == 0 ? kMostWords : number * 7 % 64;
  for (std::size_t i = 0; i < count; ++i) words[i] = number + i * 0x9e3779b97f4a7c15;
  return std::span(words).first(count);
}

void Print(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  (void)std::fflush(stdout);
}

class NumberedPeer {
 public:
  NumberedPeer(Node& node, std::uint64_t seed)
      : node_(node), circle_(node.name().substr(0, node.name().find('.') + 1)), random_(seed) {}

  // Until `stop`, or its life is over: whether it was stopped. `settle` ends the sending.
  bool Run(const std::stop_token& stop, const std::stop_token& settle);

 private:
  struct Partner {
    PeerId id;
    std::string name;
    std::uint64_t sent = 0;  // the sender's
    // The receiver's.
    std::uint64_t handled = 0;
    bool has_heard = false;
    bool is_live = true;
  };

  [[nodiscard]] static std::string TextOf(const Partner& partner) {
    return fmt::format("{} {}.{}", partner.name, partner.id.slot, partner.id.incarnation);
  }
  // The one with that id; those that were seen once stay.
  Partner& Of(const PeerId& id);
  void See(const PeerSnapshot& snapshot);
  void Handle(const Message& message);
  // Sends the next message. False: not now.
  bool Send(Partner& to, bool is_last, const SendOptions& options);
  void SendAll(const std::stop_token& stop, const std::stop_token& settle);
  [[nodiscard]] std::vector<Partner*> Live();

  Node& node_;
  const std::string circle_;
  std::mt19937_64 random_;  // the sender's
  std::mutex mutex_;        // of the list and what is the receiver's
  std::vector<std::unique_ptr<Partner>> partners_;
  std::uint64_t messages_ = 0;
  std::uint64_t finds_before_ = 0;
};

NumberedPeer::Partner& NumberedPeer::Of(const PeerId& id) {
  const auto at = std::ranges::find_if(
      partners_, [&](const std::unique_ptr<Partner>& partner) { return partner->id == id; });
  if (at != partners_.end()) return **at;
  partners_.push_back(std::make_unique<Partner>());
  partners_.back()->id = id;
  return *partners_.back();
}

void NumberedPeer::See(const PeerSnapshot& snapshot) {
  const std::lock_guard lock(mutex_);
  for (const std::unique_ptr<Partner>& partner : partners_) partner->is_live = false;
  for (const PeerInfo& peer : snapshot.peers) {
    if (peer.state != layout::PeerState::kLive || peer.id == node_.id() ||
        !peer.name.starts_with(circle_)) {
      continue;
    }
    Partner& partner = Of(peer.id);
    partner.name = peer.name;
    partner.is_live = true;
  }
}

void NumberedPeer::Handle(const Message& message) {
  const std::lock_guard lock(mutex_);
  Partner& from = Of(message.from);
  if (from.name.empty()) {  // it is there before the watcher has said so
    for (const PeerInfo& peer : node_.Peers().peers) {
      if (peer.id == message.from) from.name = peer.name;
    }
  }
  Head head;
  if (message.payload.size() < sizeof(head)) {
    return Print(fmt::format("FAULT: {} bytes from {}", message.payload.size(), TextOf(from)));
  }
  std::memcpy(&head, message.payload.data(), sizeof(head));
  if (head.number != from.handled + 1) {
    Print(
        fmt::format("FAULT: number {} from {} after {}", head.number, TextOf(from), from.handled));
  }
  std::array<std::uint64_t, kMostWords> words{};
  const auto wanted = std::as_bytes(WordsOf(head.number, words));
  if (!std::ranges::equal(message.payload.subspan(sizeof(head)), wanted)) {
    Print(fmt::format("FAULT: other bytes in number {} from {}", head.number, TextOf(from)));
  }
  from.handled = head.number;
  ++messages_;
  if (head.heard > 0 && !from.has_heard) {
    from.has_heard = true;
    finds_before_ = node_.counter(layout::Counter::kNetFinds);
    Print("heard " + TextOf(from));
  }
  if (head.is_last != 0) Print(fmt::format("got {} {}", TextOf(from), head.number));
}

std::vector<NumberedPeer::Partner*> NumberedPeer::Live() {
  const std::lock_guard lock(mutex_);
  std::vector<Partner*> live;
  for (const std::unique_ptr<Partner>& partner : partners_) {
    if (partner->is_live) live.push_back(partner.get());
  }
  return live;
}

bool NumberedPeer::Send(Partner& to, bool is_last, const SendOptions& options) {
  Head head{.number = to.sent + 1, .is_last = is_last ? 1U : 0U};
  {
    const std::lock_guard lock(mutex_);
    head.heard = to.handled;
  }
  std::array<std::uint64_t, kMostWords> words{};
  const auto body = std::as_bytes(WordsOf(head.number, words));
  std::vector<std::byte> bytes(sizeof(head) + body.size());
  std::memcpy(bytes.data(), &head, sizeof(head));
  std::ranges::copy(body, bytes.begin() + sizeof(head));
  if (node_.Send(to.id, bytes, options) != SendResult::kOk) return false;
  ++to.sent;
  return true;
}

void NumberedPeer::SendAll(const std::stop_token& stop, const std::stop_token& settle) {
  constexpr std::uint64_t kMostBurst = 16;
  constexpr std::uint64_t kMostPause = 8000;  // us
  while (!stop.stop_requested() && !settle.stop_requested()) {
    if (const std::vector<Partner*> live = Live(); !live.empty()) {
      Partner& to = *live[random_() % live.size()];
      for (std::uint64_t i = random_() % kMostBurst + 1; i > 0 && Send(to, false, {}); --i) {
      }
    }
    usleep(static_cast<useconds_t>(random_() % kMostPause));
  }
  if (stop.stop_requested()) return;
  for (Partner* to : Live()) {
    if (!Send(*to, true, {.when_full = WhenFull::kWait, .timeout = kPatience})) {
      Print("FAULT: the last message to " + TextOf(*to) + " could not be sent");
    }
    Print(fmt::format("sent {} {}", TextOf(*to), to->sent));
  }
  Print("settled");
}

bool NumberedPeer::Run(const std::stop_token& stop, const std::stop_token& settle) {
  node_.SetPeerWatcher([this](const PeerSnapshot& snapshot) { See(snapshot); });
  std::stop_source over;
  const std::stop_callback ends(stop, [&] { over.request_stop(); });
  std::thread sender([&] { SendAll(over.get_token(), settle); });
  const Status status = node_.Run(stop, [this](const Message& message) { Handle(message); });
  over.request_stop();
  sender.join();
  if (!status.ok()) Print("over: " + status.ToString());
  Print(fmt::format("messages {}", messages_));
  Print(fmt::format("finds {}", node_.counter(layout::Counter::kNetFinds) - finds_before_));
  return status.ok();
}

// The name belongs to the former life until somebody has confirmed its death.
Result<std::unique_ptr<Node>> Join(const std::string& address, const std::string& name) {
  const Clock::time_point until = Clock::now() + kPatience;
  for (;;) {
    auto node = Node::Open(address, {.name = name});
    if (node.ok() || node.status().code() != StatusCode::kAlreadyExists || Clock::now() > until) {
      return node;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

int Main(const std::string& address, const std::string& name) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  static std::stop_source stop;
  static std::stop_source settle;
  std::thread([signals] {
    for (int signal = 0; sigwait(&signals, &signal) == 0;) {
      (signal == SIGTERM ? stop : settle).request_stop();
    }
  }).detach();
  auto node = Join(address, name);
  if (!node.ok()) {
    Print("FAULT: " + node.status().ToString());
    return 1;
  }
  const PeerId id = (*node)->id();
  Print(fmt::format("is {} {}.{}", name, id.slot, id.incarnation));
  NumberedPeer peer(**node, std::random_device()());
  return peer.Run(stop.get_token(), settle.get_token()) ? 0 : 3;
}

}  // namespace
}  // namespace ivmq::campaign

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: numbered_peer ADDRESS CIRCLE.NAME\n", stderr);
    return 2;
  }
  return ivmq::campaign::Main(argv[1], argv[2]);
}
