// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/writer.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/ascii.h"
#include "fuzz/arguments.h"
#include "fuzz/syntax.h"
#include "prog/calls.h"

namespace fuzz {

using prog::Call;
using prog::Value;

namespace {

// Things are made for things, not for ever.
constexpr int kMaxDepth = 4;

// "ioas" for what IOAS_ALLOC makes: the name of a result.
std::string Stem(std::string_view call) {
  return absl::AsciiStrToLower(call.substr(0, call.find('_')));
}

bool OfProcesses(const prog::BuiltinSpec& s) {
  return s.makes == prog::Makes::kProcess || Takes(s, prog::ArgKind::kProcess);
}

}  // namespace

void Writer::Machine(const MachineKind& kind) {
  draft_.scope.machine = &kind;
  draft_.Emit(MachineLine(kind, r()));
}

void Writer::Open() {
  const prog::BuiltinSpec& s = BuiltinThat(prog::Makes::kFile);
  Call call;
  call.name = s.name;
  call.result = draft_.scope.Fresh("f");
  for (const prog::BuiltinArg& arg : s.args) {
    prog::Field field;
    if (arg.kind == prog::ArgKind::kForm &&
        Arguments(&draft_, this).Argument(s, arg, true, &field)) {
      call.args.push_back(std::move(field));
    }
  }
  draft_.fd = call.result;
  draft_.Emit(std::move(call));
}

// Mostly stays with the one in hand.
void Writer::TakeContext() {
  if (!draft_.fd.empty() && !OneIn(r(), 12)) return;
  std::vector<std::string> contexts;
  for (const File& f : draft_.scope.files) {
    if (f.kind == File::Kind::kContext) contexts.push_back(f.name);
  }
  if (contexts.empty() || (contexts.size() < 3 && OneIn(r(), 60))) {
    Open();
  } else {
    draft_.fd = Pick(r(), contexts);
  }
}

// Has the context in hand the command, and the machine a use for it?
bool Writer::FitsHere(const desc_ioctl& d) {
  return (d.revisions & draft_.form()) != 0 &&
         (IsOffered(*draft_.scope.machine, d.name) || OneIn(r(), 40)) &&
         (!d.of_device || !ContextFor(d).empty());
}

// The descriptor that a call of `d` goes to. Empty: there is none.
std::string Writer::ContextFor(const desc_ioctl& d) {
  if (!d.of_device) return draft_.fd;
  std::string device;
  for (const File& f : draft_.scope.files) {
    if (f.kind == File::Kind::kDevice && (device.empty() || OneIn(r(), 2))) {
      device = f.name;
    }
  }
  return device;
}

const desc_ioctl* Writer::RandomIoctl() {
  const std::span<const desc_ioctl> all = iommufd_desc_all();
  for (int tries = 0; tries < 1000; tries++) {
    const desc_ioctl& d = all[Below(r(), all.size())];
    if (FitsHere(d)) return &d;
  }
  return nullptr;
}

void Writer::Ioctl(const desc_ioctl& d) {
  Call call;
  call.name = d.name;
  Arg(&call, "", NameValue(ContextFor(d)));
  Values values(&draft_, this, &d);
  for (const desc_field& f : d.arg->fields) {
    prog::Field field;
    if (values.Field(*d.arg, f, false, &field)) {
      call.args.push_back(std::move(field));
    }
  }
  if (!d.arg_is_value && OneIn(r(), 60)) {
    // Longer than the kernel knows: fine when the rest is zero.
    Arg(&call, kTail,
        Value::String(std::string(1 + Below(r(), 16), OneIn(r(), 2) ? 1 : 0)));
  }
  if (!d.arg_is_value && OneIn(r(), 300)) {
    Arg(&call, kArg, Num(OneIn(r(), 2) ? 0 : UINT64_MAX - 7));
  }
  if (!ObjectsOf(call, d).empty()) {
    call.result = draft_.scope.Fresh(Stem(d.name));
  }
  draft_.Emit(std::move(call));
}

bool Writer::WriteStatement(const prog::BuiltinSpec& s) {
  Call call;
  call.name = s.name;
  for (const prog::BuiltinArg& arg : s.args) {
    prog::Field field;
    if (Arguments(&draft_, this).Argument(s, arg, false, &field)) {
      // Behind one that is left out, none goes by its place.
      if (field.name.empty() &&
          call.args.size() != static_cast<size_t>(&arg - s.args.data())) {
        field.name = arg.name;
      }
      call.args.push_back(std::move(field));
    } else if (arg.required) {
      return false;
    }
  }
  if (s.has_value || s.makes == prog::Makes::kProcess) {
    call.result = draft_.scope.Fresh(s.name);
  }
  draft_.Emit(std::move(call));
  return true;
}

// May the program have such a statement, by its options?
bool Writer::Allowed(const prog::BuiltinSpec& s) {
  const GeneratorOptions& options = draft_.options;
  if (s.makes == prog::Makes::kKernel) return false;
  if (Takes(s, prog::ArgKind::kThread)) return options.threads;
  if (!OfProcesses(s)) return true;
  return options.processes && (s.makes != prog::Makes::kProcess ||
                               draft_.scope.processes.size() < 3);
}

// Those that end something seldom: a program that has nothing is soon over.
void Writer::RandomStatement() {
  const std::span<const prog::BuiltinSpec> all = prog::BuiltinSpecs();
  // Who asks for processes wants to see them come and go.
  const bool of_processes = draft_.options.processes && OneIn(r(), 2);
  for (int tries = 0; tries < 200; tries++) {
    const prog::BuiltinSpec& s = all[Below(r(), all.size())];
    if (!Allowed(s) || (of_processes && tries < 100 && !OfProcesses(s)) ||
        (s.ends && !OneIn(r(), 3)) ||
        (s.makes == prog::Makes::kFile && !OneIn(r(), 12))) {
      continue;
    }
    if (WriteStatement(s)) return;
  }
}

void Writer::RandomLine() {
  std::vector<RecipePlace> places;
  for (const fuzz::Recipe& recipe : Recipes()) {
    if (recipe.machine != draft_.scope.machine ||
        !(recipe.forms & draft_.form())) {
      continue;
    }
    for (size_t i = 0; i < recipe.lines.size(); i++) {
      places.push_back({&recipe, i});
    }
  }
  if (!places.empty()) player_.PlayLine(Pick(r(), places));
}

void Writer::Recipe() {
  TakeContext();
  std::vector<const fuzz::Recipe*> fitting;
  for (const fuzz::Recipe& recipe : Recipes()) {
    if (recipe.machine == draft_.scope.machine &&
        (recipe.forms & draft_.form())) {
      fitting.push_back(&recipe);
    }
  }
  if (!fitting.empty()) player_.Play(*Pick(r(), fitting));
}

void Writer::Something() {
  TakeContext();
  const uint64_t dice = Below(r(), 100);
  if (dice < 34) {
    if (const desc_ioctl* d = RandomIoctl()) Ioctl(*d);
  } else if (dice < 78) {
    RandomLine();
  } else if (dice < 82) {
    Recipe();
  } else {
    RandomStatement();
  }
}

bool Writer::Another(const Call& call, prog::Field* out) {
  draft_.depth = kMaxDepth;  // what is there is good enough
  if (const prog::BuiltinSpec* s = prog::FindBuiltin(call.name)) {
    if (s->args.empty()) return false;
    const prog::BuiltinArg& arg = s->args[Below(r(), s->args.size())];
    return Arguments(&draft_, this).Argument(*s, arg, true, out);
  }
  const desc_ioctl* d = draft_.scope.DescOf(call);
  if (d == nullptr || call.args.empty()) return false;
  if (IsName(call.args[0].value)) draft_.fd = NameOf(call.args[0].value);
  const desc_field& f = d->arg->fields[Below(r(), d->arg->fields.size())];
  return Values(&draft_, this, d).Field(*d->arg, f, true, out);
}

std::string Writer::Make(desc_object object, bool is_fd, uint64_t flags) {
  if (draft_.depth >= kMaxDepth || draft_.Full()) return "";
  draft_.depth++;
  const size_t before = draft_.scope.things.size();
  const std::vector<RecipePlace> places =
      MakersOf(*draft_.scope.machine, draft_.form(), object, is_fd, flags);
  if (!places.empty() && !OneIn(r(), 4)) {
    player_.PlayLine(Pick(r(), places));
  } else {
    std::vector<const desc_ioctl*> makers;
    for (const desc_ioctl& d : iommufd_desc_all()) {
      const std::vector<MadeObject> made = ObjectsOf(Call(), d);
      const bool makes =
          std::any_of(made.begin(), made.end(), [&](const MadeObject& m) {
            return m.is_fd == is_fd &&
                   (desc_object_takes(object, m.object) ||
                    (m.field != nullptr && m.field->selected_object == object));
          });
      if (makes && FitsHere(d)) makers.push_back(&d);
    }
    if (!makers.empty()) Ioctl(*Pick(r(), makers));
  }
  draft_.depth--;
  for (size_t i = draft_.scope.things.size(); i-- > before;) {
    const Thing& x = draft_.scope.things[i];
    if (x.is_fd == is_fd && x.owner == draft_.fd &&
        desc_object_takes(object, x.object)) {
      return x.name;
    }
  }
  return "";
}

std::string Writer::MakeBuiltin(prog::Makes makes) {
  if (draft_.size() > 2 * draft_.options.max_calls) return "";
  const size_t before = draft_.scope.makers.size();
  if (!WriteStatement(BuiltinThat(makes))) return "";
  return draft_.scope.makers.size() > before ? draft_.scope.makers.back().result
                                             : "";
}

bool Writer::MakeMapping() {
  if (draft_.depth >= kMaxDepth || draft_.Full()) return false;
  std::vector<RecipePlace> places;
  for (const fuzz::Recipe& recipe : Recipes()) {
    if (recipe.machine != draft_.scope.machine ||
        !(recipe.forms & draft_.form())) {
      continue;
    }
    for (size_t i = 0; i < recipe.lines.size(); i++) {
      const desc_ioctl* d = recipe.lines[i].desc;
      if (d != nullptr && MapsMemory(*d)) places.push_back({&recipe, i});
    }
  }
  if (places.empty()) return false;
  draft_.depth++;
  player_.PlayLine(Pick(r(), places));
  draft_.depth--;
  return true;
}

}  // namespace fuzz
