#include "client_backlog.h"

namespace ivmq::server {

void ClientBacklog::Come(std::uint16_t id) {
  if (!told_.contains(id) && !present_.contains(id)) come_.insert(id);
}

void ClientBacklog::Forget(std::uint16_t id) {
  present_.erase(id);
  come_.erase(id);
}

void ClientBacklog::Gone(std::uint16_t id) {
  Forget(id);
  if (told_.erase(id) == 0) return;
  gone_.insert(id);
  if (partial_ && partial_->id == id) partial_.reset();
}

std::optional<std::uint16_t> ClientBacklog::NextPeer(bool has_room) const {
  if (stage_ == Stage::kPresent && order_ == Order::kOwnFirst) return own_id_;
  if (has_room && !present_.empty()) return *present_.begin();
  if (stage_ == Stage::kPresent) return own_id_;
  if (has_room && !come_.empty()) return *come_.begin();
  return std::nullopt;
}

std::optional<ClientBacklog::Message> ClientBacklog::Next(bool has_room) const {
  switch (stage_) {
    case Stage::kVersion:
      return Message{Kind::kVersion};
    case Stage::kOwnId:
      return Message{Kind::kOwnId, own_id_};
    case Stage::kSharedMemory:
      return Message{Kind::kSharedMemory};
    case Stage::kPresent:
    case Stage::kUpToDate:
      break;
  }
  if (partial_) return partial_;
  if (!gone_.empty()) return Message{Kind::kGone, *gone_.begin()};
  if (const std::optional<std::uint16_t> id = NextPeer(has_room))
    return Message{Kind::kVector, *id, 0};
  return std::nullopt;
}

void ClientBacklog::Sent(const Message& sent) {
  switch (sent.kind) {
    case Kind::kVersion:
      stage_ = Stage::kOwnId;
      return;
    case Kind::kOwnId:
      stage_ = Stage::kSharedMemory;
      return;
    case Kind::kSharedMemory:
      stage_ = Stage::kPresent;
      return;
    case Kind::kGone:
      gone_.erase(sent.id);
      return;
    case Kind::kVector:
      break;
  }
  if (sent.vector == 0) {
    told_.insert(sent.id);
    Forget(sent.id);
  }
  partial_.reset();
  if (sent.vector + 1 < vectors_) {
    partial_ = Message{Kind::kVector, sent.id, sent.vector + 1};
  } else if (sent.id == own_id_) {
    stage_ = Stage::kUpToDate;
  }
}

}  // namespace ivmq::server
