// A client of the ivshmem protocol, written by hand: it does what the test says and nothing else,
// so it can be slow, silent or rude. It checks the rules of the protocol at each message.
#ifndef IVMQ_TESTS_PROCESS_SERVER_RAW_CLIENT_H_
#define IVMQ_TESTS_PROCESS_SERVER_RAW_CLIENT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "src/unique_fd.h"

namespace ivmq::testing {

// Thread-compatible.
class RawClient {
 public:
  struct Message {
    std::int64_t value = 0;
    UniqueFd fd;
  };

  // Connects and reads nothing.
  explicit RawClient(const std::string& socket_path);
  // Takes a connection over of which nothing was read.
  explicit RawClient(UniqueFd socket) : socket_(std::move(socket)) {}

  // Waits for the next message. Nothing at the end of the stream, or, with a failure of the test,
  // after 30 s or within a message.
  std::optional<Message> Read();

  // Reads the greeting up to this client's own last vector. False, with a failure, if it is not as
  // it must be.
  bool Greet(std::uint32_t vectors);

  // Reads and applies one message behind the greeting's shared memory. False at the end of the
  // stream.
  bool ReadUpdate();
  // Reads updates until `done()`.
  void ReadUntil(const std::function<bool()>& done);
  // Reads updates until exactly these ids are known with all their vectors.
  void ReadUntilKnown(const std::set<std::uint16_t>& ids);

  // Expects the refusal as the only message, then the end.
  void ExpectRefusal();

  [[nodiscard]] bool HasUnread() const;
  [[nodiscard]] bool Knows(std::uint16_t id) const;
  [[nodiscard]] std::set<std::uint16_t> known() const;
  // REQUIRES: known
  [[nodiscard]] int doorbell(std::uint16_t id, std::uint32_t vector) const;
  void Ring(std::uint16_t id, std::uint32_t vector) const;
  // Takes the value of an own doorbell; 0 if it was not rung.
  [[nodiscard]] std::uint64_t TakeRings(std::uint32_t vector) const;
  // Waits until an own doorbell is rung, and takes its value.
  std::uint64_t AwaitRing(std::uint32_t vector) const;

  // Ends the connection only.
  void Disconnect() { socket_.reset(); }
  // Ends the connection and closes the region; mappings stay.
  void Close() {
    socket_.reset();
    memory_.reset();
  }
  [[nodiscard]] int socket() const noexcept { return socket_.get(); }
  [[nodiscard]] std::uint16_t id() const noexcept { return id_; }
  [[nodiscard]] int memory() const noexcept { return memory_.get(); }
  [[nodiscard]] std::size_t messages() const noexcept { return messages_; }
  [[nodiscard]] std::size_t disconnects() const noexcept { return gone_.size(); }

 private:
  UniqueFd socket_;
  std::uint32_t vectors_ = 0;
  std::uint16_t id_ = 0;
  UniqueFd memory_;
  std::map<std::uint16_t, std::vector<UniqueFd>> peers_;
  std::set<std::uint16_t> gone_;
  std::size_t messages_ = 0;
};

// A connection that asks for the region only. Nothing is read from it.
RawClient ConnectObserver(const std::string& socket_path);

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_PROCESS_SERVER_RAW_CLIENT_H_
