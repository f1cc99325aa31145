// Every byte of an ivmq region. docs/wire-format.md describes the same in prose; a test compares
// the two with each other and with a golden dump (tests/unit/core/wire_format_test.cc).
//
//   0        Header          one page; immutable fields first, under a CRC32C
//   4096     PeerSlot[]      max_peers slots of 4 KiB
//            directory       max_peers x max_peers 8-byte cells; row = consumer, column = producer;
//                            then kHeapExtents cells for each slot
//            unit owners     one 8-byte word for each unit of the arena
//            arena           units of unit_size bytes; a ring or an extent is a run of units
//
// All numbers are little-endian, and everything is addressed by its offset from the region's start.
// A process that maps the region can write all of it, so a reader loads a word once, checks it, and
// works with its own copy. The comment of each mutable word names its writer.
#ifndef IVMQ_INTERNAL_LAYOUT_H_
#define IVMQ_INTERNAL_LAYOUT_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#error \
    "ivmq supports x86-64 only: its sleep/wake protocol is verified for x86-TSO and no other target"
#endif

namespace ivmq::layout {

inline constexpr std::size_t kCacheLine = 64;
inline constexpr std::size_t kPage = 4096;

using Word = std::atomic<std::uint64_t>;
using Word32 = std::atomic<std::uint32_t>;
static_assert(Word::is_always_lock_free && sizeof(Word) == 8);
static_assert(Word32::is_always_lock_free && sizeof(Word32) == 4);

// ---- Header ----

inline constexpr std::uint64_t kMagic = 0x4d48532d514d5649;  // the bytes "IVMQ-SHM"
// A reader refuses another major version. A minor version adds only what older code may ignore.
inline constexpr std::uint16_t kVersionMajor = 3;
inline constexpr std::uint16_t kVersionMinor = 1;
// A reader refuses a region that requires a feature it does not know; it ignores optional ones.
inline constexpr std::uint32_t kKnownRequiredFeatures = 0;

inline constexpr std::uint32_t kDefaultMaxPeers = 64;
inline constexpr std::uint32_t kLimitMaxPeers = 1024;

inline constexpr std::size_t kMostApart = 448;

struct Header {
  // Immutable: written once by Format(), covered by `crc`.
  Word magic;                              // 0   kMagic; stored last, with release
  Word32 version;                          // 8   major << 16 | minor; stored just before magic
  std::uint32_t crc;                       // 12  CRC32C of bytes 0-11 and 16-127
  std::uint64_t region_size;               // 16  a power of two
  std::uint32_t features_required;         // 24
  std::uint32_t features_optional;         // 28
  std::array<std::uint8_t, 16> region_id;  // 32  random; distinguishes regions
  std::uint32_t max_peers;                 // 48  2..1024
  std::uint32_t peer_stride;               // 52  sizeof(PeerSlot)
  std::uint64_t peer_table_offset;         // 56
  std::uint64_t directory_offset;          // 64
  std::uint64_t owners_offset;             // 72
  std::uint64_t arena_offset;              // 80  a multiple of kPage
  std::uint32_t unit_size;                 // 88  a power of two, at least kPage
  std::uint32_t unit_count;                // 92
  std::uint32_t small_unit_first;          // 96  units from here on hold small rings only
  std::uint32_t ring_capacity;             // 100 of the first rings
  std::uint32_t ring_capacity_small;       // 104 of small rings
  std::uint32_t reserved0;                 // 108 0
  std::uint64_t formatted_at;              // 112 ns since the Unix epoch
  std::uint64_t reserved1;                 // 120 0

