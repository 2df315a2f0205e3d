// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_mirror.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "prog/record_values.h"

namespace prog::recording {
namespace {

constexpr uint64_t kPlaceMask = (uint64_t{1} << 38) - 1;
// No process has memory below it.
constexpr uint64_t kLowestAddress = 64 << 10;

void Advance(Range* r, uint64_t by) {
  r->offset += by;
  r->object_offset += by;
  if (r->at != 0) r->at += by;
}

void Advance(NamedRange* r, uint64_t by) { r->offset += by; }

// Cuts [begin, end) out of what is there.
template <class Map>
void Cut(Map* map, uint64_t begin, uint64_t end) {
  auto it = map->upper_bound(begin);
  if (it != map->begin()) --it;
  while (it != map->end() && it->first < end) {
    const uint64_t start = it->first;
    const uint64_t stop = start + it->second.length;
    if (stop <= begin) {
      ++it;
      continue;
    }
    auto whole = it->second;
    it = map->erase(it);
    if (start < begin) {
      auto lower = whole;
      lower.length = begin - start;
      map->emplace(start, lower);
    }
    if (stop > end) {
      auto upper = whole;
      upper.length = stop - end;
      Advance(&upper, end - start);
      it = std::next(map->emplace(end, upper).first);
    }
  }
}

}  // namespace

bool Mirror::Lives(RecordProcess p) const {
  const auto it = processes.find(p);
  return it != processes.end() && !it->second.gone;
}

Call Mirror::NewCall(std::string_view name, RecordProcess p) {
  Call call;
  call.name = name;
  call.thread = Process(p)->name;
  return call;
}

bool Mirror::IsMapped(RecordFile object) const {
  for (const auto& [p, state] : processes) {
    if (state.gone) continue;
    if (state.files.count(object) != 0) return true;
    for (const auto& [start, r] : state.mapped) {
      if (r.object == object) return true;
    }
  }
  return false;
}

uint64_t Mirror::Placed(uint64_t addr) const {
  return place_ + (addr & kPlaceMask);
}

Value Mirror::Address(RecordProcess p, uint64_t addr) {
  ProcessState* state = Process(p);
  auto it = state->names.upper_bound(addr);
  if (it != state->names.begin()) {
    --it;
    const uint64_t at = addr - it->first;
    if (at < it->second.length) {
      return Plus(Value::Name(it->second.name), it->second.offset + at);
    }
  }
  // Memory that there is not, whatever the program's addresses are.
  if (addr >= kLowestAddress && addr < kAddressEnd) {
    return Value::Number(Placed(addr), NumberStyle::kHex);
  }
  return Value::Number(addr);
}

uint64_t Mirror::PlaceFor(RecordProcess p, uint64_t start, uint64_t length) {
  const uint64_t at = Placed(start);
  for (const auto& [other, r] : Process(p)->mapped) {
    const bool itself = other < start + length && start < other + r.length;
    if (!itself && r.at != 0 && r.at < at + length && at < r.at + r.length) {
      return 0;
    }
  }
  return at;
}

const Range* Mirror::RangeAt(RecordProcess p, uint64_t addr, uint64_t* start) {
  ProcessState* state = Process(p);
  auto it = state->mapped.upper_bound(addr);
  if (it == state->mapped.begin()) return nullptr;
  --it;
  if (addr - it->first >= it->second.length) return nullptr;
  *start = it->first;
  return &it->second;
}

std::string* Mirror::PageOf(RecordProcess p, const Range& r, uint64_t start,
                            uint64_t addr) {
  if (r.object != 0 && !r.copy) {
    const uint64_t offset = r.object_offset + (addr - start);
    return &objects[r.object].pages[PageDown(offset)];
  }
  return &Process(p)->pages[PageDown(addr)];
}

void Mirror::AddRange(RecordProcess p, uint64_t start, Range r) {
  ProcessState* state = Process(p);
  Forget(state, start, start + r.length);
  Cut(&state->names, start, start + r.length);
  NamedRange name;
  name.length = r.length;
  name.name = r.name;
  name.offset = r.offset;
  state->names.emplace(start, name);
  state->mapped.emplace(start, std::move(r));
}

void Mirror::Forget(ProcessState* state, uint64_t begin, uint64_t end) {
  Cut(&state->mapped, begin, end);
  state->pages.erase(state->pages.lower_bound(begin),
                     state->pages.lower_bound(end));
}

}  // namespace prog::recording
