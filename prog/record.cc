// SPDX-License-Identifier: GPL-2.0-or-later
//
// From calls to lines. Everything about a command comes from its description.
//
// What the program has is kept as a mirror: for each process the memory and the
// descriptors that the lines so far have given it, and what is in that memory.
// Before a line uses some of it the mirror is brought up to date, by lines.
#include "prog/record.h"

#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "prog/calls.h"
#include "prog/print.h"
#include "prog/prog.h"
#include "prog/run.h"
#include "uapi/iommufd_desc.h"

namespace prog {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kHuge = 2 << 20;
constexpr uint64_t kAddressEnd = uint64_t{1} << 47;
constexpr uint64_t kPlaceMask = (uint64_t{1} << 38) - 1;
// No process has memory below it.
constexpr uint64_t kLowestAddress = 64 << 10;

// Data up to here stands in the call itself.
constexpr size_t kMaxLiteralBytes = 256;
constexpr size_t kMaxLiteralElements = 16;
// Results that a line expects byte by byte, or element by element; of longer
// ones it has a hash.
constexpr size_t kMaxSingleBytes = 8;
constexpr size_t kMaxExpectedBytes = 64;
constexpr size_t kMaxExpectedElements = 64;
// What is looked at of one buffer, whatever length the program claims.
constexpr size_t kMaxBufferBytes = 1 << 20;
constexpr size_t kMaxStructBytes = 4096;
// A mapping above it is asked for only as far as it is used.
constexpr uint64_t kMaxWholeRegion = 256 << 20;
constexpr size_t kMaxStringBytes = 512;

uint64_t PageDown(uint64_t n) { return n & ~(kPage - 1); }
uint64_t PageUp(uint64_t n) { return (n + kPage - 1) & ~(kPage - 1); }

Value Number(uint64_t n) { return Value::Number(n); }

// As a size is written: 64k.
Value Size(uint64_t n) {
  return Value::Number(
      n, n != 0 && n % 1024 == 0 ? NumberStyle::kSuffix : NumberStyle::kAuto);
}

Value MinusOne() {
  Value v;
  v.kind = Value::Kind::kSum;
  v.items.push_back(Value::Number(1, NumberStyle::kDec));
  v.items[0].minus = true;
  return v;
}

Value Plus(Value v, uint64_t offset) {
  if (offset == 0) return v;
  Value sum;
  sum.kind = Value::Kind::kSum;
  sum.items.push_back(std::move(v));
  sum.items.push_back(Size(offset));
  return sum;
}

Value Out(uint64_t n) {
  Value v;
  v.kind = Value::Kind::kOut;
  v.items.push_back(Number(n));
  return v;
}

// Bits by name, the others as a number.
Value Flags(uint64_t n, std::span<const desc_name> names) {
  Value v;
  v.kind = Value::Kind::kOr;
  for (const desc_name& name : names) {
    if (name.value == 0 || (n & name.value) != name.value) continue;
    v.items.push_back(Value::Name(name.name));
    n &= ~name.value;
  }
  if (v.items.empty()) return Number(n);
  if (n != 0) v.items.push_back(Number(n));
  if (v.items.size() == 1) {
    Value only = std::move(v.items[0]);
    return only;
  }
  return v;
}

Value Named(const desc_field& d, uint64_t n) {
  if (d.kind == desc_kind::FLAGS) return Flags(n, d.names);
  if (d.kind == desc_kind::ENUM) {
    for (const desc_name& name : d.names) {
      if (name.value == n) return Value::Name(name.name);
    }
  }
  return Number(n);
}

void AddArg(Call* call, std::string_view name, Value value) {
  Field* f = &call->args.emplace_back();
  f->name = name;
  f->value = std::move(value);
}

void ExpectOutput(Call* call, std::string_view path, Value value) {
  Expect::Output* output = &call->expect.outputs.emplace_back();
  output->path = path;
  output->value = std::move(value);
  call->expect.present = true;
}

// Memory that the program has, in the process's own addresses.
struct Range {
  uint64_t length = 0;
  std::string name;     // of the call that made it
  uint64_t offset = 0;  // of its start in what that call made
  uint64_t at = 0;      // where the program has it; 0: it is not known
  RecordFile object = 0;
  uint64_t object_offset = 0;
  bool copy = false;
  bool device = false;
  bool readonly = false;
  bool huge = false;
};

// What addresses are called, though the memory may be gone by now.
struct NamedRange {
  uint64_t length = 0;
  std::string name;
  uint64_t offset = 0;
};

using Pages = std::map<uint64_t, std::string>;  // by address or offset

struct ProcessState {
  std::string name;  // empty: the main one
  bool gone = false;
  std::map<uint64_t, Range> mapped;
  std::map<uint64_t, NamedRange> names;
  std::map<RecordFile, Value> files;
  Pages pages;  // of private memory, where it is not all zero
};

// What the mirror of memory says about what the program has there.
enum class Mirror : uint8_t {
  kRight,    // just this
  kWritten,  // the kernel has written there what the process has now
  kUnknown,  // anything
};

// A piece of an I/O address space.
struct Area {
  uint64_t length = 0;
  RecordProcess process = 0;
  uint64_t addr = 0;      // user memory
  RecordFile object = 0;  // or a memory file
  uint64_t offset = 0;
};

struct FileState {
  uint8_t revision = 0;
  std::map<uint32_t, Value> ids;                      // of a context
  std::map<uint32_t, std::map<uint64_t, Area>> ioas;  // by id, by iova
  uint32_t vfio_ioas = 0;                             // 0: not known
  RecordFile context = 0;                             // an access's
  uint32_t access_ioas = 0;
};

struct ObjectState {
  bool declared = false;
  uint64_t size = 0;
  Pages pages;
  std::map<RecordProcess, std::string> views;  // mappings made to store to it
};

}  // namespace

struct Recorder::PendingCall {
  RecordCaller caller;
  RecordFile file = 0;
  Call call;
  const desc_ioctl* desc = nullptr;
  bool raw = false;
  uint64_t arg = 0;
  std::string image;  // the struct as it was sent
  bool readable = true;
  bool apart = true;  // no buffer of the command covers its struct
  // What descriptors in the struct were when the call began.
  std::map<const desc_field*, RecordFile> fds;
  std::vector<size_t> unknown_fds;  // arguments that are a descriptor of none

  // What a pointer points to, when the kernel may write there.
  struct Buffer {
    const desc_field* field = nullptr;
    uint64_t addr = 0;
    std::string before;
    bool literal = false;  // the line has it, else memory of the process
    bool reads = false;    // the kernel reads it as well
    bool whole = true;     // all of it is memory
    bool trusted = true;   // the program will have what the kernel writes there
  };
  std::vector<Buffer> buffers;
};

Recorder::Ioctl::Ioctl() = default;
Recorder::Ioctl::~Ioctl() = default;
Recorder::Ioctl::Ioctl(Ioctl&&) noexcept = default;
Recorder::Ioctl& Recorder::Ioctl::operator=(Ioctl&&) noexcept = default;

class Recorder::Impl {
 public:
  Impl(RecordOptions options, RecordSource* source)
      : options_(std::move(options)), source_(source) {
    std::string head = options_.head;
    while (!head.empty()) {
      const size_t end = std::min(head.find('\n'), head.size());
      options_.sink("# " + head.substr(0, end) + '\n');
      head.erase(0, std::min(end + 1, head.size()));
    }
    if (options_.machine.empty()) return;
    Call call;
    call.name = "machine";
    for (const auto& [key, value] : options_.machine) {
      AddArg(&call, key, Value::String(value));
    }
    Print(call);
  }

  std::mutex mutex;

  // ---- output ----

  void Print(const Call& call) {
    std::string text = PrintCall(call);
    const std::string expect = PrintExpect(call.expect);
    if (!expect.empty()) text += "  # " + expect;
    options_.sink(text + '\n');
  }

  void Remark(std::string text) {
    if (!remarks_seen_.insert(text).second) return;
    remarks_.push_back(std::move(text));
  }

  std::vector<std::string> TakeRemarks() { return std::move(remarks_); }

  std::string NewName(const std::string& prefix) {
    const unsigned n = ++names_[prefix];
    return n == 1 && prefix != "p" ? prefix : prefix + std::to_string(n);
  }

  // The result as an expectation; true: success.
  bool ExpectResult(Call* call, long ret) {
    if (ret >= 0) return true;
    const char* name = ErrnoName(static_cast<int>(-ret));
    if (name == nullptr) {
      Remark("errno " + std::to_string(-ret) + " has no name");
      return false;
    }
    call->expect.present = true;
    call->expect.errnos.emplace_back(name);
    return false;
  }

  // ---- processes ----

  ProcessState* Process(RecordProcess p) {
    const auto it = processes_.find(p);
    if (it != processes_.end()) return &it->second;
    if (processes_.empty()) {
      main_ = p;
      return &processes_[p];
    }
    // One that came from nowhere: a child of a process that made no call.
    if (processes_[main_].gone) EndMain();
    Fork(main_, p);
    return &processes_[p];
  }

