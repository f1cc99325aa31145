#include "src/grpc_compat_interceptor.h"

#include <array>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "src/call_access.h"
#include "src/frame.h"

namespace ivmq::grpc::internal {
namespace {

using experimental::ClientInterceptorFactories;
using experimental::ClientRpcInfo;
using experimental::InterceptionHookPoints;
using google::protobuf::Message;
using rpc::internal::CallAccess;

// What the interceptors of one channel have in common.
struct Shared {
  std::shared_ptr<rpc::Endpoint> endpoint;
  std::string peer;
  std::string unreachable;
  ClientInterceptorFactories factories;
};

// The channel that the interceptors from number `first` on see.
std::unique_ptr<Channel> ChannelFrom(const std::shared_ptr<const Shared>& shared,
                                     std::size_t first);

// Metadata that is to be sent, as pairs.
std::multimap<std::string, std::string> ToPairs(const ClientContext& context) {
  std::multimap<std::string, std::string> pairs;
  rpc::internal::EntryReader entries(CallAccess::metadata(context));
  while (const auto entry = entries.Next()) pairs.emplace(entry->key, entry->value);
  return pairs;
}

constexpr std::size_t Index(InterceptionHookPoints point) noexcept {
  return static_cast<std::size_t>(point);
}

// What is at hand at some hook points.
class Batch final : public experimental::InterceptorBatchMethods {
 public:
  Batch(const std::shared_ptr<const Shared>& shared, std::size_t next, ClientContext& context)
      : shared_(shared), next_(next), context_(context) {}

  Batch& At(std::initializer_list<InterceptionHookPoints> points) {
    for (const InterceptionHookPoints point : points) points_.at(Index(point)) = true;
    return *this;
  }
  Batch& Sending(const Message& message) {
    sent_ = &message;
    return *this;
  }
  Batch& Receiving(Message& message) {
    received_ = &message;
    return *this;
  }
  Batch& Ending(Status& status) {
    status_ = &status;
    return *this;
  }

  // Shows it to the interceptor. What that asks for and cannot have ends the call.
  void Show(experimental::Interceptor& interceptor) {
    interceptor.Intercept(this);
    if (!proceeded_ && !hijacked_ && unsupported_ == nullptr) {
      unsupported_ = "returned before Proceed() or Hijack() was called";
    }
    if (unsupported_ != nullptr) {
      SayOnStderr("an interceptor: " + std::string(unsupported_) +
                  ": this is not supported, and the call is cancelled");
      context_.TryCancel();
    }
    if (metadata_.has_value() && *metadata_ != ToPairs(context_)) {
      CallAccess::ClearMetadata(context_);
      for (const auto& [key, value] : *metadata_) context_.AddMetadata(key, value);
    }
  }
  [[nodiscard]] bool hijacked() const noexcept { return hijacked_; }
  [[nodiscard]] bool received_failed() const noexcept { return received_failed_; }

  bool QueryInterceptionHookPoint(InterceptionHookPoints type) override {
    return points_.at(Index(type));
  }
  void Proceed() override { proceeded_ = true; }
  void Hijack() override {
    if (QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      hijacked_ = true;
    } else {
      unsupported_ = "Hijack() without PRE_SEND_INITIAL_METADATA";
    }
  }

  ByteBuffer* GetSerializedSendMessage() override {
    if (sent_ == nullptr) return nullptr;
    bool own = false;
    (void)SerializationTraits<Message>::Serialize(*sent_, &serialized_, &own);
    return &serialized_;
  }
  // The message itself: interceptors cast it to its own class.
  const void* GetSendMessage() override { return dynamic_cast<const void*>(sent_); }
  void ModifySendMessage(const void* /*message*/) override { unsupported_ = "ModifySendMessage()"; }
  bool GetSendMessageStatus() override { return true; }
  std::multimap<std::string, std::string>* GetSendInitialMetadata() override {
    if (!QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      return nullptr;
    }
    if (!metadata_.has_value()) metadata_ = ToPairs(context_);
    return &*metadata_;
  }
  Status GetSendStatus() override { return Status(); }
  void ModifySendStatus(const Status& /*status*/) override {}
  std::multimap<std::string, std::string>* GetSendTrailingMetadata() override { return nullptr; }
  void* GetRecvMessage() override { return dynamic_cast<void*>(received_); }
  std::multimap<string_ref, string_ref>* GetRecvInitialMetadata() override {
    initial_ = context_.GetServerInitialMetadata();
    return &initial_;
  }
  Status* GetRecvStatus() override { return status_; }
  std::multimap<string_ref, string_ref>* GetRecvTrailingMetadata() override {
    if (status_ == nullptr) return nullptr;
    trailing_ = context_.GetServerTrailingMetadata();
    return &trailing_;
  }
  std::unique_ptr<ChannelInterface> GetInterceptedChannel() override {
    return ChannelFrom(shared_, next_);
  }
  void FailHijackedRecvMessage() override { received_failed_ = true; }
  void FailHijackedSendMessage() override { unsupported_ = "FailHijackedSendMessage()"; }

 private:
  const std::shared_ptr<const Shared>& shared_;
  const std::size_t next_;
  ClientContext& context_;
  std::array<bool, Index(InterceptionHookPoints::NUM_INTERCEPTION_HOOKS)> points_{};
  const Message* sent_ = nullptr;
  Message* received_ = nullptr;
  Status* status_ = nullptr;
  ByteBuffer serialized_;
  std::optional<std::multimap<std::string, std::string>> metadata_;
  std::multimap<string_ref, string_ref> initial_;
  std::multimap<string_ref, string_ref> trailing_;
  bool proceeded_ = false;
  bool hijacked_ = false;
  bool received_failed_ = false;
  const char* unsupported_ = nullptr;
};

// One interceptor of gRPC's interface, for one call.
class Adapter final : public rpc::ClientInterceptor {
 public:
  using Points = InterceptionHookPoints;

