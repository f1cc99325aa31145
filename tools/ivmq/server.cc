// ivmq server: what the operator of an ivmqd sees and does while it runs.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "command.h"
#include "commands.h"
#include "control_client.h"
#include "exit_code.h"
#include "output.h"
#include "qemu_name.h"
#include "table.h"
#include "text.h"

namespace ivmq::tool {
namespace {

constexpr const char* kServerFooter =
    R"(Asks an ivmqd at its control socket, which only root and the server's own user can use. It
stands beside the server's socket ADDR (unix:PATH), unless the server was given --control.

Example:
  ivmq server clients unix:/run/ivmq/ivmq.sock
  ivmq server evict unix:/run/ivmq/ivmq.sock 3)";

constexpr const char* kClientsFooter =
    R"(STATE: greeting (has not read its greeting), connected, slow (does not read what others it
has to be told of), held-back (may not open enough files for the doorbells of all), lingering
(has no connection any more, but a process can still write the region by this id, so it is
not given to another). TOLD: ids whose doorbells it has, its own included; OWED: ids that are
still to be announced to it. NAME: what QEMU's -name says.)";

constexpr const char* kEvictFooter =
    R"(Ends the connection of the client with this id, as if the client had closed it. What it has
it keeps: it goes on sending and receiving, and the id is not reused before its last process
has closed the region. QEMU does not connect again; other clients may. To keep somebody out,
change --allow-uid or drain.)";

constexpr const char* kDrainFooter =
    R"(Newcomers are refused until `ivmq server undrain`, or until the server is restarted. Who has a
connection keeps it, and who only looks (`ivmq ls`) is served.)";

struct ServerFlags {
  std::string control;
  bool json = false;
};

// An integer of the answer, whatever it is.
std::string Number(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->dump() : "-";
}

std::string Word(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? PrintableName(found->get<std::string>())
                                                     : "-";
}

// Adds what the server does not read itself.
void AddNames(Json* clients) {
  for (Json& client : *clients) {
    if (!client.is_object()) continue;
    client["name"] = nullptr;
    if (client.value("qemu", Json(false)) != true) continue;
    const auto pid = client.find("pid");
    if (pid == client.end() || !pid->is_number_integer()) continue;
    if (std::string name = QemuNameOf(pid->get<pid_t>()); !name.empty()) {
      client["name"] = std::move(name);
    }
  }
}

std::string ClientTable(const Json& clients) {
  using Align = Table::Align;
  Table table({{"ID", Align::kRight},
               {"STATE"},
               {"PID", Align::kRight},
               {"UID", Align::kRight, 2},
               {"PROCESS"},
               {"NAME"},
               {"SINCE", Align::kLeft, 1},
               {"TOLD", Align::kRight, 4},
               {"OWED", Align::kRight, 3}});
  for (const Json& client : clients) {
    if (!client.is_object()) continue;
    table.AddRow({Number(client, "id"), Word(client, "state"), Number(client, "pid"),
                  Number(client, "uid"), Word(client, "process"), Word(client, "name"),
                  Word(client, "since"), Number(client, "told"), Number(client, "owed")});
  }
  return table.Render();
}

Result<Json> Ask(const ServerFlags& flags, const std::string& address, const Json& request) {
  if (!flags.control.empty()) return AskServer(flags.control, request);
  const Result<std::string> path = ControlPathOf(address);
  if (!path.ok()) return path.status();
  return AskServer(*path, request);
}

int RunClients(const ServerFlags& flags, const std::string& address) {
  Result<Json> answer = Ask(flags, address, {{"command", "clients"}});
  if (!answer.ok()) return Fail(answer.status());
  Json clients = answer->value("clients", Json::array());
  AddNames(&clients);
  Print(flags.json ? JsonText({{"clients", std::move(clients)}}) : ClientTable(clients));
  return kExitOk;
}

int RunStatus(const ServerFlags& flags, const std::string& address) {
  Result<Json> answer = Ask(flags, address, {{"command", "status"}});
  if (!answer.ok()) return Fail(answer.status());
  answer->erase("ok");
  Print(flags.json ? JsonText(*answer) : Outline(*answer));
  return kExitOk;
}

int RunMetrics(const ServerFlags& flags, const std::string& address) {
  const Result<Json> answer = Ask(flags, address, {{"command", "metrics"}});
  if (!answer.ok()) return Fail(answer.status());
  const Json metrics = answer->value("metrics", Json());
  if (metrics.is_string()) Print(metrics.get<std::string>());
  return kExitOk;
}

int RunEvict(const ServerFlags& flags, const std::string& address, const std::string& word) {
  const auto id = ParseNumber(word, 0xffff);
  if (!id)
    WrongUsage(fmt::format("ID is a number, as `ivmq server clients` shows it, not '{}'", word));
  const Result<Json> answer = Ask(flags, address, {{"command", "evict"}, {"id", *id}});
  if (!answer.ok()) return Fail(answer.status());
  Print(fmt::format("evicted {}\n", *id));
  return kExitOk;
}

int RunDrain(const ServerFlags& flags, const std::string& address, bool drain) {
  const Result<Json> answer = Ask(flags, address, {{"command", drain ? "drain" : "undrain"}});
  if (!answer.ok()) return Fail(answer.status());
  Print(drain ? "newcomers are refused\n" : "newcomers are let in\n");
  return kExitOk;
}

}  // namespace

void AddServer(CLI::App& app, int* exit_code) {
  CLI::App* const server =
      app.add_subcommand("server", "List and evict clients of a running ivmqd");
  server->group("Commands")->require_subcommand(1)->footer(kServerFooter);
  const auto flags = std::make_shared<ServerFlags>();
  using Words = std::vector<std::string>;
  const auto add = [&](const CommandText& text, bool has_json, const Run& run) {
    CLI::App* const command = AddCommand(*server, exit_code, text, run);
    command->add_option("--control", flags->control, "The control socket, if it is elsewhere")
        ->type_name("PATH");
    if (has_json) command->add_flag("--json", flags->json, "Print JSON");
  };
  add({.name = "clients",
       .summary = "List the clients of the server",
       .words = "",
       .footer = kClientsFooter},
      true,
      [flags](const std::string& address, const Words&) { return RunClients(*flags, address); });
  add({.name = "status",
       .summary = "Show what the server serves, and whom it has refused",
       .words = "",
       .footer = ""},
      true,
      [flags](const std::string& address, const Words&) { return RunStatus(*flags, address); });
  add({.name = "metrics",
       .summary = "Print the server's metrics in Prometheus' text format",
       .words = "",
       .footer = ""},
      false,
      [flags](const std::string& address, const Words&) { return RunMetrics(*flags, address); });
  add({.name = "evict",
       .summary = "End the connection of a client",
       .words = "ID",
       .min_words = 1,
       .max_words = 1,
       .footer = kEvictFooter},
      false, [flags](const std::string& address, const Words& words) {
        return RunEvict(*flags, address, words[0]);
      });
  add({.name = "drain",
       .summary = "Refuse newcomers from now on",
       .words = "",
       .footer = kDrainFooter},
      false, [flags](const std::string& address, const Words&) {
        return RunDrain(*flags, address, true);
      });
  add({.name = "undrain", .summary = "Let newcomers in again", .words = "", .footer = ""}, false,
      [flags](const std::string& address, const Words&) {
        return RunDrain(*flags, address, false);
      });
}

}  // namespace ivmq::tool