  // Mutable.
  Word server_epoch;      // 128 server: grows by one each time a server takes the region over and
                          //     does not have the doorbells of the one before
  Word32 server_pid;      // 136 server: 0 after it has shut down in order
  Word32 server_vectors;  // 140 server: doorbell vectors of a client
  Word orphaned;          // 144 any peer with proof: the `server_epoch` behind which none can come,
                          //     since nothing but its clients has the memory any more
  std::array<std::uint8_t, 104> pad0;
  Word peers_generation;  // 256 grows by one after each change of a life word, of a
                          //     slot's services or topics, or of what follows
  std::array<std::uint8_t, 240> pad1;
  Word apart_count;                    // 504 server: entries of `apart` that may be used
  std::array<Word, kMostApart> apart;  // 512 server: see ApartId
};
static_assert(sizeof(Header) == kPage);
static_assert(offsetof(Header, version) == 8 && offsetof(Header, crc) == 12);
static_assert(offsetof(Header, region_size) == 16 && offsetof(Header, features_required) == 24);
static_assert(offsetof(Header, region_id) == 32 && offsetof(Header, max_peers) == 48);
static_assert(offsetof(Header, peer_table_offset) == 56 && offsetof(Header, owners_offset) == 72);
static_assert(offsetof(Header, unit_size) == 88 && offsetof(Header, ring_capacity) == 100);
static_assert(offsetof(Header, formatted_at) == 112 && offsetof(Header, server_epoch) == 128);
static_assert(offsetof(Header, peers_generation) == 256);
static_assert(offsetof(Header, apart_count) == 504 && offsetof(Header, apart) == 512);
inline constexpr std::size_t kHeaderImmutableBytes = offsetof(Header, server_epoch);

// A word of Header::apart: a client that is not told of newcomers, and of which they are not told,
// so that it and they cannot ring each other: epoch << 16 | ivposition. All other clients are of
// `server_epoch`. 0: none.
struct ApartId {
  std::uint16_t ivposition = 0;  // kNoIvposition: there is no room for all of them
  std::uint64_t epoch = 0;       // of the server that gave its doorbells, or kEpochUnsure

  [[nodiscard]] static constexpr ApartId FromWord(std::uint64_t word) noexcept {
    return {static_cast<std::uint16_t>(word), word >> 16};
  }
  [[nodiscard]] constexpr std::uint64_t ToWord() const noexcept { return epoch << 16 | ivposition; }
};
// Of a client that has not been told of all clients of its server.
inline constexpr std::uint64_t kEpochUnsure = (std::uint64_t{1} << 48) - 1;

// ---- Peer table ----

enum class PeerState : std::uint8_t {
  kFree = 0,
  kClaiming = 1,  // its name is being compared with those of other slots
  kLive = 2,
  kDead = 3,  // confirmed; a durable slot is kept for its name, any other until its rings are freed
};

inline constexpr std::uint8_t kPeerDurable = 1;   // slot and rings outlive the process
inline constexpr std::uint8_t kPeerCanRing = 2;   // can ring other peers' doorbells
inline constexpr std::uint8_t kPeerWakeable = 4;  // sleeps on a doorbell; producers check `armed`
inline constexpr std::uint8_t kPeerResumed = 8;   // took over a durable slot and its name

// "This peer has no ivposition": a plain device, a host file. ivmqd never lends this id.
inline constexpr std::uint16_t kNoIvposition = 0xffff;

// The life word of a slot: incarnation << 32 | ivposition << 16 | flags << 8 | state.
struct Life {
  std::uint32_t incarnation = 0;  // grows by one at each claim of the slot
  std::uint16_t ivposition = kNoIvposition;
  std::uint8_t flags = 0;
  PeerState state = PeerState::kFree;

