// The parts of generated code: what each writes for one service.
#ifndef IVMQ_PLUGIN_SECTIONS_H_
#define IVMQ_PLUGIN_SECTIONS_H_

#include <map>
#include <string>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/printer.h>

#include "model.h"

namespace ivmq::plugin {

// In all of them, names of other namespaces begin with "::", since a package or a service may be
// called `std` or `ivmq`, too.

using google::protobuf::io::Printer;

// client.cc
void PrintStubClasses(const Service& service, Printer* printer);
void PrintStubFunctions(const Service& service, Printer* printer);

// server.cc
void PrintServiceClasses(const Service& service, Printer* printer);
void PrintServiceFunctions(const Service& service, Printer* printer);

// mock.cc
void PrintMock(const Service& service, Printer* printer);

// ---- For the parts themselves ----

// What stands between dollar signs.
using Variables = std::map<std::string, std::string>;
// "service", "method", "raw", "constant", "path", "request", "response".
Variables VariablesOf(const Service& service, const Method& method);

// What a stub's method gives, as mocks override it: a status or "...Interface", which reads and
// writes; and its parameters.
std::string StubInterfaceResult(const Method& method);
std::string StubParameters(const Method& method);

void PrintComments(const google::protobuf::SourceLocation& location, Printer* printer);
template <typename Descriptor>
void PrintCommentsOf(const Descriptor& descriptor, Printer* printer) {
  google::protobuf::SourceLocation location;
  if (descriptor.GetSourceLocation(&location)) PrintComments(location, printer);
}

}  // namespace ivmq::plugin

#endif  // IVMQ_PLUGIN_SECTIONS_H_
