// Calls with streams whose client has a reactor.
#include <mutex>
#include <utility>

#include "ivmq/rpc/reactor.h"

#include "src/client_stream_call.h"
#include "src/steps.h"
#include "src/user_code.h"

namespace ivmq::rpc::internal {

// The reactor's reference lasts until its OnDone().
class ClientReactorStream final : public ClientStreamCall, public Steps {
 public:
  ClientReactorStream(Channel& channel, ClientContext& context_in, const Incoming& response,
                      ClientReactor& reactor)
      : ClientStreamCall(channel, context_in, response, /*calls_back=*/true),
        Steps(client_.polling(), client_.outbox(), stream_, /*open=*/false),
        reactor_(reactor) {}

  void Begin(const MethodName& method, const Outgoing& request) {
    Ref();  // the table's
    BeginCall(method, request);
    if (is_intercepted_) [[unlikely]]
      StartIntercepted([&] { started_.open = true; });
    // Otherwise the request is queued: nothing may be sent before it has gone.
    if (life.state().Get() != ClientCallState::kUnsent) Open();
  }
  void OnRequestSent() override { Open(); }

  // A reactor hears the end where it begins the call.
  void EndForked() {
    const auto tell = [this](auto call) {
      (void)RunUserCode(client_.node(), "the reactor of a call", call);
    };
    tell([&] { reactor_.OnReadInitialMetadataDone(false); });
    tell([&] { reactor_.OnDone(ForkedStatus()); });
    Unref();
  }

  // ---- For the reactor, on any thread ----

  void StartReactorRead(const Incoming& message) {
    if (!is_intercepted_) [[likely]]
      return StartRead(message);
    StartIntercepted([&] { started_.read = message; });
  }
  void StartReactorWrite(const Outgoing& message) {
    if (!is_intercepted_) [[likely]]
      return StartWrite(message);
    StartIntercepted([&] { started_.write = message; });
  }
  void StartReactorHalfClose() {
    if (!is_intercepted_) [[likely]]
      return StartHalfClose(HalfClose::kTold);
    StartIntercepted([&] { started_.half_close = HalfClose::kTold; });
  }
  void StartReactorWriteLast(const Outgoing& message) {
    const Reference reference(*this);
    if (is_intercepted_) [[unlikely]] {
      return StartIntercepted([&] {
        started_.write = message;
        started_.half_close = HalfClose::kSilent;
      });
    }
    StartWrite(message);
    // The reactor may be gone.
    StartHalfClose(HalfClose::kSilent);
  }
  void AddHolds(int holds) {
    const std::lock_guard lock(mutex_);
    holds_ += holds;
  }
  void RemoveHold() {
    const Reference reference(*this);
    {
      const std::lock_guard lock(mutex_);
      --holds_;
    }
    Advance();
  }

  // ---- For the thread that polls ----

  void End(Status status, const CallFrame* end) override {
    SetEnd(std::move(status), end);
    // Nothing is sent any more, whether or not it has begun.
    Open();
    Unref();
  }
  bool OnFrame(CallFrameKind kind, const CallFrame& frame) override {
    if (!TakeFrame(kind, frame)) return false;
    Advance();
    return true;
  }

 private:
  // The end of the client's stream, as it was started and has not gone yet.
  enum class HalfClose : std::uint8_t {
    kNone,
    kSilent,  // with a last message: OnWritesDoneDone() does not come
    kTold,
  };
  // What a reactor starts with interceptors waits here until the call has begun.
  struct Started {
    Incoming read{};
    Outgoing write{};
    HalfClose half_close = HalfClose::kNone;
    bool open = false;  // the call has begun
  };

  void AddReference() override { Ref(); }
  void DropReference() override { Unref(); }

  void OnRead(MessageStream::Attempt how, const Incoming& message) override {
    if (how == MessageStream::Attempt::kNotParsed) client_.Cancel(id, NotParsed());
    bool ok = how == MessageStream::Attempt::kDone;
    if (is_intercepted_) [[unlikely]]
      ok = ok && PassRead(message);
    TellRead(ok);
  }
  void OnWritten(SendResult result) override {
    const bool ok = result == SendResult::kOk;
    if (!ok) client_.EndUnsent(*this, result);
    Tell([&] { reactor_.OnWriteDone(ok); });
  }
  MessageStream::Attempt OnIdle(bool reads, bool writes) override {
    if (CanTell(state_.Get())) [[unlikely]] {
      TellInitial();
      return MessageStream::Attempt::kDone;
    }
    std::unique_lock lock(mutex_);
    if (is_intercepted_) [[unlikely]] {
      if (answers() && RunAnswered(lock)) return MessageStream::Attempt::kDone;
    }
    if (half_close_ != HalfClose::kNone && !writes) {
      const bool ended = HasEnded();
      if (!ended && TrySendFrame(CallFrameKind::kHalfClose, {}) == MessageStream::Attempt::kFull) {
        return MessageStream::Attempt::kFull;
      }
      const HalfClose done = std::exchange(half_close_, HalfClose::kNone);
      lock.unlock();
      if (done == HalfClose::kTold) Tell([&] { reactor_.OnWritesDoneDone(!ended); });
      return MessageStream::Attempt::kDone;
    }
    if (state_.Get() != ClientStreamState::kEndedTold || reads || writes || holds_ != 0) {
      return MessageStream::Attempt::kNotYet;
    }
    state_.Set(ClientStreamEvent::kFinish);
    lock.unlock();
    TellInterceptors();
    const Status end = status();
    Tell([&] { reactor_.OnDone(end); });
    Unref();  // the reactor's
    return MessageStream::Attempt::kEnd;
  }

