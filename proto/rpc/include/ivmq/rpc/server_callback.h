// Handlers that return at once and end their call later; names are gRPC's.
//
// A method of a CallbackService creates a reactor and returns it. Any thread may call Start...()
// and Finish(), also before the reactor is returned. The On... members are called on the thread
// that polls, one at a time, and must not block. OnDone() is the last one: a reactor that was
// created with new deletes itself there. A member that throws ends the call with UNKNOWN, as if it
// had called Finish(): nothing may be started or finished afterwards.
#ifndef IVMQ_RPC_SERVER_CALLBACK_H_
#define IVMQ_RPC_SERVER_CALLBACK_H_

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "ivmq/internal/payload.h"
#include "ivmq/rpc/server_context.h"
#include "ivmq/rpc/status.h"
#include "ivmq/rpc/write_options.h"

namespace ivmq::rpc {

namespace internal {

class CallbackCall;

class ServerReactor {
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

class ServerUnaryReactor : public internal::ServerReactor {};

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

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_SERVER_CALLBACK_H_
