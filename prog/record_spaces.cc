// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_spaces.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "uapi/iommufd_desc.h"

namespace prog::recording {

// Calls fn(area, offset in it, bytes) for what is mapped; false: not all is, or
// one fn() says so.
template <class F>
bool Spaces::ForEachArea(const Space& space, uint64_t iova, uint64_t length,
                         F fn) {
  while (length != 0) {
    auto it = space.upper_bound(iova);
    if (it == space.begin()) return false;
    --it;
    const uint64_t at = iova - it->first;
    if (at >= it->second.length) return false;
    const uint64_t n = std::min(length, it->second.length - at);
    if (!fn(it->second, at, n)) return false;
    iova += n;
    length -= n;
  }
  return true;
}

void Spaces::Erase(Space* space, uint64_t iova, uint64_t length) {
  if (length == 0) return;
  const uint64_t last = iova + std::min(length - 1, UINT64_MAX - iova);
  space->erase(space->lower_bound(iova), space->upper_bound(last));
}

void Spaces::Reconcile(RecordFile context) {
  constexpr size_t kMost = 256;
  const auto c = contexts_.find(context);
  if (c == contexts_.end()) return;
  size_t n = 0;
  for (const auto& [id, space] : c->second.spaces) {
    for (const auto& [iova, area] : space) {
      if (area.object != 0 || !mirror_->Lives(area.process)) continue;
      if (n++ == kMost) return;
      memory_->Reconcile(area.process, area.addr, area.length);
    }
  }
}

bool Spaces::SyncAccess(RecordProcess p, RecordFile access, uint64_t iova,
                        uint64_t length, Was was) {
  const auto it = accesses_.find(access);
  if (it == accesses_.end() || length > kMaxBufferBytes) return false;
  const Space& space = contexts_[it->second.context].spaces[it->second.space];
  return ForEachArea(
      space, iova, length, [&](const Area& area, uint64_t at, uint64_t n) {
        if (area.object != 0) {
          return contents_->SyncObject(p, area.object, area.offset + at, n,
                                       was);
        }
        return mirror_->Lives(area.process) &&
               contents_->Sync(area.process, area.addr + at, n, was);
      });
}

void Spaces::Apply(const PendingCall& c, const std::string& after) {
  if (c.desc->effect == nullptr) return;
  const desc_effect& e = *c.desc->effect;
  const desc_struct& s = *c.desc->arg;
  Context* context = &contexts_[c.file];
  auto value = [&](const char* name) -> uint64_t {
    const desc_field* d = name != nullptr ? desc_find_field(s, name) : nullptr;
    if (d == nullptr) return 0;
    return desc_load(*d,
                     desc_is_output(d->kind) ? after.data() : c.image.data());
  };
  auto file = [&](const char* name) -> RecordFile {
    if (name == nullptr) return 0;
    const auto it = c.fds.find(desc_find_field(s, name));
    return it != c.fds.end() ? it->second : 0;
  };
  const uint32_t id = e.space != nullptr ? static_cast<uint32_t>(value(e.space))
                                         : context->compat;
  const bool selected = desc_effect_selected(s, e, c.image.data());
  switch (e.kind) {
    case desc_effect_kind::MAP: {
      Area area;
      area.process = c.caller.process;
      area.length = value(e.length);
      area.addr = value(e.from_va);
      area.object = file(e.from_file);
      area.offset = value(e.from_offset);
      context->spaces[id][value(e.iova)] = area;
      break;
    }
    case desc_effect_kind::COPY: {
      Space copied;
      uint64_t to = value(e.iova);
      ForEachArea(context->spaces[static_cast<uint32_t>(value(e.src_space))],
                  value(e.src_iova), value(e.length),
                  [&](Area piece, uint64_t at, uint64_t n) {
                    piece.addr += at;
                    piece.offset += at;
                    piece.length = n;
                    copied[to] = piece;
                    to += n;
                    return true;
                  });
      context->spaces[id].merge(copied);
      break;
    }
    case desc_effect_kind::UNMAP:
      if (selected) {
        context->spaces[id].clear();
      } else {
        Erase(&context->spaces[id], value(e.iova), value(e.length));
      }
      break;
    case desc_effect_kind::END:
      context->spaces.erase(id);
      break;
    case desc_effect_kind::COMPAT_SPACE:
      // What was mapped while the space was not known is this one's.
      if (context->compat == 0) context->spaces[id].merge(context->spaces[0]);
      context->compat = selected ? 0 : id;
      break;
    case desc_effect_kind::ACCESS_SPACE:
      if (const RecordFile access = file(e.access); access != 0) {
        Access* a = &accesses_[access];
        if (a->context == 0) a->context = c.file;
        a->space = id;
      }
      break;
    case desc_effect_kind::ACCESS:
      // What it wrote is in the program's memory as well.
      if (c.buffers.empty()) {
        SyncAccess(c.caller.process, file(e.access), value(e.iova),
                   value(e.length), Was::kWritten);
      }
      break;
  }
}

}  // namespace prog::recording
