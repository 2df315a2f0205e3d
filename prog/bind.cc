// SPDX-License-Identifier: GPL-2.0-or-later
//
// Decides what the names of a program mean, and finds those that mean nothing.
#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "prog/bind_values.h"
#include "prog/calls.h"
#include "prog/print.h"
#include "prog/run.h"

namespace prog {
namespace {

// Each is a thread of this process.
constexpr size_t kMaxThreads = 256;
constexpr size_t kMaxProcesses = 256;

class Binder : public ValueBinder {
 public:
  Binder(const BindOptions& options, BoundProgram* bound, Error* error)
      : ValueBinder(bound, error), options_(options) {}

  bool BindAll(const Program& program) {
    for (const Line& line : program.lines) {
      if (!line.has_call) continue;
      if (!line.forms.empty() || !line.call.expect.forms.empty()) {
        return Fail(line.call.pos, "this program is for several forms",
                    "a program for one (ForForm)");
      }
      if (!BindCall(line.call) || !CheckComment(line)) return false;
    }
    return true;
  }

 private:
  // A comment that can only be meant as an expectation: `# out = 1` where the
  // call has that output. It would be taken for a remark and never looked at.
  bool CheckComment(const Line& line) {
    if (line.call.expect.present || !line.has_comment) return true;
    const std::string& text = line.comment;
    const size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string::npos) return true;
    const size_t end = text.find_first_of(" \t=!", begin);
    if (end == std::string::npos) return true;
    size_t sign = text.find_first_not_of(" \t", end);
    if (sign == std::string::npos) return true;
    if (text[sign] == '!') sign++;
    if (text.substr(sign, 1) != "=" || text.substr(sign + 1, 1) == "=") {
      return true;
    }
    const std::string name = text.substr(begin, end - begin);
    if (last_outputs_.count(WithoutIndices(name)) == 0) return true;
    return Fail(
        line.call.expect.pos,
        "the comment reads like an expectation of '" + name + "', but is none",
        "'# " + name + "=value', without a space at the sign");
  }

  bool BindCall(const Call& call) {
    BoundCall* bound = &bound_->calls.emplace_back();
    bound->call = &call;
    current_ = bound;
    Definition definition;
    definition.call = bound_->calls.size() - 1;
    if (const BuiltinSpec* spec = FindBuiltin(call.name)) {
      bound->builtin = spec->builtin;
      if (!BindBuiltin(call, *spec, &definition)) return false;
    } else if (!BindIoctl(call, bound, &definition)) {
      return false;
    }
    if (!call.thread.empty() && !BindCaller(call, bound)) return false;
    if (bound->builtin == Builtin::kFork) {
      if (worker_count_.count({kMainProcess, call.result}) != 0) {
        return Fail(
            call.pos,
            "calls before this line run on a thread '" + call.result + "'",
            "another name for the process");
      }
      definition.process = true;
      processes_++;
      if (processes_ > kMaxProcesses) {
        return Fail(call.pos, "too many processes",
                    "at most " + std::to_string(kMaxProcesses));
      }
    }
    for (const Expect::Output& output : call.expect.outputs) {
      if (!BindExpected(call, definition, output)) return false;
    }
    if (bound->builtin == Builtin::kMachine && call.expect.present) {
      return Fail(call.expect.pos, "machine(...) is no call of the kernel's",
                  "no expectation");
    }
    last_outputs_ = definition.outputs;
    if (!call.result.empty()) names_[call.result] = std::move(definition);
    return true;
  }

  // Which process, and which thread of it, makes the call.
  bool BindCaller(const Call& call, BoundCall* bound) {
    if (bound->builtin == Builtin::kMachine ||
        bound->builtin == Builtin::kJoin || bound->builtin == Builtin::kExit) {
      return Fail(call.thread_pos, call.name + " cannot run on another thread",
                  "");
    }
    auto [process, thread] = SplitThread(call.thread);
    const auto it = names_.find(process);
    if (it != names_.end() && it->second.process) {
      if (it->second.exited) {
        return Fail(call.thread_pos, "process '" + process + "' has ended", "");
      }
      bound->process = it->second.call;
    } else if (thread.empty()) {
      thread = process;
    } else {
      return Fail(call.thread_pos, "'" + process + "' is no process",
                  "the name of a fork() before this line");
    }
    bound->thread = thread;
    if (thread.empty()) return true;
    threads_.insert(call.thread);
    worker_count_.insert({bound->process, thread});
    if (worker_count_.size() > kMaxThreads) {
      return Fail(call.thread_pos, "too many threads",
                  "at most " + std::to_string(kMaxThreads));
    }
    return true;
  }

