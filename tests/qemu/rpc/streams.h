// Streams whose reader does not read until their writer has no credit left.
#ifndef IVMQ_TESTS_QEMU_RPC_STREAMS_H_
#define IVMQ_TESTS_QEMU_RPC_STREAMS_H_

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "streams.ivmq.pb.h"

namespace ivmq::testing {

class StreamsService final : public Streams::Service {
 public:
  rpc::Status Count(rpc::ServerContext* context, const Blocks* request,
                    rpc::ServerWriter<Block>* writer) override;
  rpc::Status Collect(rpc::ServerContext* context, rpc::ServerReader<Block>* reader,
                      Blocks* response) override;
  rpc::Status Echo(rpc::ServerContext* context,
                   rpc::ServerReaderWriter<Block, Block>* stream) override;
  rpc::Status AwaitSent(rpc::ServerContext* context, const Blocks* request,
                        Blocks* response) override;
  rpc::Status LetCollect(rpc::ServerContext* context, const Blocks* request,
                         Blocks* response) override;

 private:
  struct Client {
    std::int64_t sent = 0;
    bool may_collect = false;
  };
  void SetSent(const std::string& client, std::int64_t sent);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Client> clients_;  // by name; guarded by mutex_
};

// One of each kind. Ends the program unless all blocks come, in order, and the writer stops while
// nobody reads.
void CheckStreams(Streams::Stub& stub);

// One of each kind at once, until the peer dies: says "the streams stand still" when it may. Ends
// the program unless what was sent before comes first, and all of them are then UNAVAILABLE.
void OutliveStreams(Streams::Stub& stub);

}  // namespace ivmq::testing

#endif  // IVMQ_TESTS_QEMU_RPC_STREAMS_H_
