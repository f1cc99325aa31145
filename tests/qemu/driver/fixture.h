// Guests with the driver, ivmqd on the host, and a client of it that sees the same memory.
#ifndef IVMQ_TESTS_QEMU_DRIVER_FIXTURE_H_
#define IVMQ_TESTS_QEMU_DRIVER_FIXTURE_H_

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ivmq/internal/layout.h"

#include "guest.h"
#include "raw_client.h"
#include "server_process.h"
#include "support/temp_folder.h"

namespace ivmq::testing {

inline constexpr std::size_t kSize = 1 << 20;

// The region on the host.
class Memory {
 public:
  explicit Memory(int fd)
      : base_(static_cast<std::byte*>(
            mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0))) {
    EXPECT_NE(static_cast<void*>(base_), MAP_FAILED);
  }
  ~Memory() { munmap(base_, kSize); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const { return {base_, kSize}; }
  [[nodiscard]] layout::Header& header() const { return *reinterpret_cast<layout::Header*>(base_); }
  [[nodiscard]] layout::PeerSlot& slot(std::uint32_t index) const {
    return reinterpret_cast<layout::PeerSlot*>(base_ + header().peer_table_offset)[index];
  }
  [[nodiscard]] layout::Life life(std::uint32_t index) const {
    return layout::Life::FromWord(slot(index).life);
  }
  [[nodiscard]] layout::PeerState state(std::uint32_t index) const { return life(index).state; }

  // Waits until somebody changes the state.
  [[nodiscard]] bool AwaitState(std::uint32_t index, layout::PeerState wanted) const {
    for (int i = 0; i < 3000 && state(index) != wanted; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return state(index) == wanted;
  }

 private:
  std::byte* base_;
};

// ivmqd, a client of it on the host, and what they share.
struct Host {
  explicit Host(const TempFolder& folder, int count = 8, const std::string& name = "s")
      : socket(folder / name),
        vectors(count),
        server(socket, {"--size", "1M", "--vectors", std::to_string(count)}),
        client(Greeted(server, vectors)),
        memory(client->memory()) {}

  static std::unique_ptr<RawClient> Greeted(ServerProcess& server, int vectors) {
    server.AwaitReady();
    auto client = std::make_unique<RawClient>(server.socket());
    EXPECT_TRUE(client->Greet(static_cast<std::uint32_t>(vectors)));
    return client;
  }

  [[nodiscard]] IvshmemDevice Device() const { return IvshmemDevice::Doorbell(socket, vectors); }
  // The memory as a file, for a plain device over it.
  [[nodiscard]] std::string MemoryFile() const {
    return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(client->memory());
  }

  // The client becomes a peer in the slot that sleeps on its vector.
  void Sleep(std::uint32_t index, std::uint32_t vector) const {
    layout::PeerSlot& slot = memory.slot(index);
    slot.vector = vector;
    slot.armed = 1;
    slot.life = layout::Life{1, client->id(), layout::kPeerCanRing | layout::kPeerWakeable,
                             layout::PeerState::kLive}
                    .ToWord();
  }

  std::string socket;
  int vectors;
  ServerProcess server;
  std::unique_ptr<RawClient> client;
  Memory memory;
};

class DriverGuestTest : public ::testing::Test {
 protected:
  // The guest, the driver loaded with `parameters`; null with a failure.
  static std::unique_ptr<Guest> Load(std::unique_ptr<Guest> guest,
                                     const std::string& parameters = {}) {
    if (guest != nullptr && guest->Run(kLoad + (" " + parameters)).status != 0) {
      ADD_FAILURE() << guest->Console();
      return nullptr;
    }
    return guest;
  }

  // The kernel has found nothing wrong.
  static void ExpectQuiet(Guest& guest) {
    EXPECT_THAT(guest.Run("dmesg | grep -E 'WARNING|BUG|Oops|Call Trace|protection fault'").output,
                ::testing::IsEmpty());
  }

  static constexpr const char* kLoad =
      "test \"$(uname -r | cut -d. -f1,2)\" && "
      "insmod /lib/ivmq/$(uname -r | cut -d. -f1,2)/ivmq.ko";

  TempFolder folder_;
};

class DriverTest : public DriverGuestTest, public ::testing::WithParamInterface<std::string> {
 protected:
  static std::unique_ptr<Guest> Start(const std::string& name,
                                      const std::vector<IvshmemDevice>& devices,
                                      const std::string& parameters = {}) {
    return Load(Guest::Restore({.name = name, .devices = devices, .kernel = GetParam()}),
                parameters);
  }
};

// "6_12" of "6.12", for the names of tests.
inline std::string KernelName(const ::testing::TestParamInfo<std::string>& test) {
  std::string name = test.param;
  for (char& c : name) {
    if (c == '.') c = '_';
  }
  return name;
}

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_QEMU_DRIVER_FIXTURE_H_
