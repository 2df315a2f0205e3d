// SPDX-License-Identifier: GPL-2.0-or-later
//
// Programs: a sequence of calls on iommufd as a text that a person writes and a
// fuzzer prints. This is the syntax tree; docs/programs.md is the language.
//
//   ioas = IOAS_ALLOC(f)
//   IOAS_MAP(f, ioas_id=ioas, user_va=buf, length=4k, flags=READABLE)  # ENOENT
//
// The tree keeps names as they were written. What a name means (which ioctl,
// which field, which earlier call) is decided by Bind() in run.h, from the
// descriptions of uapi/iommufd_desc.h.
//
// Mirrors no kernel file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace prog {

// A place in the text, both from 1. Zero means: nowhere, the node was built.
struct Pos {
  int line = 0;
  int column = 0;
};

// How a number is written, so that formatting a program keeps `2M` and `0x10`.
enum class NumberStyle : uint8_t {
  kAuto,    // decimal when small, else hexadecimal
  kDec,     // 4096
  kHex,     // 0x1000
  kSuffix,  // 4k, 2M, 1G: the largest suffix that divides it
};

struct Field;

// The value of an argument.
struct Value {
  enum class Kind : uint8_t {
    kNumber,  // 5, 0x1000, 2M
    kName,    // ioas, dev.stdev, SELFTEST, true, vcmdq-v2: depends on its place
    kOr,      // A|B|C: items
    kSum,     // buf+0x1000-8: items, each with its sign in `minus`
    kString,  // "bytes\x00", or a bare path: text
    kList,    // [1, 2]: items
    kStruct,  // {in_data=5}: fields
    kOut,     // out(4): room for that many elements; items[0], or none for one
  };

  Kind kind = Kind::kNumber;
  NumberStyle style = NumberStyle::kAuto;
  bool minus = false;  // as an item of a kSum: subtracted
  Pos pos;
  uint64_t number = 0;
  std::string text;  // kName: the first word; kString: the bytes
  std::string path;  // kName: what follows the word: ".data.out_data", ".r[0]"
  std::vector<Value> items;
  std::vector<Field> fields;

  static Value Number(uint64_t n, NumberStyle style = NumberStyle::kAuto);
  static Value Name(std::string_view name, std::string_view path = {});
  static Value String(std::string_view bytes);
  // One item is itself; none is 0.
  static Value Or(std::vector<Value> items);
  static Value Sum(std::vector<Value> items);
  static Value Out(uint64_t elements);
};

// name=value, in a call or in a struct. A positional argument has no name.
struct Field {
  Pos pos;
  std::string name;
  Value value;
};

// What a call must result in. The default is success with any outputs.
struct Expect {
  struct Output {
    Pos pos;
    std::string path;  // "num_iovas", "data.out_data"; "" is the result itself
    bool negated = false;
    Value value;
  };

  Pos pos;
  bool present = false;             // the text says something about it
  bool success = false;             // with errnos: success is right as well
  std::vector<std::string> errnos;  // "EBUSY": any of them; empty is success
  std::vector<Output> outputs;

  // What differs under some forms of the surface (forms.h): each item says its
  // form and has no `forms` of its own. All else here is for the others.
  std::string form;
  Pos form_pos;
  std::vector<Expect> forms;
};

struct Call {
  Pos pos;
  std::string result;  // the name that the outputs get; may be empty
  std::string name;    // "IOAS_MAP", "mmap"
  std::vector<Field> args;
  // Who makes it, as written after '@': a thread ("t1"), a process that an
  // earlier fork() made ("p1"), or a thread of one ("p1.t1"). Empty: the main
  // process's main thread.
  std::string thread;
  Pos thread_pos;
  Expect expect;
  int end_column = 0;  // one after the call's last byte
};

// A line of the text: a call, or none (then blank or a comment).
struct Line {
  // The forms of the surface that it is for; empty: for all (forms.h).
  std::vector<std::string> forms;
  Pos forms_pos;
  bool has_call = false;
  Call call;
  bool has_comment = false;
  std::string comment;  // what follows '#' and the expectation, as written
};

struct Program {
  std::vector<Line> lines;

  size_t num_calls() const;
  // The n-th call, in order of the text.
  const Call& call(size_t n) const;
};

// A mistake in a program.
struct Error {
  Pos pos;
  std::string message;   // "there is no field 'flgas' in IOAS_MAP"
  std::string expected;  // "flags, ioas_id, ..."; may be empty
};

// The form that a person sees: file:line:column: message, the line of the
// source, a caret below the place, and what was expected.
std::string FormatError(std::string_view file, std::string_view source,
                        const Error& error);

// Names of errors. 0 and nullptr when there is none.
int ErrnoByName(std::string_view name);
const char* ErrnoName(int error);  // "EBUSY" for 16

// The best match of `name` among `names`, or empty when none is near.
std::string DidYouMean(std::string_view name,
                       const std::vector<std::string>& names);

}  // namespace prog
