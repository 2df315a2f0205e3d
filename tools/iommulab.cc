// SPDX-License-Identifier: GPL-2.0-or-later
//
// iommulab: the command line. Runs programs on the in-process kernel, compares
// revisions, sweeps injected failures, draws the objects, formats, minimises.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/flags/commandlineflag.h"
#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "prog/minimize.h"
#include "prog/parse.h"
#include "prog/print.h"
#include "prog/run.h"
#include "tools/explain.h"
#include "tools/graph.h"
#include "tools/lab_kernel.h"
#include "tools/sweep.h"
#include "uapi/iommufd_desc.h"

ABSL_FLAG(std::string, uapi, "",
          "run: the form to compare with; list: whose calls");
ABSL_FLAG(std::string, graph, "", "run: write the objects as an SVG");
ABSL_FLAG(int, at, 0, "run: draw after this line, not where most is held");
ABSL_FLAG(bool, fail_nth_sweep, false, "run: fail each allocation in turn");
ABSL_FLAG(bool, explain, false, "run: explain expected EBUSYs as well");
ABSL_FLAG(bool, quiet, false, "run: only what is unexpected, and the totals");
ABSL_FLAG(std::string, keep, "", "minimize: CALL:RESULT that must stay");
ABSL_FLAG(bool, in_place, false, "fmt: write the files instead of printing");

namespace tools {
namespace {

constexpr int kExitGood = 0;
constexpr int kExitFailure = 1;
constexpr int kExitMistake = 2;

constexpr char kUsage[] =
    R"(iommulab: the Linux kernel's iommufd object core in this process

