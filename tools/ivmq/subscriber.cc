#include "subscriber.h"

#include <cstdint>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"

#include "command.h"
#include "exit_code.h"
#include "interrupt.h"
#include "text.h"
#include "topics.h"

namespace ivmq::tool {

void AddSubscriberFlags(CLI::App* command, SubscriberFlags* flags) {
  AddReceiveLimits(command, &flags->limits);
  AddPeerName(command, &flags->name);
  command->add_flag("--json", flags->json, "Print one JSON object per line");
}

int RunSubscriber(const std::string& address, const Subscribing& subscribing,
                  const SubscriberFlags& flags) {
  HoldSignals();
  NodeOptions node_options;
  node_options.name = flags.name;
  node_options.on_report = [](const Status& status) { Complain(status); };
  const auto opened = Node::Open(address, std::move(node_options));
  if (!opened.ok()) return Fail(opened.status());
  Node& node = **opened;
  const Interrupt interrupt([&node] { node.Wake(); });
  const auto subscription = node.Subscribe(
      subscribing.pattern, [&](const TopicMessage& message) { subscribing.take(node, message); },
      subscribing.options);
  if (!subscription.ok()) return Fail(subscription.status());
  const std::vector<std::string> topics = PublishedTopics(node.Peers().peers, subscribing.pattern);
  Complain(fmt::format("ready at {}; published: {}", node.transport().info().address,
                       topics.empty() ? "nothing yet" : fmt::to_string(fmt::join(topics, ", "))));

  const Receiving receiving{.handler = [](const Message& /*no message of a topic*/) {},
                            .received = [&subscription] { return subscription->received(); },
                            .interval = subscribing.interval,
                            .at_interval = subscribing.at_interval};
  const ReceiveEnd end = ReceiveAll(node, receiving, flags.limits, interrupt);
  const std::uint64_t received = subscription->received();
  const int exit_code = ReceiveExitCode(end, received, flags.limits);
  if (end != ReceiveEnd::kCount || subscription->missed() != 0) {
    Complain(fmt::format(
        "{} message{}, {} missed{}", received, received == 1 ? "" : "s", subscription->missed(),
        exit_code == kExitTimedOut
            ? fmt::format("; nothing came within {}", DurationText(*flags.limits.timeout))
            : ""));
  }
  return exit_code;
}

}  // namespace ivmq::tool
