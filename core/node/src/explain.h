// What a SendResult says, in words.
#ifndef IVMQ_EXPLAIN_H_
#define IVMQ_EXPLAIN_H_

#include <string_view>

#include "ivmq/sender.h"
#include "ivmq/status.h"

#include "src/node_context.h"
#include "src/writers.h"

namespace ivmq {

// Of a send to `to`, whom people know as `whom`. OK for kOk. Thread-safe.
Status ExplainSend(NodeContext& context, Writers& writers, SendResult result, PeerId to,
                   std::string_view whom);

}  // namespace ivmq

#endif  // IVMQ_EXPLAIN_H_
