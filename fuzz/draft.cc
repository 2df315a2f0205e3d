// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/draft.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "fuzz/syntax.h"
#include "prog/calls.h"

namespace fuzz {

using prog::Call;
using prog::Line;

bool Draft::Emit(Call call) {
  const prog::BuiltinSpec* s = prog::FindBuiltin(call.name);
  const desc_ioctl* d = s == nullptr ? scope.DescOf(call) : nullptr;
  // What makes something has the most to undo.
  const uint64_t often =
      d != nullptr && d->creates != desc_object::NONE ? 12 : 50;
  bool fails = false;
  if (options.fail_nth && CanFail(call) && ArgOf(call, kFailNth) == nullptr &&
      OneIn(r, often)) {
    Arg(&call, kFailNth, Num(1 + Below(r, OneIn(r, 4) ? 40 : 12)));
    fails = true;
  }
  // Nobody but the main thread may end a process or wait for a thread.
  if (s == nullptr ||
      (!IsMachine(call) && !Takes(*s, prog::ArgKind::kProcess) &&
       !Takes(*s, prog::ArgKind::kThread))) {
    AsSomebody(&call);
  }
  Put(std::move(call));
  return fails;
}

void Draft::Put(Call call) {
  scope.Note(call);
  Line line;
  line.has_call = true;
  line.call = std::move(call);
  lines_->push_back(std::move(line));
}

// The call is made by one of the threads, by one of the processes. A process
// may be made for it, or end before it.
void Draft::AsSomebody(Call* call) {
  const prog::BuiltinSpec* s = prog::FindBuiltin(call->name);
  const bool makes_process = s != nullptr && s->makes == prog::Makes::kProcess;
  if (options.threads && !makes_process && OneIn(r, 3) &&
      !(s != nullptr && s->makes == prog::Makes::kFile)) {
    call->thread = OneIn(r, 2) ? "t1" : "t2";
  }
  if (!options.processes || makes_process) return;
  if (scope.processes.empty() || !OneIn(r, 3)) return;
  const std::string& child = Pick(r, scope.processes);
  call->thread =
      call->thread.empty() ? child : absl::StrCat(child, ".", call->thread);
}

std::string Draft::Find(desc_object object, bool is_fd, uint64_t flags) {
  std::vector<const Thing*> here;
  std::vector<const Thing*> anywhere;
  const bool fitting = flags != 0 && !OneIn(r, 8);
  for (const Thing& x : scope.things) {
    if (x.is_fd != is_fd || !desc_object_takes(object, x.object)) continue;
    if (fitting && (x.flags & flags) != flags) continue;
    (x.owner == fd ? here : anywhere).push_back(&x);
    // An exact fit counts twice: a vIOMMU is rarely meant by a page table.
    if (x.owner == fd && object == x.object) here.push_back(&x);
  }
  if (!here.empty() && !OneIn(r, 100)) {
    // The newest is the likeliest to be alive.
    return OneIn(r, 2) ? here.back()->name : Pick(r, here)->name;
  }
  return anywhere.empty() || !OneIn(r, 20) ? "" : Pick(r, anywhere)->name;
}

}  // namespace fuzz
