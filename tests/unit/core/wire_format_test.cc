// layout.h, docs/wire-format.md and a golden dump of a region agree with each other.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iomanip>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ivmq/internal/arena.h"
#include "ivmq/internal/layout.h"
#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/region.h"
#include "ivmq/internal/ring.h"

#include "support/eventfd_transport.h"
#include "support/header_crc.h"
#include "support/random.h"

namespace ivmq {
namespace {

using layout::BlockDescriptor;
using layout::ExtentHeader;
using layout::FragmentHeader;
using layout::Frame;
using layout::Header;
using layout::PeerSlot;
using layout::RingHeader;
using layout::SlotText;
using layout::TopicHeader;

std::string ReadText(const std::string& path) {
  std::ifstream file(IVMQ_SOURCE_DIR "/" + path);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

using Row = std::vector<std::string>;

std::string Trim(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" `");
  const std::size_t end = text.find_last_not_of(" `");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

// The rows of the first table behind `heading`, without its own heading and ruler.
std::vector<Row> TableBehind(const std::string& heading) {
  std::istringstream doc(ReadText("docs/wire-format.md"));
  std::vector<Row> rows;
  bool found = false;
  for (std::string line; std::getline(doc, line);) {
    if (!found) {
      found = line == heading;
    } else if (line.starts_with("|")) {
      Row row;
      std::istringstream cells(std::regex_replace(line.substr(1), std::regex(R"(\\\|)"), "/"));
      for (std::string cell; std::getline(cells, cell, '|');) row.push_back(Trim(cell));
      rows.push_back(row);
    } else if (!rows.empty() || line.starts_with("#")) {
      break;
    }
  }
  EXPECT_GT(rows.size(), 2U) << "no table behind '" << heading << "'";
  if (rows.size() > 2) rows.erase(rows.begin(), rows.begin() + 2);
  return rows;
}

struct Field {
  std::string name;
  std::size_t offset;
  std::size_t size;
};

// The table describes every field at its place, and the fields leave no byte out.
void ExpectTable(const std::string& name, std::size_t size, const std::vector<Field>& fields) {
  SCOPED_TRACE(name);
  const std::vector<Row> rows = TableBehind("### `" + name + "`");
  ASSERT_EQ(rows.size(), fields.size());
  std::size_t end = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    ASSERT_GE(rows[i].size(), 3U);
    EXPECT_EQ(rows[i][2], fields[i].name);
    EXPECT_EQ(rows[i][0], std::to_string(fields[i].offset)) << fields[i].name;
    EXPECT_EQ(rows[i][1], std::to_string(fields[i].size)) << fields[i].name;
    EXPECT_EQ(fields[i].offset, end) << "bytes before " << fields[i].name << " are not described";
    end = fields[i].offset + fields[i].size;
  }
  EXPECT_EQ(end, size);
}

#define FIELD(type, name) \
  Field { #name, offsetof(type, name), sizeof(type::name) }

TEST(WireFormatTest, TheDocumentDescribesTheHeader) {
  ExpectTable("Header", sizeof(Header),
              {FIELD(Header, magic),
               FIELD(Header, version),
               FIELD(Header, crc),
               FIELD(Header, region_size),
               FIELD(Header, features_required),
               FIELD(Header, features_optional),
               FIELD(Header, region_id),
               FIELD(Header, max_peers),
               FIELD(Header, peer_stride),
               FIELD(Header, peer_table_offset),
               FIELD(Header, directory_offset),
               FIELD(Header, owners_offset),
               FIELD(Header, arena_offset),
               FIELD(Header, unit_size),
               FIELD(Header, unit_count),
               FIELD(Header, small_unit_first),
               FIELD(Header, ring_capacity),
               FIELD(Header, ring_capacity_small),
               FIELD(Header, reserved0),
               FIELD(Header, formatted_at),
               FIELD(Header, reserved1),
               FIELD(Header, server_epoch),
               FIELD(Header, server_pid),
               FIELD(Header, server_vectors),
               FIELD(Header, orphaned),
               FIELD(Header, pad0),
               FIELD(Header, peers_generation),
               FIELD(Header, pad1),
               FIELD(Header, apart_count),
               FIELD(Header, apart)});
  EXPECT_EQ(layout::kHeaderImmutableBytes, 128U);
}

TEST(WireFormatTest, TheDocumentDescribesThePeerSlot) {
  ExpectTable("PeerSlot", sizeof(PeerSlot),
              {FIELD(PeerSlot, life),
               FIELD(PeerSlot, boot_id),
               FIELD(PeerSlot, lock_domain),
               FIELD(PeerSlot, pid),
               FIELD(PeerSlot, vector),
               FIELD(PeerSlot, claimed_at),
               FIELD(PeerSlot, name_incarnation),
               FIELD(PeerSlot, reserved0),
               FIELD(PeerSlot, disconnected),
               FIELD(PeerSlot, name),
               FIELD(PeerSlot, heartbeat),
               FIELD(PeerSlot, pad0),
               FIELD(PeerSlot, armed),
               FIELD(PeerSlot, pad1),
               FIELD(PeerSlot, inbound_changes),
               FIELD(PeerSlot, pad2),
               FIELD(PeerSlot, counters),
               FIELD(PeerSlot, services),
               FIELD(PeerSlot, services_text),
               FIELD(PeerSlot, topics),
               FIELD(PeerSlot, topics_text)});
  ExpectTable("SlotText", sizeof(SlotText),
              {FIELD(SlotText, sequence), FIELD(SlotText, bytes), FIELD(SlotText, count)});
}

TEST(WireFormatTest, TheDocumentDescribesTheRingHeader) {
  ExpectTable("RingHeader", sizeof(RingHeader),
              {FIELD(RingHeader, magic), FIELD(RingHeader, capacity_log2), FIELD(RingHeader, cell),
               FIELD(RingHeader, generation), FIELD(RingHeader, pad0), FIELD(RingHeader, delivered),
               FIELD(RingHeader, acked), FIELD(RingHeader, sender), FIELD(RingHeader, pad1),
               FIELD(RingHeader, released), FIELD(RingHeader, dropped), FIELD(RingHeader, pad2),
               FIELD(RingHeader, space_armed), FIELD(RingHeader, pad3),
               FIELD(RingHeader, committed), FIELD(RingHeader, pad4)});
}

TEST(WireFormatTest, TheDocumentDescribesTheExtentHeader) {
  ExpectTable(
      "ExtentHeader", sizeof(ExtentHeader),
      {FIELD(ExtentHeader, magic), FIELD(ExtentHeader, capacity_log2), FIELD(ExtentHeader, cell),
       FIELD(ExtentHeader, generation), FIELD(ExtentHeader, pad0)});
}

TEST(WireFormatTest, TheDocumentDescribesFrames) {
  ExpectTable(
      "Frame", sizeof(Frame),
      {FIELD(Frame, kind), FIELD(Frame, flags), FIELD(Frame, name_bytes), FIELD(Frame, type)});
  ExpectTable("FragmentHeader", sizeof(FragmentHeader),
              {FIELD(FragmentHeader, total), FIELD(FragmentHeader, offset)});
  ExpectTable("BlockDescriptor", sizeof(BlockDescriptor),
              {FIELD(BlockDescriptor, extent), FIELD(BlockDescriptor, generation),
               FIELD(BlockDescriptor, offset), FIELD(BlockDescriptor, bytes)});
  ExpectTable(
      "TopicHeader", sizeof(TopicHeader),
      {FIELD(TopicHeader, sequence), FIELD(TopicHeader, subscription),
       FIELD(TopicHeader, incarnation), FIELD(TopicHeader, type), FIELD(TopicHeader, kind),
       FIELD(TopicHeader, flags), FIELD(TopicHeader, topic_bytes), FIELD(TopicHeader, reserved)});
}

// A word of all fields, each found by setting all its bits alone.
void ExpectBits(const std::string& heading,
                const std::vector<std::pair<std::string, std::uint64_t>>& fields) {
  SCOPED_TRACE(heading);
  const std::vector<Row> rows = TableBehind("### " + heading);
  ASSERT_EQ(rows.size(), fields.size());
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& [name, mask] = fields[i];
    EXPECT_EQ(rows[i][1], name);
    const int first = __builtin_ctzll(mask);
    const int last = 63 - __builtin_clzll(mask);
    EXPECT_EQ(rows[i][0], std::to_string(first) + "-" + std::to_string(last)) << name;
    EXPECT_EQ(mask & all, 0U) << name;
    all |= mask;
  }
  EXPECT_EQ(all, ~std::uint64_t{0});
}

TEST(WireFormatTest, TheDocumentDescribesTheLifeWord) {
  const std::uint64_t none = layout::Life{0, 0, 0, layout::PeerState::kFree}.ToWord();
  ASSERT_EQ(none, 0U);
  ExpectBits("Life word",
             {{"state", layout::Life{0, 0, 0, static_cast<layout::PeerState>(0xff)}.ToWord()},
              {"flags", layout::Life{0, 0, 0xff, layout::PeerState::kFree}.ToWord()},
              {"ivposition", layout::Life{0, 0xffff, 0, layout::PeerState::kFree}.ToWord()},
              {"incarnation", layout::Life{0xffffffff, 0, 0, layout::PeerState::kFree}.ToWord()}});
}

TEST(WireFormatTest, TheDocumentDescribesTheCellAndOwnerWords) {
  using layout::Cell;
  using layout::CellState;
  ExpectBits("Cell word", {{"state", Cell{0, 0, 0, static_cast<CellState>(7)}.ToWord()},
                           {"capacity_log2", Cell{0, 0, 0xff, CellState::kEmpty}.ToWord()},
                           {"first_unit", Cell{0, 0xffffffff, 0, CellState::kEmpty}.ToWord()},
                           {"generation", Cell{0xffffffff, 0, 0, CellState::kEmpty}.ToWord()}});
  ExpectBits("Owner word", {{"cell_plus_one", layout::Owner{0, 0xffffffff}.ToWord()},
                            {"generation", layout::Owner{0xffffffff, 0}.ToWord()}});
}

TEST(WireFormatTest, TheDocumentDescribesTheWordOfAnIdApart) {
  ExpectBits("Who has whose doorbells",
             {{"ivposition", layout::ApartId{0xffff, 0}.ToWord()},
              {"epoch", layout::ApartId{0, layout::kEpochUnsure}.ToWord()}});
}

TEST(WireFormatTest, TheDocumentDescribesTheCommitWord) {
  using layout::RecordKind;
  ExpectBits("Commit word",
             {{"length", layout::CommitWord(0, RecordKind::kNone, 0x0fffffff)},
              {"kind", layout::CommitWord(0, static_cast<RecordKind>(0xf), 0)},
              {"tag", layout::CommitWord(std::uint64_t{0xffffffff} << 3, RecordKind::kNone, 0)}});
}

TEST(WireFormatTest, TheDocumentHasTheConstants) {
  const std::map<std::string, std::uint64_t> constants = {
      {"kMagic", layout::kMagic},
      {"kVersionMajor", layout::kVersionMajor},
      {"kVersionMinor", layout::kVersionMinor},
      {"kPage", layout::kPage},
      {"kLimitMaxPeers", layout::kLimitMaxPeers},
      {"kNoIvposition", layout::kNoIvposition},
      {"kMostApart", layout::kMostApart},
      {"kEpochUnsure", layout::kEpochUnsure},
      {"kNameBytes", layout::kNameBytes},
      {"kServiceTextBytes", layout::kServiceTextBytes},
      {"kTopicTextBytes", layout::kTopicTextBytes},
      {"kCounterWords", layout::kCounterWords},
      {"kHeapExtents", layout::kHeapExtents},
      {"kMinRingCapacity", layout::kMinRingCapacity},
      {"kMaxRingCapacity", layout::kMaxRingCapacity},
      {"kRingMagic", layout::kRingMagic},
      {"kHeapMagic", layout::kHeapMagic},
      {"kBlockAlign", layout::kBlockAlign},
      {"kRecordHeader", layout::kRecordHeader},
      {"kRecordAlign", layout::kRecordAlign},
  };
  std::set<std::string> seen;
  for (const Row& row : TableBehind("## Constants")) {
    ASSERT_TRUE(constants.contains(row[0])) << row[0];
    EXPECT_EQ(std::stoull(row[1], nullptr, 0), constants.at(row[0])) << row[0];
    seen.insert(row[0]);
  }
  EXPECT_EQ(seen.size(), constants.size());
}

TEST(WireFormatTest, TheDocumentNumbersTheCounters) {
  using layout::Counter;
  const std::vector<std::pair<std::string, Counter>> counters = {
      {"kMessagesSent", Counter::kMessagesSent},
      {"kBytesSent", Counter::kBytesSent},
      {"kMessagesReceived", Counter::kMessagesReceived},
      {"kBytesReceived", Counter::kBytesReceived},
      {"kDoorbellsRung", Counter::kDoorbellsRung},
      {"kSleeps", Counter::kSleeps},
      {"kWakeups", Counter::kWakeups},
      {"kNetFinds", Counter::kNetFinds},
      {"kRingsFull", Counter::kRingsFull},
      {"kDropped", Counter::kDropped},
      {"kRedelivered", Counter::kRedelivered},
      {"kRingsPoisoned", Counter::kRingsPoisoned},
      {"kFragmentsReceived", Counter::kFragmentsReceived},
      {"kAssembliesLost", Counter::kAssembliesLost},
      {"kUnhandled", Counter::kUnhandled},
      {"kUnparsable", Counter::kUnparsable},
      {"kKept", Counter::kKept},
      {"kKeptNow", Counter::kKeptNow},
      {"kKeepsRefused", Counter::kKeepsRefused},
      {"kTopicsDropped", Counter::kTopicsDropped},
      {"kTopicsMissed", Counter::kTopicsMissed},
  };
  const std::vector<Row> rows = TableBehind("### Counters");
  ASSERT_EQ(rows.size(), static_cast<std::size_t>(Counter::kCount));
  ASSERT_EQ(rows.size(), counters.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i][0], std::to_string(static_cast<int>(counters[i].second)));
    EXPECT_EQ(rows[i][1], counters[i].first);
  }
}

