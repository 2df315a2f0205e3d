// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/syz/describe.h"

#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "uapi/iommufd_desc.h"
#include "uapi/iommufd_test.h"

namespace syz {
namespace {

constexpr const char* kObjectNames[] = {
    "none",
#define X(name, label, variable) #name,
    IOMMUFD_OBJECT_TYPES(X) DESC_OTHER_OBJECTS(X)
#undef X
};

constexpr char kContext[] = "fd_iommufd";
constexpr char kDevice[] = "fd_iommufd_vfio_device";

std::string ObjectName(desc_object object) {
  return absl::AsciiStrToLower(kObjectNames[static_cast<size_t>(object)]);
}

std::vector<desc_object> Objects() {
  std::vector<desc_object> all;
  for (unsigned i = 1; i < static_cast<unsigned>(desc_object::MAX); i++) {
    all.push_back(static_cast<desc_object>(i));
  }
  return all;
}

std::string Int(const desc_field& f) {
  return absl::StrCat("int", 8 * f.width);
}

// A member's name as syzlang allows it.
std::string MemberName(const desc_field& f) {
  return absl::StrReplaceAll(f.name, {{"[", "_"}, {"]", ""}, {".", "_"}});
}

class Writer {
 public:
  explicit Writer(uint8_t form) : form_(form) {}

  std::string Write() {
    std::string calls;
    for (const desc_ioctl& d : iommufd_desc_all()) {
      if (d.revisions & form_) absl::StrAppend(&calls, Call(d));
    }
    for (const desc_object object : files_) {
      absl::StrAppend(&calls, FileCalls(object));
    }
    return absl::StrCat("# Written by `./lab describe --syz --uapi=",
                        desc_revision_name_of(form_),
                        "`: all commands of that form.\n\n"
                        "include <uapi/linux/fcntl.h>\n"
                        "include <uapi/linux/iommufd.h>\n"
                        "include <uapi/linux/vfio.h>\n"
                        "include <../drivers/iommu/iommufd/iommufd_test.h>\n\n",
                        Resources(), "\n", Opens(), "\n", calls, "\n", structs_,
                        sets_);
  }

 private:
  // ---- resources ----

  // A number for objects of one type, or for all that a field takes.
  std::string Id(desc_object object) {
    ids_.insert(object);
    return absl::StrCat("iommufd_", ObjectName(object), "_id");
  }

  std::string File(desc_object object) {
    // Memory files and dma-bufs are other subsystems'.
    if (object == desc_object::NONE || object == desc_object::DMABUF) {
      return "fd";
    }
    files_.insert(object);
    return absl::StrCat(kContext, "_", ObjectName(object));
  }

  // What of the others takes the object, and the fewest besides.
  desc_object Base(desc_object have) const {
    desc_object best = desc_object::NONE;
    size_t best_takes = SIZE_MAX;
    for (const desc_object want : Objects()) {
      if (want == have || !desc_object_takes(want, have) ||
          desc_object_is_of_access(have)) {
        continue;
      }
      size_t takes = 0;
      for (const desc_object o : Objects()) takes += desc_object_takes(want, o);
      if (takes < best_takes) {
        best = want;
        best_takes = takes;
      }
    }
    return best;
  }

  std::string Resources() {
    std::string out = absl::StrCat("resource ", kContext, "[fd]\n", "resource ",
                                   kDevice, "[fd]\n");
    for (const desc_object object : files_) {
      absl::StrAppend(&out, "resource ", File(object), "[fd]\n");
    }
    // A base that no field has is needed as well.
    for (bool grown = true; grown;) {
      grown = false;
      for (const desc_object object : std::set<desc_object>(ids_)) {
        const desc_object base = Base(object);
        grown =
            (base != desc_object::NONE && ids_.insert(base).second) || grown;
      }
    }
    // A base stands before what is made of it.
    std::set<desc_object> done;
    while (done.size() != ids_.size()) {
      for (const desc_object object : ids_) {
        const desc_object base = Base(object);
        if (done.count(object) ||
            (base != desc_object::NONE && !done.count(base))) {
          continue;
        }
        absl::StrAppend(&out, "resource ", Id(object), "[",
                        base != desc_object::NONE ? Id(base) : "int32", "]\n");
        done.insert(object);
      }
    }
    return out;
  }

