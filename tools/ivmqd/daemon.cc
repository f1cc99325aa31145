#include "daemon.h"

#include <algorithm>
#include <csignal>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "http.h"
#include "listener.h"
#include "metrics_listener.h"
#include "record.h"
#include "service_manager.h"
#include "src/text.h"
#include "src/unique_fd.h"

namespace ivmq::server {
namespace {

Result<std::map<std::string, UniqueFd>> ListeningSocketsOf(std::vector<PassedFd> passed) {
  std::map<std::string, UniqueFd> sockets;
  for (PassedFd& one : passed) {
    Result<std::string> path = Listener::PathOf(one.fd.get());
    if (!path.ok()) return path.status();
    sockets.emplace(*std::move(path), std::move(one.fd));
  }
  return sockets;
}

UniqueFd Take(const std::string& path, std::map<std::string, UniqueFd>* sockets) {
  const auto entry = sockets->extract(path);
  return entry.empty() ? UniqueFd() : std::move(entry.mapped());
}

std::string Where(const RegionConfig& region) {
  return region.name.empty() ? std::string() : fmt::format("[{}] ", region.name);
}

// Empty: there is to be none.
std::string ControlPath(const RegionConfig& region) {
  if (region.control == "none") return "";
  return region.control.empty() ? region.options.socket + ".control" : region.control;
}

std::string Join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

Daemon::Daemon(std::vector<std::string> arguments, EventLoop& loop, Log& log)
    : arguments_(std::move(arguments)), loop_(loop), log_(log), write_(log.WriterFor("")) {}

Daemon::~Daemon() {
  service_manager::NotifyStopping();
  if (estate_) estate_->End();
}

Result<std::unique_ptr<Daemon>> Daemon::Start(Config config, std::vector<std::string> arguments,
                                              std::vector<PassedFd> passed, EventLoop& loop,
                                              Log& log) {
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(arguments), loop, log));
  auto signals = Signals::Take(
      loop, {SIGTERM, SIGINT, SIGHUP},
      [self = daemon.get()](int signal, pid_t sender) { self->OnSignal(signal, sender); });
  if (!signals.ok()) return signals.status();
  daemon->signals_ = *std::move(signals);
  if (Status status = daemon->OpenEstate(config, &passed); !status.ok()) return status;
  Result<ListeningSockets> sockets = ListeningSocketsOf(std::move(passed));
  if (!sockets.ok()) return sockets.status();
  if (Status status = daemon->ServeRegions(std::move(config.regions), &*sockets); !status.ok()) {
    return status;
  }
  if (Status status = daemon->WatchDog(); !status.ok()) return status;
  if (Status status = daemon->estate_->Commit(); !status.ok()) return status;
  for (ServedRegion& region : daemon->regions_) daemon->ServeControl(region, &*sockets);
  daemon->ServeMetrics(config.metrics);
  daemon->NotifyReady();
  return daemon;
}

// Leaves in `passed` what is none of the estate.
Status Daemon::OpenEstate(const Config& config, std::vector<PassedFd>* passed) {
  EstateOptions options{
      .keep = config.keep, .upgrade = config.upgrade, .take_over = config.take_over, .log = write_};
  for (const RegionConfig& region : config.regions) {
    options.sockets.push_back(region.options.socket);
  }
  options.accepts = [&config](const Record& record) {
    for (const RegionConfig& region : config.regions) {
      for (std::size_t i = 0; i < record.regions(); ++i) {
        const RegionRecord former = record.region(i);
        if (former.socket() != region.options.socket) continue;
        if (Status status = RegionServer::CheckFormer(former, region.options); !status.ok()) {
          return Status(status.code(), Where(region) + status.message());
        }
      }
    }
    return Status();
  };
  const auto kept = std::partition(passed->begin(), passed->end(),
                                   [](const PassedFd& one) { return KeyOf(one.name) == 0; });
  std::vector<PassedFd> of_estate;
  std::move(kept, passed->end(), std::back_inserter(of_estate));
  passed->erase(kept, passed->end());
  auto estate = Estate::Open(std::move(options), loop_, std::move(of_estate));
  if (!estate.ok()) return estate.status();
  estate_ = *std::move(estate);
  return {};
}

Status Daemon::ServeRegions(std::vector<RegionConfig> configs, ListeningSockets* sockets) {
  std::set<std::string> for_control;
  for (RegionConfig& config : configs) {
    Log::Writer log = log_.WriterFor(config.name);
    Options options = config.options;
    options.log = log;
    auto server = RegionServer::Create(std::move(options), loop_, *estate_,
                                       Take(config.options.socket, sockets));
    if (!server.ok()) {
      return {server.status().code(),
              fmt::format("{}{}", Where(config), server.status().message())};
    }
    for_control.insert(ControlPath(config));
    auto metrics = std::make_unique<RegionMetrics>(config.name, config.options.size, **server);
    regions_.push_back({std::move(config), std::move(log), *std::move(server), std::move(metrics)});
  }
  for (const auto& [path, socket] : *sockets) {
    if (for_control.contains(path)) continue;
    return {StatusCode::kInvalidArgument,
            fmt::format("the service manager has passed a socket that listens at {}, and no region "
                        "has this --socket or --control",
                        path)};
  }
  return {};
}

