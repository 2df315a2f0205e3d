// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_contents.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "prog/record_values.h"

namespace prog::recording {
namespace {

constexpr size_t kMaxStringBytes = 512;

}  // namespace

std::string Contents::Read(RecordProcess p, uint64_t addr, size_t n) {
  std::string bytes(n, '\0');
  bytes.resize(source_->Read(p, addr, bytes.data(), n));
  return bytes;
}

bool Contents::Sync(RecordProcess p, uint64_t addr, size_t n, Was was) {
  std::string actual(std::min(n, kMaxBufferBytes), '\0');
  const size_t got = source_->Read(p, addr, actual.data(), actual.size());
  bool whole = got == n;
  for (size_t i = 0; i < got;) {
    uint64_t start;
    const Range* r = mirror_->RangeAt(p, addr + i, &start);
    const size_t in_page = (addr + i) % kPage;
    const size_t part = std::min(got - i, kPage - in_page);
    if (r == nullptr || r->device || (r->readonly && was != Was::kWritten)) {
      whole = false;
    } else {
      std::string* page = mirror_->PageOf(p, *r, start, addr + i);
      const std::string_view bytes = std::string_view(actual).substr(i, part);
      Update(p, page, in_page, bytes, r->name, r->offset + (addr + i - start),
             was);
    }
    i += part;
  }
  return whole;
}

bool Contents::SyncObject(RecordProcess p, RecordFile file, uint64_t offset,
                          size_t n, Was was) {
  std::string actual(std::min(n, kMaxBufferBytes), '\0');
  const size_t got =
      source_->ReadObject(file, offset, actual.data(), actual.size());
  const std::optional<Value> name = files_->FileName(p, file);
  if (got != n || !name) return false;
  ObjectState* object = &mirror_->objects[file];
  std::string* view = &object->views[p];
  if (was != Was::kWritten && view->empty()) {
    Call call = mirror_->NewCall("mmap", p);
    call.result = lines_->NewName("view");
    AddArg(&call, "", *name);
    AddArg(&call, "length", Size(PageUp(object->size)));
    lines_->Print(call);
    *view = call.result;
  }
  for (size_t i = 0; i < got;) {
    const size_t in_page = (offset + i) % kPage;
    const size_t part = std::min(got - i, kPage - in_page);
    std::string* page = &object->pages[PageDown(offset + i)];
    const std::string_view bytes = std::string_view(actual).substr(i, part);
    Update(p, page, in_page, bytes, *view, offset + i, was);
    i += part;
  }
  return true;
}

void Contents::SyncMapped(RecordProcess p, uint64_t begin, uint64_t end) {
  const std::map<uint64_t, Range> mapped = mirror_->Process(p)->mapped;
  for (const auto& [start, r] : mapped) {
    uint64_t at = std::max(begin, start);
    const uint64_t to = std::min(end, start + r.length);
    for (; !r.device && at < to; at += std::min(kMaxBufferBytes, to - at)) {
      Sync(p, at, std::min(kMaxBufferBytes, to - at));
    }
  }
}

void Contents::Update(RecordProcess p, std::string* page, size_t offset,
                      std::string_view actual, const std::string& name,
                      uint64_t where, Was was) {
  if (page->empty()) page->assign(kPage, '\0');
  if (was == Was::kRight) {
    StoreDifference(p, page, offset, actual, name, where);
    return;
  }
  if (was == Was::kUnknown) PrintStores(p, name, where, actual);
  memcpy(page->data() + offset, actual.data(), actual.size());
}

void Contents::StoreDifference(RecordProcess p, std::string* page,
                               size_t offset, std::string_view actual,
                               const std::string& name, uint64_t where) {
  // Bytes that are right already, between two that are not, are stored too.
  constexpr size_t kJoin = 16;
  for (size_t i = 0; i < actual.size();) {
    if ((*page)[offset + i] == actual[i]) {
      i++;
      continue;
    }
    size_t end = i + 1;
    for (size_t k = end; k < actual.size() && k < end + kJoin; k++) {
      if ((*page)[offset + k] != actual[k]) end = k + 1;
    }
    PrintStores(p, name, where + i, actual.substr(i, end - i));
    i = end;
  }
  memcpy(page->data() + offset, actual.data(), actual.size());
}

void Contents::PrintStores(RecordProcess p, const std::string& name,
                           uint64_t where, std::string_view bytes) {
  constexpr size_t kLong = 32;
  size_t plain = 0;  // from here to i nothing is stored yet
  const auto flush = [&](size_t to) {
    for (; plain < to; plain += std::min(kMaxStringBytes, to - plain)) {
      const size_t n = std::min(kMaxStringBytes, to - plain);
      PrintStore(p, name, where + plain, bytes.substr(plain, n), n);
    }
  };
  for (size_t i = 0; i < bytes.size();) {
    size_t n = 0;
    size_t period = 1;
    for (; period <= 8; period *= 2) {
      n = period;
      while (i + n < bytes.size() && bytes[i + n] == bytes[i + n - period]) {
        n++;
      }
      if (n >= kLong) break;
    }
    if (n < kLong) {
      i++;
      continue;
    }
    flush(i);
    PrintStore(p, name, where + i, bytes.substr(i, period), n);
    i += n;
    plain = i;
  }
  flush(bytes.size());
}

void Contents::PrintStore(RecordProcess p, const std::string& name,
                          uint64_t where, std::string_view bytes, size_t n) {
  Call call = mirror_->NewCall("store", p);
  AddArg(&call, "", Plus(Value::Name(name), where));
  AddArg(&call, "", Value::String(bytes));
  if (n != bytes.size()) AddArg(&call, "n", Value::Number(n));
  lines_->Print(call);
}

}  // namespace prog::recording
