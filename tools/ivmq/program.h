// The program's commands and options.
#ifndef IVMQ_TOOLS_IVMQ_PROGRAM_H_
#define IVMQ_TOOLS_IVMQ_PROGRAM_H_

#include <memory>

#include <CLI/CLI.hpp>

namespace ivmq::tool {

// Parsing runs the command; its exit status goes to `exit_code`.
std::unique_ptr<CLI::App> MakeProgram(int* exit_code);

}  // namespace ivmq::tool

#endif  // IVMQ_TOOLS_IVMQ_PROGRAM_H_
