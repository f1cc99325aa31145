// The names of services.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "ivmq/internal/peer_table.h"
#include "ivmq/internal/str_cat.h"

#include "src/slot_text.h"

namespace ivmq {
namespace {

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

}  // namespace

// protoc takes no other: identifiers with dots between them.
bool IsServiceName(std::string_view name) {
  char before = '.';
  for (const char c : name) {
    const bool valid =
        before == '.' ? IsLetter(c) : IsLetter(c) || (c >= '0' && c <= '9') || c == '.';
    if (!valid) return false;
    before = c;
  }
  return before != '.';
}

Status CheckServices(const std::vector<std::string>& services) {
  for (auto name = services.begin(); name != services.end(); ++name) {
    if (!IsServiceName(*name)) {
      return {StatusCode::kInvalidArgument,
              StrCat("'", *name, "' is not the full name of a service, such as pkg.Echo")};
    }
    if (std::find(services.begin(), name, *name) != name) {
      return {StatusCode::kInvalidArgument, StrCat("the service ", *name, " is offered twice")};
    }
  }
  if (const std::size_t bytes = SlotTextBytes(services); bytes > layout::kServiceTextBytes) {
    return {StatusCode::kResourceExhausted,
            StrCat("the names of ", services.size(), " services take ", bytes,
                   " bytes, with a NUL after each; a peer's slot has room for ",
                   layout::kServiceTextBytes, "; offer some of them through another peer")};
  }
  return {};
}

}  // namespace ivmq
