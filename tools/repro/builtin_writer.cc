// SPDX-License-Identifier: GPL-2.0-or-later
//
// The calls that are no ioctl with a description.
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "prog/calls.h"
#include "tools/repro/call_writer.h"
#include "tools/repro/data.h"

namespace repro {
namespace {

constexpr uint64_t kMaxBytes = 1 << 20;
constexpr uint64_t kMaxStackBytes = 4096;
constexpr int kMaxTimeoutMs = 10000;

class BuiltinWriter : public CallWriter {
 public:
  using CallWriter::CallWriter;

 protected:
  void WriteCall() override;
  std::optional<Result> ResultOf(std::string_view path) override;
  std::pair<std::string, std::string> ResultBytes() override {
    return {bytes_, n_bytes_};
  }
  std::span<const desc_name> ResultNames() override {
    return bound_.builtin == prog::Builtin::kPoll
               ? prog::PollNames()
               : std::span<const desc_name>();
  }

 private:
  const prog::Value* Arg(std::string_view name) const;
  Expression NumberArg(std::string_view name, uint64_t otherwise = 0);
  bool Flag(std::string_view name);
  std::string Fd() { return "(int)" + NumberArg("fd").text; }
  // Declares `bytes` with what the argument stands for, room for at least `n`.
  void DeclareBytes(const prog::Value& v);
  // An address, or the bytes that were declared.
  std::string Address(std::string_view name, std::string* n);

  void WriteOpen();
  void WriteAnon();
  void WriteMemfd();
  void WriteMmap();
  void WriteMunmap();
  void WriteLoad();
  void WriteStore();
  void WriteReadWrite();
  void WritePoll();
  void WriteFork();
  void Memory(const std::string& expression, const std::string& size);

