// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_results.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>

#include "absl/strings/str_cat.h"
#include "prog/calls.h"
#include "prog/record_literal.h"
#include "prog/record_values.h"
#include "uapi/iommufd_desc.h"

namespace prog::recording {
namespace {

// Up to here each byte that came back is said by itself.
constexpr size_t kMaxSingleBytes = 8;

uint64_t SizeOf(const PendingCall& c) {
  for (const desc_field& d : c.desc->arg->fields) {
    if (d.kind == desc_kind::SIZE) return desc_load(d, c.image.data());
  }
  return c.desc->arg->size;
}

}  // namespace

void Results::End(PendingCall* c, long ret, std::span<const RecordFile> files) {
  const RecordProcess p = c->caller.process;
  c->call.args[0].value = files_->Descriptor(&c->call, p, c->file, ret);
  for (const size_t i : c->unknown_fds) {
    // Of something else: any file that is none of the right kind.
    if (ret != -EBADF) c->call.args[i].value = c->call.args[0].value;
  }
  AddFailNth(&c->call, c->caller);
  const bool success = lines_->ExpectResult(&c->call, ret);
  if (c->raw) {
    if (ret > 0) ExpectOutput(&c->call, "", Value::Number(ret));
    lines_->Print(c->call);
    return;
  }
  std::string after = c->image;
  if (c->readable) {
    const std::string now = contents_->Read(p, c->arg, c->desc->arg->size);
    std::copy_n(now.begin(), std::min(now.size(), after.size()), after.begin());
    // What the kernel did not look at it did not write either.
  }
  if (success) NameResults(c, after, files);
  if (c->apart) ExpectFields(c, after, success);
  if (success && c->desc->returns_number) {
    ExpectOutput(&c->call, "", Value::Number(ret));
  }
  for (const PendingCall::Buffer& buffer : c->buffers) {
    if (buffer.literal) ExpectBuffer(c, buffer, after, success);
  }
  lines_->Print(c->call);
  if (success) spaces_->Apply(*c, after);
  for (const PendingCall::Buffer& buffer : c->buffers) {
    if (!buffer.literal) CompareBuffer(*c, buffer, success);
  }
}

void Results::NameResults(PendingCall* c, const std::string& after,
                          std::span<const RecordFile> files) {
  const RecordProcess p = c->caller.process;
  const desc_field* primary = PrimaryOutput(*c->desc);
  auto named = [&](const desc_field& d) {
    if (c->call.result.empty()) {
      desc_object object = c->desc->creates;
      if (object == desc_object::NONE) object = d.object;
      c->call.result = lines_->NewName(desc_object_variable(object));
    }
    return &d == primary ? Value::Name(c->call.result)
                         : Value::Name(c->call.result,
                                       absl::StrCat(".", desc_output_name(d)));
  };
  size_t next_file = 0;
  for (const desc_field& d : c->desc->arg->fields) {
    const uint32_t n = static_cast<uint32_t>(desc_load(d, after.data()));
    if (d.kind == desc_kind::FD_OUT) {
      if (next_file >= files.size()) continue;
      const RecordFile file = files[next_file++];
      mirror_->Process(p)->files[file] = named(d);
      c->fds[&d] = file;
    } else if (d.kind == desc_kind::ID_OUT) {
      const RecordFile holder =
          desc_object_is_of_access(d.object) ? c->FileIn() : c->file;
      mirror_->files[holder].ids[n] = named(d);
    } else if (d.kind == desc_kind::ID_INOUT) {
      std::map<uint32_t, Value>* ids = &mirror_->files[c->file].ids;
      if (n != 0 && ids->count(n) == 0) ids->emplace(n, named(d));
    }
  }
  if (c->desc->returns_fd && !files.empty()) {
    c->call.result = lines_->NewName("fd");
    mirror_->Process(p)->files[files[0]] = Value::Name(c->call.result);
  }
}

void Results::ExpectFields(PendingCall* c, const std::string& after,
                           bool success) {
  const desc_field* primary = PrimaryOutput(*c->desc);
  const uint64_t size = c->readable ? SizeOf(*c) : 0;
  for (const desc_field& d : c->desc->arg->fields) {
    if (!desc_is_returned(d) || desc_is_pointer(d.kind) ||
        d.kind == desc_kind::FD_OUT || d.offset + d.width > size) {
      continue;
    }
    const uint64_t n = desc_load(d, after.data());
    const bool same = n == desc_load(d, c->image.data());
    // What went in and came out as it was says nothing.
    if (same && (!success || d.kind == desc_kind::ID_INOUT)) continue;
    if (!success && d.kind == desc_kind::ID_OUT) continue;
    const bool bare = &d == primary && success;
    ExpectOutput(&c->call, bare ? "" : desc_output_name(d),
                 d.kind == desc_kind::IOVA_LEN ? Size(n) : Value::Number(n));
  }
}

void Results::ExpectBuffer(PendingCall* c, const PendingCall::Buffer& buffer,
                           const std::string& after_image, bool success) {
  if (!buffer.trusted) return;
  const desc_struct& s = *c->desc->arg;
  const desc_field& d = *buffer.field;
  const std::string name(PointerName(d));
  const std::string after =
      contents_->Read(c->caller.process, buffer.addr, buffer.before.size());
  if (after.size() != buffer.before.size()) return;
  // What is only written is written as a whole.
  const bool all = success && !buffer.reads;
  const desc_struct* pointee = desc_pointee(s, d, c->image.data());
  // As the runner does it: the answer says what out(n) holds.
  if (pointee == nullptr) pointee = desc_pointee(s, d, after_image.data());
  if (pointee == nullptr && after.size() > kMaxSingleBytes &&
      (all || buffer.reads || AllZero(buffer.before))) {
    // What the kernel did not write is in the program what it was here.
    if (after != buffer.before || all) {
      ExpectOutput(&c->call, absl::StrCat(name, ".hash"),
                   Value::Number(HashOf(after), NumberStyle::kHex));
    }
    return;
  }
  if (pointee == nullptr) {
    for (size_t i = 0; i < after.size() && i < kMaxExpectedBytes; i++) {
      if (after[i] == buffer.before[i] && !all) continue;
      ExpectOutput(&c->call, absl::StrCat(name, "[", i, "]"),
                   Value::Number(static_cast<unsigned char>(after[i])));
    }
    return;
  }
  const size_t width = pointee->size;
  size_t elements = after.size() / width;
  const size_t sent = elements;
  if (d.len_field != nullptr) {
    const desc_field* len = desc_find_field(s, d.len_field);
    if (len->kind == desc_kind::COUNT) {
      elements =
          std::min<size_t>(elements, desc_load(*len, after_image.data()));
    }
  }
  for (size_t i = 0; i < elements && i < kMaxExpectedElements; i++) {
    for (const desc_field& sub : pointee->fields) {
      if (sub.kind == desc_kind::PADDING) continue;
      const uint64_t n = desc_load(sub, after.data() + i * width);
      const uint64_t before = desc_load(sub, buffer.before.data() + i * width);
      if (n == before && !all) continue;
      const std::string index = sent == 1 ? "" : absl::StrCat("[", i, "]");
      ExpectOutput(&c->call, absl::StrCat(name, index, ".", sub.name),
                   Value::Number(n));
    }
  }
}

void Results::CompareBuffer(const PendingCall& c,
                            const PendingCall::Buffer& buffer, bool success) {
  const RecordProcess p = c.caller.process;
  const std::string after =
      contents_->Read(p, buffer.addr, buffer.before.size());
  if (after.empty() || after.size() != buffer.before.size()) return;
  uint64_t start;
  if (mirror_->RangeAt(p, buffer.addr, &start) == nullptr) return;
  if (buffer.trusted) {
    Call call = mirror_->NewCall("load", p);
    AddArg(&call, "", mirror_->Address(p, buffer.addr));
    AddArg(&call, "", Value::Number(after.size()));
    ExpectBytes(&call, after);
    lines_->Print(call);
    contents_->Sync(p, buffer.addr, after.size(), Was::kWritten);
    return;
  }
  const bool all = success && !buffer.reads && buffer.whole;
  for (size_t i = 0; i < after.size();) {
    const size_t end =
        std::min<size_t>(after.size(), i + kPage - (buffer.addr + i) % kPage);
    if (all || after.compare(i, end - i, buffer.before, i, end - i) != 0) {
      contents_->Sync(p, buffer.addr + i, end - i, Was::kUnknown);
    }
    i = end;
  }
}

}  // namespace prog::recording
