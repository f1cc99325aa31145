// Calls with streams, from the client's side.
#include <memory>
#include <utility>

#include "ivmq/rpc/client_callback.h"
#include "ivmq/rpc/stream.h"

#include "src/call_access.h"
#include "src/client.h"
#include "src/steps.h"
#include "src/stream.h"
#include "src/user_code.h"

namespace ivmq::rpc::internal {

// Driven by threads that wait, or by a reactor. Its creator holds a reference: until it is
// abandoned, or until the reactor's OnDone().
class ClientStream final : public ClientCall, public Steps {
 public:
  // Keeps the channel, and so the endpoint. `reactor`: nullptr for threads that wait.
  ClientStream(Channel& channel, ClientContext& context_in, google::protobuf::Message* response,
               ClientReactor* reactor)
      : ClientCall(channel.ClientForStream(false).node(), context_in, /*has_streams_in=*/true,
                   /*waits_in=*/false),
        Steps(channel.ClientForStream(reactor != nullptr).polling(),
              channel.ClientForStream(false).large(), stream_, /*open=*/false),
        channel_(channel.shared_from_this()),
        client_(channel.ClientForStream(false)),
        response_(response),
        stream_(client_.node(), client_.polling(), kClientKinds, life.peer(), id),
        reactor_(reactor) {}

  void Begin(const MethodName& method, const google::protobuf::Message* request) {
    Ref();  // the table's
    if (reactor_ == nullptr && client_.polling().InPoll()) {
      End(NotHere(), nullptr);
    } else {
      client_.Begin(*this, *channel_, method, request);
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
  void StartWriteLast(const google::protobuf::Message* message) {
    const Reference reference(*this);
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

  bool Read(google::protobuf::Message& message) {
    if (!MayWait()) return false;
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

  bool Write(const google::protobuf::Message& message) {
    if (!MayWait()) return false;
    const SendResult result = stream_.Write(message, {}, life);
    if (result == SendResult::kOk) [[likely]]
      return true;
    client_.EndUnsent(*this, result);
    return false;
  }

  bool WritesDone() {
    if (!MayWait()) return false;
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return false;
    }
    const SendResult result = stream_.SendFrame(Kind::kHalfClose, {}, 0, life);
    if (result == SendResult::kOk) [[likely]]
      return true;
    client_.EndUnsent(*this, result);
    return false;
  }

  void WaitForInitialMetadata() {
    if (MayWait()) Await([this] { return has_initial_; });
  }

  Status Finish() {
    if (!MayWait()) {
      if (IsForkedCopy()) return ForkedStatus();
      const std::lock_guard lock(mutex_);
      return status_;
    }
    stream_.Discard(life);
    Await([] { return false; });
    const std::lock_guard lock(mutex_);
    return status_;
  }

  // Nobody asks for its end any more.
  void Abandon() {
    if (!IsForkedCopy()) client_.Cancel(id, {StatusCode::CANCELLED, "nobody waits for its end"});
    Unref();
  }

  // ---- For the thread that polls ----

  void End(Status status, const Parsed* end) override {
    if (end != nullptr) {
      status = ReadEnd(*end, context);
      if (status.ok() && response_ != nullptr &&
          !response_->ParseFromArray(end->message.data(), static_cast<int>(end->message.size()))) {
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
  void OnRead(Stream::Attempt how) override {
    if (how == Stream::Attempt::kNotParsed) {
      client_.Cancel(id, NotParsed());
    }
    if (!initial_told_) [[unlikely]]
      TellInitial();
    Tell([&] { reactor_->OnReadDone(how == Stream::Attempt::kDone); });
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
    const Status status = status_;
    lock.unlock();
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
  google::protobuf::Message* const response_;
  Stream stream_;

  std::mutex mutex_;
  bool ended_ = false;        // guarded by mutex_
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
};

ClientStreamHandle::ClientStreamHandle(Channel& channel, const MethodName& method,
                                       ClientContext* context,
                                       const google::protobuf::Message* request,
                                       google::protobuf::Message* response)
    : stream_(new ClientStream(channel, *context, response, nullptr)) {
  stream_->Begin(method, request);
}

ClientStreamHandle::~ClientStreamHandle() { stream_->Abandon(); }
bool ClientStreamHandle::Read(google::protobuf::Message* message) {
  return stream_->Read(*message);
}
bool ClientStreamHandle::Write(const google::protobuf::Message& message) {
  return stream_->Write(message);
}
bool ClientStreamHandle::WritesDone() { return stream_->WritesDone(); }
void ClientStreamHandle::WaitForInitialMetadata() { stream_->WaitForInitialMetadata(); }
Status ClientStreamHandle::Finish() { return stream_->Finish(); }

// ---- ClientReactor ----

ClientReactor::~ClientReactor() { Unbind(); }

void ClientReactor::Unbind() {
  if (std::exchange(method_, nullptr) != nullptr) stream_->Unref();
}

void ClientReactor::Bind(Channel& channel, const MethodName& method, ClientContext* context,
                         const google::protobuf::Message* request,
                         google::protobuf::Message* response) {
  Unbind();
  method_ = &method;
  request_ = request;
  stream_ = new ClientStream(channel, *context, response, this);
  stream_->AddHolds(1);  // until the call has begun
}

void ClientReactor::StartCall() {
  ClientStream* const stream = stream_;
  const MethodName& method = *std::exchange(method_, nullptr);
  if (stream->IsForkedCopy()) return stream->EndForked();
  stream->Begin(method, request_);
  stream->RemoveHold();
}

void ClientReactor::AddMultipleHolds(int holds) { stream_->AddHolds(holds); }
void ClientReactor::RemoveHold() { stream_->RemoveHold(); }
void ClientReactor::StartReadMessage(google::protobuf::Message* message) {
  stream_->StartRead(message);
}
void ClientReactor::StartWriteMessage(const google::protobuf::Message* message) {
  stream_->StartWrite(message);
}
void ClientReactor::StartHalfClose() { stream_->StartHalfClose(/*tells=*/true); }
void ClientReactor::StartLastMessage(const google::protobuf::Message* message) {
  stream_->StartWriteLast(message);
}

}  // namespace ivmq::rpc::internal
