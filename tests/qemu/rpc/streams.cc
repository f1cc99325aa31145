#include "streams.h"

#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "ivmq/rpc/stream.h"

#include "must.h"
#include "support/random.h"

namespace ivmq::testing {
namespace {

using rpc::ClientContext;
using rpc::Status;
using rpc::StatusCode;

constexpr std::size_t kBlockBytes = std::size_t{8} << 10;
// Of a stream: several times what goes without credit. Their numbers take one byte.
constexpr std::int64_t kBlocks = 100;

Block MakeBlock(std::int64_t number) {
  Block block;
  block.set_number(number);
  std::string& data = *block.mutable_data();
  data.resize(kBlockBytes);
  FillPattern(std::as_writable_bytes(std::span(data)), static_cast<std::uint64_t>(number));
  return block;
}

bool IsBlock(const Block& block, std::int64_t number) {
  return block.number() == number && block.data().size() == kBlockBytes &&
         HasPattern(std::as_bytes(std::span(block.data())), static_cast<std::uint64_t>(number));
}

// How many blocks a writer sends while nobody reads: see "Credit" in docs/rpc-format.md.
std::int64_t BlocksWithoutCredit() {
  constexpr std::int64_t kBytes = 262144;
  const auto cost = static_cast<std::int64_t>(MakeBlock(1).ByteSizeLong()) + 16;
  return (kBytes + cost - 1) / cost;
}

void MustBe(std::int64_t count, std::int64_t wanted, const char* what) {
  if (count == wanted) return;
  Fail(std::string(what) + ": " + std::to_string(count) + " instead of " + std::to_string(wanted));
}

std::int64_t AwaitSent(Streams::Stub& stub, std::int64_t count) {
  ClientContext context;
  BePatient(context);
  Blocks blocks;
  blocks.set_count(count);
  Must(stub.AwaitSent(&context, blocks, &blocks), "AwaitSent");
  return blocks.count();
}

// The server sends what it may without credit. It has the time of two more calls to send too much.
void AwaitStandstill(Streams::Stub& stub) {
  const std::int64_t count = BlocksWithoutCredit();
  for (int i = 0; i < 3; ++i) MustBe(AwaitSent(stub, count), count, "sent without credit");
}

template <typename Reader>
void MustRead(Reader& reader, std::int64_t count) {
  Block block;
  for (std::int64_t number = 1; number <= count; ++number) {
    if (!reader.Read(&block)) Fail("the stream ends before block " + std::to_string(number));
    if (!IsBlock(block, number)) Fail("another block than " + std::to_string(number));
  }
  if (reader.Read(&block)) Fail("a block too many: " + std::to_string(block.number()));
}

// Writes blocks in a thread of its own.
template <typename Stream>
class BlockWriter {
 public:
  BlockWriter(Stream& stream, std::int64_t count)
      : thread_([this, &stream, count] { Run(stream, count); }) {}

  // The same as for a server.
  void AwaitStandstill(Streams::Stub& stub) {
    const std::int64_t count = BlocksWithoutCredit();
    for (int i = 0; i < 3; ++i) {
      MustBe(Await(count), count, "written without credit");
      (void)AwaitSent(stub, 0);
    }
  }
  // How many were written.
  std::int64_t Join() {
    thread_.join();
    return written_;
  }

