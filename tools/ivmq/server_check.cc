#include "server_check.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <regex>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "ivmq/address.h"

#include "access_check.h"
#include "region_check.h"
#include "region_holders.h"
#include "text.h"

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
  const std::string start =
      fmt::format("ivmqd --socket {} --size 64M   # with --region and so on as before, if it ran",
                  ShellWord(path));
  std::error_code error;
  const auto kind = std::filesystem::status(path, error).type();
  if (kind == std::filesystem::file_type::not_found) {
    findings->Problem(address, "no server has created this socket", {start});
    return;
  }
  if (kind == std::filesystem::file_type::socket) {
    if (!CheckAccess(address, path, findings)) return;
    CheckPublic(address, path, findings);
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
      findings->Problem(address, "its server has ended: nobody listens on this socket", {start});
      break;
    case StatusCode::kDeadlineExceeded:
      findings->Problem(
          address,
          "its server does not answer: it hangs or is stopped, or it has ended and a keeper, or "
          "systemd, has all it had for the next one",
          {"ps -C ivmqd -o pid,stat,args   # T is stopped: kill -CONT PID",
           start + "; if none runs: it goes on where the last one stopped"});
      break;
    default:
      findings->Problem(address, status.message());
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
      findings->Note("machine", text, std::move(remedies));
    } else {
      findings->Problem("machine", text, std::move(remedies));
    }
  }
}

void CheckFileAt(const std::string& address, Findings* findings) {
  const std::string rest = address.substr(address.find(':') + 1);
  const std::string path = address.starts_with(kShmScheme) ? "/dev/shm" + rest : rest;
  const std::string format = fmt::format("ivmq format {}", ShellWord(address));
  if (!Exists(path)) {
    findings->Problem(address, "there is no such file", {format + " --size 64M"});
    return;
  }
  if (!CheckAccess(address, path, findings)) return;
  CheckPublic(address, path, findings);
  const auto memory = OpenRegion(address);
  if (memory.ok()) {
    findings->Ok(address, memory->description);
    CheckRegion(*memory, {.subject = address, .format = format}, findings);
  } else {
    findings->Problem(address, memory.status().message());
  }
}

}  // namespace ivmq::tool
