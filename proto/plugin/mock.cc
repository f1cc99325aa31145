// Stubs for GoogleMock.
#include "sections.h"

namespace ivmq::plugin {

void PrintMock(const Service& service, Printer* printer) {
  printer->Print(
      "class Mock$service$Stub : public $service$::StubInterface {\n"
      " public:\n",
      "service", service.name);
  for (const Method& method : service.methods) {
    Variables v = VariablesOf(service, method);
    v["result"] = StubInterfaceResult(method);
    v["parameters"] = StubParameters(method);
    // In parentheses: the types hold commas.
    printer->Print(v, method.kind == Kind::kUnary
                          ? "  MOCK_METHOD(($result$), $method$, ($parameters$), (override));\n"
                          : "  MOCK_METHOD(($result$*), $raw$, ($parameters$), (override));\n");
  }
  printer->Print("};\n\n");
}

}  // namespace ivmq::plugin
