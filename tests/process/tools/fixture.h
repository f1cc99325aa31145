// Files and regions of one test.
#ifndef IVMQ_TESTS_PROCESS_TOOLS_SCRATCH_H_
#define IVMQ_TESTS_PROCESS_TOOLS_SCRATCH_H_

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "server_process.h"
#include "tool_process.h"

namespace ivmq::testing {

class ToolTest : public ::testing::Test {
 protected:
  ToolTest();
  ~ToolTest() override;

  // Formats address_: 1 MiB, with rings of 16 KiB.
  void MakeRegion();
  // Writes a file of this test and returns its path.
  std::string WriteFile(const std::string& name, std::string_view content) const;
  // Overwrites bytes of the region.
  void Overwrite(std::uint64_t offset, std::string_view bytes) const;

  TemporaryFolder folder_;
  std::string name_;     // of a shm that goes with the test
  std::string address_;  // "shm:" and the name
};

// The content of a file.
std::string ReadWholeFile(const std::string& path);

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_TOOLS_SCRATCH_H_