  iommulab run [--uapi=FORM] [--graph=FILE.svg] [--at=LINE] [--fail_nth_sweep]
               [--explain] [--quiet] FILE.prog...
      Runs programs, a line for each call, and compares with what they expect.
      An EBUSY that was not expected is explained: what holds the object.
      --explain          explains those that were expected too
      --uapi=FORM        also under that form; shows the lines that differ. Of
                         a program for several forms: under that one alone
      --graph=FILE.svg   draws the objects, their users and what holds what,
                         after --at=LINE or else where most is held; stderr
                         says after which line that is
      --fail_nth_sweep   runs the program again for each failure that can be
                         injected into a call (fail_nth): the call made once
                         more and all that follow must then be as expected,
                         and nothing may be left behind
      --quiet            only what is unexpected, and the totals
  iommulab minimize [--keep=CALL:RESULT] FILE.prog
      The smallest program that goes wrong in the same way, on stdout. With
      --keep: in which that call has that result, say --keep=VCMDQ_ALLOC:EIO.
  iommulab fmt [--in_place] FILE.prog...
      The program as the formatter writes it.
  iommulab list [--uapi=FORM] [NAME...]
      The calls with their fields, and the machine's options.
  iommulab help

FILE may be - for stdin. A program whose open() lists forms of the surface runs
under each. docs/programs.md is the language.

Exit status: 0 all as expected, 1 a result differs, 2 a mistake in a program or
in the arguments.
)";

// A program for one form.
struct Source {
  std::string file;
  std::string text;
  prog::Program program;
  prog::BoundProgram bound;
  std::string form;
  bool one_of_several = false;  // its text is for other forms, too
};

// No more than a program may have, and a byte for its error: /dev/zero ends.
absl::StatusOr<std::string> ReadFile(const std::string& name) {
  FILE* in = name == "-" ? stdin : fopen(name.c_str(), "rb");
  if (in == nullptr) {
    return absl::NotFoundError(absl::StrCat(name, ": ", strerror(errno)));
  }
  std::string text;
  char buf[65536];
  size_t n;
  while (text.size() <= prog::kMaxSourceBytes &&
         (n = fread(buf, 1, sizeof(buf), in)) > 0) {
    text.append(buf, n);
  }
  const int error = ferror(in) ? errno : 0;
  if (in != stdin) fclose(in);
  if (error != 0) {
    return absl::DataLossError(
        absl::StrCat(name == "-" ? "stdin" : name, ": ", strerror(error)));
  }
  return text;
}

absl::Status WriteFile(const std::string& name, const std::string& text) {
  std::ofstream out(name, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) {
    return absl::PermissionDeniedError(
        absl::StrCat(name, ": ", strerror(errno)));
  }
  return absl::OkStatus();
}

int Mistake(std::string_view message) {
  std::cerr << message;
  if (!absl::EndsWith(message, "\n")) std::cerr << '\n';
  return kExitMistake;
}

// The source for one of the forms, bound.
absl::StatusOr<std::unique_ptr<Source>> BindSource(const std::string& file,
                                                   const std::string& text,
                                                   const prog::Program& program,
                                                   const std::string& form) {
  auto source = std::make_unique<Source>();
  source->file = file;
  source->text = text;
  source->program = prog::ForForm(program, form);
  source->form = form;
  prog::Error error;
  prog::BindOptions options;
  options.machine_keys = &MachineKeys();
  if (!prog::Bind(source->program, options, &source->bound, &error)) {
    return absl::InvalidArgumentError(prog::FormatError(file, text, error));
  }
  constexpr size_t kMostNotes = 8;
  for (size_t i = 0; i < source->bound.notes.size() && i < kMostNotes; i++) {
    std::cerr << prog::FormatError(file, text, source->bound.notes[i]);
  }
  return source;
}

// Reads, parses and binds: a source for each form that the program is for, or
// of several only the one that --uapi names. A mistake is the status' message,
// ready to print.
absl::StatusOr<std::vector<std::unique_ptr<Source>>> Load(
    const std::string& name) {
  absl::StatusOr<std::string> text = ReadFile(name);
  if (!text.ok()) return text.status();
  const std::string file = name == "-" ? "stdin" : name;
  prog::Program program;
  std::vector<std::string> forms;
  prog::Error error;
  if (!prog::Parse(*text, &program, &error) ||
      !prog::FormsOf(program, &forms, &error)) {
    return absl::InvalidArgumentError(prog::FormatError(file, *text, error));
  }
  const bool several = forms.size() > 1;
  const std::string wanted = absl::GetFlag(FLAGS_uapi);
  if (several && absl::c_linear_search(forms, wanted)) forms = {wanted};
  std::vector<std::unique_ptr<Source>> sources;
  for (const std::string& form : forms) {
    absl::StatusOr<std::unique_ptr<Source>> source =
        BindSource(file, *text, program, form);
    if (!source.ok()) return source.status();
    (*source)->one_of_several = several;
    sources.push_back(*std::move(source));
  }
  // A picture or a comparison is of one form.
  if (!absl::GetFlag(FLAGS_graph).empty() || !wanted.empty()) sources.resize(1);
  return sources;
}

absl::StatusOr<std::unique_ptr<LabKernel>> Boot(const Source& source) {
  prog::Error error;
  std::unique_ptr<LabKernel> lab =
      LabKernel::Create(source.bound.machine, LabOptions(), &error);
  if (lab == nullptr) {
    return absl::InvalidArgumentError(
        prog::FormatError(source.file, source.text, error));
  }
  return lab;
}

std::string ResultText(const prog::BoundCall& call,
                       const prog::CallResult& result) {
  std::string text = prog::FormatResult(call, result);
  if (result.state == prog::CallResult::State::kSkipped) {
    absl::StrAppend(&text, ": ", result.why);
  }
  return text;
}

struct Outcome {
  size_t calls = 0;
  size_t as_expected = 0;
  bool good = true;  // and nothing left behind, and no WARN
};

// Calls of one file with their results, in two columns.
class Listing {
 public:
  Listing(const Source& source, bool quiet) : source_(source), quiet_(quiet) {
    constexpr size_t kMostColumns = 110;
    for (const prog::BoundCall& call : source.bound.calls) {
      const size_t width = prog::PrintCall(*call.call).size();
      if (width <= kMostColumns) columns_ = std::max(columns_, width);
    }
  }

  void Print(const prog::BoundCall& call, const prog::CallResult& result) {
    if (call.builtin == prog::Builtin::kMachine) return;
    if (quiet_ && result.expected) return;
    std::string text = prog::PrintCall(*call.call);
    if (text.size() < columns_) text.append(columns_ - text.size(), ' ');
    printf("%c%4d  %s  %s\n", result.expected ? ' ' : '!', call.call->pos.line,
           text.c_str(), ResultText(call, result).c_str());
    if (!result.expected && result.state == prog::CallResult::State::kDone) {
      printf("       %s:%d: %s: expected %s, got %s\n", source_.file.c_str(),
             call.call->pos.line, call.call->name.c_str(), result.why.c_str(),
             prog::FormatResult(call, result).c_str());
    }
  }

