// Writes the manual pages of ivmq, of each of its commands, and of ivmqd into a folder.
// usage: write_man_pages FOLDER
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "ivmq/program.h"

#include "cli/man_page.h"
#include "cli/usage.h"
#include "ivmqd/config.h"

namespace {

using ivmq::cli::Page;

const std::string kVersion = "ivmq " IVMQ_VERSION;

// That of the sources where a packager says it, so that everybody makes the same pages of them.
std::string Date() {
  const char* const epoch = std::getenv("SOURCE_DATE_EPOCH");
  const std::time_t when =
      epoch == nullptr ? std::time(nullptr) : static_cast<std::time_t>(std::atoll(epoch));
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(when));
}

class Writer {
 public:
  explicit Writer(std::string folder) : folder_(std::move(folder)) {}

  void Write(Page page, const CLI::App& app) const {
    page.date = date_;
    page.version = kVersion;
    std::ofstream file(folder_ + "/" + FileNameOf(page));
    file << TextOf(page, app) << std::flush;
    if (!file) throw std::runtime_error(folder_ + "/" + FileNameOf(page) + ": cannot be written");
  }

  // The commands of `app`, and theirs.
  void WriteCommands(const std::string& command, const CLI::App& app,
                     const std::vector<std::string>& see_also) const {
    for (const CLI::App* inner : ivmq::cli::CommandsOf(app)) {
      Page page;
      page.command = command + " " + inner->get_name();
      page.see_also = see_also;
      Write(page, *inner);
      std::vector<std::string> of_inner{FileReference(page)};
      of_inner.insert(of_inner.end(), see_also.begin(), see_also.end());
      WriteCommands(page.command, *inner, of_inner);
    }
  }

 private:
  static std::string FileReference(const Page& page) {
    const std::string file = FileNameOf(page);
    return fmt::format("{}({})", file.substr(0, file.rfind('.')), page.section);
  }

  std::string folder_;
  std::string date_ = Date();
};

void WritePages(const std::string& folder) {
  const Writer writer(folder);
  int exit_code = 0;
  const auto tool = ivmq::tool::MakeProgram(&exit_code);
  Page page;
  page.command = "ivmq";
  page.summary = "look into, use and repair shared-memory message queues";
  page.see_also = {"ivmq(7)", "ivmqd(8)"};
  writer.Write(page, *tool);
  writer.WriteCommands("ivmq", *tool, {"ivmq(1)", "ivmq(7)", "ivmqd(8)"});
  ivmq::server::LookAtOptions([&](const CLI::App& app) {
    page.command = "ivmqd";
    page.section = 8;
    page.summary = "serve shared memory to virtual machines and processes";
    page.see_also = {"ivmqd.conf(5)", "ivmq(1)", "ivmq(7)"};
    writer.Write(page, app);
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    (void)std::fputs("usage: write_man_pages FOLDER\n", stderr);
    return 2;
  }
  try {
    WritePages(argv[1]);
  } catch (const std::exception& failure) {
    (void)std::fprintf(stderr, "write_man_pages: %s\n", failure.what());
    return 1;
  }
  return 0;
}
