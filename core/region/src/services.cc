#include "src/services.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/str_cat.h"

namespace ivmq {
namespace {

// Who changes them says so afterwards, so that readers look again.
constexpr int kMostReads = 4;

// The text of a slot.
struct ServiceText {
  std::array<std::uint64_t, layout::kServiceTextBytes / sizeof(std::uint64_t)> words{};
  std::size_t bytes = 0;

  [[nodiscard]] std::string_view view() const noexcept {
    return {reinterpret_cast<const char*>(words.data()), bytes};
  }
};

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// protoc takes no other: identifiers with dots between them.
bool IsServiceName(std::string_view name) {
  char before = '.';
  for (const char c : name) {
    const bool valid =
        before == '.' ? IsLetter(c) : IsLetter(c) || (c >= '0' && c <= '9') || c == '.';
    if (!valid) return false;
    before = c;
  }
  return before != '.';
}

// Empty unless it is of that life and stands still.
ServiceText Load(const layout::PeerSlot& slot, std::uint32_t incarnation) {
  for (int attempt = 0; attempt < kMostReads; ++attempt) {
    const std::uint64_t sequence = slot.services_sequence.load(std::memory_order_acquire);
    if (sequence >> 32 != incarnation) return {};
    if ((sequence & 1) != 0) continue;
    ServiceText text;
    text.bytes = std::min<std::size_t>(slot.services_bytes.load(std::memory_order_acquire),
                                       layout::kServiceTextBytes);
    for (std::size_t i = 0; i * sizeof(std::uint64_t) < text.bytes; ++i) {
      text.words[i] = slot.services_text[i].load(std::memory_order_acquire);
    }
    if (slot.services_sequence.load(std::memory_order_relaxed) == sequence) return text;
  }
  return {};
}

// REQUIRES: CheckServices(services).ok()
ServiceText TextOf(const std::vector<std::string>& services) {
  ServiceText text;
  auto* const out = reinterpret_cast<char*>(text.words.data());
  for (const std::string& name : services) {
    std::memcpy(out + text.bytes, name.c_str(), name.size() + 1);
    text.bytes += name.size() + 1;
  }
  return text;
}

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> names;
  for (;;) {
    const std::size_t end = text.find('\0');
    if (end == std::string_view::npos) return names;
    if (const std::string_view name = text.substr(0, end); IsServiceName(name)) {
      names.emplace_back(name);
    }
    text.remove_prefix(end + 1);
  }
}

}  // namespace

Status CheckServices(const std::vector<std::string>& services) {
  std::size_t bytes = 0;
  for (auto name = services.begin(); name != services.end(); ++name) {
    if (!IsServiceName(*name)) {
      return {StatusCode::kInvalidArgument,
              StrCat("'", *name, "' is not the full name of a service, such as pkg.Echo")};
    }
    if (std::find(services.begin(), name, *name) != name) {
      return {StatusCode::kInvalidArgument, StrCat("the service ", *name, " is offered twice")};
    }
    bytes += name->size() + 1;
  }
  if (bytes > layout::kServiceTextBytes) {
    return {StatusCode::kResourceExhausted,
            StrCat("the names of ", services.size(), " services take ", bytes,
                   " bytes, with a NUL after each; a peer's slot has room for ",
                   layout::kServiceTextBytes, "; offer some of them through another peer")};
  }
  return {};
}

std::vector<std::string> LoadServices(const layout::PeerSlot& slot, std::uint32_t incarnation) {
  return Split(Load(slot, incarnation).view());
}

bool HasServices(const layout::PeerSlot& slot, std::uint32_t incarnation,
                 const std::vector<std::string>& services) {
  return Load(slot, incarnation).view() == TextOf(services).view();
}

void StoreServices(layout::PeerSlot& slot, std::uint32_t incarnation,
                   const std::vector<std::string>& services) {
  const ServiceText text = TextOf(services);
  const std::uint64_t before = slot.services_sequence.load(std::memory_order_relaxed);
  const std::uint32_t changes =
      before >> 32 == incarnation ? static_cast<std::uint32_t>(before) & ~1U : 0;
  const std::uint64_t owner = std::uint64_t{incarnation} << 32;
  slot.services_sequence.store(owner | changes | 1, std::memory_order_relaxed);
  // Each store with release: who sees it sees the odd sequence.
  slot.services_bytes.store(static_cast<std::uint32_t>(text.bytes), std::memory_order_release);
  slot.services_count.store(static_cast<std::uint32_t>(services.size()), std::memory_order_release);
  for (std::size_t i = 0; i < text.words.size(); ++i) {
    slot.services_text[i].store(text.words[i], std::memory_order_release);
  }
  slot.services_sequence.store(owner | static_cast<std::uint32_t>(changes + 2),
                               std::memory_order_release);
}

}  // namespace ivmq
