#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <sstream>
#include <system_error>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

namespace ivmq::testing {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::string FromEnvironment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::string ErrnoText() { return std::generic_category().message(errno); }

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

std::string Quoted(std::string_view text) {  // as a JSON string
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

int MillisecondsUntil(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<decltype(left)>(left, 0, 1000 * 1000));
}

std::string DefaultInitrd() {
  return FromEnvironment("IVMQ_GUEST_INITRD", IVMQ_DEFAULT_GUEST_INITRD);
}

std::string KernelImage(const std::string& version) {
  return std::string(IVMQ_GUEST_KERNELS) + "/kernel-" + (version.empty() ? "6.1" : version) +
         "/vmlinuz";
}

// Ends a program whose test hangs outside of the limits of Guest, and shows its guests' consoles.
class Watchdog {
 public:
  static Watchdog& Get() {
    static auto* watchdog = new Watchdog;  // never destroyed: its thread may outlive main
    return *watchdog;
  }

  void Add(const Guest* guest) {
    const std::lock_guard lock(mutex_);
    guests_.insert(guest);
  }
  void Remove(const Guest* guest) {
    const std::lock_guard lock(mutex_);
    guests_.erase(guest);
  }

 private:
  Watchdog() {
    const int seconds = std::atoi(FromEnvironment("IVMQ_TEST_LIMIT", "0").c_str());
    if (seconds <= 0) return;
    std::thread([this, seconds] {
      std::this_thread::sleep_until(Clock::now() + std::chrono::seconds(seconds));
      const std::lock_guard lock(mutex_);
      fprintf(stderr, "The test is not done after %d s.\n", seconds);
      for (const Guest* guest : guests_) {
        fprintf(stderr, "Console of guest %s:\n%s\n", guest->Name().c_str(),
                guest->Console().c_str());
        if (guest->Pid() > 0) kill(guest->Pid(), SIGKILL);
      }
      _exit(1);
    }).detach();
  }

  std::mutex mutex_;
  std::set<const Guest*> guests_;
};

}  // namespace

IvshmemDevice IvshmemDevice::Plain(std::string file, std::uint64_t size) {
  return {.path = std::move(file), .size = size, .vectors = 0};
}

IvshmemDevice IvshmemDevice::Master(std::string file, std::uint64_t size) {
  return {.path = std::move(file), .size = size, .vectors = 0, .master = true};
}

IvshmemDevice IvshmemDevice::Doorbell(std::string socket, int vectors) {
  return {.path = std::move(socket), .size = 0, .vectors = vectors};
}

Guest::Guest(GuestOptions options) : options_(std::move(options)) {}

Guest::~Guest() {
  Watchdog::Get().Remove(this);
  Stop();
  for (int fd : {inotify_, agent_in_, agent_out_, qmp_}) {
    if (fd >= 0) close(fd);
  }
  std::error_code ignored;
  if (!dir_.empty()) fs::remove_all(dir_, ignored);
}

std::unique_ptr<Guest> Guest::Boot(const GuestOptions& options) {
  std::unique_ptr<Guest> guest(new Guest(options));
  if (!guest->Launch("", options.devices)) return nullptr;
  const TimePoint deadline = Clock::now() + options.boot_limit;
  if (!guest->AwaitReady(deadline) || !guest->ConnectQmp(deadline)) return nullptr;
  return guest;
}

std::unique_ptr<Guest> Guest::Restore(const GuestOptions& options) {
  const std::string state = SavedState(options);
  if (state.empty()) return nullptr;
  std::unique_ptr<Guest> guest(new Guest(options));
  if (!guest->Launch(state, {}) || !guest->Adopt()) return nullptr;
  for (const IvshmemDevice& device : options.devices) {
    if (!guest->AddDevice(device)) return nullptr;
  }
  return guest;
}

std::unique_ptr<Guest> Guest::Copy(std::vector<std::string> arguments) {
  const std::string state = dir_ + "/state";
  if (!Save(state) || Qmp("cont").empty()) return nullptr;
  ReadAgent();  // what the commands have printed so far belongs to both
  GuestOptions options = options_;
  options.arguments = std::move(arguments);
  std::unique_ptr<Guest> copy(new Guest(std::move(options)));
  copy->jobs_ = jobs_;
  copy->next_job_ = next_job_;
  const TimePoint deadline = Clock::now() + options_.boot_limit;
  if (!copy->Launch(state, options_.devices) || !copy->ConnectQmp(deadline) ||
      !copy->Greet(deadline)) {
    return nullptr;
  }
  return copy;
}

