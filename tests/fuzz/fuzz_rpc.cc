// Arbitrary frames of RPC, to the decoder alone or to an endpoint that calls and offers services:
// it neither crashes nor hangs; its calls and those of others end; afterwards it answers a correct
// call, and has its own answered.
//
// Input: one byte of flags, then
//   bit 0 set    the bytes of a frame, for the decoder
//   bit 0 clear  operations: a byte that says which, and what it needs; see Peers::Do().
//
// The two peers serve kLife inputs: to join and leave takes a hundred times as long as an input.
// An input ends all calls that it began, so that the next finds none. It does find: rings at other
// positions, a table of calls whose ids have grown, used calls and buffers that are kept for the
// next. A failure that its input alone does not show needs one of these: run the inputs of the
// corpus before it, in one process.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <google/protobuf/stubs/logging.h>

#include "ivmq/inproc.h"
#include "ivmq/rpc/reactor.h"
#include "ivmq/rpc/server.h"

#include "echo.ivmq.pb.h"
#include "src/call_frame.h"

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
  const std::optional<CallFrame> frame = Parse(bytes);
  if (!frame) return;
  const auto* const begin = reinterpret_cast<const char*>(bytes.data());
  Require(frame->metadata.size() <= kMaxMetadataBytes);
  Require(frame->metadata.data() == begin + sizeof(CallHeader));
  Require(frame->message.data() + frame->message.size() == begin + bytes.size());
  MetadataReader entries(frame->metadata);
  std::string again;
  while (const std::optional<MetadataEntry> entry = entries.Next()) {
    Require(entry->kind > MetadataKind::kTrailing || IsValidMetadata(entry->key, entry->value));
    AppendEntry(again, *entry);
  }
  Require(again.size() <= frame->metadata.size());
  Require(entries.malformed() || again.size() == frame->metadata.size());
}

// ---- What the endpoint offers ----

int reactors = 0;  // that are alive

template <typename Base>
class Reactor : public Base {
 public:
  Reactor() { ++reactors; }
  ~Reactor() override { --reactors; }
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
    return new Counter(std::min(request->count(), 100));
  }
  ServerBidiReactor<Request, Response>* Chat(CallbackServerContext* /*context*/) override {
    return new Chatter();
  }
};

// ---- What it calls ----

struct Call {
  virtual ~Call() = default;

  ClientContext context;
  Request request;
  Response response;
  bool done = false;
  Status status;  // when it is done
};

struct Unary final : Call {
  void Start(Echo::Stub& stub) {
    request.set_text("hello");
    stub.async()->Say(&context, &request, &response, [this](const Status& end) {
      status = end;
      done = true;
    });
  }
};

template <typename Base>
struct Stream : Call, Base {
  void OnDone(const Status& end) override {
    status = end;
    done = true;
  }
};

// Reads all, or one message only.
struct Conversation final : Stream<ClientBidiReactor<Request, Response>> {
  explicit Conversation(bool all) : reads_all(all) {}
  void Start(Echo::Stub& stub) {
    stub.async()->Chat(&context, this);
    StartRead(&response);
    StartWrite(&request);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (ok && reads_all) StartRead(&response);
  }
  void OnWriteDone(bool ok) override {
    if (ok && --left > 0) StartWrite(&request);
  }

  const bool reads_all;
  int left = 3;
};

struct Listener final : Stream<ClientReadReactor<Response::Part>> {
  void Start(Echo::Stub& stub) {
    stub.async()->Count(&context, &request, this);
    StartRead(&part);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (ok) StartRead(&part);
  }

  Response::Part part;
};

// Writes more than the first credit lets it.
struct Teller final : Stream<ClientWriteReactor<Request>> {
  void Start(Echo::Stub& stub) {
    request.set_text(std::string(8 << 10, 't'));
    stub.async()->Collect(&context, &response, this);
    StartWrite(&request);
    StartCall();
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return;
    --left > 0 ? StartWrite(&request) : StartWritesDone();
  }