  Adapter(std::shared_ptr<const Shared> shared, std::size_t index, const rpc::CallInfo& call)
      : shared_(std::move(shared)), index_(index), call_(call) {}

  Status Before(ClientContext& context, const Message& request) override {
    Make(context);
    Begin(Batch(shared_, index_ + 1, context)
              .At({Points::PRE_SEND_INITIAL_METADATA, Points::PRE_SEND_MESSAGE,
                   Points::PRE_SEND_CLOSE})
              .Sending(request));
    return Status();
  }
  void After(ClientContext& context, Status& status, Message& response) override {
    Show(Batch(shared_, index_ + 1, context)
             .At({Points::POST_RECV_INITIAL_METADATA, Points::POST_RECV_MESSAGE,
                  Points::POST_RECV_STATUS})
             .Receiving(response)
             .Ending(status));
  }

  Status BeforeStream(ClientContext& context) override {
    Make(context);
    Begin(Batch(shared_, index_ + 1, context).At({Points::PRE_SEND_INITIAL_METADATA}));
    return Status();
  }
  void BeforeWrite(ClientContext& context, const Message& message) override {
    Show(Batch(shared_, index_ + 1, context).At({Points::PRE_SEND_MESSAGE}).Sending(message));
  }
  void BeforeWritesDone(ClientContext& context) override {
    Show(Batch(shared_, index_ + 1, context).At({Points::PRE_SEND_CLOSE}));
  }
  void AfterRead(ClientContext& context, Message& message) override {
    Batch batch(shared_, index_ + 1, context);
    Show(WithInitial(batch, Points::POST_RECV_INITIAL_METADATA)
             .At({Points::POST_RECV_MESSAGE})
             .Receiving(message));
  }
  void AfterStream(ClientContext& context, Status& status) override {
    Batch batch(shared_, index_ + 1, context);
    Show(WithInitial(batch, Points::POST_RECV_INITIAL_METADATA)
             .At({Points::POST_RECV_STATUS})
             .Ending(status));
  }

  bool Answers(ClientContext& /*context*/) override { return hijacked_; }
  bool Answer(ClientContext& context, Message& message) override {
    Batch batch(shared_, index_ + 1, context);
    Show(WithInitial(batch, Points::PRE_RECV_INITIAL_METADATA)
             .At({Points::PRE_RECV_MESSAGE})
             .Receiving(message));
    return !batch.received_failed();
  }
  Status AnswerEnd(ClientContext& context) override {
    Status status;
    Show(Batch(shared_, index_ + 1, context).At({Points::PRE_RECV_STATUS}).Ending(status));
    return status;
  }

 private:
  void Make(ClientContext& context) {
    channel_ = ChannelFrom(shared_, index_ + 1);
    // The path is a literal.
    info_.emplace(call_.method.data(), static_cast<ClientRpcInfo::Type>(call_.type), channel_.get(),
                  &context);
    interceptor_.reset(shared_->factories[index_]->CreateClientInterceptor(&*info_));
  }
  void Begin(Batch& batch) {
    Show(batch);
    hijacked_ = batch.hijacked();
  }
  void Show(Batch& batch) {
    if (interceptor_ != nullptr) batch.Show(*interceptor_);
  }
  // The first batch of what is received.
  Batch& WithInitial(Batch& batch, Points point) {
    return std::exchange(initial_shown_, true) ? batch : batch.At({point});
  }

  const std::shared_ptr<const Shared> shared_;
  const std::size_t index_;
  const rpc::CallInfo call_;
  std::unique_ptr<Channel> channel_;  // what the interceptor's info points to
  std::optional<ClientRpcInfo> info_;
  std::unique_ptr<experimental::Interceptor> interceptor_;  // nullptr: none for this call
  bool hijacked_ = false;
  bool initial_shown_ = false;
};

static_assert(static_cast<int>(ClientRpcInfo::Type::BIDI_STREAMING) ==
              static_cast<int>(rpc::MethodType::kBidiStream));
static_assert(static_cast<int>(ClientRpcInfo::Type::CLIENT_STREAMING) ==
              static_cast<int>(rpc::MethodType::kClientStream));

std::unique_ptr<Channel> ChannelFrom(const std::shared_ptr<const Shared>& shared,
                                     std::size_t first) {
  std::vector<rpc::ClientInterceptorFactory> interceptors;
  for (std::size_t i = first; i < shared->factories.size(); ++i) {
    interceptors.emplace_back([shared, i](const rpc::CallInfo& call) {
      return std::make_unique<Adapter>(shared, i, call);
    });
  }
  return std::make_unique<Channel>(shared->endpoint, shared->peer, std::move(interceptors),
                                   shared->unreachable);
}

}  // namespace

std::shared_ptr<Channel> MakeChannel(const std::shared_ptr<rpc::Endpoint>& endpoint,
                                     const std::string& peer,
                                     ClientInterceptorFactories interceptors,
                                     std::string unreachable) {
  return ChannelFrom(std::make_shared<const Shared>(
                         Shared{endpoint, peer, std::move(unreachable), std::move(interceptors)}),
                     0);
}

}  // namespace ivmq::grpc::internal
