#include "control.h"

#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "ivmq/status.h"

#include "client_process.h"

namespace ivmq::server {
namespace {

using Json = nlohmann::ordered_json;

std::string TimeText(std::chrono::system_clock::time_point time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

Json ToJson(const ClientInfo& client) {
  Json json;
  json["id"] = client.id;
  json["state"] = ClientStateName(client.state);
  if (client.pid != 0) {
    json["pid"] = client.pid;
    json["process"] = client.process;
    json["qemu"] = client.is_qemu;
  }
  if (client.uid) json["uid"] = *client.uid;
  if (client.since) json["since"] = TimeText(*client.since);
  if (client.state != ClientState::kLingering) {
    json["told"] = client.told;
    json["owed"] = client.owed;
  }
  return json;
}

Json StatusToJson(const RegionConfig& config, const RegionServer& server) {
  const Options& options = config.options;
  const ServerState state = server.state();
  Json json;
  json["version"] = IVMQ_VERSION;
  json["pid"] = getpid();
  if (!config.name.empty()) json["name"] = config.name;
  json["socket"] = options.socket;
  json["region"] = options.region;
  json["size"] = options.size;
  json["allocated"] = state.allocated;
  json["vectors"] = options.vectors;
  json["max_peers"] = options.max_peers;
  json["id_policy"] = options.id_policy == IdPolicy::kLend ? "lend" : "unique";
  json["epoch"] = server.region().header().server_epoch.load();
  json["draining"] = state.is_draining;
  json["clients"] = state.clients;
  json["lingering"] = state.lingering;
  json["observers"] = state.observers;
  json["admitted"] = state.admitted;
  json["ended"] = state.ended;
  Json& refused = json["refused"] = Json::object();
  for (std::size_t i = 0; i < state.refused.size(); ++i) {
    refused[std::string(RefusalName(static_cast<Refusal>(i)))] = state.refused[i];
  }
  json["log_lines_omitted"] = state.log_lines_omitted;
  return json;
}

std::string Text(const Json& json) {
  return json.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

Json Ok() { return {{"ok", true}}; }

Json Failed(const Status& status) {
  return {{"ok", false},
          {"code", StatusCodeName(status.code())},
          {"message", std::string(status.message())}};
}

Json ToJson(const Status& status) { return status.ok() ? Ok() : Failed(status); }

Result<Json> Parse(std::string_view request) {
  Json json = Json::parse(request, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return Status(StatusCode::kInvalidArgument,
                  R"(a request is an object in one line, e.g. {"command":"clients"})");
  }
  return json;
}

Result<std::uint16_t> IdOf(const Json& request) {
  const auto id = request.find("id");
  if (id == request.end() || !id->is_number_unsigned() || id->get<std::uint64_t>() > 0xffff) {
    return Status(StatusCode::kInvalidArgument, R"("id" is the number of a client, 0 to 65535)");
  }
  return id->get<std::uint16_t>();
}

}  // namespace

std::optional<Answer> Control::AnswerLine(int socket, std::string* input) {
  const std::size_t end = input->find('\n');
  if (end == std::string::npos) return std::nullopt;
  const std::string request = input->substr(0, end);
  input->erase(0, end + 1);
  return Answer{
      .text =
          AnswerRequest(request, [socket] { return ClientProcess(socket).description(); }) + "\n"};
}

std::string Control::AnswerRequest(std::string_view request,
                                   const std::function<std::string()>& by) {
  const Result<Json> parsed = Parse(request);
  if (!parsed.ok()) return Text(Failed(parsed.status()));
  const auto word = parsed->find("command");
  const std::string command =
      word != parsed->end() && word->is_string() ? word->get<std::string>() : std::string();
  if (command == "status") {
    Json answer = Ok();
    answer.update(StatusToJson(config_, server_));
    return Text(answer);
  }
  if (command == "clients") {
    Json answer = Ok();
    Json& clients = answer["clients"] = Json::array();
    for (const ClientInfo& client : server_.Clients()) clients.push_back(ToJson(client));
    return Text(answer);
  }
  if (command == "metrics") {
    Json answer = Ok();
    answer["metrics"] = metrics_();
    return Text(answer);
  }
  if (command == "evict") {
    const Result<std::uint16_t> id = IdOf(*parsed);
    return Text(ToJson(id.ok() ? server_.Evict(*id, by()) : id.status()));
  }
  if (command == "drain" || command == "undrain") {
    server_.SetDraining(command == "drain", by());
    return Text(Ok());
  }
  return Text(Failed({StatusCode::kUnimplemented,
                      fmt::format("\"command\" is none of status, clients, metrics, evict, drain "
                                  "and undrain: '{}'",
                                  command.substr(0, 64))}));
}

}  // namespace ivmq::server
