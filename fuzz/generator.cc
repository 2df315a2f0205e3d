// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/generator.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "absl/random/distributions.h"
#include "uapi/iommufd_desc.h"
#include "prog/parse.h"
#include "prog/print.h"
#include "prog/run.h"

namespace fuzz {
namespace {

using prog::Call;
using prog::Field;
using prog::Line;
using prog::NumberStyle;
using prog::Program;
using prog::Value;

// ---- dice ----

uint64_t Below(Random& r, uint64_t n) {
  return absl::Uniform<uint64_t>(r, 0, n);
}

// True once in n.
bool OneIn(Random& r, uint64_t n) { return Below(r, n) == 0; }

template <typename T>
const T& Pick(Random& r, const std::vector<T>& v) {
  return v[Below(r, v.size())];
}

template <typename T, size_t n>
const T& Pick(Random& r, const T (&v)[n]) {
  return v[Below(r, n)];
}

// ---- values worth trying ----

constexpr uint64_t kPage = 4096;
constexpr uint64_t kAperture = 1
                               << 24;  // where the mock's address space starts

constexpr uint64_t kIoPage = 2048;  // of the mock's tables

constexpr uint64_t kSizes[] = {
    1,         2048,      kPage,      kPage,   2 * kPage, 2 * kPage,
    3 * kPage, 8 * kPage, 16 * kPage, 1 << 20, 2 << 20,   4 << 20,
};

constexpr uint64_t kOddSizes[] = {
    0,
    1,
    2047,
    kPage - 1,
    kPage + 1,
    (1 << 20) + 2048,
    uint64_t{1} << 31,
    (uint64_t{1} << 31) - kAperture,
    uint64_t{1} << 32,
    uint64_t{1} << 44,
    uint64_t{1} << 63,
    (uint64_t{1} << 63) - 1,
    UINT64_MAX - kPage,
    UINT64_MAX - kPage + 1,
    UINT64_MAX,
};

constexpr uint64_t kNumbers[] = {
    0,       0,          1,          1,          2,     3,
    4,       5,          7,          8,          16,    64,
    255,     1024,       4096,       65535,      65536, (1 << 20) - 1,
    1 << 20, 0x7fffffff, 0x80000000, 0xffffffff,
};

// Fields whose name says which numbers matter.
struct Interesting {
  const char* field;
  std::vector<uint64_t> values;
};

const std::vector<Interesting>& InterestingNumbers() {
  static const auto* all = new std::vector<Interesting>{
      {"index", {0, 0, 0, 1, 1, 2, 3}},
      {"page_size",
       {2048, 2048, 2048, 4096, 1024, 1, 0, 3, 1 << 20, uint64_t{1} << 31,
        uint64_t{1} << 32, uint64_t{1} << 63}},
      {"virt_id", {0, 1, 2, 0x99, 0xffffffff, uint64_t{1} << 32, UINT64_MAX}},
      {"vdev_id", {0, 1, 2, 0x99}},
      {"veventq_depth", {1, 2, 2, 16, 0, 1 << 19, (1 << 19) + 1, 0xffffffff}},
      {"val64", {0, 1, 1, 2, UINT64_MAX}},
      {"pasid", {1, 1, 1, 2, 2, 0, 1024, 1024, (1 << 20) - 1, 1 << 20}},
      {"limit", {12, 64, 4096, 65536, 8, 0}},
      {"refs", {0, 1, 2}},
      {"iotlb_id", {0, 1, 2, 3, 4}},
      {"cache_id", {0, 1, 2, 3, 4}},
      {"iotlb", {0xbadbeef, 0}},
      {"cache", {0xbaddad, 0}},
      {"start", {0, 0, kPage, 2048}},
      {"revoked", {0, 1}},
      {"open_flags", {0, 2, 02000002}},
      // Of a dma-buf.
      {"length",
       {kPage, 4 * kPage, 4 * kPage, 16 * kPage, 1 << 20, 2 << 20,
        (2 << 20) + 1, 1, 0}},
      {"cookie", {0, 1, 2}},
  };
  return *all;
}

// ---- what a program has so far ----

struct Resource {
  std::string name;  // "ioas", "dev.idev"
  desc_object object = desc_object::NONE;
  bool is_fd = false;
  std::string owner;  // the iommufd that it belongs to
};

struct Mapping {
  std::string ioas;
  uint64_t iova;
  uint64_t length;
};

// An IOAS with nested objects knows what is below: only by luck, not here.
struct Scope {
  struct Iommufd {
    std::string name;
    uint8_t revision;
  };
  std::vector<Iommufd> fds;
  std::vector<Resource> resources;
  std::vector<std::pair<std::string, uint64_t>> memory;  // name, bytes
  std::vector<std::string> memfds;
  std::vector<std::string> mmaps;
  std::vector<std::pair<std::string, std::string>> regions;  // viommu, fd
  std::vector<Mapping> mappings;
  std::string compat;  // the IOAS of VFIO's calls
  std::set<std::string> names;

  std::string Fresh(std::string_view stem) {
    std::string base(stem);
    for (size_t i = 0;; i++) {
      std::string name = base + std::to_string(i);
      if (names.insert(name).second) return name;
    }
  }
};

const Value* ArgOf(const Call& call, std::string_view name) {
  for (const Field& f : call.args) {
    if (f.name == name) return &f.value;
  }
  return nullptr;
}

uint64_t NumberOr(const Value* v, uint64_t otherwise) {
  return v != nullptr && v->kind == Value::Kind::kNumber ? v->number
                                                         : otherwise;
}

std::string NameOf(const Value& v) { return v.text + v.path; }

uint8_t RevisionOf(const Scope& scope, std::string_view fd) {
  for (const auto& f : scope.fds) {
    if (f.name == fd) return f.revision;
  }
  return DESC_VCMDQ_V2;
}

const desc_ioctl* DescOf(const Scope& scope, const Call& call) {
  uint8_t revision = DESC_VCMDQ_V2;
  if (!call.args.empty() && call.args[0].value.kind == Value::Kind::kName) {
    revision = RevisionOf(scope, NameOf(call.args[0].value));
  }
  const desc_ioctl* d = iommufd_desc_find(call.name, revision);
  return d != nullptr ? d : iommufd_desc_find(call.name);
}

// The first call that makes such an object. nullptr: the revision has none.
const desc_ioctl* MakerOf(desc_object object, uint8_t revision) {
  for (const desc_ioctl& d : iommufd_desc_all()) {
    if (object != desc_object::NONE && d.creates == object &&
        (d.revisions & revision)) {
      return &d;
    }
  }
  return nullptr;
}

// The same for a queue of whichever form the revision has.
const desc_ioctl* QueueMaker(uint8_t revision) {
  const desc_ioctl* d = MakerOf(desc_object::VCMDQ, revision);
  return d != nullptr ? d : MakerOf(desc_object::HW_QUEUE, revision);
}

// Adds what `call` defines.
void Note(Scope* scope, const Call& call) {
  if (!call.result.empty()) scope->names.insert(call.result);
  const std::string& r = call.result;
  if (call.name == "open" && !r.empty()) {
    const Value* uapi = ArgOf(call, "uapi");
    uint8_t revision =
        uapi != nullptr ? prog::RevisionByName(uapi->text) : DESC_VCMDQ_V2;
    if (revision == 0) revision = DESC_VCMDQ_V2;
    scope->fds.push_back({r, revision});
    return;
  }
  if (call.name == "anon" && !r.empty() && !call.args.empty()) {
    scope->memory.emplace_back(r, NumberOr(&call.args[0].value, kPage));
    return;
  }
  if (call.name == "memfd" && !r.empty()) {
    scope->memfds.push_back(r);
    return;
  }
  if (call.name == "mmap" && !r.empty()) {
    scope->mmaps.push_back(r);
    return;
  }
  if (call.args.empty() || call.args[0].value.kind != Value::Kind::kName) {
    return;
  }
  const desc_ioctl* d = DescOf(*scope, call);
  if (d == nullptr) return;
  const std::string owner = NameOf(call.args[0].value);
  if (call.name == "IOAS_MAP" || call.name == "IOAS_MAP_FILE") {
    const Value* ioas = ArgOf(call, "ioas_id");
    const Value* iova = ArgOf(call, "iova");
    const Value* length = ArgOf(call, "length");
    if (ioas != nullptr && ioas->kind == Value::Kind::kName &&
        iova != nullptr && iova->kind == Value::Kind::kNumber) {
      scope->mappings.push_back(
          {NameOf(*ioas), iova->number, NumberOr(length, kPage)});
    }
  }
  if (call.name == "VFIO_IOAS") {
    const Value* op = ArgOf(call, "op");
    const Value* ioas = ArgOf(call, "ioas_id");
    if (op != nullptr && op->text == "SET" && ioas != nullptr &&
        ioas->kind == Value::Kind::kName) {
      scope->compat = NameOf(*ioas);
    }
  }
  if (call.name == "VFIO_IOMMU_MAP_DMA" && !scope->compat.empty()) {
    const Value* iova = ArgOf(call, "iova");
    const Value* size = ArgOf(call, "size");
    if (iova != nullptr && iova->kind == Value::Kind::kNumber) {
      scope->mappings.push_back(
          {scope->compat, iova->number, NumberOr(size, kPage)});
    }
  }
  if (r.empty()) return;
  if (d->returns_fd) {
    scope->resources.push_back({r, d->creates, true, owner});
  }
  size_t outputs = 0;
  for (const desc_field& f : d->arg->fields) {
    if (f.kind == desc_kind::ID_OUT || f.kind == desc_kind::FD_OUT) outputs++;
  }
  for (const desc_field& f : d->arg->fields) {
    if (f.kind != desc_kind::ID_OUT && f.kind != desc_kind::FD_OUT) continue;
    Resource resource;
    resource.name = outputs == 1 && f.kind == desc_kind::ID_OUT
                        ? r
                        : r + "." + std::string(desc_output_name(f));
    resource.object = f.object;
    resource.is_fd = f.kind == desc_kind::FD_OUT;
    resource.owner = owner;
    if (f.object == desc_object::HWPT) {
      const Value* type = ArgOf(call, "data_type");
      if (type != nullptr && type->text != "NONE") {
        resource.object = desc_object::HWPT_NESTED;
      }
    }
    scope->resources.push_back(resource);
  }
  if (call.name == "VIOMMU_ALLOC") {
    const Value* data = ArgOf(call, "data");
    if (data != nullptr && data->kind == Value::Kind::kStruct) {
      scope->regions.emplace_back(r, owner);
    }
  }
}

Scope ScopeUpTo(const Program& program, size_t line) {
  Scope scope;
  for (size_t i = 0; i < program.lines.size(); i++) {
    const Line& l = program.lines[i];
    if (!l.has_call) continue;
    if (!l.call.result.empty()) scope.names.insert(l.call.result);
    if (i < line) Note(&scope, l.call);
  }
  return scope;
}

Value NameValue(const std::string& name) {
  const size_t dot = name.find('.');
  if (dot == std::string::npos) return Value::Name(name);
  return Value::Name(name.substr(0, dot), name.substr(dot));
}

Value Num(uint64_t n) { return Value::Number(n); }

Value Sum(Value a, uint64_t offset) {
  if (offset == 0) return a;
  Value v;
  v.kind = Value::Kind::kSum;
  v.items.push_back(std::move(a));
  v.items.push_back(Num(offset));
  return v;
}

Value Out(uint64_t elements) {
  Value v;
  v.kind = Value::Kind::kOut;
  v.items.push_back(Num(elements));
  return v;
}

Value Word(std::string_view word) { return Value::Name(word); }

Value Or(std::vector<Value> items) {
  if (items.empty()) return Num(0);
  if (items.size() == 1) return items[0];
  Value v;
  v.kind = Value::Kind::kOr;
  v.items = std::move(items);
  return v;
}

bool Fits(desc_object want, desc_object have) {
  if (want == have || want == desc_object::ANY) return true;
  switch (want) {
    case desc_object::PT:
      return have == desc_object::IOAS || have == desc_object::HWPT ||
             have == desc_object::VIOMMU || have == desc_object::HWPT_NESTED;
    case desc_object::HWPT_NESTED:
      return have == desc_object::VIOMMU;
    case desc_object::HWPT:
      return have == desc_object::HWPT_NESTED;
    default:
      return false;
  }
}

// ---- generating ----

class Writer {
 public:
  Writer(Random& random, const GeneratorOptions& options, Scope scope,
         std::vector<Line>* lines)
      : r_(random), options_(options), scope_(std::move(scope)), out_(lines) {}