  int left = 40;
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

// Under way at a time, in each direction.
constexpr std::size_t kMostCalls = 8;

class Peers {
 public:
  Peers()
      : region_(*InprocRegion::Create(std::uint64_t{1} << 20,
                                      {.max_peers = 2, .ring_capacity = 64 << 10})),
        attacker_(*Node::Open(*region_->Join(), {.name = "attacker"})),
        endpoint_(Endpoint::Make(*Node::Open(*region_->Join(), {.name = "victim"}))) {
    endpoint_->Drive();
    victim_ = endpoint_->node().id();
    server_ = *ServerBuilder(endpoint_)
                   .RegisterService(&service_)
                   .SetExecutor(Executor::kInline)
                   .SetMaxCalls(kMostCalls)
                   .BuildAndStart();
    stub_ = Echo::NewStub(endpoint_->CreateChannel("attacker"));
  }
  ~Peers() {
    server_->Shutdown();
    server_.reset();
    stub_.reset();
    endpoint_.reset();
  }
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // One operation. Of its byte, bits 0 to 2 say which one, 3 to 5 how, and then
  //   bit 6  the attacker reads nothing, so that its ring may fill
  //   bit 7  nobody does anything, so that this comes together with the next
  void Do(Input& input) {
    const std::uint8_t operation = input.Byte();
    const std::uint8_t how = operation >> 3 & 7;
    switch (operation & 7) {
      case 3:
        SendCorrect(input);
        break;
      case 4:
        SendAnything(input);
        break;
      case 5:
        Start<Unary>();
        break;
      case 6:
        StartStream(how);
        break;
      case 7: {
        const std::uint8_t which = input.Byte();
        if (!calls_.empty()) calls_[which % calls_.size()]->context.TryCancel();
        break;
      }
      default:
        SendFrame(input);
    }
    if ((operation & 0x80) != 0) return;
    for (int i = 0; i < 4 && Poll((operation & 0x40) == 0); ++i) {
    }
  }

  // Whatever is under way.
  void RequireAnswer() { RequireAnswerFrom("/grpc.health.v1.Health/Check"); }

  // Ends all calls, then makes one in each direction.
  void EndAll() {
    for (const auto& call : calls_) call->context.TryCancel();
    for (const auto& [sender, id] : begun_) {
      Send(CallFrameKind::kCancel, id, {.sender = sender, .receiver = victim_.incarnation}, {});
    }
    const auto all_done = [&] {
      return std::all_of(calls_.begin(), calls_.end(), [](const auto& call) { return call->done; });
    };
    PollUntil([&] { return reactors == 0 && all_done(); });
    while (Poll()) {
    }
    calls_.clear();
    called_.clear();
    begun_.clear();
    RequireAnswerFrom("/ivmq.test.Echo/Say");
    RequireOwnCallAnswered();
    begun_.clear();
    called_.clear();
  }

 private:
  // Lets the endpoint do what it has to, and takes what it sends. False: there was nothing.
  bool Poll(bool attacker_reads = true) {
    std::size_t count = endpoint_->Poll();
    if (attacker_reads) {
      count += attacker_->Poll([this](const Message& message) { Take(message); });
    }
    return count != 0;
  }
  template <typename Condition>
  void PollUntil(Condition condition, int line = __builtin_LINE()) {
    for (int i = 0; i < 1000 && !condition(); ++i) Poll();
    Require(condition(), line);
  }

  // ---- What the attacker does ----

