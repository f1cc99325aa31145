// Calls of every kind of one service, begun alike and each with one end.
#ifndef IVMQ_TESTS_UNIT_RPC_CALL_KINDS_H_
#define IVMQ_TESTS_UNIT_RPC_CALL_KINDS_H_

#include <array>
#include <future>
#include <thread>
#include <utility>

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

// Each begins a call and brings its end to Call::end. The first four return with it.
using Kind = void (*)(Echo::Stub& stub, Call& call);
void SayAndWait(Echo::Stub& stub, Call& call);
void CollectAndWait(Echo::Stub& stub, Call& call);
void CountAndWait(Echo::Stub& stub, Call& call);
void ChatAndWait(Echo::Stub& stub, Call& call);
void SayWithCallback(Echo::Stub& stub, Call& call);
void SayWithFuture(Echo::Stub& stub, Call& call);  // returns with the end as well
void SayInCoroutine(Echo::Stub& stub, Call& call);
void ChatInCoroutine(Echo::Stub& stub, Call& call);
void CollectWithReactor(Echo::Stub& stub, Call& call);
void CountWithReactor(Echo::Stub& stub, Call& call);

// Nobody polls for these but the threads that wait for them.
inline constexpr std::array<Kind, 4> kSynchronous{SayAndWait, CollectAndWait, CountAndWait,
                                                  ChatAndWait};
inline constexpr std::array<Kind, 6> kAsynchronous{SayWithCallback,    SayWithFuture,
                                                   SayInCoroutine,     ChatInCoroutine,
                                                   CollectWithReactor, CountWithReactor};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_UNIT_RPC_CALL_KINDS_H_
