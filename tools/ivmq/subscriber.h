// A subscription that lasts as long as a command.
#ifndef IVMQ_TOOLS_IVMQ_SUBSCRIBER_H_
#define IVMQ_TOOLS_IVMQ_SUBSCRIBER_H_

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "ivmq/node.h"

#include "receive.h"

namespace ivmq::tool {

struct SubscriberFlags {
  ReceiveLimits limits;
  std::string name;
  bool json = false;
};
// --count, --timeout, --name and --json.
void AddSubscriberFlags(CLI::App* command, SubscriberFlags* flags);

struct Subscribing {
  std::string pattern;
  SubscribeOptions options{};
  std::function<void(const Node& node, const TopicMessage& message)> take;
  // Called so often, if there is an interval.
  std::optional<std::chrono::nanoseconds> interval{};
  std::function<void()> at_interval{};
};

// Joins the region as a peer and takes messages until the limits or a signal end that. Says on
// standard error when the subscription is there, and at the end what came. Returns the exit status.
int RunSubscriber(const std::string& address, const Subscribing& subscribing,
                  const SubscriberFlags& flags);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_SUBSCRIBER_H_