// The file with the state of a freshly booted guest; made now if there is none that fits.
std::string Guest::SavedState(const GuestOptions& options) {
  const std::string initrd = DefaultInitrd();
  const std::string accel = FromEnvironment("IVMQ_ACCEL", "tcg");
  const std::string kernel = options.kernel.empty() ? "" : "-" + options.kernel;
  const std::string state = initrd + "." + options.machine + kernel + "-" + accel + "-" +
                            std::to_string(options.memory_mib) + ".state";
  const int lock = open((state + ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
  if (lock < 0 || flock(lock, LOCK_EX) != 0) {
    ADD_FAILURE() << state << ".lock: " << ErrnoText();
    return "";
  }
  bool fits = fs::exists(state);
  for (const std::string& source : {initrd, KernelImage(options.kernel),
                                    std::string(IVMQ_GUEST_BOOT), std::string(IVMQ_QEMU)}) {
    std::error_code missing;
    const auto changed = fs::last_write_time(source, missing);
    if (fits && !missing && changed > fs::last_write_time(state)) fits = false;
  }
  if (!fits) {
    GuestOptions plain = options;
    plain.devices.clear();
    const std::unique_ptr<Guest> guest = Boot(plain);
    fits = guest != nullptr && guest->Save(state);
  }
  close(lock);
  return fits ? state : "";
}

bool Guest::Save(const std::string& file) {
  const TimePoint deadline = Clock::now() + kDefaultLimit;
  fs::remove(file);
  // The rename says that the last byte is written; QEMU's own report may come before it.
  const std::string command =
      "exec:cat > '" + file + ".new' && mv '" + file + ".new' '" + file + "'";
  // Saved while it runs, since a stopped guest would be restored stopped.
  if (Qmp("migrate", "{\"uri\":" + Quoted(command) + "}").empty()) return false;
  while (!fs::exists(file)) {
    if (Clock::now() >= deadline) {
      Fail("its state was not saved; " + Qmp("query-migrate"));
      return false;
    }
    poll(nullptr, 0, 20);
  }
  return true;
}

bool Guest::Launch(const std::string& incoming, const std::vector<IvshmemDevice>& devices) {
  std::string folder = (fs::temp_directory_path() / "ivmq-guest-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) {
    ADD_FAILURE() << folder << ": " << ErrnoText();
    return false;
  }
  dir_ = folder;
  Watchdog::Get().Add(this);
  inotify_ = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (inotify_ < 0 || inotify_add_watch(inotify_, dir_.c_str(), IN_CREATE | IN_MODIFY) < 0) {
    ADD_FAILURE() << "inotify on " << dir_ << ": " << ErrnoText();
    return false;
  }

  std::vector<std::string> args = {IVMQ_GUEST_BOOT,
                                   "--dir",
                                   dir_,
                                   "--name",
                                   options_.name,
                                   "--initrd",
                                   options_.initrd.empty() ? DefaultInitrd() : options_.initrd,
                                   "--machine",
                                   options_.machine,
                                   "--memory",
                                   std::to_string(options_.memory_mib)};
  if (!options_.kernel.empty()) {
    args.insert(args.end(), {"--kernel", KernelImage(options_.kernel)});
  }
  if (!incoming.empty()) args.insert(args.end(), {"--incoming", incoming});
  for (const IvshmemDevice& device : devices) {
    if (device.vectors > 0) {
      args.insert(args.end(), {"--doorbell", device.path + "," + std::to_string(device.vectors)});
    } else {
      args.insert(args.end(), {"--plain", device.path + "," + std::to_string(device.size) +
                                              (device.master ? ",master" : "")});
    }
  }
  if (!options_.append.empty()) args.insert(args.end(), {"--append", options_.append});
  if (!options_.arguments.empty()) {
    args.emplace_back("--");
    args.insert(args.end(), options_.arguments.begin(), options_.arguments.end());
  }
  std::vector<char*> argv;
  argv.reserve(args.size() + 1);
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);

  const std::string log = dir_ + "/qemu.log";
  pid_ = fork();
  if (pid_ == 0) {
    const int fd = open(log.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0666);
    if (fd >= 0) {
      dup2(fd, STDOUT_FILENO);
      dup2(fd, STDERR_FILENO);
    }
    // Descriptors of the test, say one end of a socket, would stay open in QEMU.
    syscall(SYS_close_range, 3U, ~0U, 0U);
    execv(argv[0], argv.data());
    _exit(127);
  }
  if (pid_ < 0) {
    ADD_FAILURE() << "fork: " << ErrnoText();
    return false;
  }
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0U));
  if (pidfd_ < 0) {
    ADD_FAILURE() << "pidfd_open: " << ErrnoText();
    return false;
  }
  return true;
}

