// Peers in guests and on the host, over the transports that the product has.
#ifndef IVMQ_TESTS_QEMU_TRANSPORTS_FIXTURE_H_
#define IVMQ_TESTS_QEMU_TRANSPORTS_FIXTURE_H_

#include <csignal>
#include <memory>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "guest.h"
#include "server_process.h"
#include "support/program.h"
#include "support/temp_folder.h"

namespace ivmq::testing {

// A running test_peer (or what IVMQ_TEST_PEER names), in a guest or on the host. Thread-compatible;
// must not outlive its guest.
class Peer {
 public:
  // `what`: the words after the name, see the program.
  Peer(Guest& guest, const std::string& address, const std::string& name, const std::string& what);
  // On the host.
  Peer(const std::string& address, const std::string& name, const std::string& what);

  // Waits until its output has `text`.
  bool Await(std::string_view text);
  // SIGKILL.
  void Kill();
  // Waits for its end.
  Result Wait();
  // The same, and gives its output. A status other than 0 is a failure of the test.
  std::string Finish();
  // Waits for its end, which must be by that signal.
  void FinishKilled(int signal = SIGKILL);

 private:
  std::string name_;
  Guest* guest_ = nullptr;  // null: on the host
  Guest::JobId job_ = 0;
  std::unique_ptr<Program> program_;
};

class TransportsTest : public ::testing::Test {
 protected:
  TransportsTest() { StartServer(); }

  // Over a file, so that the next one takes the region over.
  void StartServer();

  // A guest with a doorbell device whose driver is loaded; null with a failure.
  std::unique_ptr<Guest> WithDriver(const std::string& name, const std::string& kernel,
                                    int vectors = kVectors);
  // One that has a doorbell device and an IOMMU, and no driver yet.
  std::unique_ptr<Guest> WithIommu(const std::string& name);

  // The driver from now on. Fails the test if that does not work, as the next one.
  static void LoadDriver(Guest& guest);
  // Gives the guest's only device to vfio-pci from now on, whoever has it.
  static void BindToVfio(Guest& guest);

  [[nodiscard]] Peer OnHost(const std::string& name, const std::string& what) const {
    return {address_, name, what};
  }

  // The peer has told its figures: none of its wake-ups was found by the once-a-second look only.
  static void ExpectNoneLost(const std::string& output);

  static constexpr int kVectors = 4;

  TempFolder folder_;
  std::string socket_ = folder_ / "s";
  std::string address_ = "unix:" + socket_;
  std::unique_ptr<ServerProcess> server_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_QEMU_TRANSPORTS_FIXTURE_H_
