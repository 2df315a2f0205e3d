// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_arguments.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "prog/calls.h"
#include "prog/record_literal.h"
#include "prog/record_values.h"

namespace prog::recording {
namespace {

constexpr size_t kMaxStructBytes = 4096;

}  // namespace

void Arguments::Begin(PendingCall* c, unsigned long cmd, uint64_t arg) {
  const RecordProcess p = c->caller.process;
  files_->Truncate();
  c->arg = arg;
  const auto file = mirror_->files.find(c->file);
  const uint8_t revision =
      file != mirror_->files.end() && file->second.revision != 0
          ? file->second.revision
          : revision_;
  std::string image = contents_->Read(p, arg, kMaxStructBytes);
  uint32_t op = 0;
  if (image.size() >= 8) memcpy(&op, image.data() + 4, sizeof(op));
  c->desc = iommufd_desc_find_cmd(static_cast<uint32_t>(cmd), op, revision);
  spaces_->Reconcile(c->file);
  // Numbers have 32 bits.
  if (cmd >> 32 != 0) c->desc = nullptr;
  if (c->desc == nullptr || !Describe(c, std::move(image))) {
    Raw(c, cmd);
  }
}

bool Arguments::Describe(PendingCall* c, std::string image) {
  const desc_struct& s = *c->desc->arg;
  const RecordProcess p = c->caller.process;
  c->call = mirror_->NewCall(c->desc->name, p);
  AddArg(&c->call, "", Value());  // the descriptor, see Results::End()
  const desc_field* size_field = nullptr;
  for (const desc_field& d : s.fields) {
    if (d.kind == desc_kind::SIZE) size_field = &d;
  }
  uint64_t size = s.size;
  const bool advice = c->desc->size_is_advice;
  if (size_field == nullptr) {
    // The argument is the value itself.
    if (s.fields.size() != 1) return false;
    image.assign(reinterpret_cast<const char*>(&c->arg), sizeof(c->arg));
    c->readable = false;
  } else {
    if (image.size() < sizeof(uint32_t)) {
      // Nothing of it can be read, so nothing else matters.
      if (!image.empty() || c->desc->op != 0) return false;
      AddArg(&c->call, "arg", mirror_->Address(p, c->arg));
      c->readable = false;
      return true;
    }
    image.resize(std::max<size_t>(image.size(), size_field->width));
    size = desc_load(*size_field, image.data());
    const uint64_t looked_at =
        advice ? std::max<uint64_t>(c->desc->min_size, size) : size;
    if (looked_at <= kMaxBufferBytes &&
        !memory_->Accessible(p, c->arg, looked_at, true)) {
      return false;
    }
  }
  const std::string tail =
      !advice && size > s.size && image.size() > s.size
          ? image.substr(s.size,
                         std::min<uint64_t>(size, image.size()) - s.size)
          : "";
  image.resize(s.size);
  if (size < s.size) {
    std::fill(image.begin() + static_cast<ptrdiff_t>(size), image.end(), 0);
  }
  c->image = image;
  for (const desc_field& d : s.fields) {
    if (d.kind != desc_kind::FD_IN || d.offset >= size) continue;
    c->fds[&d] =
        source_->FileOf(p, static_cast<int>(desc_load(d, image.data())));
  }
  Derived derived;
  for (const desc_field& d : s.fields) {
    if (desc_is_pointer(d.kind) && d.offset < size) {
      if (!Pointer(c, s, d, &derived)) return false;
    }
  }
  std::vector<Field> pointers(c->call.args.begin() + 1, c->call.args.end());
  c->call.args.resize(1);
  if (size_field != nullptr && size != s.size) {
    AddArg(&c->call, size_field->name, Value::Number(size));
  }
  for (const desc_field& d : s.fields) {
    if (d.offset >= size || d.kind == desc_kind::SIZE ||
        d.kind == desc_kind::OP) {
      continue;
    }
    if (desc_is_pointer(d.kind)) {
      for (Field& f : pointers) {
        if (f.name == PointerName(d)) c->call.args.push_back(std::move(f));
      }
      continue;
    }
    AddField(c, s, d, derived);
  }
  const size_t last = tail.find_last_not_of('\0');
  if (last != std::string::npos) {
    AddArg(&c->call, "tail", Value::String(tail.substr(0, last + 1)));
  }
  return true;
}

void Arguments::AddField(PendingCall* c, const desc_struct& s,
                         const desc_field& d, const Derived& derived) {
  const RecordProcess p = c->caller.process;
  const uint64_t n = desc_load(d, c->image.data());
  uint64_t otherwise = d.default_value;
  const auto it = derived.find(&d);
  if (it != derived.end()) otherwise = it->second;
  switch (d.kind) {
    case desc_kind::ID_OUT:
    case desc_kind::FD_OUT:
    case desc_kind::NUMBER_OUT:
      return;
    case desc_kind::FD_IN: {
      if (const std::optional<Value> name = files_->FileName(p, c->fds[&d])) {
        AddArg(&c->call, d.name, *name);
      } else {
        c->unknown_fds.push_back(c->call.args.size());
        AddArg(&c->call, d.name, MinusOne());
      }
      return;
    }
    case desc_kind::USER_VA: {
      uint64_t length = 0;
      for (const desc_field& other : s.fields) {
        if (d.len_field != nullptr ? d.len_field == std::string_view(other.name)
                                   : other.kind == desc_kind::IOVA_LEN) {
          length = desc_load(other, c->image.data());
        }
      }
      if (n == otherwise) return;
      memory_->Reconcile(p, n, length);
      AddArg(&c->call, d.name, mirror_->Address(p, n));
      return;
    }
    default:
      break;
  }
  if (n == otherwise) return;
  if (d.kind == desc_kind::ID_IN || d.kind == desc_kind::ID_INOUT) {
    const RecordFile holder =
        desc_object_is_of_access(d.object) ? c->FileIn() : c->file;
    const auto f = mirror_->files.find(holder);
    if (f != mirror_->files.end()) {
      const auto id = f->second.ids.find(static_cast<uint32_t>(n));
      if (id != f->second.ids.end()) {
        AddArg(&c->call, d.name, id->second);
        return;
      }
    }
    AddArg(&c->call, d.name, Value::Number(n));
    return;
  }
  if (d.kind == desc_kind::IOVA_LEN || d.kind == desc_kind::LEN) {
    AddArg(&c->call, d.name, Size(n));
    return;
  }
  AddArg(&c->call, d.name, Named(d, n));
}

bool Arguments::Pointer(PendingCall* c, const desc_struct& s,
                        const desc_field& d, Derived* derived) {
  const RecordProcess p = c->caller.process;
  const std::string name(PointerName(d));
  const uint64_t addr = desc_load(d, c->image.data());
  uint64_t element, count;
  const uint64_t n = BytesBehind(*c, s, d, &element, &count);
  if (addr == 0) return true;
  if (n == 0) {
    AddArg(&c->call, name, mirror_->Address(p, addr));
    return true;
  }
  const desc_effect* e = c->desc->effect;
  bool reads = d.kind != desc_kind::PTR_OUT;
  bool writes = d.kind != desc_kind::PTR_IN;
  bool trusted = true;
  if (e != nullptr && e->data != nullptr &&
      d.name == std::string_view(e->data)) {
    reads = desc_effect_selected(s, *e, c->image.data());
    writes = !reads;
    if (writes) {
      trusted =
          spaces_->SyncAccess(p, c->FileIn(), c->Sent(e->iova), n, Was::kRight);
    }
  }
  const desc_struct* pointee = desc_pointee(s, d, c->image.data());
  const std::string bytes =
      contents_->Read(p, addr, std::min<uint64_t>(n, kMaxBufferBytes));
  PendingCall::Buffer buffer;
  buffer.field = &d;
  buffer.addr = addr;
  buffer.before = bytes;
  buffer.reads = reads;
  buffer.whole = bytes.size() == n;
  // The program has its structs elsewhere: where one lies in its own buffer,
  // which takes a length that nobody means, they cannot be told apart.
  const uint64_t distance = c->arg > addr ? c->arg - addr : addr - c->arg;
  if (writes && distance < (c->arg > addr ? n : s.size)) c->apart = false;
  buffer.trusted = trusted && buffer.whole && c->apart;
  std::optional<Value> literal;
  if (buffer.whole && memory_->Accessible(p, addr, n, writes)) {
    literal = Literal(d, pointee, bytes, element, count, reads, writes);
  }
  if (literal) {
    buffer.literal = true;
    const desc_field* len =
        d.len_field != nullptr ? desc_find_field(s, d.len_field) : nullptr;
    const uint64_t width = pointee != nullptr ? pointee->size : 1;
    for (const desc_field& other : s.fields) {
      if (other.kind == desc_kind::ENTRY_LEN) (*derived)[&other] = width;
    }
    if (len != nullptr) {
      const bool counts = len->kind == desc_kind::COUNT;
      (*derived)[len] = counts ? n / width : n;
    }
    AddArg(&c->call, name, std::move(*literal));
  } else {
    memory_->Reconcile(p, addr, std::min<uint64_t>(n, kMaxBufferBytes));
    // A buffer that is only written is compared as a whole afterwards.
    if (reads || buffer.trusted) {
      contents_->Sync(p, addr, std::min<uint64_t>(n, kMaxBufferBytes));
    }
    AddArg(&c->call, name, mirror_->Address(p, addr));
  }
  if (writes) c->buffers.push_back(std::move(buffer));
  return true;
}

void Arguments::Raw(PendingCall* c, unsigned long cmd) {
  const RecordProcess p = c->caller.process;
  const desc_ioctl* desc = c->desc;
  c->raw = true;
  c->desc = nullptr;
  c->buffers.clear();
  c->fds.clear();
  c->unknown_fds.clear();
  c->call = mirror_->NewCall("ioctl", p);
  AddArg(&c->call, "", Value());
  AddArg(&c->call, "", Value::Number(cmd, NumberStyle::kHex));
  const std::string bytes = contents_->Read(p, c->arg, kMaxStructBytes);
  uint32_t size = 0;
  if (bytes.size() >= sizeof(size)) memcpy(&size, bytes.data(), sizeof(size));
  // A command that has a description is here because of where it lies.
  if (desc == nullptr && size >= sizeof(size) && size <= bytes.size()) {
    AddArg(&c->call, "", Value::String(bytes.substr(0, size)));
    return;
  }
  uint64_t n = std::max<uint64_t>(size, sizeof(size));
  if (desc != nullptr) n = std::max<uint64_t>(n, desc->arg->size);
  n = std::min<uint64_t>(n, kMaxStructBytes);
  if (!bytes.empty()) {
    memory_->Reconcile(p, c->arg, n);
    if (!contents_->Sync(p, c->arg, std::min<size_t>(n, bytes.size())) &&
        !AllZero(bytes)) {
      lines_->Remark("a command in memory that cannot be written");
    }
  }
  AddArg(&c->call, "", mirror_->Address(p, c->arg));
}

}  // namespace prog::recording