  // The main process of a program stays: it gives up what it has.
  void EndMain() {
    ProcessState* state = &processes_[main_];
    Unmap(main_, 0, kAddressEnd);
    for (auto& [object, o] : objects_) {
      const auto view = o.views.find(main_);
      if (view == o.views.end()) continue;
      Call call = NewCall("munmap", main_);
      AddArg(&call, "", Value::Name(view->second));
      Print(call);
      o.views.erase(view);
    }
    const std::map<RecordFile, Value> files = state->files;
    for (const auto& [file, name] : files) CloseIn(main_, file, 0);
    state->pages.clear();
  }

  // Some process that lives has the memory in the program.
  bool IsMapped(RecordFile object) const {
    for (const auto& [p, state] : processes_) {
      if (state.gone) continue;
      if (state.files.count(object) != 0) return true;
      for (const auto& [start, r] : state.mapped) {
        if (r.object == object) return true;
      }
    }
    return false;
  }

  Call NewCall(std::string_view name, RecordProcess p) {
    Call call;
    call.name = name;
    call.thread = Process(p)->name;
    return call;
  }

  static void AddFailNth(Call* call, const RecordCaller& caller) {
    if (caller.fail_nth != 0) {
      AddArg(call, "fail_nth", Number(caller.fail_nth));
    }
  }

  void Fork(RecordProcess parent, RecordProcess child) {
    ProcessState* from = Process(parent);
    // What both will share has to be there before.
    RecordRegion r;
    for (uint64_t addr = 0;
         !from->gone && source_->FindRegion(parent, addr, &r);) {
      if (r.object != 0 && !r.device && !r.none) {
        Declare(parent, r, r.start, r.start + r.length);
      }
      addr = r.start + r.length;
    }
    Call call = NewCall("fork", parent);
    call.result = NewName("p");
    Print(call);
    ProcessState state = *from;
    state.name = call.result;
    state.gone = false;
    for (auto& [object, o] : objects_) {
      const auto view = o.views.find(parent);
      if (view != o.views.end()) o.views[child] = view->second;
    }
    processes_[child] = std::move(state);
  }

  void Exit(RecordProcess p) {
    const auto it = processes_.find(p);
    if (it == processes_.end() || it->second.gone) return;
    ProcessState* state = &it->second;
    state->gone = true;
    if (p == main_) {
      // Perhaps it is the end of the program: then all is said.
      for (const auto& [q, other] : processes_) {
        if (other.gone) continue;
        EndMain();
        break;
      }
      return;
    }
    Call call;
    call.name = "exit";
    AddArg(&call, "", Value::Name(state->name));
    Print(call);
    state->mapped.clear();
    state->files.clear();
    state->pages.clear();
    for (auto& [object, o] : objects_) o.views.erase(p);
  }

  // ---- files ----

  // The descriptor of `file` in p. nullopt: there is none.
  std::optional<Value> FileName(RecordProcess p, RecordFile file) {
    if (file == 0) return std::nullopt;
    ProcessState* state = Process(p);
    const auto it = state->files.find(file);
    if (it != state->files.end()) return it->second;
    RecordObject object;
    if (source_->FindObject(file, &object)) return Memfd(p, file, object);
    return std::nullopt;
  }

  // The same; and where the program has none, one that gives the same error.
  // A file that came another way than by fork() is used by who has it.
  Value Descriptor(Call* call, RecordProcess p, RecordFile file, long ret) {
    if (std::optional<Value> name = FileName(p, file)) return *name;
    for (const auto& [q, state] : processes_) {
      const auto it = state.files.find(file);
      if (file == 0 || it == state.files.end()) continue;
      Remark("a descriptor that a process has got from another");
      call->thread = state.name;
      return it->second;
    }
    if (ret == -EBADF) return MinusOne();
    return Foreign(p);
  }

  // A descriptor of something that the kernel under test has no part in.
  Value Foreign(RecordProcess p) {
    ProcessState* state = Process(p);
    const auto it = state->files.find(kForeign);
    if (it != state->files.end()) return it->second;
    Call call = NewCall("memfd", p);
    call.result = NewName("other");
    AddArg(&call, "", Size(kPage));
    Print(call);
    return state->files[kForeign] = Value::Name(call.result);
  }

  Value Memfd(RecordProcess p, RecordFile file, const RecordObject& object) {
    Call call = NewCall("memfd", p);
    call.result = NewName("m");
    AddArg(&call, "", Size(object.size));
    AddShape(&call, object.huge, object.fragmented, object.poisoned);
    Print(call);
    Made(file, object,
         "shared memory that processes have got otherwise than by fork()");
    return Process(p)->files[file] = Value::Name(call.result);
  }

  // The program has made shared memory, which is all zero. It should do so
  // once.
  void Made(RecordFile file, const RecordObject& object, const char* twice) {
    ObjectState* state = &objects_[file];
    if (state->declared && IsMapped(file)) Remark(twice);
    state->declared = true;
    state->size = object.size;
    state->pages.clear();
  }

  static void AddShape(Call* call, bool huge, bool fragmented, bool poisoned) {
    if (huge) AddArg(call, "huge", Value::Name("true"));
    if (fragmented) AddArg(call, "fragmented", Value::Name("true"));
    if (poisoned) AddArg(call, "poisoned", Value::Name("true"));
  }

  // Memory files that have got another size.
  void Truncate() {
    for (auto& [p, state] : processes_) {
      for (const auto& [file, name] : state.files) {
        const auto it = objects_.find(file);
        RecordObject now;
        if (it == objects_.end() || !source_->FindObject(file, &now) ||
            now.size == it->second.size) {
          continue;
        }
        Call call = NewCall("ftruncate", p);
        AddArg(&call, "", name);
        AddArg(&call, "", Size(now.size));
        Print(call);
        it->second.size = now.size;
        Pages* pages = &it->second.pages;
        pages->erase(pages->lower_bound(PageDown(now.size)), pages->end());
      }
    }
  }

  void CloseIn(RecordProcess p, RecordFile file, long ret) {
    Call call = NewCall("close", p);
    ProcessState* state = Process(p);
    const auto it = state->files.find(file);
    if (it == state->files.end() && ret >= 0) return;
    AddArg(&call, "", it == state->files.end() ? MinusOne() : it->second);
    ExpectResult(&call, ret);
    Print(call);
    if (ret >= 0) state->files.erase(it);
  }

  void Closed(RecordFile file) {
    for (auto& [p, state] : processes_) {
      if (!state.gone) CloseIn(p, file, 0);
    }
  }

  // ---- memory: which there is ----

  uint64_t Placed(uint64_t addr) const {
    return options_.place + (addr & kPlaceMask);
  }

  // An address of the process as the program says it.
  Value Address(RecordProcess p, uint64_t addr) {
    ProcessState* state = Process(p);
    auto it = state->names.upper_bound(addr);
    if (it != state->names.begin()) {
      --it;
      const uint64_t at = addr - it->first;
      if (at < it->second.length) {
        return Plus(Value::Name(it->second.name), it->second.offset + at);
      }
    }
    // Memory that there is not, whatever the program's addresses are.
    if (addr >= kLowestAddress && addr < kAddressEnd) {
      return Value::Number(Placed(addr), NumberStyle::kHex);
    }
    return Number(addr);
  }

  template <class Map>
  static void Cut(Map* map, uint64_t begin, uint64_t end) {
    auto it = map->upper_bound(begin);
    if (it != map->begin()) --it;
    while (it != map->end() && it->first < end) {
      const uint64_t start = it->first;
      const uint64_t stop = start + it->second.length;
      if (stop <= begin) {
        ++it;
        continue;
      }
      auto whole = it->second;
      it = map->erase(it);
      if (start < begin) {
        auto lower = whole;
        lower.length = begin - start;
        map->emplace(start, lower);
      }
      if (stop > end) {
        auto upper = whole;
        upper.length = stop - end;
        Advance(&upper, end - start);
        it = std::next(map->emplace(end, upper).first);
      }
    }
  }
  static void Advance(Range* r, uint64_t by) {
    r->offset += by;
    r->object_offset += by;
    if (r->at != 0) r->at += by;
  }
  static void Advance(NamedRange* r, uint64_t by) { r->offset += by; }

  void Forget(ProcessState* state, uint64_t begin, uint64_t end) {
    Cut(&state->mapped, begin, end);
    state->pages.erase(state->pages.lower_bound(begin),
                       state->pages.lower_bound(end));
  }

