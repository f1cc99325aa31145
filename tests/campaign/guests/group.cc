#include "guests/group.h"

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <optional>
#include <sstream>

#include <fmt/format.h>

namespace ivmq::campaign {
namespace {

constexpr std::string_view kCalm = "calm.";

// The number at the end of the whole line that begins with `start`.
std::optional<std::uint64_t> NumberAfter(const std::string& output, const std::string& start) {
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(start)) return std::stoull(line.substr(start.size()));
  }
  return std::nullopt;
}

void Compare(Group& group, std::size_t peer, Stage& stage) {
  const Life& to = group.life(peer);
  for (const Life& from : stage.all) {
    if (!IsPair(from, to)) continue;
    ++stage.pairs;
    const auto sent = stage.sent.find({from, to});
    if (sent == stage.sent.end() || !group.Await(peer, "got " + from + " ")) {
      stage.faults.Add(Fault::kLost, fmt::format("{} to {}: no last message", from, to));
      continue;
    }
    (void)group.Await(peer, fmt::format("got {} {}\n", from, sent->second));
  }
}

void Leave(Group& group, std::size_t peer, Stage& stage) {
  const testing::Result end = group.Finish(peer);
  const Life& life = group.life(peer);
  if (end.status != 0) {
    stage.faults.Add(Fault::kCrash, fmt::format("{}: status {}", life, end.status));
    return;
  }
  stage.messages += NumberAfter(end.output, "messages ").value_or(0);
  const std::uint64_t finds = NumberAfter(end.output, "finds ").value_or(0);
  if (!life.starts_with(kCalm)) {
    stage.mesh_finds += finds;
  } else if (finds != 0) {
    stage.faults.Add(Fault::kNet, fmt::format("{}: {}", life, finds));
  }
}

}  // namespace

Life LifeIn(const std::string& output) {
  constexpr std::string_view kIs = "is ";
  return output.substr(kIs.size(), output.find('\n') - kIs.size());
}

bool IsPair(const Life& one, const Life& other) {
  return one != other && one.substr(0, one.find('.')) == other.substr(0, other.find('.'));
}

void Judge(Stage& stage, const Life& life, const std::string& output) {
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("FAULT: ")) stage.faults.Add(Fault::kOrder, life + ": " + line);
  }
}

void Settle(Group& group, Stage& stage, std::barrier<>& together) {
  const auto for_each = [&](const auto& body) {
    for (std::size_t peer = 0; peer < group.count(); ++peer) body(peer);
    together.arrive_and_wait();
  };
  for_each([&](std::size_t peer) {
    const std::lock_guard lock(stage.mutex);
    stage.all.push_back(group.life(peer));
  });
  for_each([&](std::size_t peer) {
    for (const Life& from : stage.all) {
      if (IsPair(from, group.life(peer))) (void)group.Await(peer, "heard " + from + "\n");
    }
  });
  for (std::size_t peer = 0; peer < group.count(); ++peer) group.Signal(peer, SIGUSR1);
  for_each([&](std::size_t peer) {
    if (!group.Await(peer, "settled\n")) return;
    const std::string output = group.Output(peer);
    const std::lock_guard lock(stage.mutex);
    for (const Life& to : stage.all) {
      if (const auto number = NumberAfter(output, "sent " + to + " ")) {
        stage.sent[{group.life(peer), to}] = *number;
      }
    }
  });
  for_each([&](std::size_t peer) { Compare(group, peer, stage); });
  for (std::size_t peer = 0; peer < group.count(); ++peer) group.Signal(peer, SIGTERM);
  for_each([&](std::size_t peer) { Leave(group, peer, stage); });
}

}  // namespace ivmq::campaign
