// Two peers of one process: one sends the other a message.
#include <chrono>
#include <iostream>

#include <ivmq/node.h>

int main() {
  const auto receiver = ivmq::Node::Open("inproc:messages", {.name = "receiver"});
  const auto sender = ivmq::Node::Open("inproc:messages", {.name = "sender"});
  if (!receiver.ok() || !sender.ok()) {
    std::cerr << (receiver.ok() ? sender : receiver).status().ToString() << '\n';
    return 1;
  }
  auto to_receiver = (*sender)->OpenSender("receiver");
  if (!to_receiver.ok()) {
    std::cerr << to_receiver.status().ToString() << '\n';
    return 1;
  }
  if (const auto sent = to_receiver->Send("hello"); sent != ivmq::SendResult::kOk) {
    std::cerr << to_receiver->Explain(sent).ToString() << '\n';
    return 1;
  }
  (void)(*receiver)->Wait(std::chrono::seconds(10));
  const auto handled = (*receiver)->Poll(
      [](const ivmq::Message& message) { std::cout << "message: " << message.text() << '\n'; });
  return handled == 1 ? 0 : 1;
}
