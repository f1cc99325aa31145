#include "client_backlog.h"

#include "src/ivshmem_protocol.h"

namespace ivmq::server {

ClientBacklog::ClientBacklog(std::uint16_t own_id, std::uint32_t vectors, Order order,
                             const Told& told, const std::set<std::uint16_t>& connected,
                             const std::bitset<65536>& retired)
    : own_id_(own_id), vectors_(vectors), order_(order), stage_(told.stage) {
  for (std::uint32_t id = 0; id < told.known.size(); ++id) {
    if (told.known[id]) (retired[id] ? gone_ : told_).insert(static_cast<std::uint16_t>(id));
  }
  if (told.partial && !retired[told.partial->id]) partial_ = told.partial;
  for (const std::uint16_t id : connected) {
    if (id != own_id && !told.known[id]) {
      (stage_ == Stage::kUpToDate ? come_ : present_).insert(id);
    }
  }
}

ClientBacklog::Told ClientBacklog::State() const {
  Told told{stage_, partial_, {}};
  for (const std::uint16_t id : told_) told.known.set(id);
  for (const std::uint16_t id : gone_) told.known.set(id);
  return told;
}

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

std::vector<ClientBacklog::Message> ClientBacklog::Batch(bool has_room) const {
  std::vector<Message> batch;
  const std::optional<Message> first = Next(has_room);
  if (!first) return batch;
  switch (first->kind) {
    case Kind::kVersion:
      batch.push_back({Kind::kVersion});
      [[fallthrough]];
    case Kind::kOwnId:
      batch.push_back({Kind::kOwnId, own_id_});
      [[fallthrough]];
    case Kind::kSharedMemory:
      batch.push_back({Kind::kSharedMemory});
      break;
    case Kind::kGone:
      for (const std::uint16_t id : gone_) {
        if (batch.size() == ivshmem::kMaxVectors) break;
        batch.push_back({Kind::kGone, id});
      }
      break;
    case Kind::kVector:
      for (std::uint32_t vector = first->vector; vector < vectors_; ++vector) {
        batch.push_back({Kind::kVector, first->id, vector});
      }
      break;
  }
  return batch;
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
