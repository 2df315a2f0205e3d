// SPDX-License-Identifier: GPL-2.0-or-later
//
// The classic ddmin over the list of calls, then single steps inside of them.
#include "prog/minimize.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "prog/calls.h"

namespace prog {
namespace {

void CollectNames(const Value& v, std::vector<std::string>* names) {
  if (v.kind == Value::Kind::kName) names->push_back(v.text);
  for (const Value& item : v.items) CollectNames(item, names);
  for (const Field& field : v.fields) CollectNames(field.value, names);
}

class Minimizer {
 public:
  Minimizer(const Program& program,
            const std::function<bool(const Program&)>& keeps,
            const MinimizeOptions& options)
      : keeps_(keeps), tests_left_(options.max_tests) {
    for (const Line& line : program.lines) {
      if (!line.has_call) continue;
      Line* copy = &best_.lines.emplace_back(line);
      copy->has_comment = false;
      copy->comment.clear();
    }
  }

  Program Run() {
    bool again = true;
    while (again && tests_left_ > 0) {
      again = RemoveCalls();
      again = SimplifyCalls() || again;
    }
    return std::move(best_);
  }

 private:
  bool Try(Program candidate) {
    if (tests_left_ == 0) return false;
    tests_left_--;
    if (!keeps_(candidate)) return false;
    best_ = std::move(candidate);
    return true;
  }

  // best_ without the calls marked in `gone` and without all that use them.
  Program Without(std::vector<bool> gone) const {
    std::vector<std::string> missing;  // names whose latest definition is gone
    std::vector<std::string> forked;   // names of processes
    Program out;
    for (size_t i = 0; i < best_.lines.size(); i++) {
      const Call& call = best_.lines[i].call;
      std::vector<std::string> names;
      for (const Field& arg : call.args) CollectNames(arg.value, &names);
      for (const Expect::Output& output : call.expect.outputs) {
        CollectNames(output.value, &names);
      }
      // `@t1` may be a name as well: of a process it is one.
      if (const std::string process = SplitThread(call.thread).first;
          std::find(forked.begin(), forked.end(), process) != forked.end()) {
        names.push_back(process);
      }
      if (const BuiltinSpec* s = FindBuiltin(call.name);
          s != nullptr && s->makes == Makes::kProcess) {
        forked.push_back(call.result);
      }
      bool drop = gone[i];
      for (const std::string& name : names) {
        drop = drop ||
               std::find(missing.begin(), missing.end(), name) != missing.end();
      }
      if (!call.result.empty()) {
        const auto it = std::find(missing.begin(), missing.end(), call.result);
        if (drop && it == missing.end()) missing.push_back(call.result);
        if (!drop && it != missing.end()) missing.erase(it);
      }
      if (!drop) out.lines.push_back(best_.lines[i]);
    }
    return FilterJoins(std::move(out));
  }

  bool RemoveCalls() {
    bool any = false;
    size_t chunk = std::max<size_t>(1, best_.lines.size() / 2);
    while (tests_left_ > 0) {
      bool removed = false;
      // From the end: late calls have fewer users.
      for (size_t end = best_.lines.size(); end > 0 && tests_left_ > 0;) {
        end = std::min(end, best_.lines.size());
        if (end == 0) break;
        const size_t begin = end > chunk ? end - chunk : 0;
        std::vector<bool> gone(best_.lines.size());
        std::fill(gone.begin() + begin, gone.begin() + end, true);
        Program candidate = Without(gone);
        if (candidate.lines.size() < best_.lines.size() &&
            Try(std::move(candidate))) {
          removed = true;
          any = true;
        }
        end = begin;
      }
      if (!removed) {
        if (chunk == 1) break;
        chunk /= 2;
      }
    }
    return any;
  }

  bool SimplifyCalls() {
    bool any = false;
    for (size_t i = 0; i < best_.lines.size() && tests_left_ > 0; i++) {
      any = SimplifyCall(i) || any;
    }
    return any;
  }

