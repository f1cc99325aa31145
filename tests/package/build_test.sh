# shellcheck shell=bash disable=SC2164,SC2317 # in_root.sh runs it with set -e
# Programs are built against the packages, with CMake and with pkg-config alone.
apt-get -q -y --no-install-recommends --no-download install cmake g++ make pkg-config >/dev/null
mkdir -p /tmp/app && cd /tmp/app
cat >greeter.proto <<'END'
syntax = "proto3";
package app;
message Name { string name = 1; }
service Greeter { rpc Greet(Name) returns (Name); }
END
cat >main.cc <<'END'
#include <iostream>

#include "greeter.ivmq.pb.h"
#include "ivmq/node.h"
#include "ivmq/rpc/client.h"
#include "ivmq/rpc/server.h"

class Greeter final : public app::Greeter::Service {
  ivmq::rpc::Status Greet(ivmq::rpc::ServerContext*, const app::Name* request,
                          app::Name* reply) override {
    reply->set_name("welcome, " + request->name());
    return ivmq::rpc::Status::OK;
  }
};

int main() {
  auto host = ivmq::rpc::Endpoint::Open("inproc:app", {.node = {.name = "host"}});
  auto guest = ivmq::rpc::Endpoint::Open("inproc:app", {.node = {.name = "guest"}});
  if (!host.ok() || !guest.ok()) return 1;
  Greeter greeter;
  const auto server = ivmq::rpc::ServerBuilder(*host).RegisterService(&greeter).BuildAndStart();
  const auto stub = app::Greeter::NewStub((*guest)->CreateChannel("host"));
  ivmq::rpc::ClientContext context;
  app::Name request;
  request.set_name("guest");
  app::Name reply;
  if (!stub->Greet(&context, request, &reply).ok()) return 1;
  std::cout << reply.name() << '\n';
  return 0;
}
END
cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.25)
project(app CXX)
find_package(ivmq 0.1 REQUIRED COMPONENTS rpc)
add_executable(app main.cc)
ivmq_generate(TARGET app PROTOS greeter.proto)
target_link_libraries(app PRIVATE ivmq::rpc)
END
cmake -B build
cmake --build build
[ "$(build/app)" = "welcome, guest" ]

protoc --cpp_out=. --ivmq_out=. greeter.proto
# shellcheck disable=SC2046 # options
g++ -std=c++20 -o app main.cc greeter.pb.cc greeter.ivmq.pb.cc $(pkg-config --cflags --libs ivmq)
[ "$(./app)" = "welcome, guest" ]
ldd app | grep -q 'libivmq\.so\.0 => /'
