// The calls that are measured, written once for ivmq and gRPC, whose APIs differ in names only. An
// Api is a class of this shape:
//
//   using Bench = ...                        what is generated for bench.proto
//   using Status, ClientContext, ServerContext, Reader (of a server), Writer (of a server) = ...
//   explicit Api(const Setup&)               in the process that forks: may not start anything
//   std::unique_ptr<Bench::Stub> Connect()   in the client's process
//   std::shared_ptr<void> Serve(Bench::Service&)   in the server's; serves until it is released
#ifndef IVMQ_BENCH_RPC_CALLS_H_
#define IVMQ_BENCH_RPC_CALLS_H_

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "bench.pb.h"
#include "candidates/kernel.h"
#include "clock.h"
#include "drive.h"
#include "process_pair.h"
#include "workload.h"

namespace ivmq::bench {

inline constexpr std::size_t kPayloadBytes = 64;
// Unary calls under way at once.
inline constexpr std::size_t kWindow = 64;

// What a client or a server says, by number; any thread may ask.
class Payloads {
 public:
  explicit Payloads(Side side) : windows_(kPayloadBytes, side), checker_(kPayloadBytes, side) {}

  void Make(std::uint64_t number, Payload* payload) const {
    std::string& data = *payload->mutable_data();
    data.assign(reinterpret_cast<const char*>(windows_.Window(number)), kPayloadBytes);
    std::memcpy(data.data(), &number, sizeof number);
  }
  // Returns its number, with the bits beside it.
  std::uint64_t Check(const Payload& payload) const {
    const Message message = std::as_bytes(std::span(payload.data()));
    if (message.size() != kPayloadBytes) Fail("content check: a payload of another size");
    return checker_.Check(message, internal::FirstWord(message) & kSequenceMask);
  }
  void Check(const Payload& payload, std::uint64_t number) const {
    if (Check(payload) != number) Fail("content check: messages are lost or out of order");
  }

 private:
  internal::Windows windows_;
  Checker checker_;
};

template <typename Status>
void Require(const Status& status) {
  if (!status.ok()) [[unlikely]] {
    Fail(fmt::format("a call ended with status {}: {}", static_cast<int>(status.error_code()),
                     status.error_message()));
  }
}

// ---- The server ----

template <typename Api>
class BenchService final : public Api::Bench::Service {
 public:
  typename Api::Status Echo(typename Api::ServerContext* /*context*/, const Payload* request,
                            Payload* response) override {
    server_.Make(client_.Check(*request) & kSequenceMask, response);
    return Api::Status::OK;
  }
  typename Api::Status Feed(typename Api::ServerContext* /*context*/, const Count* request,
                            typename Api::Writer* writer) override {
    Payload payload;
    for (std::uint64_t i = 0; i < request->messages(); ++i) {
      server_.Make(i, &payload);
      if (!writer->Write(payload)) break;
    }
    return Api::Status::OK;
  }
  typename Api::Status Take(typename Api::ServerContext* /*context*/, typename Api::Reader* reader,
                            Count* response) override {
    Payload payload;
    std::uint64_t count = 0;
    while (reader->Read(&payload)) client_.Check(payload, count++);
    response->set_messages(count);
    return Api::Status::OK;
  }

 private:
  const Payloads client_{Side::kClient};
  const Payloads server_{Side::kServer};
};

// ---- The client ----

// A synchronous unary call as a candidate of drive.h's loop, of which it is the client.
template <typename Api>
class UnaryCalls {
 public:
  static constexpr bool kBare = false;

  explicit UnaryCalls(typename Api::Bench::Stub& stub) : stub_(stub) {}

  bool TrySend(Message message) {
    request_.set_data(message.data(), message.size());
    typename Api::ClientContext context;
    Require(stub_.Echo(&context, request_, &response_));
    return true;
  }
  void Flush() {}
  template <typename Use>
  std::size_t Receive(Use&& use) {
    use(std::as_bytes(std::span(response_.data())));
    return 1;
  }
  void Wait() {}

 private:
  typename Api::Bench::Stub& stub_;
  Payload request_;
  Payload response_;
};

// Unary calls with callbacks, kWindow of them under way: each end begins the next call.
template <typename Api>
class PipelinedCalls {
 public:
  PipelinedCalls(typename Api::Bench::Stub& stub, std::uint64_t count)
      : stub_(stub), count_(count), left_(count), slots_(kWindow) {}

  void Run() {
    for (Slot& slot : slots_) Begin(slot);
    done_.get_future().wait();
  }

 private:
  struct Slot {
    std::optional<typename Api::ClientContext> context;
    Payload request;
    Payload response;
    std::uint64_t number = 0;
  };

