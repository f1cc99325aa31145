// Calls with streams whose client waits on its own threads.
#include <utility>

#include "ivmq/rpc/stream.h"

#include "src/client_stream_call.h"

namespace ivmq::rpc::internal {

// For one reading and one writing thread.
class ClientWaitingStream final : public ClientStreamCall {
 public:
  ClientWaitingStream(Channel& channel, ClientContext& context_in, const Incoming& response)
      : ClientStreamCall(channel, context_in, response, /*calls_back=*/false) {}

  void Begin(const MethodName& method, const Outgoing& request) {
    Ref();  // the table's
    if (!client_.polling().InPoll()) [[likely]]
      return BeginCall(method, request);
    Fail(NotHere());
  }

  bool Read(const Incoming& message) {
    if (!MayWait()) return false;
    if (!is_intercepted_) [[likely]]
      return ReadPlainly(message);
    return (answers() ? Answer(message) : ReadPlainly(message)) && PassRead(message);
  }

  bool Write(const Outgoing& message) {
    if (!MayWait()) return false;
    if (is_intercepted_) [[unlikely]] {
      if (!PassWrite(message)) return false;
      if (answers()) return true;
    }
    return IsSent(stream_.Write(message, {}, life));
  }

  bool WritesDone() {
    if (!MayWait() || HasEnded()) return false;
    if (is_intercepted_) [[unlikely]] {
      if (!PassWritesDone()) return false;
      if (answers()) return true;
    }
    return IsSent(stream_.SendFrame(CallFrameKind::kHalfClose, {}, life));
  }

  void WaitForInitialMetadata() {
    if (MayWait() && !answers()) Await(/*initial=*/true);
  }

  Status Finish() {
    if (!MayWait()) return IsForkedCopy() ? ForkedStatus() : status();
    if (answers()) [[unlikely]] {
      EndAnswered();
    } else {
      stream_.Discard();
      Await(/*initial=*/false);
    }
    TellEnd();
    return status();
  }

  // Nobody asks for its end any more.
  void Abandon() {
    if (IsForkedCopy()) return Unref();
    Fail({StatusCode::CANCELLED, "nobody waits for its end"});
    // Whoever has ended it may not be through.
    if (is_intercepted_ && !client_.polling().InPoll()) {
      Await(/*initial=*/false);
      TellEnd();
    }
    Unref();
  }

  // ---- For the thread that polls ----

  void End(Status status, const CallFrame* end) override {
    SetEnd(std::move(status), end);
    WakeWaiter();
    Unref();
  }
  bool OnFrame(CallFrameKind kind, const CallFrame& frame) override {
    const ClientStreamState before = state_.Get();
    const bool is_correct = TakeFrame(kind, frame);
    if (state_.Get() != before) [[unlikely]]
      WakeWaiter();
    return is_correct;
  }

 private:
  static Status NotHere() {
    return {StatusCode::FAILED_PRECONDITION,
            "a synchronous call on the thread that polls could never end: use a reactor here"};
  }
  // False: on the thread that polls; then the call has ended. Or in a forked child.
  bool MayWait() {
    if (IsForkedCopy()) [[unlikely]]
      return false;
    if (!client_.polling().InPoll()) [[likely]]
      return true;
    client_.Cancel(id, NotHere());
    return false;
  }

  bool ReadPlainly(const Incoming& message) {
    switch (stream_.Read(message, life)) {
      case MessageStream::Outcome::kMessage:
        return true;
      case MessageStream::Outcome::kEnd:
        return false;
      case MessageStream::Outcome::kUnwanted:
        client_.EndIfUnwanted(*this);
        return false;
      case MessageStream::Outcome::kNotParsed:
        client_.Cancel(id, NotParsed());
        return false;
    }
    return false;
  }
  bool IsSent(SendResult result) {
    if (result == SendResult::kOk) [[likely]]
      return true;
    client_.EndUnsent(*this, result);
    return false;
  }

  // Until the end, or until the initial metadata would be there.
  void Await(bool initial) {
    Polling& polling = client_.polling();
    for (;;) {
      PollWaiter waiter;
      {
        const std::lock_guard lock(mutex_);
        if (HasEnded() || (initial && state_.Get() != ClientStreamState::kWaiting)) return;
        waiter_ = &waiter;
      }
      if (polling.Await(waiter, life.deadline())) continue;
      // Ends the call, and so the wait.
      client_.EndIfUnwanted(*this);
      (void)polling.Await(waiter, Clock::time_point::max());
    }
  }
  void WakeWaiter() {
    PollWaiter* waiter = nullptr;
    {
      const std::lock_guard lock(mutex_);
      waiter = std::exchange(waiter_, nullptr);
    }
    if (waiter != nullptr) client_.polling().Complete(*waiter);
  }
  void TellEnd() {
    {
      const std::lock_guard lock(mutex_);
      if (state_.Get() == ClientStreamState::kFinished) return;
      state_.Set(ClientStreamEvent::kFinish);
    }
    TellInterceptors();
  }

  PollWaiter* waiter_ = nullptr;  // guarded by mutex_; see Await()
};

ClientStreamHandle::ClientStreamHandle(Channel& channel, const MethodName& method,
                                       ClientContext* context, const Outgoing& request,
                                       const Incoming& response)
    : stream_(new ClientWaitingStream(channel, *context, response)) {
  stream_->Begin(method, request);
}

ClientStreamHandle::~ClientStreamHandle() { stream_->Abandon(); }
bool ClientStreamHandle::Read(const Incoming& message) { return stream_->Read(message); }
bool ClientStreamHandle::Write(const Outgoing& message) { return stream_->Write(message); }
bool ClientStreamHandle::WritesDone() { return stream_->WritesDone(); }
void ClientStreamHandle::WaitForInitialMetadata() { stream_->WaitForInitialMetadata(); }
Status ClientStreamHandle::Finish() { return stream_->Finish(); }

}  // namespace ivmq::rpc::internal
