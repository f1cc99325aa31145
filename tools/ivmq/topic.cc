// ivmq topic: lists, prints, publishes and measures topics.
#include "commands.h"
#include "topic_commands.h"

namespace ivmq::tool {
namespace {

constexpr const char* kTopicFooter =
    R"(A topic is published by any number of peers, and each message goes to all that have
subscribed. In a PATTERN a level may be *, and the last one **: camera/* stands for
camera/front, and camera/** for camera/front/raw as well.

Example:
  ivmq topic list shm:/demo
  ivmq topic echo shm:/demo 'camera/*' &
  ivmq topic pub shm:/demo camera/front 'hello there')";

}  // namespace

void AddTopic(CLI::App& app, int* exit_code) {
  CLI::App* const topic = app.add_subcommand("topic", "List, print, publish and measure topics");
  topic->group("Commands")->require_subcommand(1)->footer(kTopicFooter);
  AddTopicList(*topic, exit_code);
  AddTopicEcho(*topic, exit_code);
  AddTopicPub(*topic, exit_code);
  AddTopicHz(*topic, exit_code);
  AddTopicBw(*topic, exit_code);
}

}  // namespace ivmq::tool
