#include "config.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "ivmq/address.h"

#include "cli/completion.h"
#include "cli/wrong_word.h"
#include "metrics_listener.h"
#include "options.h"
#include "src/text.h"
#include "system_error.h"

namespace ivmq::server {
namespace {

constexpr const char* kDescription =
    R"(Serves shared-memory regions to QEMU guests (ivshmem-doorbell) and to processes of this host.)";

constexpr const char* kFooter = R"(
Regions:
  memfd      memory of this server, sealed: no client can truncate it. The next server goes on with it
             if somebody kept it (--keep); else it creates a new one. --hugepages 2M makes it of huge
             pages, which have to be free: see /sys/kernel/mm/hugepages.
  shm:NAME   POSIX shared memory; survives the server, which takes it over at its next start.
  file:PATH  a file, e.g. in hugetlbfs (then --size is a multiple of its huge page). As with shm, a
             process that may write it can truncate it, which ends every process that uses it.
A shm or file is formatted only if it is new or all zero. A region of the same --size and --max-peers
is taken over; anything else is refused.

Example:
  ivmqd --socket /run/ivmq/ivmq.sock --size 64M --vectors 8 --group kvm
  qemu-system-x86_64 ... -chardev socket,path=/run/ivmq/ivmq.sock,id=iv \
                         -device ivshmem-doorbell,chardev=iv,vectors=8
  ivmq ls unix:/run/ivmq/ivmq.sock

Configuration file:
A line NAME = VALUE for each option; --config says where it is. Here it has two regions with nothing
in common. Options in front of the sections hold for all regions:
  log-level = "info"
  size = "64M"
  [acme]
  socket = "/run/ivmq/acme.sock"
  group = "acme"
  [umbrella]
  socket = "/run/ivmq/umbrella.sock"
  group = "umbrella"
  allow-uid = [1001, 1002]
SIGHUP has it read again. What changes then: --allow-uid, --ids-per-uid, --handshake-timeout,
--log-limit, --log-level and --log-format.

The end of a server:
SIGTERM and SIGINT end it for good: connections end, and so does a memfd, once nobody maps it. When
it ends otherwise (SIGKILL, a crash), its keeper has all of it, and the next ivmqd with this --socket
goes on from there: clients notice nothing, and a newcomer waits. To replace a running server by
another version, start that one with the same options and --upgrade. What systemd keeps
(FileDescriptorStoreMax= in the unit), it keeps at SIGTERM, too: restart the service to upgrade.

Exit status:
  0  ended by SIGTERM or SIGINT
  1  could not start or go on: socket or region in use, foreign content, no memory, ...
  2  bad options)";

constexpr std::size_t kLongestName = 63;
constexpr std::uintmax_t kLargestFile = 1 << 20;

Status Invalid(std::string message) { return {StatusCode::kInvalidArgument, std::move(message)}; }

// ---- The options

std::uint64_t Size(const std::string& option, const std::string& text) {
  const auto size = ivmq::ParseSize(text);
  if (!size.ok()) throw CLI::ValidationError(option, size.status().message());
  return *size;
}

// The value that one of the words stands for.
template <typename T>
T Word(const std::string& option, const std::string& text,
       const std::vector<std::pair<std::string, T>>& words) {
  std::string all;
  for (const auto& [word, value] : words) {
    if (text == word) return value;
    all += all.empty() ? word : ", " + word;
  }
  throw CLI::ValidationError(option, fmt::format("'{}' is none of {}", text, all));
}

std::uint32_t Mode(const std::string& text) {
  std::size_t end = 0;
  unsigned long mode = 01000;
  try {
    mode = std::stoul(text, &end, 8);
  } catch (const std::exception&) {
    end = 0;
  }
  if (end != text.size() || mode > 0777) {
    throw CLI::ValidationError("--mode",
                               fmt::format("'{}' is not an octal number from 0 to 0777", text));
  }
  return static_cast<std::uint32_t>(mode);
}

void AddRegionOptions(CLI::App& app, RegionConfig* region) {
  Options& options = region->options;
  app.add_option("--socket", options.socket, "Path of the socket")->type_name("PATH");
  app.add_option("--region", options.region, "memfd, shm:NAME or file:PATH")
      ->capture_default_str()
      ->type_name("REGION");
  app.add_option_function<std::string>(
         "--size", [&](const std::string& text) { options.size = Size("--size", text); },
         "Size of the region, a power of two, e.g. 64M or 1G")
      ->type_name("SIZE")
      ->default_str("64M");
  app.add_option_function<std::string>(
         "--hugepages",
         [&](const std::string& text) {
           std::vector<std::pair<std::string, std::uint64_t>> sizes;
           for (const std::uint64_t size : kHugePages) sizes.emplace_back(HugePageText(size), size);
           options.huge_page = Word<std::uint64_t>("--hugepages", text, sizes);
         },
         "Huge pages of this size for a memfd; a file has to be in a hugetlbfs of this page size")
      ->type_name("none|2M|1G")
      ->default_str("none");
  app.add_option_function<std::uint32_t>(
         "--numa-node", [&](std::uint32_t node) { options.numa_node = node; },
         "Node whose memory the region gets; default: the kernel chooses")
      ->type_name("N");
  app.add_option("--vectors", options.vectors, "Doorbells of each client, 1 to 64")
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--max-peers", options.max_peers, "Peers that the region has slots for, 2 to 1024")
      ->capture_default_str()
      ->type_name("N");
  app.add_option_function<std::string>(
         "--ring-size",
         [&](const std::string& text) {
           const std::uint64_t size = Size("--ring-size", text);
           if (size > UINT32_MAX)
             throw CLI::ValidationError("--ring-size", "a ring is smaller than 4G");
           options.ring_size = static_cast<std::uint32_t>(size);
         },
         "Size of the first rings, a power of two; default: chosen by the size of the region")
      ->type_name("SIZE");
  app.add_option("--group", options.group,
                 "Group of the socket, and of a shm or file that is created; name or number")
      ->type_name("GROUP");
  app.add_option_function<std::string>(
         "--mode", [&](const std::string& text) { options.mode = Mode(text); },
         "Permissions of the socket, and of a shm or file that is created, octal")
      ->type_name("MODE")
      ->default_str("0660");
  app.add_option(
         "--allow-uid", options.allow_uids,
         "Only this user may connect, apart from root and the server's own user; may be repeated")
      ->type_name("UID")
      ->allow_extra_args(false);
  app.add_option_function<std::string>(
         "--id-policy",
         [&](const std::string& text) {
           options.id_policy = Word<IdPolicy>(
               "--id-policy", text, {{"lend", IdPolicy::kLend}, {"unique", IdPolicy::kUnique}});
         },
         "lend: the id of a client that is gone is assigned to the next one; unique: the others "
         "are told that it is gone, and no id is reused")
      ->type_name("lend|unique")
      ->default_str("lend");
  app.add_option("--first-id", options.first_id,
                 "Id of the first client, 0 to 65534; QEMU's ivshmem-doorbell,master=on needs 0")
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--ids-per-uid", options.ids_per_uid,
                 "Most ids that the clients of one user may have, connected or not; one process "
                 "may have three quarters of them; 0: three quarters of what this server can serve")
      ->capture_default_str()
      ->type_name("N");
  app.add_option_function<std::uint32_t>(
         "--handshake-timeout",
         [&](std::uint32_t seconds) { options.handshake_timeout = std::chrono::seconds(seconds); },
         "Seconds after which a connection that does not read its greeting is closed; 0: never")
      ->type_name("SECONDS")
      ->default_str("60");
  app.add_option(
         "--log-limit", options.log_lines_per_second,
         "Most lines in this log that the clients of one user may cause in a second; further "
         "lines are only counted; 0: no limit")
      ->capture_default_str()
      ->type_name("N");
  app.add_option("--control", region->control,
                 "Path of the socket for `ivmq server`, which only root and this server's user can "
                 "use; none: there is none; default: that of --socket with .control behind it")
      ->type_name("PATH");
}

