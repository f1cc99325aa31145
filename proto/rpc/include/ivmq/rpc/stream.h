// Streams for synchronous code; names are gRPC's. Each object is for one reading and one writing
// thread. Neither may be the thread that polls: inside a callback, a reactor or an inline handler
// of the endpoint the functions return false, and a client's call ends with FAILED_PRECONDITION.
#ifndef IVMQ_RPC_STREAM_H_
#define IVMQ_RPC_STREAM_H_

#include "ivmq/export.h"

#include <memory>
#include <utility>

#include "ivmq/internal/payload.h"
#include "ivmq/rpc/client.h"
#include "ivmq/rpc/internal/status_names.h"
#include "ivmq/rpc/server.h"

namespace ivmq::rpc {

// How a message of a stream is written. Thread-compatible value type. Options of compression and buffering have no effect: messages are
// neither compressed nor held back.
class WriteOptions {
 public:
  // It is the last message of this side. A client's stream ends with it, as by WritesDone().
  WriteOptions& set_last_message() noexcept {
    last_ = true;
    return *this;
  }
  WriteOptions& clear_last_message() noexcept {
    last_ = false;
    return *this;
  }
  [[nodiscard]] bool is_last_message() const noexcept { return last_; }

  WriteOptions& set_no_compression() noexcept { return *this; }
  WriteOptions& clear_no_compression() noexcept { return *this; }
  WriteOptions& set_buffer_hint() noexcept { return *this; }
  WriteOptions& clear_buffer_hint() noexcept { return *this; }
  WriteOptions& set_corked() noexcept { return *this; }
  WriteOptions& clear_corked() noexcept { return *this; }
  WriteOptions& set_write_through() noexcept { return *this; }
  WriteOptions& clear_write_through() noexcept { return *this; }

 private:
  bool last_ = false;
};

namespace internal {

class ClientWaitingStream;
class ServerStream;

// Thread-safe as the classes below need it.
class IVMQ_EXPORT ClientStreamHandle {
 public:
  // `request` is sent at once, if there is one; `response` is for a method with one response.
  ClientStreamHandle(Channel& channel, const MethodName& method, ClientContext* context,
                     const Outgoing& request, const Incoming& response);
  ~ClientStreamHandle();
  ClientStreamHandle(const ClientStreamHandle&) = delete;
  ClientStreamHandle& operator=(const ClientStreamHandle&) = delete;

  bool Read(const Incoming& message);
  bool Write(const Outgoing& message);
  bool WritesDone();
  void WaitForInitialMetadata();
  Status Finish();

 private:
  ClientWaitingStream* const stream_;
};

class IVMQ_EXPORT ServerStreamHandle {
 public:
  explicit ServerStreamHandle(ServerStream& stream) : stream_(stream) {}

  bool Read(const Incoming& message);
  bool Write(const Outgoing& message);
  void SendInitialMetadata();

 private:
  ServerStream& stream_;
};

}  // namespace internal

// ---- For clients ----

template <typename Response>
class ClientReaderInterface {
 public:
  virtual ~ClientReaderInterface() = default;
  // Waits for the next message. False: there are no more; Finish() says why.
  virtual bool Read(Response* message) = 0;
  virtual void WaitForInitialMetadata() = 0;
  // Waits for the end of the call. Drops messages that were not read.
  virtual Status Finish() = 0;
};

template <typename Request>
class ClientWriterInterface {
 public:
  virtual ~ClientWriterInterface() = default;
  // Waits until flow control permits it. False: the call has ended; Finish() says why.
  virtual bool Write(const Request& message) = 0;
  virtual bool WritesDone() = 0;
  // False: the message was not written, or the stream does not end with it as the options say.
  bool Write(const Request& message, WriteOptions options) {
    return Write(message) && (!options.is_last_message() || WritesDone());
  }
  void WriteLast(const Request& message, WriteOptions options) {
    (void)Write(message, options.set_last_message());
  }
  virtual Status Finish() = 0;
};

template <typename Request, typename Response>
class ClientReaderWriterInterface {
 public:
  virtual ~ClientReaderWriterInterface() = default;
  virtual bool Read(Response* message) = 0;
  virtual bool Write(const Request& message) = 0;
  virtual bool WritesDone() = 0;
  // False: the message was not written, or the stream does not end with it as the options say.
  bool Write(const Request& message, WriteOptions options) {
    return Write(message) && (!options.is_last_message() || WritesDone());
  }
  void WriteLast(const Request& message, WriteOptions options) {
    (void)Write(message, options.set_last_message());
  }
  virtual void WaitForInitialMetadata() = 0;
  virtual Status Finish() = 0;
};

template <typename Response>
class ClientReader final : public ClientReaderInterface<Response> {
 public:
  ClientReader(Channel& channel, const internal::MethodName& method, ClientContext* context,
               const Outgoing& request)
      : handle_(channel, method, context, request, {}) {}