  std::string value_ = "(__u64)ret";
  std::string bytes_;  // load(), read(): where they are
  std::string n_bytes_;
  bool placed_ = false;  // the bytes are not on the stack
  std::string size_;     // anon(), mmap(): how much was mapped
};

const prog::Value* BuiltinWriter::Arg(std::string_view name) const {
  const prog::BuiltinSpec* spec = prog::FindBuiltin(call().name);
  for (size_t i = 0; i < call().args.size(); i++) {
    const prog::Field& arg = call().args[i];
    if (arg.name == name || (arg.name.empty() && i < spec->args.size() &&
                             name == spec->args[i].name)) {
      return &arg.value;
    }
  }
  return nullptr;
}

Expression BuiltinWriter::NumberArg(std::string_view name, uint64_t otherwise) {
  const prog::Value* v = Arg(name);
  if (v == nullptr) return {CNumber(otherwise), otherwise, ""};
  std::span<const desc_name> names;
  for (const prog::BuiltinArg& arg : prog::FindBuiltin(call().name)->args) {
    if (name == arg.name) names = arg.names;
  }
  Expression e = Number(*v, names);
  if (!e.known && !v->items.empty()) e.text = absl::StrCat("(", e.text, ")");
  return e;
}

bool BuiltinWriter::Flag(std::string_view name) {
  return NumberArg(name).known.value_or(0) != 0;
}

void BuiltinWriter::WriteCall() {
  switch (bound_.builtin) {
    case prog::Builtin::kOpen:
      return WriteOpen();
    case prog::Builtin::kClose:
      return Make(absl::StrCat("close(", Fd(), ")"));
    case prog::Builtin::kAnon:
      return WriteAnon();
    case prog::Builtin::kMemfd:
      return WriteMemfd();
    case prog::Builtin::kMmap:
      return WriteMmap();
    case prog::Builtin::kMunmap:
      return WriteMunmap();
    case prog::Builtin::kLoad:
      return WriteLoad();
    case prog::Builtin::kStore:
      return WriteStore();
    case prog::Builtin::kRead:
    case prog::Builtin::kWrite:
      return WriteReadWrite();
    case prog::Builtin::kPoll:
      return WritePoll();
    case prog::Builtin::kRawIoctl: {
      std::string n;
      const std::string arg = Address("arg", &n);
      return Make(absl::StrCat("ioctl(", Fd(), ", (unsigned long)",
                               NumberArg("cmd").text, ", ", arg, ")"));
    }
    case prog::Builtin::kFtruncate:
      return Make(absl::StrCat("ftruncate(", Fd(), ", (off_t)",
                               NumberArg("length").text, ")"));
    case prog::Builtin::kFork:
      return WriteFork();
    default:
      return Fail(call().pos, absl::StrCat(call().name, " is no call in C"));
  }
}

std::optional<Result> BuiltinWriter::ResultOf(std::string_view path) {
  if (path.empty()) return Result{value_};
  if (path == Names::kBytes) return Result{size_};
  if (path == "hash" && !bytes_.empty()) {
    context_->parts.insert(Part::kHash);
    return Result{absl::StrCat("hash_of(", bytes_, ", ", n_bytes_, ")")};
  }
  return std::nullopt;
}

void BuiltinWriter::WriteOpen() {
  const prog::Value* path = Arg("path");
  Make(absl::StrCat("open(",
                    CString(path != nullptr ? path->text : "/dev/iommu"),
                    ", O_RDWR | O_CLOEXEC)"));
}

void BuiltinWriter::Memory(const std::string& expression,
                           const std::string& size) {
  Make(expression);
  size_ = absl::StrCat("(", size, " + PAGE - 1) & ~(__u64)(PAGE - 1)");
}

void BuiltinWriter::WriteAnon() {
  context_->parts.insert(Part::kAnon);
  const bool huge = Flag("huge");
  Expression size = NumberArg("size");
  Expression align = NumberArg("align");
  if (huge) {
    // Huge pages come whole.
    constexpr uint64_t kHuge = 2 << 20;
    size.text = size.known ? CNumber((*size.known + kHuge - 1) & ~(kHuge - 1))
                           : absl::StrFormat("((%s + 0x1fffff) & ~0x1fffffULL)",
                                             size.text);
    if (align.known.value_or(kHuge) < kHuge) align.text = CNumber(kHuge);
  }
  std::vector<std::string> flags;
  if (Flag("shared")) flags.push_back("MAP_SHARED");
  if (huge) flags.push_back("MAP_HUGETLB");
  if (flags.empty()) flags.push_back("0");
  Memory(absl::StrCat("(long)anon(", size.text, ", ", align.text, ", ",
                      NumberArg("addr").text, ", ",
                      Flag("readonly") ? "PROT_READ" : "PROT_READ | PROT_WRITE",
                      ", ", absl::StrJoin(flags, " | "), ")"),
         size.text);
  if (huge) {
    Line("if (err == ENOMEM)");
    Line(
        "\tlacks(\"free huge pages are needed, see "
        "/proc/sys/vm/nr_hugepages\");");
  }
}

void BuiltinWriter::WriteMemfd() {
  const bool huge = Flag("huge");
  context_->parts.insert(Part::kMemfd);
  Make(absl::StrCat("memfd(", NumberArg("size").text, ", ",
                    huge ? "MFD_HUGETLB" : "0", ")"));
  if (huge) {
    Line("if (err)");
    Line("\tlacks(\"huge pages are needed\");");
  }
}

void BuiltinWriter::WriteMmap() {
  const Expression length = NumberArg("length");
  context_->parts.insert(Part::kMap);
  Memory(absl::StrCat("map(", NumberArg("addr").text, ", ", length.text, ", ",
                      NumberArg("prot", PROT_READ | PROT_WRITE).text, ", ",
                      NumberArg("flags", MAP_SHARED).text, ", ", Fd(), ", ",
                      NumberArg("offset").text, ")"),
         length.text);
}

void BuiltinWriter::WriteMunmap() {
  const prog::Value* address = Arg("addr");
  std::string length = NumberArg("length").text;
  if (Arg("length") == nullptr) {
    length = address->kind == prog::Value::Kind::kName && address->path.empty()
                 ? context_->names.Of(DefinitionOf(bound_, address->text),
                                      Names::kBytes)
                 : "";
    if (length.empty()) {
      return Fail(call().pos, "how much this munmap() takes depends on the lab",
                  "a length");
    }
  }
  Make(absl::StrCat("munmap(at(", NumberArg("addr").text, "), ", length, ")"));
}

void BuiltinWriter::WriteLoad() {
  context_->parts.insert(Part::kAccess);
  const Expression n = NumberArg("n", 4);
  n_bytes_ = n.text;
  bytes_ = "bytes";
  if (n.known && *n.known > 0 && *n.known <= kMaxStackBytes) {
    Line(absl::StrCat("__u8 bytes[", n.text, "] = {0};"));
  } else {
    context_->parts.insert(Part::kPlace);
    if (n.known) n_bytes_ = CNumber(std::min(*n.known, kMaxBytes));
    Line(absl::StrCat("__u8 *bytes = place(", n_bytes_, ");"));
  }
  Line(absl::StrCat("const int err = copy((uintptr_t)bytes, ",
                    NumberArg("addr").text, ", ", n_bytes_, ");"));
  bool wanted = !context_->names.WantedOf(index_).empty();
  for (const auto& output : call().expect.outputs) {
    wanted = wanted || output.value.kind != prog::Value::Kind::kString;
  }
  if (!wanted) return;
  Line("__u64 value = 0;");
  Line(n.known ? absl::StrCat("memcpy(&value, bytes, ",
                              std::min<uint64_t>(*n.known, 8), ");")
               : absl::StrCat("memcpy(&value, bytes, ", n.text, " < 8 ? ",
                              n.text, " : 8);"));
  value_ = "value";
}

void BuiltinWriter::DeclareBytes(const prog::Value& v) {
  std::vector<std::string> values;
  switch (v.kind) {
    case prog::Value::Kind::kString:
      for (const char c : v.text) {
        values.push_back(
            absl::StrFormat("0x%02x", static_cast<unsigned char>(c)));
      }
      break;
    case prog::Value::Kind::kList:
      for (const prog::Value& item : v.items) {
        values.push_back(Number(item, {}, 1).text);
      }
      break;
    default: {
      Expression n{"1", 1, ""};
      if (!v.items.empty()) n = Number(v.items[0]);
      if (n.known) n.text = CNumber(std::min(*n.known, kMaxBytes));
      n_bytes_ = n.text;
      if (!placed_ && n.known && *n.known > 0 && *n.known <= kMaxStackBytes) {
        return Line(absl::StrCat("__u8 bytes[", n.text, "] = {0};"));
      }
      context_->parts.insert(Part::kPlace);
      return Line(absl::StrCat("__u8 *bytes = place(", n.text, ");"));
    }
  }
  n_bytes_ = absl::StrCat(values.size());
  if (values.empty()) {
    context_->parts.insert(Part::kPlace);
    return Line("__u8 *bytes = place(0);");
  }
  if (placed_) {
    context_->parts.insert(Part::kPlace);
    Line(absl::StrCat("__u8 *bytes = place(", n_bytes_, ");"));
    return Line(absl::StrCat("memcpy(bytes, (const __u8[]){",
                             absl::StrJoin(values, ", "), "}, ", n_bytes_,
                             ");"));
  }
  Line(absl::StrCat("__u8 bytes[] = {", absl::StrJoin(values, ", "), "};"));
}

std::string BuiltinWriter::Address(std::string_view name, std::string* n) {
  const prog::Value* v = Arg(name);
  *n = "0";
  if (v == nullptr) return "NULL";
  if (!IsData(*v)) {
    return absl::StrCat("at(", NumberArg(name).text, ")");
  }
  DeclareBytes(*v);
  *n = n_bytes_;
  return "bytes";
}

void BuiltinWriter::WriteStore() {
  context_->parts.insert(Part::kAccess);
  const prog::Value& v = *Arg("value");
  const Expression n = NumberArg("n", 4);
  std::string from;
  std::string count;
  if (!IsData(v)) {
    Line(absl::StrCat("const __u64 value = ", Number(v).text, ";"));
    from = "&value";
    count = n.known ? absl::StrCat(std::min<uint64_t>(*n.known, 8))
                    : absl::StrCat("(", n.text, " < 8 ? ", n.text, " : 8)");
  } else {
    DeclareBytes(v);
    from = "bytes";
    count = n_bytes_;
    if (Arg("n") != nullptr && n_bytes_ != "0") {
      // The string over and over.
      context_->parts.insert(Part::kPlace);
      count = n.known ? CNumber(std::min(*n.known, kMaxBytes)) : n.text;
      Line(absl::StrCat("__u8 *all = place(", count, ");"));
      Line(absl::StrCat("for (size_t i = 0; i < ", count, "; i++)"));
      Line(absl::StrCat("\tall[i] = bytes[i % ", n_bytes_, "];"));
      from = "all";
    }
  }
  Line(absl::StrCat("const int err = copy(", NumberArg("addr").text,
                    ", (uintptr_t)", from, ", ", count, ");"));
}

void BuiltinWriter::WriteReadWrite() {
  const bool reads = bound_.builtin == prog::Builtin::kRead;
  // A count of its own may be more than there are bytes.
  placed_ = Arg("n") != nullptr;
  std::string n;
  const std::string address = Address("buf", &n);
  if (Arg("n") != nullptr) n = NumberArg("n").text;
  if (address == "bytes") bytes_ = "bytes";
  Make(absl::StrCat(reads ? "read(" : "write(", Fd(), ", ", address, ", ", n,
                    ")"));
  n_bytes_ = "(size_t)(err ? 0 : ret)";
}

void BuiltinWriter::WritePoll() {
  const Expression timeout = NumberArg("timeout_ms");
  Line(absl::StrCat("struct pollfd poll_of = { .fd = ", Fd(),
                    ", .events = (short)", NumberArg("events", POLLIN).text,
                    " };"));
  Make(absl::StrCat("poll(&poll_of, 1, ",
                    timeout.known ? absl::StrCat(std::min<uint64_t>(
                                        *timeout.known, kMaxTimeoutMs))
                                  : "(int)" + timeout.text,
                    ")"));
  value_ = "(__u64)poll_of.revents";
}

void BuiltinWriter::WriteFork() {
  context_->parts.insert(Part::kFork);
  int process = 1;
  for (size_t i = 0; i < index_; i++) {
    process += context_->bound.calls[i].builtin == prog::Builtin::kFork;
  }
  Line(absl::StrCat("const int err = fork_process(", process, ", ", index_,
                    ");"));
}

}  // namespace

std::string WriteBuiltin(Context* context, Types* types, size_t index) {
  return BuiltinWriter(context, types, index).Write();
}

}  // namespace repro
