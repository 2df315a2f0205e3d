// SPDX-License-Identifier: GPL-2.0-or-later
//
// Makes the calls of a bound program and compares their results.
#include "prog/run.h"

#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "prog/calls.h"
#include "prog/print.h"
#include "uapi/iommufd_test.h"

namespace prog {

namespace {

// What one program may ask for, whatever numbers it holds.
constexpr uint64_t kMaxScratchBytes = 1 << 20;
constexpr uint64_t kMaxTransferBytes = 1 << 20;
constexpr uint64_t kScratchBytes = 64 << 10;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kDefaultOutBytes = 64;

std::string Hex(uint64_t n) {
  char buf[32];
  snprintf(buf, sizeof(buf), "0x%" PRIx64, n);
  return buf;
}

std::string ErrorText(int error) {
  const char* name = ErrnoName(error);
  return name != nullptr ? name : "errno " + std::to_string(error);
}

// A value of a field as a person reads it.
std::string FieldText(const desc_field* field, uint64_t value) {
  if (field != nullptr && !field->names.empty()) {
    std::string text;
    uint64_t left = value;
    for (const desc_name& name : field->names) {
      if (field->kind == desc_kind::FLAGS) {
        if (name.value == 0 || (left & name.value) != name.value) continue;
        text += (text.empty() ? "" : "|") + std::string(name.name);
        left &= ~name.value;
      } else if (name.value == value) {
        return name.name;
      }
    }
    if (!text.empty() && left == 0) return text;
  }
  if (field != nullptr) {
    switch (field->kind) {
      case desc_kind::ID_IN:
      case desc_kind::ID_OUT:
      case desc_kind::ID_INOUT:
      case desc_kind::FD_IN:
      case desc_kind::FD_OUT:
      case desc_kind::COUNT:
        return std::to_string(value);
      case desc_kind::IOVA:
      case desc_kind::IOVA_LEN:
      case desc_kind::IOVA_INOUT:
        return Hex(value);
      default:
        break;
    }
  }
  return PrintNumber(value);
}

std::string BytesText(const std::string& bytes) {
  std::string text = "\"";
  constexpr size_t kMost = 32;
  for (size_t i = 0; i < bytes.size() && i < kMost; i++) {
    char buf[8];
    const unsigned char c = bytes[i];
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      text += bytes[i];
    } else {
      snprintf(buf, sizeof(buf), "\\x%02x", c);
      text += buf;
    }
  }
  return text + (bytes.size() > kMost ? "\"..." : "\"");
}

class Runner {
 public:
  Runner(const BoundProgram& bound, syscalls* sys, const RunOptions& options)
      : bound_(bound), main_(sys), options_(options) {
    results_.resize(bound.calls.size());
    done_.resize(bound.calls.size());
  }

  RunResult Run() {
    for (size_t i = 0; i < bound_.calls.size(); i++) {
      const BoundCall& call = bound_.calls[i];
      if (call.builtin == Builtin::kJoin) {
        WaitFor({call.process, call.thread});
        CallResult result;
        result.state = CallResult::State::kDone;
        Finish(i, std::move(result));
      } else if (call.builtin == Builtin::kExit) {
        Finish(i, Exit(call));
      } else if (call.thread.empty()) {
        Finish(i, Execute(i, nullptr));
      } else {
        Dispatch({call.process, call.thread}, i);
      }
      Report();
    }
    for (auto& [name, worker] : workers_) {
      {
        std::lock_guard<std::mutex> lock(mutex_);
        worker->stop = true;
      }
      changed_.notify_all();
      worker->thread.join();
    }
    Report();
    if (options_.at_end) options_.at_end(results_);
    RunResult out;
    // The youngest first; the main process is taken apart by hand below.
    while (!processes_.empty()) processes_.erase(std::prev(processes_.end()));
    if (options_.cleanup) {
      CleanUp();
      out.residue = main_.sys->residue();
    }
    for (size_t i = 0; i < results_.size(); i++) {
      if (bound_.calls[i].builtin == Builtin::kMachine) continue;
      out.calls++;
      out.as_expected += results_[i].expected;
    }
    out.results = std::move(results_);
    return out;
  }

 private:
  // Memory of the program's process for the structs of one call at a time.
  struct Scratch {
    uint64_t addr = 0;
    uint64_t used = 0;
  };

  // A process, and what it has got.
  struct Process {
    explicit Process(syscalls* s) : sys(s) {}

    syscalls* sys;
    std::unique_ptr<syscalls> owned;  // the same, when it was forked here
    Scratch scratch;                  // of its main thread
    std::mutex mutex;
    std::map<uint64_t, uint64_t> mappings;
    std::vector<int> fds;
  };

  // A process (the index of its fork()) and a thread of it.
  using WorkerKey = std::pair<size_t, std::string>;

  struct Worker {
    std::thread thread;
    std::deque<size_t> queue;
    bool busy = false;
    bool stop = false;
    Scratch scratch;
  };

  // Data that a pointer field points to, built from the program.
  struct Buffer {
    const desc_field* field = nullptr;
    const desc_struct* pointee = nullptr;  // of one element; or raw bytes
    uint64_t addr = 0;
    size_t bytes = 0;
    size_t elements = 0;
    bool out = false;  // out(n): what it holds is the kernel's to say
    std::string sent;
  };

  // State of one call while it is made.
  struct Frame {
    const BoundCall* bound = nullptr;
    size_t index = 0;
    Process* process = nullptr;
    Scratch* scratch = nullptr;
    CallResult* result = nullptr;
    std::vector<Buffer> buffers;
    unsigned fail_nth = 0;
  };

  // ---- threads ----

  void Dispatch(const WorkerKey& key, size_t index) {
    std::unique_ptr<Worker>& worker = workers_[key];
    std::lock_guard<std::mutex> lock(mutex_);
    if (worker == nullptr) {
      worker = std::make_unique<Worker>();
      Worker* w = worker.get();
      w->thread = std::thread([this, w] { Work(w); });
    }
    worker->queue.push_back(index);
    changed_.notify_all();
  }