// By now clients are served: what is wrong with this is no reason to end that.
void Daemon::ServeControl(ServedRegion& region, ListeningSockets* sockets) {
  const std::string path = ControlPath(region.config);
  if (path.empty()) return;
  UniqueFd passed = Take(path, sockets);
  auto listener = passed.valid() ? Listener::Adopt(std::move(passed))
                                 : Listener::Open(path, /*group=*/std::nullopt, /*mode=*/0600);
  if (!listener.ok()) {
    return region.log(LogLevel::kError,
                      fmt::format("--control {}; it goes on without", listener.status().message()));
  }
  region.control = std::make_unique<Control>(region.config, *region.server,
                                             [this, &region] { return MetricsOf(region); });
  auto requests =
      RequestServer::Create(loop_, *std::move(listener),
                            [control = region.control.get()](int socket, std::string* input) {
                              return control->AnswerLine(socket, input);
                            });
  if (!requests.ok()) {
    return region.log(LogLevel::kError, fmt::format("--control {}: {}; it goes on without", path,
                                                    requests.status().message()));
  }
  region.requests = *std::move(requests);
  region.log(LogLevel::kInfo, fmt::format("control socket at {}", path));
}

// Likewise.
void Daemon::ServeMetrics(const std::string& address) {
  metrics_address_ = address;
  if (address.empty()) return;
  auto listening = ListenForMetrics(address);
  if (!listening.ok()) {
    return write_(LogLevel::kError,
                  fmt::format("--metrics {}; it goes on without", listening.status().message()));
  }
  auto metrics = RequestServer::Create(loop_, std::move(listening->listener),
                                       [this](int /*socket*/, std::string* input) {
                                         return AnswerHttp([this] { return AllMetrics(); }, input);
                                       });
  if (!metrics.ok()) {
    return write_(LogLevel::kError, fmt::format("--metrics {}: {}; it goes on without", address,
                                                metrics.status().message()));
  }
  metrics_ = *std::move(metrics);
  write_(LogLevel::kInfo, fmt::format("metrics at {}", listening->where));
}

ServerFigures Daemon::Figures() const {
  return {.log_lines_dropped = log_.dropped(), .takeovers = estate_->takeovers()};
}

std::string Daemon::AllMetrics() {
  std::vector<RegionFigures> figures;
  for (ServedRegion& region : regions_) figures.push_back(region.metrics->Look());
  return MetricsText(figures, Figures());
}

std::string Daemon::MetricsOf(ServedRegion& region) {
  return MetricsText({region.metrics->Look()}, Figures());
}

Status Daemon::WatchDog() {
  const auto timeout = service_manager::WatchdogTimeout();
  if (!timeout) return {};
  auto timer = Timer::Create(loop_, [] { service_manager::NotifyAlive(); });
  if (!timer.ok()) return timer.status();
  watchdog_ = *std::move(timer);
  watchdog_->Repeat(*timeout / 2);
  return {};
}

void Daemon::NotifyReady() const {
  const std::size_t regions = regions_.size();
  service_manager::NotifyReady(
      fmt::format("serving {} region{}", regions, regions == 1 ? "" : "s"));
}

void Daemon::OnSignal(int signal, pid_t sender) {
  if (signal == SIGHUP) {
    write_(LogLevel::kInfo, fmt::format("SIGHUP from pid {}: reading the options again", sender));
    service_manager::NotifyReloading();
    Reload();
    NotifyReady();
    return;
  }
  write_(LogLevel::kInfo,
         fmt::format("{} from pid {}", signal == SIGTERM ? "SIGTERM" : "SIGINT", sender));
  loop_.Stop();
}

// All or nothing: a file with a mistake changes nothing.
void Daemon::Reload() {
  const Result<Config> wanted = ReadConfig(arguments_);
  if (!wanted.ok()) {
    write_(LogLevel::kError,
           fmt::format("{}; the options stay as they were", wanted.status().message()));
    return;
  }
  log_.SetLevel(wanted->log_level);
  log_.SetFormat(wanted->log_format);
  if (wanted->metrics != metrics_address_) {
    write_(LogLevel::kWarning, "metrics stays as it was until a restart");
  }
  for (const RegionConfig& config : wanted->regions) {
    const auto is_it = [&](const ServedRegion& region) {
      return region.config.name == config.name;
    };
    const auto region = std::find_if(regions_.begin(), regions_.end(), is_it);
    if (region != regions_.end()) {
      ReloadRegion(*region, config);
    } else {
      write_(LogLevel::kWarning,
             fmt::format("{}is new: it is served after a restart", Where(config)));
    }
  }
  for (const ServedRegion& region : regions_) {
    const auto is_it = [&](const RegionConfig& config) {
      return region.config.name == config.name;
    };
    if (std::none_of(wanted->regions.begin(), wanted->regions.end(), is_it)) {
      region.log(LogLevel::kWarning, "is not there any more: it is served until a restart");
    }
  }
  write_(LogLevel::kInfo, "the options were read again");
}

void Daemon::ReloadRegion(ServedRegion& region, const RegionConfig& wanted) {
  if (const auto fixed = FixedDifferences(region.config, wanted); !fixed.empty()) {
    region.log(LogLevel::kWarning,
               fmt::format("these options stay as they were until a restart: {}", Join(fixed)));
  }
  region.server->Reconfigure(wanted.options);
}

}  // namespace ivmq::server
