// gRPC's names for programs that were written for it: a port is a change of includes and namespace.
//
//   -#include <grpcpp/grpcpp.h>           all headers of grpcpp/ and grpc/ become this one
//   +#include "ivmq/rpc/grpc_compat.h"
//   -#include "helloworld.grpc.pb.h"
//   +#include "helloworld.ivmq.pb.h"
//   +namespace grpc = ivmq::grpc;          or ivmq::grpc:: in place of grpc::
//
// docs/conformance.md lists which parts of gRPC's API exist here. A file that includes this header
// must not include gRPC's, but a program may have files of both kinds.
//
// Targets of channels, and addresses that servers listen on:
//
//   ivmq:///NAME         the peer NAME in the region of $IVMQ_ADDRESS, or in that of the guest's
//                        device
//   ivmq://REGION/NAME   the peer NAME in the region with that address, which is everything before
//                        the last slash: ivmq://unix:/run/ivmq/ivmq.sock/vm1, ivmq://shm:/ivmq/vm1
//   HOST:PORT            the same as ivmq:///port-PORT: a program that uses 0.0.0.0:50051 or
//                        localhost:50051 finds its peers in the region. Port 0 of a server selects
//                        a free one. gRPC's prefixes dns:, ipv4: and ipv6: are ignored.
//
// In NAME, %XX stands for a byte. A server is the peer of that name. The channels of a process to
// one region share one peer, whose name is unique, or set by
// ChannelArguments::SetString("ivmq.name", ...); a server of that name shares the peer, too.
#ifndef IVMQ_RPC_GRPC_COMPAT_H_
#define IVMQ_RPC_GRPC_COMPAT_H_

#include "ivmq/export.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <google/protobuf/message.h>

#include "ivmq/rpc/client.h"
#include "ivmq/rpc/endpoint.h"
#include "ivmq/rpc/interceptor.h"
#include "ivmq/rpc/internal/metadata.h"
#include "ivmq/rpc/internal/status_names.h"
#include "ivmq/rpc/reactor.h"
#include "ivmq/rpc/server.h"
#include "ivmq/rpc/stream.h"

namespace ivmq::grpc {

using rpc::Alarm;
using rpc::CallbackServerContext;
using rpc::Channel;
using rpc::ChannelInterface;
using rpc::ClientBidiReactor;
using rpc::ClientContext;
using rpc::ClientReader;
using rpc::ClientReaderInterface;
using rpc::ClientReaderWriter;
using rpc::ClientReaderWriterInterface;
using rpc::ClientReadReactor;
using rpc::ClientUnaryReactor;
using rpc::ClientWriter;
using rpc::ClientWriteReactor;
using rpc::ClientWriterInterface;
using rpc::HealthCheckServiceInterface;
using rpc::PropagationOptions;
using rpc::Server;
using rpc::ServerBidiReactor;
using rpc::ServerContext;
using ServerContextBase = rpc::ServerContext;
using rpc::ServerReader;
using rpc::ServerReaderWriter;
using rpc::ServerReadReactor;
using rpc::ServerUnaryReactor;
using rpc::ServerWriter;
using rpc::ServerWriteReactor;
using rpc::Service;
using rpc::Status;
using rpc::StatusCode;
using rpc::string_ref;
using rpc::WriteOptions;

inline std::string Version() { return "1.51.1 (ivmq)"; }

// ---- Credentials ----

// A region is one trust domain. Credentials that promise security are accepted and ignored: the
// first ones of a process cause a warning on stderr.
class IVMQ_EXPORT ChannelCredentials {
 public:
  virtual ~ChannelCredentials() = default;
};
class IVMQ_EXPORT ServerCredentials {
 public:
  virtual ~ServerCredentials() = default;
};

struct SslCredentialsOptions {
  std::string pem_root_certs{};
  std::string pem_private_key{};
  std::string pem_cert_chain{};
};
struct SslServerCredentialsOptions {
  struct PemKeyCertPair {
    std::string private_key{};
    std::string cert_chain{};
  };
  std::string pem_root_certs{};
  std::vector<PemKeyCertPair> pem_key_cert_pairs{};
  bool force_client_auth = false;
};

IVMQ_EXPORT std::shared_ptr<ChannelCredentials> InsecureChannelCredentials();
IVMQ_EXPORT std::shared_ptr<ServerCredentials> InsecureServerCredentials();
IVMQ_EXPORT std::shared_ptr<ChannelCredentials> SslCredentials(
    const SslCredentialsOptions& options);
IVMQ_EXPORT std::shared_ptr<ServerCredentials> SslServerCredentials(
    const SslServerCredentialsOptions& options);

// ---- Messages as bytes ----

class ByteBuffer {
 public:
  ByteBuffer() = default;
  [[nodiscard]] std::size_t Length() const noexcept { return bytes_.size(); }
  [[nodiscard]] bool Valid() const noexcept { return valid_; }
  void Clear() noexcept { *this = ByteBuffer(); }
  void Swap(ByteBuffer* other) noexcept { std::swap(*this, *other); }