  void Machine() {
    Call call;
    call.name = "machine";
    std::set<std::string> seen;
    for (uint64_t n = 1 + Below(r_, 2); n > 0; n--) {
      Field f;
      switch (Below(r_, 12)) {
        case 8:
          // Pinned memory is counted only for who has no capability.
          f.name = "privileged";
          f.value = Num(0);
          break;
        case 9: {
          static const uint64_t kLimits[] = {0, kPage, 8 * kPage, 1 << 20};
          f.name = "memlock";
          f.value = Num(Pick(r_, kLimits));
          Field unprivileged;
          unprivileged.name = "privileged";
          unprivileged.value = Num(0);
          if (seen.insert("privileged").second) {
            call.args.push_back(std::move(unprivileged));
          }
          break;
        }
        case 10:
          f.name = "uid";
          f.value = Num(1000);
          break;
        case 0: {
          static const char* const kOps[] = {
              "hw_info",           "paging_flags", "nested",
              "nested_invalidate", "viommu",       "viommu_domain",
              "viommu_invalidate", "queue",        "dirty"};
          f.name = "without";
          f.value = Value::String(Pick(r_, kOps));
          break;
        }
        case 1: {
          static const uint64_t kIoPages[] = {1024, 4096, 8192, 65536, 512};
          f.name = "io_page";
          f.value = Num(Pick(r_, kIoPages));
          break;
        }
        case 2:
          f.name = "iommus";
          f.value = Num(1 + Below(r_, 4));
          break;
        case 3:
          f.name = "second_driver";
          f.value = Num(1);
          break;
        case 4:
          f.name = "stream_ids";
          f.value = Num(Below(r_, 4));
          break;
        case 5:
          f.name = "group";
          f.value = Num(1 + Below(r_, 3));
          break;
        case 6:
          f.name = "coherent";
          f.value = Num(OneIn(r_, 4) ? 0 : 1);
          break;
        default: {
          static const char* const kRanges[] = {
              "0x1000000-0x1ffffff", "0x1800000-0x1800fff", "0-0xffffff",
              "0x8000000-0x80fffff"};
          f.name = OneIn(r_, 2) ? "reserved" : "sw_msi";
          f.value = Value::String(Pick(r_, kRanges));
          break;
        }
      }
      if (seen.insert(f.name).second) call.args.push_back(std::move(f));
    }
    Emit(std::move(call));
  }

  // An iommufd to work on, opened when there is none.
  std::string Iommufd() {
    if (scope_.fds.empty() || (scope_.fds.size() < 3 && OneIn(r_, 60))) Open();
    return scope_.fds[Below(r_, scope_.fds.size())].name;
  }

  void Open() {
    Call call;
    call.name = "open";
    call.result = scope_.Fresh("f");
    // Each form of the surface as often as the others.
    Arg(&call, "uapi", Word(Pick(r_, prog::RevisionNames())));
    Emit(std::move(call));
  }

  // One more call, with what it needs before it.
  void Something() {
    const uint64_t dice = Below(r_, 100);
    if (dice < 66) {
      Ioctl(RandomIoctl());
    } else if (dice < 74) {
      Destroy();
    } else if (dice < 78) {
      Memory();
    } else if (dice < 84) {
      MapAtKnownPlace();
    } else if (dice < 86) {
      if (OneIn(r_, 2)) {
        AccessRecipe();
      } else {
        switch (Below(r_, 3)) {
          case 0:
            VfioRecipe();
            break;
          case 1:
            PasidRecipe();
            break;
          default:
            EventRecipe();
            break;
        }
      }
    } else if (dice < 88) {
      Mmap();
    } else if (dice < 90) {
      Munmap();
    } else if (dice < 94) {
      FileIo();
    } else if (dice < 97) {
      LoadStore();
    } else if (dice < 98) {
      Close();
    } else {
      RawIoctl();
    }
  }

  // A whole way from open to a queue, as the selftests go it, and one on top
  // of it that may fail anywhere.
  void QueueRecipe() {
    fd_ = Iommufd();
    Need(desc_object::VIOMMU, 0);
    MapAtKnownPlace();
    const desc_ioctl* d = QueueMaker(RevisionOf(scope_, fd_));
    if (d == nullptr) return;
    if (OneIn(r_, 3)) {
      Ioctl(d);
    } else {
      const std::string viommu = Find(desc_object::VIOMMU, false);
      const uint64_t n = 1 + Below(r_, 4);
      for (uint64_t i = 0; i < n; i++) {
        Queue(*d, viommu,
              OneIn(r_, 8) ? Below(r_, 3) : std::min<uint64_t>(i, 1));
      }
      if (OneIn(r_, 2)) Destroy();
    }
    if (OneIn(r_, 2)) Mmap();
  }

  void Queue(const desc_ioctl& d, const std::string& viommu, uint64_t index) {
    Call call;
    call.name = d.name;
    call.result = scope_.Fresh("q");
    Arg(&call, "", NameValue(fd_));
    const Mapping* mapping =
        scope_.mappings.empty() ? nullptr : &scope_.mappings.back();
    for (const desc_field& f : d.arg->fields) {
      if (f.kind == desc_kind::ID_IN) {
        Arg(&call, f.name, NameValue(viommu));
      } else if (f.kind == desc_kind::ENUM) {
        Arg(&call, f.name, Word("SELFTEST"));
      } else if (f.kind == desc_kind::NUMBER) {
        Arg(&call, f.name, Num(index));
      } else if (f.kind == desc_kind::IOVA) {
        Arg(&call, f.name, Num(mapping != nullptr ? mapping->iova : kAperture));
      } else if (f.kind == desc_kind::IOVA_LEN) {
        Arg(&call, f.name,
            Num(mapping != nullptr ? std::min(mapping->length, kPage) : kPage));
      }
    }
    if (options_.fail_nth && OneIn(r_, 3)) {
      Arg(&call, "fail_nth", Num(1 + Below(r_, 16)));
    }
    Emit(std::move(call));
  }

