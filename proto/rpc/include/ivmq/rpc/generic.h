// Calls by the path of the method, with bytes as messages: for tools, proxies and bindings of other
// languages, which have no generated code. They interoperate with typed stubs and services: the
// bytes are the serialized messages.
//
//   ivmq::rpc::GenericStub stub(endpoint->CreateChannel("vm1"));
//   std::string response;
//   stub.Call(&context, "/pkg.Echo/Say", request, &response);
//
//   ivmq::rpc::GenericService service;
//   service.AddUnary("/pkg.Echo/Say", [](ivmq::rpc::ServerContext*, const std::string* request,
//                                        std::string* response) { ...; return ivmq::Status::OK; });
//   builder.RegisterService(&service);
//
// Everything else is as with generated code: contexts, streams, reactors, coroutines, interceptors
// (which see a google.protobuf.BytesValue).
#ifndef IVMQ_RPC_GENERIC_H_
#define IVMQ_RPC_GENERIC_H_

#include "ivmq/export.h"

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "ivmq/rpc/client.h"
#include "ivmq/rpc/internal/method.h"
#include "ivmq/rpc/internal/status_names.h"
#include "ivmq/rpc/reactor.h"
#include "ivmq/rpc/server.h"
#include "ivmq/rpc/stream.h"

namespace ivmq::rpc {

// Thread-safe. A path is "/package.Service/Method"; a path that the server does not offer ends the
// call with UNIMPLEMENTED. The path must live until the call has begun; what pointers refer to must
// live until the end of the call.
class GenericStub {
 public:
  // REQUIRES: channel
  explicit GenericStub(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}

  // One request and one response.
  Status Call(ClientContext* context, std::string_view path, const std::string& request,
              std::string* response) {
    return channel_->Call(Name(path), context, request, response);
  }
  // `done`: see Channel::CallAsync.
  void CallAsync(ClientContext* context, std::string_view path, const std::string& request,
                 std::string* response, std::function<void(Status)> done) {
    channel_->CallAsync(Name(path), context, request, response, std::move(done));
  }
  std::future<Status> CallFuture(ClientContext* context, std::string_view path,
                                 const std::string& request, std::string* response) {
    return channel_->CallFuture(Name(path), context, request, response);
  }
  // With a reactor the path must live until StartCall().
  void CallAsync(ClientContext* context, std::string_view path, const std::string& request,
                 std::string* response, ClientUnaryReactor* reactor) {
    reactor->Bind(*channel_, Name(path), context, request, response);
  }

  // A stream to the server.
  std::unique_ptr<ClientWriter<std::string>> ClientStream(ClientContext* context,
                                                          std::string_view path,
                                                          std::string* response) {
    return std::make_unique<ClientWriter<std::string>>(*channel_, Name(path), context, response);
  }
  void ClientStream(ClientContext* context, std::string_view path, std::string* response,
                    ClientWriteReactor<std::string>* reactor) {
    reactor->Bind(*channel_, Name(path), context, {}, response);
  }

  // A stream from the server.
  std::unique_ptr<ClientReader<std::string>> ServerStream(ClientContext* context,
                                                          std::string_view path,
                                                          const std::string& request) {
    return std::make_unique<ClientReader<std::string>>(*channel_, Name(path), context, request);
  }
  void ServerStream(ClientContext* context, std::string_view path, const std::string& request,
                    ClientReadReactor<std::string>* reactor) {
    reactor->Bind(*channel_, Name(path), context, request, {});
  }

  // Streams in both directions.
  std::unique_ptr<ClientReaderWriter<std::string, std::string>> BidiStream(ClientContext* context,
                                                                           std::string_view path) {
    return std::make_unique<ClientReaderWriter<std::string, std::string>>(*channel_, Name(path),
                                                                          context);
  }
  void BidiStream(ClientContext* context, std::string_view path,
                  ClientBidiReactor<std::string, std::string>* reactor) {
    reactor->Bind(*channel_, Name(path), context, {}, {});
  }

 private:
  static internal::MethodName Name(std::string_view path) noexcept {
    return internal::MethodName(path);
  }

  const std::shared_ptr<Channel> channel_;
};

// A service whose methods are added one by one, before it is registered. A server treats it like
// any other, and peers find it by the services in its paths.
//
// A handler has the parameters of a method of a generated service, with std::string for the
// messages, and returns a Status or a reactor, with the same meaning and on the same threads as in
// generated code. Calls run concurrently. Thread-compatible.
//
// Paths are "/package.Service/Method"; a server does not start with any other path.
class GenericService final : public Service {
 public:
  // (ServerContext*, const std::string* request, std::string* response), which gives a Status or a
  // ServerUnaryReactor*.
  template <typename Handler>
  void AddUnary(std::string path, Handler handler) {
    Add<MethodType::kUnary, const std::string*, std::string*>(std::move(path), std::move(handler));
  }

  // (ServerContext*, ServerReader<std::string>*, std::string* response), which gives a Status; or
  // (ServerContext*, std::string* response), which gives a ServerReadReactor<std::string>*.
  template <typename Handler>
  void AddClientStream(std::string path, Handler handler) {
    if constexpr (std::is_invocable_v<Handler&, ServerContext*, std::string*>) {
      Add<MethodType::kClientStream, std::string*>(std::move(path), std::move(handler));
    } else {
      Add<MethodType::kClientStream, ServerReader<std::string>*, std::string*>(std::move(path),
                                                                               std::move(handler));
    }
  }

  // (ServerContext*, const std::string* request, ServerWriter<std::string>*), which gives a Status;
  // or (ServerContext*, const std::string* request), which gives a
  // ServerWriteReactor<std::string>*.
  template <typename Handler>
  void AddServerStream(std::string path, Handler handler) {
    if constexpr (std::is_invocable_v<Handler&, ServerContext*, const std::string*>) {
      Add<MethodType::kServerStream, const std::string*>(std::move(path), std::move(handler));
    } else {
      Add<MethodType::kServerStream, const std::string*, ServerWriter<std::string>*>(
          std::move(path), std::move(handler));
    }
  }

  // (ServerContext*, ServerReaderWriter<std::string, std::string>*), which gives a Status; or
  // (ServerContext*), which gives a ServerBidiReactor<std::string, std::string>*.
  template <typename Handler>
  void AddBidiStream(std::string path, Handler handler) {
    if constexpr (std::is_invocable_v<Handler&, ServerContext*>) {
      Add<MethodType::kBidiStream>(std::move(path), std::move(handler));
    } else {
      Add<MethodType::kBidiStream, ServerReaderWriter<std::string, std::string>*>(
          std::move(path), std::move(handler));
    }
  }

 private:
  template <MethodType kType, typename... Parameters, typename Handler>
  void Add(std::string&& path, Handler handler) {
    using Given = std::invoke_result_t<Handler&, ServerContext*, Parameters...>;
    // A handler may give Status::OK itself.
    using Result = std::conditional_t<std::is_pointer_v<Given>, Given, Status>;
    AddMethod(std::move(path), kType,
              std::make_unique<internal::FunctionHandler<std::string, std::string, Handler, Result,
                                                         Parameters...>>(std::move(handler)));
  }
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_GENERIC_H_