  bool BindExpected(const Call& call, const Definition& definition,
                    const Expect::Output& output) {
    std::span<const desc_name> names;
    if (output.path.empty()) {
      if (!definition.value) {
        return Fail(output.pos, call.name + " has no single result",
                    definition.shown.empty()
                        ? "an errno, or nothing for success"
                        : "the outputs by name: " + Join(definition.shown));
      }
      if (current_->builtin == Builtin::kPoll) names = PollNames();
    } else {
      const std::string path = WithoutIndices(output.path);
      if (definition.outputs.count(path) == 0) {
        return FailName(output.pos, call.name + " has no output '" + path + "'",
                        path, definition.shown);
      }
      if (current_->desc != nullptr) {
        for (const desc_field& field : current_->desc->arg->fields) {
          if (desc_is_returned(field) &&
              (path == desc_output_name(field) || path == field.name ||
               (field.alias != nullptr && path == field.alias))) {
            names = field.names;
          }
        }
      }
    }
    if (output.value.kind == Value::Kind::kString) return true;
    return BindScalar(output.value, names);
  }

  bool BindIoctl(const Call& call, BoundCall* bound, Definition* definition) {
    // The descriptor's revision decides which of two calls a name means.
    uint8_t revision = options_.revision;
    if (!call.args.empty() && call.args[0].name.empty() &&
        call.args[0].value.kind == Value::Kind::kName) {
      const auto it = names_.find(call.args[0].value.text);
      if (it != names_.end() && it->second.revision != 0) {
        revision = it->second.revision;
      }
    }
    bound->revision = revision;
    bound->desc = iommufd_desc_find(call.name, revision);
    if (bound->desc == nullptr) bound->desc = iommufd_desc_find(call.name);
    if (bound->desc == nullptr) {
      std::vector<std::string> known;
      for (const BuiltinSpec& spec : BuiltinSpecs()) known.push_back(spec.name);
      for (const desc_ioctl& d : iommufd_desc_all()) known.push_back(d.name);
      std::string message = "there is no call '" + call.name + "'";
      const std::string best = DidYouMean(call.name, known);
      if (!best.empty()) message += "; did you mean '" + best + "'?";
      return Fail(call.pos, message, "a call: `iommulab list` prints them all");
    }
    const desc_struct& s = *bound->desc->arg;
    if (call.args.empty() || !call.args[0].name.empty()) {
      return Fail(call.args.empty() ? call.pos : call.args[0].pos,
                  call.name + " needs a descriptor as its first argument",
                  call.name + "(f, ...)");
    }
    if (!BindScalar(call.args[0].value, {})) return false;
    std::vector<std::string> known = FieldNames(s);
    for (const char* extra : {"size", "tail", "arg", "fail_nth"}) {
      if (std::find(known.begin(), known.end(), extra) == known.end()) {
        known.push_back(extra);
      }
    }
    std::set<std::string_view> seen;
    for (size_t i = 1; i < call.args.size(); i++) {
      const Field& arg = call.args[i];
      if (arg.name.empty()) {
        return Fail(arg.pos, "the fields of " + call.name + " have names",
                    "one of: " + Join(known));
      }
      const desc_field* d = FindField(s, arg.name);
      if (!seen.insert(d != nullptr ? std::string_view(d->name) : arg.name)
               .second) {
        return Fail(arg.pos, "field '" + arg.name + "' is given twice", "");
      }
      if (d != nullptr) {
        if (!BindField(arg.value, *d, s, call.args)) return false;
      } else if (arg.name == "tail") {
        if (arg.value.kind != Value::Kind::kString) {
          return Fail(arg.value.pos, "tail= is the bytes behind the struct",
                      "a string");
        }
      } else if (arg.name == "arg" || arg.name == "fail_nth") {
        if (!BindScalar(arg.value, {})) return false;
      } else {
        return FailName(arg.pos,
                        "there is no field '" + arg.name + "' in " + call.name,
                        arg.name, known);
      }
    }
    DescribeOutputs(*bound->desc, call, definition);
    return true;
  }

