// Answers short requests over a stream socket, in the event loop: those of the operator, and those
// of who collects metrics.
#ifndef IVMQ_TOOLS_IVMQD_REQUEST_SERVER_H_
#define IVMQ_TOOLS_IVMQD_REQUEST_SERVER_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ivmq/status.h"

#include "event_loop.h"
#include "listener.h"
#include "src/unique_fd.h"
#include "timer.h"

namespace ivmq::server {

struct Answer {
  std::string text;
  bool is_last = false;  // the connection ends behind it
};

// However its clients behave, it never waits for them, and what they can make it keep is bounded: a
// few connections, of which the one that has done nothing for the longest time makes room for a new
// one, each with one request and one answer. Thread-compatible.
class RequestServer {
 public:
  // Takes the first request off `input` and answers it. Nothing: there is no whole one yet. `socket`
  // is the client's. Must not end the server.
  using Handler = std::function<std::optional<Answer>(int socket, std::string* input)>;

  static constexpr std::size_t kMaxConnections = 16;
  // A connection ends when so much has come of a request and the handler still waits for more...
  static constexpr std::size_t kMaxRequest = std::size_t{64} << 10;
  // ... or when for so long nothing could be read from it or written to it.
  static constexpr std::chrono::milliseconds kPatience{30'000};

  // The loop must outlive this.
  static Result<std::unique_ptr<RequestServer>> Create(
      EventLoop& loop, Listener listener, Handler handler,
      std::chrono::milliseconds patience = kPatience);
  RequestServer(const RequestServer&) = delete;
  RequestServer& operator=(const RequestServer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;

  struct Connection {
    UniqueFd socket;
    Watch watch;
    std::string input;
    std::string output;
    std::size_t written = 0;  // of the output
    bool is_input_over = false;
    bool is_last = false;  // ends when the output is written
    Clock::time_point active{};
  };
  using Connections = std::list<Connection>;

  RequestServer(EventLoop& loop, Listener listener, Handler handler,
                std::chrono::milliseconds patience)
      : loop_(loop),
        listener_(std::move(listener)),
        handler_(std::move(handler)),
        patience_(patience) {}

  void OnConnection();
  void PauseAccepting();
  void OnEvent(Connections::iterator connection, std::uint32_t events);
  // Each is false when the connection is over.
  static bool Read(Connection& connection);
  static bool Write(Connection& connection);
  bool Serve(Connection& connection);
  void LookAtTimes();

  EventLoop& loop_;
  Listener listener_;
  Handler handler_;
  std::chrono::milliseconds patience_;
  Watch listener_watch_;
  bool accepting_ = true;
  std::unique_ptr<Timer> timer_;  // runs while there are connections
  Connections connections_;
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_REQUEST_SERVER_H_