  [[nodiscard]] static constexpr Life FromWord(std::uint64_t word) noexcept {
    return {static_cast<std::uint32_t>(word >> 32), static_cast<std::uint16_t>(word >> 16),
            static_cast<std::uint8_t>(word >> 8), static_cast<PeerState>(word & 0xff)};
  }
  [[nodiscard]] constexpr std::uint64_t ToWord() const noexcept {
    return std::uint64_t{incarnation} << 32 | std::uint64_t{ivposition} << 16 |
           std::uint64_t{flags} << 8 | static_cast<std::uint64_t>(state);
  }
  friend bool operator==(const Life&, const Life&) = default;
};

inline constexpr std::size_t kNameBytes = 64;  // with at least one NUL at the end
inline constexpr std::size_t kServiceTextBytes = 1264;
inline constexpr std::size_t kTopicTextBytes = 2032;

enum class Counter : std::uint8_t {
  kMessagesSent,
  kBytesSent,
  kMessagesReceived,
  kBytesReceived,
  kDoorbellsRung,  // doorbells that this peer rang
  kSleeps,         // sleeps of Node::Wait()
  kWakeups,        // sleeps that an event ended: a doorbell, Node::Wake(), news of the server
  kNetFinds,       // sleeps after which the periodic check found what no doorbell announced
  kRingsFull,      // sends that found too little room
  kDropped,        // messages dropped by choice or as too large; ends of calls
  kRedelivered,    // messages handed out again: after a restart, or when a handler threw
  kRingsPoisoned,  // rings given up because of bytes that no correct peer writes
  kFragmentsReceived,
  kAssembliesLost,  // large messages whose sender vanished midway or broke the rules
  kUnhandled,       // messages without a handler for their type
  kUnparsable,      // messages that do not parse; frames that are malformed or for another life
  kKept,            // messages that were kept beyond their handlers
  kKeptNow,         // messages that are kept now
  kKeepsRefused,    // messages that were not kept, since the limit was reached
  kTopicsDropped,   // messages of this peer's topics, for each subscription that was too slow
  kTopicsMissed,    // messages of topics that this peer's subscriptions did not get
  kCount,
};
inline constexpr std::size_t kCounterWords = 32;
static_assert(static_cast<std::size_t>(Counter::kCount) <= kCounterWords);

// The head of a list of strings in a slot, each with a NUL behind it: a seqlock, written by the
// slot's owner.
struct SlotText {
  Word
      sequence;  // 0  incarnation << 32 | changes, odd while the text changes; the list is empty if
                 //    it is of another incarnation
  Word32 bytes;  // 8  of the text, with the NULs
  Word32 count;  // 12 of the strings
};
static_assert(sizeof(SlotText) == 16);

struct PeerSlot {
  // Identity. The life word is changed by any process that claims or frees the slot or marks it
  // dead, by compare-and-swap; the rest is written by the owner, while it is claiming.
  Word life;                    // 0
  std::array<Word, 2> boot_id;  // 8   /proc/sys/kernel/random/boot_id of the owner's kernel
  Word lock_domain;  // 24  0, or: byte <slot> of the region file is locked while the owner lives;
                     //     a hash of boot id, device and inode, equal only for processes that see
                     //     the same lock
  Word32 pid;        // 32  in the owner's own pid namespace; informational
  Word32 vector;     // 36  doorbell vector of the owner
  Word claimed_at;   // 40  ns since the Unix epoch by the owner's clock; informational
  Word32
      name_incarnation;  // 48  the name below belongs to this incarnation; stored after it, release
  Word32 reserved0;      // 52
  Word disconnected;     // 56 server: the life word whose connection ended, while the region could
                         //     still be written through it; void if `life` is another word
  std::array<Word, kNameBytes / 8> name;  // 64  UTF-8, padded with NUL

  Word heartbeat;  // 128 owner: grows four times a second
  std::array<std::uint8_t, 120> pad0;
  Word armed;  // 256 owner: odd = about to sleep or asleep, even = awake
  std::array<std::uint8_t, 120> pad1;
  Word inbound_changes;  // 384 producers add one after storing a cell of this slot's directory row,
                         //     and so does a process that marks a peer dead which has a ring to
                         //     or from this one
  std::array<std::uint8_t, 120> pad2;
  std::array<Word, kCounterWords> counters;  // 512 owner: indexed by Counter

