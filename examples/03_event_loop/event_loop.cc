// A chat: lines of stdin go to a peer, what peers send goes to stdout. One epoll loop waits for
// both. Usage: example_event_loop ADDRESS OWN_NAME OTHER_NAME
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <string>
#include <string_view>

#include "ivmq/node.h"

namespace {

bool Watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

void SendLine(ivmq::Node& node, std::string_view to, std::string_view line) {
  const auto peer = node.Lookup(to);
  if (!peer.ok()) {
    std::cerr << peer.status().ToString() << '\n';
    return;
  }
  const auto result = node.Send(peer->id, line);
  if (result != ivmq::SendResult::kOk) {
    std::cerr << "not sent: " << ivmq::SendResultName(result) << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: example_event_loop ADDRESS OWN_NAME OTHER_NAME\n";
    return 2;
  }
  const auto opened = ivmq::Node::Open(argv[1], {.name = argv[2]});
  if (!opened.ok()) {
    std::cerr << opened.status().ToString() << '\n';
    return 1;
  }
  ivmq::Node& node = **opened;
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0 || !Watch(epoll, STDIN_FILENO) || !Watch(epoll, node.Fd())) {
    std::cerr << "epoll cannot wait for stdin or the node; stdin must be a terminal or a pipe\n";
    return 1;
  }

  const auto print = [](const ivmq::Message& message) { std::cout << message.text() << std::endl; };
  std::string typed;
  for (;;) {
    // Poll() until there is nothing, then Arm(): only if it agrees may this thread sleep.
    if (node.Poll(print) != 0 || !node.Arm()) continue;
    std::array<epoll_event, 2> events{};
    const int count = epoll_wait(epoll, events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      if (events[static_cast<std::size_t>(i)].data.fd != STDIN_FILENO) continue;
      std::array<char, 4096> bytes;
      const ssize_t size = read(STDIN_FILENO, bytes.data(), bytes.size());
      if (size <= 0) return 0;
      typed.append(bytes.data(), static_cast<std::size_t>(size));
      for (auto end = typed.find('\n'); end != std::string::npos; end = typed.find('\n')) {
        SendLine(node, argv[3], std::string_view(typed).substr(0, end));
        typed.erase(0, end + 1);
      }
    }
  }
}
