// A guest of the campaign with its peers, and what is done to it.
#ifndef IVMQ_TESTS_CAMPAIGN_GUESTS_MACHINE_H_
#define IVMQ_TESTS_CAMPAIGN_GUESTS_MACHINE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "guest.h"
#include "guests/group.h"
#include "guests/stage.h"

namespace ivmq::campaign {

struct MachineOptions {
  std::string name{};
  std::string kernel{};
  std::vector<std::string> peers{};  // the last one is killed now and then
  bool is_spared = false;            // nothing happens to the machine itself
};

// Belongs to the thread that makes it. Functions return false once the machine is not as it should
// be; a fault has been added then.
class Machine : public Group {
 public:
  Machine(MachineOptions options, std::string socket, std::uint64_t seed, Stage& stage);

  // Switches it on and starts its peers.
  bool Start() { return SwitchOn() && StartPeers(0); }
  // Waits until the peers from `first` on have been heard by all steady peers, and have heard them.
  bool AwaitHeard(std::size_t first);
  // Does what comes next in the schedule.
  bool Disturb();
  // Has no peers any more.
  void GiveUp() { peers_.clear(); }

  [[nodiscard]] std::size_t count() const override { return peers_.size(); }
  [[nodiscard]] const Life& life(std::size_t peer) const override { return peers_[peer].life; }
  void Signal(std::size_t peer, int signal) override;
  bool Await(std::size_t peer, const std::string& text) override;
  std::string Output(std::size_t peer) override { return guest_->Output(peers_[peer].job); }
  testing::Result Finish(std::size_t peer) override;

 private:
  struct Peer {
    testing::Guest::JobId job = 0;
    Life life;
  };

  bool SwitchOn();
  bool LoadDriver();
  bool StartPeers(std::size_t first);
  bool Do(Deed deed);
  // The peers from `first` on start again.
  bool ComeBack(std::size_t first);
  bool KillProcess();
  bool StopQemu();
  // Its processes are told that their device has gone.
  bool Unplug();
  bool Plug();
  bool RestoreSnapshot();
  // What the peers have printed before the machine goes.
  void JudgeAll();
  // Nobody but this campaign ends a QEMU.
  bool IsUp();
  std::uint64_t Below(std::uint64_t limit) { return random_() % limit; }

  const MachineOptions options_;
  const std::string socket_;
  std::mt19937_64 random_;
  Stage& stage_;
  std::unique_ptr<testing::Guest> guest_;
  std::vector<Peer> peers_;
  std::vector<Deed> deck_;  // what is still to come before all are shuffled again
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_GUESTS_MACHINE_H_