// Takes over a guest whose state is being loaded: waits until it runs and takes commands.
bool Guest::Greet(TimePoint deadline) {
  // What comes before the state is loaded would be overwritten by it.
  if (Qmp("query-status").find("\"status\": \"running\"") == std::string::npos &&
      ReadQmp("\"RESUME\"", deadline).empty()) {
    return false;
  }
  if (!Await([this] { return fs::exists(dir_ + "/agent.out"); }, deadline)) return false;
  Tell("hello");
  return AwaitReady(deadline);
}

// Makes a restored guest another machine than the one that was saved.
bool Guest::Adopt() {
  const TimePoint deadline = Clock::now() + options_.boot_limit;
  if (!ConnectQmp(deadline) || !Greet(deadline)) return false;
  std::string id = ReadFile("/proc/sys/kernel/random/uuid");
  id.resize(std::min<std::size_t>(id.size(), 36));
  const Result result = Run("hostname " + options_.name + " && echo " + id +
                            " > /run/boot_id && mount --bind /run/boot_id "
                            "/proc/sys/kernel/random/boot_id");
  if (result.status != 0) {
    Fail("could not be given a name and boot id: " + result.output);
    return false;
  }
  boot_id_ = id;
  return true;
}

bool Guest::AwaitReady(TimePoint deadline) {
  if (Await([this] { return !boot_id_.empty(); }, deadline)) return true;
  Fail("does not take commands");
  return false;
}

Result Guest::Run(std::string_view command, Duration limit) { return Wait(Start(command), limit); }

Guest::JobId Guest::Start(std::string_view command) {
  const JobId id = next_job_++;
  Job& job = jobs_[id];
  job.command = command;
  if (command.find('\n') != std::string_view::npos) {
    ADD_FAILURE() << "A command for a guest is one line: " << command;
    job.done = true;
    return id;
  }
  Tell("run " + std::to_string(id) + " " + job.command);
  return id;
}

Result Guest::Wait(JobId id, Duration limit) {
  const auto job = jobs_.find(id);
  if (job == jobs_.end()) {
    ADD_FAILURE() << "guest " << Name() << " has no command " << id;
    return {};
  }
  if (!Await([&] { return job->second.done; }, Clock::now() + limit)) {
    Fail("has not finished within " + std::to_string(limit.count()) +
         " ms: " + job->second.command + "\nIts output so far:\n" + job->second.result.output);
    Signal(id, "KILL");
  }
  Result result = std::move(job->second.result);
  jobs_.erase(job);
  return result;
}

bool Guest::WaitForOutput(JobId id, std::string_view text, Duration limit) {
  const auto job = jobs_.find(id);
  if (job == jobs_.end()) {
    ADD_FAILURE() << "guest " << Name() << " has no command " << id;
    return false;
  }
  const auto found = [&] { return job->second.result.output.find(text) != std::string::npos; };
  if (Await([&] { return job->second.done || found(); }, Clock::now() + limit) && found()) {
    return true;
  }
  Fail("does not print '" + std::string(text) + "': " + job->second.command +
       "\nIts output so far:\n" + job->second.result.output);
  return false;
}

const std::string& Guest::Output(JobId id) {
  ReadAgent();
  return jobs_[id].result.output;
}

void Guest::Signal(JobId id, std::string_view signal) {
  Tell("kill " + std::to_string(id) + " " + std::string(signal));
}

// How many files and memories QEMU has open: not sockets and eventfds, which come and go with
// peers.
std::size_t Guest::OpenFiles() const {
  std::size_t count = 0;
  std::error_code error;
  for (const auto& file :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd", error)) {
    if (std::filesystem::read_symlink(file, error).is_absolute()) ++count;
  }
  return count;
}

bool Guest::AddDevice(const IvshmemDevice& device, Duration limit) {
  const std::size_t files = OpenFiles();
  static constexpr std::string_view kCount =
      "grep -lx 0x1110 /sys/bus/pci/devices/*/device | wc -l";
  const std::string before = Run(kCount, limit).output;
  const std::string id = "dev" + std::to_string(next_device_++);
  std::string object;
  std::string front;
  if (device.vectors > 0) {
    object =
        Qmp("chardev-add", "{\"id\":\"" + id +
                               "c\",\"backend\":{\"type\":\"socket\",\"data\":{\"server\":false,"
                               "\"addr\":{\"type\":\"unix\",\"data\":{\"path\":" +
                               Quoted(device.path) + "}}}}}");
    front = "\"driver\":\"ivshmem-doorbell\",\"chardev\":\"" + id +
            "c\",\"vectors\":" + std::to_string(device.vectors);
  } else {
    object = Qmp("object-add", "{\"qom-type\":\"memory-backend-file\",\"id\":\"" + id +
                                   "m\",\"share\":true,\"mem-path\":" + Quoted(device.path) +
                                   ",\"size\":" + std::to_string(device.size) + "}");
    front = "\"driver\":\"ivshmem-plain\",\"memdev\":\"" + id + "m\"";
  }
  if (object.empty() || Qmp("device_add", "{\"id\":\"" + id + "\"," + front + "}", limit).empty()) {
    return false;
  }
  const Result seen = Run(std::string("until [ $(") + std::string(kCount) + ") -gt " +
                              before.substr(0, before.find('\n')) + " ]; do usleep 10000; done",
                          limit);
  plugged_.push_back({.id = id, .doorbell = device.vectors > 0, .files_before = files});
  return seen.status == 0;
}

