#include "kill/worker.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/node.h"
#include "ivmq/sender.h"

#include "common/process.h"

namespace ivmq::campaign {
namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t kMostBytes = 300U << 10;
constexpr std::uint64_t kSurelyOneRecord = 1000;
constexpr std::uint32_t kNumberMask = (1U << kNumberBits) - 1;

// What a message begins with, as far as it is long enough. Its type has sender and number as well.
struct Head {
  std::uint32_t sender;
  std::uint32_t life;
  std::uint32_t number;
  std::uint32_t size;
  std::uint64_t checksum;  // of the rest
};

std::uint64_t Mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

std::uint64_t Checksum(std::span<const std::byte> bytes) {
  std::uint64_t sum = bytes.size();
  for (; bytes.size() >= sizeof(sum); bytes = bytes.subspan(sizeof(sum))) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof(word));
    sum = (sum ^ word) * 0x9e3779b97f4a7c15U;
    sum ^= sum >> 29;
  }
  for (const std::byte byte : bytes) {
    sum = (sum ^ static_cast<std::uint64_t>(byte)) * 0x9e3779b97f4a7c15U;
  }
  return sum;
}

// The bytes of a message depend on nothing but these, so that the receiver can make them as well.
void Fill(std::span<std::byte> out, std::uint32_t from, std::uint32_t to, std::uint32_t number,
          std::uint32_t life) {
  std::uint64_t state = std::uint64_t{from} << 56 | std::uint64_t{to} << 48 | number;
  std::span<std::byte> rest = out;
  for (; !rest.empty(); rest = rest.subspan(std::min(rest.size(), sizeof(state)))) {
    const std::uint64_t word = Mix(state += 0x9e3779b97f4a7c15U);
    std::memcpy(rest.data(), &word, std::min(rest.size(), sizeof(word)));
  }
  if (out.size() < sizeof(Head)) return;
  const Head head{from, life, number, static_cast<std::uint32_t>(out.size()),
                  Checksum(out.subspan(sizeof(Head)))};
  std::memcpy(out.data(), &head, sizeof(head));
}

class Worker {
 public:
  Worker(const Ledger& ledger, std::uint32_t self, std::uint64_t seed, const std::string& log)
      : ledger_(ledger),
        self_(self),
        process_(ledger.process(self)),
        life_(process_.life.load()),
        log_(std::fopen(log.c_str(), "a")),
        random_(seed),
        handler_random_(seed + 1),
        bytes_(kMostBytes),
        expected_(kMostBytes) {}

  int Run(const std::string& address);

 private:
  bool Open(const std::string& address);
  void Receive();
  void Handle(const Message& message);
  // The fault that a message shows, empty if there is none.
  std::string Check(std::uint32_t from, std::uint32_t number, const Entry& entry,
                    const Message& message);
  // Some handlers take long, so that some are killed in them and rings fill.
  void Linger();
  void SendSomething();
  void SendBatch(std::uint32_t to, PeerId peer);
  // A message that is written where its receiver takes it from: in the ring or in the heap.
  void SendLoan(std::uint32_t to, PeerId peer);
  void SendFinal();
  SendResult SendOne(std::uint32_t to, PeerId peer, std::uint32_t size, const SendOptions& options);
  // Enters a message into the ledger: from now on it may arrive. 0: there is no room in it.
  std::uint32_t Begin(std::uint32_t to, PeerId peer, std::uint32_t size, bool large);
  void End(std::uint32_t to, std::uint32_t number, SendResult result);
  [[nodiscard]] MessageType TypeOf(std::uint32_t number) const {
    return {.type = self_ << kNumberBits | number, .name = {}};
  }
  std::uint32_t SomeSize();
  std::uint32_t Below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }

  const Ledger& ledger_;
  const std::uint32_t self_;
  Process& process_;
  const std::uint32_t life_;
  std::FILE* const log_;
  std::mt19937_64 random_;           // the sending thread's
  std::mt19937_64 handler_random_;   // the receiving thread's
  std::vector<std::byte> bytes_;     // the sending thread's
  std::vector<std::byte> expected_;  // the receiving thread's
  std::unique_ptr<Node> node_;
  std::array<std::optional<Sender>, kProcesses> senders_;  // of loans
  std::atomic<bool> ends_{false};
};

