#include "server_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "ivmq/address.h"

#include "access_check.h"
#include "region_check.h"
#include "region_holders.h"
#include "src/ivshmem_socket.h"
#include "text.h"
#include "user_names.h"

namespace ivmq::tool {
namespace {

constexpr std::string_view kSocketScheme = "unix:";
constexpr std::string_view kShmScheme = "shm:";
constexpr const char* kUsualSocket = "/run/ivmq/ivmq.sock";

// Those of an option of a command line.
std::vector<std::string> ValuesOf(std::string_view option, const std::vector<std::string>& words) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word == option && i + 1 < words.size()) values.push_back(words[++i]);
    if (word.starts_with(option) && word.substr(option.size()).starts_with('=')) {
      values.emplace_back(word.substr(option.size() + 1));
    }
  }
  return values;
}

// The sockets of the regions in a configuration file of ivmqd, which says itself if there is a
// mistake.
std::vector<std::string> SocketsIn(const std::filesystem::path& config) {
  std::vector<std::string> sockets;
  std::error_code error;
  if (!std::filesystem::is_regular_file(config, error)) return sockets;
  std::ifstream file(config);
  const std::regex line(R"(\s*socket\s*=\s*["']?([^"'#]*[^"'#\s])["']?\s*(#.*)?)");
  std::smatch match;
  for (std::string text; std::getline(file, text);) {
    if (std::regex_match(text, match, line)) sockets.push_back(match[1]);
  }
  return sockets;
}

// The sockets of process `folder`, if that is an ivmqd.
std::vector<std::string> SocketsOf(const std::filesystem::path& folder) {
  std::string name;
  std::ifstream comm(folder / "comm");
  std::getline(comm, name);
  if (name != "ivmqd") return {};
  std::vector<std::string> words;
  std::ifstream file(folder / "cmdline", std::ios::binary);
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  std::error_code error;
  const auto start = std::filesystem::read_symlink(folder / "cwd", error);
  std::vector<std::string> sockets = ValuesOf("--socket", words);
  if (sockets.empty()) {
    for (const std::string& config : ValuesOf("--config", words)) {
      sockets = SocketsIn(error ? std::filesystem::path(config) : start / config);
    }
  }
  if (!error) {
    for (std::string& socket : sockets) socket = (start / socket).string();
  }
  return sockets;
}

// "pid 812 (flock)" of the process that has locked the file, as a server does while it starts; empty:
// none has.
std::string LockHolder(const std::string& path) {
  struct stat file {};
  if (stat(path.c_str(), &file) != 0) return "";
  const std::string key =
      fmt::format("{:02x}:{:02x}:{}", major(file.st_dev), minor(file.st_dev), file.st_ino);
  // 1: FLOCK  ADVISORY  WRITE 812 00:2f:1234 0 EOF
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number;
    std::string kind;
    std::string advisory;
    std::string access;
    pid_t pid = 0;
    std::string inode;
    words >> number >> kind >> advisory >> access >> pid >> inode;
    if (kind != "FLOCK" || inode != key) continue;
    if (pid <= 0) return "a process that is not visible from here";
    std::string name;
    std::ifstream comm(fmt::format("/proc/{}/comm", pid));
    std::getline(comm, name);
    return fmt::format("pid {} ({})", pid, name);
  }
  return "";
}

// Why there is no socket at `path`, as far as its folder tells.
void CheckMissingSocket(const std::string& address, const std::string& path,
                        const std::string& start, Findings* findings) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  const std::string make = fmt::format(
      "install -d -m 0755 -o USER {}   # as root; USER is who runs ivmqd", ShellWord(folder));
  struct stat found {};
  if (stat(folder.c_str(), &found) != 0) {
    findings->Problem("no-folder", address, fmt::format("the folder {} does not exist", folder),
                      {make, start});
    return;
  }
  if (const std::string holder = LockHolder(path + ".lock"); !holder.empty()) {
    findings->Problem(
        "socket-in-use", address,
        fmt::format(
            "there is no socket, but {} has a lock on {}.lock, like a server that is starting",
            holder, path),
        {"ps -C ivmqd -o pid,stat,args   # T is stopped: kill -CONT PID", start});
    return;
  }
  findings->Problem("no-socket", address, "no server has created this socket", {start});
  if (faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) == 0) return;
  findings->Note("folder-not-writable", address,
                 fmt::format("the user {} may make no socket in {}, which belongs to {}",
                             UserName(geteuid()), folder, UserName(found.st_uid)),
                 {make});
}

}  // namespace

