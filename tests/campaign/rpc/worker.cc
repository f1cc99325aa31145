#include "rpc/worker.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/rpc/generic.h"

#include "common/process.h"

namespace ivmq::campaign {
namespace {

using rpc::ClientContext;
using rpc::Endpoint;
using rpc::ServerContext;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;
using Random = std::mt19937_64;

constexpr std::string_view kDo = "/campaign.Work/Do";
constexpr std::string_view kDown = "/campaign.Work/Down";
constexpr std::string_view kUp = "/campaign.Work/Up";
constexpr std::string_view kTalk = "/campaign.Work/Talk";

// With metadata and frame it is just below the limit of a message.
constexpr std::size_t kLargeBytes = (std::size_t{64} << 20) - (std::size_t{64} << 10);
constexpr std::uint32_t kMostDepth = 3;  // of nested calls
// A deadline is sent as the time that is left, in these units.
constexpr milliseconds kGrain{1};

// What a request begins with.
struct Head {
  std::uint64_t call;
  std::uint32_t member;
  std::uint32_t depth;  // further calls
  std::uint32_t count;  // of messages, or bytes of the response
  Op op;
};

std::string Encode(const Head& head, std::size_t bytes) {
  std::string text(sizeof(head) + bytes, '\0');
  std::memcpy(text.data(), &head, sizeof(head));
  for (std::size_t i = sizeof(head); i < text.size(); i += 61) {
    text[i] = static_cast<char>(head.call + i);
  }
  return text;
}

std::optional<Head> Decode(const std::string& text) {
  Head head;
  if (text.size() < sizeof(head)) return std::nullopt;
  std::memcpy(&head, text.data(), sizeof(head));
  return head;
}

std::uint64_t Below(Random& random, std::uint64_t limit) { return random() % limit; }

class Worker {
 public:
  Worker(Book& book, std::uint32_t self, std::uint64_t seed)
      : book_(book), self_(self), me_(book.members.at(self)), random_(seed) {}

  int Run(const std::string& address);

 private:
  // A call from its begin to its end.
  struct Call {
    std::uint64_t number = 0;
    std::uint32_t to = 0;
    Op op = Op::kEcho;
    Clock::time_point deadline;
    std::string request;
    std::string response;
    std::atomic<bool> cancelled{false};
    std::atomic<bool> ended{false};
    ClientContext context;
  };

  bool Open(const std::string& address);
  void Offer();

  // ---- Server ----
  Status Do(ServerContext* context, const std::string* request, std::string* response);
  Status DoNested(ServerContext* context, const Head& head, std::string* response);
  Status Down(ServerContext* context, const std::string* request,
              rpc::ServerWriter<std::string>* writer);
  Status Up(rpc::ServerReader<std::string>* reader, std::string* response);
  // The handler of a call runs once.
  void CountRun(const Head& head);
  Status AwaitCancel(ServerContext* context);

  // ---- Client ----
  void CallOn(std::uint32_t thread, std::uint64_t seed);
  void CallBack(std::uint64_t seed);
  void CallFinally();
  // A call that the ledger has; nullptr: there is no number left.
  std::shared_ptr<Call> Begin(Random& random, Flight& flight, Op op);
  void End(Call& call, Flight& flight, const Status& status);
  void Judge(const Call& call, const Status& status);
  Status Make(Random& random, Call& call);
  Status ReadDown(Random& random, Call& call, rpc::GenericStub& stub);
  Status WriteUp(Random& random, Call& call, rpc::GenericStub& stub);
  Status Talk(Random& random, Call& call, rpc::GenericStub& stub);
  rpc::GenericStub StubTo(std::uint32_t to) {
    return rpc::GenericStub(endpoint_->CreateChannel(NameOfMember(to)));
  }
  void Fail(Fault fault, const Call& call, const std::string& text) {
    book_.faults.Add(
        fault, fmt::format("{} to {}, call {} ({}): {}", NameOfMember(self_), NameOfMember(call.to),
                           call.number, kOpNames.at(static_cast<std::size_t>(call.op)), text));
  }
  [[nodiscard]] bool GoesOn() const { return book_.phase == Phase::kFaults && !me_.leaves; }

