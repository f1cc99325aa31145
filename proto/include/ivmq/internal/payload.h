// What is sent and received, of either kind: a protobuf message, or bytes in a std::string. Both
// classes refer to an object that they do not own, and cost two words and an indirect call.
#ifndef IVMQ_INTERNAL_PAYLOAD_H_
#define IVMQ_INTERNAL_PAYLOAD_H_

#include "ivmq/export.h"

#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include <google/protobuf/message.h>

namespace ivmq {

template <typename T>
concept ProtobufMessage = std::derived_from<T, google::protobuf::Message>;

namespace internal {

// A protobuf message as bytes, with T's own functions: generated classes are final, so that nothing
// of it is virtual.
template <ProtobufMessage T>
struct ProtobufBytes {
  // Larger than any limit if protobuf cannot serialize the message.
  static std::size_t Measure(const T& message) {
    const std::size_t size = message.ByteSizeLong();
    return size <= static_cast<std::size_t>(std::numeric_limits<int>::max())
               ? size
               : std::numeric_limits<std::size_t>::max();
  }
  // REQUIRES: Measure() returned to.size(), and the message has not been changed since.
  static void Write(const T& message, std::span<std::byte> to) {
    auto* const begin = reinterpret_cast<std::uint8_t*>(to.data());
    [[maybe_unused]] const std::uint8_t* const end = message.SerializeWithCachedSizesToArray(begin);
    assert(end == begin + to.size());
  }
};

}  // namespace internal

// Something to be sent, or nothing. Thread-compatible; several may refer to one object.
class Outgoing {
 public:
  Outgoing() noexcept = default;  // nothing
  // The object must live, and must not change, from Measure() until it has been sent.
  // NOLINTBEGIN(google-explicit-constructor): it stands for the object
  template <ProtobufMessage T>
  Outgoing(const T& message) noexcept : object_(&message), kind_(&kProtobuf<T>) {}
  Outgoing(const std::string& bytes) noexcept : object_(&bytes), kind_(&kBytes) {}
  // NOLINTEND(google-explicit-constructor)

  [[nodiscard]] bool has_value() const noexcept { return kind_ != nullptr; }

  // False: required fields are missing, see Missing(). Then it must not be sent.
  [[nodiscard]] bool IsWhole() const { return kind_ == nullptr || kind_->is_whole(object_); }
  // REQUIRES: has_value()
  [[nodiscard]] std::string Missing() const { return kind_->missing(object_); }
  // Determines its size.
  void Measure() {
    if (kind_ != nullptr) size_ = kind_->measure(object_);
  }
  // In bytes, once it was measured; 0 if there is no value.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // REQUIRES: it was measured, and `out` has size() bytes.
  void Write(std::byte* out) const {
    if (kind_ != nullptr) kind_->write(object_, out, size_);
  }

  // The message; nullptr for bytes, which bytes() returns. REQUIRES: has_value()
  [[nodiscard]] const google::protobuf::Message* protobuf() const noexcept {
    return kind_->protobuf(object_);
  }
  [[nodiscard]] const std::string& bytes() const noexcept {
    assert(protobuf() == nullptr);
    return *static_cast<const std::string*>(object_);
  }

 private:
  struct Kind {
    bool (*is_whole)(const void* object);
    std::size_t (*measure)(const void* object);
    void (*write)(const void* object, std::byte* out, std::size_t size);
    std::string (*missing)(const void* object);
    const google::protobuf::Message* (*protobuf)(const void* object) noexcept;
  };
  template <typename T>
  static constexpr Kind kProtobuf{
      .is_whole = [](const void* object) { return static_cast<const T*>(object)->IsInitialized(); },
      .measure =
          [](const void* object) {
            return internal::ProtobufBytes<T>::Measure(*static_cast<const T*>(object));
          },
      .write =
          [](const void* object, std::byte* out, std::size_t size) {
            internal::ProtobufBytes<T>::Write(*static_cast<const T*>(object), {out, size});
          },
      .missing =
          [](const void* object) {
            return static_cast<const T*>(object)->InitializationErrorString();
          },
      .protobuf = [](const void* object) noexcept -> const google::protobuf::Message* {
        return static_cast<const T*>(object);
      }};
  static constexpr Kind kBytes{
      .is_whole = [](const void* /*object*/) { return true; },
      .measure = [](const void* object) { return static_cast<const std::string*>(object)->size(); },
      .write =
          [](const void* object, std::byte* out, std::size_t size) {
            if (size != 0) std::memcpy(out, static_cast<const std::string*>(object)->data(), size);
          },
      .missing = [](const void* /*object*/) { return std::string(); },
      .protobuf = [](const void* /*object*/) noexcept -> const google::protobuf::Message* {
        return nullptr;
      }};