bool Worker::Open(const std::string& address) {
  const auto until = std::chrono::steady_clock::now() + kOpenTimeout;
  for (;;) {
    NodeOptions options{.name = NameOf(self_), .durable = IsDurable(self_)};
    options.on_report = [this](const Status& status) {
      (void)std::fprintf(log_, "life %u: %s\n", life_, status.ToString().c_str());
      (void)std::fflush(log_);
    };
    auto node = Node::Open(address, std::move(options));
    if (node.ok()) {
      node_ = *std::move(node);
      if (const Status status = node_->SetServices({fmt::format("campaign.Life{}", life_)});
          !status.ok()) {
        ledger_.faults().Add(Fault::kDeclaredDead, NameOf(self_) + ": " + status.ToString());
      }
      return true;
    }
    if (std::chrono::steady_clock::now() > until) {
      ledger_.faults().Add(Fault::kCannotOpen, fmt::format("{}, life {}: {}", NameOf(self_), life_,
                                                           node.status().ToString()));
      return false;
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
}

int Worker::Run(const std::string& address) {
  if (!Open(address)) return 1;
  process_.lives[life_] = PeerWord(node_->id());
  process_.polled_at = MonotonicNanoseconds();
  process_.ready = true;
  std::thread receiver([this] { Receive(); });
  const std::uint64_t given_up_before = process_.rings_given_up;
  while (ledger_.phase() == Phase::kFaults && !process_.leaves && node_->status().ok()) {
    SendSomething();
    process_.rings_given_up = given_up_before + node_->counter(layout::Counter::kRingsPoisoned);
  }
  if (!process_.leaves) SendFinal();
  const Status status = node_->status();
  if (!status.ok())
    ledger_.faults().Add(Fault::kDeclaredDead, NameOf(self_) + ": " + status.ToString());
  ends_ = true;
  receiver.join();
  for (std::optional<Sender>& sender : senders_) sender.reset();
  node_.reset();
  return status.ok() ? 0 : 1;
}

void Worker::Receive() {
  while (!ends_) {
    if (node_->Poll([this](const Message& message) { Handle(message); }) == 0) {
      (void)node_->Wait(milliseconds(100));
    }
    process_.polled_at = MonotonicNanoseconds();
  }
}

void Worker::Handle(const Message& message) {
  const std::uint32_t from = message.type >> kNumberBits;
  const std::uint32_t number = message.type & kNumberMask;
  const bool known = from != self_ && number != 0 && number <= ledger_.most_messages();
  if (!known || ledger_.entry(from, self_, number).sent == Sent::kNot) {
    ledger_.faults().Add(Fault::kChanged, fmt::format("{} got type {:#x}, which nobody sent",
                                                      NameOf(self_), message.type));
    return;
  }
  Entry& entry = ledger_.entry(from, self_, number);
  const auto what = [&] {
    return fmt::format("{} to {}, number {}, {} bytes, life {} to {}", NameOf(from), NameOf(self_),
                       number, entry.size.load(), entry.life.load(), life_);
  };
  if (const std::string fault = Check(from, number, entry, message); !fault.empty()) {
    ledger_.faults().Add(Fault::kChanged, what() + ": " + fault);
  }
  if (PeerWord(message.from) != ledger_.process(from).lives[entry.life]) {
    ledger_.faults().Add(Fault::kWrongLife,
                         fmt::format("{}: named slot {}, incarnation {}", what(), message.from.slot,
                                     message.from.incarnation));
  }
  std::atomic<std::uint32_t>& last =
      ledger_.pair(from, self_).last[IsDurable(from) ? 0 : entry.life.load()];
  if (const std::uint32_t before = last;
      number < before || (number == before && !message.redelivered)) {
    ledger_.faults().Add(Fault::kOutOfOrder, fmt::format("{}: after number {}", what(), before));
  }
  last = number;
  Linger();
  Handled handled = entry.handled;
  if (handled.times++ == 0) {
    handled.first_life = static_cast<std::uint16_t>(life_);
  } else if (!message.redelivered) {
    handled.twice_unmarked = true;
  }
  handled.last_life = static_cast<std::uint16_t>(life_);
  entry.handled = handled;
  Linger();
}

void Worker::Linger() {
  if (handler_random_() % 64 == 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(handler_random_() % 5000));
  }
}

std::string Worker::Check(std::uint32_t from, std::uint32_t number, const Entry& entry,
                          const Message& message) {
  const std::span<const std::byte> payload = message.payload;
  if (payload.size() != entry.size) return fmt::format("{} bytes came", payload.size());
  if (payload.size() >= sizeof(Head)) {
    Head head;
    std::memcpy(&head, payload.data(), sizeof(head));
    if (head.sender != from || head.number != number || head.life != entry.life) {
      return fmt::format("says sender {}, life {}, number {}", head.sender, head.life, head.number);
    }
    return head.checksum == Checksum(payload.subspan(sizeof(Head))) ? "" : "wrong checksum";
  }
  const std::span<std::byte> expected = std::span(expected_).first(payload.size());
  Fill(expected, from, self_, number, entry.life);
  return std::ranges::equal(expected, payload) ? "" : "other bytes";
}

std::uint32_t Worker::SomeSize() {
  switch (Below(16)) {
    case 0:
      return 0;
    case 1:
    case 2:
      return Below(kMostBytes + 1);
    case 3:
    case 4:
    case 5:
      return Below(16U << 10);
    default:
      return Below(200);
  }
}

void Worker::SendSomething() {
  const std::uint32_t to = (self_ + 1 + Below(kProcesses - 1)) % kProcesses;
  // Now and then as fast as it goes, so that rings fill.
  const std::uint32_t count = Below(50) == 0 ? 100 : 1;
  const auto peer = node_->Lookup(NameOf(to));
  if (peer.ok()) {
    if (Below(10) == 0) {
      SendBatch(to, peer->id);
    } else if (Below(IsDurable(self_) ? 40 : 5) == 0) {
      // Extents of durable ones are taken over and over, and leave the others no room.
      SendLoan(to, peer->id);
    } else {
      const SendOptions options{
          .when_full = Below(3) == 0 ? WhenFull::kFail : WhenFull::kWait,
          .timeout = milliseconds(
              1 + Below(static_cast<std::uint32_t>(milliseconds(kSendTimeout).count())))};
      for (std::uint32_t i = 0; i < count; ++i) {
        if (SendOne(to, peer->id, SomeSize(), options) == SendResult::kPeerGone) break;
      }
    }
  }
  std::this_thread::sleep_for(std::chrono::microseconds(Below(4000)));
}

std::uint32_t Worker::Begin(std::uint32_t to, PeerId peer, std::uint32_t size, bool large) {
  Pair& pair = ledger_.pair(self_, to);
  const std::uint32_t number = pair.next;
  if (number > ledger_.most_messages()) return 0;
  Entry& entry = ledger_.entry(self_, to, number);
  entry.to = PeerWord(peer);
  entry.size = size;
  entry.life = static_cast<std::uint16_t>(life_);
  entry.large = large;
  entry.sent = Sent::kBegun;
  pair.next = number + 1;
  return number;
}

void Worker::End(std::uint32_t to, std::uint32_t number, SendResult result) {
  ledger_.entry(self_, to, number).sent = result == SendResult::kOk ? Sent::kOk : Sent::kRefused;
}

SendResult Worker::SendOne(std::uint32_t to, PeerId peer, std::uint32_t size,
                           const SendOptions& options) {
  const bool large = size > std::max(node_->MaxRecordMessage(peer, {}), kSurelyOneRecord);
  const std::uint32_t number = Begin(to, peer, size, large);
  if (number == 0) return SendResult::kOk;
  const std::span<std::byte> message = std::span(bytes_).first(size);
  Fill(message, self_, to, number, life_);
  process_.sending_since = MonotonicNanoseconds();
  SendResult result = SendResult::kOk;
  if (!large && Below(4) == 0) {
    result = node_->SendInPlace(peer, TypeOf(number), size, [&](std::span<std::byte> out) {
      std::memcpy(out.data(), message.data(), message.size());
    });
  } else {
    result = node_->Send(peer, TypeOf(number), message, options);
  }
  process_.sending_since = 0;
  End(to, number, result);
  return result;
}

void Worker::SendBatch(std::uint32_t to, PeerId peer) {
  std::array<std::uint32_t, 8> numbers{};
  std::size_t count = 0;
  process_.sending_since = MonotonicNanoseconds();
  {
    Batch batch = node_->StartBatch(peer, {.timeout = kSendTimeout});
    SendResult result = SendResult::kOk;
    const std::uint32_t most = 1 + Below(numbers.size());
    while (count < most && result == SendResult::kOk) {
      const std::uint32_t size = Below(300);
      const std::uint32_t number = Begin(to, peer, size, false);
      if (number == 0) break;
      std::span<std::byte> payload;
      result = batch.TryClaim(TypeOf(number), size, &payload);
      if (result == SendResult::kOk) {
        Fill(payload, self_, to, number, life_);
        numbers[count++] = number;
      } else {
        End(to, number, result);
      }
    }
    result = batch.Commit();
    for (std::size_t i = 0; i < count; ++i) End(to, numbers[i], result);
  }
  process_.sending_since = 0;
}

void Worker::SendLoan(std::uint32_t to, PeerId peer) {
  std::optional<Sender>& sender = senders_.at(to);
  if (!sender) {
    auto opened = node_->OpenSender(
        NameOf(to), {.when_full = WhenFull::kWait, .timeout = milliseconds(1 + Below(500))});
    if (!opened.ok()) return;
    sender.emplace(*std::move(opened));
  }
  const std::uint32_t size = Below(2) == 0 ? SomeSize() : kMostBytes / 4 + Below(kMostBytes / 2);
  const std::uint64_t record = std::max(node_->MaxRecordMessage(peer, {}), kSurelyOneRecord);
  const std::uint32_t number = Begin(to, peer, size, false);
  if (number == 0) return;
  process_.sending_since = MonotonicNanoseconds();
  {
    Loan loan = sender->Loan(size, TypeOf(number));
    SendResult result = loan.result();
    if (result == SendResult::kOk) {
      Fill(loan.payload(), self_, to, number, life_);
      // Neither in the ring nor in the heap, it goes in fragments.
      const std::span<const std::byte> region = node_->transport().memory();
      const std::byte* const at = loan.payload().data();
      const bool in_place = at >= region.data() && at < region.data() + region.size();
      ledger_.entry(self_, to, number).large = size > record && !in_place;
      result = loan.Publish();
    }
    // It went to the life that had the name at that time.
    ledger_.entry(self_, to, number).to = PeerWord(sender->peer());
    End(to, number, result);
  }
  process_.sending_since = 0;
}

// One to everybody, however long it takes: it is the referee who gives up. Anew where it went to a
// life that the last fault had ended.
void Worker::SendFinal() {
  const SendOptions options{.when_full = WhenFull::kWait, .timeout = kSendTimeout};
  std::array<PeerId, kProcesses> sent_to{};
  while (node_->status().ok() && ledger_.phase() != Phase::kEnd) {
    bool all = true;
    for (std::uint32_t i = 1; i < kProcesses; ++i) {
      const std::uint32_t to = (self_ + i) % kProcesses;
      const auto peer = node_->Lookup(NameOf(to));
      if (peer.ok() && peer->id == sent_to.at(to)) continue;
      all = false;
      if (!peer.ok() || peer->state != layout::PeerState::kLive) continue;
      const std::uint32_t number = ledger_.pair(self_, to).next;
      if (SendOne(to, peer->id, 100, options) != SendResult::kOk) continue;
      ledger_.pair(self_, to).final_message = number;
      sent_to.at(to) = peer->id;
    }
    process_.done = all;
    std::this_thread::sleep_for(milliseconds(10));
  }
}

}  // namespace

int RunWorker(const Ledger& ledger, const std::string& address, std::uint32_t self,
              std::uint64_t seed, const std::string& log) {
  return std::make_unique<Worker>(ledger, self, seed, log)->Run(address);
}

}  // namespace ivmq::campaign
