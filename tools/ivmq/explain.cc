// ivmq explain: what a message means, and what to do about it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "catalogue.h"
#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "output.h"
#include "table.h"
#include "text.h"

namespace ivmq::tool {
namespace {

constexpr const char* kExplainFooter =
    R"(WHAT is the id in square brackets behind a message, a message or a part of it, the number
of an exit status, or a few words. Without WHAT: all ids, by what one sees first. Messages of
ivmqd and of programs that use ivmq are known as well.

Example:
  ivmq explain not-formatted
  ivmq explain 'shm:/x: there is no such file; make one with ...'
  ivmq explain 4)";

struct ExplainFlags {
  bool json = false;
  bool markdown = false;
};

Json EntryJson(const Entry& entry) {
  return {{"id", entry.id},
          {"symptom", SymptomText(entry.symptom)},
          {"meaning", entry.meaning},
          {"why", entry.why},
          {"remedy", entry.remedy}};
}

std::string EntryText(const Entry& entry) {
  Table table({{.title = ""}, {.title = ""}});
  table.AddRow({"why", std::string(entry.why)});
  table.AddRow({"remedy", std::string(entry.remedy)});
  constexpr std::size_t kWidth = 80;
  return fmt::format("{}: {}\n{}", entry.id, entry.meaning, table.Render(kWidth));
}

int List(bool json) {
  Json list = Json::array();
  std::string text;
  const Entry* last = nullptr;
  std::size_t widest = 0;
  for (const Entry& entry : Catalogue()) widest = std::max(widest, entry.id.size());
  for (const Entry& entry : Catalogue()) {
    list.push_back(EntryJson(entry));
    if (last == nullptr || last->symptom != entry.symptom) {
      text += fmt::format("{}{}\n", last == nullptr ? "" : "\n", SymptomText(entry.symptom));
    }
    text += fmt::format("  {:<{}}  {}\n", entry.id, widest, entry.meaning);
    last = &entry;
  }
  Print(json ? JsonText({{"entries", std::move(list)}}) : text);
  return kExitOk;
}

// The entry of the exit status `code`.
const Entry* EntryOfStatus(std::uint64_t code) {
  const std::uint64_t first = kExitCallStatus;
  if (code > first && code <= first + StatusCode::kUnauthenticated) {
    return FindEntry("exit-65-80");
  }
  return FindEntry(fmt::format("exit-{}", code));
}

const Entry* Find(const std::string& what) {
  if (const Entry* const entry = FindEntry(what)) return entry;
  // As it stands behind a message.
  if (what.starts_with('[') && what.ends_with(']')) {
    if (const Entry* const entry = FindEntry(what.substr(1, what.size() - 2))) return entry;
  }
  constexpr std::uint64_t kLargestStatus = 255;
  if (const auto code = ParseNumber(what, kLargestStatus)) return EntryOfStatus(*code);
  if (const std::size_t id = what.rfind(" ["); id != std::string::npos && what.ends_with(']')) {
    if (const Entry* const entry = FindEntry(what.substr(id + 2, what.size() - id - 3)))
      return entry;
  }
  return EntryOfMessage(what);
}

int RunExplain(const ExplainFlags& flags, const std::vector<std::string>& words) {
  if (flags.markdown) {
    if (!words.empty()) WrongUsage("--markdown prints all entries");
    Print(CatalogueAsMarkdown());
    return kExitOk;
  }
  if (words.empty()) return List(flags.json);
  // A message need not be quoted.
  const std::string what = fmt::format("{}", fmt::join(words, " "));
  if (const Entry* const entry = Find(what)) {
    Print(flags.json ? JsonText(EntryJson(*entry)) : EntryText(*entry));
    return kExitOk;
  }
  constexpr std::size_t kMostLike = 5;
  std::string like;
  for (const Entry* const entry : EntriesLike(what, kMostLike)) {
    like += fmt::format("{}{}", like.empty() ? "" : ", ", entry->id);
  }
  Complain(fmt::format("nothing is known of '{}'; {}", what,
                       like.empty() ? "`ivmq explain` lists what is" : "perhaps: " + like));
  return kExitNotFound;
}

}  // namespace

void AddExplain(CLI::App& app, int* exit_code) {
  const auto flags = std::make_shared<ExplainFlags>();
  constexpr std::size_t kMostWords = 1000;
  CLI::App* const command = AddPlainCommand(
      app, exit_code,
      {.name = "explain",
       .summary = "Say what a message or an exit status means, and what to do",
       .words = "[WHAT]",
       .max_words = kMostWords,
       .footer = kExplainFooter},
      [flags](const std::vector<std::string>& words) { return RunExplain(*flags, words); });
  command->add_flag("--json", flags->json, "Print JSON");
  command->add_flag("--markdown", flags->markdown, "Print all entries as a page");
}

}  // namespace ivmq::tool
