// SPDX-License-Identifier: GPL-2.0-or-later
//
// Rules of the house that no compiler checks, as a unit test: who may include
// whom, what the product's language is, what a file's head must say. It reads
// the source tree, not a list of it, so a new file is under the rules at once.
// Each violation is reported as file:line with what to do about it.

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"
#include "uapi/iommufd_desc.h"

namespace {

namespace fs = std::filesystem;

struct SourceFile {
  std::string path;  // from the root of the workspace
  std::string text;
  std::string code;  // of C++: the text with comments and literals blanked out
  std::vector<std::string> lines;
  std::vector<std::string> code_lines;

  bool In(std::string_view folder) const {
    return absl::StartsWith(path, absl::StrCat(folder, "/"));
  }
  bool IsHeader() const { return absl::EndsWith(path, ".h"); }
  bool IsCxx() const {
    return IsHeader() || absl::EndsWith(path, ".cc") ||
           absl::EndsWith(path, ".c");
  }
  // A unit test that lives beside what it tests.
  bool IsTest() const {
    return absl::StrContains(path, "_test.") ||
           absl::StartsWith(path, "uapi/abi_");
  }
  bool IsProduct() const {
    return IsCxx() && !IsTest() && (In("core") || In("drivers") || In("uapi"));
  }

  // The comment that the file begins with, as one line.
  std::string Head() const {
    std::vector<std::string> words;
    for (std::string_view line : lines) {
      if (!absl::ConsumePrefix(&line, "//") &&
          !absl::ConsumePrefix(&line, "/*") &&
          !absl::ConsumePrefix(&line, " *")) {
        break;
      }
      for (std::string_view word :
           absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty())) {
        words.emplace_back(word);
      }
    }
    return absl::StrJoin(words, " ");
  }
};

// Blanks comments, string and character literals; keeps the lines.
std::string BlankOut(std::string_view text) {
  std::string out(text);
  auto blank = [&out](size_t begin, size_t end) {
    for (size_t i = begin; i < std::min(end, out.size()); ++i) {
      if (out[i] != '\n') out[i] = ' ';
    }
  };
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i, 2) == "//") {
      size_t end = std::min(text.find('\n', i), text.size());
      blank(i, end);
      i = end;
    } else if (text.substr(i, 2) == "/*") {
      size_t end = std::min(text.find("*/", i + 2), text.size() - 2) + 2;
      blank(i, end);
      i = end;
    } else if (text.substr(i, 3) == "R\"(") {
      size_t end = std::min(text.find(")\"", i), text.size() - 2) + 2;
      blank(i, end);
      i = end;
    } else if (text[i] == '"' ||
               // Not a digit separator.
               (text[i] == '\'' && (i == 0 || !std::isalnum(text[i - 1])))) {
      size_t end = i + 1;
      while (end < text.size() && text[end] != text[i] && text[end] != '\n') {
        end += text[end] == '\\' ? 2 : 1;
      }
      blank(i + 1, end);
      i = end + 1;
    } else {
      ++i;
    }
  }
  return out;
}

// The workspace that this test was built in, through a file of its runfiles.
fs::path WorkspaceRoot() { return fs::canonical("WORKSPACE").parent_path(); }