  void Work(Worker* worker) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock,
                    [&] { return worker->stop || !worker->queue.empty(); });
      if (worker->queue.empty()) return;
      const size_t index = worker->queue.front();
      worker->queue.pop_front();
      worker->busy = true;
      lock.unlock();
      CallResult result = Execute(index, &worker->scratch);
      lock.lock();
      worker->busy = false;
      results_[index] = std::move(result);
      done_[index] = true;
      changed_.notify_all();
    }
  }

  void WaitFor(const WorkerKey& key) {
    const auto it = workers_.find(key);
    if (it == workers_.end()) return;
    Worker* worker = it->second.get();
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return worker->queue.empty() && !worker->busy; });
  }

  // ---- processes ----

  // The one that makes the call, or (kExit) that ends. nullptr: its fork()
  // failed. Waits for a fork() that another thread makes.
  Process* FindProcess(size_t fork) {
    if (fork == kMainProcess) return &main_;
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return static_cast<bool>(done_[fork]); });
    const auto it = processes_.find(fork);
    return it != processes_.end() ? it->second.get() : nullptr;
  }

  std::string NoProcess(size_t fork) const {
    return "the process was not made, see line " +
           std::to_string(bound_.calls[fork].call->pos.line);
  }

  CallResult Exit(const BoundCall& call) {
    CallResult result;
    if (FindProcess(call.target) == nullptr) {
      result.state = CallResult::State::kSkipped;
      result.why = NoProcess(call.target);
      return result;
    }
    for (const auto& [key, worker] : workers_) {
      if (key.first == call.target) WaitFor(key);
    }
    std::unique_ptr<Process> ended;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto it = processes_.find(call.target);
      ended = std::move(it->second);
      processes_.erase(it);
    }
    ended.reset();
    result.state = CallResult::State::kDone;
    result.expected =
        call.call->expect.errnos.empty() || call.call->expect.success;
    if (!result.expected) result.why = call.call->expect.errnos[0];
    return result;
  }

  bool DoFork(Frame* f) {
    std::unique_ptr<syscalls> child;
    Arm(f);
    const int ret = f->process->sys->fork(&child);
    Disarm(f);
    f->result->error = ret < 0 ? -ret : 0;
    if (ret < 0) return true;
    auto process = std::make_unique<Process>(child.get());
    process->owned = std::move(child);
    {
      std::lock_guard<std::mutex> lock(f->process->mutex);
      process->mappings = f->process->mappings;
    }
    std::lock_guard<std::mutex> lock(mutex_);
    processes_[f->index] = std::move(process);
    return true;
  }

  void Finish(size_t index, CallResult result) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (bound_.calls[index].builtin == Builtin::kJoin ||
        bound_.calls[index].builtin == Builtin::kMachine) {
      result.expected = true;
    }
    results_[index] = std::move(result);
    done_[index] = true;
    changed_.notify_all();
  }

  // Tells the caller of all calls that are done, in the order of the text.
  void Report() {
    while (reported_ < bound_.calls.size()) {
      {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!done_[reported_]) return;
      }
      if (options_.on_result) {
        // A copy is not needed: entries that are done do not change.
        options_.on_result(reported_, results_);
      }
      reported_++;
    }
  }

  // ---- values ----

  // The value of output `path` of a call that an earlier line made.
  bool Ref(Frame* f, const Value& v, uint64_t* out) {
    size_t index = 0;
    for (const auto& ref : f->bound->refs) {
      if (ref.first == v.text) index = ref.second;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    if (index != f->index) {
      changed_.wait(lock, [&] { return static_cast<bool>(done_[index]); });
    }
    const CallResult& result = results_[index];
    if (v.path.empty()) {
      if (result.has_value) {
        *out = result.value;
        return true;
      }
    } else if (const Output* output = FindOutput(result, v.path.substr(1))) {
      if (result.error == 0 || output->show) {
        *out = output->value;
        return true;
      }
    }
    *out = 0;
    if (options_.missing_is_zero) return true;
    if (f->result->why.empty()) {
      f->result->why = "'" + v.text + v.path + "' has no value, see line " +
                       std::to_string(bound_.calls[index].call->pos.line);
    }
    return false;
  }

  static const Output* FindOutput(const CallResult& result,
                                  std::string_view path) {
    for (const Output& output : result.outputs) {
      for (const std::string& name : output.names) {
        if (name == path) return &output;
      }
    }
    return nullptr;
  }

  bool Eval(Frame* f, const Value& v, std::span<const desc_name> names,
            uint64_t* out) {
    *out = 0;
    switch (v.kind) {
      case Value::Kind::kNumber:
        *out = v.number;
        return true;
      case Value::Kind::kName:
        if (IsVariable(v.text)) return Ref(f, v, out);
        return FindConstant(v.text, names, out);
      case Value::Kind::kOr:
      case Value::Kind::kSum: {
        for (const Value& item : v.items) {
          uint64_t n;
          if (!Eval(f, item, names, &n)) return false;
          if (v.kind == Value::Kind::kOr) {
            *out |= n;
          } else {
            *out = item.minus ? *out - n : *out + n;
          }
        }
        return true;
      }
      default:
        return false;
    }
  }

  // ---- memory ----

  // Room for `bytes` that hold `data` and zeros behind it. 0: there is none.
  uint64_t Place(Frame* f, const std::string& data, uint64_t bytes) {
    bytes = std::max<uint64_t>(bytes, data.size());
    bytes = std::min(bytes, kMaxScratchBytes);
    const uint64_t room = (bytes + 15) & ~uint64_t{7};
    uint64_t addr;
    if (f->scratch->addr == 0) {
      f->scratch->addr = NewMemory(f, kScratchBytes);
      if (f->scratch->addr == 0) return 0;
    }
    if (f->scratch->used + room <= kScratchBytes) {
      addr = f->scratch->addr + f->scratch->used;
      f->scratch->used += room;
    } else {
      addr = NewMemory(f, (room + kPage - 1) & ~(kPage - 1));
      if (addr == 0) return 0;
    }
    std::string image = data;
    image.resize(room);
    if (f->process->sys->store(addr, image.data(), image.size()) != 0) {
      return 0;
    }
    return addr;
  }

  static uint64_t NewMemory(Frame* f, uint64_t bytes) {
    memory_options opts;
    opts.size = bytes;
    const uint64_t addr = f->process->sys->anon(opts);
    if (is_error(addr)) return 0;
    AddMapping(f->process, addr, bytes);
    return addr;
  }

  static uint64_t WholePages(uint64_t bytes) {
    return (bytes + kPage - 1) & ~(kPage - 1);
  }

  static void AddMapping(Process* p, uint64_t addr, uint64_t bytes) {
    std::lock_guard<std::mutex> lock(p->mutex);
    CutMappings(p, addr, WholePages(bytes));
    p->mappings[addr] = WholePages(bytes);
  }

  // [addr, addr + bytes) is no longer mapped, or is something else now.
  static void CutMappings(Process* p, uint64_t addr, uint64_t bytes) {
    std::map<uint64_t, uint64_t>& mappings = p->mappings;
    const uint64_t end = addr + bytes;
    auto it = mappings.upper_bound(addr);
    if (it != mappings.begin()) --it;
    while (it != mappings.end() && it->first < end) {
      const uint64_t old = it->first;
      const uint64_t old_end = old + it->second;
      if (old_end <= addr) {
        ++it;
        continue;
      }
      it = mappings.erase(it);
      if (old < addr) mappings[old] = addr - old;
      if (old_end > end) mappings[end] = old_end - end;
    }
  }

  static void AddFd(Frame* f, int fd) {
    std::lock_guard<std::mutex> lock(f->process->mutex);
    f->process->fds.push_back(fd);
  }

  void CleanUp() {
    // As when a process ends: its memory first, then its files.
    for (const auto& [addr, bytes] : main_.mappings) {
      main_.sys->munmap(addr, bytes);
    }
    for (const int fd : main_.fds) main_.sys->close(fd);
  }

  // ---- building a command ----

  // The bytes of one struct literal.
  bool EncodeStruct(Frame* f, const desc_struct& s,
                    const std::vector<Field>& fields, size_t first,
                    bool command, const desc_ioctl* ioctl, std::string* image) {
    image->assign(s.size, '\0');
    for (const desc_field& d : s.fields) {
      uint64_t value = d.default_value;
      if (command && d.kind == desc_kind::SIZE) value = s.size;
      if (command && d.kind == desc_kind::OP) value = ioctl->op;
      if (value != 0) desc_store(d, image->data(), value);
    }
    // Numbers first: they say what pointers point to and how much of it.
    std::vector<const desc_field*> given;
    for (size_t i = first; i < fields.size(); i++) {
      const desc_field* d = FindField(s, fields[i].name);
      if (d == nullptr) continue;
      given.push_back(d);
      if (IsData(fields[i].value)) continue;
      uint64_t value;
      if (!Eval(f, fields[i].value, d->names, &value)) return false;
      desc_store(*d, image->data(), value);
    }
    for (size_t i = first; i < fields.size(); i++) {
      const desc_field* d = FindField(s, fields[i].name);
      if (d == nullptr || !IsData(fields[i].value)) continue;
      if (!EncodePointer(f, s, fields, *d, fields[i].value, given, image)) {
        return false;
      }
    }
    return true;
  }

  static bool IsData(const Value& v) {
    return v.kind == Value::Kind::kString || v.kind == Value::Kind::kList ||
           v.kind == Value::Kind::kStruct || v.kind == Value::Kind::kOut;
  }

  bool EncodePointer(Frame* f, const desc_struct& s,
                     const std::vector<Field>& fields, const desc_field& d,
                     const Value& v,
                     const std::vector<const desc_field*>& given,
                     std::string* image) {
    Buffer buffer;
    buffer.field = &d;
    buffer.out = v.kind == Value::Kind::kOut;
    buffer.pointee = desc_pointee(s, d, image->data());
    std::string data;
    auto add_struct = [&](const Value& literal) {
      const desc_struct* chosen = ChoosePointee(d, s, fields, literal);
      if (chosen == nullptr) return false;
      buffer.pointee = chosen;
      std::string element;
      if (!EncodeStruct(f, *chosen, literal.fields, 0, false, nullptr,
                        &element)) {
        return false;
      }
      data += element;
      return true;
    };
    switch (v.kind) {
      case Value::Kind::kString:
        data = v.text;
        break;
      case Value::Kind::kStruct:
        if (!add_struct(v)) return false;
        break;
      case Value::Kind::kList:
        for (const Value& item : v.items) {
          if (item.kind == Value::Kind::kStruct) {
            if (!add_struct(item)) return false;
            continue;
          }
          // A number: one byte of raw data, or a whole element of one field.
          uint64_t n;
          if (!Eval(f, item, {}, &n)) return false;
          size_t width = 1;
          if (buffer.pointee != nullptr && buffer.pointee->size <= 8) {
            width = buffer.pointee->size;
          }
          data.append(reinterpret_cast<const char*>(&n), width);
        }
        break;
      case Value::Kind::kOut: {
        // In the unit of the pointer's length: elements, or bytes.
        const desc_field* len =
            d.len_field != nullptr ? desc_find_field(s, d.len_field) : nullptr;
        const bool count = len != nullptr && len->kind == desc_kind::COUNT;
        uint64_t size = buffer.pointee != nullptr ? buffer.pointee->size : 1;
        uint64_t n = count ? 1 : (size > 1 ? size : kDefaultOutBytes);
        if (!v.items.empty() && !Eval(f, v.items[0], {}, &n)) return false;
        if (!count) size = 1;
        data.assign(std::min(n, kMaxScratchBytes / size) * size, '\0');
        break;
      }
      default:
        return false;
    }
    const size_t element = buffer.pointee != nullptr ? buffer.pointee->size : 1;
    buffer.bytes = data.size();
    buffer.elements = element != 0 ? data.size() / element : 0;
    uint64_t room = data.size();
    // Lengths that the program does not give follow from the data.
    auto is_given = [&](const desc_field* field) {
      return std::find(given.begin(), given.end(), field) != given.end();
    };
    uint64_t entry_bytes = element;
    for (const desc_field& other : s.fields) {
      if (other.kind != desc_kind::ENTRY_LEN) continue;
      if (is_given(&other)) {
        entry_bytes = desc_load(other, image->data());
      } else {
        desc_store(other, image->data(), element);
      }
    }
    if (d.len_field != nullptr) {
      if (const desc_field* len = desc_find_field(s, d.len_field)) {
        const bool count = len->kind == desc_kind::COUNT;
        if (is_given(len)) {
          const uint64_t n = desc_load(*len, image->data());
          if (n <= kMaxScratchBytes && entry_bytes <= kMaxScratchBytes) {
            room = std::max(room, count ? n * entry_bytes : n);
          }
        } else {
          desc_store(*len, image->data(),
                     count ? buffer.elements : buffer.bytes);
        }
      }
    }
    buffer.addr = Place(f, data, room);
    buffer.sent = std::move(data);
    desc_store(d, image->data(), buffer.addr);
    f->buffers.push_back(std::move(buffer));
    return true;
  }

  // ---- the calls ----

  const Value* Arg(const Frame& f, std::string_view name) const {
    const BuiltinSpec* spec = FindBuiltin(f.bound->call->name);
    const std::vector<Field>& args = f.bound->call->args;
    for (size_t i = 0; i < args.size(); i++) {
      if (args[i].name == name) return &args[i].value;
      if (args[i].name.empty() && spec != nullptr && i < spec->args.size() &&
          name == spec->args[i].name) {
        return &args[i].value;
      }
    }
    return nullptr;
  }

  // An argument that is a number; `otherwise` when it is not given.
  bool NumberArg(Frame* f, std::string_view name, uint64_t otherwise,
                 uint64_t* out) {
    *out = otherwise;
    const Value* v = Arg(*f, name);
    if (v == nullptr) return true;
    std::span<const desc_name> names;
    if (const BuiltinSpec* spec = FindBuiltin(f->bound->call->name)) {
      for (const BuiltinArg& arg : spec->args) {
        if (name == arg.name) names = arg.names;
      }
    }
    return Eval(f, *v, names, out);
  }

  // fail_nth goes on just before the call and off just after it.
  void Arm(Frame* f) {
    if (f->fail_nth != 0) f->process->sys->set_fail_nth(f->fail_nth);
  }
  void Disarm(Frame* f) {
    if (f->fail_nth == 0) return;
    f->result->injected = f->process->sys->fail_nth();
    f->process->sys->set_fail_nth(0);
  }

  // `scratch` is the thread's; nullptr is the main thread of the process.
  CallResult Execute(size_t index, Scratch* scratch) {
    CallResult result = ExecuteOnce(index, scratch, true);
    if (options_.retry_injected && index == options_.fail_call &&
        result.injected == 0 && result.error != 0) {
      const int error = result.error;
      result = ExecuteOnce(index, scratch, false);
      result.injected = 0;
      result.injected_error = error;
    }
    return result;
  }

  CallResult ExecuteOnce(size_t index, Scratch* scratch, bool inject) {
    CallResult result;
    Frame frame;
    frame.bound = &bound_.calls[index];
    frame.index = index;
    frame.process = FindProcess(frame.bound->process);
    if (frame.process == nullptr) {
      result.state = CallResult::State::kSkipped;
      result.why = NoProcess(frame.bound->process);
      return result;
    }
    frame.scratch = scratch != nullptr ? scratch : &frame.process->scratch;
    frame.result = &result;
    frame.scratch->used = 0;
    uint64_t fail_nth = index == options_.fail_call ? options_.fail_nth : 0;
    for (const Field& arg : frame.bound->call->args) {
      if (arg.name == "fail_nth" && !Eval(&frame, arg.value, {}, &fail_nth)) {
        fail_nth = 0;
      }
    }
    frame.fail_nth =
        static_cast<unsigned>(std::min<uint64_t>(fail_nth, 1u << 30));
    if (!inject) frame.fail_nth = 0;
    if (!Dispatch(&frame)) {
      result.state = CallResult::State::kSkipped;
      if (result.why.empty()) result.why = "an argument has no value";
      return result;
    }
    result.state = CallResult::State::kDone;
    Check(&frame);
    return result;
  }

  bool Dispatch(Frame* f) {
    switch (f->bound->builtin) {
      case Builtin::kMachine:
      case Builtin::kExit:
      case Builtin::kJoin:
        return true;
      case Builtin::kFork:
        return DoFork(f);
      case Builtin::kFtruncate:
        return DoFtruncate(f);
      case Builtin::kIoctl:
        return DoIoctl(f);
      case Builtin::kOpen:
        return DoOpen(f);
      case Builtin::kClose:
        return DoClose(f);
      case Builtin::kAnon:
      case Builtin::kMemfd:
        return DoMemory(f);
      case Builtin::kMmap:
        return DoMmap(f);
      case Builtin::kMunmap:
        return DoMunmap(f);
      case Builtin::kLoad:
        return DoLoad(f);
      case Builtin::kStore:
        return DoStore(f);
      case Builtin::kRead:
      case Builtin::kWrite:
        return DoReadWrite(f);
      case Builtin::kPoll:
        return DoPoll(f);
      case Builtin::kRawIoctl:
        return DoRawIoctl(f);
    }
    return false;
  }

  // A system call's result: a value, or -errno.
  void SetResult(Frame* f, int64_t ret) {
    if (ret < 0) {
      f->result->error = static_cast<int>(-ret);
    } else {
      f->result->has_value = true;
      f->result->value = static_cast<uint64_t>(ret);
    }
  }

  bool DoOpen(Frame* f) {
    const Value* path = Arg(*f, "path");
    const Value* uapi = Arg(*f, "uapi");
    const std::string name = path != nullptr ? WordOf(*path) : "/dev/iommu";
    std::string revision = uapi != nullptr ? WordOf(*uapi) : "";
    // Only a known form gives way: open(uapi=nonsense) is a test of its own.
    if (!options_.revision.empty() &&
        (revision.empty() || RevisionByName(revision) != 0)) {
      revision = options_.revision;
    }
    Arm(f);
    const int fd = f->process->sys->open(name, revision);
    Disarm(f);
    if (fd >= 0) AddFd(f, fd);
    SetResult(f, fd);
    return true;
  }

  bool DoClose(Frame* f) {
    uint64_t fd;
    if (!NumberArg(f, "fd", 0, &fd)) return false;
    Arm(f);
    const int ret = f->process->sys->close(static_cast<int>(fd));
    Disarm(f);
    {
      std::lock_guard<std::mutex> lock(f->process->mutex);
      std::vector<int>& fds = f->process->fds;
      const auto it = std::find(fds.begin(), fds.end(), static_cast<int>(fd));
      if (it != fds.end()) fds.erase(it);
    }
    f->result->error = ret < 0 ? -ret : 0;
    return true;
  }

  bool DoMemory(Frame* f) {
    memory_options opts;
    uint64_t huge, fragmented, readonly, poisoned, shared;
    if (!NumberArg(f, "size", 0, &opts.size) ||
        !NumberArg(f, "align", 0, &opts.align) ||
        !NumberArg(f, "addr", 0, &opts.addr) ||
        !NumberArg(f, "huge", 0, &huge) ||
        !NumberArg(f, "fragmented", 0, &fragmented) ||
        !NumberArg(f, "readonly", 0, &readonly) ||
        !NumberArg(f, "poisoned", 0, &poisoned) ||
        !NumberArg(f, "shared", 0, &shared)) {
      return false;
    }
    opts.huge = huge != 0;
    opts.fragmented = fragmented != 0;
    opts.readonly = readonly != 0;
    opts.poisoned = poisoned != 0;
    opts.shared = shared != 0;
    Arm(f);
    if (f->bound->builtin == Builtin::kMemfd) {
      const int fd = f->process->sys->memfd(opts);
      Disarm(f);
      if (fd >= 0) AddFd(f, fd);
      SetResult(f, fd);
      return true;
    }
    const uint64_t addr = f->process->sys->anon(opts);
    Disarm(f);
    // Huge pages come whole, and are unmapped so.
    constexpr uint64_t kHuge = 2 << 20;
    SetAddress(f, addr,
               opts.huge ? (opts.size + kHuge - 1) & ~(kHuge - 1) : opts.size);
    return true;
  }

  void SetAddress(Frame* f, uint64_t addr, uint64_t bytes) {
    if (is_error(addr)) {
      f->result->error = static_cast<int>(-static_cast<int64_t>(addr));
      return;
    }
    AddMapping(f->process, addr, bytes);
    f->result->has_value = true;
    f->result->value = addr;
  }

  bool DoMmap(Frame* f) {
    uint64_t fd, addr, length, prot, flags, offset;
    if (!NumberArg(f, "fd", 0, &fd) || !NumberArg(f, "addr", 0, &addr) ||
        !NumberArg(f, "length", 0, &length) ||
        !NumberArg(f, "prot", PROT_READ | PROT_WRITE, &prot) ||
        !NumberArg(f, "flags", MAP_SHARED, &flags) ||
        !NumberArg(f, "offset", 0, &offset)) {
      return false;
    }
    Arm(f);
    const uint64_t at = f->process->sys->mmap(
        addr, length, static_cast<int>(prot), static_cast<int>(flags),
        static_cast<int>(fd), offset);
    Disarm(f);
    SetAddress(f, at, length);
    return true;
  }

  bool DoMunmap(Frame* f) {
    uint64_t addr, length;
    if (!NumberArg(f, "addr", 0, &addr)) return false;
    uint64_t known = 0;
    {
      std::lock_guard<std::mutex> lock(f->process->mutex);
      const auto it = f->process->mappings.find(addr);
      if (it != f->process->mappings.end()) known = it->second;
    }
    if (!NumberArg(f, "length", known, &length)) return false;
    Arm(f);
    const int ret = f->process->sys->munmap(addr, length);
    Disarm(f);
    f->result->error = ret < 0 ? -ret : 0;
    if (ret == 0) {
      std::lock_guard<std::mutex> lock(f->process->mutex);
      CutMappings(f->process, addr, WholePages(length));
    }
    return true;
  }

  bool DoLoad(Frame* f) {
    uint64_t addr, n;
    if (!NumberArg(f, "addr", 0, &addr) || !NumberArg(f, "n", 4, &n)) {
      return false;
    }
    n = std::min(n, kMaxTransferBytes);
    std::string bytes(n, '\0');
    const int ret = f->process->sys->load(addr, bytes.data(), bytes.size());
    if (ret < 0) {
      f->result->error = -ret;
      return true;
    }
    f->result->has_value = true;
    memcpy(&f->result->value, bytes.data(), std::min<size_t>(n, 8));
    SetBytes(f, std::move(bytes));
    return true;
  }

  static void SetBytes(Frame* f, std::string bytes) {
    Output hash;
    hash.name = "hash";
    hash.names = {hash.name};
    hash.value = HashOf(bytes);
    hash.show = false;
    f->result->outputs.push_back(std::move(hash));
    f->result->bytes = std::move(bytes);
  }

  bool DoFtruncate(Frame* f) {
    uint64_t fd, length;
    if (!NumberArg(f, "fd", 0, &fd) || !NumberArg(f, "length", 0, &length)) {
      return false;
    }
    Arm(f);
    const int ret = f->process->sys->ftruncate(static_cast<int>(fd), length);
    Disarm(f);
    f->result->error = ret < 0 ? -ret : 0;
    return true;
  }

  bool DoStore(Frame* f) {
    uint64_t addr, n;
    const Value* v = Arg(*f, "value");
    if (!NumberArg(f, "addr", 0, &addr) || !NumberArg(f, "n", 4, &n)) {
      return false;
    }
    std::string bytes;
    if (!Bytes(f, *v, &bytes)) {
      uint64_t value;
      if (!f->result->why.empty() || !Eval(f, *v, {}, &value)) return false;
      bytes.assign(reinterpret_cast<const char*>(&value), sizeof(value));
      bytes.resize(std::min<uint64_t>(n, 8));
    } else if (Arg(*f, "n") != nullptr && !bytes.empty()) {
      const std::string once = bytes;
      n = std::min(n, kMaxTransferBytes);
      while (bytes.size() < n) bytes += once;
      bytes.resize(n);
    }
    const int ret = f->process->sys->store(addr, bytes.data(), bytes.size());
    f->result->error = ret < 0 ? -ret : 0;
    return true;
  }

  // The bytes that a string, a list or out(n) stands for. False: it is none of
  // these, or (then `why` is set) a value in it is missing.
  bool Bytes(Frame* f, const Value& v, std::string* bytes) {
    switch (v.kind) {
      case Value::Kind::kString:
        *bytes = v.text;
        return true;
      case Value::Kind::kList:
        for (const Value& item : v.items) {
          uint64_t n;
          if (!Eval(f, item, {}, &n)) return false;
          *bytes += static_cast<char>(n);
        }
        return true;
      case Value::Kind::kOut: {
        uint64_t n = 1;
        if (!v.items.empty() && !Eval(f, v.items[0], {}, &n)) return false;
        bytes->assign(std::min(n, kMaxTransferBytes), '\0');
        return true;
      }
      default:
        return false;
    }
  }

  // An address argument, or data that is placed in memory for this call.
  bool Address(Frame* f, std::string_view name, uint64_t* addr,
               uint64_t* bytes) {
    const Value* v = Arg(*f, name);
    *addr = 0;
    *bytes = 0;
    if (v == nullptr) return true;
    std::string data;
    if (IsData(*v)) {
      if (!Bytes(f, *v, &data)) return false;
      *addr = Place(f, data, data.size());
      *bytes = data.size();
      return true;
    }
    return NumberArg(f, name, 0, addr);
  }

  bool DoReadWrite(Frame* f) {
    uint64_t fd, addr, n, bytes;
    if (!NumberArg(f, "fd", 0, &fd) || !Address(f, "buf", &addr, &bytes) ||
        !NumberArg(f, "n", bytes, &n)) {
      return false;
    }
    const bool reads = f->bound->builtin == Builtin::kRead;
    Arm(f);
    const long ret =
        reads ? f->process->sys->read(static_cast<int>(fd), addr, n)
              : f->process->sys->write(static_cast<int>(fd), addr, n);
    Disarm(f);
    if (reads && ret > 0 && bytes != 0) {
      const uint64_t got = std::min<uint64_t>(
          {static_cast<uint64_t>(ret), bytes, kMaxTransferBytes});
      std::string data(got, '\0');
      if (f->process->sys->load(addr, data.data(), got) == 0) {
        SetBytes(f, std::move(data));
      }
    }
    SetResult(f, ret);
    return true;
  }

  bool DoPoll(Frame* f) {
    uint64_t fd, events, timeout;
    if (!NumberArg(f, "fd", 0, &fd) ||
        !NumberArg(f, "events", POLLIN, &events) ||
        !NumberArg(f, "timeout_ms", 0, &timeout)) {
      return false;
    }
    // A program ends: nothing in it waits longer than ten seconds.
    timeout = std::min<uint64_t>(timeout, 10000);
    Arm(f);
    const int ret =
        f->process->sys->poll(static_cast<int>(fd), static_cast<short>(events),
                              static_cast<int>(timeout));
    Disarm(f);
    SetResult(f, ret);
    return true;
  }

  bool DoRawIoctl(Frame* f) {
    uint64_t fd, cmd, addr, bytes;
    if (!NumberArg(f, "fd", 0, &fd) || !NumberArg(f, "cmd", 0, &cmd) ||
        !Address(f, "arg", &addr, &bytes)) {
      return false;
    }
    Arm(f);
    const long ret = f->process->sys->ioctl(static_cast<int>(fd), cmd, addr);
    Disarm(f);
    SetResult(f, ret);
    if (ret >= 0) OwnFilesOf(f, static_cast<uint32_t>(cmd), addr);
    return true;
  }

  // A command by its number makes files like one by its name.
  void OwnFilesOf(Frame* f, uint32_t cmd, uint64_t addr) {
    const auto load = [&](uint64_t offset, void* to, size_t bytes) {
      return f->process->sys->load(addr + offset, to, bytes) == 0;
    };
    uint32_t op = 0;
    (void)load(offsetof(struct iommu_test_cmd, op), &op, sizeof(op));
    const desc_ioctl* desc = iommufd_desc_find_cmd(cmd, op, DESC_ALL);
    if (desc == nullptr) return;
    for (const desc_field& d : desc->arg->fields) {
      int fd = -1;
      if (d.kind == desc_kind::FD_OUT && load(d.offset, &fd, sizeof(fd))) {
        AddFd(f, fd);
      }
    }
  }

  bool DoIoctl(Frame* f) {
    const desc_ioctl& desc = *f->bound->desc;
    const desc_struct& s = *desc.arg;
    const std::vector<Field>& args = f->bound->call->args;
    uint64_t fd;
    if (!Eval(f, args[0].value, {}, &fd)) return false;
    std::string image;
    if (!EncodeStruct(f, s, args, 1, true, &desc, &image)) return false;
    const std::string sent = image;
    // Bytes behind the struct, and a size= that reaches into them or beyond.
    const desc_field* size_field = nullptr;
    for (const desc_field& d : s.fields) {
      if (d.kind == desc_kind::SIZE) size_field = &d;
    }
    bool size_given = false;
    for (size_t i = 1; i < args.size(); i++) {
      // VFIO's is called argsz, and has a size of another thing beside it.
      if (FindField(s, args[i].name) == size_field) size_given = true;
      if (args[i].name != "tail") continue;
      image += args[i].value.text;
    }
    if (size_field != nullptr && !size_given && image.size() != s.size) {
      desc_store(*size_field, image.data(), image.size());
    }
    uint64_t room = image.size();
    if (size_field != nullptr) {
      const uint64_t size = desc_load(*size_field, image.data());
      if (size <= kMaxScratchBytes) room = std::max(room, size);
    }
    const uint64_t placed = desc.arg_is_value ? 0 : Place(f, image, room);
    uint64_t addr =
        desc.arg_is_value ? desc_load(s.fields[0], image.data()) : placed;
    for (size_t i = 1; i < args.size(); i++) {
      if (args[i].name == "arg" && FindField(s, "arg") == nullptr &&
          !Eval(f, args[i].value, {}, &addr)) {
        return false;
      }
    }
    Arm(f);
    const long ret =
        f->process->sys->ioctl(static_cast<int>(fd), desc.cmd, addr);
    Disarm(f);
    f->result->fd = static_cast<int>(fd);
    f->result->sent = sent;
    if (ret < 0) f->result->error = static_cast<int>(-ret);
    if (ret >= 0 && desc.returns_fd) {
      SetResult(f, ret);
      AddFd(f, static_cast<int>(ret));
    }
    if (desc.returns_number) SetResult(f, ret);
    if (placed != 0) ReadBack(f, placed, sent);
    return true;
  }

  // The outputs: fields of the command, then of what its pointers point to.
  void ReadBack(Frame* f, uint64_t placed, const std::string& sent) {
    const desc_ioctl& desc = *f->bound->desc;
    CallResult* result = f->result;
    std::string image(desc.arg->size, '\0');
    if (f->process->sys->load(placed, image.data(), image.size()) != 0) return;
    const desc_field* primary = PrimaryOutput(desc);
    for (const desc_field& d : desc.arg->fields) {
      if (!desc_is_returned(d) || desc_is_pointer(d.kind)) continue;
      Output output;
      output.name = desc_output_name(d);
      output.names = {output.name, d.name};
      if (d.alias != nullptr) output.names.push_back(d.alias);
      output.field = &d;
      output.value = desc_load(d, image.data());
      const bool changed = output.value != desc_load(d, sent.data());
      // What went in and came out the same says nothing.
      output.show = changed || (result->error == 0 && !desc_is_input(d.kind));
      if (result->error == 0) {
        if (&d == primary) {
          result->has_value = true;
          result->value = output.value;
        }
        if (d.kind == desc_kind::FD_OUT) {
          AddFd(f, static_cast<int>(output.value));
        }
      }
      result->outputs.push_back(std::move(output));
    }
    for (const Buffer& buffer : f->buffers) {
      ReadBuffer(f, buffer, image);
    }
  }

  void ReadBuffer(Frame* f, const Buffer& buffer, const std::string& image) {
    const desc_field& d = *buffer.field;
    if (d.kind != desc_kind::PTR_OUT && d.kind != desc_kind::PTR_INOUT) return;
    std::string data(buffer.bytes, '\0');
    if (buffer.addr == 0 || data.empty() ||
        f->process->sys->load(buffer.addr, data.data(), data.size()) != 0) {
      return;
    }
    CallResult* result = f->result;
    const std::string pointer(PointerName(d));
    const desc_struct* pointee = buffer.pointee;
    if (pointee == nullptr && buffer.out) {
      // The kernel's answer may say what it wrote.
      pointee = desc_pointee(*f->bound->desc->arg, d, image.data());
    }
    if (pointee == nullptr) {
      Output hash;
      hash.name = pointer + ".hash";
      hash.names = {hash.name, d.name + std::string(".hash")};
      hash.value = HashOf(data);
      hash.show = false;
      result->outputs.push_back(std::move(hash));
      constexpr size_t kMost = 64;
      for (size_t i = 0; i < data.size() && i < kMost; i++) {
        const std::string index = '[' + std::to_string(i) + ']';
        Output output;
        output.name = pointer + index;
        output.names = {output.name, d.name + index};
        output.value = static_cast<unsigned char>(data[i]);
        output.show = data[i] != buffer.sent[i];
        result->outputs.push_back(std::move(output));
      }
      return;
    }
    // How many elements came back, where the command says so.
    const size_t width = pointee->size;
    const size_t sent = width != 0 ? data.size() / width : 0;
    size_t elements = sent;
    const desc_struct& s = *f->bound->desc->arg;
    if (d.len_field != nullptr) {
      const desc_field* len = desc_find_field(s, d.len_field);
      if (len != nullptr && len->kind == desc_kind::COUNT) {
        elements = std::min<size_t>(elements, desc_load(*len, image.data()));
      }
    }
    constexpr size_t kMost = 64;
    for (size_t i = 0; i < sent && i < kMost; i++) {
      const bool single = sent == 1;
      const std::string index = '[' + std::to_string(i) + ']';
      for (const desc_field& sub : pointee->fields) {
        if (sub.kind == desc_kind::PADDING) continue;
        Output output;
        output.field = &sub;
        output.value = desc_load(sub, data.data() + i * width);
        for (const char* name : {sub.name, sub.alias}) {
          if (name == nullptr) continue;
          output.names.push_back(pointer + index + '.' + name);
          output.names.push_back(d.name + index + '.' + name);
          if (i != 0) continue;
          output.names.push_back(name);
          output.names.push_back(pointer + '.' + name);
          output.names.push_back(std::string(d.name) + '.' + name);
        }
        // Where the forms have different names, the releases's is second.
        const char* shown = sub.name;
        if ((f->bound->revision & DESC_RELEASES) && sub.alias != nullptr &&
            sub.alias[0] != '_') {
          shown = sub.alias;
        }
        output.name = single ? shown : pointer + index + '.' + shown;
        const bool changed =
            output.value != desc_load(sub, buffer.sent.data() + i * width);
        output.show =
            changed || (result->error == 0 && desc_is_output(sub.kind) &&
                        !desc_is_input(sub.kind));
        if (i >= elements || sub.kind == desc_kind::RESERVED) {
          output.show = false;
        }
        result->outputs.push_back(std::move(output));
      }
    }
  }

  // ---- expectations ----

  void Check(Frame* f) {
    const Expect& expect = f->bound->call->expect;
    CallResult* result = f->result;
    std::string wanted;
    bool right;
    if (expect.errnos.empty()) {
      right = result->error == 0;
      wanted = "success";
    } else {
      right = expect.success && result->error == 0;
      if (expect.success) wanted = "ok|";
      for (size_t i = 0; i < expect.errnos.size(); i++) {
        if (i != 0) wanted += '|';
        wanted += expect.errnos[i];
        right = right || ErrnoByName(expect.errnos[i]) == result->error;
      }
    }
    if (!right) {
      result->why = wanted;
      return;
    }
    for (const Expect::Output& output : expect.outputs) {
      if (!CheckOutput(f, output)) return;
    }
    result->expected = true;
  }

  bool CheckOutput(Frame* f, const Expect::Output& expected) {
    CallResult* result = f->result;
    std::string name = expected.path;
    name += expected.negated ? "!=" : "=";
    if (expected.path.empty()) name += ' ';
    if (expected.value.kind == Value::Kind::kString) {
      const bool same = result->bytes == expected.value.text;
      if (same != expected.negated) return true;
      result->why = name + BytesText(expected.value.text);
      return false;
    }
    uint64_t got = 0;
    const desc_field* field = nullptr;
    std::span<const desc_name> names;
    if (expected.path.empty()) {
      got = result->value;
      if (f->bound->builtin == Builtin::kPoll) names = PollNames();
    } else {
      const Output* output = FindOutput(*result, expected.path);
      if (output == nullptr) {
        result->why =
            name + PrintValue(expected.value) + ", and there is no such output";
        return false;
      }
      got = output->value;
      field = output->field;
      if (field != nullptr) names = field->names;
    }
    uint64_t want;
    if (!Eval(f, expected.value, names, &want)) return false;
    // A number is compared in the width of what came back.
    if (field != nullptr && field->width < 8) {
      want &= (uint64_t{1} << (8 * field->width)) - 1;
    }
    if ((want == got) != expected.negated) return true;
    result->why = name + PrintValue(expected.value);
    if (expected.value.kind != Value::Kind::kNumber) {
      result->why += " (" + FieldText(field, want) + ")";
    }
    return false;
  }

  const BoundProgram& bound_;
  Process main_;
  const RunOptions& options_;

  // Of results_ and done_ of calls that are under way, workers, processes.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<CallResult> results_;
  std::vector<char> done_;
  std::map<WorkerKey, std::unique_ptr<Worker>> workers_;
  std::map<size_t, std::unique_ptr<Process>> processes_;
  size_t reported_ = 0;
};

}  // namespace

