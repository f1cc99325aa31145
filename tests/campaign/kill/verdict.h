// What docs/guarantees.md promises, held against a ledger.
#ifndef IVMQ_TESTS_CAMPAIGN_KILL_VERDICT_H_
#define IVMQ_TESTS_CAMPAIGN_KILL_VERDICT_H_

#include <array>
#include <cstdint>

#include "kill/ledger.h"

namespace ivmq::campaign {

struct Verdict {
  // What happened.
  std::uint64_t ok = 0;          // sends that said so
  std::uint64_t ok_large = 0;    // of them, larger than a record
  std::uint64_t refused = 0;     // full, timed out, peer gone
  std::uint64_t unfinished = 0;  // their sender was killed in the call: delivered once or never
  std::uint64_t handled = 0;     // messages, each once
  std::uint64_t marked = 0;      // handled again, and marked as redelivered

  // Sent, not handled, and excused by the guarantees.
  std::uint64_t excused_unread = 0;  // their ephemeral receiver ended before it read them
  std::uint64_t excused_cut = 0;     // large; their durable receiver ended midway in them

  // Broken promises.
  std::uint64_t lost = 0;
  std::uint64_t twice_unmarked = 0;
  std::uint64_t refused_yet_handled = 0;
  std::uint64_t stuck = 0;  // pairs whose last message was not sent, or not handled
  std::uint64_t rings_given_up = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(Fault::kCount)> faults{};

  [[nodiscard]] bool holds() const;
};

// Of a mesh that has stood still, or goes on: what is under way counts as lost or stuck.
Verdict Judge(const Ledger& ledger);

// Adds the texts of the first lost messages, of those that came twice or though they were refused,
// and of stuck pairs to the ledger.
void Explain(const Ledger& ledger);

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_KILL_VERDICT_H_
