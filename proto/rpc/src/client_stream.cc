// Calls with streams, from the client's side.
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "ivmq/rpc/client_callback.h"
#include "ivmq/rpc/stream.h"

#include "src/call_access.h"
#include "src/client.h"
#include "src/interception.h"
#include "src/status_text.h"
#include "src/steps.h"
#include "src/stream.h"
#include "src/user_code.h"

namespace ivmq::rpc::internal {

// Driven by threads that wait, or by a reactor. Its creator holds a reference: until it is
// abandoned, or until the reactor's OnDone().
class ClientStream final : public ClientCall, public Steps {
 public:
  // Keeps the channel, and so the endpoint. `reactor`: nullptr for threads that wait.
  ClientStream(Channel& channel, ClientContext& context_in, const Incoming& response,
               ClientReactor* reactor)
      : ClientCall(channel.ClientForStream(false).node(), context_in, /*has_streams_in=*/true,
                   /*waits_in=*/false),
        Steps(channel.ClientForStream(reactor != nullptr).polling(),
              channel.ClientForStream(false).outbox(), stream_, /*open=*/false),
        channel_(channel.shared_from_this()),
        client_(channel.ClientForStream(false)),
        response_(response),
        stream_(client_.node(), client_.polling(), client_.outbox(), kClientKinds, life.peer(), id),
        reactor_(reactor),
        is_intercepted_(!channel.interceptors_.empty()) {}

  void Begin(const MethodName& method, const Outgoing& request) {
    Ref();  // the table's
    if (reactor_ == nullptr && client_.polling().InPoll()) {
      End(NotHere(), nullptr);
    } else if (!is_intercepted_) [[likely]] {
      client_.Begin(*this, *channel_, method, request);
    } else {
      BeginIntercepted(method, request);
    }
    if (reactor_ != nullptr && !awaits_request) Open();
  }
  void OnRequestSent() override { Open(); }

  // In a forked child nobody polls: a reactor hears the end where it begins the call.
  [[nodiscard]] bool IsForkedCopy() const noexcept { return client_.node().IsForkedCopy(); }
  void EndForked() {
    const auto tell = [this](auto call) {
      (void)RunUserCode(client_.node(), "the reactor of a call", call);
    };
    tell([&] { reactor_->OnReadInitialMetadataDone(false); });
    tell([&] { reactor_->OnDone(ForkedStatus()); });
    Unref();
  }

  // ---- For a reactor ----

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
      return StartHalfClose(/*tells=*/true);
    StartIntercepted([&] {
      started_.half_close = true;
      started_.half_close_tells = true;
    });
  }
  void StartReactorWriteLast(const Outgoing& message) {
    const Reference reference(*this);
    if (is_intercepted_) [[unlikely]] {
      return StartIntercepted([&] {
        started_.write = message;
        started_.half_close = true;
      });
    }
    StartWrite(message);
    // The reactor may be gone.
    StartHalfClose(/*tells=*/false);
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

  // ---- For threads that wait ----

  bool Read(const Incoming& message) {
    if (!MayWait()) return false;
    if (is_intercepted_) [[unlikely]]
      return ReadIntercepted(message);
    return ReadPlainly(message);
  }

  bool Write(const Outgoing& message) {
    if (!MayWait()) return false;
    if (is_intercepted_) [[unlikely]] {
      if (!PassWrite(message)) return false;
      if (answers()) return true;
    }
    const SendResult result = stream_.Write(message, {}, life);
    if (result == SendResult::kOk) [[likely]]
      return true;
    client_.EndUnsent(*this, result);
    return false;
  }

  bool WritesDone() {
    if (!MayWait() || HasEnded()) return false;
    if (is_intercepted_) [[unlikely]] {
      if (!PassWritesDone()) return false;
      if (answers()) return true;
    }
    const SendResult result = stream_.SendFrame(Kind::kHalfClose, {}, life);
    if (result == SendResult::kOk) [[likely]]
      return true;
    client_.EndUnsent(*this, result);
    return false;
  }

  void WaitForInitialMetadata() {
    if (MayWait() && !answers()) Await([this] { return has_initial_; });
  }

  Status Finish() {
    if (!MayWait()) return IsForkedCopy() ? ForkedStatus() : status();
    if (answers()) [[unlikely]] {
      EndAnswered();
    } else {
      stream_.Discard();
      Await([] { return false; });
    }
    TellInterceptors();
    return status();
  }

  // Nobody asks for its end any more.
  void Abandon() {
    if (IsForkedCopy()) return Unref();
    Fail({StatusCode::CANCELLED, "nobody waits for its end"});
    // Whoever has ended it may not be through.
    if (is_intercepted_ && !client_.polling().InPoll()) {
      Await([] { return false; });
      TellInterceptors();
    }
    Unref();
  }

  // ---- For the thread that polls ----

  void End(Status status, const Parsed* end) override {
    if (end != nullptr) {
      status = ReadEnd(*end, context);
      if (status.ok() && response_.has_value() && !response_.Parse(end->message)) {
        status = {StatusCode::INTERNAL, "the response does not parse"};
      }
    }
    CallAccess::End(context, status);
    Waiter* waiter = nullptr;
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      status_ = std::move(status);
      waiter = std::exchange(waiter_, nullptr);
    }
    stream_.OnEnd();
    if (waiter != nullptr) client_.polling().Complete(*waiter);
    // Nothing is sent any more, whether or not it has begun.
    if (reactor_ != nullptr) Open();
    Unref();
  }