  const void* object_ = nullptr;
  const Kind* kind_ = nullptr;
  std::size_t size_ = 0;
};

// Where something received goes, or nowhere. Thread-compatible.
class Incoming {
 public:
  Incoming() noexcept = default;  // nowhere
  // What is referred to must live as long as something may come.
  // NOLINTBEGIN(google-explicit-constructor): it stands for what it refers to
  template <ProtobufMessage T>
  Incoming(T* message) noexcept : object_(message), kind_(&kProtobuf<T>) {}
  Incoming(std::string* bytes) noexcept : object_(bytes), kind_(&kBytes) {}
  // NOLINTEND(google-explicit-constructor)

  [[nodiscard]] bool has_value() const noexcept { return kind_ != nullptr; }

  // Takes these bytes in place of what it held. False: they are no such message, and what it holds
  // now is anything. REQUIRES: has_value(), here and below
  [[nodiscard]] bool Parse(std::string_view bytes) const { return kind_->parse(object_, bytes); }
  void Clear() const { kind_->clear(object_); }
  // What it takes of memory, about. Not quick.
  [[nodiscard]] std::size_t SpaceUsed() const { return kind_->space_used(object_); }
  // What it is, for an error.
  [[nodiscard]] std::string TypeName() const { return kind_->type_name(object_); }

  // As those of Outgoing.
  [[nodiscard]] google::protobuf::Message* protobuf() const noexcept {
    return kind_->protobuf(object_);
  }
  [[nodiscard]] std::string& bytes() const noexcept {
    assert(protobuf() == nullptr);
    return *static_cast<std::string*>(object_);
  }

 private:
  struct Kind {
    bool (*parse)(void* object, std::string_view bytes);
    void (*clear)(void* object);
    std::size_t (*space_used)(const void* object);
    std::string (*type_name)(const void* object);
    google::protobuf::Message* (*protobuf)(void* object) noexcept;
  };
  template <typename T>
  static constexpr Kind kProtobuf{
      .parse =
          [](void* object, std::string_view bytes) {
            return bytes.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()) &&
                   static_cast<T*>(object)->ParseFromArray(bytes.data(),
                                                           static_cast<int>(bytes.size()));
          },
      .clear = [](void* object) { static_cast<T*>(object)->Clear(); },
      .space_used =
          [](const void* object) { return static_cast<const T*>(object)->SpaceUsedLong(); },
      .type_name =
          [](const void* object) {
            return std::string(static_cast<const T*>(object)->GetDescriptor()->full_name());
          },
      .protobuf = [](void* object) noexcept -> google::protobuf::Message* {
        return static_cast<T*>(object);
      }};
  static constexpr Kind kBytes{
      .parse =
          [](void* object, std::string_view bytes) {
            static_cast<std::string*>(object)->assign(bytes);
            return true;
          },
      .clear = [](void* object) { static_cast<std::string*>(object)->clear(); },
      .space_used =
          [](const void* object) { return static_cast<const std::string*>(object)->capacity(); },
      .type_name = [](const void* /*object*/) { return std::string("bytes"); },
      .protobuf = [](void* /*object*/) noexcept -> google::protobuf::Message* { return nullptr; }};

  void* object_ = nullptr;
  const Kind* kind_ = nullptr;
};

}  // namespace ivmq

#endif  // IVMQ_INTERNAL_PAYLOAD_H_
