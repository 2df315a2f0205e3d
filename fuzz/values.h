// SPDX-License-Identifier: GPL-2.0-or-later
//
// What may stand in an ioctl's field: from its kind, from the hints of its
// description, and from what the program has.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "fuzz/draft.h"
#include "prog/prog.h"
#include "uapi/iommufd_desc.h"

namespace fuzz {

// Of one call, whose fields fit each other.
class Values {
 public:
  Values(Draft* draft, Maker* maker, const desc_ioctl* d = nullptr)
      : draft_(*draft), maker_(*maker), d_(d) {}

  // A value for a field of the call. False: it is left to its default.
  // `force`: it is given, whatever it is.
  bool Field(const desc_struct& s, const desc_field& f, bool force,
             prog::Field* out);

 private:
  struct Range {
    std::string ioas;
    uint64_t iova = 0;
    uint64_t length = 0;
    std::string memory;  // that is to be mapped there
  };

  Random& r() { return draft_.r; }
  const Range& TheRange();
  Range NewPlace();
  Range SomePiece();

  prog::Value Flags(const desc_field& f);
  prog::Value Enum(const desc_field& f);
  uint64_t Number(const desc_field& f);
  uint64_t Iova(const desc_field& f);
  uint64_t Length(const desc_field& f);
  uint64_t SizeOfStruct();
  prog::Value Id(const desc_field& f);
  prog::Value FileOf(const desc_field& f);
  prog::Value Pointer(const desc_struct& s, const desc_field& f);
  prog::Value Literal(const desc_struct& s);
  const desc_struct* Selected(const desc_struct& s, const desc_field& f);

  Draft& draft_;
  Maker& maker_;
  const desc_ioctl* d_;
  std::optional<Range> range_;
  // Of fields that choose among structs, and that have been asked for.
  std::map<const desc_field*, prog::Value> chosen_;
};

}  // namespace fuzz
