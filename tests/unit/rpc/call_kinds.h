// Calls of every kind of one service, begun alike and each with one end.
#ifndef IVMQ_TESTS_UNIT_RPC_CALL_KINDS_H_
#define IVMQ_TESTS_UNIT_RPC_CALL_KINDS_H_

#include <array>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "ivmq/rpc/client_callback.h"
#include "ivmq/rpc/coroutine.h"

#include "echo_pair.h"

namespace ivmq::testing {

// A call of some kind, and what it uses.
struct Call {
  ClientContext context;
  Request request;
  Response response;
  std::promise<rpc::Status> promise;
  std::future<rpc::Status> end = promise.get_future();
  std::thread thread;

  void End(rpc::Status status) { promise.set_value(std::move(status)); }
};

inline void SayAndWait(Echo::Stub& stub, Call& call) {
  call.End(stub.Say(&call.context, call.request, &call.response));
}
inline void CollectAndWait(Echo::Stub& stub, Call& call) {
  const auto writer = stub.Collect(&call.context, &call.response);
  while (writer->Write(call.request)) {
  }
  call.End(writer->Finish());
}
inline void CountAndWait(Echo::Stub& stub, Call& call) {
  const auto reader = stub.Count(&call.context, call.request);
  Response::Part part;
  while (reader->Read(&part)) {
  }
  call.End(reader->Finish());
}
inline void ChatAndWait(Echo::Stub& stub, Call& call) {
  const auto chat = stub.Chat(&call.context);
  if (chat->Write(call.request)) {
    while (chat->Read(&call.response)) {
    }
  }
  call.End(chat->Finish());
}

inline void SayWithCallback(Echo::Stub& stub, Call& call) {
  stub.async()->Say(&call.context, &call.request, &call.response,
                    [&call](rpc::Status status) { call.End(std::move(status)); });
}
inline void SayWithFuture(Echo::Stub& stub, Call& call) {
  call.End(stub.async()->Say(&call.context, &call.request, &call.response).get());
}
inline rpc::Task AwaitSay(Echo::Stub& stub, Call& call) {
  rpc::Status status = co_await rpc::Start([&](auto done) {
    stub.async()->Say(&call.context, &call.request, &call.response, std::move(done));
  });
  call.End(std::move(status));
}
inline void SayInCoroutine(Echo::Stub& stub, Call& call) { AwaitSay(stub, call); }
inline rpc::Task AwaitChat(Echo::Stub& stub, Call& call) {
  rpc::AwaitableReaderWriter<Request, Response> chat;
  stub.async()->Chat(&call.context, &chat);
  chat.Begin();
  if (co_await chat.Write(&call.request)) {
    while (co_await chat.Read(&call.response)) {
    }
  }
  rpc::Status status = co_await chat.Finish();
  call.End(std::move(status));
}
inline void ChatInCoroutine(Echo::Stub& stub, Call& call) { AwaitChat(stub, call); }

class CollectReactor final : public rpc::ClientWriteReactor<Request> {
 public:
  explicit CollectReactor(Call& call) : call_(call) {}
  void OnWriteDone(bool ok) override {
    if (ok) StartWrite(&call_.request);
  }
  void OnDone(const rpc::Status& status) override {
    const std::unique_ptr<CollectReactor> self(this);
    call_.End(status);
  }

 private:
  Call& call_;
};
inline void CollectWithReactor(Echo::Stub& stub, Call& call) {
  auto* const reactor = new CollectReactor(call);
  stub.async()->Collect(&call.context, &call.response, reactor);
  reactor->StartWrite(&call.request);
  reactor->StartCall();
}
class CountReactor final : public rpc::ClientReadReactor<Response::Part> {
 public:
  explicit CountReactor(Call& call) : call_(call) {}
  void Begin() {
    StartRead(&part_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (ok) StartRead(&part_);
  }
  void OnDone(const rpc::Status& status) override {
    const std::unique_ptr<CountReactor> self(this);
    call_.End(status);
  }

 private:
  Call& call_;
  Response::Part part_;
};
inline void CountWithReactor(Echo::Stub& stub, Call& call) {
  auto* const reactor = new CountReactor(call);
  stub.async()->Count(&call.context, &call.request, reactor);
  reactor->Begin();
}

using Kind = void (*)(Echo::Stub& stub, Call& call);
// Nobody polls for these but the threads that wait for them.
inline constexpr std::array<Kind, 4> kSynchronous{SayAndWait, CollectAndWait, CountAndWait,
                                                  ChatAndWait};
inline constexpr std::array<Kind, 6> kAsynchronous{SayWithCallback,    SayWithFuture,
                                                   SayInCoroutine,     ChatInCoroutine,
                                                   CollectWithReactor, CountWithReactor};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_UNIT_RPC_CALL_KINDS_H_
