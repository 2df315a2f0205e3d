// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/run_ioctl.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "prog/calls.h"
#include "prog/run_frame.h"
#include "uapi/iommufd_desc.h"

namespace prog {
namespace {

constexpr uint64_t kDefaultOutBytes = 64;

class Ioctl {
 public:
  explicit Ioctl(CallFrame* f) : f_(f) {}

  bool Run() {
    const desc_ioctl& desc = *f_->bound().desc;
    const desc_struct& s = *desc.arg;
    const std::vector<Field>& args = f_->bound().call->args;
    uint64_t fd;
    if (!f_->Eval(args[0].value, {}, &fd)) return false;
    std::string image;
    if (!EncodeStruct(s, args, 1, true, &desc, &image)) return false;
    const std::string sent = image;
    // Bytes behind the struct, and a size= that reaches into them or beyond.
    const desc_field* size_field = nullptr;
    for (const desc_field& d : s.fields) {
      if (d.kind == desc_kind::SIZE) size_field = &d;
    }
    bool size_given = false;
    for (size_t i = 1; i < args.size(); i++) {
      // VFIO's is called argsz, and has a size of another thing beside it.
      if (FindField(s, args[i].name) == size_field) size_given = true;
      if (args[i].name != "tail") continue;
      image += args[i].value.text;
    }
    if (size_field != nullptr && !size_given && image.size() != s.size) {
      desc_store(*size_field, image.data(), image.size());
    }
    uint64_t room = image.size();
    if (size_field != nullptr) {
      const uint64_t size = desc_load(*size_field, image.data());
      if (size <= kMaxScratchBytes) room = std::max(room, size);
    }
    const uint64_t placed = desc.arg_is_value ? 0 : f_->Place(image, room);
    uint64_t addr =
        desc.arg_is_value ? desc_load(s.fields[0], image.data()) : placed;
    for (size_t i = 1; i < args.size(); i++) {
      if (args[i].name == "arg" && FindField(s, "arg") == nullptr &&
          !f_->Eval(args[i].value, {}, &addr)) {
        return false;
      }
    }
    f_->Arm();
    const long ret = f_->sys()->ioctl(static_cast<int>(fd), desc.cmd, addr);
    f_->Disarm();
    f_->result()->fd = static_cast<int>(fd);
    f_->result()->sent = sent;
    if (ret < 0) f_->result()->error = static_cast<int>(-ret);
    if (ret >= 0 && desc.returns_fd) {
      f_->SetResult(ret);
      f_->process()->AddFile(static_cast<int>(ret));
    }
    if (desc.returns_number) f_->SetResult(ret);
    if (placed != 0) ReadBack(placed, sent);
    return true;
  }

 private:
  // Data that a pointer field points to, built from the program.
  struct Buffer {
    const desc_field* field = nullptr;
    const desc_struct* pointee = nullptr;  // of one element; or raw bytes
    uint64_t addr = 0;
    size_t bytes = 0;
    size_t elements = 0;
    bool out = false;  // out(n): what it holds is the kernel's to say
    std::string sent;
  };

  // ---- literals to bytes ----

  // The bytes of one struct literal.
  bool EncodeStruct(const desc_struct& s, const std::vector<Field>& fields,
                    size_t first, bool command, const desc_ioctl* ioctl,
                    std::string* image) {
    image->assign(s.size, '\0');
    for (const desc_field& d : s.fields) {
      uint64_t value = d.default_value;
      if (command && d.kind == desc_kind::SIZE) value = s.size;
      if (command && d.kind == desc_kind::OP) value = ioctl->op;
      if (value != 0) desc_store(d, image->data(), value);
    }
    // Numbers first: they say what pointers point to and how much of it.
    std::vector<const desc_field*> given;
    for (size_t i = first; i < fields.size(); i++) {
      const desc_field* d = FindField(s, fields[i].name);
      if (d == nullptr) continue;
      given.push_back(d);
      if (IsData(fields[i].value)) continue;
      uint64_t value;
      if (!f_->Eval(fields[i].value, d->names, &value)) return false;
      desc_store(*d, image->data(), value);
    }
    for (size_t i = first; i < fields.size(); i++) {
      const desc_field* d = FindField(s, fields[i].name);
      if (d == nullptr || !IsData(fields[i].value)) continue;
      if (!EncodePointer(s, fields, *d, fields[i].value, given, image)) {
        return false;
      }
    }
    return true;
  }