const std::vector<SourceFile>& Tree() {
  static const auto& tree = *[] {
    auto* files = new std::vector<SourceFile>;
    const fs::path root = WorkspaceRoot();
    // Not ours, or not source.
    const std::set<std::string> skipped = {
        ".git",
        ".cache",
        "third_party/abseil-cpp",
        "third_party/googletest",
        "third_party/benchmark",
        "third_party/platforms",
        "compile_commands.json",
        "__pycache__",
    };
    auto it = fs::recursive_directory_iterator(root);
    for (auto end = fs::end(it); it != end; ++it) {
      std::string path = it->path().lexically_relative(root).string();
      if (skipped.count(path) || skipped.count(it->path().filename()) ||
          absl::StartsWith(path, "bazel-")) {
        if (it->is_directory()) it.disable_recursion_pending();
        continue;
      }
      if (!it->is_regular_file() || it->is_symlink()) continue;
      std::ifstream stream(it->path(), std::ios::binary);
      std::stringstream text;
      text << stream.rdbuf();
      SourceFile file;
      file.path = path;
      file.text = text.str();
      if (absl::StrContains(file.text, '\0')) continue;
      file.lines = absl::StrSplit(file.text, '\n');
      if (file.IsCxx()) {
        file.code = BlankOut(file.text);
        file.code_lines = absl::StrSplit(file.code, '\n');
      }
      files->push_back(std::move(file));
    }
    std::sort(files->begin(), files->end(),
              [](const auto& a, const auto& b) { return a.path < b.path; });
    return files;
  }();
  return tree;
}

bool IsWordChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
}

bool HasWord(std::string_view line, std::string_view word) {
  for (size_t at = line.find(word); at != line.npos;
       at = line.find(word, at + 1)) {
    size_t end = at + word.size();
    if ((at == 0 || !IsWordChar(line[at - 1])) &&
        (end == line.size() || !IsWordChar(line[end]))) {
      return true;
    }
  }
  return false;
}

// The argument of `#include "..."` or `#include <...>`, or "".
std::string Included(const std::string& line) {
  std::string_view rest = absl::StripLeadingAsciiWhitespace(line);
  if (!absl::ConsumePrefix(&rest, "#include")) return "";
  rest = absl::StripLeadingAsciiWhitespace(rest);
  if (rest.size() < 2 || (rest[0] != '"' && rest[0] != '<')) return "";
  size_t end = rest.find(rest[0] == '"' ? '"' : '>', 1);
  return end == rest.npos ? "" : std::string(rest.substr(1, end - 1));
}

// "core/iommufd/main.cc" -> "core/iommufd"; the files directly in core are a
// layer of their own.
std::string LayerOf(const std::string& path) {
  std::vector<std::string> parts = absl::StrSplit(path, '/');
  parts.pop_back();
  if (parts.size() > 2) parts.resize(2);
  return absl::StrJoin(parts, "/");
}

// What each layer may include besides itself, from docs/architecture.md. What a
// layer includes it may use; nothing is inherited.
const std::map<std::string, std::vector<std::string>>& AllowedLayers() {
  static const auto& allowed =
      *new std::map<std::string, std::vector<std::string>>{
          {"uapi", {}},
          {"core/linux", {"uapi"}},
          {"core/mm", {"uapi", "core/linux"}},
          {"core/iommu", {"uapi", "core/linux", "core/mm"}},
          {"core/iommufd", {"uapi", "core/linux", "core/mm", "core/iommu"}},
          {"core",
           {"uapi", "core/linux", "core/mm", "core/iommu", "core/iommufd"}},
          {"drivers/hw", {"uapi", "core/linux", "core/mm"}},
          // Any other drivers/<driver>.
          {"drivers/*", {"uapi", "core/linux", "core/mm", "core/iommu"}},
          {"drivers/platform",
           {"uapi", "core", "core/linux", "core/mm", "core/iommu",
            "core/iommufd", "drivers/*", "drivers/hw"}},
      };
  return allowed;
}

// The mock is part of the core's own build upstream, and includes what the
// kernel's selftest.c does.
bool IsSelftestPrivilege(const std::string& from, const std::string& to) {
  return absl::StartsWith(from, "drivers/selftest/") &&
         (to == "core/iommufd/iommufd_private.h" ||
          to == "core/iommufd/io_pagetable.h");
}

// The line without its comments.
std::string CodeAndStrings(const SourceFile& file, size_t i) {
  const std::string& line = file.lines[i];
  // Where code is blank to the end of the line there may be a comment; what is
  // blank between code is a string.
  const size_t end = file.code_lines[i].find_last_not_of(' ');
  return end == std::string::npos ? "" : line.substr(0, end + 1);
}