void AddServerOptions(CLI::App& app, Config* config) {
  app.add_option_function<std::string>(
         "--log-level",
         [config](const std::string& text) {
           config->log_level = Word<LogLevel>("--log-level", text,
                                              {{"debug", LogLevel::kDebug},
                                               {"info", LogLevel::kInfo},
                                               {"warning", LogLevel::kWarning},
                                               {"error", LogLevel::kError}});
         },
         "What is logged; debug: also clients that read slowly, and those that only inspect the "
         "region")
      ->type_name("debug|info|warning|error")
      ->default_str("info");
  app.add_option_function<std::string>(
         "--log-format",
         [config](const std::string& text) {
           config->log_format = Word<LogFormat>(
               "--log-format", text, {{"text", LogFormat::kText}, {"json", LogFormat::kJson}});
         },
         "Lines for people, or an object of JSON in each line")
      ->type_name("text|json")
      ->default_str("text");
  app.add_option_function<std::string>(
         "--metrics",
         [config](const std::string& text) {
           if (const Status status = CheckMetricsAddress(text); !status.ok()) {
             throw CLI::ValidationError("--metrics", status.message());
           }
           config->metrics = text;
         },
         "Where Prometheus can fetch metrics by HTTP: unix:PATH, or a port of this machine "
         "as 127.0.0.1:PORT or [::1]:PORT")
      ->type_name("ADDRESS");
}

