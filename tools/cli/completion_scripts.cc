// The scripts that shells load. PROGRAM and ASK stand for the arguments of CompletionScript().
#include <array>
#include <cstddef>
#include <utility>

#include "cli/completion.h"

namespace ivmq::cli {
namespace {

// bash cuts words at ':' and '=', and inserts only what is behind the last of them.
constexpr std::string_view kBash = R"(# Completion of PROGRAM for bash: source this file.
_PROGRAM() {
  local words=() word glue=no line path
  for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ ${#words[@]} -gt 0 && -n $word && ( $word =~ ^[:=]+$ || $glue = yes ) ]]; then
      words[${#words[@]}-1]+=$word
    else
      words+=("$word")
    fi
    [[ $word =~ ^[:=]+$ ]] && glue=yes || glue=no
  done
  word=${words[${#words[@]}-1]}
  local cut=${word%"${word##*[:=]}"}
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ $line = :files ]]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r path; do
        COMPREPLY+=("$path")
      done < <(compgen -f -- "${word#"$cut"}")
    else
      line=${line%%$'\t'*}
      COMPREPLY+=("${line#"$cut"}")
      [[ $line != *[:=/] ]] || compopt -o nospace 2>/dev/null
    fi
  done < <(ASK "${words[@]}" 2>/dev/null)
}
complete -F _PROGRAM PROGRAM
)";

constexpr std::string_view kZsh = R"(#compdef PROGRAM
# Completion of PROGRAM for zsh: a file _PROGRAM in a folder of $fpath, or source it after compinit.
_PROGRAM() {
  local line word help
  local -a ended texts begun begun_texts
  for line in "${(@f)$(ASK "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
    word=${line%%$'\t'*}
    help=${line#*$'\t'}
    [[ $help = $line ]] && help=$word || help="$word  -- $help"
    case $word in
      '') ;;
      :files)
        compset -P '--*='
        _files
        ;;
      *[:=/])
        begun+=("$word")
        begun_texts+=("$help")
        ;;
      *)
        ended+=("$word")
        texts+=("$help")
        ;;
    esac
  done
  (( ! $#ended )) || compadd -l -d texts -a ended
  (( ! $#begun )) || compadd -S '' -l -d begun_texts -a begun
}
if [[ $funcstack[1] = _PROGRAM ]]; then
  _PROGRAM "$@"
else
  compdef _PROGRAM PROGRAM
fi
)";

constexpr std::string_view kFish = R"(# Completion of PROGRAM for fish: source this file.
function __PROGRAM_words
    set -l words (commandline -opc)
    set -l begun (commandline -ct)
    set -e words[1]
    for line in (ASK $words "$begun" 2>/dev/null)
        if test "$line" = :files
            set -l option (string match -r -- '^--[^=]*=' $begun)
            for path in (__fish_complete_path (string replace -- "$option" '' $begun))
                echo "$option$path"
            end
        else
            echo $line
        end
    end
end
complete -c PROGRAM -f -a '(__PROGRAM_words)'
)";

std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

std::optional<std::string> CompletionScript(std::string_view shell, std::string_view program,
                                            std::string_view ask) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kScripts = {
      {{"bash", kBash}, {"zsh", kZsh}, {"fish", kFish}}};
  for (const auto& [name, script] : kScripts) {
    if (name == shell) {
      return Replaced(Replaced(std::string(script), "PROGRAM", program), "ASK", ask);
    }
  }
  return std::nullopt;
}

}  // namespace ivmq::cli
