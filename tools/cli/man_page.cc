#include "cli/man_page.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "cli/usage.h"

namespace ivmq::cli {
namespace {

using Lines = std::vector<std::string>;

constexpr std::size_t kLongestHeading = 30;

// As it is, whatever troff would make of it.
std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '`':
        out += "\\(ga";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string Bold(std::string_view text) { return "\\fB" + Escaped(text) + "\\fR"; }
std::string Italic(std::string_view text) { return "\\fI" + Escaped(text) + "\\fR"; }

// A line cannot begin with a control character.
std::string Line(std::string text) {
  if (text.starts_with('.')) text.insert(0, "\\&");
  return text + "\n";
}

// What stands in backquotes, and options, are bold.
std::string Prose(std::string_view text) {
  std::string out;
  std::size_t at = 0;
  while (at < text.size()) {
    const bool begins_word = at == 0 || text[at - 1] == ' ' || text[at - 1] == '(';
    if (text[at] == '`') {
      const std::size_t end = text.find('`', at + 1);
      if (end != std::string_view::npos) {
        out += Bold(text.substr(at + 1, end - at - 1));
        at = end + 1;
        continue;
      }
    } else if (begins_word && text.substr(at).starts_with("--")) {
      std::size_t end = at;
      while (end < text.size() && (text[end] == '-' || std::isalnum(text[end]) != 0)) ++end;
      out += Bold(text.substr(at, end - at));
      at = end;
      continue;
    }
    out += Escaped(text.substr(at, 1));
    ++at;
  }
  return out;
}

// A usage line: names of commands and options are typed as they are, words in capitals are not.
std::string Usage(std::string_view text) {
  std::string out;
  std::string word;
  const auto end_word = [&] {
    const bool placeholder =
        !word.empty() && !word.starts_with('-') &&
        std::any_of(word.begin(), word.end(), [](unsigned char c) { return std::isupper(c); });
    if (!word.empty()) out += placeholder ? Italic(word) : Bold(word);
    word.clear();
  };
  for (const char c : text) {
    if (c == ' ' || c == '[' || c == ']' || c == '|') {
      end_word();
      out += c;
    } else {
      word += c;
    }
  }
  end_word();
  return out;
}

std::string Section(std::string_view heading) {
  std::string upper(heading.substr(0, heading.find(" (")));
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return ".SH " + Escaped(upper) + "\n";
}

std::string Item(const std::string& term, const std::string& text) {
  return ".TP\n" + Line(term) + Line(text.empty() ? "\\&" : Prose(text));
}

std::size_t Indent(const std::string& line) {
  return std::min(line.find_first_not_of(' '), line.size());
}

// A block of indented lines as pairs of a term and what it means; nothing if it is no such list.
using List = std::vector<std::pair<std::string, std::string>>;
std::optional<List> AsList(const Lines& lines) {
  List list;
  for (const std::string& line : lines) {
    const std::string text = line.substr(Indent(line));
    if (Indent(line) > Indent(lines.front())) {
      if (list.empty()) return std::nullopt;
      list.back().second += (list.back().second.empty() ? "" : " ") + text;
      continue;
    }
    const std::size_t gap = text.find("  ");
    const std::size_t rest = text.find_first_not_of(' ', gap);
    const bool continues = &line != &lines.back() && Indent(*(&line + 1)) > Indent(line);
    if (gap == std::string::npos && !continues) return std::nullopt;
    list.emplace_back(text.substr(0, gap), rest == std::string::npos ? "" : text.substr(rest));
  }
  return list;
}

std::string Indented(const Lines& lines, bool example) {
  const std::optional<List> list = example ? std::nullopt : AsList(lines);
  std::string out;
  if (list) {
    for (const auto& [term, text] : *list) out += Item(Bold(term), text);
    return out;
  }
  out = ".RS 2\n.EX\n";
  for (const std::string& line : lines) {
    out +=
        Line(Escaped(std::string_view(line).substr(std::min(Indent(lines.front()), line.size()))));
  }
  return out + ".EE\n.RE\n";
}

bool IsHeading(const std::string& line) {
  return line.ends_with(':') && line.size() <= kLongestHeading &&
         line.find('.') == std::string::npos;
}

// What stands behind the options; `lines` without those of the list of commands.
std::string Footer(const std::string& text) {
  std::string out;
  bool example = false;
  bool open = false;        // a paragraph
  bool at_heading = false;  // nothing stands behind it yet
  Lines block;
  const auto end_block = [&] {
    if (block.empty()) return;
    out += Indented(block, example);
    block.clear();
    at_heading = false;
  };
  std::istringstream input(text);
  for (std::string line; std::getline(input, line);) {
    if (line.starts_with(' ')) {
      open = false;
      block.push_back(line);
      continue;
    }
    end_block();
    if (line.empty()) {
      open = false;
    } else if (!open && IsHeading(line)) {
      line.pop_back();
      example = line == "Example";
      out += Section(example ? "Examples" : line);
      at_heading = true;
    } else {
      if (!open && !out.empty() && !at_heading) out += ".PP\n";
      open = true;
      at_heading = false;
      out += Line(Prose(line));
    }
  }
  end_block();
  return out;
}

std::string OptionItem(const CLI::Option& option) {
  std::string names;
  for (const std::string& name : option.get_snames()) names += Bold("-" + name) + ", ";
  for (const std::string& name : option.get_lnames()) names += Bold("--" + name) + ", ";
  names.erase(names.size() - 2);
  if (TakesValue(option)) names += " " + Usage(option.get_type_name());
  std::string text = option.get_description();
  if (!option.get_default_str().empty()) text += "; default: " + option.get_default_str();
  return Item(names, text + ".");
}

std::string PageName(const std::string& command) {
  std::string name = command;
  std::replace(name.begin(), name.end(), ' ', '-');
  return name;
}

}  // namespace

std::string FileNameOf(const Page& page) {
  return fmt::format("{}.{}", PageName(page.command), page.section);
}

std::string TextOf(const Page& page, const CLI::App& app) {
  const std::string name = PageName(page.command);
  std::string summary = page.summary.empty() ? app.get_description() : page.summary;
  summary[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(summary[0])));
  std::string upper = name;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::string out =
      "."
      R"(\" Made from the program's help.)"
      "\n";
  out += fmt::format(".TH {} {} {} \"{}\" \"ivmq manual\"\n", Escaped(upper), page.section,
                     page.date, page.version);
  out += ".nh\n.ad l\n";  // names of options are not to be cut
  out += fmt::format(".SH NAME\n{} \\- {}\n", Escaped(name), Escaped(summary));
  out += ".SH SYNOPSIS\n" + Line(Bold(page.command) + " " + Usage(UsageOf(app)));

  std::string text = Footer(app.get_footer());
  if (!page.summary.empty()) text = Line(Prose(app.get_description())) + text;
  // Paragraphs come before the options, sections behind them.
  const std::size_t sections = std::min(text.find(".SH "), text.size());
  if (sections > 0) out += ".SH DESCRIPTION\n" + text.substr(0, sections);
  const std::vector<const CLI::App*> commands = CommandsOf(app);
  if (!commands.empty()) {
    out += ".SH COMMANDS\n";
    for (const CLI::App* command : commands) {
      out += Item(Bold(name + "-" + command->get_name()) + "(1)", command->get_description() + ".");
    }
  }
  out += ".SH OPTIONS\n";
  for (const CLI::Option* option : OptionsOf(app)) out += OptionItem(*option);
  out += text.substr(sections);
  out += ".SH SEE ALSO\n";
  for (std::size_t i = 0; i < page.see_also.size(); ++i) {
    const std::string& other = page.see_also[i];
    const std::size_t section = other.find('(');
    out += Line(Bold(other.substr(0, section)) + other.substr(section) +
                (i + 1 < page.see_also.size() ? "," : ""));
  }
  return out;
}

}  // namespace ivmq::cli
