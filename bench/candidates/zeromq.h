// ZeroMQ: a PAIR over ipc://. Its own thread does the work, on the core of the side it serves, so
// that the side sleeps.
#ifndef IVMQ_BENCH_CANDIDATES_ZEROMQ_H_
#define IVMQ_BENCH_CANDIDATES_ZEROMQ_H_

#include <zmq.h>

#include <cerrno>
#include <cstddef>
#include <string>

#include "candidates/scratch_folder.h"
#include "drive.h"

namespace ivmq::bench {

class ZeroMq {
 public:
  static constexpr bool kBare = false;
  static constexpr bool kBursty = true;

  explicit ZeroMq(const Slot& slot)
      : high_water_(static_cast<int>(slot.ring_bytes / slot.bytes / 2)) {}
  ~ZeroMq() {
    if (socket_ != nullptr) zmq_close(socket_);
    if (context_ != nullptr) zmq_ctx_term(context_);
  }
  ZeroMq(const ZeroMq&) = delete;
  ZeroMq& operator=(const ZeroMq&) = delete;

  void Open(Side side) {
    const std::string address = "ipc://" + folder_.path() + "/zmq";
    context_ = zmq_ctx_new();
    socket_ = zmq_socket(context_, ZMQ_PAIR);
    // Half of what the others' rings hold on each side.
    for (const int option : {ZMQ_SNDHWM, ZMQ_RCVHWM}) {
      zmq_setsockopt(socket_, option, &high_water_, sizeof high_water_);
    }
    const int result = side == Side::kServer ? zmq_bind(socket_, address.c_str())
                                             : zmq_connect(socket_, address.c_str());
    if (result != 0) FailZmq("open");
  }
  bool TrySend(Message message) {
    while (zmq_send(socket_, message.data(), message.size(), 0) < 0) {
      if (zmq_errno() != EINTR) FailZmq("send");
    }
    return true;
  }
  void Flush() {}
  // Sleeps.
  template <typename Use>
  std::size_t Receive(Use&& use) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    while (zmq_msg_recv(&message, socket_, 0) < 0) {
      if (zmq_errno() != EINTR) FailZmq("receive");
    }
    use(Message(static_cast<const std::byte*>(zmq_msg_data(&message)), zmq_msg_size(&message)));
    zmq_msg_close(&message);
    return 1;
  }
  void Wait() {}

 private:
  [[noreturn]] static void FailZmq(const char* what) {
    Fail(std::string("ZeroMQ: ") + what + ": " + zmq_strerror(zmq_errno()));
  }

  ScratchFolder folder_;
  int high_water_;
  void* context_ = nullptr;
  void* socket_ = nullptr;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_ZEROMQ_H_
