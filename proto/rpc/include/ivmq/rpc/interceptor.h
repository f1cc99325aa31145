// Code that sees all calls of a channel or a server: for tracing, authorization, metrics, caches.
#ifndef IVMQ_RPC_INTERCEPTOR_H_
#define IVMQ_RPC_INTERCEPTOR_H_

#include <functional>
#include <memory>
#include <string_view>

#include <google/protobuf/message.h>

#include "ivmq/rpc/client_context.h"
#include "ivmq/rpc/method.h"
#include "ivmq/rpc/server_context.h"
#include "ivmq/rpc/status.h"

namespace ivmq::rpc {

struct CallInfo {
  std::string_view method;  // "/package.Service/Method"
  std::string_view peer;    // clients: the one that the channel goes to, empty if that is a
                            // service; servers: empty, since it costs a look at the peer table:
                            // see ServerContext::peer()
  MethodType type = MethodType::kUnary;
};

// Made for one call. Its members are called one after the other, but perhaps by different threads:
// those where the call begins, goes on and ends, so they must not block where that is the thread
// that polls. Only those of messages of both directions may run at once, where the application
// reads and writes at once.
class ClientInterceptor {
 public:
  virtual ~ClientInterceptor() = default;

  // ---- Of calls with one request and one response: once each ----

  // Before the request is sent. May add metadata. Not OK: the call ends with that and is not sent.
  virtual Status Before(ClientContext& /*context*/, const google::protobuf::Message& /*request*/) {
    return Status::OK;
  }
  // After the end, however it came. May change both.
  virtual void After(ClientContext& /*context*/, Status& /*status*/,
                     google::protobuf::Message& /*response*/) {}

  // ---- Of calls with streams ----

  // Once, before anything is sent; as Before().
  virtual Status BeforeStream(ClientContext& /*context*/) { return Status::OK; }
  // Of each message of the client's, before it is sent: the one request of a server's stream, too.
  virtual void BeforeWrite(ClientContext& /*context*/,
                           const google::protobuf::Message& /*message*/) {}
  // The client has said all.
  virtual void BeforeWritesDone(ClientContext& /*context*/) {}
  // Of each message of the server's, before the application sees it: the one response of a client's
  // stream, too. May change it.
  virtual void AfterRead(ClientContext& /*context*/, google::protobuf::Message& /*message*/) {}
  // Once, before the application hears of the end, however it came. May change the status.
  virtual void AfterStream(ClientContext& /*context*/, Status& /*status*/) {}

  // ---- Of calls that it answers in the server's place ----

  // Asked once, when its Before() or BeforeStream() has returned OK. True: nothing is sent, and
  // those behind it do not see the call. In place of its After(), AfterRead() and AfterStream() it
  // is asked for the answers; BeforeWrite() and BeforeWritesDone() come as usual.
  virtual bool Answers(ClientContext& /*context*/) { return false; }
  // What the application reads next; the response of calls with one. False: there is nothing more.
  virtual bool Answer(ClientContext& /*context*/, google::protobuf::Message& /*message*/) {
    return false;
  }
  // How the call ends.
  virtual Status AnswerEnd(ClientContext& /*context*/) { return Status::OK; }
};

// As that of a client.
class ServerInterceptor {
 public:
  virtual ~ServerInterceptor() = default;

  // ---- Of calls with one request and one response: once each ----

  // Before the handler. Not OK: the call ends with that, and the handler does not run.
  virtual Status Before(ServerContext& /*context*/, const google::protobuf::Message& /*request*/) {
    return Status::OK;
  }
  // Before the response is sent. May change it, and the status.
  virtual void After(ServerContext& /*context*/, Status& /*status*/,
                     google::protobuf::Message& /*response*/) {}

  // ---- Of calls with streams ----

  // Once, before the handler; as Before().
  virtual Status BeforeStream(ServerContext& /*context*/) { return Status::OK; }
  // Of each message of the client's, before the handler sees it: the one request of a server's
  // stream, too. May change it.
  virtual void AfterRead(ServerContext& /*context*/, google::protobuf::Message& /*message*/) {}
  // Of each message of the server's, before it is sent: the one response of a client's stream, too.
  virtual void BeforeWrite(ServerContext& /*context*/,
                           const google::protobuf::Message& /*message*/) {}
  // Once, before the end is sent. May change the status.
  virtual void AfterStream(ServerContext& /*context*/, Status& /*status*/) {}
};

// One that throws, as its factory does, ends the call with UNKNOWN; the After() or AfterStream() of
// those before it come all the same. NodeOptions::on_report hears it. They run with no lock held.

// Make an interceptor for a call, or nullptr for none; thread-safe. The first one is the outermost:
// of what its side sends it sees everything first, of what comes last.
using ClientInterceptorFactory =
    std::function<std::unique_ptr<ClientInterceptor>(const CallInfo& call)>;
using ServerInterceptorFactory =
    std::function<std::unique_ptr<ServerInterceptor>(const CallInfo& call)>;

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_INTERCEPTOR_H_
