#include "top_view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <string_view>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "ivmq/internal/peer_table.h"

#include "peers.h"
#include "text.h"

namespace ivmq::tool {
namespace {

using inspect::RegionSample;
using inspect::RingSample;
using layout::Counter;
using layout::PeerState;

constexpr std::chrono::seconds kStill{2};  // a living peer's heart beats four times a second

// ---- Cells ----

enum class Tone : std::uint8_t { kPlain, kDim, kWarning, kAlarm, kTitle };

std::string_view CodeOf(Tone tone) {
  switch (tone) {
    case Tone::kPlain:
      break;
    case Tone::kDim:
      return "\x1b[2m";
    case Tone::kWarning:
      return "\x1b[33m";
    case Tone::kAlarm:
      return "\x1b[1;31m";
    case Tone::kTitle:
      return "\x1b[1m";
  }
  return "";
}

struct TableCell {
  std::string text;
  Tone tone = Tone::kPlain;
};

// How text is written.
struct Pen {
  bool colors = false;
  bool utf8 = true;

  // The first `width` columns; what is cut off shows.
  [[nodiscard]] std::string Cut(std::string_view text, std::size_t width) const {
    if (Width(text) <= width) return std::string(text);
    std::size_t end = 0;
    for (std::size_t column = 0; column + 1 < width; ++column) {
      ++end;
      while (end < text.size() && (text[end] & 0xc0) == 0x80) ++end;
    }
    return std::string(text.substr(0, end)) + (width == 0 ? "" : utf8 ? "…" : "~");
  }

  [[nodiscard]] std::string Paint(std::string_view text, Tone tone) const {
    if (!colors || tone == Tone::kPlain) return std::string(text);
    return fmt::format("{}{}\x1b[m", CodeOf(tone), text);
  }

