#include "cli/usage.h"

#include <algorithm>
#include <sstream>
#include <string_view>

namespace ivmq::cli {

std::string UsageOf(const CLI::App& command) {
  const std::string start = "Usage: " + command.get_name() + " ";
  std::istringstream help(command.help());
  for (std::string line; std::getline(help, line);) {
    if (line.starts_with(start)) return line.substr(start.size());
  }
  return "";
}

std::vector<std::string> WordsOf(const CLI::App& command) {
  std::string usage = UsageOf(command);
  std::erase_if(usage, [](char c) { return c == '[' || c == ']'; });
  std::vector<std::string> words;
  std::istringstream input(usage);
  for (std::string word; input >> word;) {
    if (word.starts_with('-')) {
      input >> word;  // a required option and its value
    } else if (word != "OPTIONS") {
      words.push_back(word);
    }
  }
  return words;
}

std::vector<const CLI::Option*> OptionsOf(const CLI::App& command) {
  return command.get_options([](const CLI::Option* option) {
    return option->nonpositional() && !option->get_group().empty();
  });
}

std::vector<const CLI::App*> CommandsOf(const CLI::App& command) {
  return command.get_subcommands([](const CLI::App* inner) { return !inner->get_group().empty(); });
}

std::string NameOf(const CLI::Option& option) {
  return option.get_lnames().empty() ? "-" + option.get_snames().front()
                                     : "--" + option.get_lnames().front();
}

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

}  // namespace ivmq::cli
