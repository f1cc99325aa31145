// An ivshmem server that says what a test tells it, right or wrong.
#ifndef IVMQ_TESTS_UNIT_TRANSPORTS_FAKE_IVSHMEM_SERVER_H_
#define IVMQ_TESTS_UNIT_TRANSPORTS_FAKE_IVSHMEM_SERVER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "src/unique_fd.h"
#include "support/temp_folder.h"

namespace ivmq::testing {

// The server's end of one connection.
class Conversation {
 public:
  explicit Conversation(int socket) : socket_(socket) {}

  void Send(std::int64_t value, int fd = -1) const;
  // Raw bytes with any number of descriptors.
  void SendBytes(std::span<const std::byte> bytes, const std::vector<int>& fds = {}) const;
  // Version, id, `memory` and the client's own vectors.
  void Greet(std::uint16_t id, int memory, const std::vector<int>& own) const;
  // Ends what is sent: the client sees the end of the stream.
  void Close() const;
  [[nodiscard]] int socket() const { return socket_; }

 private:
  int socket_;
};

// A socket that clients can connect to.
class Listener {
 public:
  Listener();

  [[nodiscard]] const std::string& path() const { return path_; }
  // Waits for a client. Not valid after Close().
  [[nodiscard]] UniqueFd Accept() const;
  void Close() const;

 private:
  TempFolder folder_;
  std::string path_ = folder_ / "server.sock";
  UniqueFd socket_;
};

class FakeIvshmemServer {
 public:
  // Listens at once; `script` then talks to the first client, in a thread of its own.
  explicit FakeIvshmemServer(std::function<void(const Conversation&)> script);
  // Waits for the script's end.
  ~FakeIvshmemServer();
  FakeIvshmemServer(const FakeIvshmemServer&) = delete;
  FakeIvshmemServer& operator=(const FakeIvshmemServer&) = delete;

  [[nodiscard]] const std::string& path() const { return listener_.path(); }
  // Waits for the script's end and gives the connection to the test, which may go on talking.
  Conversation Finish();

 private:
  Listener listener_;
  UniqueFd connection_;
  std::thread thread_;
};

UniqueFd MakeMemory(std::size_t size);
UniqueFd MakeEventfd();
// What the eventfd counts, which is 0 afterwards.
std::uint64_t Drain(int eventfd);
// Open descriptors of this process.
std::size_t CountDescriptors();

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_UNIT_TRANSPORTS_FAKE_IVSHMEM_SERVER_H_