 private:
  void Run(Stream& stream, std::int64_t count) {
    for (std::int64_t number = 1; number <= count && stream.Write(MakeBlock(number)); ++number) {
      const std::lock_guard lock(mutex_);
      written_ = number;
      changed_.notify_all();
    }
    (void)stream.WritesDone();
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  // Until so many were written, or it has ended.
  std::int64_t Await(std::int64_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return written_ >= count || ended_; });
    return written_;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t written_ = 0;  // guarded by mutex_
  bool ended_ = false;        // guarded by mutex_
  std::thread thread_;
};

void CheckCount(Streams::Stub& stub) {
  ClientContext context;
  BePatient(context);
  Blocks wanted;
  wanted.set_count(kBlocks);
  const auto reader = stub.Count(&context, wanted);
  AwaitStandstill(stub);
  MustRead(*reader, kBlocks);
  Must(reader->Finish(), "Count");
  std::printf("counted\n");
}

void CheckCollect(Streams::Stub& stub) {
  ClientContext context;
  BePatient(context);
  Blocks collected;
  const auto stream = stub.Collect(&context, &collected);
  BlockWriter writer(*stream, kBlocks);
  writer.AwaitStandstill(stub);
  {
    ClientContext let;
    BePatient(let);
    Blocks nothing;
    Must(stub.LetCollect(&let, nothing, &nothing), "LetCollect");
  }
  MustBe(writer.Join(), kBlocks, "written");
  Must(stream->Finish(), "Collect");
  MustBe(collected.count(), kBlocks, "collected");
  std::printf("collected\n");
}

void CheckEcho(Streams::Stub& stub) {
  ClientContext context;
  BePatient(context);
  const auto stream = stub.Echo(&context);
  BlockWriter writer(*stream, kBlocks);
  AwaitStandstill(stub);
  MustRead(*stream, kBlocks);
  MustBe(writer.Join(), kBlocks, "written");
  Must(stream->Finish(), "Echo");
  std::printf("echoed\n");
}

}  // namespace

// ---- The server ----

void StreamsService::SetSent(const std::string& client, std::int64_t sent) {
  const std::lock_guard lock(mutex_);
  clients_[client].sent = sent;
  changed_.notify_all();
}

Status StreamsService::Count(rpc::ServerContext* context, const Blocks* request,
                             rpc::ServerWriter<Block>* writer) {
  const std::string client = context->peer();
  for (std::int64_t number = 1; request->count() == 0 || number <= request->count(); ++number) {
    if (!writer->Write(MakeBlock(number))) break;
    SetSent(client, number);
  }
  SetSent(client, 0);
  return Status::OK;
}

Status StreamsService::Collect(rpc::ServerContext* context, rpc::ServerReader<Block>* reader,
                               Blocks* response) {
  {
    std::unique_lock lock(mutex_);
    bool& may_collect = clients_[context->peer()].may_collect;
    changed_.wait(lock, [&] { return may_collect; });
    may_collect = false;
  }
  std::int64_t count = 0;
  for (Block block; reader->Read(&block);) {
    if (!IsBlock(block, ++count)) {
      return {StatusCode::DATA_LOSS, "another block than " + std::to_string(count)};
    }
  }
  response->set_count(count);
  return Status::OK;
}

Status StreamsService::Echo(rpc::ServerContext* context,
                            rpc::ServerReaderWriter<Block, Block>* stream) {
  const std::string client = context->peer();
  std::int64_t sent = 0;
  for (Block block; stream->Read(&block) && stream->Write(block);) SetSent(client, ++sent);
  SetSent(client, 0);
  return Status::OK;
}

Status StreamsService::AwaitSent(rpc::ServerContext* context, const Blocks* request,
                                 Blocks* response) {
  std::unique_lock lock(mutex_);
  const Client& client = clients_[context->peer()];
  changed_.wait(lock, [&] { return client.sent >= request->count(); });
  response->set_count(client.sent);
  return Status::OK;
}

Status StreamsService::LetCollect(rpc::ServerContext* context, const Blocks* /*request*/,
                                  Blocks* /*response*/) {
  const std::lock_guard lock(mutex_);
  clients_[context->peer()].may_collect = true;
  changed_.notify_all();
  return Status::OK;
}

// ---- The client ----

void CheckStreams(Streams::Stub& stub) {
  CheckCount(stub);
  CheckCollect(stub);
  CheckEcho(stub);
}

void OutliveStreams(Streams::Stub& stub) {
  ClientContext count_context;
  BePatient(count_context);
  const auto reader = stub.Count(&count_context, Blocks());
  AwaitStandstill(stub);

  ClientContext collect_context;
  BePatient(collect_context);
  Blocks collected;
  const auto collect = stub.Collect(&collect_context, &collected);
  BlockWriter writer(*collect, kBlocks);
  writer.AwaitStandstill(stub);

  ClientContext echo_context;
  BePatient(echo_context);
  const auto echo = stub.Echo(&echo_context);
  Block block;
  if (!echo->Write(MakeBlock(1)) || !echo->Read(&block) || !IsBlock(block, 1)) Fail("no echo");

  std::printf("the streams stand still\n");
  {
    ClientContext context;
    BePatient(context);
    Blocks blocks;
    blocks.set_count(std::numeric_limits<std::int64_t>::max());
    MustDie(stub.AwaitSent(&context, blocks, &blocks), "the call");
  }
  MustRead(*reader, BlocksWithoutCredit());
  MustDie(reader->Finish(), "the server's stream");
  MustBe(writer.Join(), BlocksWithoutCredit(), "written");
  MustDie(collect->Finish(), "the client's stream");
  if (echo->Read(&block)) Fail("an echo of nothing");
  MustDie(echo->Finish(), "the stream in both directions");
}

}  // namespace ivmq::testing