  // A kind, flags, an id and a length, then the header, the metadata and the message. Flags: what
  // is made correct.
  void SendFrame(Input& input) {
    const std::uint8_t kind = input.Byte() % 16;
    const std::uint8_t flags = input.Byte();
    const std::uint8_t which = input.Byte();
    const std::size_t size = input.Byte() * (flags & 128 ? 64U : 1U);
    const std::string head = input.Bytes(flags & 64 ? 0 : sizeof(CallHeader));
    const std::string rest = input.Bytes(size);
    CallHeader header{};
    std::memcpy(&header, head.data(), head.size());
    if (flags & 1) header.sender = attacker_->id().incarnation;
    if (flags & 2) header.receiver = victim_.incarnation;
    std::uint64_t id = std::uint64_t{header.call_high} << 32 | header.metadata_bytes;
    if (flags & 4) id = IdFor(kind, which);
    if (flags & 8) header.method = MethodId(kPaths[which % kPaths.size()]);
    if (flags & 16) header.metadata_bytes = 0;
    if (flags & 32) header.metadata_bytes = static_cast<std::uint32_t>(rest.size());
    Send(static_cast<CallFrameKind>(16 + kind), id, header, rest);
  }

  // A kind, an id and an amount of two bytes: a frame as a correct peer would send it. The amount
  // is that of a text, a count or a credit.
  void SendCorrect(Input& input) {
    const std::uint8_t what = input.Byte();
    const std::uint8_t which = input.Byte();
    const std::uint32_t low = input.Byte();
    const std::uint32_t amount = (low | std::uint32_t{input.Byte()} << 8) % (16U << 10);
    const auto kind = static_cast<CallFrameKind>(16 + what % 16);
    CallHeader header{.sender = attacker_->id().incarnation, .receiver = victim_.incarnation};
    std::string message;
    if (kind == CallFrameKind::kRequest || kind == CallFrameKind::kClientMessage) {
      Request request;
      request.set_text(std::string(amount, 'r'));
      request.set_count(static_cast<std::int32_t>(amount));
      if ((what & 128) != 0) request.set_wait_cancel(true);
      message = request.SerializeAsString();
    } else if (kind == CallFrameKind::kEnd || kind == CallFrameKind::kServerMessage) {
      Response response;
      response.set_text(std::string(amount, 'a'));
      message = response.SerializeAsString();
    } else if (kind == CallFrameKind::kClientCredit || kind == CallFrameKind::kServerCredit) {
      header.argument = std::uint64_t{amount} << 10;
    }
    if (kind == CallFrameKind::kRequest) header.method = MethodId(kPaths[which % kPaths.size()]);
    Send(kind, IdFor(what % 16, which), header, message);
  }

  // A kind, half an id and a length, then the payload: it may be no frame.
  void SendAnything(Input& input) {
    const std::uint8_t kind = input.Byte() % 16;
    const std::uint8_t id = input.Byte();
    const std::size_t size = input.Byte();
    SendBytes(static_cast<CallFrameKind>(16 + kind), id, input.Bytes(size));
  }

  // Of a call that may be under way.
  [[nodiscard]] std::uint64_t IdFor(std::uint8_t kind, std::uint8_t which) const {
    const bool to_client = kind >= 8;
    if (to_client && !called_.empty()) return called_[which % called_.size()];
    return which % kMostCalls + 1U;
  }

  void Send(CallFrameKind kind, std::uint64_t id, CallHeader header, std::string_view rest) {
    header.call_high = static_cast<std::uint32_t>(id >> 32);
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
    bytes += rest;
    SendBytes(kind, static_cast<std::uint32_t>(id), bytes);
  }

  void SendBytes(CallFrameKind kind, std::uint32_t id, std::string_view bytes) {
    if (CallHeader header; kind == CallFrameKind::kRequest && bytes.size() >= sizeof(header)) {
      std::memcpy(&header, bytes.data(), sizeof(header));
      begun_.emplace_back(header.sender, std::uint64_t{header.call_high} << 32 | id);
    }
    const auto send = [&] {
      return attacker_->Send(victim_, {.kind = ToFrameKind(kind), .type = id},
                             std::as_bytes(std::span(bytes)), {.when_full = WhenFull::kFail});
    };
    SendResult result = send();
    for (int i = 0; i < 1000 && result == SendResult::kFull; ++i) {
      Poll();
      result = send();
    }
    Require(result == SendResult::kOk);
  }