  // The program has no more in [begin, end).
  void Unmap(RecordProcess p, uint64_t begin, uint64_t end) {
    ProcessState* state = Process(p);
    const std::map<uint64_t, Range> mapped = state->mapped;
    auto it = mapped.upper_bound(begin);
    if (it != mapped.begin()) --it;
    for (; it != mapped.end() && it->first < end; ++it) {
      const Range& r = it->second;
      uint64_t from = std::max(begin, it->first);
      uint64_t to = std::min(end, it->first + r.length);
      if (from >= to) continue;
      Call call = NewCall("munmap", p);
      AddArg(&call, "", Plus(Value::Name(r.name), r.offset + from - it->first));
      AddArg(&call, "", Size(to - from));
      Print(call);
      Forget(state, from, to);
    }
  }

  // The contents of what the program has there.
  void SyncMapped(RecordProcess p, uint64_t begin, uint64_t end) {
    const std::map<uint64_t, Range> mapped = Process(p)->mapped;
    for (const auto& [start, r] : mapped) {
      uint64_t at = std::max(begin, start);
      const uint64_t to = std::min(end, start + r.length);
      for (; !r.device && at < to; at += std::min(kMaxBufferBytes, to - at)) {
        Sync(p, at, std::min(kMaxBufferBytes, to - at));
      }
    }
  }

  void AddRange(RecordProcess p, uint64_t start, Range r) {
    ProcessState* state = Process(p);
    Forget(state, start, start + r.length);
    Cut(&state->names, start, start + r.length);
    NamedRange name;
    name.length = r.length;
    name.name = r.name;
    name.offset = r.offset;
    state->names.emplace(start, name);
    state->mapped.emplace(start, std::move(r));
  }

  // Where [start, start + length) goes in the program; 0: something is there.
  uint64_t PlaceFor(RecordProcess p, uint64_t start, uint64_t length) {
    const uint64_t at = Placed(start);
    for (const auto& [other, r] : Process(p)->mapped) {
      const bool itself = other < start + length && start < other + r.length;
      if (!itself && r.at != 0 && r.at < at + length && at < r.at + r.length) {
        return 0;
      }
    }
    return at;
  }

  // The part [begin, end) of a mapping: the program gets what it has not.
  void Declare(RecordProcess p, const RecordRegion& region, uint64_t begin,
               uint64_t end) {
    if (region.device) return;
    const uint64_t region_end = region.start + region.length;
    if (region.length <= kMaxWholeRegion) {
      begin = region.start;
      end = region_end;
    } else {
      const uint64_t unit = region.huge ? kHuge : kPage;
      begin = std::max(region.start, begin & ~(unit - 1));
      end = std::min(region_end, (end + unit - 1) & ~(unit - 1));
    }
    // First what was something else.
    const std::map<uint64_t, Range> mapped = Process(p)->mapped;
    auto it = mapped.upper_bound(begin);
    if (it != mapped.begin()) --it;
    uint64_t at = begin;
    std::vector<std::pair<uint64_t, uint64_t>> missing;
    for (; it != mapped.end() && it->first < end; ++it) {
      const uint64_t start = it->first;
      const Range& r = it->second;
      if (start + r.length <= begin) continue;
      const bool same = r.object == region.object && r.copy == region.copy &&
                        !r.device &&
                        (r.object == 0 || r.object_offset - start ==
                                              region.offset - region.start);
      if (!same) {
        Unmap(p, std::max(begin, start), std::min(end, start + r.length));
        continue;
      }
      if (start > at) missing.emplace_back(at, start);
      at = start + r.length;
    }
    if (at < end) missing.emplace_back(at, end);
    for (const auto& [from, to] : missing) DeclareNew(p, region, from, to);
  }

  void DeclareNew(RecordProcess p, const RecordRegion& region, uint64_t from,
                  uint64_t to) {
    Range r;
    r.length = to - from;
    r.at = PlaceFor(p, from, r.length);
    r.object = region.object;
    r.object_offset = region.offset + (from - region.start);
    r.copy = region.copy;
    r.readonly = region.readonly;
    r.huge = region.huge;
    RecordObject object;
    const bool shared =
        region.object != 0 && source_->FindObject(region.object, &object);
    Call call;
    if (shared && object.memfd) {
      const Value name = *FileName(p, region.object);
      call = NewCall("mmap", p);
      AddArg(&call, "", name);
      AddArg(&call, "length", Size(r.length));
      if (r.object_offset != 0) {
        AddArg(&call, "offset", Size(r.object_offset));
      }
      if (r.readonly) AddArg(&call, "prot", Value::Name("READ"));
      Value flags;
      flags.kind = Value::Kind::kOr;
      flags.items.push_back(Value::Name(r.copy ? "PRIVATE" : "SHARED"));
      if (r.at != 0) flags.items.push_back(Value::Name("FIXED"));
      if (flags.items.size() == 1) flags = Value(flags.items[0]);
      AddArg(&call, "flags", std::move(flags));
    } else {
      call = NewCall("anon", p);
      AddArg(&call, "", Size(r.length));
      if (shared) {
        Made(region.object, object,
             "shared memory that is mapped twice without a descriptor");
        AddArg(&call, "shared", Value::Name("true"));
      }
      AddShape(&call, region.huge, region.fragmented, region.poisoned);
      if (r.readonly) AddArg(&call, "readonly", Value::Name("true"));
    }
    if (r.at != 0) {
      AddArg(&call, "addr", Value::Number(r.at, NumberStyle::kHex));
    } else {
      Remark("memory that has no room at its place");
      if (call.name == "anon") {
        AddArg(&call, "align",
               Size(std::min(from & (~from + 1), uint64_t{1} << 30)));
      }
    }
    call.result = NewName("buf");
    r.name = call.result;
    Print(call);
    AddRange(p, from, std::move(r));
  }

  // Brings the mirror up to date where [addr, addr + length) is about to be
  // used. A length that nobody means counts up to the first hole.
  void Reconcile(RecordProcess p, uint64_t addr, uint64_t length) {
    constexpr uint64_t kMost = uint64_t{1} << 30;
    if (addr >= kAddressEnd) return;
    const uint64_t end = addr + std::min(length, kAddressEnd - addr);
    for (uint64_t at = addr; at < end;) {
      RecordRegion r;
      const bool found = source_->FindRegion(p, at, &r);
      const uint64_t start = found ? std::max(r.start, at) : kAddressEnd;
      if (start > at || r.none) {
        uint64_t hole = r.none && start == at ? r.start + r.length : start;
        hole = std::min(hole, PageUp(end));
        Unmap(p, PageDown(at), hole);
        if (length > kMost) return;
        at = hole;
        continue;
      }
      Declare(p, r, at, std::min(end, r.start + r.length));
      at = r.start + r.length;
    }
  }

  // All of [addr, addr + n) can be read, or written too.
  bool Accessible(RecordProcess p, uint64_t addr, uint64_t n, bool write) {
    if (addr >= kAddressEnd || n > kAddressEnd - addr) return false;
    const uint64_t end = addr + n;
    for (uint64_t at = addr; at < end;) {
      RecordRegion r;
      if (!source_->FindRegion(p, at, &r) || r.start > at || r.none ||
          r.poisoned || (write && r.readonly)) {
        return false;
      }
      at = r.start + r.length;
    }
    return true;
  }

  void Refresh(RecordProcess p) {
    const std::map<uint64_t, Range> mapped = Process(p)->mapped;
    for (const auto& [start, range] : mapped) {
      const uint64_t end = start + range.length;
      for (uint64_t at = start; at < end;) {
        RecordRegion r;
        const bool found = source_->FindRegion(p, at, &r);
        const uint64_t next = found ? std::min(r.start, end) : end;
        if (next > at) {
          Unmap(p, at, next);
          at = next;
          continue;
        }
        const uint64_t stop = std::min(end, r.start + r.length);
        const bool same =
            !r.none && r.object == range.object && r.device == range.device &&
            (r.object == 0 ||
             r.offset + (at - r.start) == range.object_offset + (at - start));
        if (!same) Unmap(p, at, stop);
        at = stop;
      }
    }
  }

  // ---- memory: what is in it ----

  const Range* RangeAt(RecordProcess p, uint64_t addr, uint64_t* start) {
    ProcessState* state = Process(p);
    auto it = state->mapped.upper_bound(addr);
    if (it == state->mapped.begin()) return nullptr;
    --it;
    if (addr - it->first >= it->second.length) return nullptr;
    *start = it->first;
    return &it->second;
  }

  // Makes the program's memory at name+where what `actual` is. `page` is what
  // it has there, from `offset` on.
  void StoreDifference(RecordProcess p, std::string* page, size_t offset,
                       std::string_view actual, const std::string& name,
                       uint64_t where) {
    // Bytes that are right already, between two that are not, are stored too.
    constexpr size_t kJoin = 16;
    for (size_t i = 0; i < actual.size();) {
      if ((*page)[offset + i] == actual[i]) {
        i++;
        continue;
      }
      size_t end = i + 1;
      for (size_t k = end; k < actual.size() && k < end + kJoin; k++) {
        if ((*page)[offset + k] != actual[k]) end = k + 1;
      }
      PrintStores(p, name, where + i, actual.substr(i, end - i));
      i = end;
    }
    memcpy(page->data() + offset, actual.data(), actual.size());
  }

