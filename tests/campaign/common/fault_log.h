// Faults that the processes of a campaign have seen: counted, and the first ones described.
#ifndef IVMQ_TESTS_CAMPAIGN_COMMON_FAULT_LOG_H_
#define IVMQ_TESTS_CAMPAIGN_COMMON_FAULT_LOG_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ivmq::campaign {

// For memory that processes share. `Fault` is an enumeration of kinds with kCount at its end.
// Thread-safe.
template <typename Fault>
class FaultLog {
 public:
  static constexpr std::size_t kKinds = static_cast<std::size_t>(Fault::kCount);

  // Counts a fault, and keeps the text of the first ones of its kind.
  void Add(Fault fault, std::string_view text) {
    if (counts_[static_cast<std::size_t>(fault)].fetch_add(1) < kMostTextsOfAKind) AddText(text);
  }
  void AddText(std::string_view text) {
    const std::uint32_t slot = texts_used_.fetch_add(1);
    if (slot >= kMostTexts) return;
    Text& out = texts_[slot];
    std::copy_n(text.begin(), std::min(text.size(), out.size() - 1), out.begin());
  }
  [[nodiscard]] std::uint64_t count(Fault fault) const {
    return counts_[static_cast<std::size_t>(fault)].load();
  }
  // One line each.
  [[nodiscard]] std::string Texts() const {
    std::string texts;
    const std::size_t used = std::min<std::size_t>(texts_used_.load(), kMostTexts);
    for (std::size_t i = 0; i < used; ++i) texts += "  " + std::string(texts_[i].data()) + "\n";
    return texts;
  }

 private:
  static constexpr std::uint64_t kMostTextsOfAKind = 5;
  static constexpr std::size_t kMostTexts = 60;
  using Text = std::array<char, 256>;

  std::array<std::atomic<std::uint64_t>, kKinds> counts_{};
  std::atomic<std::uint32_t> texts_used_{0};
  std::array<Text, kMostTexts> texts_{};
};

}  // namespace ivmq::campaign

#endif  // IVMQ_TESTS_CAMPAIGN_COMMON_FAULT_LOG_H_
