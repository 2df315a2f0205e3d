// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/mutate.h"

#include <iterator>
#include <utility>
#include <vector>

#include "fuzz/generator.h"
#include "fuzz/machine.h"
#include "fuzz/numbers.h"
#include "fuzz/syntax.h"
#include "fuzz/writer.h"
#include "prog/calls.h"
#include "prog/run.h"

namespace fuzz {
namespace {

using prog::Call;
using prog::Field;
using prog::Line;
using prog::Program;
using prog::Value;

// Numbers its lines, so that an error of Bind() can be found again.
void NumberLines(Program* program) {
  for (size_t i = 0; i < program->lines.size(); i++) {
    const prog::Pos pos = {static_cast<int>(i + 1), 1};
    Call* call = &program->lines[i].call;
    call->pos = pos;
    call->thread_pos = pos;
    call->expect = {};
    for (Field& f : call->args) f.pos = pos;
    Visit(call, [&](Value* v) {
      v->pos = pos;
      for (Field& f : v->fields) f.pos = pos;
    });
  }
}

void EraseLine(Program* program, size_t i) {
  program->lines.erase(program->lines.begin() + static_cast<std::ptrdiff_t>(i));
}

// What a call of one form is in another: the command of the same number, its
// fields by their places. False: the form has none.
bool Translate(const desc_ioctl& from, Forms form, Call* call) {
  const desc_ioctl* to = iommufd_desc_find_cmd(from.cmd, from.op, form);
  if (to == nullptr) return false;
  call->name = to->name;
  for (Field& arg : call->args) {
    const desc_field* f = prog::FindField(*from.arg, arg.name);
    if (f == nullptr || prog::FindField(*to->arg, arg.name) != nullptr) {
      continue;
    }
    for (const desc_field& g : to->arg->fields) {
      if (g.offset == f->offset) arg.name = g.name;
    }
  }
  return true;
}

// Calls that their context does not know become those that it knows, or go.
void FitForms(Program* program) {
  Scope scope;
  for (size_t i = 0; i < program->lines.size();) {
    Call* call = &program->lines[i].call;
    const bool ioctl = prog::FindBuiltin(call->name) == nullptr;
    if (ioctl && scope.DescOf(*call) == nullptr) {
      const desc_ioctl* from = iommufd_desc_find(call->name);
      const Forms form = call->args.empty()
                             ? Forms{0}
                             : scope.FormOf(NameOf(call->args[0].value));
      if (from == nullptr || !Translate(*from, form, call)) {
        EraseLine(program, i);
        continue;
      }
    }
    scope.Note(*call);
    i++;
  }
}

void ChangeNumber(Value* v, Random& r) {
  uint64_t n = v->number;
  switch (Below(r, 8)) {
    case 0:
      n++;
      break;
    case 1:
      n--;
      break;
    case 2:
      n += kPage;
      break;
    case 3:
      n -= kPage;
      break;
    case 4:
      n ^= uint64_t{1} << Below(r, 64);
      break;
    case 5:
      n *= 2;
      break;
    case 6:
      n = Pick(r, kOddSizes);
      break;
    default:
      n = Pick(r, kNumbers);
      break;
  }
  v->number = n;
  v->style = prog::NumberStyle::kAuto;
}

size_t RandomCall(const Program& p, Random& r) {
  return Below(r, p.lines.size());
}

// Puts lines before line `at`.
void Insert(Program* p, size_t at, std::vector<Line> lines) {
  p->lines.insert(p->lines.begin() + static_cast<std::ptrdiff_t>(at),
                  std::make_move_iterator(lines.begin()),
                  std::make_move_iterator(lines.end()));
}

// New lines made in the scope that is there before line `at`.
void InsertNew(Program* p, size_t at, Random& r,
               const GeneratorOptions& options, uint64_t count) {
  std::vector<Line> fresh;
  Writer writer(r, options, ScopeUpTo(*p, at), &fresh);
  for (; count > 0; count--) writer.Something();
  Insert(p, at, std::move(fresh));
}

void ChangeSomeNumber(Program* p, Random& r) {
  std::vector<Value*> numbers;
  Visit(&p->lines[RandomCall(*p, r)].call, [&](Value* v) {
    if (v->kind == Value::Kind::kNumber) numbers.push_back(v);
  });
  if (!numbers.empty()) ChangeNumber(Pick(r, numbers), r);
}

void ChangeArgument(Program* p, Random& r, const GeneratorOptions& options) {
  const size_t at = RandomCall(*p, r);
  Call* call = &p->lines[at].call;
  if (IsMachine(*call)) return;
  std::vector<Line> needed;
  Writer writer(r, options, ScopeUpTo(*p, at), &needed);
  Field made;
  if (!writer.Another(*call, &made) || made.name.empty()) {
    return ChangeSomeNumber(p, r);
  }
  bool there = false;
  const desc_ioctl* d = ScopeUpTo(*p, at).DescOf(*call);
  const desc_field* f =
      d != nullptr ? prog::FindField(*d->arg, made.name) : nullptr;
  for (Field& arg : call->args) {
    if (arg.name == made.name ||
        (f != nullptr && prog::FindField(*d->arg, arg.name) == f)) {
      arg.value = made.value;
      there = true;
    }
  }
  if (!there) call->args.push_back(std::move(made));
  Insert(p, at, std::move(needed));
}

void ChangeFailure(Program* p, Random& r, const GeneratorOptions& options) {
  Call* call = &p->lines[RandomCall(*p, r)].call;
  if (!options.fail_nth || !CanFail(*call)) return;
  std::erase_if(call->args, [](const Field& f) { return f.name == kFailNth; });
  if (!OneIn(r, 3)) Arg(call, kFailNth, Num(1 + Below(r, 16)));
}

void ChangeMachine(Program* p, Random& r) {
  const MachineKind& kind = MachineOf(*p);
  if (IsMachine(p->lines[0].call)) EraseLine(p, 0);
  // A machine of another kind has no use for the rest.
  if (!OneIn(r, 3) || !kind.name.empty()) {
    Line line;
    line.has_call = true;
    line.call = MachineLine(kind, r);
    Insert(p, 0, {std::move(line)});
  }
}

// Another form of the surface for all contexts; FitForms() does the rest.
void ChangeForm(Program* p, Random& r) {
  const Value form = Word(Pick(r, prog::RevisionNames()));
  for (Line& l : p->lines) {
    const prog::BuiltinSpec* s = prog::FindBuiltin(l.call.name);
    if (s == nullptr) continue;
    for (const prog::BuiltinArg& arg : s->args) {
      if (arg.kind != prog::ArgKind::kForm) continue;
      std::erase_if(l.call.args,
                    [&](const Field& f) { return f.name == arg.name; });
      Arg(&l.call, arg.name, form);
    }
  }
}

// The same call again, later.
void Repeat(Program* p, Random& r) {
  const size_t from = RandomCall(*p, r);
  Line copy = p->lines[from];
  if (IsMachine(copy.call)) return;
  if (!copy.call.result.empty()) {
    copy.call.result = ScopeUpTo(*p, 0).Fresh(copy.call.result);
  }
  Insert(p, from + 1 + Below(r, p->lines.size() - from), {std::move(copy)});
}

void MutateOnce(Program* p, Random& r, const GeneratorOptions& options) {
  if (p->lines.empty()) {
    *p = Generate(r, options);
    return;
  }
  const bool room = p->lines.size() < options.max_calls;
  switch (Below(r, 16)) {
    case 0:
    case 1:
    case 2:
      if (room) {
        InsertNew(p, 1 + Below(r, p->lines.size()), r, options,
                  1 + Below(r, 3));
      }
      break;
    case 3:
      if (room) InsertNew(p, p->lines.size(), r, options, 1);
      break;
    case 4:
      EraseLine(p, RandomCall(*p, r));
      break;
    case 5:
      if (room) Repeat(p, r);
      break;
    case 6:
      std::swap(p->lines[RandomCall(*p, r)], p->lines[RandomCall(*p, r)]);
      break;
    case 7:
      ChangeFailure(p, r, options);
      break;
    case 8:
      if (options.machines) ChangeMachine(p, r);
      break;
    case 9:
      ChangeForm(p, r);
      break;
    case 10:
    case 11:
    case 12:
      ChangeSomeNumber(p, r);
      break;
    default:
      ChangeArgument(p, r, options);
      break;
  }
}

}  // namespace

void Repair(Program* program) {
  std::erase_if(program->lines, [](const Line& l) { return !l.has_call; });
  for (Line& l : program->lines) {
    l.has_comment = false;
    l.comment.clear();
  }
  FitForms(program);
  while (!program->lines.empty()) {
    NumberLines(program);
    prog::Error error;
    prog::BoundProgram bound;
    if (prog::Bind(*program, {}, &bound, &error)) return;
    const size_t line = static_cast<size_t>(error.pos.line);
    if (line == 0 || line > program->lines.size()) {
      program->lines.clear();
      return;
    }
    // Calls that went to that context may go to another of the same name.
    const prog::BuiltinSpec* gone =
        prog::FindBuiltin(program->lines[line - 1].call.name);
    const bool context = gone != nullptr && gone->makes == prog::Makes::kFile;
    EraseLine(program, line - 1);
    if (context) FitForms(program);
  }
}

Program Mutate(const Program& program, Random& random,
               const GeneratorOptions& options) {
  Program p = program;
  Repair(&p);
  for (uint64_t n = 1 + Below(random, 4); n > 0; n--) {
    MutateOnce(&p, random, options);
    std::erase_if(p.lines, [](const Line& l) { return !l.has_call; });
  }
  if (p.lines.size() > 2 * options.max_calls) {
    p.lines.resize(2 * options.max_calls);
  }
  Repair(&p);
  if (p.lines.empty()) return Generate(random, options);
  return p;
}

Program Splice(const Program& a, const Program& b, Random& random,
               const GeneratorOptions& options) {
  Program p = a;
  Repair(&p);
  Program tail = b;
  Repair(&tail);
  if (p.lines.empty() || tail.lines.empty()) {
    return Mutate(p.lines.empty() ? tail : p, random, options);
  }
  // A definition of the tail hides the head's one of the same name: then the
  // tail's calls work on their own objects. Otherwise they share the head's.
  p.lines.resize(1 + Below(random, p.lines.size()));
  const size_t from = Below(random, tail.lines.size());
  for (size_t i = from; i < tail.lines.size(); i++) {
    if (p.lines.size() >= 2 * options.max_calls) break;
    if (IsMachine(tail.lines[i].call)) continue;
    p.lines.push_back(tail.lines[i]);
  }
  Repair(&p);
  return p;
}

}  // namespace fuzz
