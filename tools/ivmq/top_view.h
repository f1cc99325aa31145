// What `ivmq top` shows, as rows, and how these are laid out in a terminal of any width.
#ifndef IVMQ_TOOLS_IVMQ_TOP_VIEW_H_
#define IVMQ_TOOLS_IVMQ_TOP_VIEW_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/region_sample.h"
#include "output.h"

namespace ivmq::tool {

struct PeerRow {
  const PeerInfo* peer = nullptr;
  std::string state;  // as `ivmq ls`; "still": a live one whose heartbeat has stopped
  inspect::PeerRates rates;
  double fill = 0;  // of the fullest ring to it
  std::uint64_t unread = 0;
  bool unread_complete = true;  // false: there are more
  std::string probe;            // a round trip, or why there was none; empty: not asked for
};

struct PairRow {
  const inspect::RingSample* ring = nullptr;
  std::string from;  // the peers' names
  std::string to;
  inspect::RingRates rates;
};

// The moment between two samples, which must outlive it.
struct TopView {
  std::string address;
  std::chrono::nanoseconds interval{0};
  bool has_rates = false;  // false: there was no sample before
  const inspect::RegionSample* sample = nullptr;
  std::vector<PeerRow> peers;
  std::vector<PairRow> pairs;
};

// Which live peers' heartbeats have stopped, over several samples. Thread-compatible.
class Heartbeats {
 public:
  void Add(const inspect::RegionSample& sample);
  // Whether the peer's heartbeat was seen to stand still for two seconds.
  [[nodiscard]] bool IsStill(const PeerInfo& peer) const;

 private:
  struct Seen {
    PeerId id;
    std::uint64_t heartbeat = 0;
    std::chrono::steady_clock::time_point since;
  };
  std::map<std::uint32_t, Seen> seen_;  // by slot
  std::chrono::steady_clock::time_point last_;
};

using Probes = std::map<std::string, std::string>;  // round trips, by the peers' names

// `before`: nullptr if there is none.
[[nodiscard]] TopView MakeTopView(const std::string& address, const inspect::RegionSample* before,
                                  const inspect::RegionSample& now, const Heartbeats& heartbeats,
                                  const Probes& probes);

enum class TopSort : char {
  kName = 'n',
  kMessages = 'm',
  kBytes = 'b',
  kFill = 'f',
  kDoorbells = 'd',
};

struct TopStyle {
  bool shows_pairs = false;  // instead of the peers
  TopSort sort = TopSort::kMessages;
  bool reversed = false;
  bool is_paused = false;
  std::size_t first = 0;  // row of the table that is shown first
  bool colors = false;
  bool utf8 = true;
};

// Sorts the rows, the busiest first, or by name.
void SortTopView(const TopStyle& style, TopView* view);

// As many lines as fit, each ending with a line end, at most `columns` wide, from 60 on. The last
// one says which keys there are. `style->first` is reduced to what there is.
[[nodiscard]] std::string TopScreen(const TopView& view, std::size_t columns, std::size_t rows,
                                    TopStyle* style);

// Both tables without keys, colours and limit of lines.
[[nodiscard]] std::string TopText(const TopView& view, std::size_t columns, bool utf8);

[[nodiscard]] Json TopJson(const TopView& view);

// "0", "0.4", "12", "4.56k", "123M": at most five characters.
[[nodiscard]] std::string CountText(double count);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_TOP_VIEW_H_
