// Completion of a program's command line in a shell. The script that a shell loads knows nothing: it
// asks the program, which knows its commands and options, and what may stand for a word.
#ifndef IVMQ_TOOLS_CLI_COMPLETION_H_
#define IVMQ_TOOLS_CLI_COMPLETION_H_

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace ivmq::cli {

struct Candidate {
  std::string word;
  std::string help;  // may be empty
};

struct Completion {
  std::vector<Candidate> candidates;
  bool files = false;  // or a path, which the shell knows to complete itself
};

// What a program knows of its own words.
struct Vocabulary {
  // The word that the usage line calls [ADDR] may be left out: whether this is one.
  std::function<bool(const std::string& word)> is_address;
  // What may stand for what the help calls `kind` ("ADDR", "PEER"). `begun`: what is typed of it;
  // `before`: the words and options between the command and it.
  std::function<std::vector<Candidate>(std::string_view kind, const std::string& begun,
                                       const std::vector<std::string>& before)>
      values;
};

// How the last of `words` may go on, which follow the program's name; it may be empty.
Completion Complete(const CLI::App& app, const std::vector<std::string>& words,
                    const Vocabulary& vocabulary);

// For the scripts: a line for each candidate, its help behind a tab, and ":files" for a path. A
// candidate may have been chosen by a stranger, and the shell would read it as if the user had typed
// it; so those that are more than plain words are left out.
std::string TextOf(const Completion& completion);

// The script for bash, zsh or fish; nothing for another shell. `ask` is the command that prints
// TextOf() when the words are put behind it.
std::optional<std::string> CompletionScript(std::string_view shell, std::string_view program,
                                            std::string_view ask);

}  // namespace ivmq::cli

#endif  // IVMQ_TOOLS_CLI_COMPLETION_H_
