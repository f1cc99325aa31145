// Streams in each direction: a client reads one, writes one, and does both at once.
#include <iostream>
#include <memory>

#include "ivmq/rpc/server.h"
#include "ivmq/rpc/stream.h"

#include "station.ivmq.pb.h"

namespace {

using example::Range;
using example::Reading;
using example::Summary;
using ivmq::rpc::ClientContext;
using ivmq::rpc::ServerContext;
using ivmq::rpc::Status;

class StationService final : public example::Station::Service {
  Status Watch(ServerContext* /*context*/, const Range* request,
               ivmq::rpc::ServerWriter<Reading>* writer) override {
    Reading reading;
    for (std::int64_t second = 0; second < request->seconds(); ++second) {
      reading.set_second(second);
      reading.set_celsius(10 + static_cast<double>(second % 5));
      // False: the client does not want more of them.
      if (!writer->Write(reading)) break;
    }
    return Status::OK;
  }

  Status Summarize(ServerContext* /*context*/, ivmq::rpc::ServerReader<Reading>* reader,
                   Summary* response) override {
    Reading reading;
    double sum = 0;
    while (reader->Read(&reading)) {
      sum += reading.celsius();
      response->set_readings(response->readings() + 1);
    }
    response->set_mean(sum / static_cast<double>(response->readings()));
    return Status::OK;
  }

  Status Smooth(ServerContext* /*context*/,
                ivmq::rpc::ServerReaderWriter<Reading, Reading>* stream) override {
    Reading reading;
    double smooth = 0;
    while (stream->Read(&reading)) {
      smooth = reading.second() == 0 ? reading.celsius() : (smooth + reading.celsius()) / 2;
      reading.set_celsius(smooth);
      if (!stream->Write(reading)) break;
    }
    return Status::OK;
  }
};

int Fail(const Status& status) {
  std::cerr << ivmq::rpc::StatusCodeName(status.error_code()) << ": " << status.error_message()
            << '\n';
  return 1;
}

}  // namespace

int main() {
  // Both live in this process; with another address each could live in a machine of its own.
  const auto station = ivmq::rpc::Endpoint::Open("inproc:station", {.node = {.name = "station"}});
  const auto office = ivmq::rpc::Endpoint::Open("inproc:station", {.node = {.name = "office"}});
  for (const auto* endpoint : {&station, &office}) {
    if (!endpoint->ok()) {
      std::cerr << endpoint->status().ToString() << '\n';
      return 1;
    }
  }
  StationService service;
  const auto server = ivmq::rpc::ServerBuilder(*station).RegisterService(&service).BuildAndStart();
  if (!server.ok()) {
    std::cerr << server.status().ToString() << '\n';
    return 1;
  }
  const auto stub = example::Station::NewStub((*office)->CreateChannel("station"));

  // A stream from the server, until it ends.
  Range range;
  range.set_seconds(1000);
  Reading reading;
  std::int64_t count = 0;
  {
    ClientContext context;
    const auto reader = stub->Watch(&context, range);
    while (reader->Read(&reading)) ++count;
    if (const Status status = reader->Finish(); !status.ok()) return Fail(status);
  }
  std::cout << "watched " << count << " readings\n";

  // A stream to the server, which answers once.
  Summary summary;
  {
    ClientContext context;
    const auto writer = stub->Summarize(&context, &summary);
    for (int second = 0; second < 4; ++second) {
      reading.set_second(second);
      reading.set_celsius(second);
      if (!writer->Write(reading)) break;
    }
    writer->WritesDone();
    if (const Status status = writer->Finish(); !status.ok()) return Fail(status);
  }
  std::cout << "the mean of " << summary.readings() << " readings is " << summary.mean() << '\n';

  // Both: each reading is answered by one.
  {
    ClientContext context;
    const auto both = stub->Smooth(&context);
    for (int second = 0; second < 3; ++second) {
      reading.set_second(second);
      reading.set_celsius(second * 8);
      if (!both->Write(reading) || !both->Read(&reading)) break;
      std::cout << second * 8 << " smoothed is " << reading.celsius() << '\n';
    }
    both->WritesDone();
    if (const Status status = both->Finish(); !status.ok()) return Fail(status);
  }

  // Enough: what the client leaves, it cancels.
  range.set_seconds(1'000'000'000);
  ClientContext context;
  const auto reader = stub->Watch(&context, range);
  if (!reader->Read(&reading)) return Fail(reader->Finish());
  context.TryCancel();
  std::cout << "then: " << ivmq::rpc::StatusCodeName(reader->Finish().error_code()) << '\n';
}