// Lines of each class, members that are defined outside of it included.
std::map<std::string, int> ClassLines(const SourceFile& file) {
  std::map<std::string, int> lines;
  // A definition begins at the left margin (or inside namespaces, which do not
  // indent) and ends with the brace there that closes it.
  static const auto& begins = *new std::regex(
      R"(^(?:class|struct) (?:\w+ )*?([\w:]+)(?: final)?(?: *:[^:].*)? *\{)");
  static const auto& member = *new std::regex(
      R"(^[\w:<>,&* \[\]]*?(\w+)(?:::\w+)*::~?[\w=<>()!+*-]+ *\()");
  for (size_t i = 0; i < file.code_lines.size(); ++i) {
    std::smatch match;
    const std::string& line = file.code_lines[i];
    const bool is_class = std::regex_search(line, match, begins);
    if (!is_class && !std::regex_search(line, match, member)) continue;
    std::string name = match[1];
    size_t end = i;
    bool body = is_class;
    for (; end < file.code_lines.size(); ++end) {
      const std::string& at = file.code_lines[end];
      body |= absl::EndsWith(at, "{");
      if (!body && absl::EndsWith(at, ";")) break;
      if (at == "}" || at == "};" || (end == i && absl::EndsWith(at, "}")))
        break;
    }
    if (body) lines[name] += static_cast<int>(end - i + 1);
    i = end;
  }
  return lines;
}

TEST(Tidy, TheTreeWasFound) {
  EXPECT_GT(Tree().size(), 20u) << "looked in " << WorkspaceRoot();
}

TEST(Tidy, IncludesFollowTheDirectionOfDependency) {
  const std::set<std::string> ours = {"uapi",    "prog",  "core",
                                      "drivers", "tests", "fuzz",
                                      "bench",   "tools", "examples"};
  for (const SourceFile& file : Tree()) {
    if (!file.IsCxx()) continue;
    const std::string from = LayerOf(file.path);
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string to_path = Included(file.lines[i]);
      if (to_path.empty()) continue;
      const std::string top =
          std::vector<std::string>(absl::StrSplit(to_path, '/')).front();
      const std::string where = absl::StrCat(file.path, ":", i + 1, ": ");
      if (file.IsProduct() &&
          (top == "gtest" || top == "gmock" || top == "benchmark")) {
        ADD_FAILURE() << where << "product code includes " << to_path;
        continue;
      }
      if (!ours.count(top) || !absl::StrContains(to_path, '/')) continue;
      const std::string to = LayerOf(to_path);
      if (from == to || IsSelftestPrivilege(file.path, to_path)) continue;
      if (!file.IsProduct()) {
        // The harness may use all of the product, and tests/ is for tests,
        // fuzz and bench.
        if (top == "tests" && file.In("tools"))
          ADD_FAILURE() << where << "tools may not use " << to_path;
        // Programs run on any surface: they know no core.
        if (file.In("prog") && to != "uapi" && to != "prog")
          ADD_FAILURE() << where << "prog may not include " << to_path;
        continue;
      }
      auto layer = AllowedLayers().find(from);
      if (layer == AllowedLayers().end())
        layer = AllowedLayers().find(absl::StrCat(
            std::vector<std::string>(absl::StrSplit(from, '/')).front(), "/*"));
      ASSERT_NE(layer, AllowedLayers().end())
          << where << "folder " << from << " is in no layer of this test";
      const bool allowed = std::any_of(
          layer->second.begin(), layer->second.end(),
          [&to](const std::string& pattern) {
            return pattern == to ||
                   (pattern == "drivers/*" && absl::StartsWith(to, "drivers/"));
          });
      EXPECT_TRUE(allowed) << where << from << " may not include " << to_path
                           << "; it may use: "
                           << absl::StrJoin(layer->second, " ");
    }
  }
}