  bool SimplifyCall(size_t i) {
    bool any = false;
    // The tree below changes with each success: always start from best_.
    for (size_t a = best_.lines[i].call.args.size(); a-- > 0;) {
      Program candidate = best_;
      std::vector<Field>& args = candidate.lines[i].call.args;
      args.erase(args.begin() + static_cast<ptrdiff_t>(a));
      any = Try(std::move(candidate)) || any;
    }
    if (!best_.lines[i].call.thread.empty()) {
      Program candidate = best_;
      candidate.lines[i].call.thread.clear();
      candidate = FilterJoins(std::move(candidate));
      if (candidate.lines.size() == best_.lines.size()) {
        any = Try(std::move(candidate)) || any;
      }
    }
    if (!best_.lines[i].call.expect.outputs.empty()) {
      Program candidate = best_;
      candidate.lines[i].call.expect.outputs.clear();
      candidate.lines[i].call.expect.present =
          !candidate.lines[i].call.expect.errnos.empty();
      any = Try(std::move(candidate)) || any;
    }
    for (size_t a = 0; a < best_.lines[i].call.args.size(); a++) {
      std::vector<size_t> path;
      any = SimplifyValue(i, a, &path) || any;
    }
    return any;
  }

  // A join() of a thread that no call runs on is a mistake.
  static Program FilterJoins(Program p) {
    std::vector<std::string> threads;
    std::erase_if(p.lines, [&threads](const Line& line) {
      const Call& call = line.call;
      if (!call.thread.empty()) threads.push_back(call.thread);
      if (call.name != "join" || call.args.empty()) return false;
      const Value& thread = call.args[0].value;
      return std::find(threads.begin(), threads.end(),
                       thread.text + thread.path) == threads.end();
    });
    return p;
  }

  // The node at `path` below argument a: items first, then fields.
  static Value* At(Program* p, size_t line, size_t arg,
                   const std::vector<size_t>& path) {
    Value* v = &p->lines[line].call.args[arg].value;
    for (const size_t step : path) {
      v = step < v->items.size() ? &v->items[step]
                                 : &v->fields[step - v->items.size()].value;
    }
    return v;
  }

  bool SimplifyValue(size_t line, size_t arg, std::vector<size_t>* path) {
    if (tests_left_ == 0 || path->size() > 20) return false;
    bool any = false;
    const Value::Kind kind = At(&best_, line, arg, *path)->kind;
    if (kind == Value::Kind::kNumber) {
      const uint64_t n = At(&best_, line, arg, *path)->number;
      for (const uint64_t smaller : {uint64_t{0}, uint64_t{1}, n / 2}) {
        if (smaller >= n) continue;
        Program candidate = best_;
        Value* v = At(&candidate, line, arg, *path);
        v->number = smaller;
        if (Try(std::move(candidate))) return true;
      }
      return false;
    }
    if (kind == Value::Kind::kString) {
      const size_t size = At(&best_, line, arg, *path)->text.size();
      for (const size_t smaller : {size_t{0}, size / 2, size - 1}) {
        if (smaller >= size) continue;
        Program candidate = best_;
        At(&candidate, line, arg, *path)->text.resize(smaller);
        if (Try(std::move(candidate))) return true;
      }
      return false;
    }
    const Value* v = At(&best_, line, arg, *path);
    const size_t least = kind == Value::Kind::kList ? 0 : 1;
    for (size_t k = v->items.size(); k-- > 0;) {
      Program candidate = best_;
      Value* copy = At(&candidate, line, arg, *path);
      if (copy->items.size() <= least || kind == Value::Kind::kOut) break;
      copy->items.erase(copy->items.begin() + static_cast<ptrdiff_t>(k));
      if (copy->items.size() == 1 && kind != Value::Kind::kList &&
          !copy->items[0].minus) {
        Value only = std::move(copy->items[0]);
        *copy = std::move(only);
        if (Try(std::move(candidate))) return true;
        continue;
      }
      any = Try(std::move(candidate)) || any;
    }
    for (size_t k = At(&best_, line, arg, *path)->fields.size(); k-- > 0;) {
      Program candidate = best_;
      Value* copy = At(&candidate, line, arg, *path);
      copy->fields.erase(copy->fields.begin() + static_cast<ptrdiff_t>(k));
      any = Try(std::move(candidate)) || any;
    }
    v = At(&best_, line, arg, *path);
    const size_t children = v->items.size() + v->fields.size();
    for (size_t k = 0; k < children; k++) {
      v = At(&best_, line, arg, *path);
      if (k >= v->items.size() + v->fields.size()) break;
      path->push_back(k);
      any = SimplifyValue(line, arg, path) || any;
      path->pop_back();
    }
    return any;
  }

  const std::function<bool(const Program&)>& keeps_;
  size_t tests_left_;
  Program best_;
};

}  // namespace

Program Minimize(const Program& program,
                 const std::function<bool(const Program&)>& keeps,
                 const MinimizeOptions& options) {
  return Minimizer(program, keeps, options).Run();
}

}  // namespace prog
