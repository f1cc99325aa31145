// What the shells' completion scripts ask for.
#ifndef IVMQ_TOOLS_IVMQ_COMPLETION_H_
#define IVMQ_TOOLS_IVMQ_COMPLETION_H_

#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ivmq::tool {

// The words behind `completion words --`; nothing if the program was called for something else. The
// parser does not see them: they are half a command line.
std::optional<std::vector<std::string>> WordsToComplete(int argc, const char* const* argv);

// Prints how the last of `words` may go on: commands, options, addresses, and the peers and topics of
// the region. Ends the process after a second at most. Returns the exit status.
int PrintCompletion(const CLI::App& app, const std::vector<std::string>& words);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_COMPLETION_H_