TEST(Tidy, ProductCodeHasNoStatusExceptionsOrRtti) {
  const std::map<std::string, std::string> banned = {
      {"dynamic_cast", "RTTI (R4): derive and static_cast"},
      {"typeid", "RTTI (R4)"},
      {"throw", "an exception (R4): return -errno"},
      {"try", "an exception (R4)"},
      {"catch", "an exception (R4)"},
      {"absl::Status", "folds errnos (R3): return int or result<T>"},
      {"absl::StatusOr", "folds errnos (R3): return int or result<T>"},
  };
  for (const SourceFile& file : Tree()) {
    if (!file.IsProduct()) continue;
    for (size_t i = 0; i < file.code_lines.size(); ++i) {
      for (const auto& [word, why] : banned) {
        EXPECT_FALSE(HasWord(file.code_lines[i], word))
            << file.path << ":" << i + 1 << ": " << word << ": " << why;
      }
      EXPECT_FALSE(absl::StartsWith(Included(file.lines[i]), "absl/status"))
          << file.path << ":" << i + 1 << ": absl/status in product code (R3)";
    }
  }
}

TEST(Tidy, EachStandInSaysWhatKindOfLieItIs) {
  std::map<std::string, int> count = {{"MIRRORED", 0},
                                      {"CUSTOMISED", 0},
                                      {"STUBBED", 0},
                                      {"No kernel counterpart", 0}};
  for (const SourceFile& file : Tree()) {
    if (!file.IsHeader() || !(file.In("core/linux") || file.In("core/mm")))
      continue;
    std::vector<std::string> said;
    for (auto& [word, n] : count) {
      if (HasWord(file.Head(), word)) {
        ++n;
        said.push_back(word);
      }
    }
    EXPECT_EQ(said.size(), 1u)
        << file.path << ":1: the head must say exactly one of MIRRORED, "
        << "CUSTOMISED (how) and STUBBED, or No kernel counterpart (R2); it "
           "says: "
        << (said.empty() ? "none" : absl::StrJoin(said, " "));
  }
  for (const auto& [word, n] : count) {
    std::cout << word << " " << n << "\n";
    RecordProperty(word, n);
  }
}

TEST(Tidy, EachProductFileSaysWhatItMirrors) {
  for (const SourceFile& file : Tree()) {
    if (!file.IsProduct() || file.In("uapi")) continue;
    const std::string head = absl::AsciiStrToLower(file.Head());
    EXPECT_TRUE(absl::StrContains(head, "mirror") ||
                absl::StrContains(head, "stands in for") ||
                absl::StrContains(head, "no kernel counterpart") ||
                absl::StrContains(head, "customised") ||
                absl::StrContains(head, "stubbed"))
        << file.path << ":1: the head names neither what the file mirrors nor "
        << "that it has no kernel counterpart (R1)";
  }
}

