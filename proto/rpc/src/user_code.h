// Calling code of the application's: what it throws ends there.
#ifndef IVMQ_RPC_USER_CODE_H_
#define IVMQ_RPC_USER_CODE_H_

#include <exception>
#include <string>
#include <string_view>

#include "ivmq/node.h"

namespace ivmq::rpc::internal {

// Within a catch (...): tells the node's on_report what `who` has thrown.
inline void ReportThrown(Node& node, std::string_view who) {
  std::string what = "something that is no std::exception";
  try {
    throw;
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {
  }
  node.Report({StatusCode::kInternal, std::string(who) + " has thrown: " + what});
}

// Calls `run()`. False: it has thrown. REQUIRES: no lock is held.
template <typename Run>
bool RunUserCode(Node& node, std::string_view who, Run run) {
  try {
    run();
    return true;
  } catch (...) {
    ReportThrown(node, who);
    return false;
  }
}

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_USER_CODE_H_