  bool Read(Response* message) override { return handle_.Read(message); }
  void WaitForInitialMetadata() override { handle_.WaitForInitialMetadata(); }
  Status Finish() override { return handle_.Finish(); }

 private:
  internal::ClientStreamHandle handle_;
};

template <typename Request>
class ClientWriter final : public ClientWriterInterface<Request> {
 public:
  ClientWriter(Channel& channel, const internal::MethodName& method, ClientContext* context,
               const Incoming& response)
      : handle_(channel, method, context, {}, response) {}

  using ClientWriterInterface<Request>::Write;
  bool Write(const Request& message) override { return handle_.Write(message); }
  bool WritesDone() override { return handle_.WritesDone(); }
  Status Finish() override { return handle_.Finish(); }

 private:
  internal::ClientStreamHandle handle_;
};

template <typename Request, typename Response>
class ClientReaderWriter final : public ClientReaderWriterInterface<Request, Response> {
 public:
  ClientReaderWriter(Channel& channel, const internal::MethodName& method, ClientContext* context)
      : handle_(channel, method, context, {}, {}) {}

  bool Read(Response* message) override { return handle_.Read(message); }
  using ClientReaderWriterInterface<Request, Response>::Write;
  bool Write(const Request& message) override { return handle_.Write(message); }
  bool WritesDone() override { return handle_.WritesDone(); }
  void WaitForInitialMetadata() override { handle_.WaitForInitialMetadata(); }
  Status Finish() override { return handle_.Finish(); }

 private:
  internal::ClientStreamHandle handle_;
};

// ---- For servers ----

template <typename Request>
class ServerReader {
 public:
  explicit ServerReader(internal::ServerStream& stream) : handle_(stream) {}
  // False: the client has sent its last message, or no longer wants the answer.
  bool Read(Request* message) { return handle_.Read(message); }
  void SendInitialMetadata() { handle_.SendInitialMetadata(); }

 private:
  internal::ServerStreamHandle handle_;
};

template <typename Response>
class ServerWriter {
 public:
  explicit ServerWriter(internal::ServerStream& stream) : handle_(stream) {}
  // Waits until the client has room for the message. False: the client no longer wants the answer,
  // or the message cannot be sent; in that case a call whose handler returns OK ends with
  // RESOURCE_EXHAUSTED.
  bool Write(const Response& message) { return handle_.Write(message); }
  bool Write(const Response& message, WriteOptions /*options*/) { return Write(message); }
  // The same: the status goes behind it when the handler returns.
  void WriteLast(const Response& message, WriteOptions /*options*/) { (void)Write(message); }
  void SendInitialMetadata() { handle_.SendInitialMetadata(); }

 private:
  internal::ServerStreamHandle handle_;
};

template <typename Response, typename Request>
class ServerReaderWriter {
 public:
  explicit ServerReaderWriter(internal::ServerStream& stream) : handle_(stream) {}
  bool Read(Request* message) { return handle_.Read(message); }
  bool Write(const Response& message) { return handle_.Write(message); }
  bool Write(const Response& message, WriteOptions /*options*/) { return Write(message); }
  // The same: the status goes behind it when the handler returns.
  void WriteLast(const Response& message, WriteOptions /*options*/) { (void)Write(message); }
  void SendInitialMetadata() { handle_.SendInitialMetadata(); }

 private:
  internal::ServerStreamHandle handle_;
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_STREAM_H_
