// What a method of a service does, as the runtime calls it.
#ifndef IVMQ_RPC_INTERNAL_METHODANDLER_H_
#define IVMQ_RPC_INTERNAL_METHODANDLER_H_

#include "ivmq/export.h"

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "ivmq/internal/payload.h"
#include "ivmq/rpc/internal/method.h"
#include "ivmq/rpc/internal/status_names.h"

namespace ivmq::rpc {

class ServerContext;

namespace internal {

class ServerReactor;
class ServerStream;

// The request and the response of one call; used again for another one.
class IVMQ_EXPORT Messages {
 public:
  virtual ~Messages() = default;
  [[nodiscard]] virtual Incoming request() = 0;
  // What interceptors may change, and what is sent.
  [[nodiscard]] virtual Incoming response() = 0;
  [[nodiscard]] virtual Outgoing reply() const = 0;
};

template <typename Request, typename Response>
class TypedMessages final : public Messages {
 public:
  [[nodiscard]] Incoming request() override { return &request_; }
  [[nodiscard]] Incoming response() override { return &response_; }
  [[nodiscard]] Outgoing reply() const override { return response_; }

  [[nodiscard]] Request& typed_request() noexcept { return request_; }
  [[nodiscard]] Response& typed_response() noexcept { return response_; }

 private:
  Request request_;
  Response response_;
};

// What a method does. Thread-safe: calls run side by side.
class IVMQ_EXPORT MethodHandler {
 public:
  virtual ~MethodHandler() = default;
  [[nodiscard]] virtual std::unique_ptr<Messages> NewMessages() const = 0;
  // Whether it gives a reactor: then Begin() is called, otherwise Run().
  [[nodiscard]] virtual bool has_reactor() const noexcept = 0;
  // Both REQUIRE: `messages` are of NewMessages(). `stream`: nullptr if the method has none.
  [[nodiscard]] virtual Status Run(ServerContext& context, Messages& messages,
                                   ServerStream* stream) const = 0;
  // nullptr: the method is not implemented.
  [[nodiscard]] virtual ServerReactor* Begin(ServerContext& context, Messages& messages) const = 0;
};

// What a handler gets for a parameter of type T*: the object of a stream, the request, or the
// response.
template <typename Request, typename Response, typename Parameter>
class Passed;
template <typename Request, typename Response, typename Stream>
class Passed<Request, Response, Stream*> {
 public:
  Passed(TypedMessages<Request, Response>& /*messages*/, ServerStream* stream) : stream_(*stream) {}
  [[nodiscard]] Stream* get() noexcept { return &stream_; }

 private:
  Stream stream_;
};
template <typename Request, typename Response>
class Passed<Request, Response, const Request*> {
 public:
  Passed(TypedMessages<Request, Response>& messages, ServerStream* /*stream*/)
      : messages_(messages) {}
  [[nodiscard]] const Request* get() const noexcept { return &messages_.typed_request(); }

 private:
  TypedMessages<Request, Response>& messages_;
};
template <typename Request, typename Response>
class Passed<Request, Response, Response*> {
 public:
  Passed(TypedMessages<Request, Response>& messages, ServerStream* /*stream*/)
      : messages_(messages) {}
  [[nodiscard]] Response* get() const noexcept { return &messages_.typed_response(); }

 private:
  TypedMessages<Request, Response>& messages_;
};

// A function of (ServerContext*, Parameters...) that returns a Status, or a pointer to a reactor.
template <typename Request, typename Response, typename Function, typename Result,
          typename... Parameters>
class FunctionHandler final : public MethodHandler {
 public:
  explicit FunctionHandler(Function function) : function_(std::move(function)) {}

  [[nodiscard]] std::unique_ptr<Messages> NewMessages() const override {
    return std::make_unique<TypedMessages<Request, Response>>();
  }
  [[nodiscard]] bool has_reactor() const noexcept override { return kHasReactor; }
  [[nodiscard]] Status Run(ServerContext& context, Messages& messages,
                           ServerStream* stream) const override {
    if constexpr (kHasReactor) {
      return {StatusCode::INTERNAL, "the handler of this method gives a reactor"};
    } else {
      return Call(context, messages, stream);
    }
  }
  [[nodiscard]] ServerReactor* Begin(ServerContext& context, Messages& messages) const override {
    if constexpr (kHasReactor) {
      return Call(context, messages, nullptr);
    } else {
      return nullptr;
    }
  }

 private:
  static constexpr bool kHasReactor = std::is_pointer_v<Result>;

  Result Call(ServerContext& context, Messages& messages,
              [[maybe_unused]] ServerStream* stream) const {
    [[maybe_unused]] auto& typed = static_cast<TypedMessages<Request, Response>&>(messages);
    return function_(&context, Passed<Request, Response, Parameters>(typed, stream).get()...);
  }

  const Function function_;
};

// The same of a member of a service.
template <typename Request, typename Response, typename Service, typename Result,
          typename... Parameters>
std::unique_ptr<MethodHandler> MakeHandler(Service* service,
                                           Result (Service::*function)(ServerContext*,
                                                                       Parameters...)) {
  const auto call = [service, function](ServerContext* context, Parameters... parameters) {
    return (service->*function)(context, parameters...);
  };
  return std::make_unique<
      FunctionHandler<Request, Response, decltype(call), Result, Parameters...>>(call);
}

struct Method {
  std::string path;
  MethodType type = MethodType::kUnary;
  std::unique_ptr<MethodHandler> handler;
};

}  // namespace internal

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_INTERNAL_METHODANDLER_H_