  // A bar of `width` columns and the percentage.
  [[nodiscard]] std::string Bar(double fraction, std::size_t width) const {
    const double part = std::clamp(fraction, 0.0, 1.0);
    constexpr std::size_t kPercent = 5;
    const std::size_t columns = width - std::min(width, kPercent);
    // What is not empty shows.
    auto eighths = static_cast<std::size_t>(std::llround(part * 8 * static_cast<double>(columns)));
    if (part > 0) eighths = std::max<std::size_t>(eighths, 1);
    std::string bar;
    for (std::size_t i = 0; i < columns; ++i) {
      constexpr std::array<std::string_view, 9> kBlocks = {"·", "▏", "▎", "▍", "▌",
                                                           "▋", "▊", "▉", "█"};
      const std::size_t here = std::min<std::size_t>(eighths - std::min(eighths, i * 8), 8);
      bar += utf8 ? kBlocks[here] : here >= 4 ? "#" : here > 0 ? "-" : ".";
    }
    return bar + fmt::format("{:>{}}", fmt::format("{:.0f}%", part * 100), kPercent);
  }
};

Tone ToneOfFill(double fill) {
  return fill >= 0.9 ? Tone::kAlarm : fill >= 0.7 ? Tone::kWarning : Tone::kPlain;
}

std::string UnreadText(std::uint64_t unread, bool complete) {
  return CountText(static_cast<double>(unread)) + (complete ? "" : "+");
}

// ---- Tables ----

template <typename Row>
struct Column {
  std::string title;
  std::size_t width;  // at least
  int rank;           // columns with a lower one come first where there is too little room
  std::function<TableCell(const Row& row, std::size_t width)> cell;
  bool right = true;
  std::size_t most = 0;  // where there is room; 0: width
};

constexpr std::size_t kGap = 2;

// Those that fit, as wide as they may be.
template <typename Row>
std::vector<Column<Row>> Fit(std::vector<Column<Row>> columns, std::size_t width) {
  std::vector<int> ranks;
  for (const auto& column : columns) ranks.push_back(column.rank);
  std::sort(ranks.begin(), ranks.end());
  std::size_t taken = 0;
  std::vector<int> chosen;
  for (const int rank : ranks) {
    const auto at = std::find_if(columns.begin(), columns.end(),
                                 [rank](const auto& column) { return column.rank == rank; });
    const std::size_t need = at->width + (taken == 0 ? 0 : kGap);
    if (taken + need > width) continue;
    taken += need;
    chosen.push_back(rank);
  }
  std::erase_if(columns, [&](const auto& column) {
    return std::find(chosen.begin(), chosen.end(), column.rank) == chosen.end();
  });
  for (const int rank : chosen) {
    for (auto& column : columns) {
      if (column.rank != rank || column.most <= column.width) continue;
      const std::size_t more = std::min(column.most - column.width, width - taken);
      column.width += more;
      taken += more;
    }
  }
  return columns;
}

template <typename Row>
std::string LineOf(const std::vector<Column<Row>>& columns, const Pen& pen,
                   const std::function<TableCell(const Column<Row>&)>& cell_of) {
  std::string line;
  std::size_t owed = 0;  // blanks before the next text
  for (const auto& column : columns) {
    TableCell cell = cell_of(column);
    cell.text = pen.Cut(cell.text, column.width);
    const std::size_t blanks = column.width - Width(cell.text);
    line += std::string(owed + (column.right ? blanks : 0), ' ') + pen.Paint(cell.text, cell.tone);
    owed = kGap + (column.right ? 0 : blanks);
  }
  return line + "\n";
}

template <typename Row>
std::vector<std::string> TableLines(const std::vector<Column<Row>>& all,
                                    const std::vector<Row>& rows, std::size_t width,
                                    const Pen& pen) {
  const auto columns = Fit(all, width);
  std::vector<std::string> lines;
  lines.push_back(LineOf<Row>(columns, pen, [](const Column<Row>& column) {
    return TableCell{column.title, Tone::kTitle};
  }));
  for (const Row& row : rows) {
    lines.push_back(LineOf<Row>(columns, pen, [&row](const Column<Row>& column) {
      return column.cell(row, column.width);
    }));
  }
  return lines;
}

Tone ToneOfState(const PeerRow& row) {
  if (row.state == "live") return Tone::kPlain;
  return row.state == "away" ? Tone::kDim : row.state == "dead" ? Tone::kAlarm : Tone::kWarning;
}

std::vector<Column<PeerRow>> PeerColumns(const TopView& view, const Pen& pen) {
  std::size_t longest = 0;
  bool probes = false;
  for (const PeerRow& row : view.peers) {
    longest = std::max(longest, Width(PrintableName(row.peer->name)));
    probes = probes || !row.probe.empty();
  }
  const auto rate = [&view](Counter counter) {
    return [counter, known = view.has_rates](const PeerRow& row, std::size_t /*width*/) {
      return TableCell{known ? CountText(row.rates.Of(counter)) : "-"};
    };
  };
  const auto count = [](std::initializer_list<Counter> counters, Tone tone) {
    return [counters = std::vector(counters), tone](const PeerRow& row, std::size_t /*width*/) {
      double sum = 0;
      for (const Counter counter : counters) {
        sum += static_cast<double>(CounterOf(*row.peer, counter));
      }
      return TableCell{CountText(sum), sum != 0 ? tone : Tone::kPlain};
    };
  };
  std::vector<Column<PeerRow>> columns{
      {"NAME", 10, 0,
       [](const PeerRow& row, std::size_t /*width*/) {
         return TableCell{PrintableName(row.peer->name), ToneOfState(row)};
       },
       false, longest},
      {"STATE", 5, 1,
       [](const PeerRow& row, std::size_t /*width*/) {
         return TableCell{row.state, ToneOfState(row)};
       },
       false}};
  if (probes) {
    columns.push_back({"PROBE", 7, 2, [](const PeerRow& row, std::size_t /*width*/) {
                         return TableCell{row.probe.empty() ? "-" : row.probe};
                       }});
  }
  const std::vector<Column<PeerRow>> others{
      {"SENT/s", 6, 3, rate(Counter::kMessagesSent)},
      {"RECV/s", 6, 4, rate(Counter::kMessagesReceived)},
      {"OUT B/s", 7, 8, rate(Counter::kBytesSent)},
      {"IN B/s", 6, 9, rate(Counter::kBytesReceived)},
      {"UNREAD", 6, 10,
       [](const PeerRow& row, std::size_t /*width*/) {
         return TableCell{UnreadText(row.unread, row.unread_complete)};
       }},
      {"FILL", 9, 5,
       [pen](const PeerRow& row, std::size_t width) {
         return TableCell{pen.Bar(row.fill, width), ToneOfFill(row.fill)};
       },
       true, 25},
      {"BELLS/s", 7, 6, rate(Counter::kDoorbellsRung)},
      {"FINDS", 5, 7, count({Counter::kNetFinds}, Tone::kAlarm)},
      {"DROPPED", 7, 11, count({Counter::kDropped, Counter::kTopicsDropped}, Tone::kWarning)},
      {"SLEEPS/s", 8, 14, rate(Counter::kSleeps)},
      {"FULL/s", 6, 13, rate(Counter::kRingsFull)},
      {"DAMAGED", 7, 12, count({Counter::kRingsPoisoned}, Tone::kAlarm)},
      {"AGAIN", 5, 15, count({Counter::kRedelivered}, Tone::kWarning)},
      {"KEPT", 5, 18, count({Counter::kKeptNow}, Tone::kPlain)},
      {"SLOT", 4, 17,
       [](const PeerRow& row, std::size_t /*width*/) {
         return TableCell{fmt::to_string(row.peer->id.slot)};
       }},
      {"IVPOS", 5, 19,
       [](const PeerRow& row, std::size_t /*width*/) {
         return TableCell{row.peer->ivposition == layout::kNoIvposition
                              ? "-"
                              : fmt::to_string(row.peer->ivposition)};
       }},
      {"PID", 7, 16, [](const PeerRow& row, std::size_t /*width*/) {
         return TableCell{fmt::to_string(row.peer->pid)};
       }}};
  columns.insert(columns.end(), others.begin(), others.end());
  return columns;
}

std::vector<Column<PairRow>> PairColumns(const TopView& view, const Pen& pen) {
  std::size_t from = 0;
  std::size_t to = 0;
  std::size_t problem = 0;
  for (const PairRow& row : view.pairs) {
    from = std::max(from, Width(PrintableName(row.from)));
    to = std::max(to, Width(PrintableName(row.to)));
    problem = std::max(problem, Width(row.ring->unread.problem));
  }
  std::vector<Column<PairRow>> columns{
      {"FROM", 10, 0,
       [](const PairRow& row, std::size_t /*width*/) { return TableCell{PrintableName(row.from)}; },
       false, from},
      {"TO", 10, 1,
       [](const PairRow& row, std::size_t /*width*/) { return TableCell{PrintableName(row.to)}; },
       false, to},
      {"B/s", 6, 2,
       [known = view.has_rates](const PairRow& row, std::size_t /*width*/) {
         return TableCell{known ? CountText(row.rates.bytes) : "-"};
       }},
      {"UNREAD", 6, 4,
       [](const PairRow& row, std::size_t /*width*/) {
         return TableCell{UnreadText(row.ring->unread.messages, row.ring->unread.complete)};
       }},
      {"FILL", 9, 3,
       [pen](const PairRow& row, std::size_t width) {
         return TableCell{pen.Bar(row.ring->fill(), width), ToneOfFill(row.ring->fill())};
       },
       true, 45},
      {"SIZE", 8, 5,
       [](const PairRow& row, std::size_t /*width*/) {
         return TableCell{SizeText(row.ring->capacity)};
       }},
      {"GEN", 5, 7, [](const PairRow& row, std::size_t /*width*/) {
         return TableCell{CountText(row.ring->generation)};
       }}};
  if (problem != 0) {
    columns.push_back({"DAMAGE", 7, 6,
                       [](const PairRow& row, std::size_t /*width*/) {
                         return TableCell{row.ring->unread.problem, Tone::kAlarm};
                       },
                       false, problem});
  }
  return columns;
}

// ---- Around the table ----

std::string_view SortText(const TopStyle& style) {
  switch (style.sort) {
    case TopSort::kName:
      return "name";
    case TopSort::kMessages:
      return style.shows_pairs ? "unread" : "messages";
    case TopSort::kBytes:
      return "bytes";
    case TopSort::kFill:
      return "fill";
    case TopSort::kDoorbells:
      return "doorbells";
  }
  return "name";
}

// Two texts at the two edges.
std::string Edges(std::string_view left, std::string_view right, std::size_t columns,
                  const Pen& pen) {
  const std::size_t taken = Width(right) + kGap;
  if (taken >= columns) return pen.Cut(left, columns) + "\n";
  const std::string cut = pen.Cut(left, columns - taken);
  return cut + std::string(columns - Width(cut) - Width(right), ' ') + std::string(right) + "\n";
}

std::string RegionLine(const TopView& view) {
  const RegionSample& sample = *view.sample;
  std::size_t live = 0;
  for (const PeerInfo& peer : sample.peers) live += peer.state == PeerState::kLive ? 1 : 0;
  const ArenaStats& arena = sample.arena;
  const double used =
      arena.units == 0
          ? 0
          : 100.0 * (arena.units - std::min(arena.units, arena.units_free)) / arena.units;
  std::string server = "no server";
  if (sample.server_epoch != 0) {
    server = sample.server_pid == 0 ? "server ended" : fmt::format("server {}", sample.server_pid);
  }
  return fmt::format("{} of {} peer{} live  {} ring{}  {:.0f}% of arena used  {}", live,
                     sample.peers.size(), sample.peers.size() == 1 ? "" : "s", sample.rings.size(),
                     sample.rings.size() == 1 ? "" : "s", used, server);
}

double SumOf(const TopView& view, Counter counter) {
  double sum = 0;
  for (const PeerRow& row : view.peers) sum += row.rates.Of(counter);
  return sum;
}

std::string TotalLine(const TopView& view) {
  const auto finds = static_cast<double>(view.sample->Sum(Counter::kNetFinds));
  if (!view.has_rates) return fmt::format("{} fallback finds", CountText(finds));
  return fmt::format("{} messages/s  {} B/s  {} bells/s  {} fallback finds",
                     CountText(SumOf(view, Counter::kMessagesSent)),
                     CountText(SumOf(view, Counter::kBytesSent)),
                     CountText(SumOf(view, Counter::kDoorbellsRung)), CountText(finds));
}

std::vector<std::string> HeadLines(const TopView& view, std::string_view right, std::size_t columns,
                                   const Pen& pen) {
  return {Edges("ivmq top  " + Printable(view.address), right, columns, pen),
          pen.Cut(RegionLine(view), columns) + "\n", pen.Cut(TotalLine(view), columns) + "\n",
          "\n"};
}

std::string KeyLine(const TopStyle& style, std::size_t first, std::size_t shown, std::size_t all,
                    std::size_t columns, const Pen& pen) {
  std::string right;
  if (shown < all) right = fmt::format("{}-{}/{}", first + 1, first + shown, all);
  std::string line =
      Edges(fmt::format("sort: n m b f d  p {}  space {}  q quit",
                        style.shows_pairs ? "peers" : "pairs", style.is_paused ? "go on" : "pause"),
            right, columns, pen);
  line.pop_back();
  return pen.Paint(line, Tone::kDim) + "\n";
}

std::string FindState(const PeerInfo& peer, const Heartbeats& heartbeats) {
  if (peer.state == PeerState::kLive && heartbeats.IsStill(peer)) return "still";
  return peer.state == PeerState::kClaiming ? "claim" : std::string(StateText(peer));
}

std::string NameAt(const RegionSample& sample, std::uint32_t slot) {
  const PeerInfo* const peer = sample.PeerAt(slot);
  return peer == nullptr ? fmt::format("slot {}", slot) : peer->name;
}

}  // namespace

std::string CountText(double count) {
  if (!(count > 0)) return "0";
  if (count < 9.95 && std::abs(count - std::round(count)) >= 0.05) {
    return fmt::format("{:.1f}", count);
  }
  if (count < 999.5) return fmt::format("{:.0f}", count);
  std::size_t unit = 0;
  constexpr std::string_view kUnits = "kMGTPEZY";
  for (count /= 1000; count >= 999.5 && unit + 1 < kUnits.size(); ++unit) count /= 1000;
  const int digits = count < 9.995 ? 2 : count < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}{}", count, digits, kUnits[unit]);
}

