// SPDX-License-Identifier: GPL-2.0-or-later
//
// What `./lab describe --syz` writes, read as syzlang: every name is defined,
// every resource can be made, every struct has its kernel's size.
#include "tools/syz/describe.h"

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"
#include "uapi/iommufd_desc.h"

namespace syz {
namespace {

// name[argument, ...]
struct Type {
  std::string name;
  std::vector<Type> args;
};

bool IsWord(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
         c == '$';
}

// Empty name: it is no type.
Type ParseType(std::string_view* text) {
  Type type;
  while (!text->empty() && text->front() == ' ') text->remove_prefix(1);
  size_t n = 0;
  if (!text->empty() && text->front() == '"') {
    n = text->find('"', 1);
    if (n == text->npos) return type;
    n++;
  } else {
    while (n < text->size() && IsWord((*text)[n])) n++;
  }
  type.name = std::string(text->substr(0, n));
  text->remove_prefix(n);
  if (text->empty() || text->front() != '[') return type;
  do {
    text->remove_prefix(1);
    type.args.push_back(ParseType(text));
    if (type.args.back().name.empty()) return {};
  } while (!text->empty() && text->front() == ',');
  if (text->empty() || text->front() != ']') return {};
  text->remove_prefix(1);
  return type;
}

struct Member {
  std::string name;
  Type type;
  bool out = false;
};

struct Call {
  std::string name;
  std::vector<Member> args;
  std::string returns;
};

// A file, taken apart. Anything that is none of syzlang's lines fails the test.
class Description {
 public:
  explicit Description(std::string_view text) {
    std::vector<Member>* open = nullptr;
    for (std::string_view line : absl::StrSplit(text, '\n')) {
      SCOPED_TRACE(line);
      if (line.empty() || line[0] == '#' || absl::StartsWith(line, "include <"))
        continue;
      if (open != nullptr) {
        if (line == "}" || line == "] [varlen]") {
          open = nullptr;
        } else {
          open->push_back(ParseMember(line));
        }
      } else if (absl::ConsumePrefix(&line, "resource ")) {
        const Type type = ParseType(&line);
        if (type.args.size() != 1) {
          ADD_FAILURE() << "a resource has one base";
          continue;
        }
        const std::string& base = type.args[0].name;
        EXPECT_TRUE(base == "fd" || base == "int32" || resources.count(base));
        EXPECT_TRUE(resources.emplace(type.name, base).second);
      } else if (absl::ConsumeSuffix(&line, " {") ||
                 absl::ConsumeSuffix(&line, " [")) {
        const auto [it, is_new] =
            structs.emplace(std::string(line), std::vector<Member>());
        EXPECT_TRUE(is_new);
        open = &it->second;
      } else if (absl::StrContains(line, " = ")) {
        const std::pair<std::string, std::string> set =
            absl::StrSplit(line, absl::MaxSplits(" = ", 1));
        EXPECT_TRUE(sets.insert(set.first).second);
        for (std::string_view value : absl::StrSplit(set.second, ", ")) {
          uint64_t number;
          EXPECT_TRUE(absl::SimpleHexAtoi(value, &number)) << value;
        }
      } else {
        calls.push_back(ParseCall(line));
      }
    }
    EXPECT_EQ(open, nullptr);
  }

  std::map<std::string, std::string> resources;        // with their bases
  std::map<std::string, std::vector<Member>> structs;  // and unions
  std::set<std::string> sets;
  std::vector<Call> calls;

 private:
  static Member ParseMember(std::string_view line) {
    Member m;
    EXPECT_TRUE(absl::ConsumePrefix(&line, "\t"));
    m.out = absl::ConsumeSuffix(&line, "\t(out)") ||
            absl::ConsumeSuffix(&line, "\t(inout)");
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(line, absl::MaxSplits('\t', 1));
    m.name = parts.first;
    std::string_view type = parts.second;
    m.type = ParseType(&type);
    EXPECT_NE(m.type.name, "");
    EXPECT_EQ(type, "");
    return m;
  }

  static Call ParseCall(std::string_view line) {
    Call call;
    const size_t paren = line.find('(');
    if (paren == line.npos) {
      ADD_FAILURE() << "no line of syzlang";
      return call;
    }
    call.name = std::string(line.substr(0, paren));
    line.remove_prefix(paren);
    do {
      line.remove_prefix(line[1] == ' ' ? 2 : 1);
      Member m;
      const size_t space = line.find(' ');
      m.name = std::string(line.substr(0, space));
      line.remove_prefix(space + 1);
      m.type = ParseType(&line);
      EXPECT_NE(m.type.name, "") << m.name;
      call.args.push_back(std::move(m));
    } while (!line.empty() && line[0] == ',');
    EXPECT_TRUE(absl::ConsumePrefix(&line, ")")) << line;
    absl::ConsumePrefix(&line, " ");
    call.returns = std::string(line);
    return call;
  }
};

class Checker {
 public:
  explicit Checker(const Description& d) : d_(d) {}