  SlotText services;                                      // 768 full names of the services offered
  std::array<Word, kServiceTextBytes / 8> services_text;  // 784
  SlotText topics;                                        // 2048 topics published and subscribed to
  std::array<Word, kTopicTextBytes / 8> topics_text;      // 2064
};
static_assert(sizeof(PeerSlot) == 4096);
static_assert(offsetof(PeerSlot, lock_domain) == 24 && offsetof(PeerSlot, pid) == 32);
static_assert(offsetof(PeerSlot, name_incarnation) == 48 && offsetof(PeerSlot, name) == 64);
static_assert(offsetof(PeerSlot, heartbeat) == 128 && offsetof(PeerSlot, armed) == 256);
static_assert(offsetof(PeerSlot, inbound_changes) == 384 && offsetof(PeerSlot, counters) == 512);
static_assert(offsetof(PeerSlot, services) == 768 && offsetof(PeerSlot, services_text) == 784);
static_assert(offsetof(PeerSlot, topics) == 2048 && offsetof(PeerSlot, topics_text) == 2064);

// ---- Directory and arena ----

// The most extents of a slot's heap; each has a cell of the directory.
inline constexpr std::uint32_t kHeapExtents = 8;

enum class CellState : std::uint8_t {
  kEmpty = 0,    // no ring; the generation is that of the last one
  kCarving = 1,  // the producer is taking the units; the ring is not read
  kLive = 2,
  kWithdrawn = 3,  // the producer asks its consumer to let go of whatever it reads for this pair
  kClosed = 4,     // the consumer's answer: it has let go, so the units may be reused
};

// A directory cell: generation << 32 | first unit << 8 | log2(capacity) << 3 | state.
// Written by the column's producer. Other processes change it by compare-and-swap: the consumer
// answers kClosed, and repairs damage; a process that frees a ring, since an end of it is gone for
// good, makes it kEmpty. A cell belongs to its pair for ever, so an answer reaches no other pair,
// however late it comes.
struct Cell {
  std::uint32_t generation = 0;    // grows at each carving for this pair
  std::uint32_t first_unit = 0;    // 24 bits
  std::uint8_t capacity_log2 = 0;  // 5 bits
  CellState state = CellState::kEmpty;

  [[nodiscard]] static constexpr Cell FromWord(std::uint64_t word) noexcept {
    return {static_cast<std::uint32_t>(word >> 32),
            static_cast<std::uint32_t>(word >> 8) & 0xffffff,
            static_cast<std::uint8_t>((word >> 3) & 0x1f), static_cast<CellState>(word & 7)};
  }
  [[nodiscard]] constexpr std::uint64_t ToWord() const noexcept {
    return std::uint64_t{generation} << 32 | std::uint64_t{first_unit & 0xffffff} << 8 |
           std::uint64_t{capacity_log2 & 0x1fU} << 3 | static_cast<std::uint64_t>(state);
  }
  [[nodiscard]] constexpr Cell With(CellState other) const noexcept {
    return {generation, first_unit, capacity_log2, other};
  }
  friend bool operator==(const Cell&, const Cell&) = default;
};

// The cells behind those of the pairs name the extents of heaps: a producer's memory for large
// messages, which its rings refer to. An extent's cell is empty, carving or live. It is written by
// its slot's owner, and emptied by whoever frees the slot.

// A unit's owner word: generation << 32 | (cell index + 1); 0 = never used. The unit is taken only
// while that cell has that generation, is not empty, and its run covers the unit. Anything else may
// be claimed by compare-and-swap on the whole word.
struct Owner {
  std::uint32_t generation = 0;
  std::uint32_t cell_plus_one = 0;

