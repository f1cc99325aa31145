#include "support/child.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IVMQ_WITH_ASAN
#endif
#endif

namespace ivmq::testing {

#ifdef IVMQ_WITH_ASAN
namespace {

// Whether every other thread of this process sleeps, so that none is within the allocator.
bool OthersSleep() {
  const std::string self = std::to_string(gettid());
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    if (thread.path().filename() == self) continue;
    std::string stat;
    std::getline(std::ifstream(thread.path() / "stat"), stat);
    const std::size_t name_end = stat.rfind(')');
    if (name_end != std::string::npos && stat.substr(name_end, 3) != ") S") return false;
  }
  return true;
}

}  // namespace

void AwaitQuietAllocator() {
  static bool is_in_vain = false;  // there are threads that never sleep, and are rarely in it
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (!is_in_vain && !OthersSleep()) {
    is_in_vain = std::chrono::steady_clock::now() >= until;
    sched_yield();
  }
}
#else
void AwaitQuietAllocator() {}
#endif

Child Child::Fork(const std::function<void()>& body) {
  AwaitQuietAllocator();
  const pid_t parent = getpid();
  (void)std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The parent may have gone before the line above. 0: it is in another pid namespace.
    if (const pid_t now = getppid(); now != parent && now != 0) _exit(1);
    body();
    (void)std::fflush(nullptr);
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  if (pid < 0) {
    std::perror("fork");
    std::abort();
  }
  return Child(pid);
}

Child::Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}

Child& Child::operator=(Child&& other) noexcept {
  std::swap(pid_, other.pid_);
  return *this;
}

Child::~Child() {
  if (pid_ > 0) Kill();
}

void Child::Signal(int signal) const {
  ASSERT_GT(pid_, 0) << "the child was waited for already";
  ASSERT_EQ(kill(pid_, signal), 0);
}

void Child::Kill() {
  Signal(SIGKILL);
  (void)Wait();
}

void Child::Stop() const {
  Signal(SIGSTOP);
  int status = 0;
  ASSERT_EQ(waitpid(pid_, &status, WUNTRACED), pid_);
  ASSERT_TRUE(WIFSTOPPED(status));
}

void Child::Continue() const { Signal(SIGCONT); }

int Child::Wait() {
  int status = 0;
  pid_t result = 0;
  do {
    result = waitpid(pid_, &status, 0);
  } while (result < 0 && errno == EINTR);
  EXPECT_EQ(result, pid_);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int RunInChild(const std::function<void()>& body) { return Child::Fork(body).Wait(); }

ProcessWithChild::ProcessWithChild(const std::function<std::shared_ptr<void>()>& open) {
  if (pipe(end_.data()) != 0) std::abort();
  SharedCounter forked;
  parent_.emplace(Child::Fork([&] {
    const std::shared_ptr<void> opened = open();
    if (fork() == 0) {
      close(end_[1]);
      forked.Add();
      char byte = 0;
      (void)!read(end_[0], &byte, 1);
      _exit(0);
    }
    for (;;) pause();
  }));
  forked.AwaitAtLeast(1);
}

ProcessWithChild::~ProcessWithChild() {
  parent_.reset();  // it has the writing end, too
  for (const int fd : end_) close(fd);
}

SharedCounter::SharedCounter()
    : count_(static_cast<unsigned*>(mmap(nullptr, sizeof(unsigned), PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
  if (count_ == MAP_FAILED) std::abort();
}

SharedCounter::~SharedCounter() { munmap(count_, sizeof(unsigned)); }

void SharedCounter::Add(unsigned amount) noexcept {
  std::atomic_ref(*count_).fetch_add(amount, std::memory_order_seq_cst);
}

unsigned SharedCounter::value() const noexcept {
  return std::atomic_ref(*count_).load(std::memory_order_seq_cst);
}

void SharedCounter::AwaitAtLeast(unsigned value) const noexcept {
  while (this->value() < value) sched_yield();
}

}  // namespace ivmq::testing
