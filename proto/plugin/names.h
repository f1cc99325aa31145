// How things of a .proto file are called in C++.
#ifndef IVMQ_PLUGIN_NAMES_H_
#define IVMQ_PLUGIN_NAMES_H_

#include <string>
#include <string_view>

namespace ivmq::plugin {

// Whether a C++ program cannot use the name as it likes: a keyword, a macro of a header that
// generated code includes, or reserved for the compiler.
bool IsReserved(std::string_view name);

// The part of "a::b::Message" that no namespace or class can be called, since there is something
// else of this name wherever generated code is included; or empty.
std::string UnusablePart(std::string_view name);

// A method's, in stubs and services: the name of the file with a `_` behind it for each time that
// it is reserved or one of the classes' own.
std::string MethodName(std::string name);

// The same for the class of a service. `global`: the class is in no namespace.
std::string ServiceName(std::string name, bool global);

// The namespace that protoc makes of a package: "a::b", or empty.
std::string NamespaceOf(const std::string& package);

// The include guard of a generated header. Two files never have the same.
std::string GuardOf(std::string_view file);

}  // namespace ivmq::plugin

#endif  // IVMQ_PLUGIN_NAMES_H_
