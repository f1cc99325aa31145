#include "rivals.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "candidates/scratch_folder.h"
#include "candidates/streams.h"
#ifdef IVMQ_BENCH_ICEORYX
#include "candidates/iceoryx.h"
#endif
#ifdef IVMQ_BENCH_NATS
#include "candidates/nats.h"
#endif
#ifdef IVMQ_BENCH_NNG
#include "candidates/nng.h"
#endif
#ifdef IVMQ_BENCH_ZEROMQ
#include "candidates/zeromq.h"
#endif

namespace ivmq::bench {
namespace {

#if defined(IVMQ_BENCH_ICEORYX) || defined(IVMQ_BENCH_NATS)
// A program that serves a rival, as long as this process runs.
class Daemon {
 public:
  // Fails unless `is_ready` says yes within seconds.
  Daemon(std::vector<std::string> command, const std::function<bool()>& is_ready)
      : child_(std::make_unique<Child>(-1, [&] {
          const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
          dup2(null, STDOUT_FILENO);
          dup2(null, STDERR_FILENO);
          std::vector<char*> words;
          for (std::string& word : command) words.push_back(word.data());
          words.push_back(nullptr);
          execvp(words[0], words.data());
        })) {
    for (int i = 0; !is_ready(); ++i) {
      if (i == 10'000) Fail(command[0] + " does not serve");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  ~Daemon() {
    // A child's copy of it is nobody's.
    if (getpid() == owner_) {
      child_->Terminate();
    } else {
      static_cast<void>(child_.release());
    }
  }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

 private:
  pid_t owner_ = getpid();
  std::unique_ptr<Child> child_;
};
#endif

void NeedNothing() {}

#ifdef IVMQ_BENCH_ICEORYX
void NeedRoudi() {
  const std::filesystem::path socket = "/tmp/roudi";
  static const Daemon roudi({IVMQ_BENCH_ICEORYX, "--log-level", "off", "--monitoring-mode", "off"},
                            [&] { return std::filesystem::exists(socket); });
}
#endif

#ifdef IVMQ_BENCH_NATS
void NeedNats() {
  static const ScratchFolder folder;
  // A receiver that is slower than the senders is not to be thrown out meanwhile.
  std::ofstream(folder.path() + "/nats.conf") << "max_pending: 4GB\n";
  static const Daemon server({IVMQ_BENCH_NATS, "-a", "127.0.0.1", "-p", std::to_string(Nats::kPort),
                              "-c", folder.path() + "/nats.conf"},
                             [] {
                               const int fd = Nats::TryConnect();
                               if (fd >= 0) close(fd);
                               return fd >= 0;
                             });
}
#endif

// Calls it in a process of its own: these libraries begin threads, which a fork does not copy.
template <typename T>
T Apart(const std::function<T()>& measure) {
  const Shared<T> result;
  {
    const Child child(-1, [&] {
      *result = measure();
      std::exit(0);  // a library may have something to say to its daemon
    });
  }
  return *result;
}

template <typename C, void (*kNeed)() = NeedNothing>
Rival Make(std::string name, std::size_t most_bytes = Rival().most_bytes) {
  return {std::move(name),
          [](const Slot& slot) {
            kNeed();
            return Apart<Latency>([&] { return RoundTrip<C>(slot); });
          },
          [](const Slot& slot) {
            kNeed();
            return Apart<double>([&] { return Rate<C>(slot); });
          },
          [](const Slot& slot, double rate) {
            kNeed();
            return Apart<tool::Latencies>([&] { return UnderLoad<C>(slot, rate); });
          },
          most_bytes};
}

}  // namespace

const std::vector<Rival>& PollingRivals() {
  static const std::vector<Rival> kRivals{
#ifdef IVMQ_BENCH_ICEORYX
      Make<Iceoryx, NeedRoudi>("iceoryx", Iceoryx::kMostBytes),
#endif
      Make<Pipes<false>>("pipe"),
      Make<TcpLoopback<false>>("TCP loopback"),
  };
  return kRivals;
}

const std::vector<Rival>& SleepingRivals() {
  static const std::vector<Rival> kRivals{
      Make<Pipes<true>>("pipe"),
      Make<TcpLoopback<true>>("TCP loopback"),
#ifdef IVMQ_BENCH_ZEROMQ
      Make<ZeroMq>("ZeroMQ ipc"),
#endif
#ifdef IVMQ_BENCH_NNG
      Make<Nng>("nng ipc"),
#endif
#ifdef IVMQ_BENCH_NATS
      Make<Nats, NeedNats>("NATS loopback", Nats::kMostBytes),
#endif
  };
  return kRivals;
}

std::vector<std::string> MissingPackages() {
  return {
#ifndef IVMQ_BENCH_ICEORYX
      "iceoryx libiceoryx-posh-dev libiceoryx-hoofs-dev",
#endif
#ifndef IVMQ_BENCH_NATS
      "nats-server",
#endif
#ifndef IVMQ_BENCH_NNG
      "libnng-dev",
#endif
#ifndef IVMQ_BENCH_ZEROMQ
      "libzmq3-dev",
#endif
  };
}

}  // namespace ivmq::bench