  void Take(const Message& message) {
    const std::optional<CallFrame> frame = Parse(message.payload);
    Require(frame.has_value());
    Require(frame->header.sender == victim_.incarnation);
    const std::uint64_t id = std::uint64_t{frame->header.call_high} << 32 | message.type;
    const auto kind = static_cast<CallFrameKind>(message.kind);
    if (kind == CallFrameKind::kRequest) called_.push_back(id);
    if (kind == CallFrameKind::kEnd && awaited_ != 0 && id == awaited_) {
      Require(frame->header.argument == StatusCode::OK);
      awaited_ = 0;
    }
  }

  // ---- What the victim does ----

  template <typename Type, typename... Args>
  void Start(Args... args) {
    if (calls_.size() == kMostCalls) return;
    // Room for the request: this thread would wait for it.
    while (attacker_->Poll([this](const Message& message) { Take(message); }) != 0) {
    }
    auto owned = std::make_unique<Type>(args...);
    Type& call = *owned;
    calls_.push_back(std::move(owned));
    call.Start(*stub_);
  }
  void StartStream(std::uint8_t how) {
    switch (how & 3) {
      case 1:
        Start<Listener>();
        break;
      case 2:
        Start<Teller>();
        break;
      default:
        Start<Conversation>(/*all=*/(how & 3) == 0);
    }
  }

  // ---- What must work ----

  void RequireAnswerFrom(std::string_view path) {
    awaited_ = 0x7000'0000'0000'0001;
    Send(CallFrameKind::kRequest, awaited_,
         {.sender = attacker_->id().incarnation,
          .receiver = victim_.incarnation,
          .method = MethodId(path)},
         {});
    PollUntil([&] { return awaited_ == 0; });
  }
  void RequireOwnCallAnswered() {
    Start<Unary>();
    const Call& call = *calls_.back();
    PollUntil([&] { return !called_.empty(); });
    Response response;
    response.set_text("answer");
    Send(CallFrameKind::kEnd, called_.back(),
         {.sender = attacker_->id().incarnation, .receiver = victim_.incarnation},
         response.SerializeAsString());
    PollUntil([&] { return call.done; });
    Require(call.status.ok() && call.response.text() == "answer");
    calls_.clear();
  }

  std::shared_ptr<InprocRegion> region_;
  Service service_;
  std::vector<std::unique_ptr<Call>> calls_;
  std::unique_ptr<Node> attacker_;
  std::shared_ptr<Endpoint> endpoint_;
  PeerId victim_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<Echo::Stub> stub_;
  std::vector<std::uint64_t> called_;  // the ids of the victim's calls
  // Senders and ids of requests to the victim.
  std::vector<std::pair<std::uint32_t, std::uint64_t>> begun_;
  std::uint64_t awaited_ = 0;
};

constexpr int kLife = 10'000;

// Those of this input and others.
Peers& ThePeers() {
  static std::unique_ptr<Peers> peers;
  static int uses = 0;
  if (uses++ % kLife == 0) {
    peers.reset();
    peers = std::make_unique<Peers>();
  }
  return *peers;
}

}  // namespace
}  // namespace ivmq::rpc::internal

// Leaks are found at the end of the process only: what the peers keep for the next input looks like
// one, and to look closer takes a hundred times as long as an input.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  static std::string flag = "-detect_leaks=0";
  static std::vector<char*> args(*argv, *argv + *argc);
  args.insert(args.begin() + 1, flag.data());
  *argc = static_cast<int>(args.size());
  args.push_back(nullptr);
  *argv = args.data();
  google::protobuf::SetLogHandler(nullptr);  // it writes a line for each text that is no UTF-8
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ivmq::rpc::internal;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  if ((data[0] & 1) != 0) {
    Decode(std::as_bytes(std::span(data + 1, size - 1)));
    return 0;
  }
  Input input({data + 1, size - 1});
  Peers& peers = ThePeers();
  while (!input.empty()) peers.Do(input);
  peers.RequireAnswer();
  peers.EndAll();
  return 0;
}
