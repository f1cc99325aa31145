#include "fixture.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

namespace ivmq::testing {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> Command(const std::string& address, const std::string& name,
                                 const std::string& what) {
  std::vector<std::string> command{IVMQ_TEST_PEER, address, name};
  std::istringstream words(what);
  for (std::string word; words >> word;) command.push_back(word);
  return command;
}

}  // namespace

Peer::Peer(Guest& guest, const std::string& address, const std::string& name,
           const std::string& what)
    : name_(name),
      guest_(&guest),
      job_(guest.Start("exec " + std::filesystem::path(IVMQ_TEST_PEER).filename().string() + " " +
                       address + " " + name + " " + what)) {}

Peer::Peer(const std::string& address, const std::string& name, const std::string& what)
    : name_(name), program_(std::make_unique<Program>(Command(address, name, what))) {}

bool Peer::Await(std::string_view text) {
  return guest_ != nullptr ? guest_->WaitForOutput(job_, text, std::chrono::seconds(90))
                           : program_->AwaitOutput(text);
}

void Peer::Kill() {
  if (guest_ != nullptr) {
    guest_->Signal(job_, "KILL");
  } else {
    program_->Signal(SIGKILL);
  }
}

Result Peer::Wait() {
  if (guest_ != nullptr) return guest_->Wait(job_, std::chrono::seconds(90));
  const int status = program_->Wait();
  return {.status = status, .output = program_->output()};
}

std::string Peer::Finish() {
  const Result result = Wait();
  EXPECT_EQ(result.status, 0) << name_ << ": " << result.output;
  return result.output;
}

void Peer::FinishKilled(int signal) {
  const Result result = Wait();
  EXPECT_EQ(result.status, 128 + signal) << name_ << ": " << result.output;
}

void TransportsTest::StartServer() {
  server_ = std::make_unique<ServerProcess>(
      socket_, std::vector<std::string>{"--region", "file:" + folder_ / "region", "--size", "8M",
                                        "--vectors", std::to_string(kVectors)});
  server_->AwaitReady();
}

std::unique_ptr<Guest> TransportsTest::WithDriver(const std::string& name,
                                                  const std::string& kernel, int vectors) {
  auto guest = Guest::Restore(
      {.name = name, .devices = {IvshmemDevice::Doorbell(socket_, vectors)}, .kernel = kernel});
  if (guest != nullptr) LoadDriver(*guest);
  return guest;
}

std::unique_ptr<Guest> TransportsTest::WithIommu(const std::string& name) {
  return Guest::Boot({.name = name,
                      .devices = {IvshmemDevice::Doorbell(socket_, kVectors)},
                      .machine = "q35",
                      .kernel = "6.1",
                      .append = "intel_iommu=on",
                      .arguments = {"-device", "intel-iommu"}});
}

void TransportsTest::LoadDriver(Guest& guest) {
  EXPECT_EQ(guest.Run("insmod /lib/ivmq/$(uname -r | cut -d. -f1,2)/ivmq.ko").status, 0)
      << guest.Console();
}

void TransportsTest::BindToVfio(Guest& guest) {
  const Result bound = guest.Run(
      "cd /lib/vfio && for m in irqbypass vfio vfio_virqfd vfio_iommu_type1 pci/vfio-pci-core "
      "pci/vfio-pci; do insmod $m.ko || exit 1; done; "
      "cd $(dirname $(grep -lx 0x1110 /sys/bus/pci/devices/*/device)) && "
      "if [ -e driver ]; then basename $PWD > driver/unbind; fi; echo vfio-pci > driver_override "
      "&& "
      "basename $PWD > /sys/bus/pci/drivers_probe && [ -e driver ]");
  EXPECT_EQ(bound.status, 0) << bound.output << guest.Console();
}

void TransportsTest::ExpectNoneLost(const std::string& output) {
  EXPECT_THAT(output, HasSubstr("net finds 0\n"));
  std::printf("%s", output.c_str());
}

}  // namespace ivmq::testing
