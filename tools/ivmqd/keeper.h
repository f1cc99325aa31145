// The keeper: a process that has what its server has open, and does nothing. It shares the table of
// descriptors (CLONE_FILES), so each is kept from the moment at which the kernel makes it, and
// nothing has to be passed on. When the server is gone, whatever ended it, the keeper hands all of
// it to the next one, over a socket that only this user can open.
//
// It goes when a successor has taken over (RecordHeader::superseded), when its server has ended in
// order, and when its server went before it had taken over from a predecessor itself: then the
// predecessor's keeper is there. SIGTERM ends it as any process; its server starts another one then.
#ifndef IVMQ_TOOLS_IVMQD_KEEPER_H_
#define IVMQ_TOOLS_IVMQD_KEEPER_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "ivmq/status.h"

#include "record.h"
#include "src/unique_fd.h"

namespace ivmq::server {

// ---- The server's side

struct KeeperOptions {
  int socket = -1;  // listens for successors
  const Record* record = nullptr;
  // The record of whom the server takes over from; nothing: it takes over from nobody.
  const Record* predecessor = nullptr;
  // Readable once `predecessor` is superseded.
  int committed = -1;
};

struct KeeperProcess {
  pid_t pid = -1;
  UniqueFd pidfd;   // readable when it has ended
  UniqueFd server;  // what it watches this process by; to be kept as long as it lives
};

// Starts a keeper for this process, as a child that has to be waited for.
// REQUIRES: this process has one thread.
Result<KeeperProcess> StartKeeper(const KeeperOptions& options);

// ---- The successor's side

// What a keeper handed over.
struct Handover {
  std::optional<Record> record;
  std::map<std::uint32_t, UniqueFd> descriptors;  // by their numbers in the record
  UniqueFd connection;
  UniqueFd keeper;  // pidfd; may be missing
  pid_t keeper_pid = 0;
};

enum class Ask : std::uint8_t {
  kTake,     // from a server that is gone
  kUpgrade,  // and from one that runs: it is asked to go first
  kEnd,      // nothing is taken, and the keeper goes
};

// Asks the keeper that listens at `path`. Nothing: none does.
//   ALREADY_EXISTS       its server runs, and the question is not kUpgrade
//   FAILED_PRECONDITION  its record cannot be read
//   PERMISSION_DENIED    it is another user's
//   UNAVAILABLE          it does not answer
// `accepts`: says whether the record is one to go on from, before anything else is asked for; its
// error is the result.
using AcceptsRecord = std::function<Status(const Record&)>;
Result<std::optional<Handover>> AskKeeper(const std::string& path, Ask ask,
                                          const AcceptsRecord& accepts = {});

// Once the record of the handover is superseded: waits until its keeper is gone.
void AwaitKeeperEnd(Handover& handover);

}  // namespace ivmq::server

#endif  // IVMQ_TOOLS_IVMQD_KEEPER_H_
