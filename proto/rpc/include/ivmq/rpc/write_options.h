// How a message of a stream is written; names are gRPC's.
#ifndef IVMQ_RPC_WRITE_OPTIONS_H_
#define IVMQ_RPC_WRITE_OPTIONS_H_

namespace ivmq::rpc {

// Thread-compatible value type. Options of compression and buffering have no effect: messages are
// neither compressed nor held back.
class WriteOptions {
 public:
  // It is the last message of this side. A client's stream ends with it, as by WritesDone().
  WriteOptions& set_last_message() noexcept {
    last_ = true;
    return *this;
  }
  WriteOptions& clear_last_message() noexcept {
    last_ = false;
    return *this;
  }
  [[nodiscard]] bool is_last_message() const noexcept { return last_; }

  WriteOptions& set_no_compression() noexcept { return *this; }
  WriteOptions& clear_no_compression() noexcept { return *this; }
  WriteOptions& set_buffer_hint() noexcept { return *this; }
  WriteOptions& clear_buffer_hint() noexcept { return *this; }
  WriteOptions& set_corked() noexcept { return *this; }
  WriteOptions& clear_corked() noexcept { return *this; }
  WriteOptions& set_write_through() noexcept { return *this; }
  WriteOptions& clear_write_through() noexcept { return *this; }

 private:
  bool last_ = false;
};

}  // namespace ivmq::rpc

#endif  // IVMQ_RPC_WRITE_OPTIONS_H_