  // A device and tables that fit PASIDs: chance alone rarely gets the device's
  // own table right, without which none is attached.
  void PasidRecipe() {
    fd_ = Iommufd();
    std::string ioas = Find(desc_object::IOAS, false);
    if (ioas.empty()) ioas = Need(desc_object::IOAS, 1);
    if (ioas.empty()) return;
    Call plug;
    plug.name = "MOCK_DOMAIN_FLAGS";
    plug.result = scope_.Fresh("dev");
    const std::string dev = plug.result;
    Arg(&plug, "", NameValue(fd_));
    Arg(&plug, "id", NameValue(ioas));
    Arg(&plug, "dev_flags", Word("PASID"));
    Emit(std::move(plug));
    std::vector<std::string> tables;
    for (uint64_t n = 1 + Below(r_, 2); n > 0; n--) {
      Call alloc;
      alloc.name = "HWPT_ALLOC";
      alloc.result = scope_.Fresh("hwpt");
      tables.push_back(alloc.result);
      Arg(&alloc, "", NameValue(fd_));
      Arg(&alloc, "dev_id", NameValue(dev + ".idev"));
      Arg(&alloc, "pt_id", NameValue(ioas));
      Arg(&alloc, "flags",
          OneIn(r_, 3) ? Or({Word("NEST_PARENT"), Word("PASID")})
                       : Word("PASID"));
      Emit(std::move(alloc));
    }
    // Sometimes without, or later.
    Call own;
    own.name = "MOCK_DOMAIN_REPLACE";
    Arg(&own, "", NameValue(fd_));
    Arg(&own, "id", NameValue(dev + ".stdev"));
    Arg(&own, "pt_id", NameValue(tables[0]));
    if (!OneIn(r_, 6)) Emit(std::move(own));
    for (uint64_t n = 1 + Below(r_, 4); n > 0; n--) {
      Call use;
      use.name = n > 1 && OneIn(r_, 3)   ? "PASID_REPLACE"
                 : n > 1 && OneIn(r_, 4) ? "PASID_DETACH"
                                         : "PASID_ATTACH";
      Arg(&use, "", NameValue(fd_));
      Arg(&use, "id", NameValue(dev + ".stdev"));
      Arg(&use, "pasid", Num(OneIn(r_, 4) ? 1024 : 1 + Below(r_, 2)));
      if (use.name != std::string_view("PASID_DETACH")) {
        Arg(&use, "pt_id", NameValue(Pick(r_, tables)));
      }
      Emit(std::move(use));
    }
  }

  // A mapping that an access pins, reads, writes, or loses.
  void AccessRecipe() {
    fd_ = Iommufd();
    const uint8_t revision = RevisionOf(scope_, fd_);
    MapAtKnownPlace();
    if (scope_.mappings.empty()) return;
    const Mapping mapping = scope_.mappings.back();
    Call create;
    create.name = "CREATE_ACCESS";
    create.result = scope_.Fresh("x");
    const std::string access = create.result + ".access_fd";
    Arg(&create, "", NameValue(fd_));
    Arg(&create, "id", NameValue(mapping.ioas));
    const bool pins = !OneIn(r_, 4);
    if (pins) Arg(&create, "flags", Word("NEEDS_PIN_PAGES"));
    Emit(std::move(create));
    for (uint64_t n = 1 + Below(r_, 3); n > 0; n--) {
      const uint64_t offset =
          OneIn(r_, 2) ? 0
                       : Below(r_, mapping.length != 0 ? mapping.length : 1);
      Call use;
      use.name = pins && !OneIn(r_, 3) ? "ACCESS_PAGES" : "ACCESS_RW";
      Arg(&use, "", NameValue(fd_));
      Arg(&use, "id", NameValue(access));
      Arg(&use, "iova", Num(mapping.iova + offset));
      const uint64_t left = mapping.length - offset;
      const uint64_t length = left != 0 ? 1 + Below(r_, left) : 1;
      if (use.name == std::string_view("ACCESS_RW")) {
        const uint64_t bytes = std::min<uint64_t>(length, 2 * kPage);
        Arg(&use, "length", Num(bytes));
        Arg(&use, "uptr", Out(bytes));
        if (OneIn(r_, 2)) Arg(&use, "flags", Word("WRITE"));
      } else {
        use.result = scope_.Fresh("pin");
        Arg(&use, "length", Num(length));
        if (OneIn(r_, 2)) Arg(&use, "flags", Word("WRITE"));
      }
      Emit(std::move(use));
    }
    if (OneIn(r_, 2)) {
      if (const desc_ioctl* d = iommufd_desc_find("IOAS_COPY", revision)) {
        Ioctl(d);
      }
    }
    if (OneIn(r_, 2)) {
      // With pins that are still there: the access is told to let go.
      Call unmap;
      unmap.name = "IOAS_UNMAP";
      Arg(&unmap, "", NameValue(fd_));
      Arg(&unmap, "ioas_id", NameValue(mapping.ioas));
      Arg(&unmap, "iova", Num(OneIn(r_, 4) ? 0 : mapping.iova));
      Arg(&unmap, "length",
          OneIn(r_, 4) ? Word("U64_MAX") : Num(mapping.length));
      Emit(std::move(unmap));
    }
  }

  // A container as VFIO's programs use it: an IOAS for it, its type, mappings
  // that come and go, perhaps with a device.
  void VfioRecipe() {
    fd_ = Iommufd();
    std::string ioas = Find(desc_object::IOAS, false);
    if (ioas.empty() || OneIn(r_, 4)) ioas = Need(desc_object::IOAS, 0);
    if (ioas.empty()) return;
    Call set;
    set.name = "VFIO_IOAS";
    Arg(&set, "", NameValue(fd_));
    Arg(&set, "ioas_id", NameValue(ioas));
    Arg(&set, "op", Word("SET"));
    Emit(std::move(set));
    if (!OneIn(r_, 3)) {
      Call type;
      type.name = "VFIO_SET_IOMMU";
      Arg(&type, "", NameValue(fd_));
      Arg(&type, "type", Word(OneIn(r_, 2) ? "TYPE1_IOMMU" : "TYPE1v2_IOMMU"));
      Emit(std::move(type));
    }
    if (OneIn(r_, 2)) {
      Call device;
      device.name = "MOCK_DOMAIN";
      device.result = scope_.Fresh("dev");
      Arg(&device, "", NameValue(fd_));
      Arg(&device, "id", NameValue(ioas));
      Emit(std::move(device));
    }
    for (uint64_t n = 1 + Below(r_, 3); n > 0; n--) {
      Call map;
      map.name = "VFIO_IOMMU_MAP_DMA";
      Arg(&map, "", NameValue(fd_));
      Arg(&map, "flags", Or({Word("READ"), Word("WRITE")}));
      Arg(&map, "vaddr", Address());
      Arg(&map, "iova", Num(kAperture + Below(r_, 8) * 2 * kPage));
      Arg(&map, "size", Num((1 + Below(r_, 4)) * kPage));
      Emit(std::move(map));
    }
    for (uint64_t n = Below(r_, 3); n > 0; n--) {
      Ioctl(iommufd_desc_find(OneIn(r_, 3) ? "VFIO_IOMMU_GET_INFO"
                                           : "VFIO_IOMMU_UNMAP_DMA"));
    }
  }

  // A device whose page faults or whose guest's events go to a queue that is
  // read; where it moves on, or goes, in between.
  void EventRecipe() {
    fd_ = Iommufd();
    const bool faults = OneIn(r_, 2);
    std::string pt = Find(desc_object::IOAS, false);
    if (pt.empty()) pt = Need(desc_object::IOAS, 0);
    if (pt.empty()) return;
    const std::string ioas = pt;
    const std::string dev =
        Made("MOCK_DOMAIN", "dev", {{"id", NameValue(ioas)}});
    const Value idev = NameValue(dev + ".idev");
    if (!faults || OneIn(r_, 2)) {
      pt = Made("HWPT_ALLOC", "hwpt",
                {{"dev_id", idev},
                 {"pt_id", NameValue(ioas)},
                 {"flags", Word("NEST_PARENT")}});
    }
    std::string viommu;
    if (!faults || (pt != ioas && OneIn(r_, 2))) {
      viommu = Made("VIOMMU_ALLOC", "viommu",
                    {{"dev_id", idev},
                     {"hwpt_id", NameValue(pt)},
                     {"type", Word("SELFTEST")}});
      Made("VDEVICE_ALLOC", "vdev",
           {{"viommu_id", NameValue(viommu)},
            {"dev_id", idev},
            {"virt_id", Num(OneIn(r_, 8) ? 0 : 0x99)}});
    }
    std::string queue;
    Args hwpt = {{"dev_id", idev},
                 {"pt_id", NameValue(viommu.empty() ? pt : viommu)}};
    if (faults) {
      queue = Made("FAULT_QUEUE_ALLOC", "fault", {});
      hwpt.push_back({"flags", Word("FAULT_ID_VALID")});
      hwpt.push_back({"fault_id", NameValue(queue + ".fault")});
    } else {
      queue = Made("VEVENTQ_ALLOC", "veventq",
                   {{"viommu_id", NameValue(viommu)},
                    {"type", Word("SELFTEST")},
                    {"veventq_depth", Num(1 + Below(r_, 3))}});
    }
    if (pt != ioas) {
      Value data;
      data.kind = Value::Kind::kStruct;
      Field iotlb;
      iotlb.name = "iotlb";
      iotlb.value = Num(1);
      data.fields.push_back(std::move(iotlb));
      hwpt.push_back({"data_type", Word("SELFTEST")});
      hwpt.push_back({"data", std::move(data)});
    }
    const std::string table = Made("HWPT_ALLOC", "hwpt", std::move(hwpt));
    MoveTo(dev, table);
    for (uint64_t n = 2 + Below(r_, 6); n > 0; n--) {
      if (OneIn(r_, 8)) {
        MoveTo(dev, OneIn(r_, 2) ? ioas : table);
      } else if (OneIn(r_, 16)) {
        Destroy();
      } else if (OneIn(r_, 3)) {
        FileIo(queue + ".fd");
      } else if (faults) {
        Do("TRIGGER_IOPF", {{"dev_id", idev},
                            {"pasid", Num(OneIn(r_, 4) ? 1 + Below(r_, 3) : 0)},
                            {"grpid", Num(Below(r_, 3))}});
      } else {
        Do("TRIGGER_VEVENT", {{"dev_id", idev}});
      }
    }
  }