std::string FormatResult(const BoundCall& call, const CallResult& result) {
  std::string text;
  if (result.state == CallResult::State::kNotRun) return "not run";
  if (result.state == CallResult::State::kSkipped) return "skipped";
  auto add = [&text](const std::string& part) {
    if (!text.empty()) text += ' ';
    text += part;
  };
  if (result.error != 0) {
    add(ErrorText(result.error));
  } else if (result.has_value) {
    switch (call.builtin) {
      case Builtin::kAnon:
      case Builtin::kMmap:
        add("= " + Hex(result.value));
        break;
      case Builtin::kLoad:
        add("= " + (result.bytes.size() > 8 ? BytesText(result.bytes)
                                            : Hex(result.value)));
        break;
      case Builtin::kPoll: {
        std::string events;
        for (const desc_name& name : PollNames()) {
          if ((result.value & name.value) == 0) continue;
          events += (events.empty() ? "" : "|") + std::string(name.name);
        }
        add("= " + (events.empty() ? "0" : events));
        break;
      }
      default: {
        const desc_field* field =
            call.desc != nullptr ? PrimaryOutput(*call.desc) : nullptr;
        add("= " + FieldText(field, result.value));
        if (call.builtin == Builtin::kRead && !result.bytes.empty()) {
          add(BytesText(result.bytes));
        }
        break;
      }
    }
  }
  const desc_field* primary =
      call.desc != nullptr ? PrimaryOutput(*call.desc) : nullptr;
  size_t shown = 0;
  for (const Output& output : result.outputs) {
    if (!output.show) continue;
    if (output.field == primary && result.error == 0) continue;
    if (shown++ == 12) {
      add("...");
      break;
    }
    add(output.name + '=' + FieldText(output.field, output.value));
  }
  if (text.empty()) text = "ok";
  if (result.injected == 0) {
    text += " (failure injected)";
  } else if (result.injected > 0) {
    text += " (fail_nth not reached)";
  }
  return text;
}

RunResult Run(const BoundProgram& bound, syscalls* sys,
              const RunOptions& options) {
  return Runner(bound, sys, options).Run();
}

}  // namespace prog