  void Update(RecordProcess p, std::string* page, size_t offset,
              std::string_view actual, const std::string& name, uint64_t where,
              Mirror mirror) {
    if (page->empty()) page->assign(kPage, '\0');
    if (mirror == Mirror::kRight) {
      StoreDifference(p, page, offset, actual, name, where);
      return;
    }
    if (mirror == Mirror::kUnknown) PrintStores(p, name, where, actual);
    memcpy(page->data() + offset, actual.data(), actual.size());
  }

  void PrintStore(RecordProcess p, const std::string& name, uint64_t where,
                  std::string_view bytes, size_t n) {
    Call call = NewCall("store", p);
    AddArg(&call, "", Plus(Value::Name(name), where));
    AddArg(&call, "", Value::String(bytes));
    if (n != bytes.size()) AddArg(&call, "n", Number(n));
    Print(call);
  }

  // What repeats itself for long is stored as that.
  void PrintStores(RecordProcess p, const std::string& name, uint64_t where,
                   std::string_view bytes) {
    constexpr size_t kLong = 32;
    size_t plain = 0;  // from here to i nothing is stored yet
    const auto flush = [&](size_t to) {
      for (; plain < to; plain += std::min(kMaxStringBytes, to - plain)) {
        const size_t n = std::min(kMaxStringBytes, to - plain);
        PrintStore(p, name, where + plain, bytes.substr(plain, n), n);
      }
    };
    for (size_t i = 0; i < bytes.size();) {
      size_t n = 0;
      size_t period = 1;
      for (; period <= 8; period *= 2) {
        n = period;
        while (i + n < bytes.size() && bytes[i + n] == bytes[i + n - period]) {
          n++;
        }
        if (n >= kLong) break;
      }
      if (n < kLong) {
        i++;
        continue;
      }
      flush(i);
      PrintStore(p, name, where + i, bytes.substr(i, period), n);
      i += n;
      plain = i;
    }
    flush(bytes.size());
  }

  // The mirror of a page, to be compared and written.
  std::string* PageOf(RecordProcess p, const Range& r, uint64_t start,
                      uint64_t addr) {
    if (r.object != 0 && !r.copy) {
      const uint64_t offset = r.object_offset + (addr - start);
      return &objects_[r.object].pages[PageDown(offset)];
    }
    return &Process(p)->pages[PageDown(addr)];
  }

  // The program has in [addr, addr + n) what the process has there now, by
  // stores where the mirror differs. False: not all of it is there.
  bool Sync(RecordProcess p, uint64_t addr, size_t n,
            Mirror mirror = Mirror::kRight) {
    std::string actual(std::min(n, kMaxBufferBytes), '\0');
    const size_t got = source_->Read(p, addr, actual.data(), actual.size());
    bool whole = got == n;
    for (size_t i = 0; i < got;) {
      uint64_t start;
      const Range* r = RangeAt(p, addr + i, &start);
      const size_t in_page = (addr + i) % kPage;
      const size_t part = std::min(got - i, kPage - in_page);
      if (r == nullptr || r->device ||
          (r->readonly && mirror != Mirror::kWritten)) {
        whole = false;
      } else {
        std::string* page = PageOf(p, *r, start, addr + i);
        const std::string_view bytes = std::string_view(actual).substr(i, part);
        Update(p, page, in_page, bytes, r->name, r->offset + (addr + i - start),
               mirror);
      }
      i += part;
    }
    return whole;
  }

  // The same for shared memory, wherever it is mapped.
  bool SyncObject(RecordProcess p, RecordFile file, uint64_t offset, size_t n,
                  Mirror mirror) {
    std::string actual(std::min(n, kMaxBufferBytes), '\0');
    const size_t got =
        source_->ReadObject(file, offset, actual.data(), actual.size());
    const std::optional<Value> name = FileName(p, file);
    if (got != n || !name) return false;
    ObjectState* object = &objects_[file];
    std::string* view = &object->views[p];
    if (mirror != Mirror::kWritten && view->empty()) {
      Call call = NewCall("mmap", p);
      call.result = NewName("view");
      AddArg(&call, "", *name);
      AddArg(&call, "length", Size(PageUp(object->size)));
      Print(call);
      *view = call.result;
    }
    for (size_t i = 0; i < got;) {
      const size_t in_page = (offset + i) % kPage;
      const size_t part = std::min(got - i, kPage - in_page);
      std::string* page = &object->pages[PageDown(offset + i)];
      const std::string_view bytes = std::string_view(actual).substr(i, part);
      Update(p, page, in_page, bytes, *view, offset + i, mirror);
      i += part;
    }
    return true;
  }

  // ---- I/O address spaces ----

  static uint64_t FieldOf(const PendingCall& c, const std::string& image,
                          std::string_view name) {
    const desc_field* d = desc_find_field(*c.desc->arg, name);
    return d != nullptr ? desc_load(*d, image.data()) : 0;
  }

  // Calls fn(area, offset in it, bytes) for what is mapped; false: not all is.
  template <class F>
  static bool ForEachArea(std::map<uint64_t, Area>* areas, uint64_t iova,
                          uint64_t length, F fn) {
    while (length != 0) {
      auto it = areas->upper_bound(iova);
      if (it == areas->begin()) return false;
      --it;
      const uint64_t at = iova - it->first;
      if (at >= it->second.length) return false;
      const uint64_t n = std::min(length, it->second.length - at);
      if (!fn(it->second, at, n)) return false;
      iova += n;
      length -= n;
    }
    return true;
  }

  // What an access reads at iova is in the program's memory too, or it was
  // written there. False: that cannot be said of all of it.
  bool SyncAccess(RecordProcess p, RecordFile access, uint64_t iova,
                  uint64_t length, Mirror mirror) {
    const auto it = files_.find(access);
    if (it == files_.end() || length > kMaxBufferBytes) return false;
    const auto context = files_.find(it->second.context);
    if (context == files_.end()) return false;
    return ForEachArea(&context->second.ioas[it->second.access_ioas], iova,
                       length, [&](const Area& area, uint64_t at, uint64_t n) {
                         if (area.object != 0) {
                           return SyncObject(p, area.object, area.offset + at,
                                             n, mirror);
                         }
                         const auto owner = processes_.find(area.process);
                         if (owner == processes_.end() || owner->second.gone)
                           return false;
                         return Sync(area.process, area.addr + at, n, mirror);
                       });
  }

  // What is mapped for devices and accesses is looked at again by calls that
  // name no address: the memory there may be another by now.
  void ReconcileAreas(const PendingCall& c) {
    constexpr size_t kMost = 256;
    const auto f = files_.find(c.file);
    if (f == files_.end()) return;
    size_t n = 0;
    for (const auto& [id, areas] : f->second.ioas) {
      for (const auto& [iova, area] : areas) {
        const auto owner = processes_.find(area.process);
        if (area.object != 0 || owner == processes_.end() ||
            owner->second.gone) {
          continue;
        }
        if (n++ == kMost) return;
        Reconcile(area.process, area.addr, area.length);
      }
    }
  }

  static void EraseAreas(std::map<uint64_t, Area>* areas, uint64_t iova,
                         uint64_t length) {
    if (length == 0) return;
    const uint64_t last = iova + std::min(length - 1, UINT64_MAX - iova);
    auto it = areas->lower_bound(iova);
    while (it != areas->end() && it->first <= last) it = areas->erase(it);
  }

  // After a success: who maps what, as the description says it.
  void Follow(const PendingCall& c, const std::string& after) {
    if (c.desc->effect == nullptr) return;
    const desc_effect& e = *c.desc->effect;
    const desc_struct& s = *c.desc->arg;
    FileState* f = &files_[c.file];
    auto value = [&](const char* name) -> uint64_t {
      const desc_field* d =
          name != nullptr ? desc_find_field(s, name) : nullptr;
      if (d == nullptr) return 0;
      return desc_load(*d,
                       desc_is_output(d->kind) ? after.data() : c.image.data());
    };
    auto file = [&](const char* name) -> RecordFile {
      if (name == nullptr) return 0;
      const auto it = c.fds.find(desc_find_field(s, name));
      return it != c.fds.end() ? it->second : 0;
    };
    const uint32_t space = e.space != nullptr
                               ? static_cast<uint32_t>(value(e.space))
                               : f->vfio_ioas;
    const bool selected = desc_effect_selected(s, e, c.image.data());
    switch (e.kind) {
      case desc_effect_kind::MAP: {
        Area area;
        area.process = c.caller.process;
        area.length = value(e.length);
        area.addr = value(e.from_va);
        area.object = file(e.from_file);
        area.offset = value(e.from_offset);
        f->ioas[space][value(e.iova)] = area;
        break;
      }
      case desc_effect_kind::COPY: {
        std::map<uint64_t, Area> copied;
        uint64_t to = value(e.iova);
        ForEachArea(&f->ioas[static_cast<uint32_t>(value(e.src_space))],
                    value(e.src_iova), value(e.length),
                    [&](Area piece, uint64_t at, uint64_t n) {
                      piece.addr += at;
                      piece.offset += at;
                      piece.length = n;
                      copied[to] = piece;
                      to += n;
                      return true;
                    });
        f->ioas[space].merge(copied);
        break;
      }
      case desc_effect_kind::UNMAP:
        if (selected) {
          f->ioas[space].clear();
        } else {
          EraseAreas(&f->ioas[space], value(e.iova), value(e.length));
        }
        break;
      case desc_effect_kind::END:
        f->ioas.erase(space);
        break;
      case desc_effect_kind::COMPAT_SPACE:
        if (f->vfio_ioas == 0) f->ioas[space].merge(f->ioas[0]);
        f->vfio_ioas = selected ? 0 : space;
        break;
      case desc_effect_kind::ACCESS_SPACE: {
        const RecordFile access = file(e.access);
        if (access != 0) files_[access].access_ioas = space;
        break;
      }
      case desc_effect_kind::ACCESS:
        // What it wrote is in the program's memory as well.
        if (c.buffers.empty()) {
          SyncAccess(c.caller.process, file(e.access), value(e.iova),
                     value(e.length), Mirror::kWritten);
        }
        break;
    }
  }

