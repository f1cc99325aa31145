// What the parts of the guests campaign share.
#ifndef IVMQ_TESTS_CAMPAIGN_GUESTS_STAGE_H_
#define IVMQ_TESTS_CAMPAIGN_GUESTS_STAGE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/fault_log.h"

namespace ivmq::campaign {

// What was promised and did not hold.
enum class Fault : std::uint8_t {
  kLost,    // the last message of a pair has another number at its receiver
  kOrder,   // a receiver has seen a gap, a message twice, or other bytes
  kNet,     // a message between peers that nothing happened to was announced by no doorbell
  kHung,    // something did not happen in time
  kUncut,   // a process outlived its device without being told
  kCrash,   // a peer ended by itself
  kQemu,    // a QEMU ended by itself
  kServer,  // ivmqd did
  kCount
};

// What is done to a machine.
enum class Deed : std::uint8_t {
  kKillProcess,
  kStopQemu,
  kReplug,
  kKillQemu,
  kReset,
  kPowerOff,
  kSnapshot,  // without its device, as docs/guarantees.md asks; it goes on from it
  kKillServer,
  kCount
};

inline constexpr std::array<const char*, static_cast<std::size_t>(Deed::kCount)> kDeedNames{
    "processes of guests killed",
    "QEMU stopped for a while",
    "devices unplugged and plugged in again",
    "QEMU killed, and restored from a saved state",
    "machines reset",
    "machines switched off, and restored from a saved state",
    "machines restored from a snapshot without the device",
    "servers killed",
};

// A life of a peer, as it says itself: CIRCLE.NAME SLOT.INCARNATION.
using Life = std::string;

struct Stage {
  FaultLog<Fault> faults;
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Deed::kCount)> deeds{};
  std::atomic<std::uint64_t> comebacks{0};        // of peers
  std::atomic<std::int64_t> longest_comeback{0};  // ms
  std::atomic<std::uint64_t> messages{0};         // received by those who live at the end
  std::atomic<std::uint64_t> mesh_finds{0};
  std::atomic<std::uint64_t> pairs{0};  // compared at the end

  // Held while a device is plugged in or unplugged. A QEMU 7.2 has crashed (its heap was damaged)
  // whose device was unplugged 50 ms after the doorbells of another one had been announced to it.
  std::mutex plugging;

  // Changed under the mutex, read once all have arrived at the end of a part.
  std::mutex mutex;
  std::vector<Life> steady;                             // to which nothing happens
  std::vector<Life> all;                                // at the end
  std::map<std::pair<Life, Life>, std::uint64_t> sent;  // the last number, by sender and receiver
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_GUESTS_STAGE_H_