// Who keeps what this server has, and what becomes of what was kept of the last one.
void AddKeepingOptions(CLI::App& app, Config* config) {
  app.add_option_function<std::string>(
         "--keep",
         [config](const std::string& text) {
           config->keep = Word<Keep>("--keep", text,
                                     {{"auto", Keep::kAuto},
                                      {"keeper", Keep::kKeeper},
                                      {"systemd", Keep::kSystemd},
                                      {"none", Keep::kNone}});
         },
         "Who keeps connections, doorbells and a memfd when this server ends suddenly: a keeper, "
         "which is a process of its own; systemd, if its unit has FileDescriptorStoreMax=; nobody; "
         "auto: systemd if it does, else a keeper")
      ->type_name("auto|keeper|systemd|none")
      ->default_str("auto");
  app.add_flag_callback(
      "--no-keeper", [config] { config->keep = Keep::kNone; }, "The same as --keep none");
  app.add_flag_callback(
      "--upgrade", [config] { config->upgrade = true; },
      "Take over from a server that runs, too: it ends, and its clients notice nothing");
  app.add_flag_callback(
      "--no-takeover", [config] { config->take_over = false; },
      "Give up what was kept of a server that ended suddenly: its clients' connections end");
}

// ---- The file

using Item = CLI::ConfigItem;

struct Section {
  std::string name;
  std::vector<Item> items;
};

// What stands in front of the sections comes first, as a section without a name.
struct File {
  std::string path;
  std::vector<Section> sections{{}};

  [[nodiscard]] std::string Where(const Section& section) const {
    return section.name.empty() ? path : fmt::format("{} [{}]", path, section.name);
  }
};

bool IsRegionName(const std::string& name) {
  return !name.empty() && name.size() <= kLongestName &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
         });
}

Result<std::string> ReadText(const std::string& path) {
  std::error_code error;
  // Reading anything else may wait for ever.
  if (!std::filesystem::is_regular_file(path, error)) {
    return error ? SystemError(error.value(), fmt::format("--config {}", path))
                 : Invalid(fmt::format("--config {}: this is no file", path));
  }
  if (const auto size = std::filesystem::file_size(path, error); error || size > kLargestFile) {
    return Invalid(fmt::format("--config {}: it has more than {}", path, SizeText(kLargestFile)));
  }
  errno = 0;
  std::ifstream input(path, std::ios::binary);
  std::ostringstream text;
  if (!input || !(text << input.rdbuf(), input)) {
    return SystemError(errno != 0 ? errno : EIO, fmt::format("--config {}", path));
  }
  return std::move(text).str();
}

