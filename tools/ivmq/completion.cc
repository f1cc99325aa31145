// ivmq completion: the scripts for shells, and what they ask for.
#include "completion.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "ivmq/guest_device.h"
#include "ivmq/internal/peer_table.h"

#include "access_check.h"
#include "cli/completion.h"
#include "command.h"
#include "commands.h"
#include "exit_code.h"
#include "opened_region.h"
#include "output.h"
#include "peers.h"
#include "topics.h"

namespace ivmq::tool {
namespace {

using cli::Candidate;
using Candidates = std::vector<Candidate>;
using Words = std::vector<std::string>;

constexpr std::string_view kAsk = "ivmq completion words --";
constexpr unsigned kSecondsAtMost = 1;

constexpr const char* kFooter =
    R"(Prints the script that completes ivmq's commands, options, addresses, peers and topics in
a shell. Packages install it; where there is none, have your shell read it when it starts.

`ivmq completion words -- WORD...` is what the script runs: it prints how the last WORD
of a command line may go on.

Example:
  source <(ivmq completion bash)                                  # in ~/.bashrc
  ivmq completion zsh > ~/.zfunc/_ivmq                            # a folder of $fpath
  ivmq completion fish > ~/.config/fish/completions/ivmq.fish)";

// The entries of a folder whose path goes on as `begun`, with `scheme` in front; folders too, with a
// slash behind them.
Candidates Entries(const std::string& scheme, const std::string& begun,
                   const std::function<bool(const std::filesystem::file_status&)>& wanted) {
  Candidates found;
  const std::string folder = begun.substr(0, begun.rfind('/') + 1);
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder.empty() ? "." : folder, error), end;
       !error && at != end; at.increment(error)) {
    std::error_code gone;
    const std::filesystem::file_status status = at->status(gone);
    const std::string path = folder + at->path().filename().string();
    if (path.ends_with(".control") || path.ends_with(".keeper")) continue;  // of ivmqd's own
    if (std::filesystem::is_directory(status)) {
      found.push_back({scheme + path + "/", ""});
    } else if (wanted(status)) {
      found.push_back({scheme + path, ""});
    }
  }
  return found;
}

bool IsSocket(const std::filesystem::file_status& status) {
  return status.type() == std::filesystem::file_type::socket;
}

bool IsFile(const std::filesystem::file_status& status) {
  return status.type() == std::filesystem::file_type::regular;
}

bool IsNode(const std::filesystem::file_status& status) {
  return status.type() == std::filesystem::file_type::character;
}

Candidates Addresses(const std::string& begun) {
  const std::size_t colon = begun.find(':');
  if (colon == std::string::npos) {
    return {{"unix:", "socket of an ivshmem server such as ivmqd"},
            {"shm:", "POSIX shared memory of this host"},
            {"file:", "a file of this host"},
            {"ivmq:", "in a guest: a device through its driver"},
            {"vfio:", "in a guest: a device bound to vfio-pci"},
            {"pci:", "in a guest: a device without a driver"},
            {"auto", "$IVMQ_ADDRESS, or the guest's device"}};
  }
  const std::string scheme = begun.substr(0, colon + 1);
  const std::string path = begun.substr(colon + 1);
  if (scheme == "unix:") return Entries(scheme, path.empty() ? "/run/ivmq/" : path, IsSocket);
  if (scheme == "file:") return Entries(scheme, path.empty() ? "/" : path, IsFile);
  if (scheme == "shm:") {
    Candidates found = Entries("", "/dev/shm/", IsFile);
    for (Candidate& name : found) name.word = scheme + name.word.substr(sizeof("/dev/shm") - 1);
    return found;
  }
  if (scheme == "ivmq:") {
    Candidates found = Entries(scheme, "/dev/", IsNode);
    std::erase_if(found, [](auto& node) { return !node.word.starts_with("ivmq:/dev/ivmq"); });
    return found;
  }
  Candidates found;
  if (scheme == "pci:") found.push_back({"pci:auto", "the only device that is formatted"});
  if (scheme == "pci:" || scheme == "vfio:") {
    for (const std::string& bdf : ListIvshmemDevices(std::string(kPciDevices))) {
      found.push_back({scheme + bdf, ""});
    }
  }
  return found;
}

// The region that the words are about. Empty: none, or a device that would have to be taken from
// whoever is about to use it.
std::string AddressAmong(const Words& before) {
  constexpr std::string_view kOption = "--address";
  std::string address;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i] == kOption && i + 1 < before.size()) {
      address = before[i + 1];
    } else if (before[i].starts_with("--address=")) {
      address = before[i].substr(kOption.size() + 1);
    } else if (IsAddress(before[i])) {
      address = before[i];
    } else {
      continue;
    }
    break;
  }
  if (address.empty() || address == "auto") address = DefaultAddress();
  if (address == "auto") return Exists("/dev/ivmq0") ? address : "";
  return address.starts_with("vfio:") || address.starts_with("pci:") ? "" : address;
}

Candidates Names(std::string_view kind, const Words& before) {
  const std::string address = AddressAmong(before);
  if (address.empty()) return {};
  const auto opened = OpenFormatted(address);
  if (!opened.ok()) return {};
  const std::vector<PeerInfo> peers = PeerTable(opened->region).Snapshot().peers;
  Candidates names;
  if (kind == "TOPIC" || kind == "PATTERN") {
    for (std::string& topic : PublishedTopics(peers, "**")) names.push_back({std::move(topic), ""});
    return names;
  }
  for (const PeerInfo& peer : peers) names.push_back({peer.name, std::string(StateText(peer))});
  return names;
}

Candidates Values(std::string_view kind, const std::string& begun, const Words& before) {
  constexpr std::array<std::string_view, 4> kNamed = {"PEER", "FROM TO", "TOPIC", "PATTERN"};
  if (kind == "ADDR") return Addresses(begun);
  if (std::find(kNamed.begin(), kNamed.end(), kind) != kNamed.end()) return Names(kind, before);
  return {};
}

}  // namespace

std::optional<Words> WordsToComplete(int argc, const char* const* argv) {
  constexpr std::array<std::string_view, 3> kStart = {"completion", "words", "--"};
  if (argc < 4 || !std::equal(kStart.begin(), kStart.end(), argv + 1)) return std::nullopt;
  return Words(argv + 4, argv + argc);
}

int PrintCompletion(const CLI::App& app, const Words& words) {
  // Nobody waits longer for a word: whatever a server or a device does, it is over then.
  (void)std::signal(SIGALRM, [](int) { _exit(kExitFailed); });
  alarm(kSecondsAtMost);
  Print(cli::TextOf(cli::Complete(app, words, {IsAddress, Values})));
  return kExitOk;
}

void AddCompletion(CLI::App& app, int* exit_code) {
  AddPlainCommand(app, exit_code,
                  {.name = "completion",
                   .summary = "Print the script that completes words in a shell",
                   .words = "bash|zsh|fish",
                   .min_words = 1,
                   .max_words = 1,
                   .footer = kFooter},
                  [](const Words& words) {
                    const auto script = cli::CompletionScript(words[0], "ivmq", kAsk);
                    if (!script)
                      WrongUsage(fmt::format("'{}': there is bash, zsh and fish", words[0]));
                    Print(*script);
                    return kExitOk;
                  });
}

}  // namespace ivmq::tool