 private:
  const Source& source_;
  bool quiet_;
  size_t columns_ = 0;
};

// Problems that no call's result shows. Prints and clears *good.
void CheckAftermath(LabKernel* lab, const std::string& residue,
                    const std::string& where, bool* good) {
  if (!residue.empty()) {
    *good = false;
    printf("! left behind%s:\n", where.c_str());
    for (std::string_view line : absl::StrSplit(residue, '\n')) {
      if (!line.empty()) printf("       %s\n", std::string(line).c_str());
    }
  }
  if (lab->warnings() != 0) {
    *good = false;
    printf("! the kernel warned%s:\n", where.c_str());
    for (std::string_view line : absl::StrSplit(lab->sys()->take_log(), '\n')) {
      if (!line.empty()) printf("       %s\n", std::string(line).c_str());
    }
  }
}

absl::StatusOr<Outcome> RunPlain(const Source& source) {
  absl::StatusOr<std::unique_ptr<LabKernel>> lab = Boot(source);
  if (!lab.ok()) return lab.status();
  Listing listing(source, absl::GetFlag(FLAGS_quiet));
  const std::string svg = absl::GetFlag(FLAGS_graph);
  const int at = absl::GetFlag(FLAGS_at);
  absl::Status drawn = absl::OkStatus();
  // The picture: after line `at`, or else the first of the fullest ones.
  Graph picture;
  int line = 0;
  auto look = [&](size_t last, const std::vector<prog::CallResult>& results) {
    Graph graph =
        Snapshot((*lab)->sim(), source.file, source.bound, results, last);
    if (line != 0 && graph.nodes.size() + graph.edges.size() <=
                         picture.nodes.size() + picture.edges.size()) {
      return;
    }
    picture = std::move(graph);
    line = source.bound.calls[last].call->pos.line;
  };
  prog::RunOptions options;
  options.on_result = [&](size_t i,
                          const std::vector<prog::CallResult>& results) {
    const prog::BoundCall& call = source.bound.calls[i];
    // The last call that is not behind the line.
    const bool next_is_behind = i + 1 < source.bound.calls.size() &&
                                source.bound.calls[i + 1].call->pos.line > at;
    listing.Print(call, results[i]);
    if (results[i].error == EBUSY &&
        (!results[i].expected || absl::GetFlag(FLAGS_explain))) {
      const std::string why =
          ExplainBusy((*lab)->sim(), source.bound, results, i);
      for (std::string_view line : absl::StrSplit(why, '\n')) {
        if (!line.empty()) printf("       %s\n", std::string(line).c_str());
      }
    }
    if (!svg.empty() && (at == 0 || (next_is_behind && line == 0))) {
      look(i, results);
    }
  };
  options.at_end = [&](const std::vector<prog::CallResult>& results) {
    if (svg.empty()) return;
    if (line == 0 && !results.empty()) look(results.size() - 1, results);
    constexpr size_t kMostBoxes = 24;  // a screen's worth
    drawn = WriteFile(svg, DrawSvg(FoldAlike(picture, kMostBoxes)));
    if (!drawn.ok() || at != 0) return;
    std::cerr << svg << ": after line " << line << ", where most is held ("
              << picture.nodes.size() << " objects)\n";
  };
  const prog::RunResult run = prog::Run(source.bound, (*lab)->sys(), options);
  if (!drawn.ok()) return drawn;
  Outcome outcome = {run.calls, run.as_expected, run.calls == run.as_expected};
  CheckAftermath(lab->get(), run.residue, "", &outcome.good);
  return outcome;
}

// Runs under two forms and shows where the results differ.
absl::StatusOr<Outcome> RunCompared(const Source& source,
                                    const std::string& other) {
  std::vector<prog::CallResult> results[2];
  const std::string names[2] = {source.form, other};
  Outcome outcome;
  for (int i = 0; i < 2; i++) {
    absl::StatusOr<std::unique_ptr<LabKernel>> lab = Boot(source);
    if (!lab.ok()) return lab.status();
    prog::RunOptions options;
    options.revision = names[i];
    prog::RunResult run = prog::Run(source.bound, (*lab)->sys(), options);
    results[i] = std::move(run.results);
    outcome.calls = run.calls;
    CheckAftermath(lab->get(), run.residue, " under " + names[i],
                   &outcome.good);
  }
  size_t differ = 0;
  for (size_t i = 0; i < source.bound.calls.size(); i++) {
    const prog::BoundCall& call = source.bound.calls[i];
    const std::string a = ResultText(call, results[0][i]);
    const std::string b = ResultText(call, results[1][i]);
    if (a == b) continue;
    // Where memory lies is of no interest.
    if ((call.builtin == prog::Builtin::kMmap ||
         call.builtin == prog::Builtin::kAnon) &&
        results[0][i].has_value && results[1][i].has_value) {
      continue;
    }
    differ++;
    printf("%5d  %s\n", call.call->pos.line,
           prog::PrintCall(*call.call).c_str());
    printf("         %-10s %s\n", names[0].c_str(), a.c_str());
    printf("         %-10s %s\n", names[1].c_str(), b.c_str());
  }
  outcome.as_expected = outcome.calls - differ;
  return outcome;
}

// Can --graph, --at and --uapi be done for this program?
absl::Status CheckDrawing(const Source& source, const std::string& other) {
  const std::string svg = absl::GetFlag(FLAGS_graph);
  if (svg.empty()) return absl::OkStatus();
  if (svg == source.file) {
    return absl::InvalidArgumentError("--graph would overwrite " + svg);
  }
  if (!other.empty() && other != source.form) {
    return absl::InvalidArgumentError(
        "--graph draws a run under one form, --uapi makes two");
  }
  const int at = absl::GetFlag(FLAGS_at);
  if (at == 0) return absl::OkStatus();
  const size_t lines = source.program.lines.size();
  if (static_cast<size_t>(at) > lines) {
    return absl::InvalidArgumentError(
        absl::StrCat("--at=", at, ": ", source.file, " has ", lines, " lines"));
  }
  if (source.bound.calls.empty() || source.bound.calls[0].call->pos.line > at) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--at=", at, ": ", source.file, " has no call up to this line",
        source.bound.calls.empty()
            ? ""
            : absl::StrCat("; its first is in line ",
                           source.bound.calls[0].call->pos.line)));
  }
  return absl::OkStatus();
}