  void DescribeOutputs(const desc_ioctl& desc, const Call& call,
                       Definition* definition) {
    definition->value = PrimaryOutput(desc) != nullptr || desc.returns_fd ||
                        desc.returns_number;
    auto add = [&](const std::string& name, bool shown) {
      if (definition->outputs.insert(name).second && shown) {
        definition->shown.push_back(name);
      }
    };
    for (const desc_field& d : desc.arg->fields) {
      if (desc_is_returned(d) && !desc_is_pointer(d.kind)) {
        add(std::string(desc_output_name(d)), true);
        add(d.name, false);
        if (d.alias != nullptr) add(d.alias, false);
      }
    }
    for (const desc_field& d : desc.arg->fields) {
      if (d.kind != desc_kind::PTR_OUT && d.kind != desc_kind::PTR_INOUT) {
        continue;
      }
      for (const Field& arg : call.args) {
        if (arg.name.empty() || FindField(*desc.arg, arg.name) != &d) continue;
        add(std::string(PointerName(d)), false);
        add(d.name, false);
        add(std::string(PointerName(d)) + ".hash", false);
        add(d.name + std::string(".hash"), false);
        const Value* first = &arg.value;
        if (first->kind == Value::Kind::kList && !first->items.empty()) {
          first = &first->items[0];
        }
        if (first->kind != Value::Kind::kStruct &&
            first->kind != Value::Kind::kOut) {
          continue;
        }
        auto add_pointee = [&](const desc_struct& pointee) {
          for (const desc_field& sub : pointee.fields) {
            if (sub.kind == desc_kind::PADDING) continue;
            for (const char* name : {sub.name, sub.alias}) {
              if (name == nullptr) continue;
              add(name, name == sub.name);
              add(std::string(PointerName(d)) + '.' + name, false);
              add(std::string(d.name) + '.' + name, false);
            }
          }
        };
        const desc_struct* pointee =
            ChoosePointee(d, *desc.arg, call.args, *first);
        if (pointee != nullptr) {
          add_pointee(*pointee);
        } else {
          // The kernel says which one it is.
          for (const desc_variant& variant : d.variants) {
            add_pointee(*variant.pointee);
          }
        }
      }
    }
  }

  bool BindBuiltin(const Call& call, const BuiltinSpec& spec,
                   Definition* definition) {
    definition->value = spec.has_value;
    if (spec.builtin == Builtin::kLoad || spec.builtin == Builtin::kRead) {
      definition->outputs.insert("hash");
    }
    if (spec.builtin == Builtin::kMachine) return BindMachine(call);
    std::vector<std::string> known;
    for (const BuiltinArg& arg : spec.args) known.push_back(arg.name);
    std::vector<bool> seen(spec.args.size());
    for (size_t i = 0; i < call.args.size(); i++) {
      const Field& arg = call.args[i];
      size_t index = i;
      if (!arg.name.empty()) {
        index = 0;
        while (index < spec.args.size() && arg.name != spec.args[index].name) {
          index++;
        }
        if (index == spec.args.size()) {
          return FailName(arg.pos,
                          call.name + " has no argument '" + arg.name + "'",
                          arg.name, known);
        }
      } else if (i >= spec.args.size() || !spec.args[i].positional) {
        return Fail(arg.pos, "there is an argument too many", spec.synopsis);
      }
      if (seen[index]) {
        return Fail(arg.pos,
                    std::string("argument '") + spec.args[index].name +
                        "' is given twice",
                    spec.synopsis);
      }
      seen[index] = true;
      if (!BindArgument(arg.value, spec.args[index])) return false;
    }
    for (size_t i = 0; i < spec.args.size(); i++) {
      if (spec.args[i].required && !seen[i]) {
        return Fail(call.pos, call.name + " needs '" + spec.args[i].name + "'",
                    spec.synopsis);
      }
    }
    if (spec.builtin == Builtin::kOpen) {
      definition->revision = options_.revision;
      for (const Field& arg : call.args) {
        if (arg.name != "uapi") continue;
        // An unknown revision is the kernel's to refuse: EINVAL.
        const uint8_t revision = RevisionByName(WordOf(arg.value));
        if (revision != 0) definition->revision = revision;
        if (revision == 0 && !call.expect.present) {
          return FailName(arg.value.pos,
                          "there is no form '" + WordOf(arg.value) + "'",
                          WordOf(arg.value), RevisionNames());
        }
      }
    }
    return true;
  }