  // ---- commands ----

  std::string ReadUser(RecordProcess p, uint64_t addr, size_t n) {
    std::string bytes(n, '\0');
    bytes.resize(source_->Read(p, addr, bytes.data(), n));
    return bytes;
  }

  void BeginIoctl(PendingCall* c, unsigned long cmd, uint64_t arg) {
    const RecordProcess p = c->caller.process;
    Process(p);
    Truncate();
    c->arg = arg;
    const auto file = files_.find(c->file);
    const uint8_t revision = file != files_.end() && file->second.revision != 0
                                 ? file->second.revision
                                 : RevisionByName(options_.revision);
    std::string image = ReadUser(p, arg, kMaxStructBytes);
    uint32_t op = 0;
    if (image.size() >= 8) memcpy(&op, image.data() + 4, sizeof(op));
    c->desc = iommufd_desc_find_cmd(static_cast<uint32_t>(cmd), op, revision);
    ReconcileAreas(*c);
    // Numbers have 32 bits.
    if (cmd >> 32 != 0) c->desc = nullptr;
    if (c->desc == nullptr || !Describe(c, std::move(image))) {
      Raw(c, cmd);
    }
  }

  // The command by its fields. False: they cannot say it.
  bool Describe(PendingCall* c, std::string image) {
    const desc_struct& s = *c->desc->arg;
    const RecordProcess p = c->caller.process;
    c->call = NewCall(c->desc->name, p);
    AddArg(&c->call, "", Value());  // the descriptor, see EndIoctl()
    const desc_field* size_field = nullptr;
    for (const desc_field& d : s.fields) {
      if (d.kind == desc_kind::SIZE) size_field = &d;
    }
    uint64_t size = s.size;
    const bool advice = c->desc->size_is_advice;
    if (size_field == nullptr) {
      // The argument is the value itself.
      if (s.fields.size() != 1) return false;
      image.assign(reinterpret_cast<const char*>(&c->arg), sizeof(c->arg));
      c->readable = false;
    } else {
      if (image.size() < sizeof(uint32_t)) {
        // Nothing of it can be read, so nothing else matters.
        if (!image.empty() || c->desc->op != 0) return false;
        AddArg(&c->call, "arg", Address(p, c->arg));
        c->readable = false;
        return true;
      }
      image.resize(std::max<size_t>(image.size(), size_field->width));
      size = desc_load(*size_field, image.data());
      const uint64_t looked_at =
          advice ? std::max<uint64_t>(c->desc->min_size, size) : size;
      if (looked_at <= kMaxBufferBytes &&
          !Accessible(p, c->arg, looked_at, true)) {
        return false;
      }
    }
    const std::string tail =
        !advice && size > s.size && image.size() > s.size
            ? image.substr(s.size,
                           std::min<uint64_t>(size, image.size()) - s.size)
            : "";
    image.resize(s.size);
    if (size < s.size) {
      std::fill(image.begin() + static_cast<ptrdiff_t>(size), image.end(), 0);
    }
    c->image = image;
    for (const desc_field& d : s.fields) {
      if (d.kind != desc_kind::FD_IN || d.offset >= size) continue;
      c->fds[&d] =
          source_->FileOf(p, static_cast<int>(desc_load(d, image.data())));
    }
    std::map<const desc_field*, uint64_t> derived;
    for (const desc_field& d : s.fields) {
      if (desc_is_pointer(d.kind) && d.offset < size) {
        if (!Pointer(c, s, d, &derived)) return false;
      }
    }
    std::vector<Field> pointers(c->call.args.begin() + 1, c->call.args.end());
    c->call.args.resize(1);
    if (size_field != nullptr && size != s.size) {
      AddArg(&c->call, size_field->name, Number(size));
    }
    for (const desc_field& d : s.fields) {
      if (d.offset >= size || d.kind == desc_kind::SIZE ||
          d.kind == desc_kind::OP) {
        continue;
      }
      if (desc_is_pointer(d.kind)) {
        for (Field& f : pointers) {
          if (f.name == PointerName(d)) c->call.args.push_back(std::move(f));
        }
        continue;
      }
      AddField(c, s, d, derived);
    }
    const size_t last = tail.find_last_not_of('\0');
    if (last != std::string::npos) {
      AddArg(&c->call, "tail", Value::String(tail.substr(0, last + 1)));
    }
    return true;
  }

  void AddField(PendingCall* c, const desc_struct& s, const desc_field& d,
                const std::map<const desc_field*, uint64_t>& derived) {
    const RecordProcess p = c->caller.process;
    const uint64_t n = desc_load(d, c->image.data());
    uint64_t otherwise = d.default_value;
    const auto it = derived.find(&d);
    if (it != derived.end()) otherwise = it->second;
    switch (d.kind) {
      case desc_kind::ID_OUT:
      case desc_kind::FD_OUT:
      case desc_kind::NUMBER_OUT:
        return;
      case desc_kind::FD_IN: {
        if (const std::optional<Value> name = FileName(p, c->fds[&d])) {
          AddArg(&c->call, d.name, *name);
        } else {
          c->unknown_fds.push_back(c->call.args.size());
          AddArg(&c->call, d.name, MinusOne());
        }
        return;
      }
      case desc_kind::USER_VA: {
        uint64_t length = 0;
        for (const desc_field& other : s.fields) {
          if (d.len_field != nullptr
                  ? d.len_field == std::string_view(other.name)
                  : other.kind == desc_kind::IOVA_LEN) {
            length = desc_load(other, c->image.data());
          }
        }
        if (n == otherwise) return;
        Reconcile(p, n, length);
        AddArg(&c->call, d.name, Address(p, n));
        return;
      }
      default:
        break;
    }
    if (n == otherwise) return;
    if (d.kind == desc_kind::ID_IN || d.kind == desc_kind::ID_INOUT) {
      const RecordFile holder =
          desc_object_is_of_access(d.object) ? FileIn(*c) : c->file;
      const auto f = files_.find(holder);
      if (f != files_.end()) {
        const auto id = f->second.ids.find(static_cast<uint32_t>(n));
        if (id != f->second.ids.end()) {
          AddArg(&c->call, d.name, id->second);
          return;
        }
      }
      AddArg(&c->call, d.name, Number(n));
      return;
    }
    if (d.kind == desc_kind::IOVA_LEN || d.kind == desc_kind::LEN) {
      AddArg(&c->call, d.name, Size(n));
      return;
    }
    AddArg(&c->call, d.name, Named(d, n));
  }

  // The file that a command names by a descriptor: there is one at most.
  static RecordFile FileIn(const PendingCall& c) {
    return c.fds.empty() ? 0 : c.fds.begin()->second;
  }

  static bool AllZero(std::string_view bytes) {
    return bytes.find_first_not_of('\0') == std::string_view::npos;
  }

  // How many bytes the command says are behind the pointer.
  static uint64_t BytesBehind(const PendingCall& c, const desc_struct& s,
                              const desc_field& d, uint64_t* element,
                              uint64_t* count) {
    const desc_struct* pointee = desc_pointee(s, d, c.image.data());
    *element = pointee != nullptr ? pointee->size : 1;
    *count = 0;
    for (const desc_field& other : s.fields) {
      if (other.kind == desc_kind::ENTRY_LEN) {
        *element = desc_load(other, c.image.data());
      }
    }
    if (d.len_field != nullptr) {
      const desc_field* len = desc_find_field(s, d.len_field);
      const uint64_t n = desc_load(*len, c.image.data());
      if (len->kind != desc_kind::COUNT) return n;
      *count = n;
      uint64_t bytes;
      return __builtin_mul_overflow(n, *element, &bytes) ? UINT64_MAX : bytes;
    }
    if (pointee != nullptr) return pointee->size;
    // A bitmap: a bit for each page of the range.
    const uint64_t page = FieldOf(c, c.image, "page_size");
    if (page == 0) return 0;
    const uint64_t bits = FieldOf(c, c.image, "length") / page;
    return bits / 8 + (bits % 8 != 0);
  }

