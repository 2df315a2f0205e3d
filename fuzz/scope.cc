// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/scope.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "fuzz/numbers.h"
#include "fuzz/syntax.h"
#include "prog/calls.h"
#include "prog/run.h"

namespace fuzz {

using prog::Call;
using prog::Field;
using prog::Line;
using prog::Value;

namespace {

// Where a machine's devices have their files.
constexpr char kDevices[] = "/dev/vfio/devices/";

// The call's argument for a field, by whichever of its names.
const Value* FieldOf(const Call& call, const desc_field& f) {
  for (const Field& arg : call.args) {
    if (arg.name == f.name || (f.alias != nullptr && arg.name == f.alias) ||
        (desc_is_pointer(f.kind) && arg.name == prog::PointerName(f))) {
      return &arg.value;
    }
  }
  return nullptr;
}

}  // namespace

bool MapsMemory(const desc_ioctl& d) {
  return d.effect != nullptr && (d.effect->kind == desc_effect_kind::MAP ||
                                 d.effect->kind == desc_effect_kind::COPY);
}

uint64_t ConstantOf(const Call& call, const desc_field& f) {
  const Value* v = FieldOf(call, f);
  if (v == nullptr) return f.default_value;
  return prog::StaticValue(*v, f.names).value_or(f.default_value);
}

uint64_t FlagsOf(const Call& call, const desc_ioctl& d) {
  uint64_t flags = 0;
  for (const desc_field& f : d.arg->fields) {
    if (f.kind == desc_kind::FLAGS) flags |= ConstantOf(call, f);
  }
  return flags;
}

std::vector<MadeObject> ObjectsOf(const Call& call, const desc_ioctl& d) {
  std::vector<MadeObject> out;
  if (d.returns_fd) out.push_back({nullptr, d.creates, true, ""});
  const desc_field* primary = prog::PrimaryOutput(d);
  for (const desc_field& f : d.arg->fields) {
    if (f.kind != desc_kind::ID_OUT && f.kind != desc_kind::FD_OUT) continue;
    MadeObject made = {&f, f.object, f.kind == desc_kind::FD_OUT, ""};
    if (&f != primary) made.path = absl::StrCat(".", desc_output_name(f));
    if (f.selected_object != desc_object::NONE) {
      const desc_field* selector = desc_find_field(*d.arg, f.selector_field);
      if (selector != nullptr && ConstantOf(call, *selector) != 0) {
        made.object = f.selected_object;
      }
    }
    out.push_back(std::move(made));
  }
  return out;
}

std::string Scope::Fresh(std::string_view stem) {
  while (!stem.empty() && stem.back() >= '0' && stem.back() <= '9') {
    stem.remove_suffix(1);
  }
  for (size_t i = 0;; i++) {
    std::string name = absl::StrCat(stem, i);
    if (names_.insert(name).second) return name;
  }
}

const Call* Scope::MakerOf(std::string_view result) const {
  for (size_t i = makers.size(); i-- > 0;) {
    if (makers[i].result == result) return &makers[i];
  }
  return nullptr;
}

const File* Scope::FindFile(std::string_view name) const {
  for (size_t i = files.size(); i-- > 0;) {
    if (files[i].name == name) return &files[i];
  }
  return nullptr;
}

Forms Scope::FormOf(std::string_view fd) const {
  const File* file = FindFile(fd);
  if (file != nullptr && file->form != 0) return file->form;
  return desc_revisions[0].revision;
}

const desc_ioctl* Scope::DescOf(const Call& call) const {
  Forms form = desc_revisions[0].revision;
  if (!call.args.empty() && IsName(call.args[0].value)) {
    form = FormOf(NameOf(call.args[0].value));
  }
  return iommufd_desc_find(call.name, form);
}

void Scope::Note(const Call& call) {
  if (!call.result.empty()) {
    names_.insert(call.result);
    makers.push_back(call);
  }
  if (!call.thread.empty()) {
    const std::string process = prog::SplitThread(call.thread).first;
    bool is_process = false;
    for (const std::string& p : processes) is_process |= p == process;
    if (!is_process || absl::StrContains(call.thread, '.')) {
      threads.push_back(call.thread);
    }
  }
  const prog::BuiltinSpec* s = prog::FindBuiltin(call.name);
  if (s == nullptr) {
    if (const desc_ioctl* d = DescOf(call)) NoteIoctl(call, *d);
    return;
  }
  const std::string& r = call.result;
  if (s->ends && !call.args.empty()) {
    std::erase(processes, NameOf(call.args[0].value));
  }
  if (r.empty()) return;
  switch (s->makes) {
    case prog::Makes::kFile: {
      File file = {r, File::Kind::kContext, desc_revisions[0].revision};
      for (const prog::BuiltinArg& arg : s->args) {
        const Value* v = ArgOf(call, arg.name);
        if (v == nullptr) continue;
        if (arg.kind == prog::ArgKind::kForm) {
          const Forms form = prog::RevisionByName(v->text);
          if (form != 0) file.form = form;
        } else if (arg.kind == prog::ArgKind::kPath &&
                   v->text.starts_with(kDevices)) {
          file.kind = File::Kind::kDevice;
        }
      }
      files.push_back(std::move(file));
      break;
    }
    case prog::Makes::kMemoryFile:
      files.push_back({r, File::Kind::kMemory});
      break;
    case prog::Makes::kMemory:
      memory.push_back({r, call.args.empty()
                               ? kPage
                               : NumberOr(&call.args[0].value, kPage)});
      break;
    case prog::Makes::kMapping:
      mmaps.push_back(r);
      break;
    case prog::Makes::kProcess:
      processes.push_back(r);
      break;
    default:
      break;
  }
}

void Scope::NoteIoctl(const Call& call, const desc_ioctl& d) {
  if (call.args.empty() || !IsName(call.args[0].value)) return;
  const std::string owner = NameOf(call.args[0].value);
  NoteMapping(call, d);
  if (call.result.empty()) return;
  for (const MadeObject& made : ObjectsOf(call, d)) {
    things.push_back({call.result + made.path, made.object, made.is_fd, owner,
                      FlagsOf(call, d)});
  }
}

void Scope::NoteMapping(const Call& call, const desc_ioctl& d) {
  if (!MapsMemory(d)) return;
  const auto value = [&](const char* name) -> const Value* {
    const desc_field* f =
        name != nullptr ? desc_find_field(*d.arg, name) : nullptr;
    return f != nullptr ? FieldOf(call, *f) : nullptr;
  };
  const Value* at = value(d.effect->iova);
  if (at == nullptr || at->kind != Value::Kind::kNumber) return;
  Mapping mapping;
  mapping.owner = NameOf(call.args[0].value);
  mapping.iova = at->number;
  mapping.length = NumberOr(value(d.effect->length), kPage);
  const Value* space = value(d.effect->space);
  if (space != nullptr && IsName(*space)) mapping.ioas = NameOf(*space);
  mappings.push_back(std::move(mapping));
}

Scope ScopeUpTo(const prog::Program& program, size_t line) {
  Scope scope;
  scope.machine = &MachineOf(program);
  for (size_t i = 0; i < program.lines.size(); i++) {
    const Line& l = program.lines[i];
    if (!l.has_call) continue;
    if (!l.call.result.empty()) scope.Reserve(l.call.result);
    if (i < line) scope.Note(l.call);
  }
  return scope;
}

}  // namespace fuzz
