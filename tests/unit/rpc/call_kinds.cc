#include "call_kinds.h"

#include <memory>
#include <utility>

#include "ivmq/rpc/coroutine.h"
#include "ivmq/rpc/reactor.h"

namespace ivmq::testing {
namespace {

rpc::Task AwaitSay(Echo::Stub& stub, Call& call) {
  rpc::Status status = co_await rpc::Start([&](auto done) {
    stub.async()->Say(&call.context, &call.request, &call.response, std::move(done));
  });
  call.End(std::move(status));
}
rpc::Task AwaitChat(Echo::Stub& stub, Call& call) {
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

}  // namespace

void SayAndWait(Echo::Stub& stub, Call& call) {
  call.End(stub.Say(&call.context, call.request, &call.response));
}
void CollectAndWait(Echo::Stub& stub, Call& call) {
  const auto writer = stub.Collect(&call.context, &call.response);
  while (writer->Write(call.request)) {
  }
  call.End(writer->Finish());
}
void CountAndWait(Echo::Stub& stub, Call& call) {
  const auto reader = stub.Count(&call.context, call.request);
  Response::Part part;
  while (reader->Read(&part)) {
  }
  call.End(reader->Finish());
}
void ChatAndWait(Echo::Stub& stub, Call& call) {
  const auto chat = stub.Chat(&call.context);
  if (chat->Write(call.request)) {
    while (chat->Read(&call.response)) {
    }
  }
  call.End(chat->Finish());
}

void SayWithCallback(Echo::Stub& stub, Call& call) {
  stub.async()->Say(&call.context, &call.request, &call.response,
                    [&call](rpc::Status status) { call.End(std::move(status)); });
}
void SayWithFuture(Echo::Stub& stub, Call& call) {
  call.End(stub.async()->Say(&call.context, &call.request, &call.response).get());
}
void SayInCoroutine(Echo::Stub& stub, Call& call) { AwaitSay(stub, call); }
void ChatInCoroutine(Echo::Stub& stub, Call& call) { AwaitChat(stub, call); }

void CollectWithReactor(Echo::Stub& stub, Call& call) {
  auto* const reactor = new CollectReactor(call);
  stub.async()->Collect(&call.context, &call.response, reactor);
  reactor->StartWrite(&call.request);
  reactor->StartCall();
}
void CountWithReactor(Echo::Stub& stub, Call& call) {
  auto* const reactor = new CountReactor(call);
  stub.async()->Count(&call.context, &call.request, reactor);
  reactor->Begin();
}

}  // namespace ivmq::testing
