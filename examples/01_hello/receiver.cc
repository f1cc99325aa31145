// Prints one message. Usage: example_hello_receiver ADDRESS
#include <chrono>
#include <iostream>

#include "ivmq/node.h"

int main(int argc, char** argv) {
  const auto node = ivmq::Node::Open(argc > 1 ? argv[1] : "auto", {.name = "receiver"});
  if (!node.ok()) {
    std::cerr << node.status().ToString() << '\n';
    return 1;
  }
  const auto print = [](const ivmq::Message& message) { std::cout << message.text() << '\n'; };
  while ((*node)->Poll(print) == 0) (*node)->Wait(std::chrono::hours(1));
}