std::vector<std::string> ListServerSockets() {
  std::set<std::string> sockets;
  if (Exists(kUsualSocket)) sockets.insert(kUsualSocket);
  std::error_code error;
  for (std::filesystem::directory_iterator process("/proc", error), end; !error && process != end;
       process.increment(error)) {
    const std::string name = process->path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    for (const std::string& socket : SocketsOf(process->path())) sockets.insert(socket);
  }
  return {sockets.begin(), sockets.end()};
}

void CheckServerAt(const std::string& address, Findings* findings) {
  const std::string path = address.substr(kSocketScheme.size());
  if (const Status status = ivshmem::CheckSocketPath(path); !status.ok()) {
    findings->Problem(address, status);
    return;
  }
  const std::string start =
      fmt::format("ivmqd --socket {} --size 64M   # with --region and so on as before, if it ran",
                  ShellWord(path));
  std::error_code error;
  const auto kind = std::filesystem::status(path, error).type();
  if (kind == std::filesystem::file_type::not_found) {
    CheckMissingSocket(address, path, start, findings);
    return;
  }
  if (kind == std::filesystem::file_type::socket) {
    if (!CheckAccess(address, path, findings)) return;
    CheckPublic(address, path, findings);
  } else if (kind != std::filesystem::file_type::none) {
    findings->Problem(
        "socket-path-taken", address,
        fmt::format("{} is no socket, so no server can be there", path),
        {fmt::format("rm -r {}   # if nobody needs it; or give another path", ShellWord(path))});
    return;
  }
  const auto memory = OpenRegion(address);
  if (memory.ok()) {
    findings->Ok(address,
                 fmt::format("the server answers, with protocol version 0 and {} of memory",
                             SizeText(memory->memory.size())));
    CheckRegion(*memory, {.subject = address, .format = start, .served = true}, findings);
    return;
  }
  const Status& status = memory.status();
  switch (status.code()) {
    case StatusCode::kUnavailable:
      findings->Problem("server-ended", address,
                        "its server has ended: nobody listens on this socket", {start});
      break;
    case StatusCode::kDeadlineExceeded:
      findings->Problem(
          "server-silent", address,
          "its server does not answer: it hangs or is stopped, or it has ended and a keeper, or "
          "systemd, has all it had for the next one",
          {"ps -C ivmqd -o pid,stat,args   # T is stopped: kill -CONT PID",
           start + "; if none runs: it goes on where the last one stopped"});
      break;
    default:
      findings->Problem(address, status);
  }
}

void CheckLostRegions(bool is_aside, Findings* findings) {
  for (const HeldRegion& region : FindHeldRegions(std::nullopt)) {
    if (region.has_server || region.holders.empty()) continue;
    std::string who;
    Findings::Remedies remedies;
    for (const RegionHolder& holder : region.holders) {
      who += (who.empty() ? "" : ", ") + holder.text;
      remedies.push_back(fmt::format(
          "kill {}   # {}", holder.pid,
          holder.is_qemu
              ? "when its guest is shut down; then start it again: a reboot is not enough"
              : "then start it again"));
    }
    remedies.emplace_back(
        "ivmqd ...   # from now on without --no-keeper, or with --region shm:/ivmq");
    const std::string text = fmt::format(
        "in a region that nobody can join any more, since its server has ended and it is in no "
        "file: {}. They do not meet those who start now",
        who);
    if (is_aside) {
      findings->Note("region-lost", "machine", text, std::move(remedies));
    } else {
      findings->Problem("region-lost", "machine", text, std::move(remedies));
    }
  }
}

void CheckFileAt(const std::string& address, Findings* findings) {
  const std::string rest = address.substr(address.find(':') + 1);
  const std::string path = address.starts_with(kShmScheme) ? "/dev/shm" + rest : rest;
  const std::string format = fmt::format("ivmq format {}", ShellWord(address));
  if (!Exists(path)) {
    findings->Problem("no-region-file", address, "there is no such file", {format + " --size 64M"});
    return;
  }
  if (!CheckAccess(address, path, findings)) return;
  CheckPublic(address, path, findings);
  const auto memory = OpenRegion(address);
  if (memory.ok()) {
    findings->Ok(address, memory->description);
    CheckRegion(*memory, {.subject = address, .format = format}, findings);
  } else {
    findings->Problem(address, memory.status());
  }
}

}  // namespace ivmq::tool
