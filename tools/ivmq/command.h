// What all commands have in common: an optional address in front of their own words, and options.
#ifndef IVMQ_TOOLS_IVMQ_COMMAND_H_
#define IVMQ_TOOLS_IVMQ_COMMAND_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ivmq::tool {

// True for what is taken as an address rather than as a word of the command: "auto", or one of the
// schemes that reach another process.
bool IsAddress(const std::string& word);

// What "auto" and no address at all stand for: $IVMQ_ADDRESS, or "auto".
std::string DefaultAddress();

struct CommandText {
  std::string name;
  std::string summary;  // one line, for the list of commands
  std::string words;    // behind the address, as the usage line shows them, e.g. "PEER [VECTOR]"
  std::size_t min_words = 0;
  std::size_t max_words = 0;
  std::string footer;  // explanations and an example
};

// Gets the address and the words behind it; returns the exit status.
using Run = std::function<int(const std::string& address, const std::vector<std::string>& words)>;

// Adds a command that takes an address: in front of its words, by --address, from $IVMQ_ADDRESS, or
// "auto". `exit_code` gets what `run` returns. A CLI::ParseError thrown by `run` is wrong usage.
CLI::App* AddCommand(CLI::App& app, int* exit_code, const CommandText& text, Run run);

// The same for a command whose words do not start with an address.
CLI::App* AddPlainCommand(CLI::App& app, int* exit_code, const CommandText& text,
                          std::function<int(const std::vector<std::string>& words)> run);

// "10", "1.5", "500ms", "20us", "2m": seconds if there is no unit.
void AddDuration(CLI::App* command, const std::string& name,
                 std::optional<std::chrono::nanoseconds>* duration, const std::string& help);

// "64", "64K", "64M".
void AddSize(CLI::App* command, const std::string& name, std::uint64_t* size,
             const std::string& help);

// Permissions in octal, "0660", of 0 to 0777.
void AddMode(CLI::App* command, const std::string& name, std::optional<std::uint32_t>* mode,
             const std::string& help);

// "--name NAME": the name by which the command joins a region. Without it, it gets one of its own.
CLI::Option* AddPeerName(CLI::App* command, std::string* name);

// Throws a CLI::ValidationError.
[[noreturn]] void WrongUsage(const std::string& message);

// A whole decimal number; nothing for anything else, and beyond `max`.
std::optional<std::uint64_t> ParseNumber(const std::string& text, std::uint64_t max);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_COMMAND_H_