  // A table whose pages a device writes to, and the bits of that.
  void DirtyRecipe() {
    fd_ = Iommufd();
    MapAtKnownPlace();
    std::string device = Find(desc_object::DEVICE, false);
    if (device.empty()) device = Need(desc_object::DEVICE, 0);
    if (scope_.mappings.empty() || device.empty()) return;
    const Mapping mapping = scope_.mappings.back();
    Call alloc;
    alloc.name = "HWPT_ALLOC";
    alloc.result = scope_.Fresh("t");
    const std::string table = alloc.result;
    Arg(&alloc, "", NameValue(fd_));
    Arg(&alloc, "flags", Word("DIRTY_TRACKING"));
    Arg(&alloc, "dev_id", NameValue(device));
    Arg(&alloc, "pt_id", NameValue(mapping.ioas));
    if (OneIn(r_, 4)) {
      Value data;
      data.kind = Value::Kind::kStruct;
      Field type;
      type.name = "pagetable_type";
      type.value = Word("HUGE");
      data.fields.push_back(std::move(type));
      Arg(&alloc, "data_type", Word("SELFTEST"));
      Arg(&alloc, "data", std::move(data));
    }
    Emit(std::move(alloc));
    const uint64_t rounds = 1 + Below(r_, 4);
    for (uint64_t n = 0; n < rounds; n++) {
      if (n == 0 || OneIn(r_, 4)) {
        Call track;
        track.name = "HWPT_SET_DIRTY_TRACKING";
        Arg(&track, "", NameValue(fd_));
        Arg(&track, "hwpt_id", NameValue(table));
        if (!OneIn(r_, 6)) Arg(&track, "flags", Word("ENABLE"));
        Emit(std::move(track));
      }
      Call write;
      write.name = "DIRTY";
      Arg(&write, "", NameValue(fd_));
      Arg(&write, "id", NameValue(table));
      DirtyRange(&write, mapping, kIoPage);
      std::string bits(32, '\0');
      for (char& c : bits)
        c = static_cast<char>(OneIn(r_, 3) ? 255 : Below(r_, 256));
      Arg(&write, "uptr", Value::String(bits));
      Emit(std::move(write));
      if (OneIn(r_, 6)) MapAtKnownPlace();
      Call read;
      read.name = "HWPT_GET_DIRTY_BITMAP";
      Arg(&read, "", NameValue(fd_));
      Arg(&read, "hwpt_id", NameValue(table));
      if (OneIn(r_, 3)) Arg(&read, "flags", Word("NO_CLEAR"));
      static const uint64_t kPageSizes[] = {
          kIoPage, kIoPage, kPage, 1, 64, 1 << 20,
      };
      DirtyRange(&read, mapping, Pick(r_, kPageSizes));
      Arg(&read, "data",
          Sum(Address(), OneIn(r_, 3) ? Below(r_, 2 * kPage) : 0));
      Emit(std::move(read));
    }
  }

  // Mostly inside of the mapping, mostly aligned.
  void DirtyRange(Call* call, const Mapping& mapping, uint64_t page_size) {
    const uint64_t unit = std::max(page_size, kIoPage);
    const uint64_t units = std::max<uint64_t>(mapping.length / unit, 1);
    const uint64_t first = OneIn(r_, 2) ? 0 : Below(r_, units);
    uint64_t length = (1 + Below(r_, units - first)) * unit;
    if (OneIn(r_, 8)) length = Length();
    Arg(call, "iova",
        Num(OneIn(r_, 12) ? Iova() : mapping.iova + first * unit));
    Arg(call, "length", Num(length));
    Arg(call, "page_size", Num(page_size));
  }

  void Ioctl(const desc_ioctl* d) {
    if (fd_.empty() || OneIn(r_, 12)) fd_ = Iommufd();
    if (out_->size() > options_.max_calls + 12) return;
    Ioctl(*d, 0);
  }

  // The value of one field, for a mutation.
  Value Again(const desc_ioctl& d, const desc_struct& s, const desc_field& f,
              const std::string& fd) {
    fd_ = fd;
    depth_limit_ = 0;
    return FieldValue(d, s, f, 0, nullptr);
  }

  bool Extra(const desc_ioctl& d, const desc_field& f, const std::string& fd,
             Field* out) {
    fd_ = fd;
    depth_limit_ = 0;
    return MaybeField(d, *d.arg, f, 0, out, /*force=*/true);
  }

 private:
  void Emit(Call call) {
    // What makes something has the most to undo.
    const uint64_t often = call.name.ends_with("ALLOC") ? 12 : 50;
    if (options_.fail_nth && ArgOf(call, "fail_nth") == nullptr &&
        call.name != "machine" && call.name != "load" && call.name != "store" &&
        OneIn(r_, often)) {
      Arg(&call, "fail_nth", Num(1 + Below(r_, OneIn(r_, 4) ? 40 : 12)));
    }
    if (options_.threads && call.name != "machine" && call.name != "open" &&
        OneIn(r_, 3)) {
      call.thread = OneIn(r_, 2) ? "t1" : "t2";
    }
    if (options_.processes && call.name != "machine") Process(&call);
    Note(&scope_, call);
    Put(std::move(call));
  }

  void Put(Call call) {
    Line line;
    line.has_call = true;
    line.call = std::move(call);
    out_->push_back(std::move(line));
  }

  // A child may be made or end before the call, and make it.
  void Process(Call* call) {
    if (children_.size() < 3 && OneIn(r_, 12)) {
      Call fork;
      fork.name = "fork";
      fork.result = scope_.Fresh("p");
      if (!children_.empty() && OneIn(r_, 3)) fork.thread = Pick(r_, children_);
      children_.push_back(fork.result);
      Put(std::move(fork));
    }
    if (!children_.empty() && OneIn(r_, 25)) {
      const size_t i = Below(r_, children_.size());
      Call exit;
      exit.name = "exit";
      Arg(&exit, "", NameValue(children_[i]));
      children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(i));
      Put(std::move(exit));
    }
    if (children_.empty() || !OneIn(r_, 3)) return;
    const std::string& child = Pick(r_, children_);
    call->thread = call->thread.empty() ? child : child + '.' + call->thread;
  }

  static void Arg(Call* call, std::string name, Value v) {
    Field f;
    f.name = std::move(name);
    f.value = std::move(v);
    call->args.push_back(std::move(f));
  }

  using Args = std::vector<std::pair<std::string, Value>>;

  // A call on the iommufd in hand, with just these arguments; and the same with
  // a name for what it makes.
  void Do(std::string_view name, Args args, std::string result = "") {
    Call call;
    call.name = name;
    call.result = std::move(result);
    Arg(&call, "", NameValue(fd_));
    for (auto& [field, value] : args) Arg(&call, field, std::move(value));
    Emit(std::move(call));
  }

  std::string Made(std::string_view name, std::string_view stem, Args args) {
    std::string result = scope_.Fresh(stem);
    Do(name, std::move(args), result);
    return result;
  }

  void MoveTo(const std::string& dev, const std::string& pt) {
    Do("MOCK_DOMAIN_REPLACE",
       {{"id", NameValue(dev + ".stdev")}, {"pt_id", NameValue(pt)}});
  }

  const desc_ioctl* RandomIoctl() {
    if (fd_.empty() || OneIn(r_, 12)) fd_ = Iommufd();
    const uint8_t revision = RevisionOf(scope_, fd_);
    const std::span<const desc_ioctl> all = iommufd_desc_all();
    // Once in a while one of the other form: ENOTTY, or another struct.
    while (true) {
      const desc_ioctl& d = all[Below(r_, all.size())];
      if (d.of_device) continue;  // the mock's machine has no such file
      if (d.revisions & revision || OneIn(r_, 40)) return &d;
    }
  }

  void Ioctl(const desc_ioctl& d, int depth) {
    Call call;
    call.name = d.name;
    Arg(&call, "", NameValue(fd_));
    for (const desc_field& f : d.arg->fields) {
      Field field;
      if (MaybeField(d, *d.arg, f, depth, &field, false)) {
        call.args.push_back(std::move(field));
      }
    }
    if (!d.arg_is_value && OneIn(r_, 60)) {
      // Longer than the kernel knows: fine when the rest is zero.
      const size_t n = 1 + Below(r_, 16);
      Arg(&call, "tail",
          Value::String(OneIn(r_, 2) ? std::string(n, '\0')
                                     : std::string(n, '\1')));
    }
    if (!d.arg_is_value && OneIn(r_, 300)) {
      Arg(&call, "arg", Num(OneIn(r_, 2) ? 0 : UINT64_MAX - 7));
    }
    bool has_output = d.returns_fd;
    for (const desc_field& f : d.arg->fields) {
      if (f.kind == desc_kind::ID_OUT || f.kind == desc_kind::FD_OUT) {
        has_output = true;
      }
    }
    if (has_output) call.result = scope_.Fresh(Stem(d));
    // Memory or a region that a field needed was emitted before this.
    Emit(std::move(call));
  }