void Heartbeats::Add(const RegionSample& sample) {
  last_ = sample.taken;
  for (const PeerInfo& peer : sample.peers) {
    Seen& seen = seen_[peer.id.slot];
    if (seen.id == peer.id && seen.heartbeat == peer.heartbeat &&
        seen.since != std::chrono::steady_clock::time_point{}) {
      continue;
    }
    seen = {peer.id, peer.heartbeat, sample.taken};
  }
}

bool Heartbeats::IsStill(const PeerInfo& peer) const {
  const auto seen = seen_.find(peer.id.slot);
  return seen != seen_.end() && seen->second.id == peer.id && last_ - seen->second.since >= kStill;
}

TopView MakeTopView(const std::string& address, const RegionSample* before, const RegionSample& now,
                    const Heartbeats& heartbeats, const Probes& probes) {
  TopView view{
      .address = address,
      .interval = before == nullptr ? std::chrono::nanoseconds(0) : now.taken - before->taken,
      .has_rates = before != nullptr,
      .sample = &now,
      .peers = {},
      .pairs = {}};
  const inspect::Rates rates = RatesBetween(before == nullptr ? now : *before, now);
  for (std::size_t i = 0; i < now.peers.size(); ++i) {
    const PeerInfo& peer = now.peers[i];
    PeerRow row{
        .peer = &peer, .state = FindState(peer, heartbeats), .rates = rates.peers[i], .probe = {}};
    if (const auto probe = probes.find(peer.name); probe != probes.end()) row.probe = probe->second;
    view.peers.push_back(std::move(row));
  }
  for (std::size_t i = 0; i < now.rings.size(); ++i) {
    const RingSample& ring = now.rings[i];
    view.pairs.push_back({.ring = &ring,
                          .from = NameAt(now, ring.producer),
                          .to = NameAt(now, ring.consumer),
                          .rates = rates.rings[i]});
    for (PeerRow& row : view.peers) {
      if (row.peer->id.slot != ring.consumer) continue;
      row.fill = std::max(row.fill, ring.fill());
      row.unread += ring.unread.messages;
      row.unread_complete = row.unread_complete && ring.unread.complete;
    }
  }
  return view;
}

