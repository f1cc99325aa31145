// Arbitrary frames of RPC, to the decoder alone or to an endpoint that calls and offers services:
// it neither crashes nor hangs, and afterwards answers a correct call.
//
// Input: one byte of flags, then
//   bit 0 set    the bytes of a frame, for the decoder
//   bit 0 clear  operations: a byte that says which, and what it needs; see Peers::Do().
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/inproc.h"
#include "ivmq/rpc/client_callback.h"
#include "ivmq/rpc/server.h"
#include "ivmq/rpc/server_callback.h"

#include "echo.ivmq.pb.h"
#include "src/frame.h"

namespace ivmq::rpc::internal {
namespace {

using ivmq::test::Echo;
using ivmq::test::Request;
using ivmq::test::Response;

void Require(bool condition, int line = __builtin_LINE()) {
  if (condition) return;
  (void)std::fprintf(stderr, "the requirement of line %d does not hold\n", line);
  std::abort();
}

// ---- The decoder ----

void Decode(std::span<const std::byte> bytes) {
  const std::optional<Parsed> frame = Parse(bytes);
  if (!frame) return;
  const auto* const begin = reinterpret_cast<const char*>(bytes.data());
  Require(frame->metadata.size() <= kMaxMetadataBytes);
  Require(frame->metadata.data() == begin + sizeof(Header));
  Require(frame->message.data() + frame->message.size() == begin + bytes.size());
  EntryReader entries(frame->metadata);
  std::string again;
  while (const std::optional<Entry> entry = entries.Next()) {
    Require(entry->kind > EntryKind::kTrailing || IsValidMetadata(entry->key, entry->value));
    AppendEntry(again, *entry);
  }
  Require(again.size() <= frame->metadata.size());
  Require(entries.malformed() || again.size() == frame->metadata.size());
}

// ---- What the endpoint offers ----

template <typename Base>
class Reactor : public Base {
 public:
  void OnDone() override { delete this; }

 protected:
  void End(const Status& status) {
    if (!ended_) this->Finish(status);
    ended_ = true;
  }

 private:
  bool ended_ = false;
};

class Sayer final : public Reactor<ServerUnaryReactor> {
 public:
  explicit Sayer(bool waits) {
    if (!waits) End(Status::OK);
  }
  void OnCancel() override { End(Status::CANCELLED); }
};

class Collector final : public Reactor<ServerReadReactor<Request>> {
 public:
  Collector() { StartRead(&request_); }
  void OnReadDone(bool ok) override { ok ? StartRead(&request_) : End(Status::OK); }

 private:
  Request request_;
};

class Counter final : public Reactor<ServerWriteReactor<Response::Part>> {
 public:
  explicit Counter(std::int64_t left) : left_(left) { Next(); }
  void OnWriteDone(bool ok) override { ok ? Next() : End(Status::CANCELLED); }

 private:
  void Next() {
    if (left_-- <= 0) return End(Status::OK);
    part_.set_number(left_);
    StartWrite(&part_);
  }
  Response::Part part_;
  std::int64_t left_;
};

class Chatter final : public Reactor<ServerBidiReactor<Request, Response>> {
 public:
  Chatter() { StartRead(&request_); }
  void OnReadDone(bool ok) override {
    if (!ok) return End(Status::OK);
    response_.set_text(request_.text());
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override { ok ? StartRead(&request_) : End(Status::CANCELLED); }

 private:
  Request request_;
  Response response_;
};

class Service final : public Echo::CallbackService {
 public:
  ServerUnaryReactor* Say(CallbackServerContext* context, const Request* request,
                          Response* response) override {
    for (const auto& [key, value] : context->client_metadata()) {
      context->AddTrailingMetadata(std::string(key), std::string(value));
    }
    response->set_text(request->text());
    return new Sayer(request->wait_cancel());
  }
  ServerReadReactor<Request>* Collect(CallbackServerContext* /*context*/,
                                      Response* /*response*/) override {
    return new Collector();
  }
  ServerWriteReactor<Response::Part>* Count(CallbackServerContext* /*context*/,
                                            const Request* request) override {
    return new Counter(std::min(request->count(), 2000));
  }
  ServerBidiReactor<Request, Response>* Chat(CallbackServerContext* /*context*/) override {
    return new Chatter();
  }
};

// ---- What it calls ----

struct UnaryCall {
  ClientContext context;
  Request request;
  Response response;
};

class Conversation final : public ClientBidiReactor<Request, Response> {
 public:
  void OnReadDone(bool ok) override {
    if (ok) StartRead(&response);
  }
  void OnWriteDone(bool ok) override {
    if (ok && --left > 0) StartWrite(&request);
  }

