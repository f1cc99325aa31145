#include "catalogue.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "catalogue_entries.h"

namespace ivmq::tool {
namespace {

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

// How many letters of `pattern` stand in `text`, in this order; 0: not all do. In lower case.
std::size_t Match(std::string_view pattern, std::string_view text) {
  std::size_t letters = 0;
  while (!pattern.empty()) {
    const std::string_view part = pattern.substr(0, pattern.find('*'));
    const std::size_t at = text.find(part);
    if (at == std::string_view::npos) return 0;
    letters += part.size();
    text.remove_prefix(at + part.size());
    pattern.remove_prefix(std::min(part.size() + 1, pattern.size()));
  }
  return letters;
}

// Those of three letters or more, in lower case.
std::set<std::string> WordsOf(std::string_view text) {
  constexpr std::size_t kShortest = 3;
  std::set<std::string> words;
  std::string word;
  for (const char c : Lower(text) + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      word += c;
      continue;
    }
    if (word.size() >= kShortest) words.insert(word);
    word.clear();
  }
  return words;
}

std::set<std::string> WordsOf(const Entry& entry) {
  std::string text = fmt::format("{} {} {}", entry.id, entry.meaning, entry.why);
  for (const std::string_view message : entry.messages) text += fmt::format(" {}", message);
  return WordsOf(text);
}

}  // namespace

std::span<const Entry> Catalogue() { return kCatalogue; }

std::string_view SymptomText(Symptom symptom) {
  switch (symptom) {
    case Symptom::kCannotOpen:
      return "A program cannot open its region";
    case Symptom::kServer:
      return "ivmqd does not start, or refuses somebody";
    case Symptom::kDevice:
      return "A guest does not find or use its device";
    case Symptom::kNothingArrives:
      return "Messages or calls do not arrive";
    case Symptom::kSlow:
      return "It works, but slowly, or takes much processor time";
    case Symptom::kLost:
      return "Something is lost, or a program ends";
    case Symptom::kStatus:
      return "A command ends with another status than 0";
  }
  return "";
}

const Entry* FindEntry(std::string_view id) {
  const auto* const found = std::find_if(std::begin(kCatalogue), std::end(kCatalogue),
                                         [id](const Entry& entry) { return entry.id == id; });
  return found == std::end(kCatalogue) ? nullptr : found;
}

const Entry* EntryOfMessage(std::string_view text) {
  const std::string lower = Lower(text);
  const Entry* best = nullptr;
  std::size_t most = 0;
  for (const Entry& entry : kCatalogue) {
    for (const std::string_view message : entry.messages) {
      const std::size_t letters = Match(Lower(message), lower);
      if (letters <= most) continue;
      most = letters;
      best = &entry;
    }
  }
  return best;
}

std::vector<const Entry*> EntriesLike(std::string_view text, std::size_t most) {
  // A word that many entries have says little.
  std::map<std::string, double> rarity;
  for (const Entry& entry : kCatalogue) {
    for (const std::string& word : WordsOf(entry)) rarity[word] += 1;
  }
  for (auto& [word, value] : rarity) {
    value = std::log(1 + static_cast<double>(std::size(kCatalogue)) / value);
  }
  std::vector<std::pair<double, const Entry*>> found;
  for (const Entry& entry : kCatalogue) {
    const std::set<std::string> words = WordsOf(entry);
    double score = 0;
    for (const std::string& word : WordsOf(text)) {
      if (words.contains(word)) score += rarity[word];
    }
    if (score > 0) found.emplace_back(score, &entry);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<const Entry*> entries;
  for (const auto& [score, entry] : found) {
    if (entries.size() < most) entries.push_back(entry);
  }
  return entries;
}

std::string CatalogueAsMarkdown() {
  std::string page =
      "# Troubleshooting\n\n"
      "`ivmq doctor` looks at devices, servers and regions, and names what is wrong. It and the "
      "other "
      "commands put the id of an entry of this page behind what they say, in square brackets; "
      "`ivmq "
      "explain ID` shows the entry, and `ivmq explain 'TEXT OF A MESSAGE'` finds it. This page is "
      "that "
      "catalogue, by what one sees first.\n";
  const Entry* last = nullptr;
  for (const Entry& entry : kCatalogue) {
    if (last == nullptr || last->symptom != entry.symptom) {
      page += fmt::format("\n## {}\n", SymptomText(entry.symptom));
    }
    last = &entry;
    page += fmt::format("\n### {}\n\n{} {}\n\n**What to do.** {}\n", entry.id, entry.meaning,
                        entry.why, entry.remedy);
    std::string messages;
    for (const std::string_view text : entry.messages) {
      if (text.empty()) continue;
      std::string message(text);
      for (std::size_t at = 0; (at = message.find('*', at)) != std::string::npos; at += 3) {
        message.replace(at, 1, "...");
      }
      messages += fmt::format("{}`{}`", messages.empty() ? "" : ", ", message);
    }
    if (!messages.empty()) page += fmt::format("\nMessages: {}\n", messages);
  }
  return page;
}

}  // namespace ivmq::tool
