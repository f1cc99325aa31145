#include "cli/wrong_word.h"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

#include "cli/usage.h"

namespace ivmq::cli {
namespace {

// How many letters have to be inserted, removed, replaced or swapped with their neighbour.
std::size_t Slips(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> slips(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      std::size_t& here = slips[i][j];
      if (i == 0 || j == 0) {
        here = i + j;
        continue;
      }
      here = std::min({slips[i - 1][j] + 1, slips[i][j - 1] + 1,
                       slips[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        here = std::min(here, slips[i - 2][j - 2] + 1);
      }
    }
  }
  return slips[a.size()][b.size()];
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* const command : CommandsOf(app)) names.push_back(command->get_name());
  return names;
}

std::vector<std::string> OptionNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* const option : OptionsOf(app)) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// The commands that were given, from the program down.
std::vector<const CLI::App*> GivenCommands(const CLI::App& app) {
  std::vector<const CLI::App*> given{&app};
  for (auto below = app.get_subcommands(); !below.empty();
       below = below.front()->get_subcommands()) {
    given.push_back(below.front());
  }
  return given;
}

}  // namespace

std::string ClosestTo(std::string_view typed, const std::vector<std::string>& words) {
  std::string closest;
  std::size_t fewest = std::max<std::size_t>(typed.size() / 3, 1) + 1;
  for (const std::string& word : words) {
    const std::size_t slips = Slips(typed, word);
    // All letters of a short word replaced is another word.
    if (slips >= fewest || slips >= word.size()) continue;
    closest = word;
    fewest = slips;
  }
  return closest;
}

std::optional<WrongWord> FindWrongWord(const CLI::App& app) {
  std::string name;
  for (const CLI::App* const command : GivenCommands(app)) {
    name += (name.empty() ? "" : " ") + command->get_name();
    const std::vector<std::string> unknown = command->remaining();
    if (unknown.empty()) continue;
    WrongWord wrong{unknown.front(), "", name, unknown.front().starts_with('-')};
    // Of a command that takes words of its own, a word is one too many.
    if (!wrong.is_option && CommandNames(*command).empty()) return std::nullopt;
    if (wrong.is_option) wrong.typed.erase(std::min(wrong.typed.find('='), wrong.typed.size()));
    wrong.meant =
        ClosestTo(wrong.typed, wrong.is_option ? OptionNames(*command) : CommandNames(*command));
    return wrong;
  }
  return std::nullopt;
}

std::string UsageError(const CLI::App& app, const CLI::ParseError& error) {
  std::string name;
  for (const CLI::App* const command : GivenCommands(app)) {
    name += (name.empty() ? "" : " ") + command->get_name();
  }
  if (const auto wrong = FindWrongWord(app)) {
    return fmt::format("'{}' is no {} of {}; {}ee `{} --help`", wrong->typed,
                       wrong->is_option ? "option" : "command", wrong->command,
                       wrong->meant.empty() ? "s" : fmt::format("did you mean {}? S", wrong->meant),
                       wrong->command);
  }
  if (GivenCommands(app).back()->get_require_subcommand_min() != 0) {
    return fmt::format("no command given; see `{} --help`", name);
  }
  const std::string command = name.substr(std::min(name.find(' '), name.size() - 1) + 1);
  return fmt::format("{}{}; see `{} --help`",
                     name == command || command.empty() ? "" : command + ": ", error.what(), name);
}

}  // namespace ivmq::cli
