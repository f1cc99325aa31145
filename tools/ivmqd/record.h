// What a server knows about its clients beside their descriptors, in memory that outlives it: a
// memfd that a keeper or systemd has as well. The next server goes on from it, wherever the last
// one was killed.
//
//   0        RecordHeader
//   4096     Pen
//   64 KiB   regions, RecordHeader::region_bytes apart:
//              RegionHeader | an IdEntry for each id | descriptors of doorbells, 64 for each id |
//              for each id a bit set of the ids that its client has been told
//
// One thread writes. What several stores change is committed by the last one, so that a reader
// finds it as before or as after, and what is sent has a receipt (see Pen). A successor reads the
// record of its predecessor and writes its own; the one store of `superseded` is the takeover.
//
// Versions: another major version cannot be read. A minor version may have longer IdEntries and
// headers; what it does not know a reader skips, and what an old one does not have reads as zero.
#ifndef IVMQ_TOOLS_IVMQD_RECORD_H_
#define IVMQ_TOOLS_IVMQD_RECORD_H_

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ivmq/status.h"

#include "client_backlog.h"
#include "descriptor_store.h"
#include "src/ivshmem_protocol.h"
#include "src/mapping.h"
#include "src/unique_fd.h"

namespace ivmq::server {

struct RecordVersion {
  std::uint32_t major = 1;
  std::uint32_t minor = 1;
  std::uint32_t more_id_bytes = 0;  // of an IdEntry, behind what this version knows
};

// A descriptor: its number in the process that wrote the record, and, where systemd keeps it, the
// key in the name that systemd knows it by.
struct RecordedFd {
  RecordedFd() = default;
  RecordedFd(std::int32_t its_number, std::uint32_t its_key) : number(its_number), key(its_key) {}
  explicit RecordedFd(const KeptFd& fd) : number(fd.get()), key(fd.key()) {}

  std::int32_t number = -1;
  std::uint32_t key = 0;
};

enum class Superseded : std::uint32_t {
  kNo,
  kByNext,  // another server has taken over
  kEnded,   // the server has ended in order: there is nothing to take over
};

struct RecordHeader {
  std::uint64_t magic;  // stored last
  std::uint32_t major;
  std::uint32_t minor;
  std::uint64_t region_bytes;  // from one region to the next
  std::uint32_t regions;
  std::uint32_t id_bytes;                 // of an IdEntry
  std::atomic<std::uint32_t> superseded;  // Superseded
  std::atomic<std::uint32_t> leaving;     // 1: the server was asked to end without an end
  std::atomic<std::uint32_t> last_key;
  std::uint32_t takeovers;  // until now
  RecordedFd keeper_socket;
  std::uint64_t keeper_device;
  std::uint64_t keeper_inode;
};

enum class IdState : std::uint32_t {
  kUnused,     // never given to anybody
  kConnected,  // a client has it, and `socket` is its connection
  kLingering,  // its connection has ended, its holder not yet; `socket` as before
  kLendable,   // nobody has it; its doorbells are there for the next one
  kRetired,    // never given again
};

struct IdEntry {
  std::atomic<std::uint32_t> state;  // IdState; stored last
  std::uint32_t own_first;           // ClientBacklog::Order
  RecordedFd socket;
  std::atomic<std::uint32_t> stage;  // of the greeting: ClientBacklog::Stage
  // The announcement that was begun: 1 << 63 | id << 32 | next vector. 0: none.
  std::atomic<std::uint64_t> partial;
};

struct RegionHeader {
  std::uint32_t vectors;
  std::uint32_t id_policy;  // IdPolicy
  std::uint64_t size;       // bytes
  std::uint32_t max_peers;
  std::uint32_t first_id;  // of new ids
  std::uint32_t is_listener_owned;
  RecordedFd memory;
  RecordedFd lock;
  RecordedFd listener;
  std::uint64_t listener_device;
  std::uint64_t listener_inode;
  std::atomic<std::uint64_t> allocated;  // bytes
  std::array<char, 128> socket;          // path, ended by a zero, as the next one is
  std::array<char, 4200> region;         // as the option says it
  std::uint64_t huge_page;               // as the option says it; since 1.1
};

// What is being sent. The kernel itself notes in `headers` what it has sent, in the system call
// that sends it: SIGKILL cannot come between the two. So a successor that finds `is_down` knows
// which of the messages have gone, and applies these; applying some of them twice does no harm.
struct Pen {
  static constexpr std::size_t kMost = ivshmem::kMaxVectors;
  static constexpr std::uint32_t kNoId = 0xffff;
  struct Line {
    std::uint32_t kind;  // ClientBacklog::Kind
    std::uint32_t id;
    std::uint32_t vector;
  };
  struct alignas(cmsghdr) Control {
    std::array<char, CMSG_SPACE(sizeof(int))> bytes;
  };