  static std::string Stem(const desc_ioctl& d) {
    switch (d.creates) {
      case desc_object::IOAS:
        return "ioas";
      case desc_object::HWPT:
        return "hwpt";
      case desc_object::STDEV:
        return "dev";
      case desc_object::FAULT:
        return "fault";
      case desc_object::VIOMMU:
        return "viommu";
      case desc_object::VDEVICE:
        return "vdev";
      case desc_object::VEVENTQ:
        return "veventq";
      case desc_object::VCMDQ:
      case desc_object::HW_QUEUE:
        return "q";
      case desc_object::DMABUF:
        return "buf";
      default:
        return "x";
    }
  }

  // False: the field is left to its default.
  bool MaybeField(const desc_ioctl& d, const desc_struct& s,
                  const desc_field& f, int depth, Field* out, bool force) {
    out->name = f.name;
    const bool odd = force && OneIn(r_, 3);
    switch (f.kind) {
      case desc_kind::SIZE:
        if (!odd && !OneIn(r_, 80)) return false;
        out->value = Num(SizeValue(d));
        return true;
      case desc_kind::OP:
        return false;
      case desc_kind::RESERVED:
      case desc_kind::PADDING:
        if (!odd && !OneIn(r_, 150)) return false;
        out->value = Num(OneIn(r_, 2) ? 1 : 0x80);
        return true;
      case desc_kind::ID_OUT:
      case desc_kind::FD_OUT:
      case desc_kind::NUMBER_OUT:
        if (!odd && !OneIn(r_, 250)) return false;
        out->value = Num(Below(r_, 4));
        return true;
      case desc_kind::LEN:
      case desc_kind::COUNT:
      case desc_kind::ENTRY_LEN: {
        // The program fills these in from the data.
        const bool own = f.name == std::string_view("length");
        if (!own && !odd && !OneIn(r_, 15)) return false;
        out->value = Num(own ? Length() : LenValue());
        return true;
      }
      case desc_kind::PTR_IN:
      case desc_kind::PTR_OUT:
      case desc_kind::PTR_INOUT:
        if (s.size != 72 && !force && !Selected(s, f) && !OneIn(r_, 12)) {
          return false;
        }
        out->value = Pointer(s, f);
        return true;
      case desc_kind::ID_IN:
        // Not every id is needed: the object of an option, a fault queue.
        if ((f.object == desc_object::FAULT ||
             std::string_view(f.name) == "object_id") &&
            !force && OneIn(r_, 2)) {
          return false;
        }
        out->value = FieldValue(d, s, f, depth, out);
        return true;
      case desc_kind::FLAGS:
        if (f.names.empty() && !odd && !OneIn(r_, 60)) return false;
        out->value = FieldValue(d, s, f, depth, out);
        return true;
      default:
        out->value = FieldValue(d, s, f, depth, out);
        return true;
    }
  }

  Value FieldValue(const desc_ioctl& d, const desc_struct& s,
                   const desc_field& f, int depth, Field*) {
    switch (f.kind) {
      case desc_kind::FLAGS:
        return Flags(f);
      case desc_kind::ENUM:
        return Enum(f);
      case desc_kind::ID_IN:
      case desc_kind::ID_INOUT:
        return Id(f, depth);
      case desc_kind::FD_IN:
        return Fd(f, depth);
      case desc_kind::USER_VA:
        return Address();
      case desc_kind::IOVA:
      case desc_kind::IOVA_INOUT:
        return Num(Iova());
      case desc_kind::IOVA_LEN:
        return Num(Length());
      case desc_kind::SIZE:
        return Num(SizeValue(d));
      case desc_kind::PTR_IN:
      case desc_kind::PTR_OUT:
      case desc_kind::PTR_INOUT:
        return Pointer(s, f);
      default:
        return Num(Number(f));
    }
  }

  uint64_t SizeValue(const desc_ioctl& d) {
    switch (Below(r_, 8)) {
      case 0:
        return 0;
      case 1:
        return 4;
      case 2:
        return d.min_size;
      case 3:
        return d.min_size - 1;
      case 4:
        return d.arg->size - 1;
      case 5:
        return d.arg->size + 8;
      case 6:
        return kPage + 1;
      default:
        return Below(r_, 128);
    }
  }

  Value Flags(const desc_field& f) {
    std::vector<Value> items;
    for (const desc_name& n : f.names) {
      if (!(f.valid & n.value)) {
        if (OneIn(r_, 20)) items.push_back(Word(n.name));
        continue;
      }
      // Mappings: fixed, readable and writeable more often than not.
      const bool map = std::string_view(n.name).ends_with("ABLE") ||
                       std::string_view(n.name) == "FIXED_IOVA";
      const bool likely = map || std::string_view(n.name) == "NEST_PARENT";
      if (OneIn(r_, likely ? 5 : 4) != likely) items.push_back(Word(n.name));
    }
    if (OneIn(r_, 60)) items.push_back(Num(uint64_t{1} << Below(r_, 32)));
    return Or(std::move(items));
  }

  Value Enum(const desc_field& f) {
    if (OneIn(r_, 50)) return Num(Pick(r_, kNumbers));
    // What this machine's driver has, first of all.
    for (const desc_name& n : f.names) {
      if (std::string_view(n.name) == "SELFTEST" && !OneIn(r_, 5)) {
        return Word(n.name);
      }
    }
    return Word(f.names[Below(r_, f.names.size())].name);
  }

  uint64_t Number(const desc_field& f) {
    if (f.width == 8 && OneIn(r_, 40)) return Pick(r_, kOddSizes);
    for (const Interesting& i : InterestingNumbers()) {
      if (f.name == std::string_view(i.field) && !OneIn(r_, 12)) {
        return Clamp(f, Pick(r_, i.values));
      }
    }
    if (f.default_value != 0 && OneIn(r_, 2)) return f.default_value;
    return Clamp(f, Pick(r_, kNumbers));
  }

  static uint64_t Clamp(const desc_field& f, uint64_t v) {
    return f.width == 8 ? v : v & ((uint64_t{1} << (8 * f.width)) - 1);
  }

  uint64_t Iova() {
    if (!scope_.mappings.empty() && !OneIn(r_, 4)) {
      const Mapping& m = Pick(r_, scope_.mappings);
      switch (Below(r_, 8)) {
        case 0:
          return m.iova + m.length;
        case 1:
          return m.iova + kPage;
        case 2:
          return m.iova + 2048;
        case 3:
          return m.iova + Below(r_, m.length != 0 ? m.length : 1);
        case 4:
          return m.iova - kPage;
        default:
          return m.iova;
      }
    }
    if (OneIn(r_, 10)) {
      static const uint64_t kEdges[] = {0,
                                        1,
                                        kPage,
                                        kAperture - kPage,
                                        (uint64_t{1} << 31) - kPage,
                                        uint64_t{1} << 31,
                                        uint64_t{1} << 63,
                                        UINT64_MAX - kPage + 1,
                                        UINT64_MAX};
      return Pick(r_, kEdges);
    }
    return kAperture + Below(r_, 16) * (OneIn(r_, 3) ? 2 << 20 : kPage);
  }

  uint64_t Length() {
    if (OneIn(r_, 14)) return Pick(r_, kOddSizes);
    if (!scope_.mappings.empty() && OneIn(r_, 2)) {
      return Pick(r_, scope_.mappings).length;
    }
    return Pick(r_, kSizes);
  }

  uint64_t LenValue() {
    static const uint64_t kLens[] = {
        0,  1,  3,    4,    5,    7,       8,          12,        16,
        24, 64, 4095, 4096, 4097, 1 << 19, 0x7fffffff, 0xffffffff};
    return Pick(r_, kLens);
  }

  // Does the chosen type of this call have data? Then the pointer matters.
  bool Selected(const desc_struct&, const desc_field& f) {
    return f.variants.empty() || !OneIn(r_, 4);
  }

  Value Id(const desc_field& f, int depth) {
    if (OneIn(r_, 60)) return Num(Below(r_, 24));
    if (OneIn(r_, 60) && !scope_.resources.empty()) {
      return NameValue(Pick(r_, scope_.resources).name);
    }
    // Detach: id 0.
    if (std::string_view(f.name) == "ioas_id" && OneIn(r_, 25)) return Num(0);
    std::string name = Find(f.object, false);
    if (name.empty() || OneIn(r_, 12)) {
      const std::string made = Need(f.object, depth);
      if (!made.empty()) name = made;
    }
    return name.empty() ? Num(Below(r_, 8)) : NameValue(name);
  }

  std::string Find(desc_object object, bool fd) {
    std::vector<std::string> here;
    std::vector<std::string> anywhere;
    for (const Resource& x : scope_.resources) {
      if (x.is_fd != fd || !Fits(object, x.object)) continue;
      (x.owner == fd_ ? here : anywhere).push_back(x.name);
      // An exact fit counts twice: a vIOMMU is rarely meant by a page table.
      if (x.owner == fd_ && object == x.object) here.push_back(x.name);
    }
    if (!here.empty() && !OneIn(r_, 100)) {
      // The newest is the likeliest to be alive.
      if (OneIn(r_, 2)) return here.back();
      return Pick(r_, here);
    }
    return anywhere.empty() ? "" : Pick(r_, anywhere);
  }

