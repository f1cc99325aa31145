// Two peers exchange protobuf messages: a station reports a temperature, an office answers with
// advice.
#include <iostream>

#include "ivmq/proto.h"

#include "weather.pb.h"

int main() {
  // Both live in this process; with another address each could live in a machine of its own.
  const auto station = ivmq::Node::Open("inproc:weather", {.name = "station"});
  const auto office = ivmq::Node::Open("inproc:weather", {.name = "office"});
  // A message says its type by name, or by an id that both ends have registered.
  ivmq::TypeIds ids;
  const auto registered = ids.Add<weather::Reading>(1);
  for (const auto& status : {station.status(), office.status(), registered}) {
    if (!status.ok()) {
      std::cerr << status.ToString() << '\n';
      return 1;
    }
  }

  ivmq::Dispatcher at_office(**office, ids);
  at_office.On<weather::Reading>(
      [&](const weather::Reading& reading, const ivmq::Message& message) {
        std::cout << "office: " << reading.celsius() << " C in " << reading.place() << '\n';
        weather::Advice advice;
        advice.set_text(reading.celsius() < 15 ? "take a coat" : "no coat today");
        if (ivmq::Send(**office, message.from, advice) != ivmq::SendResult::kOk) {
          std::cerr << "the answer was not sent\n";
        }
      });
  ivmq::Dispatcher at_station(**station);
  at_station.On<weather::Advice>(
      [](const weather::Advice& advice) { std::cout << "station: " << advice.text() << '\n'; });

  weather::Reading reading;
  reading.set_place("Bergen");
  reading.set_celsius(11.5);
  auto to_office = (*station)->OpenSender("office");
  if (!to_office.ok() || to_office->Send(ivmq::ById{reading, ids}) != ivmq::SendResult::kOk) {
    std::cerr << "the reading was not sent\n";
    return 1;
  }

  // Each peer would have a loop of its own; here one thread plays both.
  while ((*office)->Poll(at_office) == 0) (*office)->Wait(std::chrono::seconds(1));
  while ((*station)->Poll(at_station) == 0) (*station)->Wait(std::chrono::seconds(1));
}
