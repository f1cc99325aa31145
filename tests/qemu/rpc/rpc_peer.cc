// A peer with a service that a test drives, in a guest or on the host. It never spins: what wakes
// it is a doorbell. Whoever asks serves as well.
//
//   rpc_peer ADDRESS NAME serve
//       Serves until it is killed.
//   rpc_peer ADDRESS NAME ask PEER COUNT [VIA...]
//       COUNT unary calls to PEER, which asks the first of VIA and so on, then a stream of COUNT
//       numbers from PEER and one to it. Checks every answer.
//   rpc_peer ADDRESS NAME outlive PEER
//       Calls PEER, who is killed meanwhile, then again as soon as it is back; then the same in the
//       midst of a stream. All that on one channel.
//   rpc_peer ADDRESS NAME hold PEER
//       A call to PEER that has no answer, and one more after its end. Says how they end.
//   rpc_peer ADDRESS NAME stream PEER
//       Large streams of all kinds, read late; see streams.h.
//   rpc_peer ADDRESS NAME outlive-streams PEER
//       The same when PEER is killed in their midst.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "ivmq/address.h"
#include "ivmq/rpc/server.h"
#include "ivmq/rpc/stream.h"

#include "must.h"
#include "relay.ivmq.pb.h"
#include "streams.h"

namespace {

using ivmq::rpc::ClientContext;
using ivmq::rpc::Endpoint;
using ivmq::rpc::ServerContext;
using ivmq::rpc::ServerReader;
using ivmq::rpc::ServerWriter;
using ivmq::rpc::Status;
using ivmq::rpc::StatusCode;
using ivmq::testing::BePatient;
using ivmq::testing::Fail;
using ivmq::testing::kPatience;
using ivmq::testing::Must;
using ivmq::testing::MustDie;
using ivmq::testing::Number;
using ivmq::testing::Relay;
using ivmq::testing::Words;

class RelayService final : public Relay::Service {
 public:
  RelayService(std::shared_ptr<Endpoint> endpoint, std::string name)
      : endpoint_(std::move(endpoint)), name_(std::move(name)) {}

  Status Say(ServerContext* /*context*/, const Words* request, Words* response) override {
    std::string text = request->text() + " " + name_;
    if (request->via_size() == 0) {
      response->set_text(text);
      return Status::OK;
    }
    Words next;
    next.set_text(std::move(text));
    next.mutable_via()->Assign(request->via().begin() + 1, request->via().end());
    ClientContext onward;
    BePatient(onward);
    return Relay::NewStub(endpoint_->CreateChannel(request->via(0)))->Say(&onward, next, response);
  }
  Status Hold(ServerContext* context, const Words* /*request*/, Words* /*response*/) override {
    std::printf("holding\n");
    while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return {StatusCode::CANCELLED, ""};
  }
  Status Count(ServerContext* /*context*/, const Number* request,
               ServerWriter<Number>* writer) override {
    Number number;
    for (std::int64_t i = 0; request->value() == 0 || i < request->value(); ++i) {
      number.set_value(i);
      if (!writer->Write(number)) break;
    }
    return Status::OK;
  }
  Status Sum(ServerContext* /*context*/, ServerReader<Number>* reader, Number* response) override {
    Number number;
    std::int64_t sum = 0;
    while (reader->Read(&number)) sum += number.value();
    response->set_value(sum);
    return Status::OK;
  }