  ClientContext context;
  Request request;
  Response response;
  int left = 3;
};

// ---- The peers ----

class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : rest_(bytes) {}
  [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }
  std::uint8_t Byte() {
    if (rest_.empty()) return 0;
    const std::uint8_t byte = rest_.front();
    rest_ = rest_.subspan(1);
    return byte;
  }
  // Up to `count` bytes.
  std::string Bytes(std::size_t count) {
    const auto taken = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

 private:
  std::span<const std::uint8_t> rest_;
};

constexpr std::array<std::string_view, 9> kPaths = {"/ivmq.test.Echo/Say",
                                                    "/ivmq.test.Echo/Collect",
                                                    "/ivmq.test.Echo/Count",
                                                    "/ivmq.test.Echo/Chat",
                                                    "/grpc.health.v1.Health/Check",
                                                    "/grpc.health.v1.Health/Watch",
                                                    "/ivmq.reflection.Reflection/FindSymbol",
                                                    "/ivmq.reflection.Reflection/ListServices",
                                                    "/no.such.Service/Method"};

class Peers {
 public:
  Peers()
      : region_(*InprocRegion::Create(std::uint64_t{1} << 20, {.max_peers = 2})),
        attacker_(*Node::Open(*region_->Join(), {.name = "attacker"})),
        endpoint_(Endpoint::Make(*Node::Open(*region_->Join(), {.name = "victim"}))) {
    endpoint_->Drive();
    victim_ = endpoint_->node().id();
    server_ = *ServerBuilder(endpoint_)
                   .RegisterService(&service_)
                   .SetExecutor(Executor::kInline)
                   .SetMaxCalls(16)
                   .BuildAndStart();
    stub_ = Echo::NewStub(endpoint_->CreateChannel("attacker"));
  }
  ~Peers() {
    server_->Shutdown(std::chrono::steady_clock::now());
    server_.reset();
    stub_.reset();
    endpoint_.reset();
  }
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  void Do(Input& input) {
    switch (input.Byte() % 8) {
      case 5:
        return Call();
      case 6:
        return Converse();
      case 7:
        return Cancel(input.Byte());
      default:
        return SendFrame(input);
    }
  }

  // Lets the endpoint do what it has to, and takes what it sends.
  void Poll() {
    for (int i = 0; i < 4; ++i) {
      (void)endpoint_->Poll();
      (void)attacker_->Poll([this](const Message& message) { Take(message); });
    }
  }

  void RequireAnswer() {
    constexpr std::uint64_t kId = 0x7000'0000'0000'0001;
    Header header{.sender = attacker_->id().incarnation,
                  .receiver = victim_.incarnation,
                  .call_high = static_cast<std::uint32_t>(kId >> 32),
                  .method = MethodId("/grpc.health.v1.Health/Check")};
    Send(Kind::kRequest, static_cast<std::uint32_t>(kId), header, {});
    awaited_ = kId;
    for (int i = 0; i < 1000 && awaited_ != 0; ++i) Poll();
    Require(awaited_ == 0);
  }