  void TellInitial() {
    bool ok = false;
    {
      const std::lock_guard lock(mutex_);
      // They may have come with the end.
      ok = state_.Get() != ClientStreamState::kFailed || status_.ok() ||
           !context.GetServerInitialMetadata().empty();
      state_.Set(ClientStreamEvent::kTell);
    }
    Tell([&] { reactor_.OnReadInitialMetadataDone(ok); });
  }
  void TellRead(bool ok) {
    if (CanTell(state_.Get())) [[unlikely]]
      TellInitial();
    Tell([&] { reactor_.OnReadDone(ok); });
  }
  // Calls a member of the reactor. One that throws ends the call.
  template <typename Call>
  void Tell(Call call) {
    if (!RunUserCode(client_.node(), "the reactor of a call", call)) {
      Fail({StatusCode::UNKNOWN, "the reactor has thrown"});
    }
  }

  void StartHalfClose(HalfClose how) {
    const Reference reference(*this);
    {
      const std::lock_guard lock(mutex_);
      half_close_ = how;
    }
    Advance();
  }
  // Goes on behind the interceptors with what was started, once the call has begun.
  template <typename Set>
  void StartIntercepted(Set set) {
    const Reference reference(*this);
    Started started;
    {
      const std::lock_guard lock(mutex_);
      set();
      if (!started_.open) return;
      if (!answers()) started = std::exchange(started_, Started{.open = true});
    }
    if (started.write.has_value()) {
      // One that did not pass ends with the call.
      (void)PassWrite(started.write);
      StartWrite(started.write);
    }
    if (started.read.has_value()) StartRead(started.read);
    if (started.half_close != HalfClose::kNone) {
      (void)PassWritesDone();
      StartHalfClose(started.half_close);
    }
    Advance();
  }
  // A step of a call that is answered here, for OnIdle(). False: there is none.
  bool RunAnswered(std::unique_lock<std::mutex>& lock) {
    if (started_.write.has_value()) {
      const Outgoing message = std::exchange(started_.write, {});
      lock.unlock();
      const bool ok = PassWrite(message);
      Tell([&] { reactor_.OnWriteDone(ok); });
    } else if (started_.half_close != HalfClose::kNone) {
      const HalfClose how = std::exchange(started_.half_close, HalfClose::kNone);
      lock.unlock();
      const bool ok = PassWritesDone();
      if (how == HalfClose::kTold) Tell([&] { reactor_.OnWritesDoneDone(ok); });
    } else if (started_.read.has_value()) {
      const Incoming message = std::exchange(started_.read, {});
      lock.unlock();
      TellRead(Answer(message) && PassRead(message));
    } else if (!HasEnded() && holds_ == 0) {
      lock.unlock();
      EndAnswered();
    } else {
      return false;
    }
    return true;
  }

  ClientReactor& reactor_;                   // gone once kFinished
  HalfClose half_close_ = HalfClose::kNone;  // guarded by mutex_
  int holds_ = 0;                            // guarded by mutex_
  Started started_;                          // guarded by mutex_; with interceptors
};

// ---- ClientReactor ----

ClientReactor::~ClientReactor() { Unbind(); }

void ClientReactor::Unbind() {
  if (std::exchange(method_, std::nullopt).has_value()) stream_->Unref();
}

void ClientReactor::Bind(Channel& channel, const MethodName& method, ClientContext* context,
                         const Outgoing& request, const Incoming& response) {
  Unbind();
  method_ = method;
  request_ = request;
  stream_ = new ClientReactorStream(channel, *context, response, *this);
  stream_->AddHolds(1);  // until the call has begun
}

void ClientReactor::StartCall() {
  ClientReactorStream* const stream = stream_;
  const MethodName method = *std::exchange(method_, std::nullopt);
  if (stream->IsForkedCopy()) return stream->EndForked();
  stream->Begin(method, request_);
  stream->RemoveHold();
}

void ClientReactor::AddMultipleHolds(int holds) { stream_->AddHolds(holds); }
void ClientReactor::RemoveHold() { stream_->RemoveHold(); }
void ClientReactor::StartReadMessage(const Incoming& message) {
  stream_->StartReactorRead(message);
}
void ClientReactor::StartWriteMessage(const Outgoing& message) {
  stream_->StartReactorWrite(message);
}
void ClientReactor::StartHalfClose() { stream_->StartReactorHalfClose(); }
void ClientReactor::StartLastMessage(const Outgoing& message) {
  stream_->StartReactorWriteLast(message);
}

}  // namespace ivmq::rpc::internal