int RunCommand(const std::vector<std::string>& files) {
  if (files.empty()) return Mistake("run needs a FILE.prog");
  const std::string other = absl::GetFlag(FLAGS_uapi);
  if (!other.empty() && prog::RevisionByName(other) == 0) {
    return Mistake(absl::StrCat(
        "there is no form '", other,
        "'; expected one of: ", absl::StrJoin(prog::RevisionNames(), ", ")));
  }
  if (!absl::GetFlag(FLAGS_graph).empty() && files.size() != 1) {
    return Mistake("--graph draws one program");
  }
  if (absl::GetFlag(FLAGS_at) != 0 && absl::GetFlag(FLAGS_graph).empty()) {
    return Mistake("--at=LINE says when to draw: it needs --graph=FILE.svg");
  }
  if (std::count(files.begin(), files.end(), "-") > 1) {
    return Mistake("stdin (-) can be read only once");
  }
  // All mistakes first: nothing runs when there is one.
  std::vector<std::unique_ptr<Source>> sources;
  int status = kExitGood;
  for (const std::string& file : files) {
    absl::StatusOr<std::vector<std::unique_ptr<Source>>> loaded = Load(file);
    absl::Status good = loaded.status();
    if (good.ok()) good = Boot(*loaded->front()).status();
    if (good.ok()) good = CheckDrawing(*loaded->front(), other);
    if (!good.ok()) {
      status = Mistake(good.message());
      continue;
    }
    for (auto& source : *loaded) sources.push_back(std::move(source));
  }
  if (status != kExitGood) return status;
  Outcome total;
  SweepOutcome swept;
  bool compared = false;
  for (const auto& source : sources) {
    const bool compare = !other.empty() && other != source->form;
    if (source->one_of_several && !compare) {
      printf("%s: under %s\n", source->file.c_str(), source->form.c_str());
    } else if (files.size() > 1) {
      printf("%s\n", source->file.c_str());
    }
    if (compare) {
      printf("%s: under %s and %s\n", source->file.c_str(),
             source->form.c_str(), other.c_str());
    }
    compared = compared || compare;
    absl::StatusOr<Outcome> outcome =
        compare ? RunCompared(*source, other) : RunPlain(*source);
    if (!outcome.ok()) return Mistake(outcome.status().message());
    total.calls += outcome->calls;
    total.as_expected += outcome->as_expected;
    total.good = total.good && outcome->good;
    fflush(stdout);
    if (absl::GetFlag(FLAGS_fail_nth_sweep) && !compare && !outcome->good) {
      // Each run would show the same again.
      printf("! %s: not swept, as it goes wrong without a failure\n",
             source->file.c_str());
      swept.good = false;
    } else if (absl::GetFlag(FLAGS_fail_nth_sweep)) {
      const SweepOutcome sweep =
          SweepFailNth(source->bound, [&](const std::string& problem) {
            printf("! %s: %s\n", source->file.c_str(), problem.c_str());
          });
      swept.runs += sweep.runs;
      swept.failures += sweep.failures;
      swept.good = swept.good && sweep.good;
    }
  }
  if (absl::GetFlag(FLAGS_fail_nth_sweep)) {
    printf("%zu runs, %zu failures injected, %s\n", swept.runs, swept.failures,
           swept.good ? "nothing left behind" : "not all as it should be");
  }
  if (compared) {
    printf("%zu calls, %zu the same\n", total.calls, total.as_expected);
  } else {
    printf("%zu calls, %zu as expected\n", total.calls, total.as_expected);
  }
  return total.good && swept.good ? kExitGood : kExitFailure;
}

