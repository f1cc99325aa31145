#include "kill/verdict.h"

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace ivmq::campaign {
namespace {

// Hears of each broken promise.
using OnBroken = std::function<void(std::string_view promise, std::uint32_t number)>;

// The messages of one process to another.
class PairJudge {
 public:
  PairJudge(const Ledger& ledger, std::uint32_t from, std::uint32_t to, Verdict& verdict,
            OnBroken on_broken)
      : ledger_(ledger),
        from_(from),
        to_(to),
        end_(ledger.pair(from, to).next),
        verdict_(verdict),
        on_broken_(std::move(on_broken)) {}

  void Judge() {
    Count();
    if (IsDurable(to_)) {
      JudgeDurableReceiver();
    } else {
      JudgeEphemeralReceiver();
    }
    const std::uint32_t final_message = ledger_.pair(from_, to_).final_message;
    if (final_message == 0 || !IsHandled(final_message)) {
      ++verdict_.stuck;
      on_broken_("stuck", final_message);
    }
  }

 private:
  [[nodiscard]] const Entry& At(std::uint32_t number) const {
    return ledger_.entry(from_, to_, number);
  }
  [[nodiscard]] bool IsHandled(std::uint32_t number) const {
    return At(number).handled.load().times != 0;
  }
  [[nodiscard]] bool IsMissing(std::uint32_t number) const {
    return At(number).sent == Sent::kOk && !IsHandled(number);
  }
  void Lose(std::uint32_t number) {
    ++verdict_.lost;
    on_broken_("lost", number);
  }

  void Count() {
    for (std::uint32_t number = 1; number < end_; ++number) {
      const Entry& entry = At(number);
      const Handled handled = entry.handled;
      switch (entry.sent) {
        case Sent::kNot:
          break;
        case Sent::kBegun:
          ++verdict_.unfinished;
          break;
        case Sent::kOk:
          ++verdict_.ok;
          verdict_.ok_large += entry.large ? 1U : 0U;
          break;
        case Sent::kRefused:
          ++verdict_.refused;
          if (handled.times != 0) {
            ++verdict_.refused_yet_handled;
            on_broken_("refused, yet handled", number);
          }
          break;
      }
      if (handled.times == 0) continue;
      ++verdict_.handled;
      if (handled.twice_unmarked) {
        ++verdict_.twice_unmarked;
        on_broken_("twice, unmarked", number);
      } else {
        verdict_.marked += handled.times - 1U;
      }
    }
  }

  // Nothing is lost but a large message at whose fragments its receiver ended: between what
  // one life has handled and what the next one has, one for each end.
  void JudgeDurableReceiver() {
    std::vector<std::uint32_t> missing;  // since the last one that was handled
    std::uint32_t life = 1;              // in which that was
    const auto settle = [&](std::uint32_t next_life) {
      std::uint32_t deaths = next_life - life;
      for (const std::uint32_t number : missing) {
        if (At(number).large && deaths != 0) {
          --deaths;
          ++verdict_.excused_cut;
        } else {
          Lose(number);
        }
      }
      missing.clear();
    };
    for (std::uint32_t number = 1; number < end_; ++number) {
      if (IsMissing(number)) missing.push_back(number);
      if (!IsHandled(number)) continue;
      const Handled handled = At(number).handled;
      settle(handled.first_life);
      life = handled.last_life;
    }
    settle(ledger_.process(to_).life);
  }

  // What was sent to one life arrives without a gap, up to where it ended.
  void JudgeEphemeralReceiver() {
    const std::uint64_t last_life = ledger_.process(to_).lives[ledger_.process(to_).life];
    for (std::uint32_t begin = 1; begin < end_;) {
      std::uint32_t end = begin + 1;
      std::uint32_t handled_end = begin;  // behind the last one that was handled
      for (std::uint32_t number = begin; number < end_ && IsSameRing(begin, number); ++number) {
        end = number + 1;
        if (IsHandled(number)) handled_end = end;
      }
      for (std::uint32_t number = begin; number < end; ++number) {
        if (!IsMissing(number)) continue;
        if (number < handled_end || At(number).to == last_life) {
          Lose(number);
        } else {
          ++verdict_.excused_unread;
        }
      }
      begin = end;
    }
  }
  [[nodiscard]] bool IsSameRing(std::uint32_t one, std::uint32_t other) const {
    return At(one).to == At(other).to && (IsDurable(from_) || At(one).life == At(other).life);
  }

  const Ledger& ledger_;
  const std::uint32_t from_;
  const std::uint32_t to_;
  const std::uint32_t end_;
  Verdict& verdict_;
  OnBroken on_broken_;
};

using OnBrokenOfPair = std::function<void(std::uint32_t from, std::uint32_t to,
                                          std::string_view promise, std::uint32_t number)>;

Verdict JudgeAll(const Ledger& ledger, const OnBrokenOfPair& on_broken) {
  Verdict verdict;
  for (std::uint32_t from = 0; from < kProcesses; ++from) {
    verdict.rings_given_up += ledger.process(from).rings_given_up;
    for (std::uint32_t to = 0; to < kProcesses; ++to) {
      if (from == to) continue;
      PairJudge(ledger, from, to, verdict, [&](std::string_view promise, std::uint32_t number) {
        on_broken(from, to, promise, number);
      }).Judge();
    }
  }
  for (std::size_t i = 0; i < verdict.faults.size(); ++i) {
    verdict.faults[i] = ledger.faults().count(static_cast<Fault>(i));
  }
  return verdict;
}

}  // namespace

bool Verdict::holds() const {
  std::uint64_t broken = lost + twice_unmarked + refused_yet_handled + stuck + rings_given_up;
  for (const std::uint64_t fault : faults) broken += fault;
  return broken == 0;
}

Verdict Judge(const Ledger& ledger) {
  return JudgeAll(ledger, [](std::uint32_t, std::uint32_t, std::string_view, std::uint32_t) {});
}

void Explain(const Ledger& ledger) {
  constexpr int kMostOfAKind = 8;
  std::map<std::string_view, int> explained;
  (void)JudgeAll(ledger, [&](std::uint32_t from, std::uint32_t to, std::string_view promise,
                             std::uint32_t number) {
    if (++explained[promise] > kMostOfAKind) return;
    const Entry& entry = ledger.entry(from, to, number);
    const Handled handled = entry.handled;
    ledger.faults().AddText(
        fmt::format("{}: {} (life {}) to {} (slot {}, incarnation {}{}), number {}, {} bytes{}, "
                    "handled {} times, in lives {} to {}",
                    promise, NameOf(from), entry.life.load(), NameOf(to), entry.to.load() >> 32,
                    entry.to.load() & 0xffffffffU,
                    entry.to == ledger.process(to).lives[ledger.process(to).life] ? "" : ", ended",
                    number, entry.size.load(), entry.large ? " (large)" : "", handled.times,
                    handled.first_life, handled.last_life));
  });
}

}  // namespace ivmq::campaign
