// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/repro/data.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "prog/calls.h"

namespace repro {
namespace {

// As when a program runs in the lab.
constexpr uint64_t kMaxBytes = 1 << 20;
constexpr uint64_t kDefaultOutBytes = 64;
// More than this does not go on a thread's stack.
constexpr uint64_t kMaxStackBytes = 4096;

const prog::Field* Given(const desc_struct& s, const desc_field& d,
                         const std::vector<prog::Field>& fields, size_t first) {
  for (size_t i = first; i < fields.size(); i++) {
    if (prog::FindField(s, fields[i].name) == &d) return &fields[i];
  }
  return nullptr;
}

}  // namespace

bool IsData(const prog::Value& v) {
  return v.kind == prog::Value::Kind::kString ||
         v.kind == prog::Value::Kind::kList ||
         v.kind == prog::Value::Kind::kStruct ||
         v.kind == prog::Value::Kind::kOut;
}

std::string Data::Element(const desc_struct& s, size_t index) const {
  if (!typed || pointee != &s) {
    return absl::StrFormat("((struct %s *)%s)[%d].", s.name, variable, index);
  }
  return single ? variable + "." : absl::StrCat(variable, "[", index, "].");
}

std::string PrintInitialisers(const std::vector<Initialiser>& list,
                              std::string_view indent) {
  if (std::all_of(list.begin(), list.end(),
                  [](const Initialiser& one) { return one.member.empty(); })) {
    return "{0}";
  }
  std::string out = "{\n";
  std::string group;
  auto close = [&] {
    if (!group.empty()) absl::StrAppend(&out, indent, "\t},\n");
    group.clear();
  };
  for (const Initialiser& one : list) {
    if (one.member.empty()) continue;
    const size_t dot = one.member.find('.');
    const std::string in =
        dot == std::string::npos ? "" : one.member.substr(0, dot);
    if (in != group) {
      close();
      if (!in.empty()) absl::StrAppend(&out, indent, "\t.", in, " = {\n");
      group = in;
    }
    absl::StrAppend(
        &out, indent, in.empty() ? "\t." : "\t\t.",
        dot == std::string::npos ? one.member : one.member.substr(dot + 1),
        " = ", one.value, ",");
    if (!one.remark.empty()) absl::StrAppend(&out, " /* ", one.remark, " */");
    out += '\n';
  }
  close();
  return absl::StrCat(out, indent, "}");
}

std::string DataWriter::NewVariable(const desc_field& d) {
  const std::string base(prog::PointerName(d));
  std::string name = base;
  for (int n = 2;
       std::any_of(data_.begin(), data_.end(),
                   [&](const Data& x) { return x.variable == name; });
       n++) {
    name = absl::StrCat(base, "_", n);
  }
  return name;
}

std::vector<Initialiser> DataWriter::Struct(
    const desc_struct& s, const std::vector<prog::Field>& fields, size_t first,
    const desc_ioctl* command) {
  const bool is_command = command != nullptr;
  if (!is_command) types_->UsePointee(s);
  // What is known of the struct now: it says what pointers point to.
  std::string image(s.size, '\0');
  for (const desc_field& d : s.fields) {
    uint64_t value = d.default_value;
    if (is_command && d.kind == desc_kind::SIZE) value = s.size;
    if (is_command && d.kind == desc_kind::OP) value = command->op;
    const prog::Field* given = Given(s, d, fields, first);
    if (given != nullptr && !IsData(given->value)) {
      value = prog::StaticValue(given->value, d.names).value_or(0);
    }
    desc_store(d, image.data(), value);
  }
  std::map<const desc_field*, std::string> values;
  std::map<const desc_field*, std::string> remarks;
  for (const desc_field& d : s.fields) {
    const prog::Field* given = Given(s, d, fields, first);
    if (given == nullptr || !IsData(given->value)) continue;
    Data data;
    data.field = &d;
    data.variable = NewVariable(d);
    const Elements elements = Encode(s, d, fields, given->value, image, &data);
    const std::string width =
        absl::StrCat(data.pointee != nullptr ? data.pointee->size : 1);
    // Lengths that the program does not give follow from the data.
    std::string entry = width;
    std::optional<uint64_t> entry_known =
        data.pointee != nullptr ? data.pointee->size : 1;
    for (const desc_field& other : s.fields) {
      if (other.kind != desc_kind::ENTRY_LEN) continue;
      if (const prog::Field* f = Given(s, other, fields, first)) {
        const Expression e = context_->Number(call_, f->value, other.names);
        entry = e.text;
        entry_known = e.known;
      } else {
        values[&other] = width;
        if (data.pointee != nullptr) {
          values[&other] =
              absl::StrCat("sizeof(struct ", data.pointee->name, ")");
        }
      }
    }
    const desc_field* length =
        d.len_field != nullptr ? desc_find_field(s, d.len_field) : nullptr;
    std::string room = data.bytes;
    bool placed = !elements.bytes || *elements.bytes > kMaxStackBytes ||
                  *elements.bytes == 0 ||
                  (!data.typed && (data.pointee != nullptr || data.out));
    if (length != nullptr) {
      const bool count = length->kind == desc_kind::COUNT;
      if (const prog::Field* f = Given(s, *length, fields, first)) {
        const Expression n =
            context_->Number(call_, f->value, length->names, length->width);
        if (!n.known || !entry_known) {
          placed = true;
          room = absl::StrCat(data.bytes, " + (__u64)(", n.text, ")",
                              count ? " * " + entry : "");
        } else {
          const bool fits = *n.known <= kMaxBytes && *entry_known <= kMaxBytes;
          const uint64_t wanted = count ? *n.known * *entry_known : *n.known;
          if (!fits || !elements.bytes || wanted > *elements.bytes) {
            placed = true;
            if (fits) room = absl::StrCat(wanted);
          }
        }
      } else {
        values[length] = count     ? data.elements
                         : !placed ? absl::StrCat("sizeof(", data.variable, ")")
                                   : data.bytes;
      }
    }
    Declare(elements, room, placed, &data);
    values[&d] =
        absl::StrCat("(uintptr_t)", data.single ? "&" : "", data.variable);
    data_.push_back(std::move(data));
  }
  std::vector<Initialiser> out;
  for (const desc_field& d : s.fields) {
    Initialiser one;
    one.member = types_->MemberOf(s, d, is_command);
    const prog::Field* given = Given(s, d, fields, first);
    if (values.count(&d) != 0) {
      one.value = values[&d];
    } else if (given != nullptr) {
      const Expression e =
          context_->Number(call_, given->value, d.names, d.width);
      one.value = e.text;
      one.remark = e.remark;
      if (d.kind == desc_kind::FD_IN) one.value = "(int)" + e.text;
      if (d.kind == desc_kind::FD_IN && !e.known) {
        one.value = absl::StrCat("(int)(", e.text, ")");
      }
    } else if (is_command && d.kind == desc_kind::SIZE) {
      one.value = "sizeof(cmd)";
    } else if (is_command && d.kind == desc_kind::OP) {
      one.value = command->constant;
    } else if (d.default_value != 0) {
      one.value = CNumber(d.default_value);
    } else {
      continue;
    }
    one.field = &d;
    out.push_back(std::move(one));
  }
  return out;
}

DataWriter::Elements DataWriter::Encode(const desc_struct& s,
                                        const desc_field& d,
                                        const std::vector<prog::Field>& fields,
                                        const prog::Value& v,
                                        const std::string& image, Data* data) {
  Elements out;
  data->pointee = desc_pointee(s, d, image.data());
  auto add_struct = [&](const prog::Value& literal) {
    const desc_struct* chosen = prog::ChoosePointee(d, s, fields, literal);
    if (chosen == nullptr || (data->typed && chosen != data->pointee)) {
      return context_->Fail(literal.pos, "a list holds structs of one kind");
    }
    data->pointee = chosen;
    data->typed = true;
    out.type = absl::StrCat("struct ", chosen->name);
    out.width = chosen->size;
    const std::vector<Initialiser> members =
        Struct(*chosen, literal.fields, 0, nullptr);
    out.values.push_back(PrintInitialisers(members, "\t"));
  };
  auto fill = [&](std::string_view bytes) {
    out.type = "__u8";
    for (const char c : bytes) {
      out.values.push_back(
          absl::StrFormat("0x%02x", static_cast<unsigned char>(c)));
    }
  };
  switch (v.kind) {
    case prog::Value::Kind::kString:
      fill(v.text);
      break;
    case prog::Value::Kind::kStruct:
      add_struct(v);
      data->single = true;
      break;
    case prog::Value::Kind::kList:
      for (const prog::Value& item : v.items) {
        if (item.kind == prog::Value::Kind::kStruct) {
          add_struct(item);
          continue;
        }
        // One byte of raw data, or a whole element of one field.
        if (data->pointee != nullptr && data->pointee->size <= 8) {
          out.width = data->pointee->size;
        }
        out.type = absl::StrFormat("__u%d", 8 * out.width);
        out.values.push_back(context_->Number(call_, item, {}, out.width).text);
      }
      if (v.items.empty()) fill("");
      break;
    default: {
      // out(n), in the unit of the pointer's length.
      const desc_field* length =
          d.len_field != nullptr ? desc_find_field(s, d.len_field) : nullptr;
      const bool count = length != nullptr && length->kind == desc_kind::COUNT;
      uint64_t size = data->pointee != nullptr ? data->pointee->size : 1;
      Expression n;
      n.known = count ? 1 : (size > 1 ? size : kDefaultOutBytes);
      if (!v.items.empty()) n = context_->Number(call_, v.items[0], {});
      const uint64_t element = size;
      if (!count) size = 1;
      data->out = out.zero = true;
      if (!n.known) {
        out.type = "__u8";
        data->bytes = absl::StrCat("(", n.text, ") * ", size);
        data->elements = n.text;
        return out;
      }
      const uint64_t bytes = std::min(*n.known, kMaxBytes / size) * size;
      out.bytes = bytes;
      if (data->pointee != nullptr && bytes % element == 0 && bytes != 0) {
        types_->UsePointee(*data->pointee);
        data->typed = true;
        out.type = absl::StrCat("struct ", data->pointee->name);
        out.width = element;
        data->single = bytes == element;
      } else {
        out.type = "__u8";
      }
      out.n = absl::StrCat(bytes / out.width);
      data->bytes = CNumber(bytes);
      data->elements = absl::StrCat(bytes / element);
      return out;
    }
  }
  out.bytes = out.values.size() * out.width;
  out.n = absl::StrCat(out.values.size());
  data->bytes = CNumber(*out.bytes);
  const size_t element = data->pointee != nullptr ? data->pointee->size : 1;
  data->elements = absl::StrCat(*out.bytes / element);
  return out;
}

void DataWriter::Declare(const Elements& elements, const std::string& room,
                         bool placed, Data* data) {
  const std::string& name = data->variable;
  if (!placed) {
    const std::string size =
        data->single ? "" : absl::StrCat("[", elements.n, "]");
    std::string value = "{0}";
    if (!elements.zero) {
      value =
          data->single
              ? elements.values[0]
              : absl::StrCat("{", absl::StrJoin(elements.values, ", "), "}");
    }
    lines_.push_back(
        absl::StrCat(elements.type, " ", name, size, " = ", value, ";"));
    return;
  }
  context_->parts.insert(Part::kPlace);
  data->single = false;
  lines_.push_back(
      absl::StrCat(elements.type, " *", name, " = place(", room, ");"));
  if (elements.zero || elements.values.empty()) return;
  if (!data->typed) {
    lines_.push_back(absl::StrCat("memcpy(", name, ", (const ", elements.type,
                                  "[]){", absl::StrJoin(elements.values, ", "),
                                  "}, ", data->bytes, ");"));
    return;
  }
  for (size_t i = 0; i < elements.values.size(); i++) {
    lines_.push_back(absl::StrCat(name, "[", i, "] = (", elements.type, ")",
                                  elements.values[i], ";"));
  }
}

}  // namespace repro