// Every use of LOCK_ANALYSIS_ESCAPE (R9): the file, the reason that it gives,
// how often. A new one is a decision that a reviewer sees here.
struct LockEscape {
  std::string path;
  std::string reason;
  int uses;
};
const std::vector<LockEscape>& LockEscapes() {
  static const auto& escapes = *new std::vector<LockEscape>{
      {"core/iommufd/io_pagetable.cc", "nobody else sees it yet", 1},
      {"core/iommufd/io_pagetable.cc",
       "the last reference is gone: nobody else sees it", 1},
      {"core/iommufd/ioas.cc",
       "any number of address spaces, which no annotation can name", 2},
      {"core/iommufd/pages.cc",
       "IOAS_CHANGE_PROCESS calls it with an iopt_pages of its own, which "
       "needs no lock",
       1},
      {"core/iommufd/pages.cc",
       "the last reference is gone: nobody else sees it", 1},
      {"core/linux/lockdep.h", "asserts at run time", 3},
      {"core/linux/lockdep.h", "states what the analysis cannot see", 1},
      {"core/linux/locks.cc", "is the lock", 7},
      {"core/linux/locks.cc", "the lock is behind a callback", 1},
      {"core/linux/maple_tree.cc", "is the lock", 2},
      {"core/linux/maple_tree.cc",
       "locks only when this task does not hold the lock", 1},
      {"core/linux/maple_tree.h", "a guard gives back what it took", 1},
      {"core/linux/mutex.h", "a guard gives back what it took", 1},
      {"core/linux/mutex.h", "is the lock", 5},
      {"core/linux/raw_lock.h", "a guard gives back what it took", 1},
      {"core/linux/raw_lock.h", "is the lock", 6},
      {"core/linux/rwsem.h", "a guard gives back what it took", 2},
      {"core/linux/rwsem.h", "is the lock", 9},
      {"core/linux/spinlock.h", "a guard gives back what it took", 1},
      {"core/linux/spinlock.h", "is the lock", 2},
      {"core/linux/xarray.cc", "as the constructor", 1},
      {"core/linux/xarray.cc", "taken only when this task does not hold it", 1},
      {"core/linux/xarray.h", "a guard gives back what it took", 1},
      {"core/linux/xarray.h", "is the lock", 2},
      {"core/linux/xarray.h", "one word, as in the kernel", 1},
      {"core/mm/host.cc", "nobody else has it any more", 1},
      {"core/mm/mmap.cc", "the mmap lock is not followed, see mm.h", 6},
      {"core/mm/page_alloc.cc", "nobody else has it any more", 1},
      {"core/mm/page_alloc.cc", "nobody else has it yet", 1},
      {"core/mm/page_alloc.cc",
       "reads mm->locked_vm without its lock: exact while no task runs", 1},
      {"core/mm/util.cc", "the mmap lock is not followed, see mm.h", 1},
      {"drivers/hw/smmuv3-hw.cc", "a guard gives back what it took", 1},
      {"tests/iopt/iopt_fixture.h", "one thread", 1},
      {"tests/linux/lockdep_test.cc", "any number of them", 2},
      {"tests/linux/lockdep_test.cc", "the mistake is the test", 5},
      {"tests/linux/locks_test.cc", "another task's half of it", 2},
      {"tools/client/calls.cc", "the mmap lock is not followed, see mm.h", 1},
  };
  return escapes;
}

TEST(Tidy, EachEscapeFromLockAnalysisIsListed) {
  std::map<std::pair<std::string, std::string>, int> found;
  std::map<std::pair<std::string, std::string>, size_t> last_line;
  for (const SourceFile& file : Tree()) {
    if (!file.IsCxx() || file.path == "tests/tidy_test.cc") continue;
    const bool defines = file.path == "core/linux/compiler.h";
    for (size_t i = 0; i < file.code_lines.size(); ++i) {
      const std::string& code = file.code_lines[i];
      EXPECT_TRUE(defines || !HasWord(code, "no_thread_safety_analysis"))
          << file.path << ":" << i + 1
          << ": use LOCK_ANALYSIS_ESCAPE with a reason (R9)";
      const size_t at = code.find("LOCK_ANALYSIS_ESCAPE(");
      if (at == code.npos || defines) continue;
      // The reason is a literal, on this line or the next.
      std::string rest = file.lines[i].substr(at);
      if (i + 1 < file.lines.size()) absl::StrAppend(&rest, file.lines[i + 1]);
      const size_t open = rest.find('"');
      const size_t close = rest.find('"', open + 1);
      const std::string reason =
          close == rest.npos ? "" : rest.substr(open + 1, close - open - 1);
      ++found[{file.path, reason}];
      last_line[{file.path, reason}] = i + 1;
    }
  }
  for (const LockEscape& escape : LockEscapes()) {
    const int uses = found[{escape.path, escape.reason}];
    EXPECT_EQ(uses, escape.uses)
        << escape.path << ":" << last_line[{escape.path, escape.reason}]
        << ": LockEscapes() lists another number of uses of the reason \""
        << escape.reason << "\"";
    found.erase({escape.path, escape.reason});
  }
  for (const auto& [where, uses] : found) {
    ADD_FAILURE() << where.first << ":" << last_line[where]
                  << ": not in LockEscapes() of this test: {\"" << where.first
                  << "\", \"" << where.second << "\", " << uses << "},";
  }
}