  static std::string Opens() {
    return absl::StrFormat(
        "openat$iommufd(fd const[AT_FDCWD], file ptr[in, "
        "string[\"/dev/iommu\"]], flags flags[open_flags], mode const[0]) %s\n"
        "openat$iommufd_vfio_device(fd const[AT_FDCWD], file ptr[in, "
        "string[\"/dev/vfio/devices/vfio0\"]], flags flags[open_flags], mode "
        "const[0]) %s\n"
        "mmap$iommufd(addr vma, len len[addr], prot flags[mmap_prot], flags "
        "const[MAP_SHARED], fd %s, offset fileoff)\n",
        kContext, kDevice, kContext);
  }

  // What can be done with a file that a command makes.
  std::string FileCalls(desc_object object) {
    const std::string name = ObjectName(object);
    const std::string file = File(object);
    return absl::StrFormat(
        "read$iommufd_%s(fd %s, buf buffer[out], count len[buf])\n"
        "write$iommufd_%s(fd %s, buf buffer[in], count len[buf])\n",
        name, file, name, file);
  }

  // ---- commands ----

  std::string Call(const desc_ioctl& d) {
    // dev_vfio.txt has VFIO's own.
    const std::string name = absl::StartsWith(d.constant, "VFIO")
                                 ? absl::StrCat("IOMMU_", d.constant)
                                 : d.constant;
    std::string arg = absl::StrCat("ptr[in, ", Struct(d), "]");
    if (d.arg_is_value) {
      const desc_field& f = d.arg->fields[0];
      arg =
          f.names.empty()
              ? "intptr"
              : absl::StrCat("flags[",
                             DefineSet(absl::AsciiStrToLower(d.name), f), "]");
    }
    const std::string cmd = d.op != 0 ? "IOMMU_TEST_CMD" : d.constant;
    return absl::StrCat("ioctl$", name, "(fd ",
                        d.of_device ? kDevice : kContext, ", cmd const[", cmd,
                        "], arg ", arg, ")",
                        d.returns_fd ? " " + File(d.creates) : "", "\n");
  }

  std::string Struct(const desc_ioctl& d) {
    if (d.arg_is_value) return "";
    std::string name = d.arg->name;
    if (d.op != 0) {
      absl::StrAppend(&name, "$", absl::AsciiStrToLower(d.name));
    } else if (absl::StartsWith(name, "vfio")) {
      name = "iommufd_" + name;
    }
    Define(name, *d.arg, &d);
    return name;
  }

  void Define(const std::string& name, const desc_struct& s,
              const desc_ioctl* command) {
    if (!defined_.insert(name).second) return;
    std::string body = absl::StrCat(name, " {\n");
    for (const desc_field& f : s.fields) {
      absl::StrAppend(&body, "\t", MemberName(f), "\t",
                      Type(name, s, f, command), "\n");
    }
    absl::StrAppend(&structs_, body, "}\n\n");
  }

  // ---- fields ----

  std::string Type(const std::string& owner, const desc_struct& s,
                   const desc_field& f, const desc_ioctl* command) {
    const char* const out = f.returned ? "\t(inout)" : "";
    switch (f.kind) {
      case desc_kind::SIZE:
        return absl::StrCat("len[parent, ", Int(f), "]");
      case desc_kind::OP:
        return absl::StrCat("const[", command->constant, ", ", Int(f), "]");
      case desc_kind::FLAGS:
      case desc_kind::ENUM:
        return absl::StrCat(Set(owner, f), out);
      case desc_kind::ID_IN:
        return absl::StrCat(Id(f.object), f.optional ? "[opt]" : "");
      case desc_kind::ID_OUT:
        // Of two types the one that goes where the other does as well.
        return absl::StrCat(
            Id(f.selected_object != desc_object::NONE ? f.selected_object
                                                      : f.object),
            "\t(out)");
      case desc_kind::ID_INOUT:
        return absl::StrCat(Id(f.object), "\t(inout)");
      case desc_kind::FD_IN:
        return File(f.object);
      case desc_kind::FD_OUT:
        return absl::StrCat(File(f.object), "\t(out)");
      case desc_kind::USER_VA:
        return "vma64";
      case desc_kind::PTR_IN:
      case desc_kind::PTR_OUT:
      case desc_kind::PTR_INOUT:
        return Pointer(owner, f);
      case desc_kind::LEN:
      case desc_kind::COUNT:
        return absl::StrCat(Length(s, f), out);
      case desc_kind::ENTRY_LEN:
        return absl::StrCat(EntryLength(s, f), out);
      case desc_kind::IOVA_LEN:
        return absl::StrCat(MappedLength(f, command), out);
      case desc_kind::IOVA:
      case desc_kind::NUMBER:
        return absl::StrCat(f.names.empty() ? Int(f) : Set(owner, f), out);
      case desc_kind::NUMBER_OUT:
        return absl::StrCat(Int(f), "\t(out)");
      case desc_kind::IOVA_INOUT:
      case desc_kind::NUMBER_INOUT:
        return absl::StrCat(Int(f), "\t(inout)");
      case desc_kind::RESERVED:
      case desc_kind::PADDING:
        return absl::StrCat("const[0, ", Int(f), "]");
    }
    return Int(f);
  }