bool Guest::RemoveLastDevice(Duration limit) {
  const TimePoint deadline = Clock::now() + limit;
  if (plugged_.empty()) {
    Fail("has no device that was plugged in");
    return false;
  }
  const auto [id, is_doorbell, files] = plugged_.back();
  plugged_.pop_back();
  if (Qmp("device_del", "{\"id\":\"" + id + "\"}", limit).empty() ||
      ReadQmp("\"DEVICE_DELETED\"", deadline).empty()) {
    return false;
  }
  if (Qmp(is_doorbell ? "chardev-remove" : "object-del",
          "{\"id\":\"" + id + (is_doorbell ? "c" : "m") + "\"}", limit)
          .empty()) {
    return false;
  }
  // QEMU ends the device some time later, and crashes if another one comes before.
  while (OpenFiles() > files && Clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (OpenFiles() <= files) return true;
  Fail("still has the memory of the device " + id);
  return false;
}

bool Guest::SystemReset(Duration limit) {
  // boot.sh asks for an end at a reset, so that a panic does not become a loop.
  if (Qmp("set-action", R"({"reboot":"reset"})").empty()) return false;
  ReadAgent();
  jobs_.clear();
  boot_id_.clear();
  if (Qmp("system_reset").empty() || !AwaitReady(Clock::now() + limit)) return false;
  return !Qmp("set-action", R"({"reboot":"shutdown"})").empty();
}

void Guest::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  Reap(true);
}

void Guest::Stop() {
  if (pid_ <= 0) return;
  kill(pid_, SIGTERM);
  pollfd end = {.fd = pidfd_, .events = POLLIN, .revents = 0};
  poll(&end, 1, 5000);
  if (!Reap(false)) Kill();
}

// Collects QEMU's status once it has ended. Returns whether it has.
bool Guest::Reap(bool block) {
  if (pid_ <= 0) return true;
  int status = 0;
  const pid_t got = waitpid(pid_, &status, block ? 0 : WNOHANG);
  if (got == 0) return false;
  exit_status_ = status;
  pid_ = -1;
  if (pidfd_ >= 0) close(pidfd_);
  pidfd_ = -1;
  return true;
}

bool Guest::ConnectQmp(TimePoint deadline) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = dir_ + "/qmp.sock";
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  qmp_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  while (connect(qmp_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    pollfd end = {.fd = pidfd_, .events = POLLIN, .revents = 0};
    if (Clock::now() >= deadline || poll(&end, 1, 5) != 0) {
      Fail("has no monitor at " + path + ": " + ErrnoText());
      return false;
    }
  }
  return !ReadQmp("\"QMP\"", deadline).empty() && !Qmp("qmp_capabilities").empty();
}

std::string Guest::Qmp(std::string_view command, std::string_view arguments, Duration limit) {
  std::string line = "{\"execute\":" + Quoted(command) + ",\"arguments\":" + std::string(arguments);
  line += "}\n";
  if (qmp_ < 0 || send(qmp_, line.data(), line.size(), MSG_NOSIGNAL) < 0) {
    Fail("QMP " + std::string(command) + ": " + ErrnoText());
    return "";
  }
  std::string answer = ReadQmp("", Clock::now() + limit);
  if (answer.starts_with("{\"error\"")) {
    Fail("QMP " + line + answer);
    return "";
  }
  return answer;
}

