// ivmq: looks into regions, sends and receives messages, rings doorbells.
#include <csignal>
#include <exception>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "cli/wrong_word.h"
#include "completion.h"
#include "exit_code.h"
#include "program.h"

namespace {

using ivmq::tool::Complain;

int Main(int argc, char** argv) {
  // Whoever reads the output may go away: writing then fails instead.
  (void)std::signal(SIGPIPE, SIG_IGN);

  int exit_code = ivmq::tool::kExitFailed;
  const std::unique_ptr<CLI::App> program = ivmq::tool::MakeProgram(&exit_code);
  CLI::App& app = *program;
  if (const auto words = ivmq::tool::WordsToComplete(argc, argv)) {
    return ivmq::tool::PrintCompletion(app, *words);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // help and version
    Complain(ivmq::cli::UsageError(app, error));
    return ivmq::tool::kExitUsage;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& failure) {
    Complain(failure.what());
    return ivmq::tool::kExitFailed;
  }
}
