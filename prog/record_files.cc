// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_files.h"

#include <cerrno>

#include "prog/record_values.h"

namespace prog::recording {
namespace {

constexpr RecordFile kForeign = ~RecordFile{0};

}  // namespace

std::optional<Value> Files::FileName(RecordProcess p, RecordFile file) {
  if (file == 0) return std::nullopt;
  ProcessState* state = mirror_->Process(p);
  const auto it = state->files.find(file);
  if (it != state->files.end()) return it->second;
  RecordObject object;
  if (source_->FindObject(file, &object)) return Memfd(p, file, object);
  return std::nullopt;
}

Value Files::Descriptor(Call* call, RecordProcess p, RecordFile file,
                        long ret) {
  if (std::optional<Value> name = FileName(p, file)) return *name;
  for (const auto& [q, state] : mirror_->processes) {
    const auto it = state.files.find(file);
    if (file == 0 || it == state.files.end()) continue;
    lines_->Remark("a descriptor that a process has got from another");
    call->thread = state.name;
    return it->second;
  }
  if (ret == -EBADF) return MinusOne();
  return Foreign(p);
}

Value Files::Foreign(RecordProcess p) {
  ProcessState* state = mirror_->Process(p);
  const auto it = state->files.find(kForeign);
  if (it != state->files.end()) return it->second;
  Call call = mirror_->NewCall("memfd", p);
  call.result = lines_->NewName("other");
  AddArg(&call, "", Size(kPage));
  lines_->Print(call);
  return state->files[kForeign] = Value::Name(call.result);
}

Value Files::Memfd(RecordProcess p, RecordFile file,
                   const RecordObject& object) {
  Call call = mirror_->NewCall("memfd", p);
  call.result = lines_->NewName("m");
  AddArg(&call, "", Size(object.size));
  AddShape(&call, object.huge, object.fragmented, object.poisoned);
  lines_->Print(call);
  Made(file, object,
       "shared memory that processes have got otherwise than by fork()");
  return mirror_->Process(p)->files[file] = Value::Name(call.result);
}

void Files::Made(RecordFile file, const RecordObject& object,
                 const char* twice) {
  ObjectState* state = &mirror_->objects[file];
  if (state->declared && mirror_->IsMapped(file)) lines_->Remark(twice);
  state->declared = true;
  state->size = object.size;
  state->pages.clear();
}

void Files::Truncate() {
  for (auto& [p, state] : mirror_->processes) {
    for (const auto& [file, name] : state.files) {
      const auto it = mirror_->objects.find(file);
      RecordObject now;
      if (it == mirror_->objects.end() || !source_->FindObject(file, &now) ||
          now.size == it->second.size) {
        continue;
      }
      Call call = mirror_->NewCall("ftruncate", p);
      AddArg(&call, "", name);
      AddArg(&call, "", Size(now.size));
      lines_->Print(call);
      it->second.size = now.size;
      Pages* pages = &it->second.pages;
      pages->erase(pages->lower_bound(PageDown(now.size)), pages->end());
    }
  }
}

void Files::CloseIn(RecordProcess p, RecordFile file, long ret) {
  Call call = mirror_->NewCall("close", p);
  ProcessState* state = mirror_->Process(p);
  const auto it = state->files.find(file);
  if (it == state->files.end() && ret >= 0) return;
  AddArg(&call, "", it == state->files.end() ? MinusOne() : it->second);
  lines_->ExpectResult(&call, ret);
  lines_->Print(call);
  if (ret >= 0) state->files.erase(it);
}

void Files::Closed(RecordFile file) {
  for (auto& [p, state] : mirror_->processes) {
    if (!state.gone) CloseIn(p, file, 0);
  }
}

}  // namespace prog::recording
