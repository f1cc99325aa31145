#include "ivmq/internal/doorbell_epochs.h"

#include <algorithm>
#include <vector>

namespace ivmq {
namespace {

using layout::ApartId;
using layout::Header;

std::size_t CountOf(const Header& header) noexcept {
  return static_cast<std::size_t>(std::min<std::uint64_t>(
      header.apart_count.load(std::memory_order_acquire), layout::kMostApart));
}

}  // namespace

std::uint64_t DoorbellEpochs::Of(std::uint16_t ivposition) const noexcept {
  const Header& header = region_.header();
  const std::size_t count = CountOf(header);
  bool has_all = true;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t word = header.apart[i].load(std::memory_order_relaxed);
    if (word == 0) continue;
    const ApartId apart = ApartId::FromWord(word);
    if (apart.ivposition == ivposition) return apart.epoch;
    has_all &= apart.ivposition != layout::kNoIvposition;
  }
  return has_all ? header.server_epoch.load(std::memory_order_relaxed) : layout::kEpochUnsure;
}

void DoorbellEpochs::Begin(const std::set<std::uint16_t>& former) const {
  Header& header = region_.header();
  std::vector<ApartId> apart;
  apart.reserve(former.size());
  for (const std::uint16_t ivposition : former) apart.push_back({ivposition, Of(ivposition)});
  // What is left of clients that are gone.
  for (std::size_t i = 0; i < CountOf(header); ++i) {
    const ApartId entry = ApartId::FromWord(header.apart[i].load(std::memory_order_relaxed));
    if (!former.contains(entry.ivposition)) header.apart[i].store(0, std::memory_order_relaxed);
  }
  // Of the epoch that ends now or of an earlier one: who reads meanwhile reads the same.
  for (const ApartId& client : apart) Set(client.ivposition, client.epoch);
  header.server_epoch.fetch_add(1, std::memory_order_release);
  Announce();
}

void DoorbellEpochs::Set(std::uint16_t ivposition, std::uint64_t epoch) const noexcept {
  Header& header = region_.header();
  const std::size_t count = CountOf(header);
  std::size_t place = count;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t word = header.apart[i].load(std::memory_order_relaxed);
    if (word != 0 && ApartId::FromWord(word).ivposition == ivposition) {
      place = i;
      break;
    }
    if (word == 0) place = std::min(place, i);
  }
  if (place == layout::kMostApart) {
    // Of no client that has no entry it is known then.
    place = layout::kMostApart - 1;
    ivposition = layout::kNoIvposition;
    epoch = layout::kEpochUnsure;
  }
  const std::uint64_t word = ApartId{ivposition, epoch}.ToWord();
  if (place < count && header.apart[place].load(std::memory_order_relaxed) == word) return;
  header.apart[place].store(word, std::memory_order_relaxed);
  if (place >= count) header.apart_count.store(place + 1, std::memory_order_release);
  Announce();
}

void DoorbellEpochs::Forget(std::uint16_t ivposition) const noexcept {
  Header& header = region_.header();
  std::size_t end = 0;
  bool has_changed = false;
  for (std::size_t i = 0; i < CountOf(header); ++i) {
    const std::uint64_t word = header.apart[i].load(std::memory_order_relaxed);
    if (word == 0) continue;
    if (ApartId::FromWord(word).ivposition == ivposition) {
      header.apart[i].store(0, std::memory_order_relaxed);
      has_changed = true;
    } else {
      end = i + 1;
    }
  }
  if (!has_changed) return;
  header.apart_count.store(end, std::memory_order_release);
  Announce();
}

}  // namespace ivmq
