#include "src/slot_text.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "ivmq/internal/crash_point.h"

namespace ivmq {
namespace {

using layout::SlotText;
using layout::Word;

// Who changes a text says so afterwards, so that readers look again.
constexpr int kMostReads = 4;

// A private copy.
struct Text {
  std::array<std::uint64_t, layout::kTopicTextBytes / sizeof(std::uint64_t)> words{};
  std::size_t bytes = 0;

  [[nodiscard]] std::string_view view() const noexcept {
    return {reinterpret_cast<const char*>(words.data()), bytes};
  }
};

// Empty unless it is of that life and stands still.
Text Load(const SlotText& head, std::span<const Word> words, std::uint32_t incarnation) {
  for (int attempt = 0; attempt < kMostReads; ++attempt) {
    const std::uint64_t sequence = head.sequence.load(std::memory_order_acquire);
    if (sequence >> 32 != incarnation) return {};
    if ((sequence & 1) != 0) continue;
    Text text;
    text.bytes =
        std::min<std::size_t>(head.bytes.load(std::memory_order_acquire), words.size_bytes());
    for (std::size_t i = 0; i * sizeof(std::uint64_t) < text.bytes; ++i) {
      text.words[i] = words[i].load(std::memory_order_acquire);
    }
    if (head.sequence.load(std::memory_order_relaxed) == sequence) return text;
  }
  return {};
}

Text TextOf(const std::vector<std::string>& strings) {
  Text text;
  auto* const out = reinterpret_cast<char*>(text.words.data());
  for (const std::string& string : strings) {
    std::memcpy(out + text.bytes, string.c_str(), string.size() + 1);
    text.bytes += string.size() + 1;
  }
  return text;
}

}  // namespace

std::size_t SlotTextBytes(const std::vector<std::string>& strings) {
  std::size_t bytes = 0;
  for (const std::string& string : strings) bytes += string.size() + 1;
  return bytes;
}

std::vector<std::string> LoadText(const SlotText& head, std::span<const Word> text,
                                  std::uint32_t incarnation) {
  const Text copy = Load(head, text, incarnation);
  std::vector<std::string> strings;
  for (std::string_view left = copy.view();;) {
    const std::size_t end = left.find('\0');
    if (end == std::string_view::npos) return strings;
    strings.emplace_back(left.substr(0, end));
    left.remove_prefix(end + 1);
  }
}

bool HasText(const SlotText& head, std::span<const Word> text, std::uint32_t incarnation,
             const std::vector<std::string>& strings) {
  return Load(head, text, incarnation).view() == TextOf(strings).view();
}

void StoreText(SlotText& head, std::span<Word> text, std::uint32_t incarnation,
               const std::vector<std::string>& strings) {
  const Text copy = TextOf(strings);
  const std::uint64_t before = head.sequence.load(std::memory_order_relaxed);
  const std::uint32_t changes =
      before >> 32 == incarnation ? static_cast<std::uint32_t>(before) & ~1U : 0;
  const std::uint64_t owner = std::uint64_t{incarnation} << 32;
  head.sequence.store(owner | changes | 1, std::memory_order_relaxed);
  // Each store with release: who sees it sees the odd sequence.
  head.bytes.store(static_cast<std::uint32_t>(copy.bytes), std::memory_order_release);
  head.count.store(static_cast<std::uint32_t>(strings.size()), std::memory_order_release);
  for (std::size_t i = 0; i < text.size(); ++i) {
    text[i].store(copy.words[i], std::memory_order_release);
  }
  IVMQ_CRASH_POINT("text.odd");
  head.sequence.store(owner | static_cast<std::uint32_t>(changes + 2), std::memory_order_release);
}

}  // namespace ivmq
