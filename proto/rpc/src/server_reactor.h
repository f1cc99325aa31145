// A call whose handler has given a reactor.
#ifndef IVMQ_RPC_SERVER_REACTOR_H_
#define IVMQ_RPC_SERVER_REACTOR_H_

#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>

#include "ivmq/internal/payload.h"
#include "ivmq/rpc/internal/status_names.h"
#include "ivmq/rpc/reactor.h"

#include "src/call_state.h"
#include "src/end_frame.h"
#include "src/message_stream.h"
#include "src/polling.h"
#include "src/server_call.h"
#include "src/steps.h"

namespace ivmq::rpc::internal {

// Members are for the thread that polls, unless they say otherwise.
class CallbackCall final : public Steps {
 public:
  CallbackCall(Node& node, Polling& polling, Outbox& outbox, ServerCall& call);

  // Runs the handler.
  void Begin();
  // The client does not want the answer any more.
  void OnCancelled();

  [[nodiscard]] MessageStream& stream() noexcept { return stream_; }
  // Whether the initial metadata has gone, or goes with what is under way.
  [[nodiscard]] bool initial_sent();

  // ---- For the reactor, on any thread ----

  // `last`: what ends the call afterwards.
  void StartReactorWrite(const Outgoing& message, std::optional<Status> last);
  void StartInitialMetadata();
  void Finish(Status status);
  void FinishThrown(const std::exception_ptr& thrown);

 private:
  // How the initial metadata goes.
  enum class Initial : std::uint8_t {
    kHeld,     // with the first message, or with the end
    kStarted,  // by itself, before anything else
    kCarried,  // started, but with a message: it came first
    kGone,
  };

  void AddReference() override { call_.Ref(); }
  void DropReference() override { call_.Unref(); }
  void OnRead(MessageStream::Attempt how, const Incoming& message) override;
  void OnWritten(SendResult result) override;
  MessageStream::Attempt OnIdle(bool reads, bool writes) override;
  // Calls a member of the reactor. One that throws ends the call.
  template <typename Call>
  void Tell(Call call);
  // The first one ends the call.
  void SetFinish(Status status);
  [[nodiscard]] bool IsCancelled() const noexcept {
    return state_.Get() == ServerReactorState::kCancelling ||
           state_.Get() == ServerReactorState::kCancelled;
  }
  // A step of OnIdle(): kNotYet if the metadata is not to be sent, or not yet. REQUIRES: `lock` holds
  // mutex_.
  MessageStream::Attempt SendInitial(std::unique_lock<std::mutex>& lock, bool writes);

  ServerCall& call_;
  MessageStream stream_;
  CallState<ServerReactorState> state_{ServerReactorState::kNone};
  ServerReactor* reactor_ = nullptr;     // from kRuns to kEnded
  bool unparsable_ = false;              // a message that came was no such message
  SendResult unsent_ = SendResult::kOk;  // how a write went that was in vain
  std::optional<EndFrame> end_;          // once the handler has finished
  Outgoing response_;                    // that goes with end_

  std::mutex mutex_;
  Initial initial_ = Initial::kHeld;  // guarded by mutex_
  std::optional<Status> last_;        // guarded by mutex_; ends the call after the write
  std::optional<Status> finish_;      // guarded by mutex_
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_SERVER_REACTOR_H_