  // Emits a call that makes such an object. Empty: it could not.
  std::string Need(desc_object object, int depth) {
    if (depth > depth_limit_ || out_->size() > options_.max_calls + 8)
      return "";
    const uint8_t revision = RevisionOf(scope_, fd_);
    const desc_ioctl* d = nullptr;
    switch (object) {
      case desc_object::PT:
      case desc_object::ANY:
        d = iommufd_desc_find("IOAS_ALLOC", revision);
        break;
      case desc_object::DEVICE:
      case desc_object::STDEV:
        d = iommufd_desc_find(
            OneIn(r_, 3) ? "MOCK_DOMAIN_FLAGS" : "MOCK_DOMAIN", revision);
        break;
      case desc_object::HWPT:
      case desc_object::VIOMMU:
        return Plain(object, depth);
      case desc_object::HWPT_NESTED:
        d = iommufd_desc_find("HWPT_ALLOC", revision);
        break;
      case desc_object::VCMDQ:
      case desc_object::HW_QUEUE:
        d = QueueMaker(revision);
        break;
      case desc_object::ACCESS:
        d = iommufd_desc_find("CREATE_ACCESS", revision);
        break;
      case desc_object::ACCESS_PAGES:
        d = iommufd_desc_find("ACCESS_PAGES", revision);
        break;
      default:
        d = MakerOf(object, revision);
        break;
    }
    const bool fd =
        object == desc_object::ACCESS || object == desc_object::DMABUF;
    if (d == nullptr) return "";
    Ioctl(*d, depth + 1);
    for (size_t i = scope_.resources.size(); i-- > 0;) {
      const Resource& x = scope_.resources[i];
      if (x.is_fd == fd && x.owner == fd_ && Fits(object, x.object)) {
        return x.name;
      }
    }
    return "";
  }

  // A nest parent or a vIOMMU that will be there: most of what is deep needs
  // one, and chance alone rarely gets all its arguments right.
  std::string Plain(desc_object object, int depth) {
    std::string ioas = Find(desc_object::IOAS, false);
    if (ioas.empty()) ioas = Need(desc_object::IOAS, depth + 1);
    std::string dev = Find(desc_object::DEVICE, false);
    if (dev.empty()) {
      Call call;
      call.name = "MOCK_DOMAIN";
      call.result = scope_.Fresh("dev");
      dev = call.result + ".idev";
      Arg(&call, "", NameValue(fd_));
      Arg(&call, "id", NameValue(ioas));
      Emit(std::move(call));
    }
    std::string hwpt;
    for (const Resource& x : scope_.resources) {
      if (x.object == desc_object::HWPT && x.owner == fd_ &&
          x.name.find('.') == std::string::npos) {
        hwpt = x.name;
      }
    }
    if (hwpt.empty() || object == desc_object::HWPT) {
      Call call;
      call.name = "HWPT_ALLOC";
      call.result = scope_.Fresh("hwpt");
      hwpt = call.result;
      Arg(&call, "", NameValue(fd_));
      Arg(&call, "dev_id", NameValue(dev));
      Arg(&call, "pt_id", NameValue(ioas));
      Arg(&call, "flags", Word("NEST_PARENT"));
      Emit(std::move(call));
    }
    if (object == desc_object::HWPT) return hwpt;
    Call call;
    call.name = "VIOMMU_ALLOC";
    call.result = scope_.Fresh("viommu");
    const std::string viommu = call.result;
    Arg(&call, "", NameValue(fd_));
    Arg(&call, "dev_id", NameValue(dev));
    Arg(&call, "hwpt_id", NameValue(hwpt));
    Arg(&call, "type", Word("SELFTEST"));
    if (!OneIn(r_, 3)) {
      Value data;
      data.kind = Value::Kind::kStruct;
      Field in;
      in.name = "in_data";
      in.value = Num(Below(r_, 256));
      data.fields.push_back(std::move(in));
      Arg(&call, "data", std::move(data));
    }
    Emit(std::move(call));
    return viommu;
  }

  Value Fd(const desc_field& f, int depth) {
    if (OneIn(r_, 60)) return Num(Below(r_, 12));
    if (f.object == desc_object::NONE && !OneIn(r_, 3)) {
      if (scope_.memfds.empty() || OneIn(r_, 6)) Memfd();
      return NameValue(Pick(r_, scope_.memfds));
    }
    // Where a memory file goes, a buffer that can be revoked goes too.
    const desc_object object =
        f.object == desc_object::NONE ? desc_object::DMABUF : f.object;
    std::string name = Find(object, true);
    if (name.empty()) name = Need(object, depth);
    return name.empty() ? NameValue(fd_) : NameValue(name);
  }

  Value Address() {
    if (OneIn(r_, 60)) {
      static const uint64_t kBad[] = {0,
                                      8,
                                      0xdead000,
                                      UINT64_MAX - kPage + 1,
                                      UINT64_MAX - 1,
                                      uint64_t{1} << 47};
      return Num(Pick(r_, kBad));
    }
    if (!scope_.mmaps.empty() && OneIn(r_, 30)) {
      return NameValue(Pick(r_, scope_.mmaps));
    }
    if (scope_.memory.empty() || OneIn(r_, 12)) Memory();
    const auto& [name, bytes] = Pick(r_, scope_.memory);
    uint64_t offset = 0;
    if (OneIn(r_, 3) && bytes > kPage) {
      offset = Below(r_, bytes / kPage) * kPage;
    }
    if (OneIn(r_, 20)) offset += Below(r_, kPage);
    return Sum(NameValue(name), offset);
  }

  Value Pointer(const desc_struct&, const desc_field& f) {
    if (OneIn(r_, 25)) return Address();
    if (OneIn(r_, 50)) return Num(0);
    if (OneIn(r_, 50)) return Value::String(std::string(Below(r_, 40), '\1'));
    if (f.kind == desc_kind::PTR_OUT) return Out(Below(r_, 6));
    const desc_struct* pointee = f.pointee;
    if (!f.variants.empty()) {
      // The mock's own types are the last of each list.
      const size_t n = f.variants.size();
      pointee = f.variants[OneIn(r_, 5) ? Below(r_, n) : n - 1].pointee;
      if (n > 2 && f.variants[n - 1].selector == f.variants[n - 2].selector &&
          OneIn(r_, 2)) {
        pointee = f.variants[n - 2].pointee;
      }
    }
    if (pointee == nullptr) {
      return OneIn(r_, 3)
                 ? Out(64)
                 : Value::String(std::string(1 + Below(r_, 64), '\xff'));
    }
    if (f.pointee == nullptr && OneIn(r_, 2)) return Literal(*pointee);
    Value list;
    list.kind = Value::Kind::kList;
    for (uint64_t n = 1 + Below(r_, 4); n > 0; n--) {
      list.items.push_back(Literal(*pointee));
    }
    return list;
  }

  Value Literal(const desc_struct& s) {
    Value v;
    v.kind = Value::Kind::kStruct;
    // A range: from below to above.
    const bool range = std::string_view(s.name) == "iommu_iova_range";
    uint64_t start = Iova() & ~(kPage - 1);
    for (const desc_field& f : s.fields) {
      if (desc_is_output(f.kind) || f.kind == desc_kind::PADDING) continue;
      if (f.kind == desc_kind::RESERVED && !OneIn(r_, 50)) continue;
      Field field;
      field.name = f.name;
      if (range && !OneIn(r_, 12)) {
        field.value = Num(std::string_view(f.name) == "start"
                              ? start
                              : start + Pick(r_, kSizes) - 1);
      } else if (f.kind == desc_kind::FLAGS) {
        field.value = Flags(f);
      } else if (f.kind == desc_kind::ENUM) {
        field.value = Enum(f);
      } else if (f.kind == desc_kind::IOVA) {
        field.value = Num(Iova());
      } else {
        field.value = Num(Number(f));
      }
      v.fields.push_back(std::move(field));
    }
    return v;
  }

  // ---- calls that are no ioctl ----

  void Memory() {
    Call call;
    call.name = "anon";
    call.result = scope_.Fresh("buf");
    static const uint64_t kBytes[] = {
        kPage, 2 * kPage, 16 * kPage, 16 * kPage, 1 << 20, 2 << 20, 4 << 20};
    Arg(&call, "", Num(Pick(r_, kBytes)));
    call.args.back().value.style = NumberStyle::kSuffix;
    MemoryShape(&call);
    Emit(std::move(call));
  }

  void MemoryShape(Call* call) {
    static const char* const kShapes[] = {"huge", "fragmented", "fragmented",
                                          "readonly", "poisoned"};
    if (!OneIn(r_, 4)) return;
    const std::string_view shape = Pick(r_, kShapes);
    // Huge pages come whole.
    if (shape == "huge") call->args[0].value.number |= (2 << 20);
    if (shape == "huge") call->args[0].value.number &= ~uint64_t{(2 << 20) - 1};
    Arg(call, std::string(shape), Word("true"));
  }

  void Memfd() {
    Call call;
    call.name = "memfd";
    call.result = scope_.Fresh("m");
    static const uint64_t kBytes[] = {kPage, 4 * kPage, 1 << 20, 2 << 20};
    Arg(&call, "", Num(Pick(r_, kBytes)));
    if (OneIn(r_, 5)) Arg(&call, "fragmented", Word("true"));
    Emit(std::move(call));
  }