void SortTopView(const TopStyle& style, TopView* view) {
  const auto peer_key = [&style](const PeerRow& row) -> double {
    switch (style.sort) {
      case TopSort::kName:
        return 0;
      case TopSort::kMessages:
        return row.rates.Of(Counter::kMessagesSent) + row.rates.Of(Counter::kMessagesReceived);
      case TopSort::kBytes:
        return row.rates.Of(Counter::kBytesSent) + row.rates.Of(Counter::kBytesReceived);
      case TopSort::kFill:
        return row.fill;
      case TopSort::kDoorbells:
        return row.rates.Of(Counter::kDoorbellsRung);
    }
    return 0;
  };
  const auto pair_key = [&style](const PairRow& row) -> double {
    switch (style.sort) {
      case TopSort::kName:
      case TopSort::kDoorbells:
        return 0;
      case TopSort::kMessages:
        return static_cast<double>(row.ring->unread.messages);
      case TopSort::kBytes:
        return row.rates.bytes;
      case TopSort::kFill:
        return row.ring->fill();
    }
    return 0;
  };
  std::stable_sort(view->peers.begin(), view->peers.end(), [&](const auto& a, const auto& b) {
    return std::pair(-peer_key(a), std::string_view(a.peer->name)) <
           std::pair(-peer_key(b), std::string_view(b.peer->name));
  });
  std::stable_sort(view->pairs.begin(), view->pairs.end(), [&](const auto& a, const auto& b) {
    return std::tuple(-pair_key(a), std::string_view(a.from), std::string_view(a.to)) <
           std::tuple(-pair_key(b), std::string_view(b.from), std::string_view(b.to));
  });
  if (!style.reversed) return;
  std::reverse(view->peers.begin(), view->peers.end());
  std::reverse(view->pairs.begin(), view->pairs.end());
}