// ---- The golden dump ----

// The region of the document's example.
class ExampleRegion {
 public:
  ExampleRegion() : hub_(1U << 20, {.max_peers = 4, .ring_capacity = 16U << 10}) {
    const std::span<std::byte> bytes = hub_.memory();
    for (std::size_t i = 0; i < 16; ++i) {
      bytes[offsetof(Header, region_id) + i] = static_cast<std::byte>(i);
    }
    Put(offsetof(Header, formatted_at), kTime);
    testing::RepairHeaderCrc(bytes);
    Result<Region> region = Region::Attach(bytes);
    EXPECT_TRUE(region.ok()) << region.status().ToString();

    const PeerTable table(hub_.region());
    testing::EventfdTransport at_vm1(hub_, 1, {.locks = false});
    testing::EventfdTransport at_vm2(hub_, 2, {.locks = false});
    const BootId boot = {0x1111111111111111, 0x2222222222222222};
    EXPECT_TRUE(table.Claim({.name = "vm1", .pid = 4711, .boot_id = boot}, at_vm1).ok());
    EXPECT_TRUE(
        table.Claim({.name = "vm2", .durable = true, .pid = 4712, .boot_id = boot}, at_vm2).ok());
    for (std::uint32_t s = 0; s < 2; ++s) hub_.region().slot(s).claimed_at.store(kTime + s);

    const Result<CarvedRing> carved = Arena(hub_.region()).Carve(0, 1, 1, 1);
    EXPECT_TRUE(carved.ok()) << carved.status().ToString();
    Producer producer(carved->ring);
    Send(producer, {.kind = layout::FrameKind::kBytes, .type = 7}, "hello");
    Send(producer, {.kind = layout::FrameKind::kTypedByName, .name_bytes = 5}, "pkg.T\x08\x01");
    std::string piece(sizeof(FragmentHeader), '\0');
    const FragmentHeader fragment{.total = 100000, .offset = 0};
    std::memcpy(piece.data(), &fragment, sizeof(fragment));
    Send(producer, {.kind = layout::FrameKind::kFragment, .type = 1}, piece + "first piece");
    Consumer consumer = *Consumer::Open(carved->ring);
    PeekResult end = PeekResult::kRecord;
    EXPECT_EQ(consumer.Poll([](std::span<const std::byte>) {}, 1, &end), 1U);
    consumer.PublishReleased();
    producer.PublishCommitted();
  }

