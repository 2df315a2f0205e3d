// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/repro/repro.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "prog/calls.h"
#include "prog/forms.h"
#include "prog/run.h"
#include "tools/repro/call_writer.h"
#include "tools/repro/context.h"
#include "tools/repro/limits.h"
#include "tools/repro/support.h"
#include "tools/repro/types.h"

namespace repro {
namespace {

// The C program, put together.
class Assembly {
 public:
  Assembly(const prog::BoundProgram& bound, const Options& options,
           uint8_t form)
      : bound_(bound),
        options_(options),
        context_(bound, form),
        types_(form),
        limits_(ProcessLimitsOf(bound)) {
    for (const prog::BoundCall& call : bound.calls) {
      steps_ = steps_ || !call.thread.empty() ||
               call.builtin == prog::Builtin::kFork;
    }
  }

  bool Write(std::string* c, prog::Error* error) {
    std::string calls;
    for (size_t i = 0; i < bound_.calls.size(); i++) {
      if (!IsMade(bound_.calls[i])) continue;
      calls += bound_.calls[i].builtin == prog::Builtin::kIoctl
                   ? WriteIoctl(&context_, &types_, i)
                   : WriteBuiltin(&context_, &types_, i);
    }
    if (context_.failed()) {
      *error = context_.error;
      return false;
    }
    const std::string steps = steps_ ? StepsTable() : "";
    *c =
        absl::StrCat(Head(), Support(), calls, steps,
                     limits_.any() ? kBecomeText : "", kMainText, "\n", Main());
    return true;
  }

 private:
  static bool IsMade(const prog::BoundCall& call) {
    return call.builtin != prog::Builtin::kMachine &&
           call.builtin != prog::Builtin::kJoin &&
           call.builtin != prog::Builtin::kExit;
  }

  std::string Head() const;
  std::string Support() const;
  std::string StepsTable();
  std::string Main() const;
  // 0 is the main process, n the one that the n-th fork() makes.
  int ProcessNumber(size_t fork) const;