 private:
  template <typename Message>
  friend class SerializationTraits;

  std::string bytes_;
  bool valid_ = false;
};

// Of protobuf messages.
template <typename Message>
class SerializationTraits {
  static_assert(std::is_base_of_v<google::protobuf::Message, Message>);

 public:
  static Status Serialize(const google::protobuf::Message& message, ByteBuffer* buffer,
                          bool* own_buffer) {
    *own_buffer = true;
    buffer->valid_ = message.SerializeToString(&buffer->bytes_);
    if (buffer->valid_) return Status();
    return {StatusCode::INTERNAL, "Failed to serialize message"};
  }
  // Empties the buffer.
  static Status Deserialize(ByteBuffer* buffer, google::protobuf::Message* message) {
    const bool parsed = buffer->valid_ && message->ParseFromString(buffer->bytes_);
    buffer->Clear();
    if (parsed) return Status();
    return {StatusCode::INTERNAL, message->InitializationErrorString()};
  }
};

// ---- Channels ----

// "ivmq.name" is the peer that the channel is of. Everything else is taken, and has no effect.
class ChannelArguments {
 public:
  void SetString(const std::string& key, const std::string& value) {
    if (key == "ivmq.name") name_ = value;
  }
  void SetInt(const std::string& /*key*/, int /*value*/) {}
  void SetMaxReceiveMessageSize(int /*size*/) {}
  void SetMaxSendMessageSize(int /*size*/) {}
  void SetUserAgentPrefix(const std::string& /*prefix*/) {}
  void SetLoadBalancingPolicyName(const std::string& /*name*/) {}
  void SetServiceConfigJSON(const std::string& /*json*/) {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  std::string name_;
};

// gRPC's interface of interceptors, over that of ivmq. What is not as in gRPC: Proceed() or
// Hijack() must be called before Intercept() returns; POST_SEND_MESSAGE and PRE_SEND_CANCEL do not
// come; what belongs to one call may come in more batches than there; ModifySendMessage() and
// FailHijackedSendMessage() cancel the call; received metadata is a copy.
namespace experimental {

// NOLINTBEGIN(readability-identifier-naming): gRPC's names
enum class InterceptionHookPoints {
  PRE_SEND_INITIAL_METADATA,
  PRE_SEND_MESSAGE,
  POST_SEND_MESSAGE,
  PRE_SEND_STATUS,
  PRE_SEND_CLOSE,
  PRE_RECV_INITIAL_METADATA,
  PRE_RECV_MESSAGE,
  PRE_RECV_STATUS,
  POST_RECV_INITIAL_METADATA,
  POST_RECV_MESSAGE,
  POST_RECV_STATUS,
  POST_RECV_CLOSE,
  PRE_SEND_CANCEL,
  NUM_INTERCEPTION_HOOKS
};
// NOLINTEND(readability-identifier-naming)

class IVMQ_EXPORT InterceptorBatchMethods {
 public:
  virtual ~InterceptorBatchMethods() = default;
  virtual bool QueryInterceptionHookPoint(InterceptionHookPoints type) = 0;
  virtual void Proceed() = 0;
  virtual void Hijack() = 0;
  virtual ByteBuffer* GetSerializedSendMessage() = 0;
  virtual const void* GetSendMessage() = 0;
  virtual void ModifySendMessage(const void* message) = 0;
  virtual bool GetSendMessageStatus() = 0;
  virtual std::multimap<std::string, std::string>* GetSendInitialMetadata() = 0;
  virtual Status GetSendStatus() = 0;
  virtual void ModifySendStatus(const Status& status) = 0;
  virtual std::multimap<std::string, std::string>* GetSendTrailingMetadata() = 0;
  virtual void* GetRecvMessage() = 0;
  virtual std::multimap<string_ref, string_ref>* GetRecvInitialMetadata() = 0;
  virtual Status* GetRecvStatus() = 0;
  virtual std::multimap<string_ref, string_ref>* GetRecvTrailingMetadata() = 0;
  virtual std::unique_ptr<ChannelInterface> GetInterceptedChannel() = 0;
  virtual void FailHijackedRecvMessage() = 0;
  virtual void FailHijackedSendMessage() = 0;
};

class IVMQ_EXPORT Interceptor {
 public:
  virtual ~Interceptor() = default;
  virtual void Intercept(InterceptorBatchMethods* methods) = 0;
};

class ClientRpcInfo {
 public:
  // NOLINTNEXTLINE(readability-identifier-naming): gRPC's names
  enum class Type { UNARY, CLIENT_STREAMING, SERVER_STREAMING, BIDI_STREAMING, UNKNOWN };

