// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_memory.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "prog/record_values.h"

namespace prog::recording {
namespace {

// A mapping above it is asked for only as far as it is used.
constexpr uint64_t kMaxWholeRegion = 256 << 20;

}  // namespace

void Memory::Reconcile(RecordProcess p, uint64_t addr, uint64_t length) {
  constexpr uint64_t kMost = uint64_t{1} << 30;
  if (addr >= kAddressEnd) return;
  const uint64_t end = addr + std::min(length, kAddressEnd - addr);
  for (uint64_t at = addr; at < end;) {
    RecordRegion r;
    const bool found = source_->FindRegion(p, at, &r);
    const uint64_t start = found ? std::max(r.start, at) : kAddressEnd;
    if (start > at || r.none) {
      uint64_t hole = r.none && start == at ? r.start + r.length : start;
      hole = std::min(hole, PageUp(end));
      Unmap(p, PageDown(at), hole);
      if (length > kMost) return;
      at = hole;
      continue;
    }
    Declare(p, r, at, std::min(end, r.start + r.length));
    at = r.start + r.length;
  }
}

void Memory::Refresh(RecordProcess p) {
  const std::map<uint64_t, Range> mapped = mirror_->Process(p)->mapped;
  for (const auto& [start, range] : mapped) {
    const uint64_t end = start + range.length;
    for (uint64_t at = start; at < end;) {
      RecordRegion r;
      const bool found = source_->FindRegion(p, at, &r);
      const uint64_t next = found ? std::min(r.start, end) : end;
      if (next > at) {
        Unmap(p, at, next);
        at = next;
        continue;
      }
      const uint64_t stop = std::min(end, r.start + r.length);
      const bool same =
          !r.none && r.object == range.object && r.device == range.device &&
          (r.object == 0 ||
           r.offset + (at - r.start) == range.object_offset + (at - start));
      if (!same) Unmap(p, at, stop);
      at = stop;
    }
  }
}

void Memory::Declare(RecordProcess p, const RecordRegion& region,
                     uint64_t begin, uint64_t end) {
  if (region.device) return;
  const uint64_t region_end = region.start + region.length;
  if (region.length <= kMaxWholeRegion) {
    begin = region.start;
    end = region_end;
  } else {
    const uint64_t unit = region.huge ? kHuge : kPage;
    begin = std::max(region.start, begin & ~(unit - 1));
    end = std::min(region_end, (end + unit - 1) & ~(unit - 1));
  }
  // First what was something else.
  const std::map<uint64_t, Range> mapped = mirror_->Process(p)->mapped;
  auto it = mapped.upper_bound(begin);
  if (it != mapped.begin()) --it;
  uint64_t at = begin;
  std::vector<std::pair<uint64_t, uint64_t>> missing;
  for (; it != mapped.end() && it->first < end; ++it) {
    const uint64_t start = it->first;
    const Range& r = it->second;
    if (start + r.length <= begin) continue;
    const bool same = r.object == region.object && r.copy == region.copy &&
                      !r.device &&
                      (r.object == 0 ||
                       r.object_offset - start == region.offset - region.start);
    if (!same) {
      Unmap(p, std::max(begin, start), std::min(end, start + r.length));
      continue;
    }
    if (start > at) missing.emplace_back(at, start);
    at = start + r.length;
  }
  if (at < end) missing.emplace_back(at, end);
  for (const auto& [from, to] : missing) DeclareNew(p, region, from, to);
}

void Memory::DeclareNew(RecordProcess p, const RecordRegion& region,
                        uint64_t from, uint64_t to) {
  Range r;
  r.length = to - from;
  r.at = mirror_->PlaceFor(p, from, r.length);
  r.object = region.object;
  r.object_offset = region.offset + (from - region.start);
  r.copy = region.copy;
  r.readonly = region.readonly;
  r.huge = region.huge;
  RecordObject object;
  const bool shared =
      region.object != 0 && source_->FindObject(region.object, &object);
  Call call;
  if (shared && object.memfd) {
    const Value name = *files_->FileName(p, region.object);
    call = mirror_->NewCall("mmap", p);
    AddArg(&call, "", name);
    AddArg(&call, "length", Size(r.length));
    if (r.object_offset != 0) {
      AddArg(&call, "offset", Size(r.object_offset));
    }
    if (r.readonly) AddArg(&call, "prot", Value::Name("READ"));
    std::vector<Value> flags = {Value::Name(r.copy ? "PRIVATE" : "SHARED")};
    if (r.at != 0) flags.push_back(Value::Name("FIXED"));
    AddArg(&call, "flags", Value::Or(std::move(flags)));
  } else {
    call = mirror_->NewCall("anon", p);
    AddArg(&call, "", Size(r.length));
    if (shared) {
      files_->Made(region.object, object,
                   "shared memory that is mapped twice without a descriptor");
      AddArg(&call, "shared", Value::Name("true"));
    }
    AddShape(&call, region.huge, region.fragmented, region.poisoned);
    if (r.readonly) AddArg(&call, "readonly", Value::Name("true"));
  }
  if (r.at != 0) {
    AddArg(&call, "addr", Value::Number(r.at, NumberStyle::kHex));
  } else {
    lines_->Remark("memory that has no room at its place");
    if (call.name == "anon") {
      AddArg(&call, "align",
             Size(std::min(from & (~from + 1), uint64_t{1} << 30)));
    }
  }
  call.result = lines_->NewName("buf");
  r.name = call.result;
  lines_->Print(call);
  mirror_->AddRange(p, from, std::move(r));
}

void Memory::Unmap(RecordProcess p, uint64_t begin, uint64_t end) {
  ProcessState* state = mirror_->Process(p);
  const std::map<uint64_t, Range> mapped = state->mapped;
  auto it = mapped.upper_bound(begin);
  if (it != mapped.begin()) --it;
  for (; it != mapped.end() && it->first < end; ++it) {
    const Range& r = it->second;
    uint64_t from = std::max(begin, it->first);
    uint64_t to = std::min(end, it->first + r.length);
    if (from >= to) continue;
    Call call = mirror_->NewCall("munmap", p);
    AddArg(&call, "", Plus(Value::Name(r.name), r.offset + from - it->first));
    AddArg(&call, "", Size(to - from));
    lines_->Print(call);
    mirror_->Forget(state, from, to);
  }
}

bool Memory::Accessible(RecordProcess p, uint64_t addr, uint64_t n,
                        bool write) {
  if (addr >= kAddressEnd || n > kAddressEnd - addr) return false;
  const uint64_t end = addr + n;
  for (uint64_t at = addr; at < end;) {
    RecordRegion r;
    if (!source_->FindRegion(p, at, &r) || r.start > at || r.none ||
        r.poisoned || (write && r.readonly)) {
      return false;
    }
    at = r.start + r.length;
  }
  return true;
}

}  // namespace prog::recording