  bool BindArgument(const Value& v, const BuiltinArg& arg) {
    switch (arg.kind) {
      case ArgKind::kForm:
      case ArgKind::kPath:
        if (v.kind == Value::Kind::kString ||
            (v.kind == Value::Kind::kName && v.path.empty())) {
          return true;
        }
        return Fail(v.pos, std::string(arg.name) + " is a word",
                    arg.kind == ArgKind::kForm
                        ? "one of: " + Join(RevisionNames())
                        : "a word or a string");
      case ArgKind::kProcess: {
        const auto it = v.kind == Value::Kind::kName && v.path.empty()
                            ? names_.find(v.text)
                            : names_.end();
        if (it == names_.end() || !it->second.process) {
          return Fail(v.pos, "this is no process",
                      "the name of a fork() before this line");
        }
        if (it->second.exited) {
          return Fail(v.pos, "process '" + v.text + "' has ended", "");
        }
        it->second.exited = true;
        current_->target = it->second.call;
        return true;
      }
      case ArgKind::kThread:
        if (v.kind == Value::Kind::kName &&
            threads_.count(v.text + v.path) != 0) {
          auto [process, thread] = SplitThread(v.text + v.path);
          const auto it = names_.find(process);
          if (thread.empty()) {
            thread = process;
          } else if (it != names_.end()) {
            current_->process = it->second.call;
          }
          current_->thread = thread;
          return true;
        }
        return FailName(
            v.pos, "no call before this line runs on that thread", v.text,
            std::vector<std::string>(threads_.begin(), threads_.end()));
      case ArgKind::kBool:
        if (v.kind == Value::Kind::kName &&
            (v.text == "true" || v.text == "false") && v.path.empty()) {
          return true;
        }
        if (v.kind == Value::Kind::kNumber && v.number <= 1) return true;
        return Fail(v.pos, std::string(arg.name) + " is yes or no",
                    "true or false");
      case ArgKind::kData:
      case ArgKind::kRoom:
        if (v.kind == Value::Kind::kString) return true;
        if (v.kind == Value::Kind::kOut) {
          return v.items.empty() || BindScalar(v.items[0], {});
        }
        if (v.kind == Value::Kind::kList) {
          for (const Value& item : v.items) {
            if (!BindScalar(item, {})) return false;
          }
          return true;
        }
        return BindScalar(v, arg.names);
      default:
        return BindScalar(v, arg.names);
    }
  }

  bool BindMachine(const Call& call) {
    if (bound_->calls.size() != 1) {
      return Fail(call.pos, "machine(...) builds the kernel",
                  "it at the top of the program, once");
    }
    if (!call.result.empty()) {
      return Fail(call.pos, "machine(...) has no result", "");
    }
    for (const Field& arg : call.args) {
      if (arg.name.empty()) {
        return Fail(arg.pos, "the options of machine(...) have names",
                    "key=value");
      }
      if (options_.machine_keys != nullptr &&
          std::find(options_.machine_keys->begin(),
                    options_.machine_keys->end(),
                    arg.name) == options_.machine_keys->end()) {
        return FailName(arg.pos, "the machine has no option '" + arg.name + "'",
                        arg.name, *options_.machine_keys);
      }
      MachineOption* option = &bound_->machine.emplace_back();
      option->pos = arg.pos;
      option->key = arg.name;
      if (arg.value.kind == Value::Kind::kString) {
        option->value = arg.value.text;
      } else if (arg.value.kind == Value::Kind::kNumber) {
        option->value = std::to_string(arg.value.number);
      } else {
        option->value = PrintValue(arg.value);
        if (option->value == "true") option->value = "1";
        if (option->value == "false") option->value = "0";
      }
    }
    return true;
  }

  const BindOptions& options_;
  std::set<std::string> threads_;  // as written after '@'
  std::set<std::pair<size_t, std::string>> worker_count_;
  size_t processes_ = 0;
  std::set<std::string> last_outputs_;  // of the latest call
};

}  // namespace

bool Bind(const Program& program, const BindOptions& options,
          BoundProgram* bound, Error* error) {
  bound->calls.clear();
  bound->machine.clear();
  bound->notes.clear();
  bound->calls.reserve(program.num_calls());
  return Binder(options, bound, error).BindAll(program);
}

}  // namespace prog
