// The catalogue: what can be wrong, why, and what to do about it. `ivmq doctor` and `ivmq explain` say
// what stands here, and docs/troubleshooting.md is made from it.
#ifndef IVMQ_TOOLS_IVMQ_CATALOGUE_H_
#define IVMQ_TOOLS_IVMQ_CATALOGUE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ivmq::tool {

// What somebody sees first.
enum class Symptom : std::uint8_t {
  kCannotOpen,
  kServer,
  kDevice,
  kNothingArrives,
  kSlow,
  kLost,
  kStatus,
};

struct Entry {
  std::string_view id;  // never changes its meaning: pages and scripts name it
  Symptom symptom;
  std::string_view meaning;  // one sentence, as a title
  std::string_view why;
  std::string_view remedy;
  // Parts of the messages that mean this; "*" stands for any text.
  std::array<std::string_view, 6> messages{};
};

// In the order of their symptoms.
std::span<const Entry> Catalogue();

// "A program cannot open its region".
std::string_view SymptomText(Symptom symptom);

// nullptr: there is none.
const Entry* FindEntry(std::string_view id);

// The entry whose message `text` is, or contains; of several, the one with most of it. nullptr: none.
const Entry* EntryOfMessage(std::string_view text);

// The entries that have the words of `text`, the closest first; at most `most`.
std::vector<const Entry*> EntriesLike(std::string_view text, std::size_t most);

// docs/troubleshooting.md.
std::string CatalogueAsMarkdown();

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_CATALOGUE_H_