  // Adds the argument of a pointer field.
  bool Pointer(PendingCall* c, const desc_struct& s, const desc_field& d,
               std::map<const desc_field*, uint64_t>* derived) {
    const RecordProcess p = c->caller.process;
    const std::string name(PointerName(d));
    const uint64_t addr = desc_load(d, c->image.data());
    uint64_t element, count;
    const uint64_t n = BytesBehind(*c, s, d, &element, &count);
    if (addr == 0) return true;
    if (n == 0) {
      AddArg(&c->call, name, Address(p, addr));
      return true;
    }
    const desc_effect* e = c->desc->effect;
    bool reads = d.kind != desc_kind::PTR_OUT;
    bool writes = d.kind != desc_kind::PTR_IN;
    bool trusted = true;
    if (e != nullptr && e->data != nullptr &&
        d.name == std::string_view(e->data)) {
      reads = desc_effect_selected(s, *e, c->image.data());
      writes = !reads;
      if (writes) {
        trusted = SyncAccess(p, FileIn(*c), FieldOf(*c, c->image, e->iova), n,
                             Mirror::kRight);
      }
    }
    const desc_struct* pointee = desc_pointee(s, d, c->image.data());
    const std::string bytes =
        ReadUser(p, addr, std::min<uint64_t>(n, kMaxBufferBytes));
    PendingCall::Buffer buffer;
    buffer.field = &d;
    buffer.addr = addr;
    buffer.before = bytes;
    buffer.reads = reads;
    buffer.whole = bytes.size() == n;
    // The program has its structs elsewhere: where one lies in its own buffer,
    // which takes a length that nobody means, they cannot be told apart.
    const uint64_t distance = c->arg > addr ? c->arg - addr : addr - c->arg;
    if (writes && distance < (c->arg > addr ? n : s.size)) c->apart = false;
    buffer.trusted = trusted && buffer.whole && c->apart;
    std::optional<Value> literal;
    if (buffer.whole && Accessible(p, addr, n, writes)) {
      literal = Literal(s, d, pointee, bytes, element, count, reads, writes);
    }
    if (literal) {
      buffer.literal = true;
      const desc_field* len =
          d.len_field != nullptr ? desc_find_field(s, d.len_field) : nullptr;
      const uint64_t width = pointee != nullptr ? pointee->size : 1;
      for (const desc_field& other : s.fields) {
        if (other.kind == desc_kind::ENTRY_LEN) (*derived)[&other] = width;
      }
      if (len != nullptr) {
        const bool counts = len->kind == desc_kind::COUNT;
        (*derived)[len] = counts ? n / width : n;
      }
      AddArg(&c->call, name, std::move(*literal));
    } else {
      Reconcile(p, addr, std::min<uint64_t>(n, kMaxBufferBytes));
      // A buffer that is only written is compared as a whole afterwards.
      if (reads || buffer.trusted) {
        Sync(p, addr, std::min<uint64_t>(n, kMaxBufferBytes));
      }
      AddArg(&c->call, name, Address(p, addr));
    }
    if (writes) c->buffers.push_back(std::move(buffer));
    return true;
  }

  // The data as it stands in a line. nullopt: it is too long for that.
  static std::optional<Value> Literal(const desc_struct& s, const desc_field& d,
                                      const desc_struct* pointee,
                                      const std::string& bytes,
                                      uint64_t element, uint64_t count,
                                      bool reads, bool writes) {
    const size_t n = bytes.size();
    const bool structs = pointee != nullptr && element == pointee->size &&
                         n % element == 0 && n != 0;
    if (!reads || (AllZero(bytes) && writes && !structs)) {
      // Of what the kernel says it is (a selector that it returns).
      const bool known = pointee != nullptr || !d.variants.empty();
      const bool counts = count != 0;
      if (counts ? count > kMaxExpectedElements
                 : n > (known ? kMaxLiteralBytes : kMaxExpectedBytes)) {
        return std::nullopt;
      }
      if (counts && element != (pointee != nullptr ? pointee->size : 1)) {
        return std::nullopt;
      }
      return Out(counts ? count : n);
    }
    if (structs && n / element <= kMaxLiteralElements) {
      Value list;
      list.kind = Value::Kind::kList;
      for (size_t at = 0; at < n; at += element) {
        list.items.push_back(Struct(*pointee, bytes.data() + at));
      }
      // What was recorded is what is bound again: the same struct is chosen.
      Value chosen = list.items[0];
      std::vector<Field> siblings;
      if (d.selector_field != nullptr) return Chosen(s, d, pointee, list);
      if (count == 0 && list.items.size() == 1) return chosen;
      return list;
    }
    if (n > (writes ? kMaxExpectedBytes : kMaxLiteralBytes)) {
      return std::nullopt;
    }
    return Value::String(bytes);
  }

  // Where a selector chooses among structs, bytes are used unless the literal
  // stands for just the one that it was written as.
  static std::optional<Value> Chosen(const desc_struct& s, const desc_field& d,
                                     const desc_struct* pointee, Value list) {
    (void)s;
    for (const Value& item : list.items) {
      for (const desc_variant& variant : d.variants) {
        if (variant.pointee == pointee) break;
        bool fits = true;
        for (const Field& f : item.fields) {
          fits = fits && FindField(*variant.pointee, f.name) != nullptr;
        }
        // An earlier one has all these fields too: name one that it has not.
        if (fits && SameSelector(d, variant.pointee, pointee)) {
          return std::nullopt;
        }
      }
    }
    if (list.items.size() == 1) {
      Value only = std::move(list.items[0]);
      return only;
    }
    return list;
  }

  static bool SameSelector(const desc_field& d, const desc_struct* a,
                           const desc_struct* b) {
    for (const desc_variant& x : d.variants) {
      for (const desc_variant& y : d.variants) {
        if (x.pointee == a && y.pointee == b && x.selector == y.selector) {
          return true;
        }
      }
    }
    return false;
  }

  static Value Struct(const desc_struct& s, const char* image) {
    Value v;
    v.kind = Value::Kind::kStruct;
    for (const desc_field& d : s.fields) {
      const uint64_t n = desc_load(d, image);
      if (n == d.default_value) continue;
      Field* f = &v.fields.emplace_back();
      f->name = d.name;
      f->value = Named(d, n);
    }
    if (v.fields.empty()) {
      // A literal has at least one field.
      Field* f = &v.fields.emplace_back();
      f->name = s.fields[0].name;
      f->value = Number(s.fields[0].default_value);
    }
    return v;
  }

  // The command as a number and bytes, or an address.
  void Raw(PendingCall* c, unsigned long cmd) {
    const RecordProcess p = c->caller.process;
    const desc_ioctl* desc = c->desc;
    c->raw = true;
    c->desc = nullptr;
    c->buffers.clear();
    c->fds.clear();
    c->unknown_fds.clear();
    c->call = NewCall("ioctl", p);
    AddArg(&c->call, "", Value());
    AddArg(&c->call, "", Value::Number(cmd, NumberStyle::kHex));
    const std::string bytes = ReadUser(p, c->arg, kMaxStructBytes);
    uint32_t size = 0;
    if (bytes.size() >= sizeof(size)) memcpy(&size, bytes.data(), sizeof(size));
    // A command that has a description is here because of where it lies.
    if (desc == nullptr && size >= sizeof(size) && size <= bytes.size()) {
      AddArg(&c->call, "", Value::String(bytes.substr(0, size)));
      return;
    }
    uint64_t n = std::max<uint64_t>(size, sizeof(size));
    if (desc != nullptr) n = std::max<uint64_t>(n, desc->arg->size);
    n = std::min<uint64_t>(n, kMaxStructBytes);
    if (!bytes.empty()) {
      Reconcile(p, c->arg, n);
      if (!Sync(p, c->arg, std::min<size_t>(n, bytes.size())) &&
          !AllZero(bytes)) {
        Remark("a command in memory that cannot be written");
      }
    }
    AddArg(&c->call, "", Address(p, c->arg));
  }

