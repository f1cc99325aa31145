// ivmq topic list: the topics of a region.
#include <memory>
#include <string>
#include <vector>

#include "command.h"
#include "topic_commands.h"
#include "topics.h"

namespace ivmq::tool {
namespace {

constexpr const char* kListFooter =
    R"(Only reads: takes no id and no slot. Shows each topic with the peers that publish it
and those that have subscribed to it. HISTORY: how many of its last messages a
publisher keeps for new subscribers, and how many of them a subscriber wants. DEPTH:
how many messages may be on their way to a subscriber; WHEN SLOW: what happens beyond
that. A subscription that fits no topic stands beside a "-".

Example:
  ivmq topic list shm:/demo
  ivmq topic list shm:/demo --json)";

}  // namespace

void AddTopicList(CLI::App& topic, int* exit_code) {
  const auto json = std::make_shared<bool>(false);
  CLI::App* const command =
      AddCommand(topic, exit_code,
                 {.name = "list",
                  .summary = "List topics, their publishers and subscribers",
                  .words = "",
                  .footer = kListFooter},
                 [json](const std::string& address, const std::vector<std::string>& /*words*/) {
                   return ListTopics(address, *json);
                 });
  command->add_flag("--json", *json, "Print JSON");
}

}  // namespace ivmq::tool
