// Code that sees all calls of a channel or a server: for tracing, authorization, metrics, caches.
#ifndef IVMQ_RPC_INTERCEPTOR_H_
#define IVMQ_RPC_INTERCEPTOR_H_

#include "ivmq/export.h"

#include <functional>
#include <memory>
#include <string_view>

#include <google/protobuf/message.h>

#include "ivmq/rpc/client.h"
#include "ivmq/rpc/internal/method.h"
#include "ivmq/rpc/internal/status_names.h"
#include "ivmq/rpc/server.h"

namespace ivmq::rpc {

struct CallInfo {
  std::string_view method;  // "/package.Service/Method"
  std::string_view peer;    // clients: the peer of the channel, empty if that goes to a service;
                            // servers: empty, since finding it costs a read of the peer table: see
                            // ServerContext::peer()
  MethodType type = MethodType::kUnary;
};

// Created for one call. Its members are called one after the other, but possibly on different
// threads: those on which the call begins, continues and ends. On the thread that polls they must
// not block. Only the members for messages of the two directions may run at the same time, if the
// application reads and writes at the same time.
class IVMQ_EXPORT ClientInterceptor {
 public:
  virtual ~ClientInterceptor() = default;

  // ---- Of calls with one request and one response: once each ----

  // Before the request is sent. May add metadata. If it is not OK, the call ends with it, unsent.
  virtual Status Before(ClientContext& /*context*/, const google::protobuf::Message& /*request*/) {
    return Status::OK;
  }
  // After the end of the call, whatever caused it. May change both.
  virtual void After(ClientContext& /*context*/, Status& /*status*/,
                     google::protobuf::Message& /*response*/) {}

  // ---- Of calls with streams ----

  // Once, before anything is sent; as Before().
  virtual Status BeforeStream(ClientContext& /*context*/) { return Status::OK; }
  // For each message of the client, before it is sent; also for the request of a server stream.
  virtual void BeforeWrite(ClientContext& /*context*/,
                           const google::protobuf::Message& /*message*/) {}
  // The client has sent its last message.
  virtual void BeforeWritesDone(ClientContext& /*context*/) {}
  // For each message of the server, before the application sees it; also for the response of a
  // client stream. May change it.
  virtual void AfterRead(ClientContext& /*context*/, google::protobuf::Message& /*message*/) {}
  // Once, before the application sees the end, whatever caused it. May change the status.
  virtual void AfterStream(ClientContext& /*context*/, Status& /*status*/) {}

  // ---- Of calls that it answers in place of the server ----

  // Called once, after Before() or BeforeStream() has returned OK. True: nothing is sent, and inner
  // interceptors do not see the call. Instead of After(), AfterRead() and AfterStream(), the
  // functions below are called for the answers; BeforeWrite() and BeforeWritesDone() are called as
  // usual.
  virtual bool Answers(ClientContext& /*context*/) { return false; }
  // The next message that the application reads, or the response. False: there is nothing more.
  virtual bool Answer(ClientContext& /*context*/, google::protobuf::Message& /*message*/) {
    return false;
  }
  // How the call ends.
  virtual Status AnswerEnd(ClientContext& /*context*/) { return Status::OK; }
};

// Like that of a client.
class IVMQ_EXPORT ServerInterceptor {
 public:
  virtual ~ServerInterceptor() = default;

  // ---- Of calls with one request and one response: once each ----

  // Before the handler. If it is not OK, the call ends with it, and the handler does not run.
  virtual Status Before(ServerContext& /*context*/, const google::protobuf::Message& /*request*/) {
    return Status::OK;
  }
  // Before the response is sent. May change it, and the status.
  virtual void After(ServerContext& /*context*/, Status& /*status*/,
                     google::protobuf::Message& /*response*/) {}

  // ---- Of calls with streams ----

  // Once, before the handler; as Before().
  virtual Status BeforeStream(ServerContext& /*context*/) { return Status::OK; }
  // For each message of the client, before the handler sees it; also for the request of a server
  // stream. May change it.
  virtual void AfterRead(ServerContext& /*context*/, google::protobuf::Message& /*message*/) {}
  // For each message of the server, before it is sent; also for the response of a client stream.
  virtual void BeforeWrite(ServerContext& /*context*/,
                           const google::protobuf::Message& /*message*/) {}
  // Once, before the end is sent. May change the status.
  virtual void AfterStream(ServerContext& /*context*/, Status& /*status*/) {}
};

// An interceptor or a factory that throws ends the call with UNKNOWN; After() or AfterStream() of
// the interceptors before it are still called, and the exception is reported to
// NodeOptions::on_report. All of them run with no lock held.

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_INTERCEPTOR_H_
