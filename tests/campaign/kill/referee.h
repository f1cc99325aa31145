// Starts a mesh of processes over one transport, kills and stops them at random, and judges what
// they have sent and handled.
#ifndef IVMQ_TESTS_CAMPAIGN_KILL_REFEREE_H_
#define IVMQ_TESTS_CAMPAIGN_KILL_REFEREE_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "common/arguments.h"
#include "common/mortals.h"
#include "kill/crash_points.h"
#include "kill/verdict.h"

namespace ivmq::campaign {

enum class Mesh : std::uint8_t { kFile, kUnix };

// Of one mesh. In memory that the caller shares with the referee's process.
struct Outcome {
  Deaths deaths;
  CrashSchedule crash_schedule;
  bool judged = false;
  Verdict verdict;
  std::array<char, 16384> texts{};  // of broken promises

  // The labels of crash points at which none died, of those that the mesh passes.
  [[nodiscard]] std::vector<std::string_view> PointsWithoutDeath(Mesh mesh) const;
};

// For a process with one thread. Takes as long as the duration, and two or three minutes at most.
void RunMesh(Mesh mesh, const Arguments& arguments, Outcome* outcome);

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_KILL_REFEREE_H_