Result<File> ReadFile(const std::string& path) {
  const Result<std::string> text = ReadText(path);
  if (!text.ok()) return text.status();
  std::istringstream input(*text);
  File file{.path = path};
  for (Item& item : CLI::ConfigTOML().from_config(input)) {
    const std::string name = item.parents.empty() ? "" : CLI::detail::join(item.parents, ".");
    if (item.name == "--") continue;  // the end of a section
    if (item.name == "++") {
      if (!IsRegionName(name)) {
        return Invalid(fmt::format(
            "{}: section [{}]: the name of a region has 1 to {} letters, digits, - and _", path,
            name, kLongestName));
      }
      const auto same = [&](const Section& section) { return section.name == name; };
      if (std::any_of(file.sections.begin(), file.sections.end(), same)) {
        return Invalid(fmt::format("{}: section [{}] is there twice", path, name));
      }
      file.sections.push_back({name, {}});
      continue;
    }
    Section& section = file.sections.back();
    if (name != section.name) {
      return Invalid(
          fmt::format("{}: {}: names have no dots", file.Where(section), item.fullname()));
    }
    for (const std::string& value : item.inputs) {
      if (value.find_first_of("\"'") != std::string::npos) {
        return Invalid(fmt::format("{}: {}: a quote is missing at {}; a value cannot contain #",
                                   file.Where(section), item.name, value));
      }
    }
    const auto same = [&](const Item& other) { return other.name == item.name; };
    if (std::any_of(section.items.begin(), section.items.end(), same)) {
      return Invalid(fmt::format("{}: {} is there twice", file.Where(section), item.name));
    }
    section.items.push_back(std::move(item));
  }
  return file;
}

// Gives `app` the items as if they were arguments; without those that `given` has already.
Status ParseSection(CLI::App& app, const File& file, const Section& section,
                    const CLI::App* given) {
  std::vector<std::string> arguments;
  for (const Item& item : section.items) {
    const std::string name = "--" + item.name;
    if (given != nullptr && app.get_option_no_throw(name) != nullptr &&
        given->get_option(name)->count() != 0) {
      continue;
    }
    for (const std::string& value : item.inputs) {
      arguments.push_back(fmt::format("{}={}", name, value));
    }
  }
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants it
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    const auto wrong = cli::FindWrongWord(app);
    if (!wrong) return Invalid(fmt::format("{}: {}", file.Where(section), error.what()));
    constexpr std::size_t kDashes = 2;
    return Invalid(fmt::format(
        "{}: there is no option '{}'{}", file.Where(section), wrong->typed.substr(kDashes),
        wrong->meant.empty() ? ""
                             : fmt::format("; did you mean {}?", wrong->meant.substr(kDashes))));
  }
  return {};
}

// The options that make a region what it is, so that there is nothing to inherit.
constexpr const char* kOwnOptions[] = {"--socket", "--control"};

Status ReadSections(const File& file, const CLI::App& given, const RegionConfig& all,
                    Config* config) {
  for (const char* const name : kOwnOptions) {
    if (given.get_option(name)->count() != 0) {
      return Invalid(fmt::format("{}: {} has several regions, so this stands in their sections",
                                 name, file.path));
    }
  }
  for (const Item& item : file.sections.front().items) {
    for (const char* const name : kOwnOptions) {
      if ("--" + item.name == name) {
        return Invalid(fmt::format("{}: {} stands in front of the sections; it belongs into each",
                                   file.path, item.name));
      }
    }
  }
  for (std::size_t i = 1; i < file.sections.size(); ++i) {
    const Section& section = file.sections[i];
    RegionConfig& region = config->regions.emplace_back(all);
    region.name = section.name;
    CLI::App app;
    app.set_help_flag();
    AddRegionOptions(app, &region);
    if (Status status = ParseSection(app, file, section, nullptr); !status.ok()) return status;
    if (region.options.socket.empty()) {
      return Invalid(fmt::format("{}: socket = PATH is missing", file.Where(section)));
    }
    for (const RegionConfig& other : config->regions) {
      if (&other != &region && other.options.socket == region.options.socket) {
        return Invalid(fmt::format("{}: socket {} is that of [{}], too", file.Where(section),
                                   region.options.socket, other.name));
      }
    }
  }
  return {};
}

