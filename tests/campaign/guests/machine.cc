#include "guests/machine.h"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>

#include <fmt/format.h>

namespace ivmq::campaign {
namespace {

using std::chrono::milliseconds;
using testing::Guest;
using testing::IvshmemDevice;
using testing::Result;
using Clock = std::chrono::steady_clock;

constexpr int kVectors = 4;

// All that is done to a machine before anything is done again.
constexpr Deed kDeck[] = {Deed::kKillProcess, Deed::kKillProcess, Deed::kKillProcess,
                          Deed::kStopQemu,    Deed::kStopQemu,    Deed::kReplug,
                          Deed::kReplug,      Deed::kKillQemu,    Deed::kReset,
                          Deed::kPowerOff,    Deed::kSnapshot};

}  // namespace

Machine::Machine(MachineOptions options, std::string socket, std::uint64_t seed, Stage& stage)
    : options_(std::move(options)), socket_(std::move(socket)), random_(seed), stage_(stage) {}

bool Machine::SwitchOn() {
  guest_ = Guest::Restore({.name = options_.name, .kernel = options_.kernel});
  return guest_ != nullptr && Plug() && LoadDriver();
}

bool Machine::LoadDriver() {
  const Result loaded = guest_->Run("insmod /lib/ivmq/$(uname -r | cut -d. -f1,2)/ivmq.ko", kLimit);
  if (loaded.status == 0) return true;
  stage_.faults.Add(Fault::kHung, options_.name + ": the driver: " + loaded.output);
  return false;
}

bool Machine::StartPeers(std::size_t first) {
  peers_.resize(options_.peers.size());
  for (std::size_t i = first; i < peers_.size(); ++i) {
    peers_[i].job = guest_->Start("exec numbered_peer auto " + options_.peers[i]);
  }
  for (std::size_t i = first; i < peers_.size(); ++i) {
    if (!Await(i, "is " + options_.peers[i])) return false;
    peers_[i].life = LifeIn(Output(i));
  }
  return true;
}

bool Machine::AwaitHeard(std::size_t first) {
  for (std::size_t i = first; i < peers_.size(); ++i) {
    for (const Life& life : stage_.steady) {
      if (IsPair(life, peers_[i].life) && !Await(i, "heard " + life + "\n")) return false;
    }
  }
  return true;
}

bool Machine::ComeBack(std::size_t first) {
  const Clock::time_point begin = Clock::now();
  if (!StartPeers(first) || !AwaitHeard(first)) return false;
  stage_.comebacks += peers_.size() - first;
  const std::int64_t took = std::chrono::duration_cast<milliseconds>(Clock::now() - begin).count();
  for (std::int64_t longest = stage_.longest_comeback;
       longest < took && !stage_.longest_comeback.compare_exchange_weak(longest, took);) {
  }
  return true;
}

void Machine::Signal(std::size_t peer, int signal) {
  guest_->Signal(peers_[peer].job, std::to_string(signal));
}

bool Machine::Await(std::size_t peer, const std::string& text) {
  return guest_->WaitForOutput(peers_[peer].job, text, kLimit);
}

Result Machine::Finish(std::size_t peer) {
  Result result = guest_->Wait(peers_[peer].job, kLimit);
  Judge(stage_, peers_[peer].life, result.output);
  return result;
}

void Machine::JudgeAll() {
  for (std::size_t i = 0; i < peers_.size(); ++i) Judge(stage_, peers_[i].life, Output(i));
}

bool Machine::IsUp() {
  siginfo_t end{};
  if (guest_->Pid() > 0 &&
      waitid(P_PID, static_cast<id_t>(guest_->Pid()), &end, WEXITED | WNOHANG | WNOWAIT) == 0 &&
      end.si_pid == 0) {
    return true;
  }
  stage_.faults.Add(Fault::kQemu,
                    fmt::format("{}: {} {}", options_.name,
                                end.si_code == CLD_EXITED ? "ended with status" : "ended by signal",
                                end.si_status));
  return false;
}

bool Machine::KillProcess() {
  const std::size_t last = peers_.size() - 1;
  Signal(last, SIGKILL);
  if (const Result end = Finish(last); end.status != 128 + SIGKILL) {
    stage_.faults.Add(Fault::kCrash,
                      fmt::format("{}: status {}: {}", peers_[last].life, end.status, end.output));
    return false;
  }
  return ComeBack(last);
}

bool Machine::StopQemu() {
  // Longer than others wait before they suspect it, now and then.
  const auto length = milliseconds(Below(5) == 0 ? 3000 : 1 + Below(500));
  kill(guest_->Pid(), SIGSTOP);
  std::this_thread::sleep_for(length);
  kill(guest_->Pid(), SIGCONT);
  return true;
}

bool Machine::Unplug() {
  {
    const std::lock_guard lock(stage_.plugging);
    if (!guest_->RemoveLastDevice(kLimit)) return false;
  }
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    const Result end = Finish(i);
    if (end.output.find("over: ") == std::string::npos) {
      stage_.faults.Add(Fault::kUncut, fmt::format("{}: status {}", peers_[i].life, end.status));
    }
  }
  return true;
}

bool Machine::Plug() {
  const std::lock_guard lock(stage_.plugging);
  return guest_->AddDevice(IvshmemDevice::Doorbell(socket_, kVectors), kLimit);
}

bool Machine::RestoreSnapshot() {
  std::unique_ptr<Guest> restored = guest_->Copy({});
  if (restored == nullptr) return false;
  guest_ = std::move(restored);
  return true;
}

bool Machine::Do(Deed deed) {
  switch (deed) {
    case Deed::kKillProcess:
      return KillProcess();
    case Deed::kStopQemu:
      return StopQemu();
    case Deed::kReplug:
      return Unplug() && Plug() && ComeBack(0);
    case Deed::kSnapshot:
      return Unplug() && RestoreSnapshot() && Plug() && ComeBack(0);
    case Deed::kReset:
      JudgeAll();
      return guest_->SystemReset(kLimit) && LoadDriver() && ComeBack(0);
    case Deed::kKillQemu:
    case Deed::kPowerOff:
      JudgeAll();
      if (deed == Deed::kKillQemu) {
        if (Below(2) == 0) kill(guest_->Pid(), SIGSTOP);  // some die in their sleep
        guest_->Kill();
      } else {
        guest_->Stop();
      }
      return SwitchOn() && ComeBack(0);
    case Deed::kKillServer:  // is not a machine's
    case Deed::kCount:
      break;
  }
  return false;
}

bool Machine::Disturb() {
  if (deck_.empty()) {
    if (options_.is_spared) {
      deck_ = {Deed::kKillProcess};
    } else {
      deck_.assign(std::begin(kDeck), std::end(kDeck));
    }
    std::ranges::shuffle(deck_, random_);
  }
  const Deed deed = deck_.back();
  deck_.pop_back();
  std::this_thread::sleep_for(milliseconds(Below(500)));
  if (!IsUp()) return false;
  if (!Do(deed)) {
    stage_.faults.AddText(
        fmt::format("{}: {}", options_.name, kDeedNames.at(static_cast<std::size_t>(deed))));
    // One that is about to end closes its monitor before.
    for (int i = 0; i < 100 && guest_ != nullptr && IsUp(); ++i) {
      std::this_thread::sleep_for(milliseconds(20));
    }
    return false;
  }
  ++stage_.deeds.at(static_cast<std::size_t>(deed));
  return true;
}

}  // namespace ivmq::campaign
