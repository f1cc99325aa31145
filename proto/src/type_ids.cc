#include <string>

#include "ivmq/proto.h"

namespace ivmq {

using google::protobuf::Descriptor;

Status TypeIds::Add(std::uint32_t id, const Descriptor& type) {
  if (const Descriptor* other = TypeOf(id); other != nullptr && other != &type) {
    return {StatusCode::kAlreadyExists, "the type id " + std::to_string(id) + " belongs to " +
                                            other->full_name() + "; give " + type.full_name() +
                                            " another one, on every peer"};
  }
  if (const auto other = IdOf(type); other && *other != id) {
    return {StatusCode::kAlreadyExists, type.full_name() + " has the type id " +
                                            std::to_string(*other) + " already; it cannot have " +
                                            std::to_string(id) + " as well"};
  }
  types_.emplace(id, &type);
  ids_.emplace(&type, id);
  return {};
}

std::optional<std::uint32_t> TypeIds::IdOf(const Descriptor& type) const noexcept {
  const auto found = ids_.find(&type);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

const Descriptor* TypeIds::TypeOf(std::uint32_t id) const noexcept {
  const auto found = types_.find(id);
  return found == types_.end() ? nullptr : found->second;
}

}  // namespace ivmq
