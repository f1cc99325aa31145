// A peer of the demo: answers Pings and does Tasks.
#ifndef IVMQ_EXAMPLES_DEMO_PEER_H_
#define IVMQ_EXAMPLES_DEMO_PEER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/node.h"
#include "ivmq/proto.h"
#include "ivmq/status.h"

#include "demo.pb.h"

namespace ivmq::demo {

// The task that this peer does.
struct Running {
  Task task;
  PeerId to;
  PeerId reply_to;           // gets the outcome; this peer's own id: Do() does
  std::uint32_t number = 0;  // of the last Ping
  std::chrono::steady_clock::time_point sent_at;
  std::vector<std::uint64_t> nanoseconds;
  Outcome outcome;
};

// Thread-compatible.
class Peer {
 public:
  explicit Peer(std::unique_ptr<Node> node);

  [[nodiscard]] Node& node() noexcept { return *node_; }

  // Has `from` (this peer or another) do a task. DEADLINE_EXCEEDED if nothing comes for `limit`;
  // UNAVAILABLE if one of `needed` leaves.
  Result<Outcome> Do(const std::string& from, const Task& task,
                     const std::vector<std::string>& needed, std::chrono::seconds limit);

  // Tells `name` that the demo is over.
  void SayGoodbye(const std::string& name);

  // Serves until somebody says goodbye. DEADLINE_EXCEEDED if nothing comes for `limit`.
  Status ServeUntilGoodbye(std::chrono::seconds limit);

 private:
  using Clock = std::chrono::steady_clock;

  void OnPing(const Ping& ping, const Message& message);
  void OnPong(const Pong& pong, const Message& message);
  void Start(const Task& task, PeerId reply_to);
  void SendPing();
  void Finish(std::string error);
  // Polls and sleeps until `done()`.
  Status Run(const std::function<bool()>& done, const std::vector<std::string>& needed,
             std::chrono::seconds limit);

  std::unique_ptr<Node> node_;
  TypeIds ids_;
  Dispatcher dispatcher_;
  Ping ping_;
  Pong pong_;
  std::optional<Running> running_;
  std::optional<Outcome> outcome_;  // that Do() waits for
  bool goodbye_ = false;
};

}  // namespace ivmq::demo

#endif  // IVMQ_EXAMPLES_DEMO_PEER_H_
