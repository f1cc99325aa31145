// A client of a stream socket that does what the test says.
#ifndef IVMQ_TESTS_SUPPORT_STREAM_CLIENT_H_
#define IVMQ_TESTS_SUPPORT_STREAM_CLIENT_H_

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

namespace ivmq::testing {

// Thread-compatible.
class StreamClient {
 public:
  // Connects to the UNIX socket at `path`, or to `port` of this machine.
  explicit StreamClient(const std::string& path) : fd_(socket(AF_UNIX, kType, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << path;
  }
  explicit StreamClient(std::uint16_t port) : fd_(socket(AF_INET, kType, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << port;
  }
  ~StreamClient() { close(fd_); }
  StreamClient(const StreamClient&) = delete;
  StreamClient& operator=(const StreamClient&) = delete;

  // Sends as much of `text` as is taken at once; how much that was.
  std::size_t TrySend(std::string_view text) const {
    const ssize_t size = send(fd_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return size < 0 ? 0 : static_cast<std::size_t>(size);
  }
  void Send(std::string_view text) const { EXPECT_EQ(TrySend(text), text.size()); }
  // Says that nothing more will be sent.
  void EndInput() const { (void)shutdown(fd_, SHUT_WR); }

  // Waits for a line, without its end. Nothing at the end of the stream.
  std::optional<std::string> ReadLine() {
    while (input_.find('\n') == std::string::npos) {
      if (!Fill()) return std::nullopt;
    }
    std::string line = input_.substr(0, input_.find('\n'));
    input_.erase(0, line.size() + 1);
    return line;
  }
  // Waits for the end of the stream; what was left.
  std::string ReadAll() {
    while (Fill()) {
    }
    return std::exchange(input_, {});
  }

 private:
  static constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC;

  // False at the end of the stream, or, with a failure of the test, after 30 s.
  bool Fill() {
    pollfd readable{fd_, POLLIN, 0};
    if (poll(&readable, 1, 30'000) != 1) {
      ADD_FAILURE() << "the server is silent";
      return false;
    }
    std::array<char, 65536> buffer;
    const ssize_t size = recv(fd_, buffer.data(), buffer.size(), 0);
    if (size <= 0) return false;
    input_.append(buffer.data(), static_cast<std::size_t>(size));
    return true;
  }

  int fd_;
  std::string input_;
};

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_SUPPORT_STREAM_CLIENT_H_
