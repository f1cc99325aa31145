#include "peer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace ivmq::demo {
namespace {

using std::chrono::seconds;

constexpr std::chrono::milliseconds kLookEvery{200};  // for peers that have left
// A full ring is waited for, but not when the other end is stuck.
constexpr SendOptions kPatient{.when_full = WhenFull::kWait, .timeout = seconds(20)};

enum TypeId : std::uint32_t { kPing = 1, kPong = 2 };

TypeIds MakeIds() {
  TypeIds ids;
  // Only equal ids on both ends could go wrong here.
  (void)ids.Add<Ping>(kPing);
  (void)ids.Add<Pong>(kPong);
  return ids;
}

// The bytes of message `number` in the direction `from` -> `to`.
void WriteContent(const PeerId& from, const PeerId& to, std::uint32_t number, std::size_t bytes,
                  std::string* out) {
  std::uint64_t state = (std::uint64_t{from.slot} << 48 | std::uint64_t{to.slot} << 32 | number) ^
                        0x9e3779b97f4a7c15U;
  out->resize(bytes);
  for (std::size_t at = 0; at < bytes; at += sizeof(state)) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    std::memcpy(out->data() + at, &state, std::min(sizeof(state), bytes - at));
  }
}

bool HasContent(const PeerId& from, const PeerId& to, std::uint32_t number,
                const std::string& data) {
  std::string expected;
  WriteContent(from, to, number, data.size(), &expected);
  return data == expected;
}

std::uint64_t Percentile(const std::vector<std::uint64_t>& sorted, std::size_t percent) {
  return sorted[std::min(sorted.size() - 1, sorted.size() * percent / 100)];
}

}  // namespace

Peer::Peer(std::unique_ptr<Node> node)
    : node_(std::move(node)), ids_(MakeIds()), dispatcher_(*node_, ids_) {
  dispatcher_.On<Ping>([this](const Ping& ping, const Message& from) { OnPing(ping, from); });
  dispatcher_.On<Pong>([this](const Pong& pong, const Message& from) { OnPong(pong, from); });
  dispatcher_.On<Task>([this](const Task& task, const Message& from) { Start(task, from.from); });
  dispatcher_.On<Outcome>([this](const Outcome& outcome) { outcome_ = outcome; });
  dispatcher_.On<Goodbye>([this](const Goodbye&) { goodbye_ = true; });
}

void Peer::OnPing(const Ping& ping, const Message& message) {
  pong_.set_number(ping.number());
  pong_.set_ping_was_correct(HasContent(message.from, node_->id(), ping.number(), ping.data()));
  WriteContent(node_->id(), message.from, ping.number(), ping.data().size(), pong_.mutable_data());
  // Without an answer the other end says what is missing.
  (void)Send(*node_, message.from, pong_, ids_, kPatient);
}

void Peer::OnPong(const Pong& pong, const Message& message) {
  if (!running_ || message.from != running_->to) return;
  const auto elapsed = Clock::now() - running_->sent_at;
  if (pong.number() != running_->number) {
    return Finish(fmt::format("Pong {} came after Ping {}", pong.number(), running_->number));
  }
  running_->nanoseconds.push_back(static_cast<std::uint64_t>(elapsed.count()));
  Outcome& outcome = running_->outcome;
  if (pong.ping_was_correct()) outcome.set_there(outcome.there() + 1);
  if (pong.data().size() == running_->task.bytes() &&
      HasContent(message.from, node_->id(), pong.number(), pong.data())) {
    outcome.set_back(outcome.back() + 1);
  }
  if (running_->number < running_->task.count()) return SendPing();
  Finish("");
}

void Peer::Start(const Task& task, PeerId reply_to) {
  running_.emplace();
  running_->task = task;
  running_->reply_to = reply_to;
  running_->nanoseconds.reserve(task.count());
  const auto to = node_->Lookup(task.to());
  if (!to.ok()) return Finish(to.status().ToString());
  running_->to = to->id;
  SendPing();
}

void Peer::SendPing() {
  ping_.set_number(++running_->number);
  WriteContent(node_->id(), running_->to, running_->number, running_->task.bytes(),
               ping_.mutable_data());
  running_->sent_at = Clock::now();
  const SendResult result = Send(*node_, running_->to, ping_, ids_, kPatient);
  if (result != SendResult::kOk) {
    Finish(fmt::format("Ping {} was not sent: {}", running_->number, SendResultName(result)));
  }
}

void Peer::Finish(std::string error) {
  Outcome outcome = running_->outcome;
  std::vector<std::uint64_t>& times = running_->nanoseconds;
  std::sort(times.begin(), times.end());
  if (!times.empty()) {
    outcome.set_p50_ns(Percentile(times, 50));
    outcome.set_p99_ns(Percentile(times, 99));
    outcome.set_max_ns(times.back());
  }
  outcome.set_error(std::move(error));
  const PeerId reply_to = running_->reply_to;
  running_.reset();
  if (reply_to == node_->id()) {
    outcome_ = outcome;
  } else {
    (void)Send(*node_, reply_to, outcome, kPatient);
  }
}

Result<Outcome> Peer::Do(const std::string& from, const Task& task,
                         const std::vector<std::string>& needed, seconds limit) {
  outcome_.reset();
  if (from == node_->name()) {
    Start(task, node_->id());
  } else {
    const auto peer = node_->Lookup(from);
    if (!peer.ok()) return peer.status();
    if (const SendResult result = Send(*node_, peer->id, task, kPatient);
        result != SendResult::kOk) {
      return Status(StatusCode::kUnavailable,
                    fmt::format("the task for {} was not sent: {}", from, SendResultName(result)));
    }
  }
  Status status = Run([this] { return outcome_.has_value(); }, needed, limit);
  if (!status.ok()) return status;
  return *outcome_;
}

void Peer::SayGoodbye(const std::string& name) {
  if (const auto peer = node_->Lookup(name); peer.ok()) {
    (void)Send(*node_, peer->id, Goodbye(), kPatient);
  }
}

Status Peer::ServeUntilGoodbye(seconds limit) {
  return Run([this] { return goodbye_; }, {}, limit);
}

Status Peer::Run(const std::function<bool()>& done, const std::vector<std::string>& needed,
                 seconds limit) {
  Clock::time_point last = Clock::now();  // that something came
  Clock::time_point looked = last;        // at the others
  const Clock::duration longest = needed.empty() ? Clock::duration(limit) : kLookEvery;
  while (!done()) {
    const bool busy = node_->Poll(dispatcher_) != 0 || node_->Wait(longest);
    const Clock::time_point now = Clock::now();
    if (busy) last = now;
    if (now - looked >= kLookEvery) {
      looked = now;
      for (const std::string& name : needed) {
        if (!node_->Lookup(name).ok()) {
          return {StatusCode::kUnavailable, fmt::format("the peer {} has left", name)};
        }
      }
    }
    if (now - last > limit) {
      return {StatusCode::kDeadlineExceeded,
              fmt::format("{} has received nothing for {} s", node_->name(), limit.count())};
    }
  }
  return {};
}

}  // namespace ivmq::demo
