// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/compact.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "prog/forms.h"
#include "prog/parse.h"

namespace fuzz {
namespace {

using prog::Call;
using prog::Field;
using prog::Line;
using prog::Program;
using prog::Value;

// No byte of UTF-8; the second one is the version.
constexpr std::string_view kMagic("\xff\x01", 2);

// More of anything in one place is no program that the fuzzer writes.
constexpr uint64_t kMost = 4096;
constexpr int kDeepest = 8;

// kind | style << 4 | minus << 6
constexpr unsigned kStyleShift = 4;
constexpr unsigned kMinus = 1 << 6;

class Encoder {
 public:
  explicit Encoder(std::string* out) : out_(out) {}

  void Put(const Program& program) {
    out_->append(kMagic);
    for (const Line& line : program.lines) {
      if (line.has_call) Put(line.call);
    }
  }

 private:
  // Seven bits a byte, the low ones first.
  void Number(uint64_t n) {
    for (; n >= 0x80; n >>= 7) out_->push_back(static_cast<char>(n | 0x80));
    out_->push_back(static_cast<char>(n));
  }

  // A word that was there before is its number from 1 on; a new one is 0, its
  // length, its bytes.
  void Word(std::string_view word) {
    for (size_t i = 0; i < words_.size(); i++) {
      if (words_[i] == word) return Number(i + 1);
    }
    Number(0);
    Number(word.size());
    out_->append(word);
    words_.push_back(word);
  }

  void Fields(const std::vector<Field>& fields) {
    Number(fields.size());
    for (const Field& f : fields) {
      Word(f.name);
      Put(f.value);
    }
  }

  void Put(const Value& v) {
    out_->push_back(
        static_cast<char>(static_cast<unsigned>(v.kind) |
                          static_cast<unsigned>(v.style) << kStyleShift |
                          (v.minus ? kMinus : 0)));
    switch (v.kind) {
      case Value::Kind::kNumber:
        return Number(v.number);
      case Value::Kind::kName:
        Word(v.text);
        return Word(v.path);
      case Value::Kind::kString:
        Number(v.text.size());
        out_->append(v.text);
        return;
      case Value::Kind::kStruct:
        return Fields(v.fields);
      case Value::Kind::kOr:
      case Value::Kind::kSum:
      case Value::Kind::kList:
      case Value::Kind::kOut:
        Number(v.items.size());
        for (const Value& item : v.items) Put(item);
    }
  }

  void Put(const Call& call) {
    Word(call.name);
    Word(call.result);
    Word(call.thread);
    Fields(call.args);
  }

  std::string* out_;
  // Views of the program's own.
  std::vector<std::string_view> words_;
};

class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : rest_(bytes) {}

  bool Get(Program* program) {
    rest_.remove_prefix(kMagic.size());
    while (!rest_.empty() && good_) {
      if (program->lines.size() == kMost) return false;
      Line& line = program->lines.emplace_back();
      line.has_call = true;
      Get(static_cast<int>(program->lines.size()), &line.call);
    }
    return good_;
  }

 private:
  uint8_t Byte() {
    if (rest_.empty()) {
      good_ = false;
      return 0;
    }
    const auto byte = static_cast<uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return byte;
  }

  uint64_t Number() {
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 64 && good_; shift += 7) {
      const uint8_t byte = Byte();
      n |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return n;
    }
    good_ = false;
    return 0;
  }

  // Of things that take a byte each at least.
  size_t Count() {
    const uint64_t n = Number();
    if (n > kMost || n > rest_.size()) good_ = false;
    return good_ ? static_cast<size_t>(n) : 0;
  }

  std::string_view Bytes() {
    const uint64_t n = Number();
    if (n > rest_.size()) good_ = false;
    if (!good_) return {};
    const std::string_view bytes = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return bytes;
  }

  std::string_view Word() {
    const uint64_t n = Number();
    if (n > words_.size()) good_ = false;
    if (!good_) return {};
    if (n != 0) return words_[n - 1];
    words_.push_back(Bytes());
    return words_.back();
  }

  void Get(std::vector<Field>* fields, int deep) {
    const size_t n = Count();
    for (size_t i = 0; i < n && good_; i++) {
      Field& f = fields->emplace_back();
      f.pos = pos_;
      f.name = Word();
      Get(&f.value, deep);
    }
  }

  void Get(Value* v, int deep) {
    const uint8_t head = Byte();
    const unsigned kind = head & 0xf;
    if (deep == kDeepest || kind > static_cast<unsigned>(Value::Kind::kOut)) {
      good_ = false;
      return;
    }
    v->kind = static_cast<Value::Kind>(kind);
    v->style = static_cast<prog::NumberStyle>(head >> kStyleShift & 3);
    v->minus = (head & kMinus) != 0;
    v->pos = pos_;
    switch (v->kind) {
      case Value::Kind::kNumber:
        v->number = Number();
        return;
      case Value::Kind::kName:
        v->text = Word();
        v->path = Word();
        return;
      case Value::Kind::kString:
        v->text = Bytes();
        return;
      case Value::Kind::kStruct:
        return Get(&v->fields, deep + 1);
      case Value::Kind::kOr:
      case Value::Kind::kSum:
      case Value::Kind::kList:
      case Value::Kind::kOut: {
        const size_t n = Count();
        for (size_t i = 0; i < n && good_; i++) {
          Get(&v->items.emplace_back(), deep + 1);
        }
      }
    }
  }

  void Get(int line, Call* call) {
    pos_ = {line, 1};
    call->pos = pos_;
    call->thread_pos = pos_;
    call->name = Word();
    call->result = Word();
    call->thread = Word();
    Get(&call->args, 0);
  }

  std::string_view rest_;
  bool good_ = true;
  prog::Pos pos_;
  std::vector<std::string_view> words_;
};

}  // namespace

bool IsCompact(std::string_view bytes) {
  return bytes.substr(0, kMagic.size()) == kMagic;
}

std::string Encode(const Program& program) {
  std::string bytes;
  Encoder(&bytes).Put(program);
  return bytes;
}

bool Decode(std::string_view bytes, Program* program) {
  program->lines.clear();
  return IsCompact(bytes) && Decoder(bytes).Get(program);
}

bool ParseInput(std::string_view input, Program* program) {
  if (IsCompact(input)) return Decode(input, program);
  prog::Program text;
  std::vector<std::string> forms;
  prog::Error error;
  if (!prog::Parse(input, &text, &error) ||
      !prog::FormsOf(text, &forms, &error)) {
    return false;
  }
  *program = prog::ForForm(text, forms[0]);
  return true;
}

}  // namespace fuzz
