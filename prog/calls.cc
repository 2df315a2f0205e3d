// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/calls.h"

#include <poll.h>
#include <sys/mman.h>

#include <cstdint>

namespace prog {
namespace {

constexpr desc_name kProtNames[] = {
    {"NONE", PROT_NONE},
    {"READ", PROT_READ},
    {"WRITE", PROT_WRITE},
    {"EXEC", PROT_EXEC},
};

constexpr desc_name kMapNames[] = {
    {"SHARED", MAP_SHARED},
    {"PRIVATE", MAP_PRIVATE},
    {"FIXED", MAP_FIXED},
    {"ANONYMOUS", MAP_ANONYMOUS},
};

constexpr desc_name kPollNames[] = {
    {"IN", POLLIN},   {"PRI", POLLPRI}, {"OUT", POLLOUT},
    {"ERR", POLLERR}, {"HUP", POLLHUP}, {"NVAL", POLLNVAL},
};

constexpr desc_name kGlobals[] = {
    {"PAGE_SIZE", 4096},
    {"U16_MAX", UINT16_MAX},
    {"U32_MAX", UINT32_MAX},
    {"U64_MAX", UINT64_MAX},
    // The mock IOMMU's address space, as its test header gives it.
    {"MOCK_APERTURE_START", uint64_t{1} << 24},
    {"MOCK_APERTURE_LAST", (uint64_t{1} << 31) - 1},
    {"MOCK_PAGE_SIZE", 2048},
    {"MOCK_HUGE_PAGE_SIZE", 512 * 2048},
};

constexpr BuiltinArg kFailNth = {"fail_nth", ArgKind::kFailNth};
constexpr BuiltinArg kNoArgs[] = {kFailNth};
constexpr BuiltinArg kOpenArgs[] = {
    {"uapi", ArgKind::kForm}, {"path", ArgKind::kPath}, kFailNth};
constexpr BuiltinArg kCloseArgs[] = {{"fd", ArgKind::kFile, true, true},
                                     kFailNth};
constexpr BuiltinArg kMemoryArgs[] = {
    {"size", ArgKind::kSize, true, true},
    {"align"},
    {"huge", ArgKind::kBool},
    {"fragmented", ArgKind::kBool},
    {"readonly", ArgKind::kBool},
    {"poisoned", ArgKind::kBool},
    {"shared", ArgKind::kBool},
    {"addr", ArgKind::kPlace},
    kFailNth,
};
constexpr BuiltinArg kMmapArgs[] = {
    {"fd", ArgKind::kFile, true, true},
    {"length", ArgKind::kLength, false, true},
    {"offset", ArgKind::kOffset},
    {"prot", ArgKind::kNumber, false, false, kProtNames},
    {"flags", ArgKind::kNumber, false, false, kMapNames},
    {"addr", ArgKind::kPlace},
    kFailNth,
};
constexpr BuiltinArg kMunmapArgs[] = {
    {"addr", ArgKind::kAddress, true, true},
    {"length", ArgKind::kLength, true},
    kFailNth,
};
constexpr BuiltinArg kLoadArgs[] = {
    {"addr", ArgKind::kAddress, true, true},
    {"n", ArgKind::kLength, true},
};
constexpr BuiltinArg kStoreArgs[] = {
    {"addr", ArgKind::kAddress, true, true},
    {"value", ArgKind::kData, true, true},
    {"n", ArgKind::kLength, true},
};
constexpr BuiltinArg kReadArgs[] = {
    {"fd", ArgKind::kFile, true, true},
    {"buf", ArgKind::kRoom, true, true},
    {"n", ArgKind::kLength, true},
    kFailNth,
};
constexpr BuiltinArg kWriteArgs[] = {
    {"fd", ArgKind::kFile, true, true},
    {"buf", ArgKind::kData, true, true},
    {"n", ArgKind::kLength, true},
    kFailNth,
};
constexpr BuiltinArg kPollArgs[] = {
    {"fd", ArgKind::kFile, true, true},
    {"events", ArgKind::kNumber, false, false, kPollNames},
    {"timeout_ms", ArgKind::kTimeout},
    kFailNth,
};
constexpr BuiltinArg kIoctlArgs[] = {
    {"fd", ArgKind::kFile, true, true},
    {"cmd", ArgKind::kCommand, true, true},
    {"arg", ArgKind::kData, true, true},
    kFailNth,
};
constexpr BuiltinArg kFtruncateArgs[] = {
    {"fd", ArgKind::kFile, true, true},
    {"length", ArgKind::kLength, true, true},
    kFailNth,
};
constexpr BuiltinArg kExitArgs[] = {
    {"process", ArgKind::kProcess, true, true},
};
constexpr BuiltinArg kJoinArgs[] = {
    {"thread", ArgKind::kThread, true, true},
};

constexpr BuiltinSpec kBuiltins[] = {
    {Builtin::kMachine, "machine", false, kNoArgs, RunNothing,
     "machine(key=value, ...)",
     "the kernel's devices and limits; the first call of a program, if at all",
     Makes::kKernel},
    {Builtin::kOpen, "open", true, kOpenArgs, RunOpen,
     "f = open(uapi=FORM, path=/dev/iommu)",
     "opens iommufd (or \"/dev/vfio/vfio\") in one of its forms", Makes::kFile},
    {Builtin::kClose, "close", false, kCloseArgs, RunClose, "close(fd)",
     "closes a descriptor", Makes::kNothing, true},
    {Builtin::kAnon, "anon", true, kMemoryArgs, RunMemory,
     "buf = anon(size, align=, huge=, fragmented=, readonly=, poisoned=, "
     "shared=, addr=)",
     "anonymous memory of that shape", Makes::kMemory},
    {Builtin::kMemfd, "memfd", true, kMemoryArgs, RunMemory,
     "m = memfd(size, huge=, fragmented=, poisoned=)", "a memory file",
     Makes::kMemoryFile},
    {Builtin::kMmap, "mmap", true, kMmapArgs, RunMmap,
     "p = mmap(fd, length=, offset=0, prot=READ|WRITE, flags=SHARED, addr=0)",
     "maps a file", Makes::kMapping},
    {Builtin::kMunmap, "munmap", false, kMunmapArgs, RunMunmap,
     "munmap(p, length)",
     "unmaps; without a length all that the call which made p mapped",
     Makes::kNothing, true},
    {Builtin::kLoad, "load", true, kLoadArgs, RunLoad, "v = load(p, n=4)",
     "the process reads n bytes of its memory"},
    {Builtin::kStore, "store", false, kStoreArgs, RunStore,
     "store(p, value, n=4)",
     "the process writes a number of n bytes, or a string (over and over, up "
     "to n bytes)"},
    {Builtin::kRead, "read", true, kReadArgs, RunReadWrite,
     "n = read(fd, buf, n)", "reads into memory at buf, or into out(n)"},
    {Builtin::kWrite, "write", true, kWriteArgs, RunReadWrite,
     "n = write(fd, buf, n)", "writes memory at buf, or a string"},
    {Builtin::kPoll, "poll", true, kPollArgs, RunPoll,
     "e = poll(fd, events=IN, timeout_ms=0)", "which events are there"},
    {Builtin::kRawIoctl, "ioctl", true, kIoctlArgs, RunRawIoctl,
     "ioctl(fd, cmd, arg)",
     "any ioctl by number; arg is an address, or a string for its bytes"},
    {Builtin::kFtruncate, "ftruncate", false, kFtruncateArgs, RunFtruncate,
     "ftruncate(m, length)", "a memory file gets another size"},
    {Builtin::kFork, "fork", false, kNoArgs, RunFork, "p1 = fork()",
     "a process with copies of the caller's descriptors and memory; calls of "
     "its are marked @p1",
     Makes::kProcess},
    {Builtin::kExit, "exit", false, kExitArgs, RunNothing, "exit(p1)",
     "the process ends: its memory and its descriptors go", Makes::kNothing,
     true},
    {Builtin::kJoin, "join", false, kJoinArgs, RunNothing, "join(t1)",
     "waits for the calls of a thread"},
};

}  // namespace

std::span<const BuiltinSpec> BuiltinSpecs() { return kBuiltins; }

const BuiltinSpec* FindBuiltin(std::string_view name) {
  for (const BuiltinSpec& spec : kBuiltins) {
    if (name == spec.name) return &spec;
  }
  return nullptr;
}

const std::vector<BuiltinInfo>& Builtins() {
  static const auto* all = [] {
    auto* v = new std::vector<BuiltinInfo>;
    for (const BuiltinSpec& s : kBuiltins) {
      v->push_back({s.builtin, s.name, s.synopsis, s.summary});
    }
    return v;
  }();
  return *all;
}

bool IsVariable(std::string_view word) {
  if (word == "true" || word == "false") return false;
  return !word.empty() && !(word[0] >= 'A' && word[0] <= 'Z');
}

std::span<const desc_name> GlobalConstants() { return kGlobals; }
std::span<const desc_name> PollNames() { return kPollNames; }

bool FindConstant(std::string_view name, std::span<const desc_name> names,
                  uint64_t* value) {
  for (const desc_name& n : names) {
    if (name == n.name) {
      *value = n.value;
      return true;
    }
  }
  for (const desc_name& n : kGlobals) {
    if (name == n.name) {
      *value = n.value;
      return true;
    }
  }
  if (name == "true" || name == "false") {
    *value = name == "true";
    return true;
  }
  return false;
}

std::string WordOf(const Value& v) { return v.text; }

std::pair<std::string, std::string> SplitThread(const std::string& thread) {
  const size_t dot = thread.find('.');
  if (dot == std::string::npos) return {thread, ""};
  return {thread.substr(0, dot), thread.substr(dot + 1)};
}

uint64_t HashOf(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : bytes) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return hash;
}

