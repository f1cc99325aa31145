// Typed messages: protobuf messages from peer to peer.
//
//   sender->Send(ping);                                  // any protobuf message, to a name
//   ivmq::Send(*node, peer, ping);                       // the same, to one life of a peer
//
//   ivmq::Dispatcher dispatcher(*node);
//   dispatcher.On<Ping>([](const Ping& ping, const ivmq::Message& message) { ... });
//   node->Poll(dispatcher);
//
// A message is serialized once, directly into the ring if it fits one record. The frame carries its
// type: the full name, or a 32-bit id that both ends have registered, which is shorter and faster
// to look up.
#ifndef IVMQ_PROTO_H_
#define IVMQ_PROTO_H_

#include "ivmq/export.h"

#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "ivmq/internal/payload.h"
#include "ivmq/node.h"
#include "ivmq/status.h"

namespace ivmq {

// Maps ids to types. Peers that use ids must have registered the same pairs. Thread-compatible:
// register at the start; afterwards any thread may use it.
class IVMQ_EXPORT TypeIds {
 public:
  // Any 32-bit value can be an id. Registering a pair again has no effect. ALREADY_EXISTS: the id
  // belongs to another type, or the type has another id.
  template <typename T>
  Status Add(std::uint32_t id) {
    return Add(id, *T::descriptor());
  }
  Status Add(std::uint32_t id, const google::protobuf::Descriptor& type);

  [[nodiscard]] std::optional<std::uint32_t> IdOf(
      const google::protobuf::Descriptor& type) const noexcept;
  // nullptr if the id is not registered.
  [[nodiscard]] const google::protobuf::Descriptor* TypeOf(std::uint32_t id) const noexcept;

 private:
  std::unordered_map<std::uint32_t, const google::protobuf::Descriptor*> types_;
  std::unordered_map<const google::protobuf::Descriptor*, std::uint32_t> ids_;
};

namespace internal {

// The message's type: its id, if `ids` is not nullptr and has one; otherwise its full name.
IVMQ_EXPORT MessageType TypeOf(const google::protobuf::Message& message, const TypeIds* ids);

}  // namespace internal

// Sends `message` to a peer, with the id of its type if `ids` has one, otherwise with the type's
// full name. `options`: as for Node::Send. A message that does not fit one record is serialized
// into a buffer that the calling thread keeps for the next message (8 MiB at most), and sent in
// fragments.
//
// REQUIRES: message.IsInitialized(), and the message is not changed until this returns.
// Thread-safe, also if several threads send one message.
// kTooLarge: more than max_message_bytes, a type name of more than kMaxTypeName bytes, or no memory
// for the buffer. The other results are those of Node::Send.
IVMQ_EXPORT SendResult Send(Node& node, PeerId to, const google::protobuf::Message& message,
                            const SendOptions& options = {});
IVMQ_EXPORT SendResult Send(Node& node, PeerId to, const google::protobuf::Message& message,
                            const TypeIds& ids, const SendOptions& options);
// A template, so that `{}` as the last argument means options.
template <std::same_as<TypeIds> Ids>
SendResult Send(Node& node, PeerId to, const google::protobuf::Message& message, const Ids& ids) {
  return Send(node, to, message, ids, SendOptions{});
}

// A message for a Sender, sent with the id of its type, if `ids` has one:
// sender->Send(ById{message, ids}).
struct ById {
  const google::protobuf::Message& message;
  const TypeIds& ids;
};

template <std::derived_from<google::protobuf::Message> T>
struct Encoder<T> {
  static MessageType Type(const T& message) { return internal::TypeOf(message, nullptr); }
  static std::uint64_t Size(const T& message) {
    assert(message.IsInitialized());
    return internal::ProtobufBytes<T>::Measure(message);
  }
  static void Write(const T& message, std::span<std::byte> to) {
    internal::ProtobufBytes<T>::Write(message, to);
  }
};
template <>
struct Encoder<ById> {
  static MessageType Type(const ById& typed) { return internal::TypeOf(typed.message, &typed.ids); }
  using Serialized = internal::ProtobufBytes<google::protobuf::Message>;
  static std::uint64_t Size(const ById& typed) {
    assert(typed.message.IsInitialized());
    return Serialized::Measure(typed.message);
  }
  static void Write(const ById& typed, std::span<std::byte> to) {
    Serialized::Write(typed.message, to);
  }
};

// Calls the handler of a received message's type. Pass it to Node::Poll.
//
// Nothing that a peer sends does harm. A message of a type without a handler is counted
// (Counter::kUnhandled) and reported to NodeOptions::on_report. So is a message that does not parse
// (Counter::kUnparsable), since it is damaged, nested deeper than 100 levels, lacks a required
// field, or is of another type than its id says here. A parsed message can take many times the
// memory of its bytes on the wire; NodeOptions::max_message_bytes bounds both. Between messages, at
// most about 8 MiB are kept for each type, so in steady state nothing is allocated, except by
// protobuf for submessages of proto3. protobuf itself logs text that is not UTF-8: see
// google::protobuf::SetLogHandler.
//
// What a handler throws leaves Node::Poll, and the next Node::Poll hands the message out again. The
// dispatcher remains usable.
//
// Thread-compatible: one thread at a time, like Node::Poll. Must not outlive its node.
class IVMQ_EXPORT Dispatcher {
 public:
  explicit Dispatcher(Node& node, TypeIds ids = {});
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // Messages of type T go to handler(const T&, const ivmq::Message&) or handler(const T&), instead
  // of to an earlier handler for T. The T is reused for the next message: copy or swap out what you
  // need. Must not be called by a handler.
  template <typename T, typename Handler>
  void On(Handler&& handler) {
    static_assert(std::is_base_of_v<google::protobuf::Message, T>,
                  "ivmq needs full protobuf messages, not optimize_for = LITE_RUNTIME");
    constexpr bool kWantsBoth =
        std::is_invocable_v<std::decay_t<Handler>&, const T&, const Message&>;
    static_assert(kWantsBoth || std::is_invocable_v<std::decay_t<Handler>&, const T&>,
                  "the handler takes (const T&, const ivmq::Message&) or (const T&)");
    Register(T::default_instance(),
             [handler = std::forward<Handler>(handler)](const google::protobuf::Message& parsed,
                                                        const Message& message) mutable {
               const T& typed = static_cast<const T&>(parsed);
               if constexpr (kWantsBoth) {
                 handler(typed, message);
               } else {
                 handler(typed);
               }
             });
  }

  // Called, instead of the report, for messages without a handler: of unknown types, and those that
  // are not protobuf messages (FrameKind::kBytes). They are still counted. Must not be called by a
  // handler.
  void OnUnhandled(std::function<void(const Message&)> handler);

  void operator()(const Message& message);

 private:
  using Handler = std::function<void(const google::protobuf::Message&, const Message&)>;
  struct IVMQ_HIDDEN Type;
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept {
      return std::hash<std::string_view>{}(name);
    }
  };

  void Register(const google::protobuf::Message& prototype, Handler handler);
  [[nodiscard]] Type* Find(const Message& message) noexcept;
  void Unhandled(const Message& message);
  // What is known about a message's type, safe to print.
  [[nodiscard]] std::string Describe(const Message& message) const;

  Node& node_;
  TypeIds ids_;
  std::unordered_map<std::string, std::unique_ptr<Type>, NameHash, std::equal_to<>> by_name_;
  std::unordered_map<std::uint32_t, Type*> by_id_;
  std::function<void(const Message&)> unhandled_;
};

}  // namespace ivmq

#endif  // IVMQ_PROTO_H_
