// Finds inproc regions by name.
#ifndef IVMQ_TRANSPORTS_SRC_INPROC_H_
#define IVMQ_TRANSPORTS_SRC_INPROC_H_

#include <memory>
#include <string_view>

#include "ivmq/inproc.h"
#include "ivmq/status.h"

namespace ivmq {

// The region that `name` ("NAME" or "NAME?size=16M") stands for in this process, made if nobody has
// it open. Errors do not name the address.
Result<std::shared_ptr<InprocRegion>> FindInprocRegion(std::string_view name);

}  // namespace ivmq

#endif  // IVMQ_TRANSPORTS_SRC_INPROC_H_
