#include "ivmq/message.h"

namespace ivmq {

Message Message::Keep() const {
  if (keeper != nullptr) return keeper->Keep(*this);
  return is_kept() ? *this : Message{};
}

}  // namespace ivmq
