// A chat: lines of stdin are said to a peer by a call, what peers say goes to stdout. One thread
// and one epoll loop of the application's do all of it. Usage: example_epoll ADDRESS OWN_NAME
// OTHER_NAME
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>

#include "ivmq/rpc/server.h"

#include "chat.ivmq.pb.h"

namespace {

using ivmq::rpc::Endpoint;
using ivmq::rpc::Status;

class ChatService final : public example::Chat::Service {
  Status Say(ivmq::rpc::ServerContext* context, const example::Line* line,
             example::Heard* /*heard*/) override {
    std::cout << context->peer() << ": " << line->text() << std::endl;
    return Status::OK;
  }
};

bool Watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

// Nobody may wait on the thread that polls, so the call ends in a callback.
void SayLine(example::Chat::Stub& stub, std::string_view text) {
  struct Call {
    ivmq::rpc::ClientContext context;
    example::Line line;
    example::Heard heard;
  };
  const auto call = std::make_shared<Call>();
  call->line.set_text(std::string(text));
  stub.async()->Say(&call->context, &call->line, &call->heard, [call](const Status& status) {
    if (!status.ok()) std::cerr << "not heard: " << status.error_message() << std::endl;
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: example_epoll ADDRESS OWN_NAME OTHER_NAME\n";
    return 2;
  }
  const auto opened = Endpoint::Open(argv[1], {.node = {.name = argv[2]}});
  if (!opened.ok()) {
    std::cerr << opened.status().ToString() << '\n';
    return 1;
  }
  const std::shared_ptr<Endpoint>& endpoint = *opened;
  endpoint->Drive();  // this thread polls, and no other one is started for it
  ChatService service;
  const auto server = ivmq::rpc::ServerBuilder(endpoint)
                          .RegisterService(&service)
                          .SetExecutor(ivmq::rpc::Executor::kInline)
                          .BuildAndStart();
  if (!server.ok()) {
    std::cerr << server.status().ToString() << '\n';
    return 1;
  }
  const auto stub = example::Chat::NewStub(endpoint->CreateChannel(argv[3]));
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0 || !Watch(epoll, STDIN_FILENO) || !Watch(epoll, endpoint->Fd())) {
    std::cerr << "epoll cannot wait for stdin or the endpoint; stdin must be a terminal or a "
                 "pipe\n";
    return 1;
  }

  std::string typed;
  for (;;) {
    // Poll() until there is nothing, then Arm(): only if it agrees may this thread sleep.
    if (endpoint->Poll() != 0 || !endpoint->Arm()) continue;
    std::array<epoll_event, 2> events{};
    const int count = epoll_wait(epoll, events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      if (events[static_cast<std::size_t>(i)].data.fd != STDIN_FILENO) continue;
      std::array<char, 4096> bytes;
      const ssize_t size = read(STDIN_FILENO, bytes.data(), bytes.size());
      if (size <= 0) return 0;
      typed.append(bytes.data(), static_cast<std::size_t>(size));
      for (auto end = typed.find('\n'); end != std::string::npos; end = typed.find('\n')) {
        SayLine(*stub, std::string_view(typed).substr(0, end));
        typed.erase(0, end + 1);
      }
    }
  }
}
