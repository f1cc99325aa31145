#include "workload.h"

#include <fmt/core.h>

namespace ivmq::bench {

void Checker::FailSize(std::size_t found, std::uint64_t sequence) const {
  Fail(
      fmt::format("content check: message {} has {} bytes instead of {}", sequence, found, bytes_));
}

void Checker::FailContent(std::uint64_t word, std::uint64_t sequence) {
  if ((word & kSequenceMask) != sequence) {
    Fail(fmt::format("content check: found message {} where {} was due", word & kSequenceMask,
                     sequence));
  }
  Fail(fmt::format("content check: message {} holds bytes that were not sent", sequence));
}

}  // namespace ivmq::bench