  [[nodiscard]] static constexpr Owner FromWord(std::uint64_t word) noexcept {
    return {static_cast<std::uint32_t>(word >> 32), static_cast<std::uint32_t>(word)};
  }
  [[nodiscard]] constexpr std::uint64_t ToWord() const noexcept {
    return std::uint64_t{generation} << 32 | cell_plus_one;
  }
};

// ---- Ring ----

inline constexpr std::uint32_t kMinRingCapacity = 16U << 10;   // also that of small rings
inline constexpr std::uint32_t kMaxRingCapacity = 256U << 20;  // record lengths have 28 bits
inline constexpr std::uint32_t kRingMagic = 0x474e4952;        // the bytes "RING"

// The descriptor at the head of a ring; the data follows it.
struct RingHeader {
  // Whose ring it is. Written by the producer before its directory cell becomes live, and again
  // while it lives.
  Word32 magic;          // 0   kRingMagic
  Word32 capacity_log2;  // 4   data bytes
  Word32 cell;           // 8   index of its directory cell
  Word32 generation;     // 12  of that cell
  std::array<std::uint8_t, 112> pad0;
  // Consumer's progress, for its successor, for tools, and for producers that count what is on its
  // way: this line is not polled.
  Word delivered;  // 128 consumer: end of the last record given to a handler
  Word acked;      // 136 consumer: end of the last record whose handler returned, no further than
                   //     the first one that is kept beyond that
  Word sender;     // 144 consumer: incarnation of the producer whose record stands at `acked`;
                   //     at first the carver's
  std::array<std::uint8_t, 104> pad1;
  Word released;  // 256 consumer: bytes before this position may be overwritten
  Word dropped;   // 264 consumer: number of the large message that must be sent from the start
  std::array<std::uint8_t, 112> pad2;
  Word space_armed;  // 384 producer: odd = waits for space, as PeerSlot::armed
  std::array<std::uint8_t, 120> pad3;
  Word committed;  // 512 producer: end of the committed records, as of a quarter of a second ago
  std::array<std::uint8_t, kPage - 520> pad4;
};
static_assert(sizeof(RingHeader) == kPage);
static_assert(offsetof(RingHeader, delivered) == 128 && offsetof(RingHeader, released) == 256);
static_assert(offsetof(RingHeader, space_armed) == 384 && offsetof(RingHeader, committed) == 512);

// ---- Heap ----

inline constexpr std::uint32_t kHeapMagic = 0x50414548;  // the bytes "HEAP"
inline constexpr std::size_t kBlockAlign = 64;

// The head of an extent, written by its owner before the cell becomes live. The blocks follow it;
// which of them are in use only the owner knows, in private memory.
struct ExtentHeader {
  Word32 magic;          // 0   kHeapMagic
  Word32 capacity_log2;  // 4   bytes behind the header
  Word32 cell;           // 8   index of its directory cell
  Word32 generation;     // 12  of that cell
  std::array<std::uint8_t, kPage - 16> pad0;
};
static_assert(sizeof(ExtentHeader) == kPage);

// ---- Record ----
//
//   0        4        8
//   +--------+--------+----------------------+ - - - +
//   | length | tag    | payload (length)     | pad to 8
//   +--------+--------+----------------------+ - - - +
//
// The first word is the commit word: (position / 8) << 32 | kind << 28 | length. It is 0 until the
// producer stores it, with release; that store publishes the record. Before it, the producer has
// cleared the next record's commit word. Positions count bytes since the ring was carved.

enum class RecordKind : std::uint8_t {
  kNone = 0,  // not committed
  kData = 1,
  kPad = 2,  // fills the space up to the ring's end; no payload
};

inline constexpr std::size_t kRecordHeader = 8;
inline constexpr std::size_t kRecordAlign = 8;

[[nodiscard]] constexpr std::uint64_t CommitWord(std::uint64_t position, RecordKind kind,
                                                 std::uint32_t length) noexcept {
  return (position >> 3) << 32 | std::uint64_t{static_cast<std::uint8_t>(kind)} << 28 | length;
}
[[nodiscard]] constexpr std::uint32_t CommitLength(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word) & 0x0fffffffU;
}
[[nodiscard]] constexpr RecordKind CommitKind(std::uint64_t word) noexcept {
  return static_cast<RecordKind>((word >> 28) & 0xf);
}
// True if `word` claims to stand at `position`.
[[nodiscard]] constexpr bool CommitTagMatches(std::uint64_t word, std::uint64_t position) noexcept {
  return static_cast<std::uint32_t>(word >> 32) == static_cast<std::uint32_t>(position >> 3);
}
// Bytes that a record with `length` bytes of payload takes.
[[nodiscard]] constexpr std::uint64_t RecordSize(std::uint64_t length) noexcept {
  return kRecordHeader + ((length + kRecordAlign - 1) & ~std::uint64_t{kRecordAlign - 1});
}
// The largest payload of a ring: a larger record might fit neither at the end nor at the start.
[[nodiscard]] constexpr std::uint64_t MaxPayload(std::uint64_t capacity) noexcept {
  return capacity / 2 - kRecordHeader;
}

