#include "src/grpc_compat_interceptor.h"

#include <array>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "src/call_access.h"
#include "src/call_frame.h"

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

using Pairs = std::multimap<std::string, std::string>;

// Metadata that is to be sent.
Pairs ToPairs(const std::string& bytes) {
  Pairs pairs;
  rpc::internal::MetadataReader entries(bytes);
  while (const auto entry = entries.Next()) pairs.emplace(entry->key, entry->value);
  return pairs;
}

constexpr std::size_t Index(InterceptionHookPoints point) noexcept {
  return static_cast<std::size_t>(point);
}

// What is at hand at some hook points.
class HookedBatch : public experimental::InterceptorBatchMethods {
 public:
  HookedBatch& At(std::initializer_list<InterceptionHookPoints> points) {
    for (const InterceptionHookPoints point : points) points_.at(Index(point)) = true;
    return *this;
  }
  HookedBatch& Sending(const Message& message) {
    sent_ = &message;
    return *this;
  }
  HookedBatch& Receiving(Message& message) {
    received_ = &message;
    return *this;
  }
  HookedBatch& Ending(Status& status) {
    status_ = &status;
    return *this;
  }

  // Shows it to the interceptor. What that asks for and cannot have cancels the call.
  void Show(experimental::Interceptor& interceptor) {
    interceptor.Intercept(this);
    if (!proceeded_ && !hijacked_ && unsupported_ == nullptr) {
      unsupported_ = "returned before Proceed() or Hijack() was called";
    }
    if (unsupported_ != nullptr) {
      SayOnStderr("an interceptor: " + std::string(unsupported_) +
                  ": this is not supported, and the call is cancelled");
      Cancel();
    }
    if (initial_.has_value()) SetInitial(*initial_);
    if (trailing_.has_value()) SetTrailing(*trailing_);
  }
  [[nodiscard]] bool hijacked() const noexcept { return hijacked_; }
  [[nodiscard]] bool received_failed() const noexcept { return received_failed_; }

  bool QueryInterceptionHookPoint(InterceptionHookPoints type) override { return IsAt(type); }
  void Proceed() override { proceeded_ = true; }
  void Hijack() override { unsupported_ = "Hijack() where nothing can be hijacked"; }

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
  Pairs* GetSendInitialMetadata() override {
    if (!IsAt(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) return nullptr;
    if (!initial_.has_value()) initial_ = Initial();
    return &*initial_;
  }
  Status GetSendStatus() override {
    return IsAt(InterceptionHookPoints::PRE_SEND_STATUS) ? *status_ : Status();
  }
  void ModifySendStatus(const Status& status) override {
    if (IsAt(InterceptionHookPoints::PRE_SEND_STATUS)) *status_ = status;
  }
  Pairs* GetSendTrailingMetadata() override {
    if (!IsAt(InterceptionHookPoints::PRE_SEND_STATUS)) return nullptr;
    if (!trailing_.has_value()) trailing_ = Trailing();
    return &*trailing_;
  }
  void* GetRecvMessage() override { return dynamic_cast<void*>(received_); }
  std::multimap<string_ref, string_ref>* GetRecvInitialMetadata() override {
    received_initial_ = ReceivedInitial();
    return &received_initial_;
  }
  Status* GetRecvStatus() override {
    return IsAt(InterceptionHookPoints::PRE_SEND_STATUS) ? nullptr : status_;
  }
  std::multimap<string_ref, string_ref>* GetRecvTrailingMetadata() override { return nullptr; }
  std::unique_ptr<ChannelInterface> GetInterceptedChannel() override { return nullptr; }
  void FailHijackedRecvMessage() override { received_failed_ = true; }
  void FailHijackedSendMessage() override { unsupported_ = "FailHijackedSendMessage()"; }

 protected:
  [[nodiscard]] bool IsAt(InterceptionHookPoints point) const { return points_.at(Index(point)); }
  void SetHijacked() noexcept { hijacked_ = true; }

 private:
  virtual void Cancel() = 0;
  // What is to be sent, and what came.
  [[nodiscard]] virtual Pairs Initial() const = 0;
  [[nodiscard]] virtual Pairs Trailing() const { return {}; }
  virtual void SetInitial(const Pairs& pairs) = 0;
  virtual void SetTrailing(const Pairs& /*pairs*/) {}
  [[nodiscard]] virtual const rpc::Metadata& ReceivedInitial() const = 0;

  std::array<bool, Index(InterceptionHookPoints::NUM_INTERCEPTION_HOOKS)> points_{};
  const Message* sent_ = nullptr;
  Message* received_ = nullptr;
  Status* status_ = nullptr;
  ByteBuffer serialized_;
  std::optional<Pairs> initial_;
  std::optional<Pairs> trailing_;
  rpc::Metadata received_initial_;
  bool proceeded_ = false;
  bool hijacked_ = false;
  bool received_failed_ = false;
  const char* unsupported_ = nullptr;
};

class ClientBatch final : public HookedBatch {
 public:
  ClientBatch(const std::shared_ptr<const Shared>& shared, std::size_t next, ClientContext& context)
      : shared_(shared), next_(next), context_(context) {}

