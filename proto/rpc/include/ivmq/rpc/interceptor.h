// Code that sees all unary calls of a channel or a server: for tracing, authorization, metrics.
#ifndef IVMQ_RPC_INTERCEPTOR_H_
#define IVMQ_RPC_INTERCEPTOR_H_

#include <functional>
#include <memory>
#include <string_view>

#include <google/protobuf/message.h>

#include "ivmq/rpc/client_context.h"
#include "ivmq/rpc/server_context.h"
#include "ivmq/rpc/status.h"

namespace ivmq::rpc {

struct CallInfo {
  std::string_view method;  // "/package.Service/Method"
  std::string_view peer;    // clients: the one that the channel goes to, empty if that is a
                            // service; servers: empty, since it costs a look at the peer table:
                            // see ServerContext::peer()
};

// Made for one call; its members are called once each, one after the other, but perhaps by
// different threads: those where the call begins and ends, so they must not block where that is the
// thread that polls.
class ClientInterceptor {
 public:
  virtual ~ClientInterceptor() = default;
  // Before the request is sent. May add metadata. Not OK: the call ends with that and is not sent.
  virtual Status Before(ClientContext& /*context*/, const google::protobuf::Message& /*request*/) {
    return Status::OK;
  }
  // After the end, however it came. May change both.
  virtual void After(ClientContext& /*context*/, Status& /*status*/,
                     google::protobuf::Message& /*response*/) {}
};

class ServerInterceptor {
 public:
  virtual ~ServerInterceptor() = default;
  // Before the handler. Not OK: the call ends with that, and the handler does not run.
  virtual Status Before(ServerContext& /*context*/, const google::protobuf::Message& /*request*/) {
    return Status::OK;
  }
  // Before the response is sent. May change it, and the status.
  virtual void After(ServerContext& /*context*/, Status& /*status*/,
                     google::protobuf::Message& /*response*/) {}
};

// One that throws, as its factory does, ends the call with UNKNOWN; the After() of those before it
// come all the same. NodeOptions::on_report hears it. They run with no lock held.

// Make an interceptor for a call; thread-safe. The first one is the outermost: its Before() comes
// first, its After() last.
using ClientInterceptorFactory =
    std::function<std::unique_ptr<ClientInterceptor>(const CallInfo& call)>;
using ServerInterceptorFactory =
    std::function<std::unique_ptr<ServerInterceptor>(const CallInfo& call)>;

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_INTERCEPTOR_H_
