// A peer of `./dev demo`. Without --with it serves until it hears goodbye; with it, it waits for
// the others and has every one of them talk to every other, in both directions.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "ivmq/node.h"

#include "peer.h"
#include "report.h"

namespace {

using ivmq::demo::Peer;
using ivmq::demo::Task;

struct Options {
  std::string address = "auto";
  std::string name;
  std::vector<std::string> with;
  std::uint32_t count = 300;
  std::uint32_t spin_us = 20;
  int limit_seconds = 60;
};

int Fail(const std::string& name, const ivmq::Status& status) {
  (void)std::fprintf(stderr, "%s: %s\n", name.c_str(), status.ToString().c_str());
  return 1;
}

// All messages of the demo; true if all of them arrived whole.
bool Coordinate(Peer& peer, const Options& options) {
  const std::chrono::seconds limit(options.limit_seconds);
  for (const std::string& name : options.with) {
    if (const auto other = peer.node().Await(name, limit); !other.ok()) {
      (void)Fail(options.name, other.status());
      return false;
    }
  }
  ivmq::demo::PrintPeers(peer.node());
  ivmq::demo::PrintHeading();

  // Round the circle, then back.
  std::vector<std::string> circle = {options.name};
  circle.insert(circle.end(), options.with.begin(), options.with.end());
  std::vector<std::pair<std::string, std::string>> directions;
  for (std::size_t i = 0; i < circle.size(); ++i) {
    directions.emplace_back(circle[i], circle[(i + 1) % circle.size()]);
  }
  if (circle.size() > 2) {
    for (std::size_t i = 0; i < circle.size(); ++i) {
      directions.emplace_back(circle[(i + 1) % circle.size()], circle[i]);
    }
  }
  // Small ones, and some that are larger than a ring.
  const std::vector<std::pair<std::uint32_t, std::uint32_t>> sizes = {
      {64, options.count}, {1 << 20, std::max(1U, options.count / 100)}};
  bool good = true;
  for (const auto& [bytes, count] : sizes) {
    for (const auto& [from, to] : directions) {
      Task task;
      task.set_to(to);
      task.set_bytes(bytes);
      task.set_count(count);
      const auto outcome = peer.Do(from, task, options.with, limit);
      if (!outcome.ok()) {
        (void)Fail(options.name, outcome.status());
        return false;
      }
      ivmq::demo::PrintRow(from, task, *outcome);
      good =
          good && outcome->error().empty() && outcome->there() == count && outcome->back() == count;
    }
  }
  ivmq::demo::PrintWakeups(peer.node());
  return good;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("A peer of the demo: answers messages, or, with --with, has all of them talk.");
  app.add_option("--address", options.address,
                 "The region, e.g. unix:/run/ivmq/ivmq.sock or pci:auto")
      ->capture_default_str();
  app.add_option("--name", options.name, "The name of this peer")->required();
  app.add_option("--with", options.with, "Names of the others, e.g. vm1,vm2")->delimiter(',');
  app.add_option("--count", options.count, "Small messages in each direction")
      ->capture_default_str();
  app.add_option("--spin", options.spin_us, "Microseconds to look before sleeping")
      ->capture_default_str();
  app.add_option("--limit", options.limit_seconds, "Seconds to wait for anything")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  ivmq::NodeOptions node_options;
  node_options.name = options.name;
  // Emulated guests share few cores: rather sleep than spin.
  node_options.spin_budget = std::chrono::microseconds(options.spin_us);
  node_options.on_report = [&options](const ivmq::Status& status) {
    (void)Fail(options.name, status);
  };
  auto node = ivmq::Node::Open(options.address, std::move(node_options));
  if (!node.ok()) return Fail(options.name, node.status());
  (void)std::printf("%s%s: %s\n", options.with.empty() ? "" : "    ", options.name.c_str(),
                    (*node)->transport().info().description.c_str());
  (void)std::fflush(stdout);

  Peer peer(*std::move(node));
  if (!options.with.empty()) {
    const bool good = Coordinate(peer, options);
    for (const std::string& name : options.with) peer.SayGoodbye(name);
    return good ? 0 : 1;
  }
  const auto status = peer.ServeUntilGoodbye(std::chrono::seconds(options.limit_seconds));
  ivmq::demo::PrintWakeups(peer.node());
  return status.ok() ? 0 : Fail(options.name, status);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& failure) {
    (void)std::fprintf(stderr, "demo_peer: %s\n", failure.what());
    return 1;
  }
}