  void Hijack() override {
    if (IsAt(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      SetHijacked();
    } else {
      HookedBatch::Hijack();
    }
  }
  std::multimap<string_ref, string_ref>* GetRecvTrailingMetadata() override {
    received_trailing_ = context_.GetServerTrailingMetadata();
    return &received_trailing_;
  }
  std::unique_ptr<ChannelInterface> GetInterceptedChannel() override {
    return ChannelFrom(shared_, next_);
  }

 private:
  void Cancel() override { context_.TryCancel(); }
  [[nodiscard]] Pairs Initial() const override { return ToPairs(CallAccess::metadata(context_)); }
  void SetInitial(const Pairs& pairs) override {
    CallAccess::ClearMetadata(context_);
    for (const auto& [key, value] : pairs) context_.AddMetadata(key, value);
  }
  [[nodiscard]] const rpc::Metadata& ReceivedInitial() const override {
    return context_.GetServerInitialMetadata();
  }

  const std::shared_ptr<const Shared>& shared_;
  const std::size_t next_;
  ClientContext& context_;
  rpc::Metadata received_trailing_;
};

class ServerBatch final : public HookedBatch {
 public:
  explicit ServerBatch(ServerContext& context) : context_(context) {}

 private:
  void Cancel() override { context_.TryCancel(); }
  [[nodiscard]] Pairs Initial() const override { return ToPairs(CallAccess::initial(context_)); }
  [[nodiscard]] Pairs Trailing() const override { return ToPairs(CallAccess::trailing(context_)); }
  void SetInitial(const Pairs& pairs) override {
    CallAccess::ClearInitial(context_);
    for (const auto& [key, value] : pairs) context_.AddInitialMetadata(key, value);
  }
  void SetTrailing(const Pairs& pairs) override {
    CallAccess::ClearTrailing(context_);
    for (const auto& [key, value] : pairs) context_.AddTrailingMetadata(key, value);
  }
  [[nodiscard]] const rpc::Metadata& ReceivedInitial() const override {
    return context_.client_metadata();
  }

  ServerContext& context_;
};

// One interceptor of gRPC's interface, for one call of a client.
class ClientAdapter final : public rpc::ClientInterceptor {
 public:
  using Points = InterceptionHookPoints;

  ClientAdapter(std::shared_ptr<const Shared> shared, std::size_t index, const rpc::CallInfo& call)
      : shared_(std::move(shared)), index_(index), call_(call) {}

  Status Before(ClientContext& context, const Message& request) override {
    Make(context);
    Begin(ClientBatch(shared_, index_ + 1, context)
              .At({Points::PRE_SEND_INITIAL_METADATA, Points::PRE_SEND_MESSAGE,
                   Points::PRE_SEND_CLOSE})
              .Sending(request));
    return Status();
  }
  void After(ClientContext& context, Status& status, Message& response) override {
    Show(ClientBatch(shared_, index_ + 1, context)
             .At({Points::POST_RECV_INITIAL_METADATA, Points::POST_RECV_MESSAGE,
                  Points::POST_RECV_STATUS})
             .Receiving(response)
             .Ending(status));
  }

  Status BeforeStream(ClientContext& context) override {
    Make(context);
    Begin(ClientBatch(shared_, index_ + 1, context).At({Points::PRE_SEND_INITIAL_METADATA}));
    return Status();
  }
  void BeforeWrite(ClientContext& context, const Message& message) override {
    Show(ClientBatch(shared_, index_ + 1, context).At({Points::PRE_SEND_MESSAGE}).Sending(message));
  }
  void BeforeWritesDone(ClientContext& context) override {
    Show(ClientBatch(shared_, index_ + 1, context).At({Points::PRE_SEND_CLOSE}));
  }
  void AfterRead(ClientContext& context, Message& message) override {
    ClientBatch batch(shared_, index_ + 1, context);
    Show(WithInitial(batch, Points::POST_RECV_INITIAL_METADATA)
             .At({Points::POST_RECV_MESSAGE})
             .Receiving(message));
  }
  void AfterStream(ClientContext& context, Status& status) override {
    ClientBatch batch(shared_, index_ + 1, context);
    Show(WithInitial(batch, Points::POST_RECV_INITIAL_METADATA)
             .At({Points::POST_RECV_STATUS})
             .Ending(status));
  }

