// What a command's help says about its words.
#ifndef IVMQ_TOOLS_CLI_USAGE_H_
#define IVMQ_TOOLS_CLI_USAGE_H_

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ivmq::cli {

// The usage line of the help behind the command's name: "[ADDR] PEER [MESSAGE] [OPTIONS]".
std::string UsageOf(const CLI::App& command);

// The words in it, without brackets and options: "ADDR", "PEER", "MESSAGE".
std::vector<std::string> WordsOf(const CLI::App& command);

// The options that its help lists, in that order.
std::vector<const CLI::Option*> OptionsOf(const CLI::App& command);

// The commands that its help lists, in that order.
std::vector<const CLI::App*> CommandsOf(const CLI::App& command);

// "--name", or "-n" if there is no longer one.
std::string NameOf(const CLI::Option& option);

// True if a value follows it.
bool TakesValue(const CLI::Option& option);

}  // namespace ivmq::cli

#endif  // IVMQ_TOOLS_CLI_USAGE_H_