  bool OnFrame(Kind kind, const Parsed& frame) override {
    if (!frame.metadata.empty() && !SetInitial(frame)) return false;
    switch (kind) {
      case Kind::kServerMessage:
        if (!stream_.OnMessage(frame.message)) return false;
        has_begun_ = true;
        break;
      case Kind::kServerInitial:
        has_begun_ = true;
        break;
      case Kind::kServerCredit:
        stream_.OnCredit(frame.header.argument);
        break;
      default:
        return false;
    }
    if (reactor_ != nullptr) Advance();
    return true;
  }

 private:
  void AddReference() override { Ref(); }
  void DropReference() override { Unref(); }
  void OnRead(Stream::Attempt how, const Incoming& message) override {
    if (how == Stream::Attempt::kNotParsed) {
      client_.Cancel(id, NotParsed());
    }
    bool ok = how == Stream::Attempt::kDone;
    if (is_intercepted_) [[unlikely]]
      ok = ok && PassRead(message);
    TellRead(ok);
  }
  void TellRead(bool ok) {
    if (!initial_told_) [[unlikely]]
      TellInitial();
    Tell([&] { reactor_->OnReadDone(ok); });
  }
  void OnWritten(SendResult result) override {
    const bool ok = result == SendResult::kOk;
    if (!ok) client_.EndUnsent(*this, result);
    Tell([&] { reactor_->OnWriteDone(ok); });
  }
  Stream::Attempt OnIdle(bool reads, bool writes) override {
    std::unique_lock lock(mutex_);
    if (!initial_told_ && (has_begun_ || ended_)) [[unlikely]] {
      lock.unlock();
      TellInitial();
      return Stream::Attempt::kDone;
    }
    if (is_intercepted_) [[unlikely]] {
      if (answers() && RunAnswered(lock)) return Stream::Attempt::kDone;
    }
    if (half_close_ && !writes) {
      const bool ended = ended_;
      if (!ended && TrySendFrame(Kind::kHalfClose, {}) == Stream::Attempt::kFull) {
        return Stream::Attempt::kFull;
      }
      half_close_ = false;
      const bool tells = half_close_tells_;
      lock.unlock();
      if (tells) Tell([&] { reactor_->OnWritesDoneDone(!ended); });
      return Stream::Attempt::kDone;
    }
    if (!ended_ || reads || writes || holds_ != 0 || done_) return Stream::Attempt::kNotYet;
    done_ = true;
    lock.unlock();
    TellInterceptors();
    const Status status = this->status();
    Tell([&] { reactor_->OnDone(status); });
    Unref();  // the reactor's
    return Stream::Attempt::kEnd;
  }

  void TellInitial() {
    initial_told_ = true;
    bool ok = has_begun_;
    if (!ok) {
      const std::lock_guard lock(mutex_);
      // They may have come with the end.
      ok = status_.ok() || !context.GetServerInitialMetadata().empty();
    }
    Tell([&] { reactor_->OnReadInitialMetadataDone(ok); });
  }

  // Calls a member of the reactor. One that throws ends the call.
  template <typename Call>
  void Tell(Call call) {
    if (!RunUserCode(client_.node(), "the reactor of a call", call)) {
      client_.Cancel(id, {StatusCode::UNKNOWN, "the reactor has thrown"});
    }
  }

