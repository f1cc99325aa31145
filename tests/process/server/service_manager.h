// A stand-in for systemd as far as it keeps descriptors for a service (sd_notify(3), FDSTORE=).
#ifndef IVMQ_TESTS_PROCESS_SERVER_SERVICE_MANAGER_H_
#define IVMQ_TESTS_PROCESS_SERVER_SERVICE_MANAGER_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "src/unique_fd.h"

namespace ivmq::testing {

// Thread-compatible.
class ServiceManager {
 public:
  // Services send their messages to `path`.
  ServiceManager(std::string path, std::size_t capacity);

  // Readable when there is a message.
  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  // Takes all messages that are there.
  void Receive();
  [[nodiscard]] std::size_t size() const noexcept { return store_.size(); }

  // Starts a program with what is kept. As vfork() does: also while there are other threads.
  pid_t Start(const std::vector<std::string>& command, const std::string& log) const;

 private:
  void Handle(const std::string& message, std::vector<UniqueFd> fds);

  std::string path_;
  std::size_t capacity_;
  UniqueFd socket_;
  std::vector<std::pair<std::string, UniqueFd>> store_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_SERVER_SERVICE_MANAGER_H_