TEST(Tidy, TheOnlyThreadLocalOfTheProductIsCurrent) {
  for (const SourceFile& file : Tree()) {
    if (!file.IsProduct()) continue;
    for (size_t i = 0; i < file.code_lines.size(); ++i) {
      const std::string& code = file.code_lines[i];
      if (!HasWord(code, "thread_local") && !HasWord(code, "__thread"))
        continue;
      EXPECT_TRUE(absl::StrContains(code, "current"))
          << file.path << ":" << i + 1
          << ": a thread-local; a kernel is a value: put it there or into the "
          << "task";
    }
  }
}

TEST(Tidy, NoMarksOfUnfinishedWork) {
  // In two pieces, so that this file has none of them.
  const std::vector<std::string> words = {
      "TO"
      "DO",
      "FIX"
      "ME",
      "XX"
      "X",
      "HA"
      "CK"};
  const std::vector<std::string> phrases = {
      "not yet "
      "implemented",
      "not implemented "
      "yet",
      "for "
      "now,",
      "for "
      "now."};
  for (const SourceFile& file : Tree()) {
    if (file.path == "LICENSE") continue;
    for (size_t i = 0; i < file.lines.size(); ++i) {
      for (const std::string& word : words) {
        EXPECT_FALSE(HasWord(file.lines[i], word))
            << file.path << ":" << i + 1 << ": " << word;
      }
      const std::string lower = absl::AsciiStrToLower(file.lines[i]);
      for (const std::string& phrase : phrases) {
        EXPECT_FALSE(absl::StrContains(lower, phrase))
            << file.path << ":" << i + 1 << ": " << phrase;
      }
    }
  }
}

// A comment that names a file of ours names one that is there. Upstream's files
// are named by their whole path, in braces, or in a line that begins so.
TEST(Tidy, FilesThatCommentsNameExist) {
  std::set<std::string> paths, names;
  for (const SourceFile& file : Tree()) {
    paths.insert(file.path);
    names.insert(fs::path(file.path).filename().string());
  }
  static const auto& file_name = *new std::regex(
      R"((?:^|[^\w/.<$*{},-])((?:[\w+-]+/)*[\w+-]+\.(?:cc|md|h))(?!\w|\.\w))");
  static const auto& ours = *new std::regex(
      R"(^(core|drivers/(hw|platform|selftest|vfio|arm-smmu-v3)|uapi/(?!linux/)|prog|spec|tests|fuzz|bench|tools/(?!testing)|docs|examples)\b.*)");
  int seen = 0;
  for (const SourceFile& file : Tree()) {
    if (!file.IsCxx() || file.In("third_party")) continue;
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string& line = file.lines[i];
      size_t at = std::min(line.find("//"), line.find("/*"));
      if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(line), "* ")) {
        at = 0;
      }
      if (at >= line.size() || file.code_lines[i][at] != ' ') {
        if (at != 0) continue;
      }
      const std::string comment = line.substr(at);
      const bool upstream = absl::StrContains(comment, "include/") ||
                            absl::StrContains(comment, "Linux v");
      for (std::sregex_iterator m(comment.begin(), comment.end(), file_name), e;
           m != e; ++m) {
        const std::string name = (*m)[1];
        const bool has_folder = absl::StrContains(name, '/');
        if (absl::EndsWith(name, ".h") &&
            (upstream || (has_folder && !std::regex_match(name, ours)))) {
          continue;
        }
        ++seen;
        EXPECT_TRUE(
            paths.count(name) || (!has_folder && names.count(name)) ||
            paths.count((fs::path(file.path).parent_path() / name).string()))
            << file.path << ":" << i + 1 << ": there is no " << name;
      }
    }
  }
  EXPECT_GT(seen, 100);
}

