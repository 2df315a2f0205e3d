// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/repro/types.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace repro {
namespace {

bool Defines(std::string_view header, const desc_struct& s) {
  return absl::StrContains(header, absl::StrCat("\nstruct ", s.name, " {"));
}

std::string TypeOf(const desc_field& f) {
  if (f.width == 8) return "__aligned_u64";
  return absl::StrFormat("__u%d", 8 * f.width);
}

// The member's struct in a union, and its name there.
std::pair<std::string_view, std::string_view> Split(std::string_view member) {
  const size_t dot = member.find('.');
  if (dot == std::string_view::npos) return {"", member};
  return {member.substr(0, dot), member.substr(dot + 1)};
}

}  // namespace

void Types::UseCommand(const desc_ioctl& desc) {
  if (desc.op != 0) ops_.emplace(desc.op, &desc);
  if (!desc.arg_is_value) {
    UseStruct(*desc.arg, true);
  } else if (absl::StrContains(kVfioHeader, desc.constant)) {
    uses_vfio_ = true;
  }
}

void Types::UsePointee(const desc_struct& s) { UseStruct(s, false); }

void Types::UseStruct(const desc_struct& s, bool command) {
  if (Defines(kVfioHeader, s)) {
    uses_vfio_ = true;
  } else if (!Defines(kIommufdHeader, s)) {
    own_[s.name].emplace(&s, command);
  }
}

std::string Types::MemberOf(const desc_struct& s, const desc_field& f,
                            bool command) const {
  // A struct behind a pointer has one name a form; of a command's field both
  // names are there.
  if (!command && f.alias != nullptr && (form_ & DESC_RELEASES)) return f.alias;
  if (f.c_name != nullptr) return f.c_name;
  for (const desc_field& other : s.fields) {
    if (other.c_name != nullptr && absl::StrContains(other.c_name, '.')) {
      return f.offset < other.offset ? f.name : "";
    }
  }
  return f.name;
}

std::string Types::NumberOf(const desc_ioctl& desc) {
  return desc.op != 0 ? "IOMMU_TEST_CMD" : desc.constant;
}

std::string Types::Definitions() const {
  std::string out;
  if (!ops_.empty()) {
    absl::StrAppend(&out,
                    "/* Of drivers/iommu/iommufd/iommufd_test.h, what is used "
                    "here. */\n");
    absl::StrAppendFormat(&out, "#define IOMMU_TEST_CMD _IO(';', 0x%x)\n",
                          ops_.begin()->second->cmd & 0xff);
    for (const auto& [op, desc] : ops_) {
      absl::StrAppend(&out, "#define ", desc->constant, " ", op, "\n");
    }
    out += '\n';
  }
  for (const auto& [name, descriptions] : own_) {
    const uint16_t size = descriptions.begin()->first->size;
    // Where the union of an op's fields begins; the size: there is none.
    uint16_t rest = size;
    uint16_t named_end = size;
    for (const auto& [s, command] : descriptions) {
      for (const desc_field& f : s->fields) {
        if (f.c_name == nullptr) named_end = std::min(named_end, f.offset);
        if (!Split(MemberOf(*s, f, command)).first.empty()) {
          rest = std::min(rest, f.offset);
        }
      }
    }
    if (rest == size) rest = named_end;
    std::map<uint16_t, std::string> plain;
    std::map<std::string, std::string> groups;
    for (const auto& [s, command] : descriptions) {
      uint16_t at = rest;
      for (const desc_field& f : s->fields) {
        const std::string member = MemberOf(*s, f, command);
        if (member.empty()) continue;
        const auto [group, field] = Split(member);
        if (f.offset < rest) {
          plain[f.offset] = absl::StrCat("\t", TypeOf(f), " ", member, ";\n");
        } else if (!group.empty()) {
          std::string* text = &groups[std::string(group)];
          const uint16_t aligned = (at + f.width - 1) / f.width * f.width;
          if (f.offset > aligned) {
            absl::StrAppend(text, "\t\t\t__u8 before_", field, "[",
                            f.offset - at, "];\n");
          }
          absl::StrAppend(text, "\t\t\t", TypeOf(f), " ", field, ";\n");
          at = f.offset + f.width;
        }
      }
    }
    const bool room = rest != size;
    absl::StrAppend(&out, "struct ", name, " {\n");
    for (const auto& [offset, text] : plain) out += text;
    if (room) {
      out += "\tunion {\n";
      for (const auto& [group, fields] : groups) {
        absl::StrAppend(&out, "\t\tstruct {\n", fields, "\t\t} ", group, ";\n");
      }
      absl::StrAppend(&out, "\t\t__aligned_u64 room[", (size - rest) / 8,
                      "];\n\t};\n");
    }
    absl::StrAppend(&out, "};\n_Static_assert(sizeof(struct ", name,
                    ") == ", size, ", \"as in the kernel\");\n\n");
  }
  return out;
}

}  // namespace repro
