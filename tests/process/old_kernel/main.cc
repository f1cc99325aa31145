// old_kernel COMMAND...: runs the command where the kernel answers as Linux 4.19 does: it has no
// system call that came later, and no RWF_NOWAIT for eventfds.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace {

constexpr std::uint32_t kFirstNewCall = SYS_rseq + 1;

constexpr std::uint32_t kFlagsOfPreadv2 = offsetof(seccomp_data, args) + 5 * sizeof(std::uint64_t);

bool Pretend() {
  std::array<sock_filter, 10> filter{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kFirstNewCall, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_preadv2, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kFlagsOfPreadv2),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, RWF_NOWAIT, 2, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
  }};
  const sock_fprog program{.len = filter.size(), .filter = filter.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || !Pretend()) {
    std::perror("old_kernel");
    return 1;
  }
  (void)execv(argv[1], argv + 1);
  std::perror(argv[1]);
  return 1;
}
