// C++20 coroutines for calls and for handlers.
//
// A client awaits calls:
//
//   ivmq::rpc::Task Greet(Echo::Stub& stub) {
//     ivmq::rpc::ClientContext context;
//     Request request;
//     Response response;
//     const Status status = co_await ivmq::rpc::Start([&](auto done) {
//       stub.async()->Say(&context, &request, &response, std::move(done));
//     });
//   }
//
// A method of a CallbackService may be a coroutine itself:
//
//   ServerUnaryReactor* Say(CallbackServerContext* context, const Request* request,
//                           Response* response) override {
//     const Status status = co_await ...;
//     co_return Status::OK;
//   }
//
// A coroutine that has awaited something here continues on the thread that polls, and must not
// block.
#ifndef IVMQ_RPC_COROUTINE_H_
#define IVMQ_RPC_COROUTINE_H_

#include "ivmq/export.h"

#include <atomic>
#include <coroutine>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

#include "ivmq/rpc/internal/status_names.h"
#include "ivmq/rpc/reactor.h"

namespace ivmq::rpc {

// ---- Clients ----

// A coroutine that starts at once and is not awaited. What it refers to must live until its end. An
// exception that leaves it ends the program.
struct Task {
  // The names are those of the language.
  struct promise_type {  // NOLINT(readability-identifier-naming)
    Task get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

// Awaits the status that `begin(done)` leads to: begin starts a call and passes `done`, a
// std::function<void(Status)>, to it.
template <typename Begin>
class Start {
 public:
  explicit Start(Begin begin) : begin_(std::move(begin)) {}

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    begin_(std::function<void(Status)>([this, coroutine](Status status) {
      status_ = std::move(status);
      coroutine.resume();
    }));
  }
  Status await_resume() { return std::move(status_); }

 private:
  Begin begin_;
  Status status_;
};

namespace internal {

// How one read or write of a stream went, and the coroutine that awaits it.
class StepResult {
 public:
  void Await(std::coroutine_handle<> coroutine) noexcept { coroutine_ = coroutine; }
  void Resume(bool ok) {
    ok_ = ok;
    std::exchange(coroutine_, nullptr).resume();
  }
  [[nodiscard]] bool ok() const noexcept { return ok_; }

 private:
  std::coroutine_handle<> coroutine_;
  bool ok_ = false;
};

// Awaits what `begin()` starts and `result` tells.
template <typename Begin>
class StepAwaiter {
 public:
  StepAwaiter(StepResult& result, Begin begin) : result_(result), begin_(std::move(begin)) {}

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    result_.Await(coroutine);
    // A copy: the coroutine may go on elsewhere, and end, before this returns.
    Begin begin = std::move(begin_);
    begin();
  }
  [[nodiscard]] bool await_resume() const noexcept { return result_.ok(); }

 private:
  StepResult& result_;
  Begin begin_;
};

// The end of a stream, which comes before or after somebody awaits it.
class StreamEnd {
 public:
  void Set(Status status) {
    status_ = std::move(status);
    void* const waiting = state_.exchange(this, std::memory_order_acq_rel);
    if (waiting != nullptr) std::coroutine_handle<>::from_address(waiting).resume();
  }
  [[nodiscard]] bool has_come() const noexcept {
    return state_.load(std::memory_order_acquire) == this;
  }
  // False: it has come.
  [[nodiscard]] bool Await(std::coroutine_handle<> coroutine) noexcept {
    void* expected = nullptr;
    return state_.compare_exchange_strong(expected, coroutine.address(), std::memory_order_acq_rel);
  }
  [[nodiscard]] Status TakeStatus() { return std::move(status_); }

 private:
  std::atomic<void*> state_{nullptr};  // this: it has come; else who waits
  Status status_;
};

class EndAwaiter {
 public:
  explicit EndAwaiter(StreamEnd& end) : end_(end) {}
  [[nodiscard]] bool await_ready() const noexcept { return end_.has_come(); }
  [[nodiscard]] bool await_suspend(std::coroutine_handle<> coroutine) noexcept {
    return end_.Await(coroutine);
  }
  Status await_resume() { return end_.TakeStatus(); }

 private:
  StreamEnd& end_;
};

}  // namespace internal

// Streams of a client whose steps are awaited. Give one to stub->async()->Method(), then Begin();
// every one that has begun must be awaited to its end with Finish() before it goes.
//
//   AwaitableReader<Response> reader;
//   stub->async()->Count(&context, &request, &reader);
//   reader.Begin();
//   while (co_await reader.Read(&response)) { ... }
//   const Status status = co_await reader.Finish();
template <typename Reactor>
class AwaitableStream : public Reactor {
 public:
  void Begin() {
    this->AddHold();
    this->StartCall();
  }
  // co_await gives the status.
  [[nodiscard]] internal::EndAwaiter Finish() {
    this->RemoveHold();
    return internal::EndAwaiter(end_);
  }

 private:
  void OnDone(const Status& status) final { end_.Set(status); }

  internal::StreamEnd end_;
};

template <typename Response>
class AwaitableReader final : public AwaitableStream<ClientReadReactor<Response>> {
 public:
  // co_await gives false when there is no message any more.
  [[nodiscard]] auto Read(Response* response) {
    return internal::StepAwaiter(read_, [this, response] { this->StartRead(response); });
  }

 private:
  void OnReadDone(bool ok) override { read_.Resume(ok); }

