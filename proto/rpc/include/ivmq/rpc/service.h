// Services: what generated code derives from.
#ifndef IVMQ_RPC_SERVICE_H_
#define IVMQ_RPC_SERVICE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/message.h>

#include "ivmq/rpc/method.h"
#include "ivmq/rpc/server_context.h"
#include "ivmq/rpc/status.h"

namespace ivmq::rpc {

namespace internal {

class ServerReactor;
class ServerStream;

// The request and the response of one call; used again for another one.
class Messages {
 public:
  virtual ~Messages() = default;
  [[nodiscard]] virtual google::protobuf::Message& request() = 0;
  [[nodiscard]] virtual google::protobuf::Message& response() = 0;
};

template <typename Request, typename Response>
class TypedMessages final : public Messages {
 public:
  [[nodiscard]] Request& request() override { return request_; }
  [[nodiscard]] Response& response() override { return response_; }

 private:
  Request request_;
  Response response_;
};

// What a method does. Thread-safe: calls run side by side.
class MethodHandler {
 public:
  virtual ~MethodHandler() = default;
  [[nodiscard]] virtual std::unique_ptr<Messages> NewMessages() const = 0;
  // Of unary methods. REQUIRES: `messages` are of NewMessages().
  [[nodiscard]] virtual Status Run(ServerContext& /*context*/, Messages& /*messages*/) const {
    return {StatusCode::INTERNAL, "this method has streams"};
  }
  // Of methods whose handler gives a reactor, which Begin() returns; nullptr for all others.
  [[nodiscard]] virtual ServerReactor* Begin(ServerContext& /*context*/,
                                             Messages& /*messages*/) const {
    return nullptr;
  }
  // Whether it does.
  [[nodiscard]] virtual bool has_reactor() const noexcept { return false; }
  // Of methods with streams.
  [[nodiscard]] virtual Status RunStream(ServerContext& /*context*/, Messages& /*messages*/,
                                         ServerStream& /*stream*/) const {
    return {StatusCode::INTERNAL, "this method has no streams"};
  }
};

template <typename Service, typename Request, typename Response>
class UnaryHandler final : public MethodHandler {
 public:
  using Function = Status (Service::*)(ServerContext*, const Request*, Response*);

  UnaryHandler(Service* service, Function function) : service_(service), function_(function) {}

  [[nodiscard]] std::unique_ptr<Messages> NewMessages() const override {
    return std::make_unique<TypedMessages<Request, Response>>();
  }
  [[nodiscard]] Status Run(ServerContext& context, Messages& messages) const override {
    auto& typed = static_cast<TypedMessages<Request, Response>&>(messages);
    return (service_->*function_)(&context, &typed.request(), &typed.response());
  }

 private:
  Service* service_;
  Function function_;
};

struct Method {
  std::string path;
  MethodType type = MethodType::kUnary;
  std::unique_ptr<MethodHandler> handler;
};

}  // namespace internal

// The base of all generated services. Must outlive the servers that offer it, see Server::Shutdown.
// A handler that throws ends its call with UNKNOWN; NodeOptions::on_report hears what it was.
class Service {
 public:
  Service() = default;
  virtual ~Service() = default;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // ---- For the runtime ----
  [[nodiscard]] const std::vector<internal::Method>& methods() const noexcept { return methods_; }

 protected:
  void AddMethod(const char* path, MethodType type,
                 std::unique_ptr<internal::MethodHandler> handler) {
    methods_.push_back({path, type, std::move(handler)});
  }

 private:
  std::vector<internal::Method> methods_;
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_SERVICE_H_