std::string_view PointerName(const desc_field& field) {
  std::string_view name = field.name;
  constexpr std::string_view kSuffix = "_uptr";
  if (name.size() > kSuffix.size() && name.ends_with(kSuffix)) {
    name.remove_suffix(kSuffix.size());
  }
  return name;
}

const desc_field* FindField(const desc_struct& s, std::string_view name) {
  if (const desc_field* f = desc_find_field(s, name)) return f;
  for (const desc_field& f : s.fields) {
    if (desc_is_pointer(f.kind) && PointerName(f) == name) return &f;
  }
  return nullptr;
}

std::vector<std::string> FieldNames(const desc_struct& s) {
  std::vector<std::string> names;
  for (const desc_field& f : s.fields) {
    if (f.kind == desc_kind::PADDING) continue;
    names.emplace_back(desc_is_pointer(f.kind) ? PointerName(f) : f.name);
  }
  return names;
}

const desc_field* PrimaryOutput(const desc_ioctl& desc) {
  const desc_field* id = nullptr;
  const desc_field* any = nullptr;
  int ids = 0;
  int outputs = 0;
  for (const desc_field& f : desc.arg->fields) {
    if (!desc_is_returned(f) || desc_is_pointer(f.kind)) continue;
    outputs++;
    any = &f;
    if (f.kind == desc_kind::ID_OUT) {
      ids++;
      id = &f;
    }
  }
  if (ids == 1) return id;
  return ids == 0 && outputs == 1 ? any : nullptr;
}

