// SPDX-License-Identifier: GPL-2.0-or-later
//
// A call of a program as a C function.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "prog/run.h"
#include "tools/repro/context.h"
#include "tools/repro/types.h"
#include "uapi/iommufd_desc.h"

namespace repro {

// What an output's name means in C, once the call was made.
struct Result {
  std::string text;
  const desc_field* field = nullptr;
};

// What calls of all kinds have in common.
class CallWriter {
 public:
  CallWriter(Context* context, Types* types, size_t index);
  virtual ~CallWriter() = default;

  // "static void line_14(void) { ... }"
  std::string Write();

 protected:
  // The statements up to `err`, which is 0 or an errno afterwards.
  virtual void WriteCall() = 0;
  // Of the call's result ("") or an output. No value: C cannot say it.
  virtual std::optional<Result> ResultOf(std::string_view path) = 0;
  // Bytes that a string can be compared with: address and count.
  virtual std::pair<std::string, std::string> ResultBytes() { return {}; }
  // Constants that the result may be named by.
  virtual std::span<const desc_name> ResultNames() { return {}; }

  void Line(std::string_view text);
  const prog::Call& call() const { return *bound_.call; }
  Expression Number(const prog::Value& v, std::span<const desc_name> names = {},
                    unsigned width = 8) {
    return context_->Number(bound_, v, names, width);
  }
  // "ret" of `expression`, which is -1 with errno set when it failed.
  void Make(const std::string& expression);
  void Fail(prog::Pos pos, std::string message, std::string expected = "") {
    context_->Fail(pos, std::move(message), std::move(expected));
  }

  Context* const context_;
  Types* const types_;
  const size_t index_;
  const prog::BoundCall& bound_;

 private:
  void WriteNeeds();
  void WriteResults();
  void WriteExpectations();
  void WriteOutput(const prog::Expect::Output& output);

  std::string body_;
};

// The function of the call at `index`: an ioctl with a description, or one of
// the others.
std::string WriteIoctl(Context* context, Types* types, size_t index);
std::string WriteBuiltin(Context* context, Types* types, size_t index);

}  // namespace repro
