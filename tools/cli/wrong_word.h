// What is wrong with a command line: the word that no command or option has, and what was meant.
#ifndef IVMQ_TOOLS_CLI_WRONG_WORD_H_
#define IVMQ_TOOLS_CLI_WRONG_WORD_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace ivmq::cli {

// The one of `words` that `typed` is a slip of: a letter too many, missing, wrong or swapped, in
// each three letters at most. Of several as close, the first. Empty: none is.
std::string ClosestTo(std::string_view typed, const std::vector<std::string>& words);

struct WrongWord {
  std::string typed;    // without a value behind "="
  std::string meant;    // empty: nothing is close
  std::string command;  // that does not know it: "ivmq", "ivmq topic"
  bool is_option = false;
};

// The first word that `app`, which has failed to parse, does not know.
std::optional<WrongWord> FindWrongWord(const CLI::App& app);

// One line for the user: that word, or what `error` says; with the command whose help shows more.
std::string UsageError(const CLI::App& app, const CLI::ParseError& error);

}  // namespace ivmq::cli

#endif  // IVMQ_TOOLS_CLI_WRONG_WORD_H_
