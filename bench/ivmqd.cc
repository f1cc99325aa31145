#include "ivmqd.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "ivmq/address.h"

namespace ivmq::bench {

Ivmqd::Ivmqd(const std::string& program) {
  child_ = std::make_unique<Child>(-1, [&] {
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    execl(program.c_str(), program.c_str(), "--socket", socket_.c_str(), "--size", "16M",
          static_cast<char*>(nullptr));
  });
  for (int i = 0;; ++i) {
    const Result<RegionMemory> region = OpenRegion(address());
    if (region.ok()) return;
    if (i == 5000) Fail(program + " does not serve: " + region.status().ToString());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

Ivmqd::~Ivmqd() {
  child_->Terminate();
  child_.reset();
}

}  // namespace ivmq::bench
