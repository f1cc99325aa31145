// The two loops that every candidate goes through. A candidate is a class of this shape, made in
// one process before it forks, so that whatever its two sides share is mapped in both:
//
//   explicit C(const Slot& slot)
//   void Open(Side side)            once in each process
//   bool TrySend(Message message)   false: full now. `message` may be used only during the call.
//   void Flush()                    what was sent so far becomes visible
//   size_t Receive(use)             use(Message) for some waiting messages; 0: none waits
//   void Wait()                     after Receive() found nothing: spins once, or sleeps
//   void EndServer()                ends the server's process; may be left out
//   static constexpr bool kBare     it moves a message's first word only
//   static constexpr bool kBursty   see below; may be left out
#ifndef IVMQ_BENCH_DRIVE_H_
#define IVMQ_BENCH_DRIVE_H_

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "clock.h"
#include "process_pair.h"
#include "tools/ivmq/latencies.h"
#include "workload.h"

namespace ivmq::bench {

// One measurement of one candidate.
struct Slot {
  std::size_t bytes = 64;      // of a message
  std::size_t ring_bytes = 0;  // of each direction's queue
  std::chrono::nanoseconds duration = std::chrono::milliseconds(60);
  std::string what = "";     // for people, if it fails
  std::string address = "";  // of a region that a server serves, for those that join one
};

// All queues of a row hold the same number of bytes.
[[nodiscard]] constexpr std::size_t QueueBytes(std::size_t message) noexcept {
  return std::max<std::size_t>(512U << 10, 4 * message);
}

struct Latency {
  double p50 = 0, p99 = 0, p999 = 0, max = 0;  // microseconds
};

// What a polling candidate does between two looks. The pause takes the other core's stores out of
// the way of a spinning reader: without it the floor, and everything else, is half as fast again.
inline void SpinOnce() noexcept {
  static const bool kAlone = Cores() < 2;
  if (kAlone) [[unlikely]]
    sched_yield();
  _mm_pause();
}

// Sorts `samples`.
Latency Percentiles(std::vector<Ticks>& samples);

namespace internal {

// A slot is longer than planned if another program has taken the cores meanwhile.
inline constexpr std::size_t FewestSamples(std::size_t bytes) noexcept {
  return bytes < (1U << 20) ? 100 : 10;
}
inline constexpr std::uint64_t kFewestWindows = 5;

// Four laps of the ring, but not more than some 10 ms of most candidates.
inline std::uint64_t WindowMessages(const Slot& slot) noexcept {
  return std::min<std::uint64_t>({4 * slot.ring_bytes / slot.bytes, 16384,
                                  std::max<std::uint64_t>(4, (64U << 20) / slot.bytes)});
}

// Whether it holds more than its queue should, so that what arrives in a window of messages says
// little of what goes in: its rate is that of the whole measurement.
template <typename C>
constexpr bool IsBursty() {
  if constexpr (requires { C::kBursty; }) {
    return C::kBursty;
  } else {
    return false;
  }
}

// Both sides have opened the candidate before either begins.
class StartLine {
 public:
  void Cross() const noexcept {
    arrived_->fetch_add(1);
    // Asleep: the other side may need this core to get here.
    while (arrived_->load() < 2) std::this_thread::sleep_for(std::chrono::microseconds(20));
  }

