// Calls of a client whose steps end in callbacks; names are gRPC's.
//
// Derive from one of these classes, pass the object to stub->async()->Method(), then call
// StartCall(). The On... members are called on the thread that polls, one at a time, and must not
// block. OnDone() is the last one: the reactor may delete itself there. A member that throws ends
// the call with UNKNOWN, and the exception is reported to NodeOptions::on_report; OnDone() is still
// called.
#ifndef IVMQ_RPC_CLIENT_CALLBACK_H_
#define IVMQ_RPC_CLIENT_CALLBACK_H_

#include <memory>
#include <optional>

#include "ivmq/internal/payload.h"
#include "ivmq/rpc/channel.h"
#include "ivmq/rpc/client_context.h"
#include "ivmq/rpc/status.h"
#include "ivmq/rpc/write_options.h"

namespace ivmq::rpc {

namespace internal {

class ClientReactorStream;

class ClientReactor {
 public:
  ClientReactor() = default;
  ClientReactor(const ClientReactor&) = delete;
  ClientReactor& operator=(const ClientReactor&) = delete;
  virtual ~ClientReactor();

  // Begins the call. Reads and writes may be started before. If a reactor is destroyed without it,
  // there was no call.
  void StartCall();
  // While there are holds, OnDone() is not called: for steps that are started outside the
  // callbacks. Thread-safe.
  void AddHold() { AddMultipleHolds(1); }
  void AddMultipleHolds(int holds);
  void RemoveHold();

  // The server's initial metadata has arrived. Called once, before the first OnReadDone(). False:
  // the call has failed without any.
  virtual void OnReadInitialMetadataDone(bool /*ok*/) {}
  // The call has ended, and so has every step that was started.
  virtual void OnDone(const Status& /*status*/) {}

  // ---- For generated code ----
  // `request` is sent at once, if there is one; `response` is for a method with one response.
  void Bind(Channel& channel, const MethodName& method, ClientContext* context,
            const Outgoing& request, const Incoming& response);

 protected:
  friend class ClientReactorStream;
  virtual void OnReadDone(bool /*ok*/) {}
  virtual void OnWriteDone(bool /*ok*/) {}
  virtual void OnWritesDoneDone(bool /*ok*/) {}

  void StartReadMessage(const Incoming& message);
  void StartWriteMessage(const Outgoing& message);
  // Both, without OnWritesDoneDone().
  void StartLastMessage(const Outgoing& message);
  void StartHalfClose();

 private:
  ClientReactorStream* stream_ = nullptr;
  // Drops a call that was bound and never begun.
  void Unbind();

  // Until the call begins.
  std::optional<MethodName> method_;
  Outgoing request_;
};

}  // namespace internal

// For a call with one request and one response. Nothing in it is called after OnDone().
class ClientUnaryReactor {
 public:
  ClientUnaryReactor() = default;
  ClientUnaryReactor(const ClientUnaryReactor&) = delete;
  ClientUnaryReactor& operator=(const ClientUnaryReactor&) = delete;
  virtual ~ClientUnaryReactor();

  void StartCall();

  virtual void OnReadInitialMetadataDone(bool /*ok*/) {}
  virtual void OnDone(const Status& /*status*/) {}

  // ---- For generated code ----
  void Bind(Channel& channel, const internal::MethodName& method, ClientContext* context,
            const Outgoing& request, const Incoming& response);

 private:
  // Until the call begins.
  std::shared_ptr<Channel> channel_;
  std::optional<internal::MethodName> method_;
  Outgoing request_;

  ClientContext* context_ = nullptr;
  Incoming response_;
};

// One read and one write at a time. What is passed must live until the matching On...Done().
template <typename Response>
class ClientReadReactor : public internal::ClientReactor {
 public:
  void StartRead(Response* response) { StartReadMessage(response); }
  // False: there are no more messages.
  void OnReadDone(bool /*ok*/) override {}
};

template <typename Request>
class ClientWriteReactor : public internal::ClientReactor {
 public:
  void StartWrite(const Request* request) { StartWriteMessage(*request); }
  void StartWrite(const Request* request, WriteOptions options) {
    options.is_last_message() ? StartLastMessage(*request) : StartWriteMessage(*request);
  }
  // The stream ends with it, without OnWritesDoneDone().
  void StartWriteLast(const Request* request, WriteOptions /*options*/) {
    StartLastMessage(*request);
  }
  void StartWritesDone() { StartHalfClose(); }
  // False: the call has ended.
  void OnWriteDone(bool /*ok*/) override {}
  void OnWritesDoneDone(bool /*ok*/) override {}
};

template <typename Request, typename Response>
class ClientBidiReactor : public internal::ClientReactor {
 public:
  void StartRead(Response* response) { StartReadMessage(response); }
  void StartWrite(const Request* request) { StartWriteMessage(*request); }
  void StartWrite(const Request* request, WriteOptions options) {
    options.is_last_message() ? StartLastMessage(*request) : StartWriteMessage(*request);
  }
  // The stream ends with it, without OnWritesDoneDone().
  void StartWriteLast(const Request* request, WriteOptions /*options*/) {
    StartLastMessage(*request);
  }
  void StartWritesDone() { StartHalfClose(); }
  void OnReadDone(bool /*ok*/) override {}
  void OnWriteDone(bool /*ok*/) override {}
  void OnWritesDoneDone(bool /*ok*/) override {}
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_CLIENT_CALLBACK_H_