  void CheckAll() {
    for (const auto& [name, members] : d_.structs) {
      for (const Member& m : members) {
        SCOPED_TRACE(name + "." + m.name);
        Check(m.type, members);
        if (m.out) made_.insert(m.type.name);
      }
    }
    for (const Call& call : d_.calls) {
      SCOPED_TRACE(call.name);
      EXPECT_TRUE(names_.insert(call.name).second);
      for (const Member& m : call.args) Check(m.type, call.args);
      if (!call.returns.empty()) {
        EXPECT_TRUE(call.returns == "fd" || d_.resources.count(call.returns))
            << call.returns;
        made_.insert(call.returns);
      }
    }
    // Of itself, or of what it is the base of.
    for (const auto& [resource, base] : d_.resources) {
      bool made = false;
      for (std::string m : made_) {
        for (; d_.resources.count(m); m = d_.resources.at(m)) {
          made = made || m == resource;
        }
      }
      EXPECT_TRUE(made) << resource << " can never be made";
    }
  }

  // Bytes; 0: it is not known here.
  size_t SizeOf(const Type& t) const {
    static const std::map<std::string, size_t> kInts = {
        {"int8", 1},  {"int16", 2}, {"int32", 4},
        {"int64", 8}, {"ptr64", 8}, {"vma64", 8}};
    const auto it = kInts.find(t.name);
    if (it != kInts.end()) return it->second;
    if (t.name == "fd" || d_.resources.count(t.name)) return 4;
    return t.args.size() == 2 ? SizeOf(t.args[1]) : 0;
  }

 private:
  void Check(const Type& t, const std::vector<Member>& siblings) {
    const auto sibling = [&](const std::string& name) {
      for (const Member& m : siblings) {
        if (m.name == name) return true;
      }
      return name == "parent";
    };
    if (t.name == "const") return;
    if (t.name == "flags") {
      ASSERT_GE(t.args.size(), 1u);
      EXPECT_TRUE(d_.sets.count(t.args[0].name) ||
                  t.args[0].name == "open_flags" ||
                  t.args[0].name == "mmap_prot")
          << t.args[0].name;
      return;
    }
    if (t.name == "len" || t.name == "bytesize") {
      ASSERT_GE(t.args.size(), 1u);
      EXPECT_TRUE(sibling(t.args[0].name)) << t.args[0].name;
      return;
    }
    static const std::set<std::string> kTypes = {"int8",  "int16",   "int32",
                                                 "int64", "intptr",  "vma",
                                                 "vma64", "fileoff", "fd"};
    static const std::set<std::string> kOf = {"ptr", "ptr64", "buffer", "array",
                                              "string"};
    static const std::set<std::string> kWords = {"in", "out", "inout"};
    if (kOf.count(t.name)) {
      for (const Type& arg : t.args) {
        if (!kWords.count(arg.name) && arg.name[0] != '"') Check(arg, siblings);
      }
      return;
    }
    EXPECT_TRUE(kTypes.count(t.name) || d_.resources.count(t.name) ||
                d_.structs.count(t.name))
        << t.name << " is not defined";
  }

  const Description& d_;
  std::set<std::string> made_;
  std::set<std::string> names_;
};

TEST(Describe, EachFormIsSyzlang) {
  for (const desc_revision_name& form : desc_revisions) {
    SCOPED_TRACE(form.name);
    const Description d(Describe(form.revision));
    Checker checker(d);
    checker.CheckAll();
    std::set<std::string> ioctls;
    for (const Call& call : d.calls) {
      if (absl::StartsWith(call.name, "ioctl$")) ioctls.insert(call.name);
    }
    size_t commands = 0;
    for (const desc_ioctl& desc : iommufd_desc_all()) {
      if (!(desc.revisions & form.revision)) continue;
      commands++;
      const bool vfio = absl::StartsWith(desc.constant, "VFIO");
      EXPECT_EQ(ioctls.count(std::string("ioctl$") + (vfio ? "IOMMU_" : "") +
                             desc.constant),
                1u)
          << desc.name;
    }
    EXPECT_EQ(ioctls.size(), commands);
  }
}

TEST(Describe, StructsHaveTheirSizes) {
  const Description d(Describe(DESC_HW_QUEUE));
  const Checker checker(d);
  size_t compared = 0;
  for (const desc_ioctl& desc : iommufd_desc_all()) {
    if (!(desc.revisions & DESC_HW_QUEUE) || desc.op != 0) continue;
    const auto it = d.structs.find(desc.arg->name);
    if (it == d.structs.end()) continue;
    size_t bytes = 0;
    for (const Member& m : it->second) {
      EXPECT_NE(checker.SizeOf(m.type), 0u) << desc.name << " " << m.name;
      bytes += checker.SizeOf(m.type);
    }
    EXPECT_EQ(bytes, desc.arg->size) << desc.name;
    compared++;
  }
  EXPECT_GT(compared, 15u);
}

// What syzkaller lacks.
TEST(Describe, VirtualIommusAndTheirFilesAreThere) {
  const std::string text = Describe(DESC_HW_QUEUE);
  for (const char* line :
       {"\tout_viommu_id\tiommufd_viommu_id\t(out)\n",
        "\tviommu_id\tiommufd_viommu_id\n",
        "\tout_hw_queue_id\tiommufd_hw_queue_id\t(out)\n",
        "\tout_veventq_fd\tfd_iommufd_veventq\t(out)\n", "mmap$iommufd(",
        "read$iommufd_fault(", "write$iommufd_fault("}) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line;
  }
}

}  // namespace
}  // namespace syz
