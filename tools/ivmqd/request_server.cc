#include "request_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace ivmq::server {
namespace {

constexpr std::chrono::milliseconds kTick{500};
constexpr int kAcceptsPerEvent = 16;

}  // namespace

Result<std::unique_ptr<RequestServer>> RequestServer::Create(EventLoop& loop, Listener listener,
                                                             Handler handler,
                                                             std::chrono::milliseconds patience) {
  std::unique_ptr<RequestServer> server(
      new RequestServer(loop, std::move(listener), std::move(handler), patience));
  RequestServer& self = *server;
  auto timer = Timer::Create(loop, [&self] { self.LookAtTimes(); });
  if (!timer.ok()) return timer.status();
  self.timer_ = *std::move(timer);
  auto watch =
      loop.Add(self.listener_.fd(), EPOLLIN, [&self](std::uint32_t) { self.OnConnection(); });
  if (!watch.ok()) return watch.status();
  self.listener_watch_ = *std::move(watch);
  return server;
}

void RequestServer::OnConnection() {
  for (int i = 0; i < kAcceptsPerEvent; ++i) {
    UniqueFd socket;
    const AcceptOutcome outcome = listener_.Accept(&socket);
    if (outcome == AcceptOutcome::kNone) return;
    if (outcome != AcceptOutcome::kAccepted) return PauseAccepting();
    if (connections_.empty()) timer_->Repeat(kTick);
    if (connections_.size() == kMaxConnections) {
      connections_.erase(std::min_element(
          connections_.begin(), connections_.end(),
          [](const Connection& a, const Connection& b) { return a.active < b.active; }));
    }
    const auto connection = connections_.emplace(connections_.end());
    connection->socket = std::move(socket);
    connection->active = Clock::now();
    auto watch =
        loop_.Add(connection->socket.get(), EPOLLIN,
                  [this, connection](std::uint32_t events) { OnEvent(connection, events); });
    if (!watch.ok()) {
      connections_.erase(connection);
      return PauseAccepting();
    }
    connection->watch = *std::move(watch);
  }
}

// Until the next tick: trying again at once is of no use.
void RequestServer::PauseAccepting() {
  accepting_ = false;
  listener_watch_.Modify(0);
  timer_->Repeat(kTick);
}

void RequestServer::OnEvent(Connections::iterator connection, std::uint32_t events) {
  bool goes_on = (events & EPOLLERR) == 0;
  if (goes_on && (events & EPOLLIN) != 0) goes_on = Read(*connection);
  if (goes_on) goes_on = Serve(*connection);
  if (!goes_on) {
    connections_.erase(connection);
    return;
  }
  // While an answer is on its way nothing is read: who does not take answers cannot ask for more.
  connection->watch.Modify(connection->output.empty() ? EPOLLIN : EPOLLOUT);
}

bool RequestServer::Read(Connection& connection) {
  std::array<char, 4096> buffer;
  const ssize_t size = recv(connection.socket.get(), buffer.data(), buffer.size(), 0);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  connection.is_input_over = size == 0;
  connection.input.append(buffer.data(), static_cast<std::size_t>(size));
  if (size > 0) connection.active = Clock::now();
  return true;
}

bool RequestServer::Write(Connection& connection) {
  while (connection.written < connection.output.size()) {
    const ssize_t size = send(connection.socket.get(), &connection.output[connection.written],
                              connection.output.size() - connection.written, MSG_NOSIGNAL);
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    connection.written += static_cast<std::size_t>(size);
    connection.active = Clock::now();
  }
  connection.output.clear();
  connection.output.shrink_to_fit();
  connection.written = 0;
  return !connection.is_last;
}

bool RequestServer::Serve(Connection& connection) {
  while (true) {
    if (!Write(connection)) return false;
    if (!connection.output.empty()) return true;
    std::optional<Answer> answer = handler_(connection.socket.get(), &connection.input);
    if (!answer) return !connection.is_input_over && connection.input.size() < kMaxRequest;
    connection.output = std::move(answer->text);
    connection.is_last = answer->is_last;
  }
}

void RequestServer::LookAtTimes() {
  listener_.RestoreReserve();
  if (!accepting_) {
    accepting_ = true;
    listener_watch_.Modify(EPOLLIN);
  }
  const Clock::time_point now = Clock::now();
  connections_.remove_if(
      [&](const Connection& connection) { return now - connection.active >= patience_; });
  if (connections_.empty()) timer_->Repeat({});
}

}  // namespace ivmq::server
