// Manual pages of a program, made from its help, so that the two say the same.
//
// What stands behind the options of a help is read as it is laid out: a line that ends in a colon
// begins a section; indented lines are an example or, if they are all "WORD   what it means", a
// list; the rest are paragraphs.
#ifndef IVMQ_TOOLS_CLI_MAN_PAGE_H_
#define IVMQ_TOOLS_CLI_MAN_PAGE_H_

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ivmq::cli {

struct Page {
  std::string command;  // as it is typed: "ivmq topic echo"
  int section = 1;
  std::string summary;                // for the line under NAME; empty: the command's description
  std::string date;                   // 2026-01-31
  std::string version;                // "ivmq 0.1.0"
  std::vector<std::string> see_also;  // "ivmqd(8)"
};

// "ivmq-topic-echo.1".
std::string FileNameOf(const Page& page);

// The page in the man macros of troff.
std::string TextOf(const Page& page, const CLI::App& app);

}  // namespace ivmq::cli

#endif  // IVMQ_TOOLS_CLI_MAN_PAGE_H_