  [[nodiscard]] Status ForkedStatus() const {
    return {StatusCode::FAILED_PRECONDITION, client_.node().status().message()};
  }
  bool ReadPlainly(const Incoming& message) {
    switch (stream_.Read(message, life)) {
      case Stream::Outcome::kMessage:
        return true;
      case Stream::Outcome::kEnd:
        return false;
      case Stream::Outcome::kUnwanted:
        client_.EndIfUnwanted(*this);
        return false;
      case Stream::Outcome::kNotParsed:
        client_.Cancel(id, NotParsed());
        return false;
    }
    return false;
  }

  // ---- With interceptors ----

  void BeginIntercepted(const MethodName& method, const Outgoing& request) {
    const MethodType type = request.has_value()     ? MethodType::kServerStream
                            : response_.has_value() ? MethodType::kClientStream
                                                    : MethodType::kBidiStream;
    interception_.emplace(client_.node(), channel_->interceptors_,
                          CallInfo{.method = method.path, .peer = channel_->peer(), .type = type});
    Status status = interception_->BeforeStream(context);
    if (status.ok() && request.has_value() &&
        !(interception_->BeforeWrite(context, request) &&
          interception_->BeforeWritesDone(context))) {
      status = Interception::Thrown();
    }
    if (!status.ok()) {
      End(std::move(status), nullptr);
    } else if (!answers()) {
      client_.Begin(*this, *channel_, method, request);
    }
    StartIntercepted([&] { started_.open = true; });
  }
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
  bool FailThrown() {
    Fail(Interception::Thrown());
    return false;
  }
  bool ReadIntercepted(const Incoming& message) {
    return (answers() ? Answer(message) : ReadPlainly(message)) && PassRead(message);
  }
  bool Answer(const Incoming& message) {
    return !HasEnded() && !CallAccess::cancelled(context) &&
           interception_->Answer(context, message);
  }
  void EndAnswered() {
    if (!TakeEnd()) return;
    End(CallAccess::cancelled(context) ? Status(StatusCode::CANCELLED, kCancelledText)
                                       : interception_->AnswerEnd(context, response_),
        nullptr);
  }
  // Of the end, before the application hears of it.
  void TellInterceptors() {
    if (!interception_.has_value() || std::exchange(interceptors_told_, true)) return;
    Status status = this->status();
    if (status.ok() && response_.has_value() && !interception_->AfterRead(context, response_)) {
      status = Interception::Thrown();
    }
    interception_->AfterStream(context, status);
    const std::lock_guard lock(mutex_);
    status_ = std::move(status);
  }