std::optional<uint64_t> StaticValue(const Value& v,
                                    std::span<const desc_name> names) {
  switch (v.kind) {
    case Value::Kind::kNumber:
      return v.number;
    case Value::Kind::kName: {
      uint64_t value;
      if (IsVariable(v.text)) return std::nullopt;
      if (!FindConstant(v.text, names, &value)) return std::nullopt;
      return value;
    }
    case Value::Kind::kOr:
    case Value::Kind::kSum: {
      uint64_t total = 0;
      for (const Value& item : v.items) {
        const std::optional<uint64_t> n = StaticValue(item, names);
        if (!n) return std::nullopt;
        if (v.kind == Value::Kind::kOr) {
          total |= *n;
        } else {
          total = item.minus ? total - *n : total + *n;
        }
      }
      return total;
    }
    default:
      return std::nullopt;
  }
}

namespace {

bool HasFields(const desc_struct& s, const Value& v) {
  for (const Field& field : v.fields) {
    if (FindField(s, field.name) == nullptr) return false;
  }
  return true;
}

}  // namespace

const desc_struct* ChoosePointee(const desc_field& d, const desc_struct& s,
                                 const std::vector<Field>& siblings,
                                 const Value& v) {
  const desc_struct* selected = nullptr;
  if (d.selector_field != nullptr) {
    const desc_field* selector = desc_find_field(s, d.selector_field);
    // What the kernel answers is not known before the call.
    if (selector != nullptr && desc_is_output(selector->kind) &&
        v.kind == Value::Kind::kOut) {
      return nullptr;
    }
    uint64_t value = selector != nullptr ? selector->default_value : 0;
    bool known = selector != nullptr;
    for (const Field& sibling : siblings) {
      if (selector == nullptr || desc_find_field(s, sibling.name) != selector) {
        continue;
      }
      const std::optional<uint64_t> n =
          StaticValue(sibling.value, selector->names);
      known = n.has_value();
      if (n) value = *n;
    }
    // Of several structs for one type the first that has the fields.
    for (const desc_variant& variant : d.variants) {
      if (!known || variant.selector != value) continue;
      if (selected == nullptr ||
          (!HasFields(*selected, v) && HasFields(*variant.pointee, v))) {
        selected = variant.pointee;
      }
    }
  }
  if (selected != nullptr && HasFields(*selected, v)) return selected;
  if (d.pointee != nullptr && HasFields(*d.pointee, v)) return d.pointee;
  for (const desc_variant& variant : d.variants) {
    if (variant.pointee != nullptr && HasFields(*variant.pointee, v)) {
      // out(n) has no fields: only what the selector says fits.
      if (v.kind == Value::Kind::kStruct) return variant.pointee;
    }
  }
  // None has all fields: the selected one gives the best message.
  if (selected != nullptr) return selected;
  if (d.pointee != nullptr) return d.pointee;
  if (v.kind == Value::Kind::kStruct && !d.variants.empty()) {
    return d.variants[0].pointee;
  }
  return nullptr;
}

}  // namespace prog