  bool EncodePointer(const desc_struct& s, const std::vector<Field>& fields,
                     const desc_field& d, const Value& v,
                     const std::vector<const desc_field*>& given,
                     std::string* image) {
    Buffer buffer;
    buffer.field = &d;
    buffer.out = v.kind == Value::Kind::kOut;
    buffer.pointee = desc_pointee(s, d, image->data());
    std::string data;
    auto add_struct = [&](const Value& literal) {
      const desc_struct* chosen = ChoosePointee(d, s, fields, literal);
      if (chosen == nullptr) return false;
      buffer.pointee = chosen;
      std::string element;
      if (!EncodeStruct(*chosen, literal.fields, 0, false, nullptr, &element)) {
        return false;
      }
      data += element;
      return true;
    };
    switch (v.kind) {
      case Value::Kind::kString:
        data = v.text;
        break;
      case Value::Kind::kStruct:
        if (!add_struct(v)) return false;
        break;
      case Value::Kind::kList:
        for (const Value& item : v.items) {
          if (item.kind == Value::Kind::kStruct) {
            if (!add_struct(item)) return false;
            continue;
          }
          // A number: one byte of raw data, or a whole element of one field.
          uint64_t n;
          if (!f_->Eval(item, {}, &n)) return false;
          size_t width = 1;
          if (buffer.pointee != nullptr && buffer.pointee->size <= 8) {
            width = buffer.pointee->size;
          }
          data.append(reinterpret_cast<const char*>(&n), width);
        }
        break;
      case Value::Kind::kOut: {
        // In the unit of the pointer's length: elements, or bytes.
        const desc_field* len =
            d.len_field != nullptr ? desc_find_field(s, d.len_field) : nullptr;
        const bool count = len != nullptr && len->kind == desc_kind::COUNT;
        uint64_t size = buffer.pointee != nullptr ? buffer.pointee->size : 1;
        uint64_t n = count ? 1 : (size > 1 ? size : kDefaultOutBytes);
        if (!v.items.empty() && !f_->Eval(v.items[0], {}, &n)) return false;
        if (!count) size = 1;
        data.assign(std::min(n, kMaxScratchBytes / size) * size, '\0');
        break;
      }
      default:
        return false;
    }
    const size_t element = buffer.pointee != nullptr ? buffer.pointee->size : 1;
    buffer.bytes = data.size();
    buffer.elements = element != 0 ? data.size() / element : 0;
    uint64_t room = data.size();
    // Lengths that the program does not give follow from the data.
    auto is_given = [&](const desc_field* field) {
      return std::find(given.begin(), given.end(), field) != given.end();
    };
    uint64_t entry_bytes = element;
    for (const desc_field& other : s.fields) {
      if (other.kind != desc_kind::ENTRY_LEN) continue;
      if (is_given(&other)) {
        entry_bytes = desc_load(other, image->data());
      } else {
        desc_store(other, image->data(), element);
      }
    }
    if (d.len_field != nullptr) {
      if (const desc_field* len = desc_find_field(s, d.len_field)) {
        const bool count = len->kind == desc_kind::COUNT;
        if (is_given(len)) {
          const uint64_t n = desc_load(*len, image->data());
          if (n <= kMaxScratchBytes && entry_bytes <= kMaxScratchBytes) {
            room = std::max(room, count ? n * entry_bytes : n);
          }
        } else {
          desc_store(*len, image->data(),
                     count ? buffer.elements : buffer.bytes);
        }
      }
    }
    buffer.addr = f_->Place(data, room);
    buffer.sent = std::move(data);
    desc_store(d, image->data(), buffer.addr);
    buffers_.push_back(std::move(buffer));
    return true;
  }

  // ---- bytes to outputs ----

