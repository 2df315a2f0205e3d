// SPDX-License-Identifier: GPL-2.0-or-later
//
// An ioctl with a description.
#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "prog/calls.h"
#include "tools/repro/call_writer.h"
#include "tools/repro/data.h"

namespace repro {
namespace {

class IoctlWriter : public CallWriter {
 public:
  IoctlWriter(Context* context, Types* types, size_t index)
      : CallWriter(context, types, index),
        desc_(*bound_.desc),
        data_(context, types, bound_) {}

 protected:
  void WriteCall() override;
  std::optional<Result> ResultOf(std::string_view path) override;

 private:
  void WriteCommand();
  void WriteNameless(const std::vector<Initialiser>& members);
  const prog::Value* Special(std::string_view name) const;
  std::string Member(const desc_field& d) const {
    return access_ + types_->MemberOf(*desc_.arg, d, true);
  }
  std::optional<Result> InData(const Data& data, std::string_view path) const;
  std::optional<Result> InElement(const Data& data, size_t index,
                                  std::string_view field) const;

  const desc_ioctl& desc_;
  DataWriter data_;
  std::string access_ = "cmd.";
};

// tail=, arg=: what is no field.
const prog::Value* IoctlWriter::Special(std::string_view name) const {
  for (size_t i = 1; i < call().args.size(); i++) {
    const prog::Field& arg = call().args[i];
    if (arg.name == name && prog::FindField(*desc_.arg, arg.name) == nullptr) {
      return &arg.value;
    }
  }
  return nullptr;
}

void IoctlWriter::WriteCall() {
  types_->UseCommand(desc_);
  const std::string fd =
      absl::StrCat("(int)", Number(call().args[0].value).text);
  std::string arg;
  if (desc_.arg_is_value) {
    arg = absl::StrCat(CNumber(desc_.arg->fields[0].default_value), "UL");
    for (size_t i = 1; i < call().args.size(); i++) {
      const desc_field* d = prog::FindField(*desc_.arg, call().args[i].name);
      if (d == nullptr) continue;
      const Expression e = Number(call().args[i].value, d->names);
      arg = "(unsigned long)" + e.text;
    }
    if (const prog::Value* other = Special("arg")) {
      arg = absl::StrCat("(unsigned long)(", Number(*other).text, ")");
    }
  } else {
    WriteCommand();
    arg = access_ == "cmd." ? "&cmd" : "cmd";
    if (const prog::Value* other = Special("arg")) {
      Line("(void)cmd;");
      arg = absl::StrCat("at(", Number(*other).text, ")");
    }
  }
  Make(
      absl::StrCat("ioctl(", fd, ", ", Types::NumberOf(desc_), ", ", arg, ")"));
}

void IoctlWriter::WriteCommand() {
  const desc_struct& s = *desc_.arg;
  std::vector<Initialiser> members = data_.Struct(s, call().args, 1, &desc_);
  for (const std::string& line : data_.declarations()) Line(line);
  const prog::Value* tail = Special("tail");
  const std::string tail_bytes = tail != nullptr ? tail->text : std::string();
  // A size beyond the struct finds zeros there.
  std::string room;
  bool given = false;
  for (const prog::Field& arg : call().args) {
    const desc_field* d = prog::FindField(s, arg.name);
    if (d == nullptr || d->kind != desc_kind::SIZE) continue;
    given = true;
    const Expression e = Number(arg.value);
    if (!e.known) {
      room = absl::StrCat("sizeof(*cmd) + (", e.text, ")");
    } else if (*e.known > s.size) {
      room = *e.known <= (1 << 20) ? e.text : "sizeof(*cmd)";
    }
  }
  const size_t whole = s.size + tail_bytes.size();
  if (!tail_bytes.empty() && room.empty()) room = absl::StrCat(whole);
  const std::string type = absl::StrCat("struct ", s.name);
  if (room.empty()) {
    Line(absl::StrCat(type, " cmd = ", PrintInitialisers(members, "\t"), ";"));
    return WriteNameless(members);
  }
  access_ = "cmd->";
  for (Initialiser& one : members) {
    if (one.value != "sizeof(cmd)") continue;
    one.value = tail_bytes.empty() || given
                    ? "sizeof(*cmd)"
                    : absl::StrCat("sizeof(*cmd) + ", tail_bytes.size());
  }
  context_->parts.insert(Part::kPlace);
  Line(absl::StrCat(type, " *cmd = place(", room, ");"));
  Line(absl::StrCat("*cmd = (", type, ")", PrintInitialisers(members, "\t"),
                    ";"));
  if (!tail_bytes.empty()) {
    Line(absl::StrCat("memcpy(cmd + 1, ", CString(tail_bytes), ", ",
                      tail_bytes.size(), ");"));
  }
  WriteNameless(members);
}

// Padding that the program sets.
void IoctlWriter::WriteNameless(const std::vector<Initialiser>& members) {
  for (const Initialiser& one : members) {
    if (!one.member.empty()) continue;
    Line(absl::StrCat("memcpy((__u8 *)", access_ == "cmd." ? "&cmd" : "cmd",
                      " + ", one.field->offset, ", &(__u", 8 * one.field->width,
                      "){", one.value, "}, ", one.field->width, "); /* ",
                      one.field->name, " */"));
  }
}

std::optional<Result> IoctlWriter::ResultOf(std::string_view path) {
  if (path.empty() && (desc_.returns_fd || desc_.returns_number)) {
    return Result{"(__u64)ret"};
  }
  if (desc_.arg_is_value) return std::nullopt;
  if (path.empty()) {
    const desc_field* primary = prog::PrimaryOutput(desc_);
    if (primary == nullptr) return std::nullopt;
    return Result{Member(*primary), primary};
  }
  for (const desc_field& d : desc_.arg->fields) {
    if (!desc_is_returned(d) || desc_is_pointer(d.kind)) continue;
    if (path == desc_output_name(d) || path == d.name ||
        (d.alias != nullptr && path == d.alias)) {
      return Result{Member(d), &d};
    }
  }
  for (const Data& data : data_.data()) {
    if (data.field->kind != desc_kind::PTR_OUT &&
        data.field->kind != desc_kind::PTR_INOUT) {
      continue;
    }
    if (const std::optional<Result> result = InData(data, path)) return result;
  }
  return std::nullopt;
}

std::optional<Result> IoctlWriter::InData(const Data& data,
                                          std::string_view path) const {
  for (const std::string_view name :
       {prog::PointerName(*data.field), std::string_view(data.field->name)}) {
    std::string_view rest = path;
    if (!absl::ConsumePrefix(&rest, name) || rest.empty()) continue;
    if (rest == ".hash") {
      context_->parts.insert(Part::kHash);
      return Result{absl::StrCat("hash_of(", data.single ? "&" : "",
                                 data.variable, ", ", data.bytes, ")")};
    }
    size_t index = 0;
    if (absl::ConsumePrefix(&rest, "[")) {
      const auto end =
          std::from_chars(rest.data(), rest.data() + rest.size(), index);
      rest.remove_prefix(end.ptr - rest.data());
      if (!absl::ConsumePrefix(&rest, "]")) continue;
      if (rest.empty()) {
        return Result{absl::StrCat("((const __u8 *)", data.single ? "&" : "",
                                   data.variable, ")[", index, "]")};
      }
    }
    if (!absl::ConsumePrefix(&rest, ".")) continue;
    if (const auto result = InElement(data, index, rest)) return result;
  }
  return InElement(data, 0, path);
}

std::optional<Result> IoctlWriter::InElement(const Data& data, size_t index,
                                             std::string_view field) const {
  std::vector<const desc_struct*> structs;
  if (data.pointee != nullptr) {
    structs.push_back(data.pointee);
  } else if (data.out) {
    // The kernel says which one it is; the names say so too.
    for (const desc_variant& variant : data.field->variants) {
      structs.push_back(variant.pointee);
    }
  }
  for (const desc_struct* s : structs) {
    if (s == nullptr) continue;
    for (const desc_field& d : s->fields) {
      if (field != d.name && (d.alias == nullptr || field != d.alias)) continue;
      types_->UsePointee(*s);
      return Result{data.Element(*s, index) + types_->MemberOf(*s, d, false),
                    &d};
    }
  }
  return std::nullopt;
}

}  // namespace

std::string WriteIoctl(Context* context, Types* types, size_t index) {
  return IoctlWriter(context, types, index).Write();
}

}  // namespace repro