// ---- Frame ----
//
// What a node writes at the start of a record's payload. The message follows it:
//   kBytes, kTypedById   message
//   kTypedByName         type name (name_bytes), message
//   kFragment            FragmentHeader, a piece of a frame (its own Frame, name and message)
//   kSuccessor           nothing
//   kBlock               BlockDescriptor, inner Frame, its type name: the message itself lies in a
//                        block of the heap of the ring's producer
//   kTopic               TopicHeader, topic's name and NULs up to a multiple of 8, type name (all
//                        of these are name_bytes), message

enum class FrameKind : std::uint8_t {
  kBytes = 1,        // application bytes; `type` is the application's
  kTypedById = 2,    // a protobuf message; `type` is its registered id
  kTypedByName = 3,  // a protobuf message; its full type name stands before it
  kFragment = 4,     // `type` numbers the large messages of this sender, from 1; `name_bytes` says
                     // how many numbers before it were the same message, sent again
  kSuccessor = 5,    // a durable producer came back: what follows is of incarnation `type`
  kBlock = 6,        // a message that lies in a heap
  kTopic = 7,        // a message of a topic; `type` is its publisher's id of the topic
  kFirstRpc = 16,    // 16..31 are the RPC layer's: docs/rpc-format.md
  kLastRpc = 31,
};

struct Frame {
  FrameKind kind = FrameKind::kBytes;  // 0
  std::uint8_t flags = 0;              // 1  0
  std::uint16_t name_bytes = 0;        // 2
  std::uint32_t type = 0;              // 4
};
static_assert(sizeof(Frame) == 8 && offsetof(Frame, type) == 4);

// A fragment with total 0 and no piece says that the sender gave the message up.
struct FragmentHeader {
  std::uint64_t total = 0;   // 0  bytes of the whole inner frame
  std::uint64_t offset = 0;  // 8  of this piece in it
};
static_assert(sizeof(FragmentHeader) == 16);

// Where a message lies: in an extent of the heap of the ring's producer. It stays there until the
// ring's `released` has passed the record.
struct BlockDescriptor {
  std::uint32_t extent = 0;      // 0  below kHeapExtents
  std::uint32_t generation = 0;  // 4  of the extent's cell
  std::uint64_t offset = 0;      // 8  behind the extent's header; a multiple of kBlockAlign
  std::uint64_t bytes = 0;       // 16
};
static_assert(sizeof(BlockDescriptor) == 24);

// What stands before the names and the message of a topic.
struct TopicHeader {
  std::uint64_t sequence = 0;          // 0  of the topic of this publisher's life, from 1
  std::uint32_t subscription = 0;      // 8  the id that its subscriber's slot says
  std::uint32_t incarnation = 0;       // 12 of the subscriber's life
  std::uint32_t type = 0;              // 16 of the message, as in a Frame
  FrameKind kind = FrameKind::kBytes;  // 20 of the message: kBytes, kTypedById or kTypedByName
  std::uint8_t flags = 0;              // 21 kTopicHistory or 0
  std::uint8_t topic_bytes = 0;        // 22 of the topic's name
  std::uint8_t reserved = 0;           // 23
};
static_assert(sizeof(TopicHeader) == 24);
// The message was published before its publisher knew of the subscription.
inline constexpr std::uint8_t kTopicHistory = 1;

}  // namespace ivmq::layout

#endif  // IVMQ_INTERNAL_LAYOUT_H_
