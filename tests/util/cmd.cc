// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/util/cmd.h"

#include <string>

#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace iommulab {
namespace {

template <class Range>
std::string NamesOf(const Range& range) {
  return absl::StrJoin(range, " ", [](std::string* out, const auto& item) {
    out->append(item.name);
  });
}

}  // namespace

Cmd::Cmd(std::string_view name, uint8_t revisions)
    : desc_(iommufd_desc_find(name, revisions)) {
  if (desc_ == nullptr) {
    ADD_FAILURE() << "no command is named " << name
                  << "; there are: " << NamesOf(iommufd_desc_all());
    return;
  }
  image_.resize(desc_->arg->size);
  for (const desc_field& f : desc_->arg->fields) {
    uint64_t value = f.default_value;
    if (f.kind == desc_kind::SIZE) value = desc_->arg->size;
    if (f.kind == desc_kind::OP) value = desc_->op;
    desc_store(f, image_.data(), value);
  }
}

const desc_field* Cmd::Find(std::string_view field) const {
  if (desc_ == nullptr) return nullptr;
  const desc_field* f = desc_find_field(*desc_->arg, field);
  if (f == nullptr) {
    ADD_FAILURE() << desc_->name << " has no field " << field
                  << "; it has: " << NamesOf(desc_->arg->fields);
  }
  return f;
}

Cmd& Cmd::Set(std::string_view field, uint64_t value) {
  const desc_field* f = Find(field);
  if (f != nullptr) desc_store(*f, image_.data(), value);
  return *this;
}

uint64_t Cmd::Get(std::string_view field) const {
  const desc_field* f = Find(field);
  return f != nullptr ? desc_load(*f, image_.data()) : 0;
}

}  // namespace iommulab