  [[nodiscard]] std::span<const std::byte> bytes() const { return hub_.memory(); }

 private:
  static constexpr std::uint64_t kTime = 0x0102030405060708;

  void Put(std::size_t offset, std::uint64_t value) {
    std::memcpy(hub_.memory().data() + offset, &value, sizeof(value));
  }
  static void Send(Producer& producer, const Frame& frame, const std::string& rest) {
    std::span<std::byte> payload;
    EXPECT_EQ(producer.TryClaim(sizeof(frame) + rest.size(), &payload), ClaimResult::kOk);
    std::memcpy(payload.data(), &frame, sizeof(frame));
    std::memcpy(payload.data() + sizeof(frame), rest.data(), rest.size());
    producer.Commit();
  }

  testing::Hub hub_;
};

// Lines "offset  bytes  comment": eight hex digits, two blanks, up to 16 pairs of digits, and after
// two more blanks anything. Other lines are comments.
std::map<std::size_t, std::byte> ParseHex(const std::string& text) {
  std::map<std::size_t, std::byte> bytes;
  std::istringstream lines(text);
  const std::regex form("^([0-9a-f]{8})  ((?:[0-9a-f]{2} ?){1,16})(?: .*)?$");
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (!std::regex_match(line, match, form)) continue;
    std::size_t offset = std::stoull(match[1], nullptr, 16);
    std::istringstream pairs(match[2]);
    for (std::string pair; pairs >> pair;) {
      bytes[offset++] = static_cast<std::byte>(std::stoul(pair, nullptr, 16));
    }
  }
  return bytes;
}