  internal::StepResult read_;
};

template <typename Request>
class AwaitableWriter final : public AwaitableStream<ClientWriteReactor<Request>> {
 public:
  // co_await gives false when the call has ended.
  [[nodiscard]] auto Write(const Request* request) {
    return internal::StepAwaiter(write_, [this, request] { this->StartWrite(request); });
  }
  [[nodiscard]] auto WritesDone() {
    return internal::StepAwaiter(write_, [this] { this->StartWritesDone(); });
  }

 private:
  void OnWriteDone(bool ok) override { write_.Resume(ok); }
  void OnWritesDoneDone(bool ok) override { write_.Resume(ok); }

  internal::StepResult write_;
};

template <typename Request, typename Response>
class AwaitableReaderWriter final : public AwaitableStream<ClientBidiReactor<Request, Response>> {
 public:
  [[nodiscard]] auto Read(Response* response) {
    return internal::StepAwaiter(read_, [this, response] { this->StartRead(response); });
  }
  [[nodiscard]] auto Write(const Request* request) {
    return internal::StepAwaiter(write_, [this, request] { this->StartWrite(request); });
  }
  [[nodiscard]] auto WritesDone() {
    return internal::StepAwaiter(write_, [this] { this->StartWritesDone(); });
  }

 private:
  void OnReadDone(bool ok) override { read_.Resume(ok); }
  void OnWriteDone(bool ok) override { write_.Resume(ok); }
  void OnWritesDoneDone(bool ok) override { write_.Resume(ok); }

  internal::StepResult read_;
  internal::StepResult write_;
};

// ---- Handlers ----

// In a handler: co_await ReadRequest(&request) gives false when the client has said all or does not
// want the answer any more; co_await WriteResponse(&response) gives false when it does not.
template <typename Request>
struct ReadRequest {
  explicit ReadRequest(Request* message_in) : message(message_in) {}
  Request* message;
};
template <typename Response>
struct WriteResponse {
  explicit WriteResponse(const Response* message_in) : message(message_in) {}
  const Response* message;
};

namespace internal {

// The promise of a handler, whose reactor is in the coroutine's frame. An exception that leaves the
// handler ends the call with UNKNOWN, and NodeOptions::on_report hears what it was.
template <typename Base>
class HandlerPromise {
 public:
  Base* get_return_object() noexcept { return &reactor_; }
  std::suspend_never initial_suspend() noexcept { return {}; }
  auto final_suspend() noexcept {
    // Only here nothing of the coroutine runs any more, so that OnDone() may destroy it.
    struct End {
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<HandlerPromise> coroutine) noexcept {
        HandlerPromise& promise = coroutine.promise();
        if (promise.thrown_ != nullptr) {
          promise.reactor_.FinishThrown(std::move(promise.thrown_));
        } else {
          promise.reactor_.Finish(std::move(promise.status_));
        }
      }
      void await_resume() const noexcept {}
    };
    return End{};
  }
  void return_value(Status status) { status_ = std::move(status); }
  void unhandled_exception() noexcept { thrown_ = std::current_exception(); }

  template <typename Request>
  auto await_transform(ReadRequest<Request> step) {
    return StepAwaiter(reactor_.read, [this, step] { reactor_.StartRead(step.message); });
  }
  template <typename Response>
  auto await_transform(WriteResponse<Response> step) {
    return StepAwaiter(reactor_.write, [this, step] { reactor_.StartWrite(step.message); });
  }
  template <typename Awaitable>
  Awaitable&& await_transform(Awaitable&& awaitable) noexcept {
    return std::forward<Awaitable>(awaitable);
  }

 private:
  class Reactor final : public Base {
   public:
    explicit Reactor(HandlerPromise& promise) : promise_(promise) {}
    using ServerReactor::FinishThrown;
    StepResult read;
    StepResult write;

   private:
    void OnReadDone(bool ok) override { read.Resume(ok); }
    void OnWriteDone(bool ok) override { write.Resume(ok); }
    void OnDone() override {
      std::coroutine_handle<HandlerPromise>::from_promise(promise_).destroy();
    }

    HandlerPromise& promise_;
  };

  Reactor reactor_{*this};
  Status status_;
  std::exception_ptr thrown_;
};

}  // namespace internal
}  // namespace ivmq::rpc

template <typename... Arguments>
struct std::coroutine_traits<ivmq::rpc::ServerUnaryReactor*, Arguments...> {
  using promise_type = ivmq::rpc::internal::HandlerPromise<ivmq::rpc::ServerUnaryReactor>;
};
template <typename Request, typename... Arguments>
struct std::coroutine_traits<ivmq::rpc::ServerReadReactor<Request>*, Arguments...> {
  using promise_type = ivmq::rpc::internal::HandlerPromise<ivmq::rpc::ServerReadReactor<Request>>;
};
template <typename Response, typename... Arguments>
struct std::coroutine_traits<ivmq::rpc::ServerWriteReactor<Response>*, Arguments...> {
  using promise_type = ivmq::rpc::internal::HandlerPromise<ivmq::rpc::ServerWriteReactor<Response>>;
};
template <typename Request, typename Response, typename... Arguments>
struct std::coroutine_traits<ivmq::rpc::ServerBidiReactor<Request, Response>*, Arguments...> {
  using promise_type =
      ivmq::rpc::internal::HandlerPromise<ivmq::rpc::ServerBidiReactor<Request, Response>>;
};

#endif  // IVMQ_RPC_COROUTINE_H_
