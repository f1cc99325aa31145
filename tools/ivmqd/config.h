// What the operator asked for: on the command line and in a file.
#ifndef IVMQ_TOOLS_IVMQD_CONFIG_H_
#define IVMQ_TOOLS_IVMQD_CONFIG_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "ivmq/status.h"

#include "estate.h"
#include "log.h"
#include "region_server.h"

namespace ivmq::server {

struct RegionConfig {
  std::string name;     // of its section; empty: the only region of this server
  Options options;      // without `log`
  std::string control;  // path of its control socket; empty: beside its socket; "none": none
};

struct Config {
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  std::string metrics;  // where they are served; empty: nowhere
  Keep keep = Keep::kAuto;
  bool upgrade = false;  // see EstateOptions, as for the next one
  bool take_over = true;
  std::vector<RegionConfig> regions;  // at least one
  std::optional<std::string> help;    // print this and end
};

// Reads the command line and the file that it names with --config: lines "NAME = VALUE" with the
// names of the options, then a section "[REGION]" for each of several regions. What the command
// line says goes before what the file says. Read again after a change of the file, the same
// arguments give what holds now.
//   INVALID_ARGUMENT  names the option, and the file and section if it stands there
//   NOT_FOUND, ...    the file cannot be read
Result<Config> ReadConfig(const std::vector<std::string>& arguments);

// Calls `look` with the options of the command line, for what is made of them beside it.
void LookAtOptions(const std::function<void(const CLI::App&)>& look);

// The options, apart from those that Reconfigure() takes while the server runs, by which `wanted`
// differs from `running`.
std::vector<std::string> FixedDifferences(const RegionConfig& running, const RegionConfig& wanted);

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_CONFIG_H_
