// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_processes.h"

#include <cstdint>
#include <map>
#include <utility>

#include "prog/record_values.h"

namespace prog::recording {

void Processes::Start(RecordProcess p) {
  if (mirror_->processes.count(p) != 0) return;
  if (mirror_->processes.empty()) {
    main_ = p;
    mirror_->Process(p);
    return;
  }
  // One that came from nowhere: a child of a process that made no call.
  if (!mirror_->Lives(main_)) EndMain();
  Fork(main_, p);
}

void Processes::Fork(RecordProcess parent, RecordProcess child) {
  ProcessState* from = mirror_->Process(parent);
  // What both will share has to be there before.
  RecordRegion r;
  for (uint64_t addr = 0;
       !from->gone && source_->FindRegion(parent, addr, &r);) {
    if (r.object != 0 && !r.device && !r.none) {
      memory_->Declare(parent, r, r.start, r.start + r.length);
    }
    addr = r.start + r.length;
  }
  Call call = mirror_->NewCall("fork", parent);
  call.result = lines_->NewName("p");
  lines_->Print(call);
  ProcessState state = *from;
  state.name = call.result;
  state.gone = false;
  for (auto& [object, o] : mirror_->objects) {
    const auto view = o.views.find(parent);
    if (view != o.views.end()) o.views[child] = view->second;
  }
  mirror_->processes[child] = std::move(state);
}

void Processes::Exit(RecordProcess p) {
  const auto it = mirror_->processes.find(p);
  if (it == mirror_->processes.end() || it->second.gone) return;
  ProcessState* state = &it->second;
  state->gone = true;
  if (p == main_) {
    // Perhaps it is the end of the program: then all is said.
    for (const auto& [q, other] : mirror_->processes) {
      if (other.gone) continue;
      EndMain();
      break;
    }
    return;
  }
  Call call;
  call.name = "exit";
  AddArg(&call, "", Value::Name(state->name));
  lines_->Print(call);
  state->mapped.clear();
  state->files.clear();
  state->pages.clear();
  for (auto& [object, o] : mirror_->objects) o.views.erase(p);
}

void Processes::EndMain() {
  ProcessState* state = mirror_->Process(main_);
  memory_->Unmap(main_, 0, kAddressEnd);
  for (auto& [object, o] : mirror_->objects) {
    const auto view = o.views.find(main_);
    if (view == o.views.end()) continue;
    Call call = mirror_->NewCall("munmap", main_);
    AddArg(&call, "", Value::Name(view->second));
    lines_->Print(call);
    o.views.erase(view);
  }
  const std::map<RecordFile, Value> files = state->files;
  for (const auto& [file, name] : files) files_->CloseIn(main_, file, 0);
  state->pages.clear();
}

}  // namespace prog::recording
