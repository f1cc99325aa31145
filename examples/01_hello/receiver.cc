// Prints one message. Usage: example_hello_receiver ADDRESS
#include <iostream>
#include <stop_token>

#include "ivmq/node.h"

int main(int argc, char** argv) {
  const auto node = ivmq::Node::Open(argc > 1 ? argv[1] : "auto", {.name = "receiver"});
  if (!node.ok()) {
    std::cerr << node.status().ToString() << '\n';
    return 1;
  }
  std::stop_source stop;
  const auto status = (*node)->Run(stop.get_token(), [&](const ivmq::Message& message) {
    std::cout << message.text() << '\n';
    stop.request_stop();
  });
  if (!status.ok()) std::cerr << status.ToString() << '\n';
  return status.ok() ? 0 : 1;
}