// The command line and where it goes.
struct CommandLine {
  CommandLine() {
    app.footer(kFooter);
    AddRegionOptions(app, &region);
    AddServerOptions(app, &config);
    AddKeepingOptions(app, &config);
    app.add_option("--config", path,
                   "File with options, and with a section for each region if there are several")
        ->type_name("FILE");
    app.add_option("--completion", shell,
                   "Print the script that completes these options in a shell, and exit")
        ->type_name("bash|zsh|fish");
    app.set_version_flag("--version", "ivmqd " IVMQ_VERSION);
  }

  Config config;
  RegionConfig region;
  std::string path;
  std::string shell;
  CLI::App app{kDescription, "ivmqd"};
};

constexpr const char* kAskForWords = "ivmqd --completion words --";

// What the script of --completion asks for with half a command line, which the parser must not see;
// nothing if the arguments are others.
std::optional<std::string> CompletionOf(const CLI::App& app,
                                        const std::vector<std::string>& arguments) {
  constexpr std::array<std::string_view, 3> kStart = {"--completion", "words", "--"};
  if (arguments.size() < kStart.size() ||
      !std::equal(kStart.begin(), kStart.end(), arguments.begin())) {
    return std::nullopt;
  }
  return TextOf(cli::Complete(app, {arguments.begin() + kStart.size(), arguments.end()}, {}));
}

}  // namespace

void LookAtOptions(const std::function<void(const CLI::App&)>& look) { look(CommandLine().app); }

Result<Config> ReadConfig(const std::vector<std::string>& arguments) {
  CommandLine line;
  CLI::App& app = line.app;
  Config& config = line.config;
  RegionConfig& region = line.region;
  if (std::optional<std::string> words = CompletionOf(app, arguments)) {
    config.help = *std::move(words);
    return config;
  }
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    config.help = app.help();
    return config;
  } catch (const CLI::CallForVersion& version) {
    config.help = fmt::format("{}\n", version.what());
    return config;
  } catch (const CLI::ParseError& error) {
    return Invalid(cli::UsageError(app, error));
  }
  if (!line.shell.empty()) {
    config.help = cli::CompletionScript(line.shell, "ivmqd", kAskForWords);
    if (config.help) return config;
    return Invalid(fmt::format("--completion {}: there is bash, zsh and fish", line.shell));
  }
  File file;
  if (!line.path.empty()) {
    Result<File> read = ReadFile(line.path);
    if (!read.ok()) return read.status();
    file = *std::move(read);
    CLI::App top;
    top.set_help_flag();
    AddRegionOptions(top, &region);
    AddServerOptions(top, &config);
    AddKeepingOptions(top, &config);
    if (Status status = ParseSection(top, file, file.sections.front(), &app); !status.ok()) {
      return status;
    }
  }
  if (file.sections.size() > 1) {
    if (Status status = ReadSections(file, app, region, &config); !status.ok()) return status;
    return config;
  }
  if (region.options.socket.empty()) return Invalid("--socket PATH is required; see ivmqd --help");
  config.regions.push_back(std::move(region));
  return config;
}

std::vector<std::string> FixedDifferences(const RegionConfig& running, const RegionConfig& wanted) {
  const Options& is = running.options;
  const Options& was = wanted.options;
  std::vector<std::string> names;
  const auto compare = [&](bool same, const char* name) {
    if (!same) names.emplace_back(name);
  };
  compare(is.socket == was.socket, "socket");
  compare(is.region == was.region, "region");
  compare(is.size == was.size, "size");
  compare(is.huge_page == was.huge_page, "hugepages");
  compare(is.numa_node == was.numa_node, "numa-node");
  compare(is.vectors == was.vectors, "vectors");
  compare(is.max_peers == was.max_peers, "max-peers");
  compare(is.ring_size == was.ring_size, "ring-size");
  compare(is.group == was.group, "group");
  compare(is.mode == was.mode, "mode");
  compare(is.id_policy == was.id_policy, "id-policy");
  compare(is.first_id == was.first_id, "first-id");
  compare(running.control == wanted.control, "control");
  return names;
}

}  // namespace ivmq::server
