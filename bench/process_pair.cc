#include "process_pair.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include <fmt/core.h>

namespace ivmq::bench {
namespace {

constexpr unsigned kPairSeconds = 60;

// What runs now, for the handlers.
char g_what[128] = "start";  // NOLINT(readability-identifier-naming)
// The last child that was asked to end, however it does.
volatile pid_t g_terminated = 0;  // NOLINT(readability-identifier-naming)

void WriteError(const char* text) {
  const ssize_t ignored = write(STDERR_FILENO, text, std::strlen(text));
  static_cast<void>(ignored);
}

void OnAlarm(int /*signal*/) {
  WriteError("ivmq_bench: no end within a minute: ");
  WriteError(g_what);
  WriteError("\n");
  _exit(1);
}

// A child that fails has said why; without it this process would spin for ever.
void OnChild(int /*signal*/, siginfo_t* info, void* /*context*/) {
  if (info->si_code == CLD_EXITED && info->si_status == 0) return;
  if (info->si_pid == g_terminated) return;  // as we asked
  WriteError("ivmq_bench: the other process failed: ");
  WriteError(g_what);
  WriteError("\n");
  _exit(1);
}

void InstallHandlers() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_flags = SA_RESTART;
    action.sa_handler = OnAlarm;
    sigaction(SIGALRM, &action, nullptr);
    action.sa_flags = SA_RESTART | SA_SIGINFO | SA_NOCLDSTOP;
    action.sa_sigaction = OnChild;
    sigaction(SIGCHLD, &action, nullptr);
  });
}

}  // namespace

void Fail(std::string_view what) {
  std::fflush(stdout);
  fmt::print(stderr, "ivmq_bench: {}\n", what);
  _exit(1);
}

SharedMemory::SharedMemory(std::size_t bytes, bool touch) : size_(bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | (touch ? MAP_POPULATE : 0), -1, 0);
  if (memory == MAP_FAILED) {
    Fail(fmt::format("cannot map {} bytes of shared memory: {}", bytes, std::strerror(errno)));
  }
  data_ = static_cast<std::byte*>(memory);
}

SharedMemory::~SharedMemory() { munmap(data_, size_); }

int Cores() {
  static const int kCores = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return CPU_ISSET(0, &set) && CPU_ISSET(1, &set) ? 2 : 1;
  }();
  return kCores;
}

void PinTo(int core) {
  static const cpu_set_t kAll = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    return set;
  }();
  if (Cores() < 2) return;
  cpu_set_t set = kAll;
  if (core >= 0) {
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(core), &set);
  }
  if (sched_setaffinity(0, sizeof set, &set) != 0) {
    Fail(fmt::format("cannot run on core {}: {}", core, std::strerror(errno)));
  }
}

Child::Child(int core, const std::function<void()>& body) {
  InstallHandlers();
  std::fflush(stdout);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) Fail(fmt::format("cannot fork: {}", std::strerror(errno)));
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    PinTo(core);
    body();
    _exit(0);
  }
}

Child::~Child() {
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Child::Terminate() noexcept {
  g_terminated = pid_;
  kill(pid_, SIGTERM);
}

void RunPair(const std::string& what, const std::function<void()>& client,
             const std::function<void()>& server) {
  std::snprintf(g_what, sizeof g_what, "%s", what.c_str());
  alarm(kPairSeconds);
  {
    Cores();
    PinTo(-1);
    const Child child(1, server);
    PinTo(0);
    client();
  }
  PinTo(-1);
  alarm(0);
}

}  // namespace ivmq::bench
