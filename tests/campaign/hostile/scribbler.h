// Writes what no correct peer writes into a region that others use.
#ifndef IVMQ_TESTS_CAMPAIGN_HOSTILE_SCRIBBLER_H_
#define IVMQ_TESTS_CAMPAIGN_HOSTILE_SCRIBBLER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "ivmq/internal/layout.h"
#include "ivmq/internal/region.h"

#include "hostile/stage.h"

namespace ivmq::campaign {

// Spares the slots of the spared peers, the cells between them, and the units of their rings, all
// of which must be there. Anything else is written: any word with any value, and, by one that is
// clever, words that matter with values that look right.
class Scribbler {
 public:
  // REQUIRES: all spared peers have met.
  Scribbler(std::span<std::byte> memory, const Region& region, const Stage& stage,
            std::uint64_t seed, bool is_clever);

  // Writes a word, or a few that belong together.
  void Scribble();

 private:
  using Word = layout::Word;

  [[nodiscard]] bool IsSparedSlot(std::uint32_t slot) const;
  std::uint64_t Below(std::uint64_t limit) { return random_() % limit; }
  std::uint32_t SomeSlot();  // an exposed one
  // A cell that is not between spared peers.
  std::uint32_t SomeCell();
  // A unit of no spared ring.
  std::uint32_t SomeUnit();
  // A ring that is not between spared peers, with its cell.
  struct Ring {
    std::uint32_t index;
    RingView view;
  };
  std::optional<Ring> SomeRing();
  Word& WordAt(std::uint64_t offset);
  Word& SomeWord();
  // Stores a value that is random, was there before, stands elsewhere, or is nearly what was there.
  void Damage(Word& word);
  void Store(Word& word, std::uint64_t value);

  void ScribbleLife();
  void ScribbleCell();
  void ScribbleOwner();
  void ScribblePositions();
  void ScribbleText();
  void ScribbleHeader();
  // As a producer that is none: a record that its consumer will take.
  void ForgeRecord();

  const std::span<std::byte> memory_;
  const Region region_;
  const bool is_clever_;
  std::mt19937_64 random_;
  std::vector<bool> spared_slots_;
  std::vector<bool> spared_cells_;
  std::vector<bool> spared_units_;
  std::vector<layout::Cell> spared_rings_;
  struct Seen {
    Word* word;
    std::uint64_t value;
  };
  std::vector<Seen> seen_;  // former values
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_HOSTILE_SCRIBBLER_H_