// The next line from the monitor that holds `wanted`; the next one that is no event if empty.
std::string Guest::ReadQmp(std::string_view wanted, TimePoint deadline) {
  for (;;) {
    for (std::size_t end; (end = qmp_buffer_.find('\n')) != std::string::npos;) {
      std::string line = qmp_buffer_.substr(0, end);
      qmp_buffer_.erase(0, end + 1);
      const bool event = line.find("\"event\": ") != std::string::npos;
      if (wanted.empty() ? !event : line.find(wanted) != std::string::npos) return line;
    }
    char bytes[4096];
    const ssize_t n = recv(qmp_, bytes, sizeof bytes, 0);
    if (n > 0) {
      qmp_buffer_.append(bytes, static_cast<std::size_t>(n));
    } else if (n == 0 || errno != EAGAIN || !WaitForActivity(qmp_, deadline)) {
      Fail("its monitor does not answer");
      return "";
    }
  }
}

// Waits for a readable `fd`, a change of a file of the guest, or QEMU's end. False when the time is
// over or QEMU has ended.
bool Guest::WaitForActivity(int fd, TimePoint deadline) {
  if (pidfd_ < 0) return false;
  pollfd fds[] = {{.fd = fd, .events = POLLIN, .revents = 0},
                  {.fd = inotify_, .events = POLLIN, .revents = 0},
                  {.fd = pidfd_, .events = POLLIN, .revents = 0}};
  const int n = poll(fds, std::size(fds), MillisecondsUntil(deadline));
  if (n < 0 && errno == EINTR) return true;
  if (n <= 0) return false;
  if (fds[1].revents != 0) {
    alignas(inotify_event) char events[4096];
    while (read(inotify_, events, sizeof events) > 0) {
    }
  }
  if (fds[2].revents != 0) Reap(false);
  return fds[0].revents != 0 || fds[1].revents != 0;
}

template <typename Condition>
bool Guest::Await(Condition condition, TimePoint deadline) {
  for (;;) {
    ReadAgent();
    if (condition()) return true;
    if (!WaitForActivity(-1, deadline)) {
      ReadAgent();
      return condition();
    }
  }
}

void Guest::ReadAgent() {
  if (agent_out_ < 0) {
    agent_out_ = open((dir_ + "/agent.out").c_str(), O_RDONLY | O_CLOEXEC);
    if (agent_out_ < 0) return;
  }
  char bytes[4096];
  for (ssize_t n; (n = read(agent_out_, bytes, sizeof bytes)) > 0;) {
    agent_buffer_.append(bytes, static_cast<std::size_t>(n));
  }
  std::size_t begin = 0;
  for (std::size_t end; (end = agent_buffer_.find('\n', begin)) != std::string::npos;) {
    HandleLine(std::string_view(agent_buffer_).substr(begin, end - begin));
    begin = end + 1;
  }
  agent_buffer_.erase(0, begin);
}

// The lines are described in tools/guest/agent. What does not belong to a known command, e.g. to
// one from before a reset, is passed over.
void Guest::HandleLine(std::string_view line) {
  const auto next = [&line] {
    const std::size_t end = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    return word;
  };
  const std::string_view what = next();
  if (what == "ready") {
    boot_id_ = line;
    return;
  }
  const std::string_view number = next();
  JobId id = 0;
  std::from_chars(number.data(), number.data() + number.size(), id);
  const auto job = jobs_.find(id);
  if (job == jobs_.end()) return;
  if (what == "out") {
    job->second.result.output.append(line).append("\n");
  } else if (what == "part") {
    job->second.result.output.append(line);
  } else if (what == "exit") {
    std::from_chars(line.data(), line.data() + line.size(), job->second.result.status);
    job->second.done = true;
  }
}

void Guest::Tell(const std::string& line) {
  if (agent_in_ < 0) {
    // For both ways: the open never blocks, and a write after QEMU's end raises no SIGPIPE.
    agent_in_ = open((dir_ + "/agent.in").c_str(), O_RDWR | O_CLOEXEC);
  }
  const std::string text = line + "\n";
  if (agent_in_ < 0 ||
      write(agent_in_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    Fail("cannot be sent '" + line + "': " + ErrnoText());
  }
}

std::string Guest::Console() const { return ReadFile(dir_ + "/console.log"); }

void Guest::Fail(const std::string& what) const {
  std::string text = "Guest " + Name() + ": " + what;
  if (pid_ < 0 && WIFSIGNALED(exit_status_)) {
    text += "\nQEMU was ended by signal " + std::to_string(WTERMSIG(exit_status_)) + ".";
  } else if (pid_ < 0) {
    text += "\nQEMU has ended with status " + std::to_string(WEXITSTATUS(exit_status_)) + ".";
  }
  const std::string log = ReadFile(dir_ + "/qemu.log");
  const std::string console = Console();
  ADD_FAILURE() << text << (log.empty() ? "" : "\nQEMU says:\n") << log << "\nConsole of the guest"
                << (console.empty() ? " is empty." : ":\n") << console;
}

}  // namespace ivmq::testing
