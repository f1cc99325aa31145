// nng: pair0 over ipc. Its own threads do the work, on the core of the side they serve, so that the
// side sleeps.
#ifndef IVMQ_BENCH_CANDIDATES_NNG_H_
#define IVMQ_BENCH_CANDIDATES_NNG_H_

#include <algorithm>
#include <cstddef>
#include <string>

#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>

#include "candidates/scratch_folder.h"
#include "drive.h"

namespace ivmq::bench {

class Nng {
 public:
  static constexpr bool kBare = false;
  static constexpr bool kBursty = true;

  explicit Nng(const Slot& slot)
      // Half of what the others' rings hold on each side; nng takes 8192 at most.
      : depth_(
            static_cast<int>(std::clamp<std::size_t>(slot.ring_bytes / slot.bytes / 2, 1, 8192))) {}
  ~Nng() {
    if (is_open_) nng_close(socket_);
  }
  Nng(const Nng&) = delete;
  Nng& operator=(const Nng&) = delete;

  void Open(Side side) {
    const std::string address = "ipc://" + folder_.path() + "/nng";
    Check(nng_pair0_open(&socket_), "open");
    is_open_ = true;
    Check(nng_socket_set_int(socket_, NNG_OPT_SENDBUF, depth_), "NNG_OPT_SENDBUF");
    Check(nng_socket_set_int(socket_, NNG_OPT_RECVBUF, depth_), "NNG_OPT_RECVBUF");
    Check(nng_socket_set_size(socket_, NNG_OPT_RECVMAXSZ, 0), "NNG_OPT_RECVMAXSZ");
    Check(side == Side::kServer ? nng_listen(socket_, address.c_str(), nullptr, 0)
                                : nng_dial(socket_, address.c_str(), nullptr, NNG_FLAG_NONBLOCK),
          "connect");
  }
  bool TrySend(Message message) {
    Check(nng_send(socket_, const_cast<std::byte*>(message.data()), message.size(), 0), "send");
    return true;
  }
  void Flush() {}
  // Sleeps.
  template <typename Use>
  std::size_t Receive(Use&& use) {
    nng_msg* message = nullptr;
    Check(nng_recvmsg(socket_, &message, 0), "receive");
    use(Message(static_cast<const std::byte*>(nng_msg_body(message)), nng_msg_len(message)));
    nng_msg_free(message);
    return 1;
  }
  void Wait() {}

 private:
  static void Check(int result, const char* what) {
    if (result != 0) Fail(std::string("nng: ") + what + ": " + nng_strerror(result));
  }

  ScratchFolder folder_;
  int depth_;
  nng_socket socket_ = NNG_SOCKET_INITIALIZER;
  bool is_open_ = false;
};

}  // namespace ivmq::bench

#endif  // IVMQ_BENCH_CANDIDATES_NNG_H_