 private:
  Shared<std::atomic<int>> arrived_;
};

template <typename C>
std::uint64_t CheckOne(const Checker& checker, Message message, std::uint64_t sequence) {
  if constexpr (C::kBare) {
    const std::uint64_t word = FirstWord(message);
    if ((word & kSequenceMask) != sequence) Fail("the bare flag lost its sequence");
    return word;
  } else {
    return checker.Check(message, sequence);
  }
}

// Takes 0 to about 100 ns. Without it the two sides run in lockstep, and a figure says how well a
// candidate's period happens to fit the period of the polling loop.
inline void Dither(std::uint64_t sequence) noexcept {
  std::uint64_t value = sequence | 1;
  for (std::uint64_t i = sequence * 0x9e3779b97f4a7c15 >> 58; i != 0; --i) {
    asm volatile("imul %0, %0" : "+r"(value));
  }
}

template <typename C>
void EndServer(C& candidate) {
  if constexpr (requires { candidate.EndServer(); }) candidate.EndServer();
}

template <typename C>
void SendOne(C& candidate, Message message) {
  while (!candidate.TrySend(message)) SpinOnce();
  candidate.Flush();
}

}  // namespace internal

// The two ends of a round trip, once both sides have opened the candidate: the time from before a
// message is sent until its answer has been checked, both of slot.bytes bytes, one at a time. The
// server answers while it handles the message.
template <typename C>
std::vector<Ticks> RoundTripClient(C& candidate, const Slot& slot) {
  std::vector<Ticks> samples;
  samples.reserve(1 << 20);
  Source source(slot.bytes, Side::kClient);
  const Checker checker(slot.bytes, Side::kServer);
  const Ticks duration = ToTicks(slot.duration);
  const Ticks warm = Now() + duration / 4;
  const Ticks end = warm + duration;
  bool last = false;
  for (std::uint64_t sequence = 0; !last; ++sequence) {
    internal::Dither(sequence);
    const Ticks begun = Now();
    last = begun >= end && samples.size() >= internal::FewestSamples(slot.bytes);
    internal::SendOne(candidate, source.Make(last ? sequence | kLast : sequence));
    Ticks answered = 0;
    const auto handle = [&](Message message) {
      internal::CheckOne<C>(checker, message, sequence);
      answered = Now();
    };
    while (candidate.Receive(handle) == 0) candidate.Wait();
    if (begun >= warm) samples.push_back(answered - begun);
  }
  return samples;
}

template <typename C>
void RoundTripServer(C& candidate, const Slot& slot) {
  Source source(slot.bytes, Side::kServer);
  const Checker checker(slot.bytes, Side::kClient);
  bool last = false;
  std::uint64_t sequence = 0;
  const auto handle = [&](Message message) {
    const std::uint64_t word = internal::CheckOne<C>(checker, message, sequence);
    internal::SendOne(candidate, source.Make(sequence));
    last = (word & kLast) != 0;
    ++sequence;
  };
  while (!last) {
    if (candidate.Receive(handle) == 0) candidate.Wait();
  }
}

// Both in two processes of this machine.
template <typename C>
Latency RoundTrip(const Slot& slot) {
  C candidate(slot);
  const internal::StartLine start_line;
  const internal::StartLine finish_line;  // the last answer may be in the hands of a thread yet
  std::vector<Ticks> samples;
  const auto client = [&] {
    candidate.Open(Side::kClient);
    start_line.Cross();
    samples = RoundTripClient(candidate, slot);
    finish_line.Cross();
  };
  const auto server = [&] {
    candidate.Open(Side::kServer);
    start_line.Cross();
    RoundTripServer(candidate, slot);
    finish_line.Cross();
    internal::EndServer(candidate);
  };
  RunPair(slot.what, client, server);
  return Percentiles(samples);
}

// Messages a second, one way, as fast as it goes, as the receiver sees it: the upper quartile over
// windows of some laps of the ring, since one in which another program had one of the cores says
// nothing of the candidate.
template <typename C>
double Rate(const Slot& slot) {
  C candidate(slot);
  const internal::StartLine start_line;
  const Shared<double> rate;
  const Shared<std::atomic<std::uint64_t>> windows;
  const Ticks duration = ToTicks(slot.duration);

  const auto client = [&] {
    candidate.Open(Side::kClient);
    Source source(slot.bytes, Side::kClient);
    start_line.Cross();
    // The clock is read once for 16 KiB.
    const std::uint64_t look_every = slot.bytes >= 16384 ? 1 : 16384 / slot.bytes;
    const Ticks warm = Now() + duration / 4;
    const Ticks end = warm + duration;
    std::uint64_t until_look = look_every;
    bool marked = false;
    for (std::uint64_t sequence = 0;; ++sequence) {
      std::uint64_t word = sequence;
      if (--until_look == 0) {
        until_look = look_every;
        const Ticks now = Now();
        if (!marked && now >= warm) {
          marked = true;
          word |= kMark;
        } else if (now >= end && windows->load() >= internal::kFewestWindows) {
          word |= kLast;
        }
      }
      const Message message = source.Make(word);
      while (!candidate.TrySend(message)) SpinOnce();
      if ((word & kLast) != 0) break;
    }
    candidate.Flush();
  };
  const auto server = [&] {
    candidate.Open(Side::kServer);
    const Checker checker(slot.bytes, Side::kClient);
    const std::uint64_t window = internal::WindowMessages(slot);
    std::vector<Ticks> times;
    times.reserve(1 << 16);
    start_line.Cross();
    std::uint64_t sequence = 0;
    std::uint64_t window_end = ~std::uint64_t{0};
    Ticks begun = 0;
    bool done = false;
    const auto use = [&](Message message) {
      const std::uint64_t word = internal::CheckOne<C>(checker, message, sequence);
      if (word > kSequenceMask || sequence == window_end) [[unlikely]] {
        const Ticks now = Now();
        if (sequence == window_end) {
          times.push_back(now - begun);
          windows->store(times.size());
        }
        begun = now;
        window_end = sequence + window;
        done = (word & kLast) != 0;
      }
      ++sequence;
    };
    while (!done) {
      if (candidate.Receive(use) == 0) candidate.Wait();
    }
    if constexpr (internal::IsBursty<C>()) {
      const Ticks all = std::accumulate(times.begin(), times.end(), Ticks{0});
      *rate = static_cast<double>(window * times.size()) / Seconds(all);
    } else {
      std::sort(times.begin(), times.end());
      *rate = static_cast<double>(window) / Seconds(times[times.size() / 4]);
    }
    internal::EndServer(candidate);
  };
  RunPair(slot.what, client, server);
  return *rate;
}

// One-way latencies under a load of `rate` messages a second that come when they are due, however
// late the ones before were: a message's time counts from when it was due, so that a stall costs
// all that it held up. Ends in time, also if the load is too much. The first quarter is warm-up.
template <typename C>
tool::Latencies UnderLoad(const Slot& slot, double rate) {
  C candidate(slot);
  const internal::StartLine start_line;
  const Shared<tool::Latencies> latencies;
  const Shared<std::atomic<Ticks>> begun;
  const double interval = TicksPerNanosecond() * 1e9 / rate;
  const Ticks warm = ToTicks(slot.duration) / 4;
  const auto due = [&](std::uint64_t sequence) {
    return begun->load(std::memory_order_relaxed) +
           static_cast<Ticks>(interval * static_cast<double>(sequence));
  };
  const auto client = [&] {
    candidate.Open(Side::kClient);
    Source source(slot.bytes, Side::kClient);
    start_line.Cross();
    begun->store(Now());
    const Ticks end = Now() + warm + ToTicks(slot.duration);
    bool last = false;
    for (std::uint64_t sequence = 0; !last; ++sequence) {
      const Ticks time = due(sequence);
      Ticks now = Now();
      for (; now < time; now = Now()) SpinOnce();
      last = now >= end;
      internal::SendOne(candidate, source.Make(last ? sequence | kLast : sequence));
    }
  };
  const auto server = [&] {
    candidate.Open(Side::kServer);
    const Checker checker(slot.bytes, Side::kClient);
    start_line.Cross();
    std::uint64_t sequence = 0;
    bool last = false;
    const auto use = [&](Message message) {
      last = (internal::CheckOne<C>(checker, message, sequence) & kLast) != 0;
      const Ticks now = Now();
      const Ticks time = due(sequence++);
      if (time - begun->load(std::memory_order_relaxed) < warm) return;
      latencies->Add(std::chrono::nanoseconds(
          static_cast<std::int64_t>(now < time ? 0 : Microseconds(now - time) * 1e3)));
    };
    while (!last) {
      if (candidate.Receive(use) == 0) candidate.Wait();
    }
    internal::EndServer(candidate);
  };
  RunPair(slot.what, client, server);
  return *latencies;
}

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_DRIVE_H_
