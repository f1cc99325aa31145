// Starts a mesh of processes over one transport, kills and stops them at random, and judges what
// they have sent and handled.
#ifndef IVMQ_TESTS_CAMPAIGN_REFEREE_H_
#define IVMQ_TESTS_CAMPAIGN_REFEREE_H_

#include <array>
#include <chrono>
#include <cstdint>

#include "verdict.h"

namespace ivmq::campaign {

enum class Mesh : std::uint8_t { kFile, kUnix };

struct CampaignOptions {
  std::chrono::seconds duration;
  std::uint64_t seed = 0;
};

// Of one mesh. In memory that the caller shares with the referee's process.
struct Outcome {
  std::uint32_t killed = 0;
  std::uint32_t stopped = 0;
  std::uint32_t left = 0;  // ended in order, and came back
  bool judged = false;
  Verdict verdict;
  std::array<char, 16384> texts{};  // of broken promises
};

// For a process with one thread. Takes as long as `duration`, and a minute or two at most.
void RunMesh(Mesh mesh, const CampaignOptions& options, Outcome* outcome);

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_REFEREE_H_
