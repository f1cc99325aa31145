// Calls, and handlers of calls, whose steps end in callbacks; names are gRPC's.
#ifndef IVMQ_RPC_REACTOR_H_
#define IVMQ_RPC_REACTOR_H_

#include "ivmq/export.h"

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "ivmq/internal/payload.h"
#include "ivmq/rpc/client.h"
#include "ivmq/rpc/internal/deadline.h"
#include "ivmq/rpc/internal/status_names.h"
#include "ivmq/rpc/server.h"
#include "ivmq/rpc/stream.h"

namespace ivmq::rpc {

// ---- Clients ----

// Derive from one of these classes, pass the object to stub->async()->Method(), then call
// StartCall(). The On... members are called on the thread that polls, one at a time, and must not
// block. OnDone() is the last one: the reactor may delete itself there. A member that throws ends
// the call with UNKNOWN, and the exception is reported to NodeOptions::on_report; OnDone() is still
// called.

namespace internal {

class ClientReactorStream;

class IVMQ_EXPORT ClientReactor {
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
class IVMQ_EXPORT ClientUnaryReactor {
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

// ---- Handlers ----

// They return at once and end their call later. A method of a CallbackService creates a reactor and returns it. Any thread may call Start...()
// and Finish(), also before the reactor is returned. The On... members are called on the thread
// that polls, one at a time, and must not block. OnDone() is the last one: a reactor that was
// created with new deletes itself there. A member that throws ends the call with UNKNOWN, as if it
// had called Finish(): nothing may be started or finished afterwards.

namespace internal {

class CallbackCall;

class IVMQ_EXPORT ServerReactor {
 public:
  ServerReactor() = default;
  ServerReactor(const ServerReactor&) = delete;
  ServerReactor& operator=(const ServerReactor&) = delete;
  virtual ~ServerReactor();

  // Ends the call. Call it once. A write in progress is sent first. After it has returned, it uses
  // neither the reactor nor the server nor the endpoint.
  void Finish(Status status);
  // Sends the initial metadata of the context now, instead of with the first message.
  void StartSendInitialMetadata();

  // The call has ended, and so has every step that was started.
  virtual void OnDone() = 0;
  // The answer is no longer wanted: see ServerContext::IsCancelled(). A deadline alone does not
  // cause this: the client sends a cancel when it has passed. Finish() must still be called.
  virtual void OnCancel() {}
  virtual void OnSendInitialMetadataDone(bool /*ok*/) {}

 protected:
  friend class CallbackCall;
  virtual void OnReadDone(bool /*ok*/) {}
  virtual void OnWriteDone(bool /*ok*/) {}

  // Ends the call with UNKNOWN, and NodeOptions::on_report hears what was thrown.
  void FinishThrown(std::exception_ptr thrown);
  void StartReadMessage(const Incoming& message);
  // `last`: ends the call with that afterwards, without OnWriteDone().
  void StartWriteMessage(const Outgoing& message, std::optional<Status> last = {});

 private:
  // The call, or nullptr: then `keep()` was called under the lock.
  template <typename Keep>
  CallbackCall* CallOr(Keep keep);

  // What was started before the runtime had the reactor waits here.
  std::mutex mutex_;
  CallbackCall* call_ = nullptr;  // guarded by mutex_
  bool initial_ = false;          // guarded by mutex_
  Incoming read_;                 // guarded by mutex_
  Outgoing write_;                // guarded by mutex_
  std::optional<Status> last_;    // guarded by mutex_
  std::optional<Status> finish_;  // guarded by mutex_
  std::exception_ptr thrown_;     // guarded by mutex_; in place of finish_
};

}  // namespace internal

class IVMQ_EXPORT ServerUnaryReactor : public internal::ServerReactor {};

// One read and one write at a time. What is passed must live until the matching On...Done().
template <typename Request>
class ServerReadReactor : public internal::ServerReactor {
 public:
  void StartRead(Request* request) { StartReadMessage(request); }
  // False: the client has sent its last message, or no longer wants the answer.
  void OnReadDone(bool /*ok*/) override {}
};

template <typename Response>
class ServerWriteReactor : public internal::ServerReactor {
 public:
  void StartWrite(const Response* response) { StartWriteMessage(*response); }
  void StartWrite(const Response* response, WriteOptions /*options*/) { StartWrite(response); }
  // The same: Finish() is still to be called.
  void StartWriteLast(const Response* response, WriteOptions /*options*/) { StartWrite(response); }
  // Without OnWriteDone().
  void StartWriteAndFinish(const Response* response, Status status) {
    StartWriteMessage(*response, std::move(status));
  }
  void StartWriteAndFinish(const Response* response, WriteOptions /*options*/, Status status) {
    StartWriteAndFinish(response, std::move(status));
  }
  // False: the client no longer wants the answer, or the message cannot be sent; in that case a
  // call that is finished with OK ends with RESOURCE_EXHAUSTED.
  void OnWriteDone(bool /*ok*/) override {}
};

template <typename Request, typename Response>
class ServerBidiReactor : public internal::ServerReactor {
 public:
  void StartRead(Request* request) { StartReadMessage(request); }
  void StartWrite(const Response* response) { StartWriteMessage(*response); }
  void StartWrite(const Response* response, WriteOptions /*options*/) { StartWrite(response); }
  // The same: Finish() is still to be called.
  void StartWriteLast(const Response* response, WriteOptions /*options*/) { StartWrite(response); }
  // Without OnWriteDone().
  void StartWriteAndFinish(const Response* response, Status status) {
    StartWriteMessage(*response, std::move(status));
  }
  void StartWriteAndFinish(const Response* response, WriteOptions /*options*/, Status status) {
    StartWriteAndFinish(response, std::move(status));
  }
  void OnReadDone(bool /*ok*/) override {}
  void OnWriteDone(bool /*ok*/) override {}
};

// ---- Alarms ----

// A callback at a point of time, for later steps of a reactor. Thread-compatible.
class IVMQ_EXPORT Alarm {
 public:
  Alarm();
  // Cancels it; does not wait for a callback that runs, which may be the one that destroys it.
  ~Alarm();
  Alarm(Alarm&& other) noexcept;
  Alarm& operator=(Alarm&& other) noexcept;

  // Calls `callback` once: with true when `deadline`, a time point of any clock of std::chrono, has
  // come; with false if the alarm is cancelled, destroyed or set again before. Never inside a
  // member of this class, but on a thread that serves all alarms of the process: it may make calls
  // of any kind, but delays other alarms while it runs. What it throws is printed to stderr.
  template <typename ClockType, typename Duration>
  void Set(const std::chrono::time_point<ClockType, Duration>& deadline,
           std::function<void(bool)> callback) {
    const std::chrono::steady_clock::time_point when = internal::ToSteady(deadline);
    SetAt(when, std::move(callback));
  }
  // Does nothing if the alarm is not set, or its time has come.
  void Cancel();

 private:
  struct IVMQ_HIDDEN State;
  void SetAt(std::chrono::steady_clock::time_point when, std::function<void(bool)> callback);

  std::shared_ptr<State> state_;  // nullptr: it is not set
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_REACTOR_H_
