// A list of strings in a peer's slot: a seqlock that says whose it is, so that a slot's next owner
// does not inherit it. Services and topics stand there.
#ifndef IVMQ_SLOT_TEXT_H_
#define IVMQ_SLOT_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ivmq/internal/layout.h"

namespace ivmq {

// The bytes that these strings take in a slot. REQUIRES: none contains a NUL.
std::size_t SlotTextBytes(const std::vector<std::string>& strings);

// The strings of that life; none while their owner changes them. Anybody may have written them.
std::vector<std::string> LoadText(const layout::SlotText& head, std::span<const layout::Word> text,
                                  std::uint32_t incarnation);

// Whether the slot says exactly these. Does not allocate. REQUIRES: as StoreText().
bool HasText(const layout::SlotText& head, std::span<const layout::Word> text,
             std::uint32_t incarnation, const std::vector<std::string>& strings);

// For the slot's owner, one thread at a time. REQUIRES: SlotTextBytes(strings) <=
// text.size_bytes() <= kTopicTextBytes
void StoreText(layout::SlotText& head, std::span<layout::Word> text, std::uint32_t incarnation,
               const std::vector<std::string>& strings);

}  // namespace ivmq

#endif  // IVMQ_SLOT_TEXT_H_