  // An IOAS_MAP that mostly works, at an IOVA that later calls know.
  void MapAtKnownPlace() {
    if (fd_.empty()) fd_ = Iommufd();
    std::string ioas = Find(desc_object::IOAS, false);
    if (ioas.empty()) ioas = Need(desc_object::IOAS, 0);
    if (ioas.empty()) return;
    if (scope_.memory.empty() || OneIn(r_, 8)) Memory();
    const auto memory = Pick(r_, scope_.memory);
    uint64_t length = Pick(r_, kSizes);
    if (length > memory.second) length = memory.second;
    Call call;
    call.name = "IOAS_MAP";
    Arg(&call, "", NameValue(fd_));
    Arg(&call, "flags",
        Or({Word("FIXED_IOVA"), Word("READABLE"), Word("WRITEABLE")}));
    Arg(&call, "ioas_id", NameValue(ioas));
    Arg(&call, "user_va", NameValue(memory.first));
    Arg(&call, "length", Num(length));
    Arg(&call, "iova",
        Num(kAperture + Below(r_, 8) * (OneIn(r_, 4) ? 2 << 20 : 16 * kPage)));
    Emit(std::move(call));
  }

  void Destroy() {
    if (scope_.resources.empty()) return;
    // Among the newest, so that what is below goes later.
    const size_t n = scope_.resources.size();
    const size_t i =
        OneIn(r_, 2) ? n - 1 - Below(r_, std::min<size_t>(n, 4)) : Below(r_, n);
    const Resource& x = scope_.resources[i];
    if (x.is_fd) return Close();
    Call call;
    call.name = "DESTROY";
    Arg(&call, "", NameValue(x.owner));
    Arg(&call, "id", NameValue(x.name));
    Emit(std::move(call));
  }

  void Mmap() {
    Call call;
    call.name = "mmap";
    call.result = scope_.Fresh("p");
    if (!scope_.regions.empty() && !OneIn(r_, 6)) {
      const auto& [viommu, fd] = Pick(r_, scope_.regions);
      Arg(&call, "", NameValue(fd));
      static const uint64_t kLengths[] = {kPage, kPage, kPage, 2 * kPage,
                                          0,     2048,  1};
      Arg(&call, "length", Num(Pick(r_, kLengths)));
      Value offset = NameValue(viommu + ".out_mmap_offset");
      if (OneIn(r_, 12))
        offset = Sum(std::move(offset), OneIn(r_, 2) ? 1 : kPage);
      Arg(&call, "offset", std::move(offset));
    } else {
      if (scope_.fds.empty()) Open();
      const bool file = !scope_.memfds.empty() && OneIn(r_, 2);
      Arg(&call, "",
          NameValue(file ? Pick(r_, scope_.memfds) : scope_.fds[0].name));
      Arg(&call, "length", Num(Pick(r_, kSizes)));
      Arg(&call, "offset", Num(Below(r_, 4) * kPage));
    }
    if (OneIn(r_, 10)) {
      Arg(&call, "prot",
          Or({Word("READ"), Word(OneIn(r_, 2) ? "EXEC" : "WRITE")}));
    }
    if (OneIn(r_, 12)) Arg(&call, "flags", Word("PRIVATE"));
    Emit(std::move(call));
  }

  void Munmap() {
    if (scope_.mmaps.empty() && scope_.memory.empty()) return;
    Call call;
    call.name = "munmap";
    const bool m = !scope_.mmaps.empty() && !OneIn(r_, 4);
    if (!m && scope_.memory.empty()) return;
    Arg(&call, "",
        NameValue(m ? Pick(r_, scope_.mmaps) : Pick(r_, scope_.memory).first));
    if (OneIn(r_, 3)) Arg(&call, "", Num(kPage));
    Emit(std::move(call));
  }

  void FileIo() {
    std::vector<std::string> queues;
    std::vector<std::string> files;
    for (const Resource& x : scope_.resources) {
      if (!x.is_fd) continue;
      const bool queue =
          x.object == desc_object::FAULT || x.object == desc_object::VEVENTQ;
      (queue ? queues : files).push_back(x.name);
    }
    if (queues.empty() && (files.empty() || !OneIn(r_, 4))) {
      return EventRecipe();
    }
    // Only event queues have anything to say.
    const bool queue = files.empty() || (!queues.empty() && !OneIn(r_, 8));
    FileIo(Pick(r_, queue ? queues : files));
  }

  void FileIo(const std::string& file) {
    Call call;
    static const char* const kCalls[] = {"read", "read", "write", "poll"};
    call.name = Pick(r_, kCalls);
    Arg(&call, "", NameValue(file));
    if (call.name == std::string_view("read")) {
      static const uint64_t kReads[] = {8,  12, 24, 32, 40,  41,
                                        48, 80, 0,  7,  120, 4096};
      Arg(&call, "", OneIn(r_, 12) ? Address() : Out(Pick(r_, kReads)));
      if (call.args.back().value.kind != Value::Kind::kOut) {
        Arg(&call, "", Num(Pick(r_, kReads)));
      }
    } else if (call.name == std::string_view("write")) {
      // Cookies are small numbers; one answer, or two.
      std::string response(
          OneIn(r_, 6) ? Below(r_, 24) : 8 * (1 + Below(r_, 2)), '\0');
      for (size_t i = 0; i < response.size(); i += 8) {
        response[i] = static_cast<char>(Below(r_, 4));
        if (i + 4 < response.size()) {
          response[i + 4] = static_cast<char>(OneIn(r_, 8) ? 2 : Below(r_, 2));
        }
      }
      Arg(&call, "", Value::String(response));
    } else {
      Arg(&call, "events", Or({Word("IN"), Word("OUT")}));
    }
    Emit(std::move(call));
  }

  void LoadStore() {
    if (scope_.memory.empty() && scope_.mmaps.empty()) return Memory();
    const bool m =
        scope_.memory.empty() || (!scope_.mmaps.empty() && OneIn(r_, 2));
    const std::string name =
        m ? Pick(r_, scope_.mmaps) : Pick(r_, scope_.memory).first;
    Call call;
    call.name = OneIn(r_, 2) ? "load" : "store";
    Arg(&call, "", Sum(NameValue(name), OneIn(r_, 4) ? Below(r_, kPage) : 0));
    if (call.name == std::string_view("store")) {
      Arg(&call, "", Num(Below(r_, 256)));
    }
    Emit(std::move(call));
  }

  void Close() {
    std::vector<std::string> files;
    for (const Resource& x : scope_.resources) {
      if (x.is_fd) files.push_back(x.name);
    }
    files.insert(files.end(), scope_.memfds.begin(), scope_.memfds.end());
    if (files.empty() || OneIn(r_, 8)) {
      for (const auto& f : scope_.fds) files.push_back(f.name);
    }
    if (files.empty()) return;
    Call call;
    call.name = "close";
    Arg(&call, "", NameValue(Pick(r_, files)));
    Emit(std::move(call));
  }

  void RawIoctl() {
    if (fd_.empty()) fd_ = Iommufd();
    Call call;
    call.name = "ioctl";
    Arg(&call, "", NameValue(fd_));
    // ';' and a number: VFIO's, iommufd's, none.
    static const uint64_t kNumbersOfCalls[] = {100, 101,  102,  112,  113, 114,
                                               117, 0x7f, 0x95, 0x9f, 0xa1};
    uint64_t number = Pick(r_, kNumbersOfCalls);
    if (OneIn(r_, 4)) number = Below(r_, 256);
    Arg(&call, "", Num(0x3b00 | number | (OneIn(r_, 10) ? 0xc0100000 : 0)));
    if (OneIn(r_, 3)) {
      Arg(&call, "", Num(Below(r_, 12)));
    } else {
      std::string image(8 * Below(r_, 9), '\0');
      if (!image.empty()) image[0] = static_cast<char>(image.size());
      for (size_t i = 4; i < image.size(); i++) {
        if (OneIn(r_, 6)) image[i] = static_cast<char>(Below(r_, 256));
      }
      Arg(&call, "", Value::String(image));
    }
    Emit(std::move(call));
  }

