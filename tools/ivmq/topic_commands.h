// The commands of `ivmq topic`. Each Add function adds one to the group.
#ifndef IVMQ_TOOLS_IVMQ_TOPIC_COMMANDS_H_
#define IVMQ_TOOLS_IVMQ_TOPIC_COMMANDS_H_

#include <CLI/CLI.hpp>

namespace ivmq::tool {

void AddTopicList(CLI::App& topic, int* exit_code);
void AddTopicEcho(CLI::App& topic, int* exit_code);
void AddTopicPub(CLI::App& topic, int* exit_code);
void AddTopicHz(CLI::App& topic, int* exit_code);
void AddTopicBw(CLI::App& topic, int* exit_code);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_TOPIC_COMMANDS_H_