std::string TopScreen(const TopView& view, std::size_t columns, std::size_t rows, TopStyle* style) {
  const Pen pen{style->colors, style->utf8};
  const std::string right =
      style->is_paused
          ? "paused"
          : fmt::format("by {}{}  {}", SortText(*style), style->reversed ? ", reversed" : "",
                        view.has_rates ? DurationText(view.interval) : "");
  std::vector<std::string> head = HeadLines(view, right, columns, pen);
  std::vector<std::string> table =
      style->shows_pairs ? TableLines(PairColumns(view, pen), view.pairs, columns, pen)
                         : TableLines(PeerColumns(view, pen), view.peers, columns, pen);
  // A very low terminal shows the table rather than what stands above it.
  const std::size_t most_head = rows > 6 ? head.size() : 0;
  head.resize(most_head);
  head.push_back(table.front());
  table.erase(table.begin());
  const std::size_t room = rows > head.size() + 1 ? rows - head.size() - 1 : 0;
  const std::size_t all = table.size();
  style->first = std::min(style->first, all - std::min(all, room));
  const std::size_t shown = std::min(room, all - style->first);

  std::string screen;
  for (const std::string& line : head) screen += line;
  for (std::size_t i = 0; i < room; ++i) {
    screen += i < shown ? table[style->first + i] : "\n";
  }
  return screen + KeyLine(*style, style->first, shown, all, columns, pen);
}

