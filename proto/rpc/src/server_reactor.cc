#include "src/server_reactor.h"

#include <utility>

#include "src/call_access.h"
#include "src/call_server.h"
#include "src/status_text.h"

namespace ivmq::rpc::internal {

CallbackCall::CallbackCall(Node& node, Polling& polling, Outbox& outbox, ServerCall& call)
    : Steps(polling, outbox, stream_, /*open=*/true),
      call_(call),
      stream_(node, polling, outbox, kServerKinds, call.from, call.id) {}

void CallbackCall::Begin() {
  const Reference reference(*this);
  if (const Status status = call_.server.Before(call_); !status.ok()) {
    call_.server.Reply(call_, status, /*may_wait=*/false);
    return call_.server.EndCall(call_);
  }
  ServerReactor* reactor = nullptr;
  Status failure(StatusCode::UNIMPLEMENTED, kUnimplementedText);
  try {
    reactor = call_.method.method->handler->Begin(call_.context, *call_.messages);
  } catch (...) {
    failure = call_.server.Thrown(call_);
  }
  if (reactor == nullptr) {
    call_.server.After(call_, failure);
    call_.server.Reply(call_, failure, /*may_wait=*/false);
    return call_.server.EndCall(call_);
  }
  bool initial = false;
  Incoming read;
  Outgoing write;
  std::optional<Status> last;
  std::optional<Status> finish;
  std::exception_ptr thrown;
  {
    const std::lock_guard lock(reactor->mutex_);
    reactor->call_ = this;
    initial = reactor->initial_;
    read = reactor->read_;
    write = reactor->write_;
    last = std::move(reactor->last_);
    finish = std::move(reactor->finish_);
    thrown = std::move(reactor->thrown_);
  }
  reactor_ = reactor;
  state_.Set(ServerReactorEvent::kRun);
  if (initial) StartInitialMetadata();
  if (write.has_value()) StartReactorWrite(write, std::move(last));
  if (read.has_value()) StartRead(read);
  if (finish.has_value()) Finish(*std::move(finish));
  if (thrown != nullptr) FinishThrown(thrown);
}

void CallbackCall::OnCancelled() {
  state_.Set(ServerReactorEvent::kCancel);
  stream_.OnEnd();
  if (reactor_ != nullptr) Advance();
}

bool CallbackCall::initial_sent() {
  const std::lock_guard lock(mutex_);
  return initial_ != Initial::kHeld;
}

void CallbackCall::StartReactorWrite(const Outgoing& message, std::optional<Status> last) {
  call_.BeforeWrite(message);
  std::string metadata;
  {
    const std::lock_guard lock(mutex_);
    last_ = std::move(last);
    if (initial_ == Initial::kHeld || initial_ == Initial::kStarted) {
      metadata = CallAccess::initial(call_.context);
      initial_ = initial_ == Initial::kHeld ? Initial::kGone : Initial::kCarried;
    }
  }
  StartWrite(message, std::move(metadata));
}

void CallbackCall::StartInitialMetadata() {
  const Reference reference(*this);
  {
    const std::lock_guard lock(mutex_);
    if (initial_ == Initial::kHeld) initial_ = Initial::kStarted;
  }
  Advance();
}

void CallbackCall::Finish(Status status) {
  const Reference reference(*this);
  SetFinish(std::move(status));
  Advance();
}

void CallbackCall::FinishThrown(const std::exception_ptr& thrown) {
  const Reference reference(*this);
  Tell([&] { std::rethrow_exception(thrown); });
  Advance();
}

void CallbackCall::SetFinish(Status status) {
  const std::lock_guard lock(mutex_);
  if (!finish_.has_value()) finish_ = std::move(status);
}

template <typename Call>
void CallbackCall::Tell(Call call) {
  try {
    call();
  } catch (...) {
    SetFinish(call_.server.Thrown(call_));
  }
}

void CallbackCall::OnRead(MessageStream::Attempt how, const Incoming& message) {
  if (how == MessageStream::Attempt::kNotParsed) unparsable_ = true;
  if (how == MessageStream::Attempt::kDone) call_.AfterRead(message);
  Tell([&] { reactor_->OnReadDone(how == MessageStream::Attempt::kDone); });
}

void CallbackCall::OnWritten(SendResult result) {
  if (result != SendResult::kOk) unsent_ = result;
  {
    const std::lock_guard lock(mutex_);
    if (last_.has_value()) {
      if (!finish_.has_value()) finish_ = std::move(last_);
      last_.reset();
      return;
    }
  }
  Tell([&] { reactor_->OnWriteDone(result == SendResult::kOk); });
}

MessageStream::Attempt CallbackCall::SendInitial(std::unique_lock<std::mutex>& lock, bool writes) {
  using Attempt = MessageStream::Attempt;
  if (initial_ != Initial::kStarted && (initial_ != Initial::kCarried || writes)) {
    return Attempt::kNotYet;
  }
  const bool is_wanted = state_.Get() == ServerReactorState::kRuns;
  if (initial_ == Initial::kStarted && is_wanted &&
      TrySendFrame(CallFrameKind::kServerInitial, CallAccess::initial(call_.context)) ==
          Attempt::kFull) {
    return Attempt::kFull;
  }
  initial_ = Initial::kGone;
  lock.unlock();
  Tell([&] { reactor_->OnSendInitialMetadataDone(is_wanted); });
  return Attempt::kDone;
}

MessageStream::Attempt CallbackCall::OnIdle(bool reads, bool writes) {
  using Attempt = MessageStream::Attempt;
  // Whoever started the last step posts this once more behind its end.
  if (reactor_ == nullptr) return Attempt::kEnd;
  if (state_.Get() == ServerReactorState::kCancelling) {
    state_.Set(ServerReactorEvent::kTell);
    Tell([&] { reactor_->OnCancel(); });
    return Attempt::kDone;
  }
  std::unique_lock lock(mutex_);
  if (const Attempt initial = SendInitial(lock, writes); initial != Attempt::kNotYet) {
    return initial;
  }
  if (!finish_.has_value() || writes) return Attempt::kNotYet;
  if (state_.Get() != ServerReactorState::kEnded) {
    const Status finish = *finish_;
    lock.unlock();
    if (!end_.has_value()) {
      Status result = finish.ok() ? call_.server.StreamStatus(call_, unparsable_, unsent_) : finish;
      call_.server.After(call_, result);
      end_ = call_.server.MakeEnd(call_, result, &response_);
    }
    if (!IsCancelled() && !call_.server.TryReply(call_, *end_, response_)) return Attempt::kFull;
    state_.Set(ServerReactorEvent::kEnd);
    stream_.OnEnd();
    return Attempt::kDone;
  }
  if (reads) return Attempt::kNotYet;
  lock.unlock();
  state_.Set(ServerReactorEvent::kFinish);
  ServerReactor* const reactor = std::exchange(reactor_, nullptr);
  Tell([&] { reactor->OnDone(); });
  call_.server.EndCall(call_);
  return Attempt::kEnd;
}

// ---- ServerReactor ----

ServerReactor::~ServerReactor() = default;

template <typename Keep>
CallbackCall* ServerReactor::CallOr(Keep keep) {
  const std::lock_guard lock(mutex_);
  if (call_ == nullptr) keep();
  return call_;
}

void ServerReactor::Finish(Status status) {
  CallbackCall* const call = CallOr([&] { finish_ = status; });
  if (call != nullptr) call->Finish(std::move(status));
}

void ServerReactor::FinishThrown(std::exception_ptr thrown) {
  CallbackCall* const call = CallOr([&] { thrown_ = thrown; });
  if (call != nullptr) call->FinishThrown(thrown);
}

void ServerReactor::StartSendInitialMetadata() {
  CallbackCall* const call = CallOr([&] { initial_ = true; });
  if (call != nullptr) call->StartInitialMetadata();
}

void ServerReactor::StartReadMessage(const Incoming& message) {
  CallbackCall* const call = CallOr([&] { read_ = message; });
  if (call != nullptr) call->StartRead(message);
}

void ServerReactor::StartWriteMessage(const Outgoing& message, std::optional<Status> last) {
  CallbackCall* const call = CallOr([&] {
    write_ = message;
    last_ = last;
  });
  if (call != nullptr) call->StartReactorWrite(message, std::move(last));
}

}  // namespace ivmq::rpc::internal

namespace ivmq::rpc {

ServerContext::ServerContext() = default;
ServerContext::~ServerContext() = default;

ServerUnaryReactor* ServerContext::DefaultReactor() {
  class Default final : public ServerUnaryReactor {
    void OnDone() override {}
  };
  if (default_reactor_ == nullptr) default_reactor_ = std::make_unique<Default>();
  return default_reactor_.get();
}

}  // namespace ivmq::rpc
