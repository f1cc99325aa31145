#include "sections.h"

#include <string>

#include "comments.h"

namespace ivmq::plugin {

Variables VariablesOf(const Service& service, const Method& method) {
  return {{"service", service.name},     {"method", method.name}, {"raw", method.raw},
          {"constant", method.constant}, {"path", method.path},   {"request", method.request},
          {"response", method.response}};
}

void PrintComments(const google::protobuf::SourceLocation& location, Printer* printer) {
  for (const std::string& line : CommentLines(location.leading_comments)) {
    printer->Print("//$line$\n", "line", line);
  }
}

}  // namespace ivmq::plugin