// ---- minimize ----

// What a run shows, as a line of text; empty when all is as expected. Runs in a
// child: the kernel may crash, and then that is the property.
std::string Signature(const prog::Program& program, const std::string& keep) {
  int pipe_fds[2];
  if (pipe(pipe_fds) != 0) return {};
  fflush(stdout);
  const pid_t pid = fork();
  if (pid < 0) return {};
  if (pid == 0) {
    close(pipe_fds[0]);
    // A crash says enough by its signal.
    if (freopen("/dev/null", "w", stderr) == nullptr) _exit(0);
    alarm(20);
    std::string text;
    prog::BoundProgram bound;
    prog::Error error;
    prog::BindOptions options;
    options.machine_keys = &MachineKeys();
    std::unique_ptr<LabKernel> lab;
    if (prog::Bind(program, options, &bound, &error)) {
      lab = LabKernel::Create(bound.machine, LabOptions(), &error);
    }
    if (lab != nullptr) {
      const prog::RunResult run =
          prog::Run(bound, lab->sys(), prog::RunOptions());
      for (size_t i = 0; i < bound.calls.size() && text.empty(); i++) {
        const prog::CallResult& result = run.results[i];
        if (result.state != prog::CallResult::State::kDone) continue;
        const std::string line =
            absl::StrCat(bound.calls[i].call->name, ":",
                         prog::FormatResult(bound.calls[i], result));
        if (keep.empty()) {
          if (!result.expected) {
            text = absl::StrCat(
                bound.calls[i].call->name, " got ",
                result.error != 0 ? prog::ErrnoName(result.error) : "success",
                ", expected ", result.why);
          }
        } else if (absl::StartsWith(line, keep)) {
          text = keep;
        }
      }
      if (keep.empty() && text.empty() && lab->warnings() != 0) {
        text = "the kernel warns";
      }
      if (keep.empty() && text.empty() && !run.residue.empty()) {
        text = "left behind: " + run.residue.substr(0, run.residue.find('\n'));
      }
    }
    ssize_t ignored =
        write(pipe_fds[1], text.data(), std::min<size_t>(text.size(), 4000));
    (void)ignored;
    _exit(0);
  }
  close(pipe_fds[1]);
  std::string text;
  char buf[4096];
  ssize_t n;
  while ((n = read(pipe_fds[0], buf, sizeof(buf))) > 0) text.append(buf, n);
  close(pipe_fds[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) {
    return absl::StrCat("signal ", WTERMSIG(status), " (",
                        strsignal(WTERMSIG(status)), ")");
  }
  if (WEXITSTATUS(status) != 0) return "the process exits by itself";
  return text;
}

int MinimizeCommand(const std::vector<std::string>& files) {
  if (files.size() != 1) return Mistake("minimize needs one FILE.prog");
  absl::StatusOr<std::vector<std::unique_ptr<Source>>> loaded = Load(files[0]);
  if (!loaded.ok()) return Mistake(loaded.status().message());
  // Of several forms the first.
  const std::unique_ptr<Source>& source = loaded->front();
  const std::string keep = absl::GetFlag(FLAGS_keep);
  const std::string wanted = Signature(source->program, keep);
  if (wanted.empty()) {
    return Mistake(keep.empty()
                       ? "the program runs as expected; --keep=CALL:RESULT "
                         "says what should stay"
                       : absl::StrCat("no call has the result ", keep,
                                      "; results are written as run prints "
                                      "them: DESTROY:EBUSY, IOAS_ALLOC:= 1"));
  }
  size_t tests = 0;
  const prog::Program small =
      prog::Minimize(source->program, [&](const prog::Program& p) {
        tests++;
        return Signature(p, keep) == wanted;
      });
  printf("# %s\n%s", wanted.c_str(), prog::Print(small).c_str());
  fprintf(stderr, "%zu of %zu calls, after %zu runs\n", small.num_calls(),
          source->program.num_calls(), tests);
  return kExitGood;
}

// ---- fmt ----

int FmtCommand(const std::vector<std::string>& files) {
  if (files.empty()) return Mistake("fmt needs a FILE.prog");
  // A file with a mistake stays as it is; the others are formatted.
  int status = kExitGood;
  for (const std::string& file : files) {
    if (file == "-" && absl::GetFlag(FLAGS_in_place)) {
      status = Mistake("stdin (-) cannot be written in place");
      continue;
    }
    absl::StatusOr<std::string> text = ReadFile(file);
    if (!text.ok()) {
      status = Mistake(text.status().message());
      continue;
    }
    prog::Program program;
    prog::Error error;
    if (!prog::Parse(*text, &program, &error)) {
      status = Mistake(
          prog::FormatError(file == "-" ? "stdin" : file, *text, error));
      continue;
    }
    const std::string out = prog::Print(program);
    if (!absl::GetFlag(FLAGS_in_place)) {
      printf("%s", out.c_str());
    } else if (out != *text) {
      const absl::Status written = WriteFile(file, out);
      if (!written.ok()) status = Mistake(written.message());
    }
  }
  return status;
}

// ---- list ----

std::string FieldHelp(const desc_field& f) {
  std::string names;
  for (const desc_name& name : f.names) {
    absl::StrAppend(&names, names.empty() ? "" : "|", name.name);
  }
  const std::string object = desc_object_label(f.object);
  switch (f.kind) {
    case desc_kind::SIZE:
      return "size of the struct";
    case desc_kind::FLAGS:
      return names.empty() ? "flags, none is known" : "flags: " + names;
    case desc_kind::ENUM:
      return "one of: " + names;
    case desc_kind::ID_IN:
      return "id: " + object;
    case desc_kind::ID_OUT:
      return "-> id: " + object;
    case desc_kind::ID_INOUT:
      return "id, also returned: " + object;
    case desc_kind::FD_IN:
      return "a descriptor";
    case desc_kind::FD_OUT:
      return "-> a descriptor";
    case desc_kind::USER_VA:
      return "an address of memory";
    case desc_kind::PTR_IN:
    case desc_kind::PTR_OUT:
    case desc_kind::PTR_INOUT: {
      std::string what = f.pointee != nullptr
                             ? absl::StrCat("struct ", f.pointee->name)
                             : "bytes";
      if (!f.variants.empty()) {
        what = absl::StrCat("data as ", f.selector_field, " says");
      }
      return absl::StrCat(f.kind == desc_kind::PTR_IN    ? ""
                          : f.kind == desc_kind::PTR_OUT ? "-> "
                                                         : "<-> ",
                          what,
                          f.len_field != nullptr
                              ? absl::StrCat(", length in ", f.len_field)
                              : "");
    }
    case desc_kind::LEN:
      return absl::StrCat("bytes", f.returned ? ", also returned" : "");
    case desc_kind::COUNT:
      return absl::StrCat("elements", f.returned ? ", also returned" : "");
    case desc_kind::ENTRY_LEN:
      return "bytes of an element";
    case desc_kind::IOVA:
      return "an IO address";
    case desc_kind::IOVA_LEN:
      return absl::StrCat("bytes", f.returned ? ", also returned" : "");
    case desc_kind::IOVA_INOUT:
      return "an IO address, also returned";
    case desc_kind::NUMBER:
      return names.empty() ? "a number" : "a number: " + names;
    case desc_kind::NUMBER_OUT:
      return names.empty() ? "-> a number" : "-> a number: " + names;
    case desc_kind::NUMBER_INOUT:
      return names.empty() ? "a number, also returned"
                           : "a number, also returned: " + names;
    case desc_kind::RESERVED:
      return "must be 0";
    default:
      return "";
  }
}

void ListStruct(const desc_struct& s, int indent) {
  for (const desc_field& f : s.fields) {
    if (f.kind == desc_kind::PADDING || f.kind == desc_kind::OP ||
        f.kind == desc_kind::SIZE) {
      continue;
    }
    std::string help = FieldHelp(f);
    // What a program calls it in `x = CALL(...)`, and what is sent without it.
    const std::string_view output = desc_output_name(f);
    if (desc_is_returned(f) && !desc_is_pointer(f.kind) && output != f.name) {
      absl::StrAppend(&help, ", x.", output);
    }
    if (f.default_value != 0) {
      absl::StrAppend(&help, " (0x", absl::Hex(f.default_value), ")");
    }
    printf("%*s%-22s %s\n", indent, "", f.name, help.c_str());
    for (const desc_variant& variant : f.variants) {
      printf("%*s  struct %s:\n", indent, "", variant.pointee->name);
      ListStruct(*variant.pointee, indent + 4);
    }
    if (f.pointee != nullptr) ListStruct(*f.pointee, indent + 4);
  }
}

int ListCommand(const std::vector<std::string>& names) {
  uint8_t revisions = DESC_ALL;
  const std::string uapi = absl::GetFlag(FLAGS_uapi);
  if (!uapi.empty()) {
    revisions = prog::RevisionByName(uapi);
    if (revisions == 0) {
      return Mistake(absl::StrCat(
          "there is no form '", uapi,
          "'; expected one of: ", absl::StrJoin(prog::RevisionNames(), ", ")));
    }
  }
  std::vector<std::string> known;
  for (const prog::BuiltinInfo& builtin : prog::Builtins()) {
    known.push_back(builtin.name);
  }
  for (const desc_ioctl& d : iommufd_desc_all()) {
    if ((d.revisions & revisions) != 0) known.push_back(d.name);
  }
  int status = kExitGood;
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string best = prog::DidYouMean(name, known);
    if (best.empty()) {
      best = prog::DidYouMean(absl::AsciiStrToUpper(name), known);
    }
    status = Mistake(absl::StrCat(
        "there is no call '", name, "'", uapi.empty() ? "" : " under ", uapi,
        best.empty() ? "" : absl::StrCat("; did you mean '", best, "'?")));
  }
  if (status != kExitGood) return status;
  auto wanted = [&names](std::string_view name) {
    return names.empty() ||
           std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const prog::BuiltinInfo& builtin : prog::Builtins()) {
    if (!wanted(builtin.name)) continue;
    printf("%s\n    %s\n", builtin.synopsis, builtin.summary);
    if (builtin.builtin == prog::Builtin::kMachine) {
      printf("%s", MachineHelp().c_str());
    }
  }
  for (const desc_ioctl& d : iommufd_desc_all()) {
    if ((d.revisions & revisions) == 0 || !wanted(d.name)) continue;
    printf("%s(f, ...)%s\n", d.name,
           d.revisions == DESC_ALL
               ? ""
               : absl::StrCat(
                     "   only ",
                     absl::StrJoin(prog::RevisionNames(d.revisions), ", "))
                     .c_str());
    if (d.returns_fd) printf("    -> a descriptor\n");
    if (d.returns_number) printf("    -> a number\n");
    ListStruct(*d.arg, 4);
  }
  return kExitGood;
}