// A program is in the data of some test, through a glob of its package.
TEST(Tidy, EachProgramIsRunByATest) {
  std::map<std::string, const SourceFile*> packages;
  for (const SourceFile& file : Tree()) {
    const fs::path path(file.path);
    if (path.filename() == "BUILD.bazel")
      packages[path.parent_path().string()] = &file;
  }
  int programs = 0;
  for (const SourceFile& file : Tree()) {
    if (!absl::EndsWith(file.path, ".prog")) continue;
    ++programs;
    fs::path folder = fs::path(file.path).parent_path();
    std::string inside;  // of the package
    while (!packages.count(folder.string()) && !folder.empty()) {
      inside = absl::StrCat(folder.filename().string(), "/", inside);
      folder = folder.parent_path();
    }
    const SourceFile& build = *packages.at(folder.string());
    EXPECT_TRUE(
        absl::StrContains(build.text, absl::StrCat("\"", inside, "*.prog\"")))
        << file.path << ":1: no glob of " << build.path << " has it";
    const bool tested =
        std::any_of(packages.begin(), packages.end(), [&](const auto& package) {
          return absl::StrContains(package.second->text, "_test(") &&
                 (package.second == &build ||
                  absl::StrContains(
                      package.second->text,
                      absl::StrCat("\"//", folder.string(), ":")));
        });
    EXPECT_TRUE(tested) << file.path << ":1: no test has a target of "
                        << build.path << " in its data";
  }
  EXPECT_GT(programs, 0);
}

// A command that no program shows can answer anything.
TEST(Tidy, EachCommandHasAProgram) {
  for (const desc_ioctl& d : iommufd_desc_all()) {
    const std::string call = absl::StrCat(d.name, "(");
    const bool shown =
        std::any_of(Tree().begin(), Tree().end(), [&](const SourceFile& file) {
          return absl::EndsWith(file.path, ".prog") &&
                 (file.In("tests/prog") || file.In("examples")) &&
                 absl::StrContains(file.text, call);
        });
    EXPECT_TRUE(shown) << "no program of tests/prog or examples calls "
                       << d.name;
  }
}

// What knows a command by its name must be told of the next one: programs and
// the generator know commands by their descriptions only.
TEST(Tidy, NoCommandsNameWhereDescriptionsDo) {
  for (const SourceFile& file : Tree()) {
    const bool generic =
        file.IsCxx() &&
        (file.In("prog") || (fs::path(file.path).parent_path() == "fuzz" &&
                             !absl::StrContains(file.path, "_test.cc") &&
                             !absl::StrContains(file.path, "cmdqv_mmio")));
    if (!generic) continue;
    int named = 0;
    std::string first;
    for (size_t i = 0; i < file.lines.size(); ++i) {
      if (Included(file.lines[i]) != "" || file.code_lines[i].empty()) continue;
      for (const desc_ioctl& d : iommufd_desc_all()) {
        // Comments may; a string and a constant may not.
        if (!HasWord(CodeAndStrings(file, i), d.name) &&
            !HasWord(CodeAndStrings(file, i), absl::StrCat("IOMMU_", d.name)) &&
            !HasWord(CodeAndStrings(file, i),
                     absl::StrCat("IOMMU_TEST_OP_", d.name)))
          continue;
        if (++named == 1)
          first = absl::StrCat(file.path, ":", i + 1, ": ", d.name);
        break;
      }
    }
    EXPECT_EQ(named, 0) << first << ": a command's name";
  }
}

// A class that does more than one thing grows without end. Its lines are those
// of its body and of the definitions of its members elsewhere in the file.
TEST(Tidy, NoClassIsLongerThan500Lines) {
  for (const SourceFile& file : Tree()) {
    if (!file.IsCxx() ||
        !(file.In("prog") || file.In("fuzz") || file.In("tools")))
      continue;
    for (const auto& [name, lines] : ClassLines(file)) {
      EXPECT_LE(lines, 500) << file.path << ": class " << name;
    }
  }
}

