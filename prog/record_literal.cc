// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/record_literal.h"

#include <cstddef>
#include <utility>

#include "prog/calls.h"
#include "prog/record_values.h"

namespace prog::recording {
namespace {

// Data up to here stands in the call itself.
constexpr size_t kMaxLiteralBytes = 256;
constexpr size_t kMaxLiteralElements = 16;

Value Only(Value* list) {
  Value only = std::move(list->items[0]);
  return only;
}

bool SameSelector(const desc_field& d, const desc_struct* a,
                  const desc_struct* b) {
  for (const desc_variant& x : d.variants) {
    for (const desc_variant& y : d.variants) {
      if (x.pointee == a && y.pointee == b && x.selector == y.selector) {
        return true;
      }
    }
  }
  return false;
}

// Where a selector chooses among structs, bytes are used unless the literal
// stands for just the one that it was written as.
std::optional<Value> Chosen(const desc_field& d, const desc_struct* pointee,
                            Value list) {
  for (const Value& item : list.items) {
    for (const desc_variant& variant : d.variants) {
      if (variant.pointee == pointee) break;
      bool fits = true;
      for (const Field& f : item.fields) {
        fits = fits && FindField(*variant.pointee, f.name) != nullptr;
      }
      // An earlier one has all these fields too: name one that it has not.
      if (fits && SameSelector(d, variant.pointee, pointee)) {
        return std::nullopt;
      }
    }
  }
  if (list.items.size() == 1) return Only(&list);
  return list;
}

Value Struct(const desc_struct& s, const char* image) {
  Value v;
  v.kind = Value::Kind::kStruct;
  for (const desc_field& d : s.fields) {
    const uint64_t n = desc_load(d, image);
    if (n == d.default_value) continue;
    Field* f = &v.fields.emplace_back();
    f->name = d.name;
    f->value = Named(d, n);
  }
  if (v.fields.empty()) {
    // A literal has at least one field.
    Field* f = &v.fields.emplace_back();
    f->name = s.fields[0].name;
    f->value = Value::Number(s.fields[0].default_value);
  }
  return v;
}

}  // namespace

bool AllZero(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

uint64_t BytesBehind(const PendingCall& c, const desc_struct& s,
                     const desc_field& d, uint64_t* element, uint64_t* count) {
  const desc_struct* pointee = desc_pointee(s, d, c.image.data());
  *element = pointee != nullptr ? pointee->size : 1;
  *count = 0;
  for (const desc_field& other : s.fields) {
    if (other.kind == desc_kind::ENTRY_LEN) {
      *element = desc_load(other, c.image.data());
    }
  }
  if (d.len_field != nullptr) {
    const desc_field* len = desc_find_field(s, d.len_field);
    const uint64_t n = desc_load(*len, c.image.data());
    if (len->kind != desc_kind::COUNT) return n;
    *count = n;
    uint64_t bytes;
    return __builtin_mul_overflow(n, *element, &bytes) ? UINT64_MAX : bytes;
  }
  if (pointee != nullptr) return pointee->size;
  const uint64_t bit_bytes = c.Sent(d.bit_bytes);
  if (bit_bytes == 0) return 0;
  const uint64_t bits = c.Sent(d.bits_of) / bit_bytes;
  return bits / 8 + (bits % 8 != 0);
}

std::optional<Value> Literal(const desc_field& d, const desc_struct* pointee,
                             const std::string& bytes, uint64_t element,
                             uint64_t count, bool reads, bool writes) {
  const size_t n = bytes.size();
  const bool structs = pointee != nullptr && element == pointee->size &&
                       n % element == 0 && n != 0;
  if (!reads || (AllZero(bytes) && writes && !structs)) {
    // Of what the kernel says it is (a selector that it returns).
    const bool known = pointee != nullptr || !d.variants.empty();
    const bool counts = count != 0;
    if (counts ? count > kMaxExpectedElements
               : n > (known ? kMaxLiteralBytes : kMaxExpectedBytes)) {
      return std::nullopt;
    }
    if (counts && element != (pointee != nullptr ? pointee->size : 1)) {
      return std::nullopt;
    }
    return Value::Out(counts ? count : n);
  }
  if (structs && n / element <= kMaxLiteralElements) {
    Value list;
    list.kind = Value::Kind::kList;
    for (size_t at = 0; at < n; at += element) {
      list.items.push_back(Struct(*pointee, bytes.data() + at));
    }
    // What was recorded is what is bound again: the same struct is chosen.
    if (d.selector_field != nullptr) return Chosen(d, pointee, list);
    if (count == 0 && list.items.size() == 1) return Only(&list);
    return list;
  }
  if (n > (writes ? kMaxExpectedBytes : kMaxLiteralBytes)) {
    return std::nullopt;
  }
  return Value::String(bytes);
}

}  // namespace prog::recording