  ClientRpcInfo(const char* method, Type type, ChannelInterface* channel, ClientContext* context)
      : method_(method), type_(type), channel_(channel), context_(context) {}

  [[nodiscard]] const char* method() const noexcept { return method_; }
  [[nodiscard]] Type type() const noexcept { return type_; }
  // The one behind this interceptor.
  [[nodiscard]] ChannelInterface* channel() noexcept { return channel_; }
  [[nodiscard]] ClientContext* client_context() noexcept { return context_; }

 private:
  const char* method_;
  Type type_;
  ChannelInterface* channel_;
  ClientContext* context_;
};

class IVMQ_EXPORT ClientInterceptorFactoryInterface {
 public:
  virtual ~ClientInterceptorFactoryInterface() = default;
  // nullptr: none for this call.
  virtual Interceptor* CreateClientInterceptor(ClientRpcInfo* info) = 0;
};

class ServerRpcInfo {
 public:
  using Type = ClientRpcInfo::Type;

  ServerRpcInfo(const char* method, Type type, ServerContextBase* context)
      : method_(method), type_(type), context_(context) {}

  [[nodiscard]] const char* method() const noexcept { return method_; }
  [[nodiscard]] Type type() const noexcept { return type_; }
  [[nodiscard]] ServerContextBase* server_context() noexcept { return context_; }

 private:
  const char* method_;
  Type type_;
  ServerContextBase* context_;
};

class IVMQ_EXPORT ServerInterceptorFactoryInterface {
 public:
  virtual ~ServerInterceptorFactoryInterface() = default;
  // nullptr: none for this call.
  virtual Interceptor* CreateServerInterceptor(ServerRpcInfo* info) = 0;
};

using ServerInterceptorFactories = std::vector<std::unique_ptr<ServerInterceptorFactoryInterface>>;
using ClientInterceptorFactories = std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>>;

}  // namespace experimental

namespace internal {

// Endpoint::Open, which the libraries that know addresses define: rpc alone does not.
using OpenEndpoint = Result<std::shared_ptr<rpc::Endpoint>> (*)(std::string_view address,
                                                                rpc::EndpointOptions options);

IVMQ_EXPORT std::shared_ptr<Channel> CreateChannel(
    OpenEndpoint open, const std::string& target, const ChannelArguments& arguments,
    experimental::ClientInterceptorFactories interceptors);
// nullptr: it listens nowhere, and stderr says why. `port`: see AddListeningPort.
IVMQ_EXPORT std::shared_ptr<rpc::Endpoint> Listen(OpenEndpoint open, const std::string& address,
                                                  int* port);
IVMQ_EXPORT std::vector<rpc::ServerInterceptorFactory> ToInterceptors(
    experimental::ServerInterceptorFactories factories);
IVMQ_EXPORT void SayOnStderr(const std::string& what);
IVMQ_EXPORT bool IsHealthCheckEnabled();
IVMQ_EXPORT bool IsReflectionEnabled();

}  // namespace internal

// Never fails: the calls of one to a region that cannot be joined now end with UNAVAILABLE, which
// says why.
inline std::shared_ptr<Channel> CreateCustomChannel(
    const std::string& target, const std::shared_ptr<ChannelCredentials>& /*credentials*/,
    const ChannelArguments& arguments) {
  return internal::CreateChannel(&rpc::Endpoint::Open, target, arguments, {});
}
inline std::shared_ptr<Channel> CreateChannel(
    const std::string& target, const std::shared_ptr<ChannelCredentials>& credentials) {
  return CreateCustomChannel(target, credentials, ChannelArguments());
}

namespace experimental {

inline std::shared_ptr<Channel> CreateCustomChannelWithInterceptors(
    const std::string& target, const std::shared_ptr<ChannelCredentials>& /*credentials*/,
    const ChannelArguments& arguments, ClientInterceptorFactories interceptors) {
  return internal::CreateChannel(&rpc::Endpoint::Open, target, arguments, std::move(interceptors));
}

}  // namespace experimental

// ---- Servers ----

// Whether the servers that are built from now on offer grpc.health.v1.Health.
IVMQ_EXPORT void EnableDefaultHealthCheckService(bool enable);
IVMQ_EXPORT bool DefaultHealthCheckServiceEnabled();

namespace reflection {

// The servers that are built from now on offer ivmq's reflection.
IVMQ_EXPORT void InitProtoReflectionServerBuilderPlugin();

}  // namespace reflection

// One of ivmq::rpc::ServerBuilder, which has more to say. Thread-compatible.
class ServerBuilder {
 public:
  // NOLINTNEXTLINE(readability-identifier-naming): gRPC's names
  enum SyncServerOption { NUM_CQS, MIN_POLLERS, MAX_POLLERS, CQ_TIMEOUT_MSEC };

