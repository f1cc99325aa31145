#include "report.h"

#include <cstdint>
#include <cstdio>
#include <string_view>

#include <fmt/format.h>

namespace ivmq::demo {
namespace {

std::string Bytes(std::uint64_t bytes) {
  if (bytes >= 1 << 20) return fmt::format("{} MiB", bytes >> 20);
  if (bytes >= 1 << 10) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} B", bytes);
}

std::string Duration(std::uint64_t nanoseconds) {
  const double value = static_cast<double>(nanoseconds);
  if (value < 1e6) return fmt::format("{:.1f} us", value / 1e3);
  return fmt::format("{:.1f} ms", value / 1e6);
}

std::string_view Receiving(const PeerInfo& peer) {
  return peer.wakeable ? "sleeps until a doorbell" : "looks by itself";
}

void PrintLine(const std::string& line) {
  (void)std::fputs(line.c_str(), stdout);
  (void)std::fflush(stdout);
}

}  // namespace

void PrintPeers(const Node& node) {
  const PeerSnapshot snapshot = node.Peers();
  PrintLine(fmt::format("\nWho is in the region of {}:\n\n  {:<6} {:>10}   {:<24} {}\n",
                        Bytes(node.region().geometry().region_size), "peer", "ivposition",
                        "receives", "wakes others"));
  for (const PeerInfo& peer : snapshot.peers) {
    if (peer.state != layout::PeerState::kLive) continue;
    const std::string id =
        peer.ivposition == layout::kNoIvposition ? "-" : std::to_string(peer.ivposition);
    PrintLine(fmt::format("  {:<6} {:>10}   {:<24} {}\n", peer.name, id, Receiving(peer),
                          peer.can_ring ? "by their doorbell" : "no"));
  }
}

void PrintHeading() {
  PrintLine(fmt::format(
      "\nWhat went where: typed messages, one after the other, each answered; every byte "
      "checked\n\n"
      "  {:<14} {:>6}  {:>9} {:>9}   {:>24}\n  {:<14} {:>6}  {:>9} {:>9}   {:>9} {:>9} {:>9}\n",
      "", "", "arrived", "arrived", "round trip", "from -> to", "size", "there", "back", "p50",
      "p99", "max"));
}

void PrintRow(const std::string& from, const Task& task, const Outcome& outcome) {
  const auto arrived = [&](std::uint32_t count) {
    return fmt::format("{}/{}", count, task.count());
  };
  PrintLine(fmt::format(
      "  {:<14} {:>6}  {:>9} {:>9}   {:>9} {:>9} {:>9}{}{}\n",
      fmt::format("{} -> {}", from, task.to()), Bytes(task.bytes()), arrived(outcome.there()),
      arrived(outcome.back()), Duration(outcome.p50_ns()), Duration(outcome.p99_ns()),
      Duration(outcome.max_ns()), outcome.error().empty() ? "" : "  ", outcome.error()));
}

void PrintWakeups(const Node& node) {
  if (!node.transport().info().wakeable) return;
  PrintLine(fmt::format(
      "\n{} fell asleep {} times; {} times a doorbell woke it, {} times it found a message that "
      "nobody had announced.\n",
      node.name(), node.counter(layout::Counter::kSleeps), node.counter(layout::Counter::kWakeups),
      node.counter(layout::Counter::kNetFinds)));
}

}  // namespace ivmq::demo