  void EndIoctl(PendingCall* c, long ret, std::span<const RecordFile> files) {
    const RecordProcess p = c->caller.process;
    c->call.args[0].value = Descriptor(&c->call, p, c->file, ret);
    for (const size_t i : c->unknown_fds) {
      // Of something else: any file that is none of the right kind.
      if (ret != -EBADF) c->call.args[i].value = c->call.args[0].value;
    }
    AddFailNth(&c->call, c->caller);
    const bool success = ExpectResult(&c->call, ret);
    if (c->raw) {
      if (ret > 0) ExpectOutput(&c->call, "", Number(ret));
      Print(c->call);
      return;
    }
    std::string after = c->image;
    if (c->readable) {
      const std::string now = ReadUser(p, c->arg, c->desc->arg->size);
      std::copy_n(now.begin(), std::min(now.size(), after.size()),
                  after.begin());
      // What the kernel did not look at it did not write either.
    }
    if (success) NameResults(c, after, ret, files);
    if (c->apart) ExpectFields(c, after, success);
    if (success && ReturnsNumber(*c->desc)) {
      ExpectOutput(&c->call, "", Number(ret));
    }
    for (const PendingCall::Buffer& buffer : c->buffers) {
      if (buffer.literal) ExpectBuffer(c, buffer, after, success);
    }
    Print(c->call);
    if (success) Follow(*c, after);
    for (const PendingCall::Buffer& buffer : c->buffers) {
      if (!buffer.literal) CompareBuffer(*c, buffer, success);
    }
  }

  template <class D>
  static bool ReturnsNumber(const D& desc) {
    if constexpr (requires { desc.returns_number; }) {
      return desc.returns_number;
    }
    return false;
  }

  // What a successful call made gets names.
  void NameResults(PendingCall* c, const std::string& after, long ret,
                   std::span<const RecordFile> files) {
    const RecordProcess p = c->caller.process;
    const desc_field* primary = PrimaryOutput(*c->desc);
    auto named = [&](const desc_field& d) {
      if (c->call.result.empty()) {
        desc_object object = c->desc->creates;
        if (object == desc_object::NONE) object = d.object;
        c->call.result = NewName(desc_object_variable(object));
      }
      return &d == primary
                 ? Value::Name(c->call.result)
                 : Value::Name(c->call.result,
                               '.' + std::string(desc_output_name(d)));
    };
    size_t next_file = 0;
    for (const desc_field& d : c->desc->arg->fields) {
      const uint32_t n = static_cast<uint32_t>(desc_load(d, after.data()));
      if (d.kind == desc_kind::FD_OUT) {
        if (next_file >= files.size()) continue;
        const RecordFile file = files[next_file++];
        Process(p)->files[file] = named(d);
        files_[file].context = c->file;
        c->fds[&d] = file;
      } else if (d.kind == desc_kind::ID_OUT) {
        const RecordFile holder =
            desc_object_is_of_access(d.object) ? FileIn(*c) : c->file;
        files_[holder].ids[n] = named(d);
      } else if (d.kind == desc_kind::ID_INOUT) {
        std::map<uint32_t, Value>* ids = &files_[c->file].ids;
        if (n != 0 && ids->count(n) == 0) ids->emplace(n, named(d));
      }
    }
    if (c->desc->returns_fd && !files.empty()) {
      c->call.result = NewName("fd");
      Process(p)->files[files[0]] = Value::Name(c->call.result);
      files_[files[0]].context = c->file;
    }
    (void)ret;
  }

  void ExpectFields(PendingCall* c, const std::string& after, bool success) {
    const desc_field* primary = PrimaryOutput(*c->desc);
    const uint64_t size = c->readable ? SizeOf(*c) : 0;
    for (const desc_field& d : c->desc->arg->fields) {
      if (!desc_is_returned(d) || desc_is_pointer(d.kind) ||
          d.kind == desc_kind::FD_OUT || d.offset + d.width > size) {
        continue;
      }
      const uint64_t n = desc_load(d, after.data());
      const bool same = n == desc_load(d, c->image.data());
      // What went in and came out as it was says nothing.
      if (same && (!success || d.kind == desc_kind::ID_INOUT)) continue;
      if (!success && d.kind == desc_kind::ID_OUT) continue;
      const bool bare = &d == primary && success;
      ExpectOutput(&c->call, bare ? "" : desc_output_name(d),
                   d.kind == desc_kind::IOVA_LEN ? Size(n) : Number(n));
    }
  }

  static uint64_t SizeOf(const PendingCall& c) {
    for (const desc_field& d : c.desc->arg->fields) {
      if (d.kind == desc_kind::SIZE) return desc_load(d, c.image.data());
    }
    return c.desc->arg->size;
  }

  // What came back in data that the line holds.
  void ExpectBuffer(PendingCall* c, const PendingCall::Buffer& buffer,
                    const std::string& after_image, bool success) {
    if (!buffer.trusted) return;
    const desc_struct& s = *c->desc->arg;
    const desc_field& d = *buffer.field;
    const std::string name(PointerName(d));
    const std::string after =
        ReadUser(c->caller.process, buffer.addr, buffer.before.size());
    if (after.size() != buffer.before.size()) return;
    // What is only written is written as a whole.
    const bool all = success && !buffer.reads;
    const desc_struct* pointee = desc_pointee(s, d, c->image.data());
    // As the runner does it: the answer says what out(n) holds.
    if (pointee == nullptr) pointee = desc_pointee(s, d, after_image.data());
    if (pointee == nullptr && after.size() > kMaxSingleBytes &&
        (all || buffer.reads || AllZero(buffer.before))) {
      // What the kernel did not write is in the program what it was here.
      if (after != buffer.before || all) {
        ExpectOutput(&c->call, name + ".hash",
                     Value::Number(HashOf(after), NumberStyle::kHex));
      }
      return;
    }
    if (pointee == nullptr) {
      for (size_t i = 0; i < after.size() && i < kMaxExpectedBytes; i++) {
        if (after[i] == buffer.before[i] && !all) continue;
        ExpectOutput(&c->call, name + '[' + std::to_string(i) + ']',
                     Number(static_cast<unsigned char>(after[i])));
      }
      return;
    }
    const size_t width = pointee->size;
    size_t elements = after.size() / width;
    const size_t sent = elements;
    if (d.len_field != nullptr) {
      const desc_field* len = desc_find_field(s, d.len_field);
      if (len->kind == desc_kind::COUNT) {
        elements =
            std::min<size_t>(elements, desc_load(*len, after_image.data()));
      }
    }
    for (size_t i = 0; i < elements && i < kMaxExpectedElements; i++) {
      for (const desc_field& sub : pointee->fields) {
        if (sub.kind == desc_kind::PADDING) continue;
        const uint64_t n = desc_load(sub, after.data() + i * width);
        const uint64_t before =
            desc_load(sub, buffer.before.data() + i * width);
        if (n == before && !all) continue;
        const std::string index =
            sent == 1 ? "" : '[' + std::to_string(i) + ']';
        ExpectOutput(&c->call, name + index + '.' + sub.name, Number(n));
      }
    }
  }

  // The same for data in memory of the process: a line that loads it; or, where
  // the program may have got something else, lines that store it.
  void CompareBuffer(const PendingCall& c, const PendingCall::Buffer& buffer,
                     bool success) {
    const RecordProcess p = c.caller.process;
    const std::string after = ReadUser(p, buffer.addr, buffer.before.size());
    if (after.empty() || after.size() != buffer.before.size()) return;
    uint64_t start;
    if (RangeAt(p, buffer.addr, &start) == nullptr) return;
    if (buffer.trusted) {
      Call call = NewCall("load", p);
      AddArg(&call, "", Address(p, buffer.addr));
      AddArg(&call, "", Number(after.size()));
      ExpectBytes(&call, after);
      Print(call);
      Sync(p, buffer.addr, after.size(), Mirror::kWritten);
      return;
    }
    const bool all = success && !buffer.reads && buffer.whole;
    for (size_t i = 0; i < after.size();) {
      const size_t end =
          std::min<size_t>(after.size(), i + kPage - (buffer.addr + i) % kPage);
      if (all || after.compare(i, end - i, buffer.before, i, end - i) != 0) {
        Sync(p, buffer.addr + i, end - i, Mirror::kUnknown);
      }
      i = end;
    }
  }

  static void ExpectBytes(Call* call, const std::string& bytes) {
    if (bytes.size() <= kMaxExpectedBytes) {
      ExpectOutput(call, "", Value::String(bytes));
    } else {
      ExpectOutput(call, "hash",
                   Value::Number(HashOf(bytes), NumberStyle::kHex));
    }
  }

  // ---- the other calls ----

  void Open(const RecordCaller& caller, std::string_view path,
            std::string_view revision, int ret, RecordFile file) {
    Call call = NewCall("open", caller.process);
    const std::string name =
        revision.empty() ? options_.revision : std::string(revision);
    AddArg(&call, "uapi",
           name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_") ==
                       std::string::npos &&
                   !name.empty()
               ? Value::Name(name)
               : Value::String(name));
    if (path != "/dev/iommu") AddArg(&call, "path", Value::String(path));
    AddFailNth(&call, caller);
    if (ExpectResult(&call, ret)) {
      call.result = NewName(path == "/dev/iommu" ? "f" : "vfio");
      Process(caller.process)->files[file] = Value::Name(call.result);
      files_[file].revision = RevisionByName(name);
    }
    Print(call);
  }

