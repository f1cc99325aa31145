#include "command.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "ivmq/address.h"
#include "ivmq/internal/peer_table.h"

namespace ivmq::tool {
namespace {

constexpr std::array<std::string_view, 6> kSchemes = {
    "unix:", "shm:", "file:", "ivmq:", "vfio:", "pci:"};
constexpr const char* kAuto = "auto";

// CLI11's help with the usage line and the words as this tool writes them.
class Formatter : public CLI::Formatter {
 public:
  explicit Formatter(std::string usage) : usage_(std::move(usage)) { column_width(26); }

  std::string make_usage(const CLI::App* /*app*/, std::string name) const override {
    return fmt::format("\nUsage: {} {}\n", name, usage_);
  }
  std::string make_positionals(const CLI::App* /*app*/) const override { return ""; }

 private:
  std::string usage_;
};

std::string NoAddress(const std::string& word) {
  std::string hint;
  if (word.starts_with('/') || word.starts_with('.')) {
    hint = fmt::format("; a server's socket is unix:{0}, a file is file:{0}", word);
  }
  return fmt::format(
      "'{}' is no address: an address begins with unix:, shm:, file:, ivmq:, vfio: or pci:, or is "
      "'auto'{}",
      word, hint);
}

// Takes the address off the front of `words`.
std::string TakeAddress(const CommandText& text, const std::string& option,
                        std::vector<std::string>* words) {
  const bool first = !words->empty() && IsAddress(words->front());
  if (first && !option.empty()) {
    WrongUsage(fmt::format("two addresses: '{}' and --address {}", words->front(), option));
  }
  if (first) {
    std::string address = std::move(words->front());
    words->erase(words->begin());
    return address == kAuto ? DefaultAddress() : address;
  }
  if (words->size() > text.max_words) WrongUsage(NoAddress(words->front()));
  return option.empty() || option == kAuto ? DefaultAddress() : option;
}

void CheckCount(const CommandText& text, const std::vector<std::string>& words) {
  if (words.size() < text.min_words) {
    WrongUsage(fmt::format("too few arguments; needed: {}", text.words));
  }
  if (words.size() > text.max_words) {
    WrongUsage(fmt::format("unexpected argument '{}'", words[text.max_words]));
  }
}

std::optional<std::chrono::nanoseconds> ParseDuration(const std::string& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  if (error != std::errc() || !(value >= 0)) return std::nullopt;
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  constexpr std::array<std::pair<std::string_view, double>, 7> kUnits = {
      {{"", 1e9}, {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}}};
  const auto* const found = std::find_if(kUnits.begin(), kUnits.end(),
                                         [unit](const auto& known) { return known.first == unit; });
  // Up to 100 years, so that a deadline can be computed from it.
  if (found == kUnits.end() || value * found->second > 3.15e18) return std::nullopt;
  return std::chrono::nanoseconds(std::llround(value * found->second));
}

CLI::App* AddSubcommand(CLI::App& app, const CommandText& text, const std::string& usage,
                        std::vector<std::string>* words) {
  CLI::App* const command = app.add_subcommand(text.name, text.summary)->group("Commands");
  command->formatter(std::make_shared<Formatter>(usage));
  command->footer(text.footer);
  command->add_option("WORDS", *words);
  return command;
}

}  // namespace

bool IsAddress(const std::string& word) {
  return word == kAuto || std::any_of(kSchemes.begin(), kSchemes.end(),
                                      [&](auto scheme) { return word.starts_with(scheme); });
}

std::string DefaultAddress() {
  const char* const chosen = std::getenv("IVMQ_ADDRESS");
  return chosen == nullptr || *chosen == '\0' ? kAuto : chosen;
}

CLI::App* AddCommand(CLI::App& app, int* exit_code, const CommandText& text, Run run) {
  struct Input {
    std::string address;
    std::vector<std::string> words;
  };
  const auto input = std::make_shared<Input>();
  const std::string usage =
      text.words.empty() ? "[ADDR] [OPTIONS]" : fmt::format("[ADDR] {} [OPTIONS]", text.words);
  CLI::App* const command = AddSubcommand(app, text, usage, &input->words);
  command
      ->add_option("--address", input->address,
                   "The region, if ADDR is omitted; default: $IVMQ_ADDRESS, else auto")
      ->type_name("ADDR");
  command->callback([=, run = std::move(run)] {
    const std::string address = TakeAddress(text, input->address, &input->words);
    CheckCount(text, input->words);
    *exit_code = run(address, input->words);
  });
  return command;
}

CLI::App* AddPlainCommand(CLI::App& app, int* exit_code, const CommandText& text,
                          std::function<int(const std::vector<std::string>& words)> run) {
  const auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* const command =
      AddSubcommand(app, text, fmt::format("{} [OPTIONS]", text.words), words.get());
  command->callback([=, run = std::move(run)] {
    CheckCount(text, *words);
    *exit_code = run(*words);
  });
  return command;
}

void AddDuration(CLI::App* command, const std::string& name,
                 std::optional<std::chrono::nanoseconds>* duration, const std::string& help) {
  command
      ->add_option_function<std::string>(
          name,
          [duration, name](const std::string& text) {
            *duration = ParseDuration(text);
            if (duration->has_value()) return;
            WrongUsage(fmt::format("{}: '{}' is not a duration; use seconds, or 500ms, 20us, 2m",
                                   name, text));
          },
          help)
      ->type_name("TIME");
}

void AddSize(CLI::App* command, const std::string& name, std::uint64_t* size,
             const std::string& help) {
  command
      ->add_option_function<std::string>(
          name,
          [size, name](const std::string& text) {
            const auto parsed = ParseSize(text);
            if (!parsed.ok()) WrongUsage(fmt::format("{}: {}", name, parsed.status().message()));
            *size = *parsed;
          },
          help)
      ->type_name("SIZE");
}

void AddMode(CLI::App* command, const std::string& name, std::optional<std::uint32_t>* mode,
             const std::string& help) {
  command
      ->add_option_function<std::string>(
          name,
          [mode, name](const std::string& text) {
            constexpr std::uint32_t kMost = 0777;
            std::uint32_t value = 0;
            const char* const end = text.data() + text.size();
            const auto [stop, error] = std::from_chars(text.data(), end, value, 8);
            if (error != std::errc() || stop != end || value > kMost) {
              WrongUsage(fmt::format("{}: '{}' is not an octal number from 0 to 0777", name, text));
            }
            *mode = value;
          },
          help)
      ->type_name("MODE");
}

CLI::Option* AddPeerName(CLI::App* command, std::string* name) {
  return command
      ->add_option_function<std::string>(
          "--name",
          [name](const std::string& text) {
            if (const Status status = CheckName(text); !status.ok()) {
              WrongUsage("--name: " + status.message());
            }
            *name = text;
          },
          "Name of this peer (anonymous-...)")
      ->type_name("NAME");
}

void WrongUsage(const std::string& message) { throw CLI::ValidationError(message); }

std::optional<std::uint64_t> ParseNumber(const std::string& text, std::uint64_t max) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end || text.empty() || value > max) return std::nullopt;
  return value;
}

}  // namespace ivmq::tool
