// A call with streams, from the client's side: what those that threads wait for and those that have
// a reactor have in common.
#ifndef IVMQ_RPC_CLIENT_STREAM_CALL_H_
#define IVMQ_RPC_CLIENT_STREAM_CALL_H_

#include <memory>
#include <mutex>
#include <optional>

#include "ivmq/internal/payload.h"
#include "ivmq/rpc/client.h"
#include "ivmq/rpc/internal/status_names.h"

#include "src/call_client.h"
#include "src/call_state.h"
#include "src/call_table.h"
#include "src/interception.h"
#include "src/message_stream.h"

namespace ivmq::rpc::internal {

// Its creator holds a reference, and the table of calls another one.
class ClientStreamCall : public ClientCall {
 public:
  // In a forked child nobody polls, and the call is its parent's.
  [[nodiscard]] bool IsForkedCopy() const noexcept { return client_.node().IsForkedCopy(); }

 protected:
  // Keeps the channel, and so the endpoint. `calls_back`: a thread must poll when none waits.
  ClientStreamCall(Channel& channel, ClientContext& context_in, const Incoming& response,
                   bool calls_back);

  // Begins it behind the interceptors. `request` is sent at once, if there is one.
  void BeginCall(const MethodName& method, const Outgoing& request);

  // ---- What comes ----

  // For End(), which drops the table's reference behind it.
  void SetEnd(Status status, const CallFrame* end);
  // For OnFrame().
  [[nodiscard]] bool TakeFrame(CallFrameKind kind, const CallFrame& frame);

  [[nodiscard]] bool HasEnded() const noexcept { return internal::HasEnded(state_.Get()); }
  [[nodiscard]] Status status() {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  // Ends the call if it has not ended.
  void Fail(Status status);

  static Status NotParsed() {
    return {StatusCode::INTERNAL, "a message of the stream does not parse"};
  }
  [[nodiscard]] Status ForkedStatus() const {
    return {StatusCode::FAILED_PRECONDITION, client_.node().status().message()};
  }

  // ---- Interceptors ----

  // Whether one of them answers in the server's place. Then the call is in no table.
  [[nodiscard]] bool answers() const noexcept {
    return interception_.has_value() && interception_->answers();
  }
  // Each for what the application sends or gets; false: it does not, since the call has ended.
  bool PassWrite(const Outgoing& message) {
    return !HasEnded() && (interception_->BeforeWrite(context, message) || FailThrown());
  }
  bool PassWritesDone() {
    return !HasEnded() && (interception_->BeforeWritesDone(context) || FailThrown());
  }
  bool PassRead(const Incoming& message) {
    return interception_->AfterRead(context, message) || FailThrown();
  }
  // Of a call that is answered here: the next message, and the end.
  bool Answer(const Incoming& message);
  void EndAnswered();
  // Of the end, before the application hears of it. Once.
  void TellInterceptors();

  const std::shared_ptr<Channel> channel_;
  CallClient& client_;
  const Incoming response_;
  MessageStream stream_;
  const bool is_intercepted_;
  std::optional<Interception> interception_;  // from the call's beginning on

  std::mutex mutex_;
  CallState<ClientStreamState> state_{ClientStreamState::kWaiting};  // written under mutex_
  Status status_;                                                    // guarded by mutex_

 private:
  [[nodiscard]] bool TakeInitial(const CallFrame& frame);
  void SetBegun();
  bool FailThrown();
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_CLIENT_STREAM_CALL_H_