  std::atomic<std::uint32_t> is_down;
  std::uint32_t region;
  std::uint32_t id;  // whom it is for; kNoId: a connection that has none, to which this is all
  RecordedFd socket;
  std::uint32_t count;
  std::array<Line, kMost> lines;
  // For the kernel. Its receipts are the msg_len.
  std::array<mmsghdr, kMost> headers;
  std::array<iovec, kMost> parts;
  std::array<std::uint64_t, kMost> wire;
  std::array<Control, kMost> controls;
};

// One region's part of a record. A view, valid as long as the record. Thread-compatible.
class RegionRecord {
 public:
  RegionRecord() = default;
  RegionRecord(std::byte* base, std::size_t id_bytes) : base_(base), id_bytes_(id_bytes) {}

  [[nodiscard]] RegionHeader& header() const;

  // ---- writing
  void SetNames(const std::string& socket, const std::string& region) const;
  // The id has a client from now on, which has been told nothing.
  void Connect(std::uint16_t id, RecordedFd socket, ClientBacklog::Order order,
               std::span<const RecordedFd> doorbells) const;
  void SetDoorbells(std::uint16_t id, std::span<const RecordedFd> doorbells) const;
  void SetState(std::uint16_t id, IdState state) const;
  void SetSocket(std::uint16_t id, RecordedFd socket) const;
  // A message is on its way to the client. Has the same effect when repeated.
  void Sent(std::uint16_t id, const ClientBacklog::Message& message) const;
  // All that a client has been told at once, for an id that is not in use yet.
  void SetTold(std::uint16_t id, const ClientBacklog::Told& told, ClientBacklog::Order order) const;

  // ---- reading
  [[nodiscard]] std::string socket() const;
  [[nodiscard]] std::string region() const;
  [[nodiscard]] IdState state(std::uint16_t id) const;
  [[nodiscard]] ClientBacklog::Order order(std::uint16_t id) const;
  [[nodiscard]] RecordedFd socket(std::uint16_t id) const;
  [[nodiscard]] RecordedFd doorbell(std::uint16_t id, std::uint32_t vector) const;
  [[nodiscard]] ClientBacklog::Told told(std::uint16_t id) const;

 private:
  [[nodiscard]] IdEntry& entry(std::uint16_t id) const;
  [[nodiscard]] RecordedFd* doorbells(std::uint16_t id) const;
  [[nodiscard]] std::span<std::atomic<std::uint64_t>> told_bits(std::uint16_t id) const;
  void ClearTold(std::uint16_t id) const;

  std::byte* base_ = nullptr;
  std::size_t id_bytes_ = 0;
};

// Thread-compatible; movable.
class Record {
 public:
  static Result<Record> Create(std::size_t regions, RecordVersion version = {});
  // A record that was handed over. FAILED_PRECONDITION: it is none, or one of another major version.
  static Result<Record> Open(UniqueFd fd);

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] RecordHeader& header() const;
  [[nodiscard]] Pen& pen() const;
  [[nodiscard]] std::size_t regions() const { return header().regions; }
  [[nodiscard]] RegionRecord region(std::size_t index) const;

  [[nodiscard]] bool is_superseded() const {
    return header().superseded.load(std::memory_order_acquire) !=
           static_cast<std::uint32_t>(Superseded::kNo);
  }
  void Supersede(Superseded how) const {
    header().superseded.store(static_cast<std::uint32_t>(how), std::memory_order_release);
  }

 private:
  Record(UniqueFd fd, Mapping mapping) : fd_(std::move(fd)), mapping_(std::move(mapping)) {}

  UniqueFd fd_;
  Mapping mapping_;
};

// Whether a descriptor is a record, of whatever version.
[[nodiscard]] bool IsRecord(int fd);

// ---- Sending with receipts

struct PenMessage {
  ClientBacklog::Message message;
  std::int64_t value = 0;
  int fd = -1;
};

// Sends messages over a connection, in one system call, and stops at the first that cannot be sent:
// how many went, and what became of the next one (kSent: there is none). Until Lift() a successor
// would apply those that went. Never blocks. REQUIRES: 1 to Pen::kMost messages
struct PenResult {
  std::size_t sent = 0;
  ivshmem::SendResult next = ivshmem::SendResult::kSent;
};
PenResult SendWithReceipts(Pen& pen, std::uint32_t region, std::uint32_t id, const KeptFd& socket,
                           std::span<const PenMessage> messages);
inline void Lift(Pen& pen) { pen.is_down.store(0, std::memory_order_release); }
// What a predecessor's pen says was sent.
std::vector<ClientBacklog::Message> Receipts(const Pen& pen);

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_RECORD_H_
