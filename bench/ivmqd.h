// A real server, for the candidate that goes through one.
#ifndef IVMQ_BENCH_IVMQD_H_
#define IVMQ_BENCH_IVMQD_H_

#include <memory>
#include <string>

#include "candidates/scratch_folder.h"
#include "process_pair.h"

namespace ivmq::bench {

// Runs ivmqd in a folder of its own until it is destroyed.
class Ivmqd {
 public:
  // Where it is; fails if it is not there or does not serve within seconds.
  explicit Ivmqd(const std::string& program);
  ~Ivmqd();
  Ivmqd(const Ivmqd&) = delete;
  Ivmqd& operator=(const Ivmqd&) = delete;

  [[nodiscard]] std::string address() const { return "unix:" + socket_; }

 private:
  ScratchFolder folder_;
  std::string socket_{folder_.path() + "/ivmq.sock"};
  std::unique_ptr<Child> child_;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_IVMQD_H_
