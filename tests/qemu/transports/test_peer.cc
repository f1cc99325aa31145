// A node that a test drives, in a guest or on the host. It never spins: what wakes it is a doorbell
// or, where there is none, the clock.
//
//   test_peer ADDRESS NAME sit
//       Prints who comes (+NAME) and goes (-NAME) and what is said to it (NAME: TEXT), answers
//       "echo TEXT" with TEXT, and leaves when it is told "end". If its life ends before, it
//       says so.
//   test_peer ADDRESS NAME say PEER TEXT
//   test_peer ADDRESS NAME ask PEER TEXT
//       Has PEER, which sits, send TEXT back.
//   test_peer ADDRESS NAME talk SEED COUNT PEER...
//       Sends each peer COUNT messages in bursts with random pauses between them, and receives as
//       many from each, checking every byte.
//
// The first line says how it reached the region. The last one of sit and talk has the figures.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "ivmq/address.h"
#include "ivmq/node.h"

namespace {

using ivmq::Message;
using ivmq::Node;
using ivmq::PeerId;
using ivmq::SendOptions;
using ivmq::SendResult;
using ivmq::WhenFull;
using ivmq::layout::Counter;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr SendOptions kPatient{.when_full = WhenFull::kWait, .timeout = seconds(60)};

[[noreturn]] void Fail(const std::string& what) {
  std::printf("FAILED: %s\n", what.c_str());
  std::exit(1);
}

void Must(SendResult result, const std::string& to) {
  if (result != SendResult::kOk) Fail("send to " + to + ": " + std::string(SendResultName(result)));
}

PeerId Find(const Node& node, const std::string& name) {
  const auto peer = node.Await(name, seconds(60));
  if (!peer.ok()) Fail(peer.status().ToString());
  return peer->id;
}

unsigned long long Figure(const Node& node, Counter counter) {
  return static_cast<unsigned long long>(node.counter(counter));
}

// ---- sit ----

int Sit(Node& node) {
  std::set<std::string> live;
  node.SetPeerWatcher([&](const ivmq::PeerSnapshot& snapshot) {
    std::set<std::string> now;
    for (const ivmq::PeerInfo& peer : snapshot.peers) {
      if (peer.state == ivmq::layout::PeerState::kLive && peer.id != node.id()) {
        now.insert(peer.name);
      }
    }
    for (const std::string& name : now) {
      if (!live.contains(name)) std::printf("+%s\n", name.c_str());
    }
    for (const std::string& name : live) {
      if (!now.contains(name)) std::printf("-%s\n", name.c_str());
    }
    live = now;
  });
  bool end = false;
  while (!end && node.status().ok()) {
    (void)node.Poll([&](const Message& message) {
      const std::string text(message.text());
      std::string from = "?";
      for (const ivmq::PeerInfo& peer : node.Peers().peers) {
        if (peer.id == message.from) from = peer.name;
      }
      std::printf("%s: %s\n", from.c_str(), text.c_str());
      if (text.starts_with("echo ")) Must(node.Send(message.from, text.substr(5), kPatient), from);
      end |= text == "end";
    });
    if (!end) (void)node.Wait(std::chrono::hours(1));
  }
  if (!end) {
    const SendResult sent = node.Send(node.id(), "to whoever", {});
    std::printf("its life is over, and a send gives: %s\n",
                std::string(SendResultName(sent)).c_str());
  }
  std::printf("sleeps %llu woken %llu net finds %llu\n", Figure(node, Counter::kSleeps),
              Figure(node, Counter::kWakeups), Figure(node, Counter::kNetFinds));
  return 0;
}

int Ask(Node& node, const std::string& peer, const std::string& text) {
  const Clock::time_point begin = Clock::now();
  Must(node.Send(Find(node, peer), "echo " + text, kPatient), peer);
  bool answered = false;
  while (!answered) {
    (void)node.Poll([&](const Message& message) { answered |= message.text() == text; });
    if (!answered && !node.Wait(seconds(30))) Fail("no answer");
  }
  std::printf("answered in %.2f ms: net finds %llu\n",
              std::chrono::duration<double, std::milli>(Clock::now() - begin).count(),
              Figure(node, Counter::kNetFinds));
  return 0;
}

// ---- talk ----

constexpr std::size_t kMostWords = 32;

// What the message `number` of a talk holds: its number, then words that follow from it.
std::span<const std::byte> Fill(std::uint64_t number,
                                std::array<std::uint64_t, kMostWords>& words) {
  const std::size_t count = 1 + number * 7 % kMostWords;
  for (std::size_t i = 0; i < count; ++i) words[i] = number + i * 0x9e3779b97f4a7c15;
  return std::as_bytes(std::span(words).first(count));
}

struct Partner {
  std::string name;
  PeerId id;
  std::uint64_t sent = 0;      // the sender's
  std::uint64_t received = 0;  // the receiver's
};

void SendAll(Node& node, std::vector<Partner>& partners, std::uint64_t count, unsigned seed) {
  std::mt19937 random(seed);
  const auto below = [&random](unsigned limit) { return static_cast<unsigned>(random()) % limit; };
  std::array<std::uint64_t, kMostWords> words{};
  for (;;) {
    std::vector<Partner*> left;
    for (Partner& partner : partners) {
      if (partner.sent < count) left.push_back(&partner);
    }
    if (left.empty()) return;
    Partner& to = *left[below(static_cast<unsigned>(left.size()))];
    const auto end = std::min<std::uint64_t>(count, to.sent + 1 + below(32));
    for (; to.sent < end; ++to.sent) {
      Must(node.Send(to.id, {}, Fill(to.sent, words), kPatient), to.name);
    }
    // Pauses about as long as the way of a receiver into its sleep.
    switch (below(8)) {
      case 0:
        usleep(below(2000));
        break;
      case 1:
      case 2:
        for (const auto until = Clock::now() + std::chrono::microseconds(below(100));
             Clock::now() < until;) {
        }
        break;
      case 3:
      case 4:
        sched_yield();
        break;
      default:
        break;
    }
  }
}

int Talk(Node& node, unsigned seed, std::uint64_t count, std::span<const std::string> names) {
  std::vector<Partner> partners;
  for (const std::string& name : names) partners.push_back({.name = name, .id = Find(node, name)});
  const Clock::time_point begin = Clock::now();
  std::thread sender([&] { SendAll(node, partners, count, seed); });
  std::uint64_t left = count * partners.size();
  std::uint64_t finds_before = 0;
  std::size_t silent = partners.size();
  while (left > 0) {
    const std::size_t handled = node.Poll([&](const Message& message) {
      const auto from = std::find_if(partners.begin(), partners.end(), [&](const Partner& partner) {
        return partner.id == message.from;
      });
      if (from == partners.end()) Fail("a message from nobody of the talk");
      // Until the last of them begins, a sleep may last a second, and its end meet a doorbell.
      if (from->received == 0 && --silent == 0) finds_before = node.counter(Counter::kNetFinds);
      std::array<std::uint64_t, kMostWords> words{};
      const auto wanted = Fill(from->received, words);
      if (message.payload.size() != wanted.size() ||
          std::memcmp(message.payload.data(), wanted.data(), wanted.size()) != 0) {
        Fail("not message " + std::to_string(from->received) + " of " + from->name);
      }
      ++from->received;
      --left;
    });
    if (handled == 0 && left > 0 && !node.Wait(seconds(30))) {
      std::string where;
      for (const Partner& partner : partners) {
        where += " " + partner.name + " " + std::to_string(partner.received);
      }
      Fail("nothing came for 30 s; received so far:" + where);
    }
  }
  sender.join();
  std::printf("done in %.2f s: sleeps %llu woken %llu rung %llu net finds %llu\n",
              std::chrono::duration<double>(Clock::now() - begin).count(),
              Figure(node, Counter::kSleeps), Figure(node, Counter::kWakeups),
              Figure(node, Counter::kDoorbellsRung),
              static_cast<unsigned long long>(node.counter(Counter::kNetFinds) - finds_before));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::vector<std::string> args(argv + 1, argv + argc);
  const auto is = [&](std::string_view what, std::size_t words) {
    return args.size() >= words && args[2] == what;
  };
  if (!is("sit", 3) && !is("say", 5) && !is("ask", 5) && !is("talk", 6))
    Fail("see the head of test_peer.cc");
  auto node = Node::Open(args[0], {.name = args[1],
                                   .spin_budget = std::chrono::nanoseconds(0),
                                   .on_report = [](const ivmq::Status& status) {
                                     std::printf("report: %s\n", status.ToString().c_str());
                                   }});
  if (!node.ok()) Fail(node.status().ToString());
  const ivmq::TransportInfo& info = (*node)->transport().info();
  std::printf("%s is peer (%u, %u): %s\n", args[1].c_str(), info.ivposition, info.vector,
              info.description.c_str());
  if (args[2] == "sit") return Sit(**node);
  if (args[2] == "say") {
    Must((*node)->Send(Find(**node, args[3]), args[4], kPatient), args[3]);
    return 0;
  }
  if (args[2] == "ask") return Ask(**node, args[3], args[4]);
  return Talk(**node, static_cast<unsigned>(std::stoul(args[3])), std::stoull(args[4]),
              std::span(args).subspan(5));
}
