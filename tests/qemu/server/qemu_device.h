// A QEMU with an ivshmem-doorbell device and no guest: the test itself works the device's
// registers.
#ifndef IVMQ_TESTS_PROCESS_SERVER_QEMU_QEMU_DEVICE_H_
#define IVMQ_TESTS_PROCESS_SERVER_QEMU_QEMU_DEVICE_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "src/unique_fd.h"
#include "support/child.h"

namespace ivmq::testing {

// Thread-compatible. Ends with the test.
class QemuDevice {
 public:
  // Starts QEMU as a client of the server at `socket`; `before` runs in its process before that.
  // `more`: further properties of the device, each after a comma.
  QemuDevice(const std::string& socket, std::uint32_t vectors,
             const std::function<void()>& before = {}, const std::string& more = "");
  QemuDevice(const QemuDevice&) = delete;
  QemuDevice& operator=(const QemuDevice&) = delete;

  // Waits until the device is there, and maps its registers. False, with a failure, if QEMU ends
  // instead.
  bool Attach();
  // The device's id, as a guest sees it. REQUIRES: attached, as for the next one.
  [[nodiscard]] std::uint16_t ReadIvposition();
  void Ring(std::uint16_t peer, std::uint16_t vector);

  // Waits for its end: its exit status, or 128 + the signal.
  int Wait() { return process_.Wait(); }
  void Kill() { process_.Kill(); }
  // What it wrote to standard error, once it has ended.
  std::string Errors();

  [[nodiscard]] pid_t pid() const noexcept { return process_.pid(); }

 private:
  // Sends a line of QEMU's qtest protocol and returns what follows the OK.
  std::string Command(const std::string& line);
  std::uint32_t ReadConfig(std::uint32_t offset);
  void WriteConfig(std::uint32_t offset, std::uint32_t value);

  Child process_;
  UniqueFd in_;
  UniqueFd out_;
  UniqueFd errors_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_SERVER_QEMU_QEMU_DEVICE_H_
