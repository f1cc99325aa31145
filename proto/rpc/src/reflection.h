// ivmq.reflection.Reflection.
#ifndef IVMQ_RPC_REFLECTION_H_
#define IVMQ_RPC_REFLECTION_H_

#include <mutex>
#include <string>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/empty.pb.h>
#include <google/protobuf/field_mask.pb.h>
#include <google/protobuf/wrappers.pb.h>

#include "ivmq/rpc/server.h"

namespace ivmq::rpc::internal {

// Thread-safe. For the types of the messages see builtin_protos.h.
class Reflection final : public Service {
 public:
  // `services`: the full names of all that the server offers.
  explicit Reflection(std::vector<std::string> services);

  Status ListServices(ServerContext* context, const google::protobuf::Empty* request,
                      google::protobuf::FieldMask* response);
  Status FindSymbol(ServerContext* context, const google::protobuf::StringValue* request,
                    google::protobuf::FileDescriptorSet* response);

 private:
  void Build();

  const std::vector<std::string> services_;
  std::once_flag built_;
  // The files of the services and what they import. Not the pool of the generated code: that one
  // keeps every name that it was asked for in vain.
  google::protobuf::DescriptorPool pool_;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_REFLECTION_H_