  Random& r_;
  const GeneratorOptions& options_;
  Scope scope_;
  std::vector<std::string> children_;  // processes that live
  std::vector<Line>* out_;
  std::string fd_;
  int depth_limit_ = 4;
};

// ---- mutating ----

bool BindsSoFar(const Program& program, prog::Error* error) {
  prog::BoundProgram bound;
  return prog::Bind(program, {}, &bound, error);
}

// Numbers its lines, so that an error of Bind() can be found again.
void NumberLines(Program* program) {
  for (size_t i = 0; i < program->lines.size(); i++) {
    program->lines[i].call.pos.line = static_cast<int>(i + 1);
  }
}

void SetPositions(Value* v, int line) {
  v->pos = {line, 1};
  for (Value& item : v->items) SetPositions(&item, line);
  for (Field& f : v->fields) {
    f.pos = {line, 1};
    SetPositions(&f.value, line);
  }
}

void SetPositions(Call* call, int line) {
  call->pos = {line, 1};
  call->thread_pos = call->pos;
  call->expect = {};
  for (Field& f : call->args) {
    f.pos = {line, 1};
    SetPositions(&f.value, line);
  }
}

// Drops what means nothing until the rest binds. What other calls refer to
// may go with it, so they go too.
void Repair(Program* program) {
  std::erase_if(program->lines, [](const Line& l) { return !l.has_call; });
  for (Line& l : program->lines) {
    l.has_comment = false;
    l.comment.clear();
  }
  while (!program->lines.empty()) {
    NumberLines(program);
    for (size_t i = 0; i < program->lines.size(); i++) {
      SetPositions(&program->lines[i].call, static_cast<int>(i + 1));
    }
    prog::Error error;
    if (BindsSoFar(*program, &error)) return;
    const size_t line = static_cast<size_t>(error.pos.line);
    if (line == 0 || line > program->lines.size()) {
      program->lines.clear();
      return;
    }
    program->lines.erase(program->lines.begin() +
                         static_cast<std::ptrdiff_t>(line - 1));
  }
}

// All numbers of a value, in order.
void Numbers(Value* v, std::vector<Value*>* out) {
  if (v->kind == Value::Kind::kNumber) out->push_back(v);
  for (Value& item : v->items) Numbers(&item, out);
  for (Field& f : v->fields) Numbers(&f.value, out);
}

void ChangeNumber(Value* v, Random& r) {
  uint64_t n = v->number;
  switch (Below(r, 8)) {
    case 0:
      n++;
      break;
    case 1:
      n--;
      break;
    case 2:
      n += kPage;
      break;
    case 3:
      n -= kPage;
      break;
    case 4:
      n ^= uint64_t{1} << Below(r, 64);
      break;
    case 5:
      n *= 2;
      break;
    case 6:
      n = Pick(r, kOddSizes);
      break;
    default:
      n = Pick(r, kNumbers);
      break;
  }
  v->number = n;
  v->style = NumberStyle::kAuto;
}

size_t RandomCall(const Program& p, Random& r) {
  return Below(r, p.lines.size());
}

// New lines made in the scope that is there before line `at`.
void InsertAt(Program* p, size_t at, Random& r, const GeneratorOptions& options,
              int count) {
  std::vector<Line> fresh;
  Writer writer(r, options, ScopeUpTo(*p, at), &fresh);
  for (int i = 0; i < count; i++) writer.Something();
  p->lines.insert(p->lines.begin() + static_cast<std::ptrdiff_t>(at),
                  std::make_move_iterator(fresh.begin()),
                  std::make_move_iterator(fresh.end()));
}

void ChangeArgument(Program* p, Random& r, const GeneratorOptions& options) {
  const size_t at = RandomCall(*p, r);
  Call* call = &p->lines[at].call;
  Scope scope = ScopeUpTo(*p, at);
  const desc_ioctl* d = DescOf(scope, *call);
  std::vector<Line> needed;
  if (d == nullptr || call->args.empty()) {
    std::vector<Value*> numbers;
    for (Field& f : call->args) Numbers(&f.value, &numbers);
    if (!numbers.empty()) ChangeNumber(numbers[Below(r, numbers.size())], r);
    return;
  }
  const std::string fd = NameOf(call->args[0].value);
  Writer writer(r, options, std::move(scope), &needed);
  const desc_field& f = d->arg->fields[Below(r, d->arg->fields.size())];
  Field made;
  if (!writer.Extra(*d, f, fd, &made)) return;
  bool there = false;
  for (size_t i = 1; i < call->args.size(); i++) {
    std::string_view name = call->args[i].name;
    if (desc_find_field(*d->arg, name) == &f || name == f.name ||
        (desc_is_pointer(f.kind) && std::string(name) + "_uptr" == f.name)) {
      call->args[i].value = made.value;
      there = true;
    }
  }
  if (!there) call->args.push_back(std::move(made));
  p->lines.insert(p->lines.begin() + static_cast<std::ptrdiff_t>(at),
                  std::make_move_iterator(needed.begin()),
                  std::make_move_iterator(needed.end()));
}

void MutateOnce(Program* p, Random& r, const GeneratorOptions& options) {
  if (p->lines.empty()) {
    *p = Generate(r, options);
    return;
  }
  const auto begin = p->lines.begin();
  switch (Below(r, 16)) {
    case 0:
    case 1:
    case 2:
      if (p->lines.size() < options.max_calls) {
        InsertAt(p, 1 + Below(r, p->lines.size()), r, options,
                 1 + static_cast<int>(Below(r, 3)));
      }
      break;
    case 3:
      if (p->lines.size() < options.max_calls) {
        InsertAt(p, p->lines.size(), r, options, 1);
      }
      break;
    case 4:
      p->lines.erase(begin + static_cast<std::ptrdiff_t>(RandomCall(*p, r)));
      break;
    case 5: {  // the same call again, later
      if (p->lines.size() >= options.max_calls) break;
      const size_t from = RandomCall(*p, r);
      Line copy = p->lines[from];
      if (!copy.call.result.empty()) {
        Scope scope = ScopeUpTo(*p, p->lines.size());
        copy.call.result = scope.Fresh("x");
      }
      const size_t to = from + 1 + Below(r, p->lines.size() - from);
      p->lines.insert(p->lines.begin() + static_cast<std::ptrdiff_t>(to),
                      std::move(copy));
      break;
    }
    case 6: {  // another order
      const size_t a = RandomCall(*p, r);
      const size_t b = RandomCall(*p, r);
      std::swap(p->lines[a], p->lines[b]);
      break;
    }
    case 7: {  // fail_nth, or none
      Call* call = &p->lines[RandomCall(*p, r)].call;
      if (call->name == "machine" || call->name == "load" ||
          call->name == "store" || !options.fail_nth) {
        break;
      }
      std::erase_if(call->args,
                    [](const Field& f) { return f.name == "fail_nth"; });
      if (!OneIn(r, 3)) {
        Field f;
        f.name = "fail_nth";
        f.value = Num(1 + Below(r, 16));
        call->args.push_back(std::move(f));
      }
      break;
    }
    case 8: {  // the machine
      if (!options.machines) break;
      if (p->lines[0].call.name == "machine") p->lines.erase(p->lines.begin());
      if (!OneIn(r, 3)) {
        std::vector<Line> fresh;
        Writer writer(r, options, Scope(), &fresh);
        writer.Machine();
        p->lines.insert(p->lines.begin(), fresh[0]);
      }
      break;
    }
    case 9: {  // the other form of the surface
      for (Line& l : p->lines) {
        if (l.call.name != "open") continue;
        for (Field& f : l.call.args) {
          if (f.name != "uapi") continue;
          f.value.text = f.value.text == "hw-queue" ? "vcmdq-v2" : "hw-queue";
        }
      }
      // 0x94 goes by another name there.
      for (Line& l : p->lines) {
        if (l.call.name == "VCMDQ_ALLOC" || l.call.name == "HW_QUEUE_ALLOC") {
          const bool v2 = l.call.name == "VCMDQ_ALLOC";
          l.call.name = v2 ? "HW_QUEUE_ALLOC" : "VCMDQ_ALLOC";
          for (Field& f : l.call.args) {
            if (f.name == "addr")
              f.name = "nesting_parent_iova";
            else if (f.name == "nesting_parent_iova")
              f.name = "addr";
          }
        }
      }
      break;
    }
    case 10:
    case 11:
    case 12: {
      Call* call = &p->lines[RandomCall(*p, r)].call;
      std::vector<Value*> numbers;
      for (Field& f : call->args) Numbers(&f.value, &numbers);
      if (!numbers.empty()) ChangeNumber(numbers[Below(r, numbers.size())], r);
      break;
    }
    default:
      ChangeArgument(p, r, options);
      break;
  }
}

}  // namespace

Program Generate(Random& random, const GeneratorOptions& options) {
  Program p;
  Writer writer(random, options, Scope(), &p.lines);
  if (options.machines && OneIn(random, 6)) writer.Machine();
  writer.Open();
  if (OneIn(random, 3)) writer.QueueRecipe();
  if (OneIn(random, 6)) writer.AccessRecipe();
  if (OneIn(random, 6)) writer.EventRecipe();
  if (OneIn(random, 8)) writer.PasidRecipe();
  if (OneIn(random, 8)) writer.DirtyRecipe();
  const size_t calls = 2 + Below(random, options.max_calls);
  while (p.lines.size() < calls) writer.Something();
  Repair(&p);
  return p;
}

Program Mutate(const Program& program, Random& random,
               const GeneratorOptions& options) {
  Program p = program;
  Repair(&p);
  for (uint64_t n = 1 + Below(random, 4); n > 0; n--) {
    MutateOnce(&p, random, options);
    std::erase_if(p.lines, [](const Line& l) { return !l.has_call; });
  }
  if (p.lines.size() > 2 * options.max_calls) {
    p.lines.resize(2 * options.max_calls);
  }
  Repair(&p);
  if (p.lines.empty()) return Generate(random, options);
  return p;
}

Program Splice(const Program& a, const Program& b, Random& random,
               const GeneratorOptions& options) {
  Program p = a;
  Repair(&p);
  Program tail = b;
  Repair(&tail);
  if (p.lines.empty() || tail.lines.empty()) {
    return Mutate(p.lines.empty() ? tail : p, random, options);
  }
  // A definition of the tail hides the head's one of the same name: then the
  // tail's calls work on their own objects. Otherwise they share the head's.
  p.lines.resize(1 + Below(random, p.lines.size()));
  const size_t from = Below(random, tail.lines.size());
  for (size_t i = from; i < tail.lines.size(); i++) {
    if (p.lines.size() >= 2 * options.max_calls) break;
    if (tail.lines[i].call.name == "machine") continue;
    p.lines.push_back(tail.lines[i]);
  }
  Repair(&p);
  return p;
}

bool IsValid(const Program& program) {
  Program parsed;
  prog::Error error;
  if (!prog::Parse(prog::Print(program), &parsed, &error)) return false;
  return BindsSoFar(parsed, &error);
}

}  // namespace fuzz
