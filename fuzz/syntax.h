// SPDX-License-Identifier: GPL-2.0-or-later
//
// Pieces of the syntax tree (prog/prog.h), made and looked at.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "prog/calls.h"
#include "prog/prog.h"

namespace fuzz {

// Arguments that are no fields: of any call the failure that is injected, of
// any ioctl the bytes behind its struct, and the address of that.
inline constexpr char kFailNth[] = "fail_nth";
inline constexpr char kTail[] = "tail";
inline constexpr char kArg[] = "arg";

prog::Value Num(uint64_t n);
prog::Value Word(std::string_view word);
// "dev.idev" and the like: what a call made.
prog::Value NameValue(const std::string& name);
prog::Value Sum(prog::Value a, uint64_t offset);

void Arg(prog::Call* call, std::string name, prog::Value v);
const prog::Value* ArgOf(const prog::Call& call, std::string_view name);

// Is it the name of something that an earlier call made?
bool IsName(const prog::Value& v);
std::string NameOf(const prog::Value& v);
uint64_t NumberOr(const prog::Value* v, uint64_t otherwise);

// The row of the statement that makes such a thing.
const prog::BuiltinSpec& BuiltinThat(prog::Makes makes);
// Has the call an argument of that kind?
bool Takes(const prog::BuiltinSpec& s, prog::ArgKind kind);
// May a failure be injected into it?
bool CanFail(const prog::Call& call);
// machine(...)
bool IsMachine(const prog::Call& call);

// All values in `v`, itself first, in order.
void Visit(prog::Value* v, const std::function<void(prog::Value*)>& visit);
void Visit(prog::Call* call, const std::function<void(prog::Value*)>& visit);

}  // namespace fuzz