// A macro is a word that nobody who includes the header can use for anything
// else: kernel names in lower case are functions or objects, unless a function
// cannot do it.
TEST(Tidy, LowerCaseMacrosAreListed) {
  const std::vector<std::pair<std::regex, std::string>> listed = [] {
    std::vector<std::pair<std::regex, std::string>> out;
    for (auto [pattern, reason] : std::map<std::string, std::string>{
             {"(\\w+_)?for_each(_\\w+)?", "is the head of a loop"},
             {"list_\\w*entry(_or_null)?", "takes a type and a member"},
             {"container_of|offsetofend|sizeof_field",
              "takes a type and a member"},
             {"iommu_copy_struct_\\w+", "takes a type and a member"},
             {"(min|max)_t", "takes a type"},
             {"(pr|dev)_[a-z]+(_ratelimited|_once)?",
              "the compiler checks the format, the place is the caller's"},
             {"wait_event\\w*|\\w+_poll_timeout",
              "evaluates its condition again"},
             {"(context|scoped)_lock_struct", "is an attribute"},
         }) {
      out.emplace_back(std::regex(pattern), reason);
    }
    return out;
  }();
  // Names that begin with two underscores are no caller's.
  static const auto& macro =
      *new std::regex(R"(^\s*#\s*define\s+([a-z][a-z0-9_]*)\b)");
  for (const SourceFile& file : Tree()) {
    if (!file.IsProduct()) continue;
    for (size_t i = 0; i < file.code_lines.size(); ++i) {
      std::smatch match;
      if (!std::regex_search(file.code_lines[i], match, macro)) continue;
      const std::string name = match[1];
      bool found = false;
      for (const auto& [pattern, reason] : listed) {
        if (!std::regex_match(name, pattern)) continue;
        found = true;
        break;
      }
      EXPECT_TRUE(found) << file.path << ":" << i + 1 << ": macro " << name
                         << ": make it a function, or list it with a reason";
    }
  }
}

TEST(Tidy, EachHeaderIsIncludedByTheHeadersTest) {
  const std::set<std::string> of_their_own = {
      "core/mm/internal.h", "drivers/hw/smmuv3-internal.h",
      // Expanded with macros of the includer's.
      "uapi/abi_table.h", "uapi/iommufd_desc_table.h"};
  std::string list;
  for (const SourceFile& file : Tree())
    if (file.path == "tests/headers/our_headers.h") list = file.text;
  for (const SourceFile& file : Tree()) {
    if (!file.IsProduct() || !file.IsHeader() || of_their_own.count(file.path))
      continue;
    EXPECT_TRUE(
        absl::StrContains(list, absl::StrCat("#include \"", file.path, "\"")))
        << "tests/headers/our_headers.h lacks " << file.path;
  }
}

TEST(Tidy, EachSourceFileNamesItsLicense) {
  for (const SourceFile& file : Tree()) {
    const std::string name = fs::path(file.path).filename();
    const bool source =
        file.IsCxx() || name == "BUILD.bazel" || name == "BUILD" ||
        name == "WORKSPACE" || absl::EndsWith(name, ".bzl") ||
        absl::EndsWith(name, ".py") || absl::EndsWith(name, ".sh") ||
        file.path == "lab" || file.path == ".ci/run";
    if (!source) continue;
    bool found = false;
    for (size_t i = 0; i < file.lines.size() && i < 2; ++i) {
      found |= absl::StrContains(file.lines[i],
                                 "SPDX-License-Identifier: GPL-2.0-or-later");
    }
    EXPECT_TRUE(found)
        << file.path << ":1: no line SPDX-License-Identifier: GPL-2.0-or-later";
  }
}

TEST(Tidy, EachHeaderIsGuarded) {
  for (const SourceFile& file : Tree()) {
    // Tables that are included more than once are tests' own.
    if (!file.IsHeader() || file.IsTest()) continue;
    const bool guarded = absl::StrContains(file.code, "#pragma once") ||
                         absl::StrContains(file.code, "#ifndef");
    EXPECT_TRUE(guarded) << file.path << ":1: no #pragma once";
  }
}

}  // namespace
