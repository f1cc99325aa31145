#include "cli/completion.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

#include "cli/usage.h"

namespace ivmq::cli {
namespace {

constexpr std::array<std::string_view, 5> kPaths = {"FILE", "PATH", "DIR", "FOLDER", "OUT"};

// Where the last word stands.
struct Position {
  const CLI::App* command;
  std::vector<std::string> before;           // all between the command's name and it
  std::vector<std::string> words;            // of those, what is neither an option nor its value
  const CLI::Option* open_option = nullptr;  // it is the value of this one
  bool after_options = false;                // "--" was there
};

const CLI::Option* FindOption(const CLI::App& command, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  for (const CLI::Option* option : OptionsOf(command)) {
    if (option->check_name(name)) return option;
  }
  return nullptr;
}

const CLI::App* FindCommand(const CLI::App& command, const std::string& word) {
  for (const CLI::App* inner : CommandsOf(command)) {
    if (inner->get_name() == word) return inner;
  }
  return nullptr;
}

// REQUIRES: !words.empty()
Position Walk(const CLI::App& app, const std::vector<std::string>& words) {
  Position at{&app, {}, {}};
  int values = 0;  // that the open option still wants
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (values > 0) {
      --values;
    } else if (at.after_options) {
      at.words.push_back(word);
    } else if (word == "--") {
      at.after_options = true;
    } else if (word.starts_with('-')) {
      at.open_option = FindOption(*at.command, word);
      if (at.open_option != nullptr && word.find('=') == std::string::npos) {
        values = at.open_option->get_type_size();
      }
    } else if (const CLI::App* const inner = FindCommand(*at.command, word)) {
      at = {inner, {}, {}};
      continue;
    } else {
      at.words.push_back(word);
    }
    at.before.push_back(word);
  }
  if (values == 0) at.open_option = nullptr;
  return at;
}

bool IsLiteral(std::string_view word) {
  return std::none_of(word.begin(), word.end(), [](unsigned char c) { return std::isupper(c); });
}

class Completer {
 public:
  Completer(const Position& at, std::string begun, const Vocabulary& vocabulary)
      : at_(at), begun_(std::move(begun)), vocabulary_(vocabulary) {}

  Completion Complete() && {
    if (at_.open_option != nullptr) {
      AddKinds(at_.open_option->get_type_name(), "");
    } else if (!at_.after_options && begun_.starts_with('-')) {
      const std::size_t equals = begun_.find('=');
      const CLI::Option* const option = FindOption(*at_.command, begun_);
      if (equals == std::string::npos) {
        AddOptions();
      } else if (option != nullptr) {
        AddKinds(option->get_type_name(), begun_.substr(0, equals + 1));
      }
    } else {
      AddCommands();
      AddWords();
      if (begun_.empty() && completion_.candidates.empty() && !completion_.files) AddOptions();
    }
    return std::move(completion_);
  }

 private:
  void Add(Candidate candidate) {
    if (candidate.word.starts_with(begun_)) completion_.candidates.push_back(std::move(candidate));
  }

  // Of "PEER|all", peers and "all". `prefix`: "--name=" if it stands in the same word.
  void AddKinds(const std::string& kinds, const std::string& prefix) {
    for (const std::string& kind : CLI::detail::split(kinds, '|')) {
      if (std::find(kPaths.begin(), kPaths.end(), kind) != kPaths.end()) {
        completion_.files = true;
      } else if (IsLiteral(kind)) {
        Add({prefix + kind, ""});
      } else if (vocabulary_.values) {
        for (Candidate& value :
             vocabulary_.values(kind, begun_.substr(prefix.size()), at_.before)) {
          // A name may look like an option.
          if (!value.word.starts_with('-')) Add({prefix + value.word, std::move(value.help)});
        }
      }
    }
  }

  void AddOptions() {
    for (const CLI::Option* option : OptionsOf(*at_.command)) {
      Add({NameOf(*option), option->get_description()});
    }
  }

  void AddCommands() {
    for (const CLI::App* inner : CommandsOf(*at_.command)) {
      Add({inner->get_name(), inner->get_description()});
    }
  }

  void AddWords() {
    std::vector<std::string> kinds = WordsOf(*at_.command);
    std::size_t index = at_.words.size();
    if (!kinds.empty() && kinds.front() == "ADDR") {
      if (index == 0) AddKinds("ADDR", "");
      if (index > 0 && vocabulary_.is_address(at_.words.front())) --index;
      kinds.erase(kinds.begin());
    }
    if (index < kinds.size()) AddKinds(kinds[index], "");
  }

  const Position& at_;
  const std::string begun_;
  const Vocabulary& vocabulary_;
  Completion completion_;
};

// Nothing that a shell would do anything about.
bool IsPlain(std::string_view word) {
  static constexpr std::string_view kOthers = "_./:@%+,=-";
  return !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kOthers.find(c) != std::string_view::npos;
  });
}

}  // namespace

Completion Complete(const CLI::App& app, const std::vector<std::string>& words,
                    const Vocabulary& vocabulary) {
  if (words.empty()) return {};
  return Completer(Walk(app, words), words.back(), vocabulary).Complete();
}

std::string TextOf(const Completion& completion) {
  std::string text;
  for (const Candidate& candidate : completion.candidates) {
    if (!IsPlain(candidate.word)) continue;
    const std::string line = candidate.help.substr(0, candidate.help.find_first_of("\t\n"));
    text += line.empty() ? fmt::format("{}\n", candidate.word)
                         : fmt::format("{}\t{}\n", candidate.word, line);
  }
  return completion.files ? text + ":files\n" : text;
}

}  // namespace ivmq::cli
