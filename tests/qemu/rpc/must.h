// What a program does that a test runs in a guest: it waits long, and ends at the first failure.
#ifndef IVMQ_TESTS_QEMU_RPC_MUST_H_
#define IVMQ_TESTS_QEMU_RPC_MUST_H_

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "ivmq/rpc/client.h"

namespace ivmq::testing {

inline constexpr std::chrono::seconds kPatience{60};

[[noreturn]] inline void Fail(const std::string& what) {
  std::printf("FAILED: %s\n", what.c_str());
  std::_Exit(1);
}

inline void Must(const rpc::Status& status, const char* what) {
  if (!status.ok()) {
    Fail(std::string(what) + ": " + rpc::StatusCodeName(status.error_code()) + ": " +
         status.error_message());
  }
}

// Its peer is dead.
inline void MustDie(const rpc::Status& status, const char* what) {
  if (status.error_code() != rpc::StatusCode::UNAVAILABLE) {
    Fail(std::string(what) + " ends with " + rpc::StatusCodeName(status.error_code()));
  }
  std::printf("%s ends: %s\n", what, status.error_message().c_str());
}

inline void BePatient(rpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  context.set_wait_for_ready(true);
}

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_QEMU_RPC_MUST_H_