  // What a reactor starts waits until the call has begun; then it goes on behind the interceptors.
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
    if (started.half_close) {
      (void)PassWritesDone();
      StartHalfClose(started.half_close_tells);
    }
    Advance();
  }
  // A step of a reactor whose call is answered here, for OnIdle(). False: there is none.
  bool RunAnswered(std::unique_lock<std::mutex>& lock) {
    if (started_.write.has_value()) {
      const Outgoing message = std::exchange(started_.write, {});
      lock.unlock();
      const bool ok = PassWrite(message);
      Tell([&] { reactor_->OnWriteDone(ok); });
    } else if (started_.half_close) {
      started_.half_close = false;
      const bool tells = std::exchange(started_.half_close_tells, false);
      lock.unlock();
      const bool ok = PassWritesDone();
      if (tells) Tell([&] { reactor_->OnWritesDoneDone(ok); });
    } else if (started_.read.has_value()) {
      const Incoming message = std::exchange(started_.read, {});
      lock.unlock();
      TellRead(Answer(message) && PassRead(message));
    } else if (!ended_ && holds_ == 0) {
      lock.unlock();
      EndAnswered();
    } else {
      return false;
    }
    return true;
  }

  static Status NotHere() {
    return {StatusCode::FAILED_PRECONDITION,
            "a synchronous call on the thread that polls could never end: use a reactor here"};
  }
  // False: on the thread that polls; then the call has ended. Or in a forked child, to which it
  // does not belong.
  bool MayWait() {
    if (IsForkedCopy()) [[unlikely]]
      return false;
    if (!client_.polling().InPoll()) [[likely]]
      return true;
    client_.Cancel(id, NotHere());
    return false;
  }
  // Ends the call if it has not ended.
  void Fail(Status status) {
    if (id != 0) return client_.Cancel(id, std::move(status));
    if (TakeEnd()) End(std::move(status), nullptr);
  }
  // Of a call that is in no table: whether the caller is to end it.
  bool TakeEnd() {
    const std::lock_guard lock(mutex_);
    return !ended_ && !std::exchange(end_taken_, true);
  }
  [[nodiscard]] bool HasEnded() {
    const std::lock_guard lock(mutex_);
    return ended_;
  }
  [[nodiscard]] Status status() {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  // `tells`: OnWritesDoneDone() comes.
  void StartHalfClose(bool tells) {
    const Reference reference(*this);
    {
      const std::lock_guard lock(mutex_);
      half_close_ = true;
      half_close_tells_ = tells;
    }
    Advance();
  }
  static Status NotParsed() {
    return {StatusCode::INTERNAL, "a message of the stream does not parse"};
  }

  bool SetInitial(const Parsed& frame) {
    EntryReader entries(frame.metadata);
    Waiter* waiter = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return true;  // the context may be gone
      if (has_initial_) return false;
      while (const std::optional<Entry> entry = entries.Next()) {
        CallAccess::initial(context).Set(entry->key, entry->value);
      }
      has_initial_ = true;
      waiter = std::exchange(waiter_, nullptr);
    }
    if (waiter != nullptr) client_.polling().Complete(*waiter);
    return !entries.malformed();
  }

  // Until the end or what `ready` says.
  template <typename Ready>
  void Await(Ready ready) {
    Polling& polling = client_.polling();
    for (;;) {
      Waiter waiter;
      {
        const std::lock_guard lock(mutex_);
        if (ended_ || ready()) return;
        waiter_ = &waiter;
      }
      if (polling.Await(waiter, life.deadline())) continue;
      // Ends the call, and so the wait.
      client_.EndIfUnwanted(*this);
      (void)polling.Await(waiter, Clock::time_point::max());
    }
  }

  const std::shared_ptr<Channel> channel_;
  Client& client_;
  const Incoming response_;
  Stream stream_;

  std::mutex mutex_;
  bool ended_ = false;        // guarded by mutex_
  bool end_taken_ = false;    // guarded by mutex_
  bool has_initial_ = false;  // guarded by mutex_
  Status status_;             // guarded by mutex_
  Waiter* waiter_ = nullptr;  // guarded by mutex_; for the end, or the initial metadata

  // With a reactor.
  ClientReactor* const reactor_;  // gone once done_
  bool has_begun_ = false;        // the poller's; the server has sent its initial metadata
  bool initial_told_ = false;     // the poller's; also that there are none
  bool half_close_ = false;       // guarded by mutex_
  bool half_close_tells_ = true;  // guarded by mutex_
  int holds_ = 0;                 // guarded by mutex_
  bool done_ = false;             // guarded by mutex_

  // With interceptors.
  struct Started {
    Incoming read{};
    Outgoing write{};
    bool half_close = false;
    bool half_close_tells = false;
    bool open = false;  // the call has begun
  };
  const bool is_intercepted_;
  std::optional<Interception> interception_;  // from the call's beginning on
  bool interceptors_told_ = false;  // the poller's with a reactor, else the user's thread's
  Started started_;                 // guarded by mutex_; by a reactor, not yet passed on
};

ClientStreamHandle::ClientStreamHandle(Channel& channel, const MethodName& method,
                                       ClientContext* context, const Outgoing& request,
                                       const Incoming& response)
    : stream_(new ClientStream(channel, *context, response, nullptr)) {
  stream_->Begin(method, request);
}

ClientStreamHandle::~ClientStreamHandle() { stream_->Abandon(); }
bool ClientStreamHandle::Read(const Incoming& message) { return stream_->Read(message); }
bool ClientStreamHandle::Write(const Outgoing& message) { return stream_->Write(message); }
bool ClientStreamHandle::WritesDone() { return stream_->WritesDone(); }
void ClientStreamHandle::WaitForInitialMetadata() { stream_->WaitForInitialMetadata(); }
Status ClientStreamHandle::Finish() { return stream_->Finish(); }

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
  stream_ = new ClientStream(channel, *context, response, this);
  stream_->AddHolds(1);  // until the call has begun
}

void ClientReactor::StartCall() {
  ClientStream* const stream = stream_;
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