  // A set of the field's constants.
  std::string Set(const std::string& owner, const desc_field& f) {
    if (f.names.empty()) return absl::StrCat("const[0, ", Int(f), "]");
    return absl::StrCat("flags[", DefineSet(owner, f), ", ", Int(f), "]");
  }

  std::string DefineSet(const std::string& owner, const desc_field& f) {
    const std::string name = absl::StrCat(
        absl::StrReplaceAll(owner, {{"$", "_"}}), "_", MemberName(f));
    if (!defined_.insert(name).second) return name;
    absl::StrAppend(&sets_, "# ",
                    absl::StrJoin(f.names, ", ",
                                  [](std::string* out, const desc_name& n) {
                                    absl::StrAppend(out, n.name);
                                  }),
                    "\n", name, " = ",
                    absl::StrJoin(f.names, ", ",
                                  [](std::string* out, const desc_name& n) {
                                    absl::StrAppend(out, "0x",
                                                    absl::Hex(n.value));
                                  }),
                    "\n");
    return name;
  }

  std::string Pointer(const std::string& owner, const desc_field& f) {
    const char* const direction = f.kind == desc_kind::PTR_IN    ? "in"
                                  : f.kind == desc_kind::PTR_OUT ? "out"
                                                                 : "inout";
    std::string element = "int8";
    if (!f.variants.empty()) {
      element = Union(owner, f);
    } else if (f.pointee != nullptr) {
      element = f.pointee->name;
      Define(element, *f.pointee, nullptr);
    }
    return absl::StrCat("ptr64[", direction, ", array[", element, "]]");
  }

  // Which struct it is depends on another field.
  std::string Union(const std::string& owner, const desc_field& f) {
    const std::string name = absl::StrCat(
        absl::StrReplaceAll(owner, {{"$", "_"}}), "_", MemberName(f));
    if (!defined_.insert(name).second) return name;
    std::string body = absl::StrCat(name, " [\n");
    std::set<std::string> members;
    for (const desc_variant& v : f.variants) {
      const std::string member = v.pointee->name;
      if (!members.insert(member).second) continue;
      Define(member, *v.pointee, nullptr);
      absl::StrAppend(&body, "\t", member, "\t", member, "\n");
    }
    absl::StrAppend(&structs_, body, "] [varlen]\n\n");
    return name;
  }

  // Of what a pointer points to: bytes, or elements.
  static std::string Length(const desc_struct& s, const desc_field& f) {
    for (const desc_field& pointer : s.fields) {
      if (pointer.len_field == nullptr ||
          std::string_view(pointer.len_field) != f.name) {
        continue;
      }
      return absl::StrCat(f.kind == desc_kind::COUNT ? "len[" : "bytesize[",
                          MemberName(pointer), ", ", Int(f), "]");
    }
    return Int(f);
  }

  static std::string EntryLength(const desc_struct& s, const desc_field& f) {
    std::set<unsigned> sizes;
    for (const desc_field& pointer : s.fields) {
      if (pointer.pointee != nullptr) sizes.insert(pointer.pointee->size);
      for (const desc_variant& v : pointer.variants) {
        sizes.insert(v.pointee->size);
      }
    }
    if (sizes.size() != 1) return Int(f);
    return absl::StrCat("const[", *sizes.begin(), ", ", Int(f), "]");
  }

  // Of memory that a command maps.
  static std::string MappedLength(const desc_field& f,
                                  const desc_ioctl* command) {
    const desc_effect* effect = command != nullptr ? command->effect : nullptr;
    if (effect == nullptr || effect->from_va == nullptr ||
        effect->length == nullptr ||
        std::string_view(effect->length) != f.name) {
      return Int(f);
    }
    return absl::StrCat("len[", effect->from_va, ", ", Int(f), "]");
  }

  const uint8_t form_;
  std::set<desc_object> ids_;
  std::set<desc_object> files_;
  std::set<std::string> defined_;
  std::string structs_;
  std::string sets_;
};

}  // namespace

std::string Describe(uint8_t form) { return Writer(form).Write(); }

}  // namespace syz