  // The outputs: fields of the command, then of what its pointers point to.
  void ReadBack(uint64_t placed, const std::string& sent) {
    const desc_ioctl& desc = *f_->bound().desc;
    CallResult* result = f_->result();
    std::string image(desc.arg->size, '\0');
    if (f_->sys()->load(placed, image.data(), image.size()) != 0) return;
    const desc_field* primary = PrimaryOutput(desc);
    for (const desc_field& d : desc.arg->fields) {
      if (!desc_is_returned(d) || desc_is_pointer(d.kind)) continue;
      Output output;
      output.name = desc_output_name(d);
      output.names = {output.name, d.name};
      if (d.alias != nullptr) output.names.push_back(d.alias);
      output.field = &d;
      output.value = desc_load(d, image.data());
      const bool changed = output.value != desc_load(d, sent.data());
      // What went in and came out the same says nothing.
      output.show = changed || (result->error == 0 && !desc_is_input(d.kind));
      if (result->error == 0) {
        if (&d == primary) {
          result->has_value = true;
          result->value = output.value;
        }
        if (d.kind == desc_kind::FD_OUT) {
          f_->process()->AddFile(static_cast<int>(output.value));
        }
      }
      result->outputs.push_back(std::move(output));
    }
    for (const Buffer& buffer : buffers_) {
      ReadBuffer(buffer, image);
    }
  }

  void ReadBuffer(const Buffer& buffer, const std::string& image) {
    const desc_field& d = *buffer.field;
    if (d.kind != desc_kind::PTR_OUT && d.kind != desc_kind::PTR_INOUT) return;
    std::string data(buffer.bytes, '\0');
    if (buffer.addr == 0 || data.empty() ||
        f_->sys()->load(buffer.addr, data.data(), data.size()) != 0) {
      return;
    }
    CallResult* result = f_->result();
    const std::string pointer(PointerName(d));
    const desc_struct* pointee = buffer.pointee;
    if (pointee == nullptr && buffer.out) {
      // The kernel's answer may say what it wrote.
      pointee = desc_pointee(*f_->bound().desc->arg, d, image.data());
    }
    if (pointee == nullptr) {
      Output hash;
      hash.name = pointer + ".hash";
      hash.names = {hash.name, d.name + std::string(".hash")};
      hash.value = HashOf(data);
      hash.show = false;
      result->outputs.push_back(std::move(hash));
      constexpr size_t kMost = 64;
      for (size_t i = 0; i < data.size() && i < kMost; i++) {
        const std::string index = '[' + std::to_string(i) + ']';
        Output output;
        output.name = pointer + index;
        output.names = {output.name, d.name + index};
        output.value = static_cast<unsigned char>(data[i]);
        output.show = data[i] != buffer.sent[i];
        result->outputs.push_back(std::move(output));
      }
      return;
    }
    // How many elements came back, where the command says so.
    const size_t width = pointee->size;
    const size_t sent = width != 0 ? data.size() / width : 0;
    size_t elements = sent;
    const desc_struct& s = *f_->bound().desc->arg;
    if (d.len_field != nullptr) {
      const desc_field* len = desc_find_field(s, d.len_field);
      if (len != nullptr && len->kind == desc_kind::COUNT) {
        elements = std::min<size_t>(elements, desc_load(*len, image.data()));
      }
    }
    constexpr size_t kMost = 64;
    for (size_t i = 0; i < sent && i < kMost; i++) {
      const bool single = sent == 1;
      const std::string index = '[' + std::to_string(i) + ']';
      for (const desc_field& sub : pointee->fields) {
        if (sub.kind == desc_kind::PADDING) continue;
        Output output;
        output.field = &sub;
        output.value = desc_load(sub, data.data() + i * width);
        for (const char* name : {sub.name, sub.alias}) {
          if (name == nullptr) continue;
          output.names.push_back(pointer + index + '.' + name);
          output.names.push_back(d.name + index + '.' + name);
          if (i != 0) continue;
          output.names.push_back(name);
          output.names.push_back(pointer + '.' + name);
          output.names.push_back(std::string(d.name) + '.' + name);
        }
        // Where the forms have different names, the releases's is second.
        const char* shown = sub.name;
        if ((f_->bound().revision & DESC_RELEASES) && sub.alias != nullptr &&
            sub.alias[0] != '_') {
          shown = sub.alias;
        }
        output.name = single ? shown : pointer + index + '.' + shown;
        const bool changed =
            output.value != desc_load(sub, buffer.sent.data() + i * width);
        output.show =
            changed || (result->error == 0 && desc_is_output(sub.kind) &&
                        !desc_is_input(sub.kind));
        if (i >= elements || sub.kind == desc_kind::RESERVED) {
          output.show = false;
        }
        result->outputs.push_back(std::move(output));
      }
    }
  }

  CallFrame* const f_;
  std::vector<Buffer> buffers_;
};

}  // namespace

bool RunIoctl(CallFrame* f) { return Ioctl(f).Run(); }

}  // namespace prog
