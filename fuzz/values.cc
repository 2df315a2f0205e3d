// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/values.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "fuzz/arguments.h"
#include "fuzz/numbers.h"
#include "fuzz/recipes.h"
#include "fuzz/syntax.h"
#include "prog/calls.h"

namespace fuzz {

using prog::Value;

namespace {

uint64_t Clamp(const desc_field& f, uint64_t v) {
  return f.width == 8 ? v : v & ((uint64_t{1} << (8 * f.width)) - 1);
}

bool HasKind(const desc_struct& s, desc_kind kind) {
  return std::any_of(s.fields.begin(), s.fields.end(),
                     [&](const desc_field& f) { return f.kind == kind; });
}

// The pointer that a length field is of; nullptr when it is of none.
const desc_field* PointerOf(const desc_struct& s, const desc_field& length) {
  for (const desc_field& f : s.fields) {
    if (f.len_field != nullptr &&
        length.name == std::string_view(f.len_field)) {
      return &f;
    }
  }
  return nullptr;
}

}  // namespace

// ---- ranges of I/O addresses ----

// Where something can be mapped, and the memory for it.
Values::Range Values::NewPlace() {
  Range range;
  std::string name;
  uint64_t bytes = UINT64_MAX;
  if (draft_.scope.memory.empty() || OneIn(r(), 12)) {
    maker_.MakeBuiltin(prog::Makes::kMemory);
  }
  if (!draft_.scope.memory.empty()) {
    const Memory& memory = Pick(r(), draft_.scope.memory);
    range.memory = memory.name;
    bytes = memory.bytes;
  }
  range.length = std::min(Pick(r(), kSizes), bytes);
  range.iova =
      kAperture + Below(r(), 8) * (OneIn(r(), 4) ? 2 << 20 : 16 * kPage);
  return range;
}

// All of a mapping, or a part of it.
Values::Range Values::SomePiece() {
  const bool of_ioas = std::any_of(
      d_->arg->fields.begin(), d_->arg->fields.end(), [](const desc_field& f) {
        return f.kind == desc_kind::ID_IN && f.object == desc_object::IOAS;
      });
  std::vector<const Mapping*> here;
  auto look = [&] {
    for (const Mapping& m : draft_.scope.mappings) {
      if (m.owner == draft_.fd && !(of_ioas && m.ioas.empty())) {
        here.push_back(&m);
      }
    }
  };
  look();
  const bool wants = HasKind(*d_->arg, desc_kind::IOVA_LEN);
  if (here.empty() && wants && !OneIn(r(), 4) && maker_.MakeMapping()) look();
  if (here.empty()) return NewPlace();
  const Mapping& m = OneIn(r(), 2) ? *here.back() : *Pick(r(), here);
  Range range = {m.ioas, m.iova, m.length, ""};
  if (OneIn(r(), 2)) return range;
  static constexpr uint64_t kUnits[] = {kPage, kPage, kIoPage, kIoPage, 1};
  const uint64_t unit = Pick(r(), kUnits);
  const uint64_t units = std::max<uint64_t>(m.length / unit, 1);
  const uint64_t first = OneIn(r(), 2) ? 0 : Below(r(), units);
  range.iova += first * unit;
  range.length = (1 + Below(r(), units - first)) * unit;
  return range;
}

const Values::Range& Values::TheRange() {
  if (!range_.has_value()) {
    const desc_struct& s = *d_->arg;
    // What is mapped anew goes where nothing is; all else, the source of a copy
    // too, to where something is.
    const bool anew =
        HasKind(s, desc_kind::IOVA)
            ? MapsMemory(*d_) && !HasKind(s, desc_kind::IOVA_INOUT)
            : true;
    range_ = anew ? NewPlace() : SomePiece();
  }
  return *range_;
}

uint64_t Values::Iova(const desc_field& f) {
  if (OneIn(r(), 30)) return Pick(r(), kEdges);
  if (f.kind == desc_kind::IOVA_INOUT && HasKind(*d_->arg, desc_kind::IOVA)) {
    return NewPlace().iova;
  }
  const Range& range = TheRange();
  switch (Below(r(), 24)) {
    case 0:
      return range.iova + range.length;
    case 1:
      return range.iova + kPage;
    case 2:
      return range.iova - kPage;
    case 3:
      return kAperture + Below(r(), 16) * (OneIn(r(), 3) ? 2 << 20 : kPage);
    default:
      return range.iova;
  }
}

uint64_t Values::Length(const desc_field&) {
  if (OneIn(r(), 20)) return Pick(r(), kOddSizes);
  return OneIn(r(), 12) ? Pick(r(), kSizes) : TheRange().length;
}

// ---- fields ----

bool Values::Field(const desc_struct& s, const desc_field& f, bool force,
                   prog::Field* out) {
  out->name = f.name;
  const bool odd = force && OneIn(r(), 3);
  switch (f.kind) {
    case desc_kind::OP:
      return false;
    case desc_kind::SIZE:
      if (!odd && !OneIn(r(), 80)) return false;
      out->value = Num(SizeOfStruct());
      return true;
    case desc_kind::RESERVED:
    case desc_kind::PADDING:
      if (!odd && !OneIn(r(), 150)) return false;
      out->value = Num(OneIn(r(), 2) ? 1 : 0x80);
      return true;
    case desc_kind::ID_OUT:
    case desc_kind::FD_OUT:
    case desc_kind::NUMBER_OUT:
      if (!odd && !OneIn(r(), 250)) return false;
      out->value = Num(Below(r(), 4));
      return true;
    case desc_kind::LEN:
    case desc_kind::COUNT:
    case desc_kind::ENTRY_LEN: {
      // The program fills it in from the data behind the pointer, unless there
      // is nothing but an address.
      const desc_field* pointer = PointerOf(s, f);
      if (pointer != nullptr && pointer->kind == desc_kind::USER_VA) {
        out->value = Num(OneIn(r(), 8) ? Pick(r(), kLens) : Pick(r(), kSizes));
        return true;
      }
      if (!odd && !OneIn(r(), 20)) return false;
      out->value = Num(Pick(r(), kLens));
      return true;
    }
    case desc_kind::PTR_IN:
    case desc_kind::PTR_OUT:
    case desc_kind::PTR_INOUT: {
      const bool has = f.variants.empty() || Selected(s, f) != nullptr;
      if (!force && (has ? OneIn(r(), 5) : !OneIn(r(), 12))) return false;
      out->value = Pointer(s, f);
      return true;
    }
    case desc_kind::FLAGS:
      if (f.names.empty() && !odd && !OneIn(r(), 60)) return false;
      out->value = Flags(f);
      return true;
    case desc_kind::ENUM:
      out->value = Enum(f);
      return true;
    case desc_kind::ID_IN:
      if (f.optional && !force && OneIn(r(), 2)) return false;
      out->value = Id(f);
      return true;
    case desc_kind::ID_INOUT:
      out->value = Id(f);
      return true;
    case desc_kind::FD_IN:
      out->value = FileOf(f);
      return true;
    case desc_kind::USER_VA: {
      const bool maps = MapsMemory(*d_) && !TheRange().memory.empty();
      out->value = maps && !OneIn(r(), 6) ? NameValue(TheRange().memory)
                                          : Address(&draft_, &maker_);
      return true;
    }
    case desc_kind::IOVA:
    case desc_kind::IOVA_INOUT:
      out->value = Num(Iova(f));
      return true;
    case desc_kind::IOVA_LEN:
      out->value = Num(Length(f));
      return true;
    default:
      if (f.default_value != 0 && !force && OneIn(r(), 2)) return false;
      out->value = Num(Number(f));
      return true;
  }
}

uint64_t Values::SizeOfStruct() {
  switch (Below(r(), 8)) {
    case 0:
      return 0;
    case 1:
      return 4;
    case 2:
      return d_->min_size;
    case 3:
      return d_->min_size - 1u;
    case 4:
      return d_->arg->size - 1u;
    case 5:
      return d_->arg->size + 8u;
    case 6:
      return kPage + 1;
    default:
      return Below(r(), 128);
  }
}

Value Values::Flags(const desc_field& f) {
  std::vector<Value> items;
  // Mostly one that some recipe has, else each flag by itself.
  for (const desc_name& n : f.names) {
    if (!(f.valid & n.value)) {
      if (OneIn(r(), 20)) items.push_back(Word(n.name));
      continue;
    }
    const bool likely = (f.usual & n.value) != 0;
    if (OneIn(r(), likely ? 5 : 4) != likely) items.push_back(Word(n.name));
  }
  if (OneIn(r(), 60)) items.push_back(Num(uint64_t{1} << Below(r(), 32)));
  return Value::Or(std::move(items));
}

Value Values::Enum(const desc_field& f) {
  // Asked for before its turn, by what depends on it.
  if (const auto it = chosen_.find(&f); it != chosen_.end()) return it->second;
  Value v = Word(f.names[Below(r(), f.names.size())].name);
  const std::vector<Value>& known =
      KnownValues(*draft_.scope.machine, d_->name, f.name);
  // What this machine's driver has, first of all.
  if (!known.empty() && !OneIn(r(), 6)) v = Pick(r(), known);
  if (OneIn(r(), 60)) v = Num(Pick(r(), kNumbers));
  chosen_[&f] = v;
  return v;
}

uint64_t Values::Number(const desc_field& f) {
  if (f.width == 8 && OneIn(r(), 40)) return Pick(r(), kOddSizes);
  if (!f.interesting.empty() && !OneIn(r(), 12)) {
    return Clamp(f, Pick(r(), f.interesting));
  }
  if (f.default_value != 0 && OneIn(r(), 2)) return f.default_value;
  return Clamp(f, Pick(r(), kNumbers));
}

Value Values::Id(const desc_field& f) {
  if (OneIn(r(), 60)) return Num(Below(r(), 24));
  if (OneIn(r(), 60) && !draft_.scope.things.empty()) {
    return NameValue(Pick(r(), draft_.scope.things).name);
  }
  // No object.
  if (OneIn(r(), f.optional ? 8 : 60)) return Num(0);
  const bool in_range = f.object == desc_object::IOAS && range_.has_value() &&
                        !range_->ioas.empty();
  if (in_range && !OneIn(r(), 6)) return NameValue(range_->ioas);
  std::string name = draft_.Find(f.object, false, f.made_with);
  if (name.empty() || OneIn(r(), 12)) {
    const std::string made = maker_.Make(f.object, false, f.made_with);
    if (!made.empty()) name = made;
  }
  return name.empty() ? Num(Below(r(), 8)) : NameValue(name);
}

Value Values::FileOf(const desc_field& f) {
  if (OneIn(r(), 60)) return Num(Below(r(), 12));
  if (f.object == desc_object::NONE && !OneIn(r(), 3)) {
    std::string name;
    for (const File& file : draft_.scope.files) {
      if (file.kind == File::Kind::kMemory && (name.empty() || OneIn(r(), 2))) {
        name = file.name;
      }
    }
    if (name.empty() || OneIn(r(), 6)) {
      const std::string made = maker_.MakeBuiltin(prog::Makes::kMemoryFile);
      if (!made.empty()) name = made;
    }
    if (!name.empty()) return NameValue(name);
  }
  // Where a memory file goes, a buffer that can be revoked goes too.
  const desc_object object =
      f.object == desc_object::NONE ? desc_object::DMABUF : f.object;
  std::string name = draft_.Find(object, true, f.made_with);
  if (name.empty()) name = maker_.Make(object, true, f.made_with);
  return NameValue(name.empty() ? draft_.fd : name);
}

// The struct for the type that the call has; nullptr: it has no data.
const desc_struct* Values::Selected(const desc_struct& s, const desc_field& f) {
  const desc_field* selector = desc_find_field(s, f.selector_field);
  if (selector == nullptr) return nullptr;
  // An output says it only afterwards.
  if (selector->kind != desc_kind::ENUM) return f.variants.back().pointee;
  uint64_t chosen = 0;
  const Value v = Enum(*selector);
  if (v.kind == Value::Kind::kNumber) chosen = v.number;
  for (const desc_name& n : selector->names) {
    if (v.kind == Value::Kind::kName && v.text == n.name) chosen = n.value;
  }
  std::vector<const desc_struct*> fitting;
  for (const desc_variant& variant : f.variants) {
    if (variant.selector == chosen) fitting.push_back(variant.pointee);
  }
  return fitting.empty() ? nullptr : Pick(r(), fitting);
}

Value Values::Pointer(const desc_struct& s, const desc_field& f) {
  if (OneIn(r(), 25)) return Address(&draft_, &maker_);
  if (OneIn(r(), 50)) return Num(0);
  if (OneIn(r(), 50)) return Value::String(std::string(Below(r(), 40), '\1'));
  const desc_struct* pointee = f.pointee;
  if (!f.variants.empty()) {
    pointee = Selected(s, f);
    // Another type's.
    if (pointee == nullptr || OneIn(r(), 20)) {
      pointee = f.variants[Below(r(), f.variants.size())].pointee;
    }
  }
  if (f.kind == desc_kind::PTR_OUT) return Value::Out(Below(r(), 6));
  if (pointee == nullptr) {
    // Of a range that is read or written: as many bytes, within reason.
    if (f.len_field != nullptr && HasKind(s, desc_kind::IOVA)) {
      return Value::Out(std::min(TheRange().length, 2 * kPage));
    }
    if (OneIn(r(), 2)) return Address(&draft_, &maker_);
    std::string bytes(1 + Below(r(), 64), '\xff');
    for (char& c : bytes) {
      if (OneIn(r(), 2)) c = static_cast<char>(Below(r(), 256));
    }
    return OneIn(r(), 3) ? Value::Out(64) : Value::String(bytes);
  }
  if (f.pointee == nullptr && OneIn(r(), 2)) return Literal(*pointee);
  Value list;
  list.kind = Value::Kind::kList;
  for (uint64_t n = 1 + Below(r(), 4); n > 0; n--) {
    list.items.push_back(Literal(*pointee));
  }
  return list;
}

Value Values::Literal(const desc_struct& s) {
  Value v;
  v.kind = Value::Kind::kStruct;
  // Two addresses and nothing else are the ends of a range.
  const bool range = s.fields.size() == 2 &&
                     s.fields[0].kind == desc_kind::IOVA &&
                     s.fields[1].kind == desc_kind::IOVA && !OneIn(r(), 12);
  const uint64_t start = OneIn(r(), 4)
                             ? Pick(r(), kEdges)
                             : kAperture + Below(r(), 16) * 16 * kPage;
  for (const desc_field& f : s.fields) {
    if (desc_is_output(f.kind) || f.kind == desc_kind::PADDING) continue;
    if (f.kind == desc_kind::RESERVED && !OneIn(r(), 50)) continue;
    prog::Field field;
    field.name = f.name;
    if (range) {
      field.value = Num(&f == &s.fields[0]
                            ? start & ~(kPage - 1)
                            : (start & ~(kPage - 1)) + Pick(r(), kSizes) - 1);
    } else if (f.kind == desc_kind::FLAGS) {
      field.value = Flags(f);
    } else if (f.kind == desc_kind::ENUM) {
      field.value = Word(f.names[Below(r(), f.names.size())].name);
    } else if (f.kind == desc_kind::IOVA) {
      field.value = Num(Iova(f));
    } else {
      field.value = Num(Number(f));
    }
    v.fields.push_back(std::move(field));
  }
  return v;
}

}  // namespace fuzz