// The lines of a region that are not all zero, as ParseHex takes them.
std::string ToHex(std::span<const std::byte> bytes) {
  std::ostringstream out;
  out << std::hex << std::setfill('0');
  for (std::size_t at = 0; at < bytes.size(); at += 16) {
    if (IsAllZero(bytes.subspan(at, 16))) continue;
    out << std::setw(8) << at << ' ';
    for (std::size_t i = at; i < at + 16; ++i) {
      out << ' ' << std::setw(2) << std::to_integer<int>(bytes[i]);
    }
    out << '\n';
  }
  return out.str();
}

TEST(WireFormatTest, AFormattedRegionWithPeersARingAndRecordsIsTheGoldenOne) {
  const ExampleRegion example;
  const auto golden = ParseHex(ReadText("tests/unit/core/golden/region.hex"));
  std::size_t differences = 0;
  for (std::size_t at = 0; at < example.bytes().size(); ++at) {
    const auto found = golden.find(at);
    const std::byte expected = found == golden.end() ? std::byte{0} : found->second;
    if (example.bytes()[at] != expected) ++differences;
  }
  EXPECT_EQ(differences, 0U)
      << "The format has changed. If that is meant, it needs another version; "
         "the region is now:\n"
      << ToHex(example.bytes());
}

TEST(WireFormatTest, TheDocumentsExampleIsTheGoldenRegion) {
  const std::string doc = ReadText("docs/wire-format.md");
  const std::size_t at = doc.find("## Example");
  ASSERT_NE(at, std::string::npos);
  const auto example = ParseHex(doc.substr(at));
  const auto golden = ParseHex(ReadText("tests/unit/core/golden/region.hex"));
  EXPECT_GT(example.size(), 200U);
  for (const auto& [offset, byte] : example) {
    const auto found = golden.find(offset);
    const std::byte expected = found == golden.end() ? std::byte{0} : found->second;
    ASSERT_EQ(std::to_integer<int>(byte), std::to_integer<int>(expected))
        << "byte " << std::hex << offset;
  }
}

}  // namespace
}  // namespace ivmq