  void Begin(Slot& slot) {
    slot.number = begun_.fetch_add(1, std::memory_order_relaxed);
    if (slot.number >= count_) return;
    client_.Make(slot.number, &slot.request);
    slot.context.emplace();
    stub_.async()->Echo(&*slot.context, &slot.request, &slot.response,
                        [this, &slot](typename Api::Status status) {
                          Require(status);
                          server_.Check(slot.response, slot.number);
                          Begin(slot);
                          if (left_.fetch_sub(1) == 1) done_.set_value();
                        });
  }

  typename Api::Bench::Stub& stub_;
  const Payloads client_{Side::kClient};
  const Payloads server_{Side::kServer};
  const std::uint64_t count_;
  std::atomic<std::uint64_t> begun_{0};
  std::atomic<std::uint64_t> left_;
  std::promise<void> done_;
  std::vector<Slot> slots_;
};

template <typename Api>
void CallPipelined(typename Api::Bench::Stub& stub, std::uint64_t count) {
  PipelinedCalls<Api>(stub, count).Run();
}

template <typename Api>
void ReadStream(typename Api::Bench::Stub& stub, std::uint64_t count) {
  const Payloads server(Side::kServer);
  typename Api::ClientContext context;
  Count request;
  request.set_messages(count);
  const auto reader = stub.Feed(&context, request);
  Payload payload;
  std::uint64_t read = 0;
  while (reader->Read(&payload)) server.Check(payload, read++);
  Require(reader->Finish());
  if (read != count) Fail(fmt::format("a stream of {} messages had {}", count, read));
}

template <typename Api>
void WriteStream(typename Api::Bench::Stub& stub, std::uint64_t count) {
  const Payloads client(Side::kClient);
  typename Api::ClientContext context;
  Count response;
  const auto writer = stub.Take(&context, &response);
  Payload payload;
  for (std::uint64_t i = 0; i < count; ++i) {
    client.Make(i, &payload);
    if (!writer->Write(payload)) break;
  }
  writer->WritesDone();
  Require(writer->Finish());
  if (response.messages() != count) {
    Fail(fmt::format("of {} messages of a stream {} came", count, response.messages()));
  }
}

// ---- Both ----

// Wakes the other process once.
class Signal {
 public:
  void Give() const {
    const std::uint64_t one = 1;
    if (write(fd_.get(), &one, sizeof one) != sizeof one) Fail("cannot write an eventfd");
  }
  void Await() const {
    std::uint64_t value;
    while (read(fd_.get(), &value, sizeof value) != sizeof value) {
    }
  }

 private:
  Descriptor fd_{eventfd(0, EFD_CLOEXEC), "eventfd"};
};

struct Setup {
  std::string what;     // for people, if it fails
  std::string address;  // of a region that ivmqd serves, or of a socket; empty: the default
};

// Runs `use` with a stub in one new process and the server in another. Nothing is started in this
// one: gRPC does not survive a fork.
template <typename Api>
void WithServer(const Setup& setup, const std::function<void(typename Api::Bench::Stub&)>& use) {
  Api api(setup);
  const Signal serves;
  const Signal done;
  const auto client = [&] {
    const Child child(0, [&] {
      serves.Await();
      const auto stub = api.Connect();
      use(*stub);
      done.Give();
    });
  };
  const auto server = [&] {
    BenchService<Api> service;
    const std::shared_ptr<void> running = api.Serve(service);
    serves.Give();
    done.Await();
  };
  RunPair(setup.what, client, server);
}

// Of synchronous unary calls.
template <typename Api>
Latency UnaryLatency(const Setup& setup, std::chrono::nanoseconds duration) {
  const Shared<Latency> latency;
  WithServer<Api>(setup, [&](typename Api::Bench::Stub& stub) {
    UnaryCalls<Api> calls(stub);
    std::vector<Ticks> samples =
        RoundTripClient(calls, {.bytes = kPayloadBytes, .duration = duration});
    *latency = Percentiles(samples);
  });
  return *latency;
}

// How often a second `run(stub, count)` does what it does `count` times.
template <typename Api>
double CallRate(const Setup& setup, std::chrono::nanoseconds duration,
                void (*run)(typename Api::Bench::Stub&, std::uint64_t)) {
  const Shared<double> rate;
  WithServer<Api>(setup, [&](typename Api::Bench::Stub& stub) {
    // The first runs, which last too short a time, are the warm-up.
    for (std::uint64_t count = 1000;; count *= 2) {
      const Ticks begun = Now();
      run(stub, count);
      const Ticks taken = Now() - begun;
      *rate = static_cast<double>(count) / Seconds(taken);
      if (taken >= ToTicks(duration)) break;
    }
  });
  return *rate;
}

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_RPC_CALLS_H_
