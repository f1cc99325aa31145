// The states of calls, and what leads from one to another.
//
// Each kind of call has one state and changes it in one place each, which asks the tables here.
#ifndef IVMQ_RPC_CALL_STATE_H_
#define IVMQ_RPC_CALL_STATE_H_

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace ivmq::rpc::internal {

// Where each event leads, for each state; nullopt: it cannot happen there.
template <typename State, std::size_t kStates, std::size_t kEvents>
using StateTable = std::array<std::array<std::optional<State>, kEvents>, kStates>;
inline constexpr std::nullopt_t kNever = std::nullopt;

// ---- Every call of a client, between its peers ----

enum class ClientCallState : std::uint8_t {
  kNew,        // not in the table of calls: nobody but its beginner ends it
  kUnsent,     // in the table; its request has not gone
  kSent,       // its request has gone
  kAnswered,   // the server has ended it
  kCutUnsent,  // ended here; if its request goes all the same, whoever sends it tells the server
  kCut,        // ended here, and the server is told
};

enum class ClientCallEvent : std::uint8_t {
  kList,    // it is put into the table
  kSend,    // its request has gone
  kAnswer,  // the server's end takes it out of the table
  kCut,     // something else does, or ends it before it was there
};

//                kList     kSend       kAnswer     kCut
//   kNew         kUnsent   -           -           kCutUnsent
//   kUnsent      -         kSent       kAnswered   kCutUnsent
//   kSent        -         -           kAnswered   kCut
//   kAnswered    -         kAnswered   -           -
//   kCutUnsent   -         kCut        -           -
//   kCut         -         -           -           -
inline constexpr StateTable<ClientCallState, 6, 4> kClientCallStates = [] {
  using enum ClientCallState;
  return StateTable<ClientCallState, 6, 4>{{
      {kUnsent, kNever, kNever, kCutUnsent},
      {kNever, kSent, kAnswered, kCutUnsent},
      {kNever, kNever, kAnswered, kCut},
      {kNever, kAnswered, kNever, kNever},
      {kNever, kCut, kNever, kNever},
      {kNever, kNever, kNever, kNever},
  }};
}();
[[nodiscard]] constexpr std::optional<ClientCallState> After(ClientCallState state,
                                                             ClientCallEvent event) noexcept {
  return kClientCallStates[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

[[nodiscard]] constexpr bool HasEnded(ClientCallState state) noexcept {
  return state >= ClientCallState::kAnswered;
}

// ---- A unary call with a callback ----

// The callback comes when the call has ended and whoever began it has gone on.
enum class CallbackState : std::uint8_t {
  kBeginning,  // its beginner is not through with it
  kBegun,      // he is
  kEnded,      // it has ended, and its beginner is not through with it
  kCalledBack,
};

enum class CallbackEvent : std::uint8_t {
  kBegin,  // its beginner goes on
  kEnd,
};

//                 kBegin        kEnd
//   kBeginning    kBegun        kEnded
//   kBegun        -             kCalledBack
//   kEnded        kCalledBack   -
//   kCalledBack   -             -
inline constexpr StateTable<CallbackState, 4, 2> kCallbackStates = [] {
  using enum CallbackState;
  return StateTable<CallbackState, 4, 2>{{
      {kBegun, kEnded},
      {kNever, kCalledBack},
      {kCalledBack, kNever},
      {kNever, kNever},
  }};
}();
[[nodiscard]] constexpr std::optional<CallbackState> After(CallbackState state,
                                                           CallbackEvent event) noexcept {
  return kCallbackStates[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

// ---- A call of a client with streams, as its reactor or its threads know it ----

enum class ClientStreamState : std::uint8_t {
  kWaiting,    // the server has sent neither initial metadata nor a message
  kBegun,      // it has; the reactor does not know
  kTold,       // the reactor knows
  kFailed,     // ended; the server had sent nothing before
  kEnded,      // ended; it had, and the reactor does not know
  kEndedTold,  // ended; the reactor knows whether it had
  kFinished,   // the reactor, or the interceptors of a call without one, have heard of the end
};

enum class ClientStreamEvent : std::uint8_t {
  kBegin,   // initial metadata or a message of the server's has come
  kTell,    // the reactor is told of it, or that there is none
  kEnd,     // the call has ended
  kFinish,  // its end is told
};

//                kBegin       kTell        kEnd         kFinish
//   kWaiting     kBegun       -            kFailed      -
//   kBegun       kBegun       kTold        kEnded       -
//   kTold        kTold        -            kEndedTold   -
//   kFailed      kFailed      kEndedTold   -            kFinished
//   kEnded       kEnded       kEndedTold   -            kFinished
//   kEndedTold   kEndedTold   -            -            kFinished
//   kFinished    kFinished    -            -            -
inline constexpr StateTable<ClientStreamState, 7, 4> kClientStreamStates = [] {
  using enum ClientStreamState;
  return StateTable<ClientStreamState, 7, 4>{{
      {kBegun, kNever, kFailed, kNever},
      {kBegun, kTold, kEnded, kNever},
      {kTold, kNever, kEndedTold, kNever},
      {kFailed, kEndedTold, kNever, kFinished},
      {kEnded, kEndedTold, kNever, kFinished},
      {kEndedTold, kNever, kNever, kFinished},
      {kFinished, kNever, kNever, kNever},
  }};
}();
[[nodiscard]] constexpr std::optional<ClientStreamState> After(ClientStreamState state,
                                                               ClientStreamEvent event) noexcept {
  return kClientStreamStates[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

[[nodiscard]] constexpr bool HasEnded(ClientStreamState state) noexcept {
  return state >= ClientStreamState::kFailed;
}
// Whether there is something to tell the reactor.
[[nodiscard]] constexpr bool CanTell(ClientStreamState state) noexcept {
  return After(state, ClientStreamEvent::kTell).has_value();
}

// ---- The messages of a call with streams, on either side ----

enum class MessageStreamState : std::uint8_t {
  kOpen,
  kDiscards,  // nobody reads any more: what comes is dropped
  kLast,      // the other side sends no more
  kEnded,     // nor does this one; what was received can be read
};

enum class MessageStreamEvent : std::uint8_t {
  kDiscard,
  kLast,
  kEnd,
};

//               kDiscard    kLast    kEnd
//   kOpen       kDiscards   kLast    kEnded
//   kDiscards   kDiscards   kLast    kEnded
//   kLast       kLast       kLast    kEnded
//   kEnded      kEnded      kEnded   kEnded
inline constexpr StateTable<MessageStreamState, 4, 3> kMessageStreamStates = [] {
  using enum MessageStreamState;
  return StateTable<MessageStreamState, 4, 3>{{
      {kDiscards, kLast, kEnded},
      {kDiscards, kLast, kEnded},
      {kLast, kLast, kEnded},
      {kEnded, kEnded, kEnded},
  }};
}();
[[nodiscard]] constexpr std::optional<MessageStreamState> After(MessageStreamState state,
                                                                MessageStreamEvent event) noexcept {
  return kMessageStreamStates[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

// ---- Every call of a server ----

enum class ServerCallState : std::uint8_t {
  kUnlisted,  // nobody but its handler can reach it
  kOpen,      // listed; nobody has ended it for its client
  kTaken,     // its handler ends it for its client
  kCut,      // something else has, in the handler's place, or tells it in which way he was too late
  kLingers,  // listed no more; somebody still holds it
};

enum class ServerCallEvent : std::uint8_t {
  kList,
  kTake,    // the handler is about to end it for its client
  kCut,     // something else is
  kLinger,  // its handler is through with it, and not the only one who holds it
  kReuse,   // nobody holds it: it becomes another call
};

//                kList   kTake       kCut       kLinger    kReuse
//   kUnlisted    kOpen   kUnlisted   -          -          kUnlisted
//   kOpen        -       kTaken      kCut       kLingers   kUnlisted
//   kTaken       -       -           kCut       kLingers   kUnlisted
//   kCut         -       -           -          kLingers   kUnlisted
//   kLingers     -       -           -          -          kUnlisted
inline constexpr StateTable<ServerCallState, 5, 5> kServerCallStates = [] {
  using enum ServerCallState;
  return StateTable<ServerCallState, 5, 5>{{
      {kOpen, kUnlisted, kNever, kNever, kUnlisted},
      {kNever, kTaken, kCut, kLingers, kUnlisted},
      {kNever, kNever, kCut, kLingers, kUnlisted},
      {kNever, kNever, kNever, kLingers, kUnlisted},
      {kNever, kNever, kNever, kNever, kUnlisted},
  }};
}();
[[nodiscard]] constexpr std::optional<ServerCallState> After(ServerCallState state,
                                                             ServerCallEvent event) noexcept {
  return kServerCallStates[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

// ---- A call of a server whose handler gives a reactor ----

enum class ServerReactorState : std::uint8_t {
  kNone,        // there is no reactor yet
  kRuns,        // the client wants the answer
  kCancelling,  // it does not any more; the reactor does not know
  kCancelled,   // the reactor knows
  kEnded,       // the end was sent, or is not wanted
  kDone,        // the reactor is gone
};

enum class ServerReactorEvent : std::uint8_t {
  kRun,     // the handler has given one
  kCancel,  // the client does not want the answer
  kTell,    // the reactor is told
  kEnd,     // the end has gone, or the call is over without
  kFinish,  // the reactor hears OnDone()
};

//                 kRun    kCancel       kTell        kEnd     kFinish
//   kNone         kRuns   kNone         -            -        -
//   kRuns         -       kCancelling   -            kEnded   -
//   kCancelling   -       kCancelling   kCancelled   -        -
//   kCancelled    -       kCancelled    -            kEnded   -
//   kEnded        -       kEnded        -            -        kDone
//   kDone         -       kDone         -            -        -
inline constexpr StateTable<ServerReactorState, 6, 5> kServerReactorStates = [] {
  using enum ServerReactorState;
  return StateTable<ServerReactorState, 6, 5>{{
      {kRuns, kNone, kNever, kNever, kNever},
      {kNever, kCancelling, kNever, kEnded, kNever},
      {kNever, kCancelling, kCancelled, kNever, kNever},
      {kNever, kCancelled, kNever, kEnded, kNever},
      {kNever, kEnded, kNever, kNever, kDone},
      {kNever, kDone, kNever, kNever, kNever},
  }};
}();
[[nodiscard]] constexpr std::optional<ServerReactorState> After(ServerReactorState state,
                                                                ServerReactorEvent event) noexcept {
  return kServerReactorStates[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

// ---- A state that threads look at while one of them changes it ----

template <typename State>
class CallState {
 public:
  explicit constexpr CallState(State first) noexcept : state_(first) {}

  [[nodiscard]] State Get() const noexcept { return state_.load(std::memory_order_acquire); }

  // The state that the event was met in; nullopt: it cannot happen there, and nothing has changed.
  template <typename Event>
  std::optional<State> On(Event event) noexcept {
    State before = state_.load(std::memory_order_relaxed);
    for (;;) {
      const std::optional<State> next = After(before, event);
      if (!next.has_value()) return std::nullopt;
      if (state_.compare_exchange_weak(before, *next, std::memory_order_acq_rel)) return before;
    }
  }
  // The same without a locked instruction. REQUIRES: the event can happen in each state that it may
  // be in, and leads to the same one from all of them that another thread may change.
  template <typename Event>
  void Set(Event event) noexcept {
    const std::optional<State> next = After(state_.load(std::memory_order_relaxed), event);
    assert(next.has_value());
    state_.store(*next, std::memory_order_release);
  }

 private:
  std::atomic<State> state_;
};

}  // namespace ivmq::rpc::internal

#endif  // IVMQ_RPC_CALL_STATE_H_