std::string TopText(const TopView& view, std::size_t columns, bool utf8) {
  const Pen pen{.colors = false, .utf8 = utf8};
  std::string text;
  for (const std::string& line : HeadLines(view, DurationText(view.interval), columns, pen)) {
    text += line;
  }
  for (const std::string& line : TableLines(PeerColumns(view, pen), view.peers, columns, pen)) {
    text += line;
  }
  if (view.pairs.empty()) return text;
  text += "\n";
  for (const std::string& line : TableLines(PairColumns(view, pen), view.pairs, columns, pen)) {
    text += line;
  }
  return text;
}

Json TopJson(const TopView& view) {
  const RegionSample& sample = *view.sample;
  Json json;
  json["address"] = view.address;
  json["interval"] = std::chrono::duration<double>(view.interval).count();
  json["server"] = {{"epoch", sample.server_epoch}, {"pid", sample.server_pid}};
  json["arena"] = {{"units", sample.arena.units}, {"units_free", sample.arena.units_free}};
  json["peers"] = Json::array();
  for (const PeerRow& row : view.peers) {
    Json entry;
    entry["slot"] = row.peer->id.slot;
    entry["incarnation"] = row.peer->id.incarnation;
    entry["name"] = row.peer->name;
    entry["state"] = row.state;
    entry["pid"] = row.peer->pid;
    entry["fill"] = row.fill;
    entry["unread"] = row.unread;
    if (!row.probe.empty()) entry["probe"] = row.probe;
    Json rates = Json::object();
    Json counters = Json::object();
    for (std::size_t i = 0; i < static_cast<std::size_t>(Counter::kCount); ++i) {
      const auto counter = static_cast<Counter>(i);
      counters[std::string(CounterName(counter))] = CounterOf(*row.peer, counter);
      rates[std::string(CounterName(counter))] = row.rates.Of(counter);
    }
    entry["per_second"] = std::move(rates);
    entry["counters"] = std::move(counters);
    json["peers"].push_back(std::move(entry));
  }
  json["pairs"] = Json::array();
  for (const PairRow& row : view.pairs) {
    Json entry;
    entry["from"] = row.from;
    entry["to"] = row.to;
    entry["from_slot"] = row.ring->producer;
    entry["to_slot"] = row.ring->consumer;
    entry["generation"] = row.ring->generation;
    entry["capacity"] = row.ring->capacity;
    entry["fill"] = row.ring->fill();
    entry["unread"] = row.ring->unread.messages;
    entry["unread_bytes"] = row.ring->unread.bytes;
    entry["unread_is_complete"] = row.ring->unread.complete;
    entry["bytes_per_second"] = row.rates.bytes;
    if (!row.ring->unread.problem.empty()) entry["problem"] = row.ring->unread.problem;
    json["pairs"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace ivmq::tool