  // One address a server. `selected_port`: gets the port of HOST:PORT, otherwise 1, when the server
  // has been built; 0 if it has not.
  ServerBuilder& AddListeningPort(const std::string& address,
                                  const std::shared_ptr<ServerCredentials>& /*credentials*/,
                                  int* selected_port = nullptr) {
    addresses_.push_back(address);
    if (selected_port != nullptr) *(port_ = selected_port) = 0;
    return *this;
  }
  // Must outlive the server.
  ServerBuilder& RegisterService(Service* service) {
    services_.push_back(service);
    return *this;
  }

  // What gRPC has behind builder.experimental().
  class experimental_type {  // NOLINT(readability-identifier-naming): gRPC's name
   public:
    explicit experimental_type(ServerBuilder* builder) : builder_(builder) {}
    void SetInterceptorCreators(experimental::ServerInterceptorFactories creators) {
      builder_->interceptors_ = internal::ToInterceptors(std::move(creators));
    }

   private:
    ServerBuilder* builder_;
  };
  experimental_type experimental() { return experimental_type(this); }

  // These have no effect.
  ServerBuilder& SetMaxReceiveMessageSize(int /*size*/) { return *this; }
  ServerBuilder& SetMaxSendMessageSize(int /*size*/) { return *this; }
  ServerBuilder& SetMaxMessageSize(int /*size*/) { return *this; }
  ServerBuilder& SetSyncServerOption(SyncServerOption /*option*/, int /*value*/) { return *this; }
  template <typename Value>
  ServerBuilder& AddChannelArgument(const std::string& /*argument*/, const Value& /*value*/) {
    return *this;
  }

  // nullptr: it could not; stderr says why.
  std::unique_ptr<Server> BuildAndStart() {
    if (addresses_.size() != 1) {
      internal::SayOnStderr("a server listens on one address, this one on " +
                            std::to_string(addresses_.size()) +
                            ": see ServerBuilder::AddListeningPort");
      return nullptr;
    }
    int port = 0;
    std::shared_ptr<rpc::Endpoint> endpoint =
        internal::Listen(&rpc::Endpoint::Open, addresses_[0], &port);
    if (endpoint == nullptr) return nullptr;
    rpc::ServerBuilder builder(std::move(endpoint));
    for (Service* const service : services_) builder.RegisterService(service);
    for (const auto& interceptor : interceptors_) builder.AddInterceptor(interceptor);
    auto built = builder.EnableHealthCheck(internal::IsHealthCheckEnabled())
                     .EnableReflection(internal::IsReflectionEnabled())
                     .BuildAndStart();
    if (!built.ok()) {
      internal::SayOnStderr(built.status().ToString());
      return nullptr;
    }
    if (port_ != nullptr) *port_ = port;
    return *std::move(built);
  }

 private:
  std::vector<std::string> addresses_;
  std::vector<Service*> services_;
  std::vector<rpc::ServerInterceptorFactory> interceptors_;
  int* port_ = nullptr;
};

}  // namespace ivmq::grpc

// ---- gRPC's names without a namespace ----

using ivmq::rpc::GRPC_CHANNEL_CONNECTING;
using ivmq::rpc::GRPC_CHANNEL_IDLE;
using ivmq::rpc::GRPC_CHANNEL_READY;
using ivmq::rpc::GRPC_CHANNEL_SHUTDOWN;
using ivmq::rpc::GRPC_CHANNEL_TRANSIENT_FAILURE;
using ivmq::rpc::grpc_connectivity_state;

// Ends the program if `condition` does not hold.
#define GPR_ASSERT(condition)                                                                      \
  do {                                                                                             \
    if (!(condition)) [[unlikely]] {                                                               \
      (void)std::fprintf(stderr, "%s:%d: assertion failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                                \
    }                                                                                              \
  } while (false)

#endif  // IVMQ_RPC_GRPC_COMPAT_H_
