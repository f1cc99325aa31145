// How fast memory is read: tells a cached mapping from one that goes to the bus for each load.
#ifndef IVMQ_TOOLS_IVMQ_LOAD_TIMING_H_
#define IVMQ_TOOLS_IVMQ_LOAD_TIMING_H_

#include <cstddef>
#include <span>

namespace ivmq::tool {

struct LoadTiming {
  double region_ns = 0;    // of one load
  double ordinary_ns = 0;  // the same of this process's own memory
  [[nodiscard]] double ratio() const { return region_ns / ordinary_ns; }
  // Loads of one cached line take about the same anywhere; uncached ones a hundred times longer.
  [[nodiscard]] bool cached() const { return ratio() < 10; }
};

// Loads the first word of `memory` again and again, in turn with one of this process.
// REQUIRES: not empty
LoadTiming TimeLoads(std::span<const std::byte> memory);

// The processor is software (QEMU's TCG), which knows no cache types.
bool CpuIsEmulated();

// How many bits an address of this machine's memory has.
unsigned PhysicalAddressBits();

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_LOAD_TIMING_H_
