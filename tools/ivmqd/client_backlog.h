// What one client has still to be told. It is a set of ids, not a queue of messages, so a client
// that never reads costs as much as there are ids, however many peers come and go meanwhile.
//
// Order: the greeting (version, own id, shared memory, the peers that were there, own vectors),
// then peers that have gone before peers that have come. An announcement that was begun is
// finished, unless its peer is announced as gone. While the client has no room for the descriptors
// of further peers, these wait, in the greeting until after the own vectors.
//
// A QEMU gets its own vectors before those of the peers, so that they have the same descriptor
// numbers whoever else is there. Without irqfd (TCG) QEMU 7.2 goes on watching these numbers after
// the device was unplugged, by memory that is gone: when the device is plugged in again they must
// be own vectors again, and not a peer's.
#ifndef IVMQ_TOOLS_IVMQD_CLIENT_BACKLOG_H_
#define IVMQ_TOOLS_IVMQD_CLIENT_BACKLOG_H_

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace ivmq::server {

// Thread-compatible.
class ClientBacklog {
 public:
  enum class Kind : std::uint8_t { kVersion, kOwnId, kSharedMemory, kVector, kGone };
  struct Message {
    Kind kind = Kind::kVersion;
    std::uint16_t id = 0;      // kOwnId, kVector, kGone
    std::uint32_t vector = 0;  // kVector: goes with the eventfd of (id, vector)
    friend bool operator==(const Message&, const Message&) = default;
  };

  enum class Order : std::uint8_t { kPeersFirst, kOwnFirst };
  // What the greeting waits for; kPresent: the peers and the own vectors.
  enum class Stage : std::uint8_t { kVersion, kOwnId, kSharedMemory, kPresent, kUpToDate };

  // What the client has been told. With who is there, all that a backlog is made of.
  struct Told {
    Stage stage = Stage::kVersion;
    std::optional<Message> partial;  // the next vector of an announcement that was begun
    std::bitset<65536> known;        // ids, announced at least in part, and not as gone
  };

  // `present`: the peers that are there already, without the client itself.
  ClientBacklog(std::uint16_t own_id, std::uint32_t vectors, std::set<std::uint16_t> present,
                Order order = Order::kPeersFirst)
      : own_id_(own_id), vectors_(vectors), order_(order), present_(std::move(present)) {}

  // `connected`: the peers that are there; `retired`: the ids that nobody has any more.
  ClientBacklog(std::uint16_t own_id, std::uint32_t vectors, Order order, const Told& told,
                const std::set<std::uint16_t>& connected, const std::bitset<65536>& retired);

  // A peer has come. Nothing is owed if the client knows its id already.
  void Come(std::uint16_t id);
  // A peer has gone and its id will be lent: the client need not hear of it before then.
  void Forget(std::uint16_t id);
  // A peer has gone for good. Nothing is owed if the client never heard of it.
  void Gone(std::uint16_t id);

  // The next message, until Sent() says that it is on its way. Nothing: the client is up to date,
  // or `has_room` is false and what it is owed begins the announcement of a peer.
  [[nodiscard]] std::optional<Message> Next(bool has_room = true) const;
  // REQUIRES: Next(), of either kind, has given `message`
  void Sent(const Message& message);

  // Messages that may be sent at once, since nothing about the client or others decides about those
  // behind the first: the start of the greeting, ends of peers, the rest of an announcement. As for
  // Next(), with Sent() for each, in turn. At most 64.
  [[nodiscard]] std::vector<Message> Batch(bool has_room = true) const;

  [[nodiscard]] Told State() const;

  // Ids that are still to be announced, in whole or in part.
  [[nodiscard]] std::size_t owed() const noexcept {
    return present_.size() + come_.size() + gone_.size() + (partial_ ? 1 : 0);
  }
  // Ids whose descriptors the client has or will have whatever else happens: those announced to it,
  // and its own.
  [[nodiscard]] std::size_t told() const noexcept {
    return told_.size() + (told_.contains(own_id_) ? 0 : 1);
  }

 private:
  // The peer whose vectors come next, if any.
  [[nodiscard]] std::optional<std::uint16_t> NextPeer(bool has_room) const;

  std::uint16_t own_id_;
  std::uint32_t vectors_;
  Order order_;
  Stage stage_ = Stage::kVersion;
  std::optional<Message> partial_;  // the next vector of a peer whose first one was sent
  std::set<std::uint16_t> present_;
  std::set<std::uint16_t> come_;
  std::set<std::uint16_t> gone_;
  std::set<std::uint16_t> told_;  // announced, at least in part, and not as gone
};

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_CLIENT_BACKLOG_H_