  Book& book_;
  const std::uint32_t self_;
  Member& me_;
  Random random_;
  std::shared_ptr<Endpoint> endpoint_;
  rpc::GenericService service_;
  std::unique_ptr<rpc::Server> server_;
};

// ---- Server ----

void Worker::CountRun(const Head& head) {
  ++book_.handlers;
  if (head.member >= kMembers || head.call >= kMostCalls || head.depth > kMostDepth) {
    book_.faults.Add(Fault::kResponse, "a request that nobody sent");
    return;
  }
  const auto bit = static_cast<std::uint8_t>(1U << head.depth);
  if ((book_.members.at(head.member).runs.at(head.call).fetch_or(bit) & bit) != 0) {
    book_.faults.Add(Fault::kRanTwice,
                     fmt::format("call {} of {}", head.call, NameOfMember(head.member)));
  }
}

Status Worker::AwaitCancel(ServerContext* context) {
  const Clock::time_point until = Clock::now() + 2 * kSlack;
  while (!context->IsCancelled()) {
    if (Clock::now() > until) {
      book_.faults.Add(Fault::kNotCancelled,
                       fmt::format("a handler of {} for {}", NameOfMember(self_), context->peer()));
      return {StatusCode::kInternal, "not cancelled"};
    }
    std::this_thread::sleep_for(microseconds(500));
  }
  ++book_.cancels_seen;
  return {StatusCode::kCancelled, "as it should be"};
}

Status Worker::Do(ServerContext* context, const std::string* request, std::string* response) {
  const std::optional<Head> head = Decode(*request);
  if (!head) return {StatusCode::kInternal, "no head"};
  if (head->call != 0) CountRun(*head);
  switch (head->op) {
    case Op::kWait:
      return AwaitCancel(context);
    case Op::kThrow:
      throw std::runtime_error("as it should be");
    case Op::kNested:
      if (head->depth != 0) return DoNested(context, *head, response);
      break;
    case Op::kSlow:
      std::this_thread::sleep_for(milliseconds(head->count));
      break;
    default:
      break;
  }
  *response = *request;
  return {};
}

Status Worker::DoNested(ServerContext* context, const Head& head, std::string* response) {
  Head next = head;
  --next.depth;
  const auto own = ClientContext::FromServerContext(*context);
  const std::uint32_t to = (self_ + 1 + head.count % (kMembers - 1)) % kMembers;
  return StubTo(to).Call(own.get(), kDo, Encode(next, 10), response);
}

Status Worker::Down(ServerContext* context, const std::string* request,
                    rpc::ServerWriter<std::string>* writer) {
  const std::optional<Head> head = Decode(*request);
  if (!head) return {StatusCode::kInternal, "no head"};
  CountRun(*head);
  Head each = *head;
  for (each.depth = 0; each.depth < head->count; ++each.depth) {
    if (!writer->Write(Encode(each, head->call % 20'000))) return AwaitCancel(context);
  }
  return {};
}

Status Worker::Up(rpc::ServerReader<std::string>* reader, std::string* response) {
  Head head{};
  std::string text;
  std::uint32_t count = 0;
  while (reader->Read(&text)) {
    const std::optional<Head> each = Decode(text);
    if (!each) return {StatusCode::kInternal, "no head"};
    head = *each;
    if (count == 0) CountRun(head);
    if (head.depth != count) {
      book_.faults.Add(Fault::kStream,
                       fmt::format("{} from {}: message {} in place of {}", NameOfMember(self_),
                                   NameOfMember(head.member), head.depth, count));
    }
    ++count;
    ++book_.stream_messages;
  }
  head.count = count;
  *response = Encode(head, 0);
  return {};
}

void Worker::Offer() {
  service_.AddUnary(std::string(kDo),
                    [this](ServerContext* context, const std::string* request,
                           std::string* response) { return Do(context, request, response); });
  service_.AddServerStream(
      std::string(kDown),
      [this](ServerContext* context, const std::string* request,
             rpc::ServerWriter<std::string>* writer) { return Down(context, request, writer); });
  service_.AddClientStream(
      std::string(kUp), [this](ServerContext* /*context*/, rpc::ServerReader<std::string>* reader,
                               std::string* response) { return Up(reader, response); });
  service_.AddBidiStream(std::string(kTalk),
                         [this](ServerContext* /*context*/,
                                rpc::ServerReaderWriter<std::string, std::string>* stream) {
                           ++book_.handlers;
                           std::string text;
                           while (stream->Read(&text) && stream->Write(text))
                             ++book_.stream_messages;
                           return Status();
                         });
}

// ---- Client ----

std::shared_ptr<Worker::Call> Worker::Begin(Random& random, Flight& flight, Op op) {
  const std::uint64_t number = me_.next++;
  if (number >= kMostCalls) return nullptr;
  auto call = std::make_shared<Call>();
  call->number = number;
  call->op = op;
  call->to = (self_ + 1 + static_cast<std::uint32_t>(Below(random, kMembers - 1))) % kMembers;
  const std::uint64_t most = op == Op::kLarge ? 10'000 : Below(random, 4) == 0 ? 2000 : 100;
  call->deadline = Clock::now() + microseconds(Below(random, most * 1000));
  call->context.set_deadline(call->deadline);
  call->context.set_wait_for_ready(Below(random, 2) == 0);
  const Head head{
      .call = number,
      .member = self_,
      .depth = op == Op::kNested ? 1 + static_cast<std::uint32_t>(Below(random, kMostDepth)) : 0,
      .count = static_cast<std::uint32_t>(Below(random, op == Op::kSlow ? 20 : 200)),
      .op = op};
  call->request = Encode(head, op == Op::kLarge         ? kLargeBytes
                               : Below(random, 30) == 0 ? Below(random, 300'000)
                                                        : Below(random, 500));
  flight.deadline = call->deadline.time_since_epoch().count();
  flight.op = op;
  flight.call = number;
  return call;
}

void Worker::End(Call& call, Flight& flight, const Status& status) {
  if (call.ended.exchange(true) || flight.call != call.number) {
    return Fail(Fault::kEndedTwice, call, status.ToString());
  }
  Judge(call, status);
  flight.call = 0;
}

void Worker::Judge(const Call& call, const Status& status) {
  const auto code = static_cast<std::size_t>(status.code());
  auto& ends = book_.ends.at(static_cast<std::size_t>(call.op));
  if (code < ends.size()) ++ends.at(code);
  const bool is_stream = call.op == Op::kDown || call.op == Op::kUp || call.op == Op::kTalk;
  bool allowed = false;
  switch (status.code()) {
    case StatusCode::kOk:
      allowed = call.op != Op::kWait && call.op != Op::kThrow;
      if (!is_stream && call.op != Op::kNested && call.response != call.request) {
        Fail(Fault::kResponse, call, fmt::format("{} bytes", call.response.size()));
      }
      break;
    case StatusCode::kUnavailable:
    case StatusCode::kResourceExhausted:
    case StatusCode::kUnimplemented:  // the other one has no services yet
      allowed = true;
      break;
    case StatusCode::kDeadlineExceeded:
      allowed = true;
      if (Clock::now() + kGrain < call.deadline) {
        Fail(Fault::kEarly, call,
             fmt::format(
                 "{} us before the deadline",
                 std::chrono::duration_cast<microseconds>(call.deadline - Clock::now()).count()));
      }
      break;
    case StatusCode::kCancelled:
      // A handler that waits, or calls another one, says so when it sees the deadline first.
      allowed = call.cancelled || is_stream || call.op == Op::kWait || call.op == Op::kNested;
      break;
    case StatusCode::kUnknown:
      allowed = call.op == Op::kThrow;
      break;
    default:
      break;
  }
  if (!allowed) Fail(Fault::kStatus, call, status.ToString());
}

Status Worker::ReadDown(Random& random, Call& call, rpc::GenericStub& stub) {
  const std::uint32_t count = Decode(call.request)->count;
  const std::uint64_t stop = Below(random, 3) == 0 ? Below(random, count + 1) : count;
  const bool is_slow = Below(random, 2) == 0;
  const auto reader = stub.ServerStream(&call.context, kDown, call.request);
  std::string text;
  std::uint32_t got = 0;
  while (reader->Read(&text)) {
    const std::optional<Head> head = Decode(text);
    if (!head || head->call != call.number || head->depth != got) {
      Fail(Fault::kStream, call, fmt::format("another message in place of {}", got));
    }
    ++got;
    ++book_.stream_messages;
    if (is_slow) std::this_thread::sleep_for(microseconds(Below(random, 1000)));
    if (got == stop && stop != count) {
      call.cancelled = true;
      call.context.TryCancel();
    }
  }
  Status status = reader->Finish();
  if (status.ok() && got != count) {
    Fail(Fault::kStream, call, fmt::format("OK after {} of {}", got, count));
  }
  return status;
}

Status Worker::WriteUp(Random& random, Call& call, rpc::GenericStub& stub) {
  Head head = *Decode(call.request);
  const std::uint32_t count = head.count + 1;
  const auto writer = stub.ClientStream(&call.context, kUp, &call.response);
  bool goes_on = true;
  for (head.depth = 0; goes_on && head.depth < count; ++head.depth) {
    goes_on = writer->Write(Encode(head, Below(random, 5000)));
  }
  (void)writer->WritesDone();
  Status status = writer->Finish();
  if (status.ok()) {
    const std::optional<Head> answer = Decode(call.response);
    if (!answer || answer->count != count) Fail(Fault::kStream, call, "OK, and not all was read");
  }
  return status;
}

Status Worker::Talk(Random& random, Call& call, rpc::GenericStub& stub) {
  Head head = *Decode(call.request);
  const auto stream = stub.BidiStream(&call.context, kTalk);
  std::string text;
  for (head.depth = 0; head.depth < head.count; ++head.depth) {
    const std::string said = Encode(head, Below(random, 2000));
    if (!stream->Write(said) || !stream->Read(&text)) break;
    if (text != said) Fail(Fault::kStream, call, "another echo");
  }
  (void)stream->WritesDone();
  while (stream->Read(&text)) Fail(Fault::kStream, call, "more echoes than words");
  Status status = stream->Finish();
  if (status.ok() && head.depth != head.count) Fail(Fault::kStream, call, "OK before its end");
  return status;
}

Status Worker::Make(Random& random, Call& call) {
  rpc::GenericStub stub = StubTo(call.to);
  switch (call.op) {
    case Op::kDown:
      return ReadDown(random, call, stub);
    case Op::kUp:
      return WriteUp(random, call, stub);
    case Op::kTalk:
      return Talk(random, call, stub);
    default:
      return stub.Call(&call.context, kDo, call.request, &call.response);
  }
}

Op SomeOp(Random& random) {
  const std::uint64_t dice = Below(random, 600);
  if (dice == 0) return Op::kLarge;
  if (dice < 300) return Op::kEcho;
  constexpr std::array kOthers{Op::kSlow, Op::kWait, Op::kNested, Op::kThrow,
                               Op::kDown, Op::kUp,   Op::kTalk};
  return kOthers.at(dice % kOthers.size());
}

void Worker::CallOn(std::uint32_t thread, std::uint64_t seed) {
  Random random(seed);
  Flight& flight = me_.flights.at(thread);
  while (GoesOn()) {
    const std::shared_ptr<Call> call = Begin(random, flight, SomeOp(random));
    if (call == nullptr) return;
    std::optional<std::jthread> canceller;
    if (Below(random, 16) == 0) {
      canceller.emplace([call, pause = microseconds(Below(random, 20'000))] {
        std::this_thread::sleep_for(pause);
        call->cancelled = true;
        call->context.TryCancel();
      });
    }
    const Status status = Make(random, *call);
    End(*call, flight, status);
    if (Below(random, 4) == 0) std::this_thread::sleep_for(microseconds(Below(random, 3000)));
  }
}

void Worker::CallBack(std::uint64_t seed) {
  Random random(seed);
  const auto callbacks = std::span(me_.flights).subspan(kCallers);
  while (GoesOn()) {
    for (Flight& flight : callbacks) {
      if (flight.call != 0) continue;
      const Op op = std::array{Op::kEcho, Op::kSlow, Op::kWait, Op::kNested}.at(Below(random, 4));
      const std::shared_ptr<Call> call = Begin(random, flight, op);
      if (call == nullptr) return;
      call->context.set_wait_for_ready(false);
      if (Below(random, 2) == 0) {
        StubTo(call->to).CallAsync(
            &call->context, kDo, call->request, &call->response,
            [this, call, &flight](const Status& status) { End(*call, flight, status); });
      } else {
        // One that its thread waits for later than it ends.
        auto future =
            StubTo(call->to).CallFuture(&call->context, kDo, call->request, &call->response);
        std::this_thread::sleep_for(microseconds(Below(random, 2000)));
        End(*call, flight, future.get());
      }
      if (Below(random, 16) == 0) {
        call->cancelled = true;
        call->context.TryCancel();
      }
    }
    std::this_thread::sleep_for(microseconds(Below(random, 3000)));
  }
  for (const Flight& flight : callbacks) {
    while (flight.call != 0) std::this_thread::sleep_for(milliseconds(1));
  }
}

void Worker::CallFinally() {
  for (std::uint32_t i = 1; i < kMembers && book_.phase == Phase::kFinal;) {
    const std::uint32_t to = (self_ + i) % kMembers;
    ClientContext context;
    context.set_deadline(Clock::now() + seconds(1));
    std::string response;
    const std::string request =
        Encode({.call = 0, .member = self_, .depth = 0, .count = 0, .op = Op::kNested}, 10);
    const Status status = StubTo(to).Call(&context, kDo, request, &response);
    if (status.ok() && response == request) ++i;
  }
  me_.done = book_.phase == Phase::kFinal;
  while (book_.phase != Phase::kEnd) std::this_thread::sleep_for(milliseconds(5));
}

bool Worker::Open(const std::string& address) {
  const Clock::time_point until = Clock::now() + kSlack;
  for (;;) {
    auto endpoint = Endpoint::Open(address, {.node = {.name = NameOfMember(self_)}});
    if (endpoint.ok()) {
      endpoint_ = *std::move(endpoint);
      Offer();
      rpc::ServerBuilder builder(endpoint_);
      auto server = builder.RegisterService(&service_).BuildAndStart();
      if (server.ok()) {
        server_ = *std::move(server);
        return true;
      }
      book_.faults.Add(Fault::kCannotOpen, server.status().ToString());
      return false;
    }
    if (Clock::now() > until) {
      book_.faults.Add(Fault::kCannotOpen,
                       NameOfMember(self_) + ": " + endpoint.status().ToString());
      return false;
    }
    std::this_thread::sleep_for(milliseconds(10));
  }
}

int Worker::Run(const std::string& address) {
  if (!Open(address)) return 1;
  me_.ready = true;
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t thread = 0; thread < kCallers; ++thread) {
      threads.emplace_back([this, thread, seed = random_()] { CallOn(thread, seed); });
    }
    threads.emplace_back([this, seed = random_()] { CallBack(seed); });
  }
  if (!me_.leaves) CallFinally();
  server_->Shutdown(Clock::now() + seconds(1));
  server_.reset();
  endpoint_.reset();
  return 0;
}

}  // namespace

int RunWorker(Book& book, const std::string& address, std::uint32_t self, std::uint64_t seed) {
  return std::make_unique<Worker>(book, self, seed)->Run(address);
}

}  // namespace ivmq::campaign