 private:
  // A kind, flags, an id and a length, then the header, the metadata and the message. Flags: what
  // is made correct.
  void SendFrame(Input& input) {
    const std::uint8_t kind = input.Byte() % 16;
    const std::uint8_t flags = input.Byte();
    const std::uint8_t which = input.Byte();
    const std::size_t size = input.Byte() * (flags & 128 ? 64U : 1U);
    const std::string head = input.Bytes(flags & 64 ? 0 : sizeof(Header));
    const std::string rest = input.Bytes(size);
    Header header{};
    std::memcpy(&header, head.data(), head.size());
    if (flags & 1) header.sender = attacker_->id().incarnation;
    if (flags & 2) header.receiver = victim_.incarnation;
    std::uint32_t low = header.metadata_bytes;
    if (flags & 4) {
      const bool to_client = kind >= 8;
      std::uint64_t id = which % 16 + 1U;
      if (to_client && !called_.empty()) id = called_[which % called_.size()];
      low = static_cast<std::uint32_t>(id);
      header.call_high = static_cast<std::uint32_t>(id >> 32);
    }
    if (flags & 8) header.method = MethodId(kPaths[which % kPaths.size()]);
    if (flags & 16) header.metadata_bytes = 0;
    if (flags & 32) header.metadata_bytes = static_cast<std::uint32_t>(rest.size());
    Send(static_cast<Kind>(16 + kind), low, header, rest);
  }

  void Send(Kind kind, std::uint32_t id, const Header& header, std::string_view rest) {
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
    bytes += rest;
    Require(attacker_->Send(victim_, {.kind = ToFrameKind(kind), .type = id},
                            std::as_bytes(std::span(bytes)),
                            {.when_full = WhenFull::kFail}) == SendResult::kOk);
  }

  void Call() {
    UnaryCall& call = calls_.emplace_back();
    call.request.set_text("hello");
    stub_->async()->Say(&call.context, &call.request, &call.response, [](const Status&) {});
  }
  void Converse() {
    Conversation& conversation = conversations_.emplace_back();
    stub_->async()->Chat(&conversation.context, &conversation);
    conversation.StartRead(&conversation.response);
    conversation.StartWrite(&conversation.request);
    conversation.StartCall();
  }
  void Cancel(std::uint8_t which) {
    if (!calls_.empty() && which % 2 == 0) calls_[which / 2 % calls_.size()].context.TryCancel();
    if (!conversations_.empty() && which % 2 == 1) {
      conversations_[which / 2 % conversations_.size()].context.TryCancel();
    }
  }

  void Take(const Message& message) {
    const std::optional<Parsed> frame = Parse(message.payload);
    Require(frame.has_value());
    Require(frame->header.sender == victim_.incarnation);
    const std::uint64_t id = std::uint64_t{frame->header.call_high} << 32 | message.type;
    const auto kind = static_cast<Kind>(message.kind);
    if (kind == Kind::kRequest) called_.push_back(id);
    if (kind == Kind::kEnd && awaited_ != 0 && id == awaited_) {
      Require(frame->header.argument == StatusCode::OK);
      awaited_ = 0;
    }
  }

  std::shared_ptr<InprocRegion> region_;
  Service service_;
  std::deque<UnaryCall> calls_;
  std::deque<Conversation> conversations_;
  std::unique_ptr<Node> attacker_;
  std::shared_ptr<Endpoint> endpoint_;
  PeerId victim_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<Echo::Stub> stub_;
  std::vector<std::uint64_t> called_;  // the ids of the victim's calls
  std::uint64_t awaited_ = 0;
};

}  // namespace
}  // namespace ivmq::rpc::internal

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ivmq::rpc::internal;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  if ((data[0] & 1) != 0) {
    Decode(std::as_bytes(std::span(data + 1, size - 1)));
    return 0;
  }
  Input input({data + 1, size - 1});
  Peers peers;
  while (!input.empty()) {
    peers.Do(input);
    peers.Poll();
  }
  peers.RequireAnswer();
  return 0;
}