  bool Answers(ClientContext& /*context*/) override { return hijacked_; }
  bool Answer(ClientContext& context, Message& message) override {
    ClientBatch batch(shared_, index_ + 1, context);
    Show(WithInitial(batch, Points::PRE_RECV_INITIAL_METADATA)
             .At({Points::PRE_RECV_MESSAGE})
             .Receiving(message));
    return !batch.received_failed();
  }
  Status AnswerEnd(ClientContext& context) override {
    Status status;
    Show(ClientBatch(shared_, index_ + 1, context).At({Points::PRE_RECV_STATUS}).Ending(status));
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
  void Begin(HookedBatch& batch) {
    Show(batch);
    hijacked_ = batch.hijacked();
  }
  void Show(HookedBatch& batch) {
    if (interceptor_ != nullptr) batch.Show(*interceptor_);
  }
  // The first batch of what is received.
  HookedBatch& WithInitial(HookedBatch& batch, Points point) {
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

// The same for one of a server.
class ServerAdapter final : public rpc::ServerInterceptor {
 public:
  using Points = InterceptionHookPoints;

  ServerAdapter(experimental::ServerInterceptorFactoryInterface& factory, const rpc::CallInfo& call)
      : factory_(factory), call_(call) {}

  Status Before(ServerContext& context, const Message& request) override {
    Make(context);
    // The runtime's, which nobody else has yet.
    Show(ServerBatch(context)
             .At({Points::POST_RECV_INITIAL_METADATA, Points::POST_RECV_MESSAGE})
             .Receiving(const_cast<Message&>(request)));
    return Status();
  }
  void After(ServerContext& context, Status& status, Message& response) override {
    Show(ServerBatch(context)
             .At({Points::PRE_SEND_INITIAL_METADATA, Points::PRE_SEND_MESSAGE,
                  Points::PRE_SEND_STATUS})
             .Sending(response)
             .Ending(status));
    Show(ServerBatch(context).At({Points::POST_RECV_CLOSE}));
  }

  Status BeforeStream(ServerContext& context) override {
    Make(context);
    Show(ServerBatch(context).At({Points::POST_RECV_INITIAL_METADATA}));
    return Status();
  }
  void AfterRead(ServerContext& context, Message& message) override {
    Show(ServerBatch(context).At({Points::POST_RECV_MESSAGE}).Receiving(message));
  }
  void BeforeWrite(ServerContext& context, const Message& message) override {
    ServerBatch batch(context);
    Show(WithInitial(batch).At({Points::PRE_SEND_MESSAGE}).Sending(message));
  }
  void AfterStream(ServerContext& context, Status& status) override {
    ServerBatch batch(context);
    Show(WithInitial(batch).At({Points::PRE_SEND_STATUS}).Ending(status));
    Show(ServerBatch(context).At({Points::POST_RECV_CLOSE}));
  }

 private:
  void Make(ServerContext& context) {
    info_.emplace(call_.method.data(), static_cast<experimental::ServerRpcInfo::Type>(call_.type),
                  &context);
    interceptor_.reset(factory_.CreateServerInterceptor(&*info_));
  }
  void Show(HookedBatch& batch) {
    if (interceptor_ != nullptr) batch.Show(*interceptor_);
  }
  // The first batch of what is sent.
  HookedBatch& WithInitial(HookedBatch& batch) {
    return std::exchange(initial_shown_, true) ? batch
                                               : batch.At({Points::PRE_SEND_INITIAL_METADATA});
  }

  experimental::ServerInterceptorFactoryInterface& factory_;
  const rpc::CallInfo call_;
  std::optional<experimental::ServerRpcInfo> info_;
  std::unique_ptr<experimental::Interceptor> interceptor_;  // nullptr: none for this call
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
      return std::make_unique<ClientAdapter>(shared, i, call);
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

std::vector<rpc::ServerInterceptorFactory> ToInterceptors(
    experimental::ServerInterceptorFactories factories) {
  const auto shared =
      std::make_shared<experimental::ServerInterceptorFactories>(std::move(factories));
  std::vector<rpc::ServerInterceptorFactory> interceptors;
  for (const auto& factory : *shared) {
    // Each keeps them all.
    interceptors.emplace_back([shared, &factory = *factory](const rpc::CallInfo& call) {
      return std::make_unique<ServerAdapter>(factory, call);
    });
  }
  return interceptors;
}

}  // namespace ivmq::grpc::internal
