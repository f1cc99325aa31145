// The command line of a campaign: how long, and the seed that repeats it.
#ifndef IVMQ_TESTS_CAMPAIGN_COMMON_ARGUMENTS_H_
#define IVMQ_TESTS_CAMPAIGN_COMMON_ARGUMENTS_H_

#include <chrono>
#include <cstdint>

namespace ivmq::campaign {

struct Arguments {
  std::chrono::seconds duration{600};
  std::uint64_t seed = 0;  // of the schedule; when things happen depends on the machine as well
};

// What main() of a campaign returns: NAME [--minutes N | --seconds N] [--seed S]. 0: all promises
// were kept, 1: `run` said that they were not, 2: the command line is wrong.
int Main(int argc, char** argv, bool (*run)(const Arguments&));

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_COMMON_ARGUMENTS_H_