  void Read(const RecordCaller& caller, RecordFile file, uint64_t buf,
            size_t count, long ret) {
    const RecordProcess p = caller.process;
    constexpr size_t kMost = 64 << 10;
    const bool literal = count <= kMost && (count == 0 || ret == -EBADF ||
                                            Accessible(p, buf, count, true));
    if (!literal) {
      Reconcile(p, buf, count);
      if (ret > 0) Sync(p, buf, static_cast<size_t>(ret), Mirror::kWritten);
    }
    Call call = NewCall("read", p);
    AddArg(&call, "", Value());
    call.args[0].value = Descriptor(&call, p, file, ret);
    AddArg(&call, "", literal ? Out(count) : Address(p, buf));
    if (!literal) AddArg(&call, "", Number(count));
    AddFailNth(&call, caller);
    if (ExpectResult(&call, ret)) {
      const std::string bytes = ReadUser(p, buf, static_cast<size_t>(ret));
      if (!literal || ret == 0) {
        ExpectOutput(&call, "", Number(ret));
      } else {
        ExpectBytes(&call, bytes);
      }
    }
    Print(call);
  }

  void BeginWrite(PendingCall* c, uint64_t buf, size_t count) {
    const RecordProcess p = c->caller.process;
    c->raw = true;
    std::string bytes = ReadUser(p, buf, std::min(count, kMaxBufferBytes));
    const bool literal = bytes.size() == count && count <= kMaxStructBytes;
    if (!literal) {
      Reconcile(p, buf, count);
      Sync(p, buf, bytes.size());
    }
    c->call = NewCall("write", p);
    AddArg(&c->call, "", Value());
    AddArg(&c->call, "", literal ? Value::String(bytes) : Address(p, buf));
    if (!literal) AddArg(&c->call, "", Number(count));
  }

  void EndWrite(PendingCall* c, long ret) {
    c->call.args[0].value =
        Descriptor(&c->call, c->caller.process, c->file, ret);
    AddFailNth(&c->call, c->caller);
    if (ExpectResult(&c->call, ret)) ExpectOutput(&c->call, "", Number(ret));
    Print(c->call);
  }

  void Poll(const RecordCaller& caller, RecordFile file, short events,
            int ret) {
    Call call = NewCall("poll", caller.process);
    AddArg(&call, "", Value());
    call.args[0].value =
        Descriptor(&call, caller.process, file, ret == POLLNVAL ? -EBADF : ret);
    if (events != POLLIN) {
      AddArg(&call, "events",
             Flags(static_cast<unsigned short>(events), PollNames()));
    }
    AddFailNth(&call, caller);
    if (ExpectResult(&call, ret)) {
      ExpectOutput(&call, "", Flags(static_cast<uint64_t>(ret), PollNames()));
    }
    Print(call);
  }

  std::span<const desc_name> MmapNames(std::string_view arg) {
    for (const BuiltinArg& a : FindBuiltin("mmap")->args) {
      if (arg == a.name) return a.names;
    }
    return {};
  }

  void Mmap(const RecordCaller& caller, RecordFile file, uint64_t addr,
            size_t length, int prot, int flags, uint64_t offset, uint64_t ret) {
    const RecordProcess p = caller.process;
    const bool error = ret >= static_cast<uint64_t>(-4095);
    const long result = error ? static_cast<long>(ret) : 0;
    uint64_t at = 0;
    if (!error) {
      at = PlaceFor(p, ret, PageUp(length));
      flags = (flags & ~MAP_FIXED) | (at != 0 ? MAP_FIXED : 0);
    }
    Call call = NewCall("mmap", p);
    AddArg(&call, "", Value());
    call.args[0].value = Descriptor(&call, p, file, result);
    AddArg(&call, "length", Size(length));
    if (offset != 0) AddArg(&call, "offset", Number(offset));
    if (prot != (PROT_READ | PROT_WRITE)) {
      AddArg(&call, "prot",
             Flags(static_cast<unsigned>(prot), MmapNames("prot")));
    }
    if (flags != MAP_SHARED) {
      AddArg(&call, "flags",
             Flags(static_cast<unsigned>(flags), MmapNames("flags")));
    }
    if (at != 0) {
      AddArg(&call, "addr", Value::Number(at, NumberStyle::kHex));
    } else if (error && addr != 0) {
      AddArg(&call, "addr", Address(p, addr));
    }
    AddFailNth(&call, caller);
    if (ExpectResult(&call, result)) {
      call.result = NewName("map");
      Range r;
      r.length = PageUp(length);
      r.name = call.result;
      r.at = at;
      r.device = true;
      AddRange(p, ret, std::move(r));
    }
    Print(call);
  }

  void Munmap(const RecordCaller& caller, uint64_t addr, size_t length,
              int ret) {
    const RecordProcess p = caller.process;
    if (ret >= 0) {
      Unmap(p, addr, addr + PageUp(length));
      return;
    }
    Reconcile(p, addr, length);
    Call call = NewCall("munmap", p);
    AddArg(&call, "", Address(p, addr));
    AddArg(&call, "", Number(length));
    AddFailNth(&call, caller);
    ExpectResult(&call, ret);
    Print(call);
  }

 private:
  static constexpr RecordFile kForeign = ~RecordFile{0};

  const RecordOptions options_;
  RecordSource* const source_;
  RecordProcess main_ = 0;
  std::map<RecordProcess, ProcessState> processes_;
  std::map<RecordFile, FileState> files_;
  std::map<RecordFile, ObjectState> objects_;
  std::map<std::string, unsigned> names_;
  std::vector<std::string> remarks_;
  std::set<std::string> remarks_seen_;
};

Recorder::Recorder(RecordOptions options, RecordSource* source)
    : impl_(std::make_unique<Impl>(std::move(options), source)) {}
Recorder::~Recorder() = default;

void Recorder::Open(const RecordCaller& caller, std::string_view path,
                    std::string_view revision, int ret, RecordFile file) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Open(caller, path, revision, ret, file);
}

Recorder::Ioctl Recorder::BeginIoctl(const RecordCaller& caller,
                                     RecordFile file, int, unsigned long cmd,
                                     uint64_t arg) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  Ioctl call;
  call.call_ = std::make_unique<PendingCall>();
  call.call_->caller = caller;
  call.call_->file = file;
  impl_->BeginIoctl(call.call_.get(), cmd, arg);
  return call;
}

void Recorder::EndIoctl(Ioctl* call, long ret,
                        std::span<const RecordFile> files) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  if (call->call_ != nullptr) impl_->EndIoctl(call->call_.get(), ret, files);
  call->call_.reset();
}

void Recorder::Read(const RecordCaller& caller, RecordFile file, int,
                    uint64_t buf, size_t count, long ret) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Read(caller, file, buf, count, ret);
}

Recorder::Ioctl Recorder::BeginWrite(const RecordCaller& caller,
                                     RecordFile file, int, uint64_t buf,
                                     size_t count) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  Ioctl call;
  call.call_ = std::make_unique<PendingCall>();
  call.call_->caller = caller;
  call.call_->file = file;
  impl_->BeginWrite(call.call_.get(), buf, count);
  return call;
}

void Recorder::EndWrite(Ioctl* call, long ret) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  if (call->call_ != nullptr) impl_->EndWrite(call->call_.get(), ret);
  call->call_.reset();
}

void Recorder::Poll(const RecordCaller& caller, RecordFile file, int,
                    short events, int ret) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Poll(caller, file, events, ret);
}

void Recorder::Mmap(const RecordCaller& caller, RecordFile file, int,
                    uint64_t addr, size_t length, int prot, int flags,
                    uint64_t offset, uint64_t ret) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Mmap(caller, file, addr, length, prot, flags, offset, ret);
}

void Recorder::Munmap(const RecordCaller& caller, uint64_t addr, size_t length,
                      int ret) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Munmap(caller, addr, length, ret);
}

void Recorder::Start(RecordProcess process) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Process(process);
}

void Recorder::Fork(RecordProcess parent, RecordProcess child) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Fork(parent, child);
}

void Recorder::Exit(RecordProcess process) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Exit(process);
}

void Recorder::Unmaps(RecordProcess process, uint64_t addr, uint64_t length) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->SyncMapped(process, addr, addr + length);
  impl_->Unmap(process, addr, addr + length);
}

void Recorder::Unmapped(RecordProcess process, uint64_t addr, uint64_t length) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Unmap(process, addr, addr + length);
}

void Recorder::Refresh(RecordProcess process) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Refresh(process);
}

void Recorder::Close(const RecordCaller& caller, RecordFile file, int,
                     int ret) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->CloseIn(caller.process, file, ret);
}

void Recorder::Closed(RecordFile file) {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->Closed(file);
}

std::vector<std::string> Recorder::TakeRemarks() {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->TakeRemarks();
}

}  // namespace prog