 private:
  std::shared_ptr<Endpoint> endpoint_;
  std::string name_;
};

void SayTo(Relay::Stub& stub, const std::string& text, std::span<const std::string> answerers) {
  ClientContext context;
  BePatient(context);
  Words request;
  Words response;
  request.set_text(text);
  std::string wanted = text;
  for (const std::string& answerer : answerers) {
    wanted += " " + answerer;
    if (&answerer != answerers.data()) request.add_via(answerer);
  }
  Must(stub.Say(&context, request, &response), "Say");
  if (response.text() != wanted) Fail("'" + response.text() + "' instead of '" + wanted + "'");
}

void Ask(Relay::Stub& stub, std::int64_t count, std::span<const std::string> answerers) {
  for (std::int64_t i = 0; i < count; ++i) SayTo(stub, std::to_string(i), answerers);
  std::printf("answered\n");
  Number number;
  {
    ClientContext context;
    BePatient(context);
    number.set_value(count);
    const auto reader = stub.Count(&context, number);
    std::int64_t read = 0;
    while (reader->Read(&number)) {
      if (number.value() != read++) Fail("the stream is not in order");
    }
    Must(reader->Finish(), "Count");
    if (read != count) Fail("the stream has " + std::to_string(read) + " messages");
  }
  std::printf("counted\n");
  ClientContext context;
  BePatient(context);
  Number sum;
  const auto writer = stub.Sum(&context, &sum);
  for (std::int64_t i = 0; i < count; ++i) {
    number.set_value(i);
    if (!writer->Write(number)) Fail("Sum has ended");
  }
  writer->WritesDone();
  Must(writer->Finish(), "Sum");
  if (sum.value() != count * (count - 1) / 2) Fail("the sum is wrong");
  std::printf("summed\n");
}

void Outlive(Relay::Stub& stub, const std::string& peer) {
  const std::vector<std::string> answerers{peer};
  SayTo(stub, "first", answerers);
  {
    ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    Words words;
    MustDie(stub.Hold(&context, words, &words), "the call");
  }
  SayTo(stub, "second", answerers);
  std::printf("second life\n");
  {
    ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    Number number;
    const auto reader = stub.Count(&context, number);
    for (std::int64_t read = 0; reader->Read(&number); ++read) {
      if (number.value() != read) Fail("the stream is not in order");
      if (read == 100) std::printf("reading\n");
    }
    MustDie(reader->Finish(), "the stream");
  }
  SayTo(stub, "third", answerers);
  std::printf("third life\n");
}

void Hold(Relay::Stub& stub) {
  for (const char* what : {"the call", "the next call"}) {
    ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    Words words;
    const Status status = stub.Hold(&context, words, &words);
    std::printf("%s ends with %s\n", what, ivmq::rpc::StatusCodeName(status.error_code()).c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::vector<std::string> args(argv + 1, argv + argc);
  const auto is = [&](std::string_view what, std::size_t words) {
    return args.size() >= words && args[2] == what;
  };
  if (!is("serve", 3) && !is("ask", 5) && !is("outlive", 4) && !is("hold", 4) && !is("stream", 4) &&
      !is("outlive-streams", 4)) {
    Fail("see the head of rpc_peer.cc");
  }
  const std::string& name = args[1];
  auto endpoint =
      Endpoint::Open(args[0], {.node = {.name = name, .spin_budget = std::chrono::nanoseconds(0)}});
  if (!endpoint.ok()) Fail(endpoint.status().ToString());
  RelayService service(*endpoint, name);
  ivmq::testing::StreamsService streams;
  ivmq::rpc::ServerBuilder builder(*endpoint);
  // Handlers that wait for other calls keep their threads.
  builder.RegisterService(&service).RegisterService(&streams).SetThreads(8);
  const auto server = builder.BuildAndStart();
  if (!server.ok()) Fail(server.status().ToString());
  std::printf("%s serves\n", name.c_str());
  if (args[2] == "serve") {
    (*server)->Wait();
    return 0;
  }
  const auto channel = (*endpoint)->CreateChannel(args[3]);
  if (args[2] == "stream" || args[2] == "outlive-streams") {
    const auto stub = ivmq::testing::Streams::NewStub(channel);
    args[2] == "stream" ? CheckStreams(*stub) : OutliveStreams(*stub);
    return 0;
  }
  const auto stub = Relay::NewStub(channel);
  if (args[2] == "outlive") {
    Outlive(*stub, args[3]);
    return 0;
  }
  if (args[2] == "hold") {
    Hold(*stub);
    return 0;
  }
  std::vector<std::string> answerers{args[3]};
  answerers.insert(answerers.end(), args.begin() + 5, args.end());
  Ask(*stub, std::stoll(args[4]), answerers);
  return 0;
}