// An option, the commands that have it, and what its value is called; a switch
// has none.
struct Option {
  std::string_view name;
  std::vector<std::string> commands;
  std::string_view value;
};

std::vector<Option> Options() {
  return {
      {"uapi", {"run", "list"}, "REV"},
      {"graph", {"run"}, "FILE.svg"},
      {"at", {"run"}, "LINE"},
      {"fail_nth_sweep", {"run"}, ""},
      {"explain", {"run"}, ""},
      {"quiet", {"run"}, ""},
      {"keep", {"minimize"}, "CALL:RESULT"},
      {"in_place", {"fmt"}, ""},
  };
}

// The command line. Options may stand anywhere before "--"; --help ends it.
struct Arguments {
  std::vector<std::string> positional;
  std::vector<Option> given;
  bool help = false;
};

absl::Status ParseArguments(int argc, char** argv, Arguments* out) {
  const std::vector<Option> options = Options();
  bool only_files = false;
  for (int i = 1; i < argc; i++) {
    const std::string_view arg = argv[i];
    if (only_files || arg.empty() || arg[0] != '-' || arg == "-") {
      out->positional.emplace_back(arg);
      continue;
    }
    if (arg == "--") {
      only_files = true;
      continue;
    }
    const size_t equals = arg.find('=');
    std::string name(arg.substr(0, equals));
    name.erase(0, name.find_first_not_of('-'));
    std::replace(name.begin(), name.end(), '-', '_');
    if (name == "help" || name == "h") {
      out->help = true;
      return absl::OkStatus();
    }
    const auto option =
        std::find_if(options.begin(), options.end(),
                     [&](const Option& o) { return o.name == name; });
    if (option == options.end()) {
      std::vector<std::string> names;
      for (const Option& o : options) names.emplace_back(o.name);
      const std::string best = prog::DidYouMean(name, names);
      return absl::InvalidArgumentError(absl::StrCat(
          "there is no option ", arg.substr(0, equals),
          best.empty() ? "" : absl::StrCat("; did you mean --", best, "?"),
          "\n`iommulab help` lists them"));
    }
    std::string value = "true";
    if (equals != std::string_view::npos) {
      value = arg.substr(equals + 1);
    } else if (!option->value.empty()) {
      const bool next = i + 1 < argc && argv[i + 1][0] != '-';
      value = next ? argv[++i] : "";
    }
    if (value.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("option --", name, " needs a value: --", name, "=",
                       option->value.empty() ? "true" : option->value));
    }
    std::string ignored;
    absl::CommandLineFlag* flag = absl::FindCommandLineFlag(name);
    if (flag == nullptr || !flag->ParseFrom(value, &ignored) ||
        (name == "at" && absl::GetFlag(FLAGS_at) < 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", name, "=", value, ": expected ",
                       option->value.empty() ? "true or false, or no value"
                                             : "the number of a line, from 1"));
    }
    out->given.push_back(*option);
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Arguments arguments;
  const absl::Status parsed = ParseArguments(argc, argv, &arguments);
  if (!parsed.ok()) return Mistake(parsed.message());
  const std::vector<std::string>& args = arguments.positional;
  if (arguments.help || args.empty() || args[0] == "help") {
    const bool asked = arguments.help || !args.empty();
    fprintf(asked ? stdout : stderr, "%s\nForms of the surface:\n%s", kUsage,
            prog::FormsHelp().c_str());
    return asked ? kExitGood : kExitMistake;
  }
  const std::vector<std::string> commands = {"run", "minimize", "fmt", "list",
                                             "help"};
  if (std::find(commands.begin(), commands.end(), args[0]) == commands.end()) {
    const std::string best = prog::DidYouMean(args[0], commands);
    return Mistake(absl::StrCat(
        "there is no command '", args[0], "'",
        best.empty() ? "" : absl::StrCat("; did you mean '", best, "'?"),
        "\nexpected run, minimize, fmt, list or help"));
  }
  for (const Option& option : arguments.given) {
    if (std::find(option.commands.begin(), option.commands.end(), args[0]) ==
        option.commands.end()) {
      return Mistake(absl::StrCat("--", option.name, " is an option of ",
                                  absl::StrJoin(option.commands, " and "),
                                  ", not of ", args[0]));
    }
  }
  const std::vector<std::string> rest(args.begin() + 1, args.end());
  if (args[0] == "run") return RunCommand(rest);
  if (args[0] == "minimize") return MinimizeCommand(rest);
  if (args[0] == "fmt") return FmtCommand(rest);
  if (args[0] == "list") return ListCommand(rest);
  return kExitMistake;
}

}  // namespace
}  // namespace tools

int main(int argc, char** argv) {
  const int status = tools::Main(argc, argv);
  // A result that nobody could read is none.
  if (fflush(stdout) != 0 || ferror(stdout)) {
    fprintf(stderr, "stdout: %s\n", strerror(errno));
    return 2;
  }
  return status;
}
