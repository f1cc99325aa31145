// ivmq format: makes a region in a file or shm.
#include <sys/stat.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "ivmq/address.h"

#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "opened_region.h"
#include "output.h"
#include "text.h"
#include "user_names.h"

namespace ivmq::tool {
namespace {

constexpr std::uint64_t kDefaultSize = std::uint64_t{64} << 20;

constexpr const char* kFormatFooter =
    R"(PATH is a path, file:PATH or shm:/NAME. A new file is created with --size (64M); an
existing one keeps its size. Files with other content are refused, and so are
regions to which a peer or a server is attached.

Example:
  ivmq format shm:/demo --size 16M --max-peers 16
  ivmq format shm:/shared --group kvm --mode 0660
  ivmq format /dev/hugepages/ivmq --size 1G)";

struct FormatFlags {
  std::uint64_t size = 0;
  std::uint32_t max_peers = layout::kDefaultMaxPeers;
  std::uint64_t ring_size = 0;
  std::optional<std::uint32_t> mode;
  std::optional<std::uint32_t> group;
  bool force = false;
  bool json = false;
};

// Whether the file behind a file: or shm: address has a size already.
bool HasSize(const std::string& address) {
  const std::string rest = address.substr(address.find(':') + 1);
  const std::string path = address.starts_with("shm:") ? "/dev/shm" + rest : rest;
  struct stat file {};
  return stat(path.c_str(), &file) == 0 && file.st_size != 0;
}

int RunFormat(const FormatFlags& options, const std::string& path) {
  const std::string address = IsAddress(path) ? path : "file:" + path;
  CreateOptions create;
  create.format.max_peers = options.max_peers;
  if (options.ring_size > std::numeric_limits<std::uint32_t>::max()) {
    WrongUsage("--ring-size: a ring has at most 256M");
  }
  create.format.ring_capacity = static_cast<std::uint32_t>(options.ring_size);
  create.mode = options.mode;
  create.group = options.group;
  create.replace = options.force;
  const std::uint64_t size = options.size == 0 && !HasSize(address) ? kDefaultSize : options.size;
  if (const Status status = CreateRegionFile(address, size, create); !status.ok()) {
    if (status.code() == StatusCode::kAlreadyExists) {
      Complain(status.message() + ": --force");
      return kExitFailed;
    }
    return Fail(status);
  }
  const auto opened = OpenFormatted(address);
  if (!opened.ok()) return Fail(opened.status());
  const Geometry& geometry = opened->region.geometry();
  if (options.json) {
    Json json;
    json["address"] = address;
    json.update(GeometryJson(geometry));
    Print(JsonText(json));
    return kExitOk;
  }
  Print(fmt::format("formatted {}: {}, {} peers, first rings of {}\n", Printable(address),
                    SizeText(geometry.region_size), geometry.max_peers,
                    SizeText(geometry.ring_capacity)));
  return kExitOk;
}

}  // namespace

void AddFormat(CLI::App& app, int* exit_code) {
  const auto options = std::make_shared<FormatFlags>();
  CLI::App* const command = AddPlainCommand(
      app, exit_code,
      {.name = "format",
       .summary = "Create a region in a file or in shared memory",
       .words = "PATH",
       .min_words = 1,
       .max_words = 1,
       .footer = kFormatFooter},
      [options](const std::vector<std::string>& words) { return RunFormat(*options, words[0]); });
  AddSize(command, "--size", &options->size, "Size of the region, a power of two, e.g. 64M");
  command
      ->add_option("--max-peers", options->max_peers,
                   "Number of peers that it has slots for, 2 to 1024 (64)")
      ->type_name("N");
  AddSize(command, "--ring-size", &options->ring_size,
          "Size of the first rings, a power of two; later rings are smaller");
  AddMode(command, "--mode", &options->mode,
          "Permissions of the file, octal (a new one: 0660 less the umask)");
  command
      ->add_option_function<std::string>(
          "--group",
          [options](const std::string& text) {
            options->group = FindGroup(text);
            if (!options->group) {
              WrongUsage(fmt::format(
                  "--group {0}: there is no such group; create it with `groupadd {0}`", text));
            }
          },
          "Group of the file, whose members may then use it; name or number")
      ->type_name("GROUP");
  command->add_flag("--force", options->force,
                    "Format an existing ivmq region again; its messages are lost");
  command->add_flag("--json", options->json, "Print the new region as JSON");
}

}  // namespace ivmq::tool
