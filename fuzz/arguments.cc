// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/arguments.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "fuzz/numbers.h"
#include "fuzz/recipes.h"
#include "fuzz/syntax.h"
#include "prog/run.h"

namespace fuzz {

using prog::Value;

Value Address(Draft* draft, Maker* maker) {
  Random& r = draft->r;
  if (OneIn(r, 60)) return Num(Pick(r, kBadAddresses));
  if (!draft->scope.mmaps.empty() && OneIn(r, 30)) {
    return NameValue(Pick(r, draft->scope.mmaps));
  }
  if (draft->scope.memory.empty() || OneIn(r, 12)) {
    maker->MakeBuiltin(prog::Makes::kMemory);
  }
  if (draft->scope.memory.empty()) return Num(Pick(r, kBadAddresses));
  const Memory& memory = Pick(r, draft->scope.memory);
  uint64_t offset = 0;
  if (OneIn(r, 3) && memory.bytes > kPage) {
    offset = Below(r, memory.bytes / kPage) * kPage;
  }
  if (OneIn(r, 20)) offset += Below(r, kPage);
  return Sum(NameValue(memory.name), offset);
}

// The name of memory, or of where a file is mapped. Empty: there is none.
std::string Arguments::AnyMemory(bool of_files) {
  const Scope& scope = draft_.scope;
  if (!scope.mmaps.empty() && (scope.memory.empty() || of_files)) {
    return Pick(r(), scope.mmaps);
  }
  return scope.memory.empty() ? "" : Pick(r(), scope.memory).name;
}

// Queues have the most to say; a context that is closed takes all with it.
std::string Arguments::AnyFile(bool to_end) {
  std::vector<std::string> queues;
  std::vector<std::string> files;
  for (const Thing& x : draft_.scope.things) {
    if (!x.is_fd) continue;
    // Its object has an id as well: it is a queue.
    const bool queue = std::any_of(
        draft_.scope.things.begin(), draft_.scope.things.end(),
        [&](const Thing& y) { return !y.is_fd && y.object == x.object; });
    (queue ? queues : files).push_back(x.name);
  }
  std::vector<std::string> contexts;
  for (const File& f : draft_.scope.files) {
    (f.kind == File::Kind::kContext ? contexts : files).push_back(f.name);
  }
  if (!queues.empty() && !to_end && OneIn(r(), 2)) return Pick(r(), queues);
  files.insert(files.end(), queues.begin(), queues.end());
  const bool context = files.empty() ? !to_end : OneIn(r(), to_end ? 30 : 6);
  if (context && !contexts.empty()) return Pick(r(), contexts);
  return files.empty() ? "" : Pick(r(), files);
}

// Small numbers: a cookie and an answer, or the start of a struct.
Value Arguments::Bytes() {
  std::string bytes(OneIn(r(), 6) ? Below(r(), 64) : 8 * (1 + Below(r(), 2)),
                    '\0');
  for (size_t i = 0; i < bytes.size(); i += 4) {
    const uint64_t n = OneIn(r(), 12) ? Below(r(), 256) : Below(r(), 3);
    bytes[i] = static_cast<char>(n);
  }
  return Value::String(bytes);
}

// An ioctl's struct, which says its size first.
Value Arguments::Image() {
  std::string image(8 * Below(r(), 10), '\0');
  for (size_t i = 4; i < image.size(); i++) {
    if (OneIn(r(), 12)) image[i] = static_cast<char>(Below(r(), 256));
  }
  if (!image.empty()) image[0] = static_cast<char>(image.size());
  return Value::String(image);
}

// A number of an ioctl, of those that are there or near them.
uint64_t Arguments::Command() {
  const std::span<const desc_ioctl> all = iommufd_desc_all();
  const desc_ioctl* d = &all[Below(r(), all.size())];
  // All operations of one command have its number.
  while (d->op != 0 && !OneIn(r(), 8)) d = &all[Below(r(), all.size())];
  uint64_t number = d->cmd;
  if (OneIn(r(), 4)) number = (number & ~uint64_t{0xff}) | Below(r(), 256);
  return number | (OneIn(r(), 10) ? 0xc0100000 : 0);
}

bool Arguments::Argument(const prog::BuiltinSpec& s,
                         const prog::BuiltinArg& arg, bool force,
                         prog::Field* out) {
  const bool must = arg.required || force;
  out->name = arg.positional ? "" : arg.name;
  if (!arg.names.empty()) {
    if (!must && !OneIn(r(), 4)) return false;
    std::vector<Value> items;
    for (const desc_name& n : arg.names) {
      if (OneIn(r(), arg.names.size())) items.push_back(Word(n.name));
    }
    out->value = Value::Or(std::move(items));
    return true;
  }
  switch (arg.kind) {
    case prog::ArgKind::kFailNth:
      return false;
    case prog::ArgKind::kForm: {
      // Each form of the surface as often as the others.
      const std::vector<std::string> names = prog::RevisionNames();
      out->value = Word(Pick(r(), names));
      return true;
    }
    case prog::ArgKind::kPath: {
      const std::vector<Value>& known =
          KnownValues(*draft_.scope.machine, s.name, arg.name);
      if (known.empty() || (!must && !OneIn(r(), 8))) return false;
      out->value =
          OneIn(r(), 16) ? Value::String("/dev/nothing") : Pick(r(), known);
      return true;
    }
    case prog::ArgKind::kFile: {
      const std::string name = AnyFile(s.ends);
      if (name.empty() && s.ends) return false;
      out->value = name.empty() || OneIn(r(), 100) ? Num(Below(r(), 12))
                                                   : NameValue(name);
      return true;
    }
    case prog::ArgKind::kSize:
      out->value = Num(OneIn(r(), 20) ? Pick(r(), kOddSizes) % (8 << 20)
                                      : std::max(Pick(r(), kSizes), kPage));
      out->value.style = prog::NumberStyle::kSuffix;
      return true;
    case prog::ArgKind::kLength:
      if (!must && !OneIn(r(), 2)) return false;
      if (s.ends) {
        out->value = Num(kPage);
      } else if (OneIn(r(), 12)) {
        out->value = Num(Pick(r(), kOddSizes) % (8 << 20));
      } else {
        const bool of_file = s.makes == prog::Makes::kMapping || must;
        out->value = Num(of_file ? Pick(r(), kSizes) : Pick(r(), kReads));
      }
      return true;
    case prog::ArgKind::kOffset:
      if (!must && OneIn(r(), 2)) return false;
      out->value = Num(Below(r(), 4) * (OneIn(r(), 8) ? 1 : kPage));
      return true;
    case prog::ArgKind::kAddress: {
      const std::string name = AnyMemory(OneIn(r(), 2));
      if (name.empty()) return false;
      out->value =
          Sum(NameValue(name),
              s.ends || !OneIn(r(), 3) ? 0 : 8 * Below(r(), kPage / 8));
      return true;
    }
    case prog::ArgKind::kPlace:
      if (!force && !OneIn(r(), 60)) return false;
      out->value = Address(&draft_, &maker_);
      return true;
    case prog::ArgKind::kData:
      out->value = OneIn(r(), 4)   ? Address(&draft_, &maker_)
                   : OneIn(r(), 8) ? Num(Below(r(), 256))
                   : Takes(s, prog::ArgKind::kCommand) ? Image()
                                                       : Bytes();
      return true;
    case prog::ArgKind::kRoom:
      out->value = OneIn(r(), 12) ? Address(&draft_, &maker_)
                                  : Value::Out(Pick(r(), kReads));
      return true;
    case prog::ArgKind::kTimeout:
      if (!force && !OneIn(r(), 8)) return false;
      out->value = Num(Below(r(), 2));
      return true;
    case prog::ArgKind::kCommand:
      out->value = Num(Command());
      return true;
    case prog::ArgKind::kBool:
      if (!force && !OneIn(r(), 16)) return false;
      out->value = Word("true");
      return true;
    case prog::ArgKind::kThread:
      if (draft_.scope.threads.empty()) return false;
      out->value = NameValue(Pick(r(), draft_.scope.threads));
      return true;
    case prog::ArgKind::kProcess:
      if (draft_.scope.processes.empty()) return false;
      out->value = NameValue(Pick(r(), draft_.scope.processes));
      return true;
    case prog::ArgKind::kNumber:
      if (!must && !OneIn(r(), 40)) return false;
      out->value = Num(Pick(r(), kNumbers));
      return true;
  }
  return false;
}

}  // namespace fuzz
