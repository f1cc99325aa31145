// Sends one message to the peer "receiver". Usage: example_hello_sender ADDRESS [TEXT]
#include <chrono>
#include <iostream>

#include "ivmq/node.h"

int main(int argc, char** argv) {
  const auto node = ivmq::Node::Open(argc > 1 ? argv[1] : "auto", {.name = "sender"});
  if (!node.ok()) {
    std::cerr << node.status().ToString() << '\n';
    return 1;
  }
  auto receiver = (*node)->OpenSender("receiver");
  if (!receiver.ok()) {
    std::cerr << receiver.status().ToString() << '\n';
    return 1;
  }
  if (const auto there = receiver->AwaitPeer(std::chrono::seconds(10)); !there.ok()) {
    std::cerr << there.ToString() << '\n';
    return 1;
  }
  const auto result = receiver->Send(argc > 2 ? argv[2] : "hello, world");
  if (result != ivmq::SendResult::kOk) {
    std::cerr << receiver->Explain(result).ToString() << '\n';
    return 1;
  }
}
