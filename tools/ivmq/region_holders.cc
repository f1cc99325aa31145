#include "region_holders.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "ivmq/internal/layout.h"

#include "src/file_lock.h"
#include "src/unique_fd.h"

namespace ivmq::tool {
namespace {

namespace fs = std::filesystem;

std::string FirstLine(const fs::path& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// Calls `visit` with the path of each entry, as far as there are any that may be seen.
template <typename Visit>
void ForEachIn(const fs::path& folder, Visit visit) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    visit(entry->path());
  }
}

// The value of QEMU's -name: "vm1" of "guest=vm1,debug-threads=on".
std::string GuestName(const fs::path& process) {
  std::ifstream file(process / "cmdline", std::ios::binary);
  bool next = false;
  for (std::string word; std::getline(file, word, '\0');) {
    if (next) {
      constexpr std::string_view kKey = "guest=";
      if (word.starts_with(kKey)) word.erase(0, kKey.size());
      return word.substr(0, word.find(','));
    }
    next = word == "-name" || word == "--name";
  }
  return "";
}

RegionHolder Describe(const fs::path& process, pid_t pid) {
  RegionHolder holder;
  holder.pid = pid;
  const std::string program = FirstLine(process / "comm");
  holder.is_qemu = program.starts_with("qemu");
  const std::string guest = holder.is_qemu ? GuestName(process) : "";
  holder.text = fmt::format("pid {} ({}{}{})", pid, program, guest.empty() ? "" : ", ", guest);
  return holder;
}

// The ids whose bytes this descriptor has locked, one each: that of a client of ivmqd. "lock:  1:
// OFDLCK ADVISORY READ -1 00:01:1037 2305843009213693953 2305843009213693953".
void AddIds(const fs::path& info, std::set<std::uint16_t>* ids) {
  std::ifstream file(info);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("lock:")) continue;
    std::istringstream words(line);
    std::string word;
    for (int i = 0; i < 7; ++i) words >> word;
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    if (words >> first >> last && first == last && first >= kIdLocks &&
        first - kIdLocks < layout::kNoIvposition) {
      ids->insert(static_cast<std::uint16_t>(first - kIdLocks));
    }
  }
}

bool HasServer(const fs::path& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  return !file.valid() || IsFileLocked(file.get(), kIdLocks + layout::kNoIvposition, 1);
}

}  // namespace

std::vector<HeldRegion> FindHeldRegions(std::optional<FileId> also) {
  std::map<FileId, HeldRegion> regions;
  ForEachIn("/proc", [&](const fs::path& process) {
    const std::string name = process.filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) return;
    const auto pid = static_cast<pid_t>(std::stol(name));
    if (pid == getpid()) return;
    std::map<FileId, RegionHolder> held;
    ForEachIn(process / "fd", [&](const fs::path& fd) {
      struct stat file {};
      if (stat(fd.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return;
      const FileId id{file.st_dev, file.st_ino};
      std::error_code error;
      const bool is_memfd = fs::read_symlink(fd, error).string().starts_with("/memfd:ivmq ");
      if (!is_memfd && id != also) return;
      const auto [region, is_new] = regions.try_emplace(id);
      if (is_new) {
        region->second.file = id;
        region->second.is_memfd = is_memfd;
        region->second.has_server = HasServer(fd);
      }
      RegionHolder& holder = held.try_emplace(id, Describe(process, pid)).first->second;
      AddIds(process / "fdinfo" / fd.filename(), &holder.ids);
    });
    const bool is_server = FirstLine(process / "comm").starts_with("ivmqd");
    for (auto& [id, holder] : held) {
      if (!is_server && !holder.ids.empty()) regions[id].holders.push_back(std::move(holder));
    }
  });
  std::vector<HeldRegion> list;
  for (auto& [id, region] : regions) {
    std::sort(region.holders.begin(), region.holders.end(),
              [](const RegionHolder& a, const RegionHolder& b) { return a.pid < b.pid; });
    list.push_back(std::move(region));
  }
  return list;
}

std::optional<FileId> FileMappedAt(const std::byte* memory) {
  std::ifstream maps("/proc/self/maps");
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    unsigned major_number = 0;
    unsigned minor_number = 0;
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %*s %x:%x %lu", &begin, &end, &major_number,
                    &minor_number, &inode) == 5 &&
        begin <= address && address < end && inode != 0) {
      return FileId{makedev(major_number, minor_number), inode};
    }
  }
  return std::nullopt;
}

}  // namespace ivmq::tool
