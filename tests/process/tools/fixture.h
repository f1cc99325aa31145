// A region of a test of ivmq, and a folder.
#ifndef IVMQ_TESTS_PROCESS_TOOLS_FIXTURE_H_
#define IVMQ_TESTS_PROCESS_TOOLS_FIXTURE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "support/temp_folder.h"
#include "tool_process.h"

namespace ivmq::testing {

class ToolTest : public ::testing::Test {
 protected:
  ToolTest();
  ~ToolTest() override;

  // Formats address_: 1 MiB, with rings of 16 KiB.
  void MakeRegion();
  // Overwrites bytes of the region.
  void Overwrite(std::uint64_t offset, std::string_view bytes) const;

  TempFolder folder_;
  std::string name_;     // of a shm that goes with the test
  std::string address_;  // "shm:" and the name
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_TOOLS_FIXTURE_H_