  const prog::BoundProgram& bound_;
  const Options& options_;
  Context context_;
  Types types_;
  const ProcessLimits limits_;
  bool steps_ = false;  // some calls are not the main thread's
  size_t num_steps_ = 0;
  int num_threads_ = 1;
  int num_processes_ = 1;
};

std::string Assembly::Head() const {
  const char* form = desc_revision_name_of(context_.form_bit);
  const char* release = nullptr;
  for (const desc_revision_name& r : desc_revisions) {
    if (r.revision == context_.form_bit) release = r.release;
  }
  std::string out = absl::StrCat(
      "// SPDX-License-Identifier: GPL-2.0-or-later\n"
      "/*\n"
      " * ",
      options_.file, " as a program for a real /dev/iommu",
      types_.uses_mock() ? " with the kernel's mock IOMMU" : "",
      ". Its kernel has the form\n * ", release != nullptr ? release : form,
      ". Written by iommulab.\n"
      " *\n"
      " *   cc -std=gnu11 -o repro repro.c -lpthread && sudo ./repro\n"
      " *\n"
      " * Says which call differed from what was expected. Exit status: 0 all "
      "as expected, 1 one\n"
      " * differed, 4 this kernel lacks the device",
      types_.uses_mock() ? ", the mock (CONFIG_IOMMUFD_TEST)" : "",
      " or the permission.\n */\n");
  absl::StrAppend(&out,
                  "#define _GNU_SOURCE\n"
                  "#include <errno.h>\n"
                  "#include <fcntl.h>\n",
                  limits_.any() ? "#include <linux/capability.h>\n" : "",
                  "#include <linux/iommufd.h>\n",
                  types_.uses_vfio() ? "#include <linux/vfio.h>\n" : "",
                  "#include <poll.h>\n", steps_ ? "#include <pthread.h>\n" : "",
                  "#include <setjmp.h>\n"
                  "#include <signal.h>\n"
                  "#include <stdarg.h>\n"
                  "#include <stddef.h>\n"
                  "#include <stdint.h>\n"
                  "#include <stdio.h>\n"
                  "#include <stdlib.h>\n"
                  "#include <string.h>\n"
                  "#include <sys/ioctl.h>\n"
                  "#include <sys/mman.h>\n",
                  steps_ ? "#include <sys/prctl.h>\n" : "",
                  limits_.any() ? "#include <sys/resource.h>\n" : "",
                  "#include <sys/syscall.h>\n",
                  steps_ ? "#include <sys/wait.h>\n" : "",
                  "#include <unistd.h>\n\n"
                  "#define PAGE 4096UL\n\n",
                  types_.Definitions());
  return out;
}

std::string Assembly::Support() const {
  constexpr std::pair<Part, const char*> kParts[] = {
      {Part::kEquals, kEqualsText},   {Part::kEqualBytes, kEqualBytesText},
      {Part::kHash, kHashText},       {Part::kAnon, kAnonText},
      {Part::kMemfd, kMemfdText},     {Part::kMap, kMapText},
      {Part::kAccess, kAccessText},   {Part::kPlace, kPlaceText},
      {Part::kFailNth, kFailNthText},
  };
  std::string out = kReportText;
  for (const auto& [part, text] : kParts) {
    if (context_.parts.count(part) != 0) absl::StrAppend(&out, "\n", text);
  }
  if (steps_) {
    absl::StrAppendFormat(&out,
                          "\n#define NUM_STEPS %d\n#define NUM_THREADS %d\n"
                          "#define NUM_PROCESSES %d\n\n%s",
                          num_steps_, num_threads_, num_processes_, kStepsText);
    if (context_.parts.count(Part::kFork) != 0) {
      absl::StrAppend(&out, "\n", kForkText);
    }
  }
  return absl::StrCat(out, "\n/* --- the program --- */\n\n",
                      context_.names.Declaration(), "\n");
}

int Assembly::ProcessNumber(size_t fork) const {
  if (fork == prog::kMainProcess) return 0;
  int number = 0;
  for (size_t i = 0; i <= fork; i++) {
    number += bound_.calls[i].builtin == prog::Builtin::kFork;
  }
  return number;
}

std::string Assembly::StepsTable() {
  std::map<std::pair<int, std::string>, int> threads;
  std::map<int, int> threads_of;  // by process
  std::map<int, int> parent;      // of each that lives
  std::string rows;
  auto thread_of = [&](int process, const std::string& name) {
    if (name.empty()) return 0;
    auto [it, added] = threads.insert({{process, name}, 0});
    if (added) it->second = ++threads_of[process];
    num_threads_ = std::max(num_threads_, it->second + 1);
    return it->second;
  };
  auto exit_row = [&](int child) {
    // Who outlives its parent is the first process's to wait for.
    const int waits = parent.count(parent[child]) != 0 ? parent[child] : 0;
    parent.erase(child);
    num_steps_++;
    return absl::StrFormat("\t{ NULL, EXIT, %d, 0, %d },\n", waits, child);
  };
  for (const prog::BoundCall& call : bound_.calls) {
    const int process = ProcessNumber(call.process);
    switch (call.builtin) {
      case prog::Builtin::kExit:
        rows += exit_row(ProcessNumber(call.target));
        continue;
      case prog::Builtin::kMachine:
      case prog::Builtin::kJoin:
        absl::StrAppendFormat(&rows, "\t{ NULL, JOIN, %d, %d, 0 },\n", process,
                              thread_of(process, call.thread));
        break;
      default: {
        int child = 0;
        if (call.builtin == prog::Builtin::kFork) {
          child = num_processes_++;
          parent[child] = process;
        }
        absl::StrAppendFormat(&rows, "\t{ line_%d, CALL, %d, %d, %d },\n",
                              call.call->pos.line, process,
                              thread_of(process, call.thread), child);
        break;
      }
    }
    num_steps_++;
  }
  // At the end all threads are done, then all processes end, the youngest
  // first.
  for (const auto& [key, number] : threads) {
    absl::StrAppendFormat(&rows, "\t{ NULL, JOIN, %d, %d, 0 },\n", key.first,
                          number);
    num_steps_++;
  }
  while (!parent.empty()) rows += exit_row(parent.rbegin()->first);
  return absl::StrCat("static const struct step steps[NUM_STEPS] = {\n", rows,
                      "};\n\n");
}

std::string Assembly::Main() const {
  std::string out =
      "int main(void)\n{\n\tcounts = shared_memory(sizeof(*counts));\n";
  if (!context_.names.Declaration().empty()) {
    absl::StrAppend(
        &out,
        "\tv = shared_memory(sizeof(*v));\n"
        "\tfor (size_t i = 0; i < sizeof(*v) / sizeof(__u64); i++)\n"
        "\t\t((__u64 *)v)[i] = NONE;\n");
  }
  if (context_.parts.count(Part::kAccess) != 0) {
    absl::StrAppend(&out,
                    "\tsignal(SIGSEGV, on_fault);\n"
                    "\tsignal(SIGBUS, on_fault);\n");
  }
  bool vfio = false;
  bool iommu = types_.uses_mock();
  for (const prog::BoundCall& call : bound_.calls) {
    if (call.builtin != prog::Builtin::kOpen) continue;
    bool other = false;
    for (const prog::Field& arg : call.call->args) {
      other = other || (arg.name == "path" && arg.value.text != "/dev/iommu");
    }
    (other ? vfio : iommu) = true;
  }
  if (iommu) {
    absl::StrAppend(&out, "\tneed(\"/dev/iommu\", ",
                    types_.uses_mock() ? "IOMMU_TEST_CMD" : "0", ");\n");
  }
  if (vfio) absl::StrAppend(&out, "\tneed(\"/dev/vfio/vfio\", 0);\n");
  if (limits_.any()) {
    absl::StrAppend(
        &out, "\tbecome(",
        limits_.memlock ? absl::StrCat(*limits_.memlock, "UL") : "~0UL", ", ",
        limits_.privileged ? 1 : 0, ");\n");
  }
  out += '\n';
  if (steps_) {
    out += "\trun_steps();\n";
  } else {
    for (const prog::BoundCall& call : bound_.calls) {
      if (IsMade(call)) {
        absl::StrAppend(&out, "\tline_", call.call->pos.line, "();\n");
      }
    }
  }
  return out + "\treturn end();\n}\n";
}

// Of a program for several forms the wanted one, or else the first that is a
// release's.
bool PickForm(const prog::Program& program, const Options& options,
              std::string* form, prog::Error* error) {
  *form = options.form;
  std::vector<std::string> forms;
  if (prog::RevisionByName(*form) == 0) {
    *error = {{}, absl::StrCat("there is no form '", *form, "'"), ""};
    return false;
  }
  if (!prog::FormsOf(program, &forms, error)) return false;
  if (forms.size() <= 1) return true;
  const uint8_t wanted = prog::RevisionByName(*form);
  *form = forms[0];
  for (const std::string& one : forms) {
    if (!(prog::RevisionByName(*form) & DESC_RELEASES) &&
        (prog::RevisionByName(one) & DESC_RELEASES)) {
      *form = one;
    }
  }
  for (const std::string& one : forms) {
    if (prog::RevisionByName(one) == wanted) *form = one;
  }
  return true;
}

}  // namespace

std::string NewestRelease() {
  for (const desc_revision_name& r : desc_revisions) {
    if (r.revision & DESC_RELEASES) return r.name;
  }
  return "";
}

bool Translate(const prog::Program& program, const Options& options,
               Translation* out, prog::Error* error) {
  std::string name;
  if (!PickForm(program, options, &name, error)) return false;
  uint8_t form = prog::RevisionByName(name);
  out->program = prog::ForForm(program, name);
  prog::BindOptions bind;
  bind.revision = form;
  prog::BoundProgram bound;
  if (!prog::Bind(out->program, bind, &bound, error) ||
      !CheckLimits(bound, error) ||
      !FormOf(bound, form, options.force, &form, error)) {
    return false;
  }
  out->form = desc_revision_name_of(form);
  return Assembly(bound, options, form).Write(&out->c, error);
}

}  // namespace repro
