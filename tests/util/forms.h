// SPDX-License-Identifier: GPL-2.0-or-later
// The forms that a test runs under, and what they answer differently: a row a
// form. A test reads the row of its form; a new form is a row here.
#ifndef TESTS_UTIL_FORMS_H_
#define TESTS_UTIL_FORMS_H_

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "uapi/iommufd_desc.h"

namespace iommulab {

struct FormFacts {
  uint8_t form;  // enum desc_revision

  // VIOMMU_ALLOC of a type that the driver does not know, on no HWPT: the
  // merged form asks the driver before it looks the HWPT up.
  int unknown_viommu_type;
  // A second VDEVICE_ALLOC of one device. The series allows it, and there
  // vDEVICEs outlive their device.
  int second_vdevice;
  bool vdevice_outlives_device;
  // VCMDQ_ALLOC or HW_QUEUE_ALLOC. The series refuses address 0, translates
  // before it asks the driver, and pins without an access.
  int queue_at_unmapped_zero;  // or of no vIOMMU
  int queue_at_zero;
  int queue_of_unmapped_memory;
  int unknown_queue_of_unmapped_memory;
  int queue_whose_pages_cannot_be_counted;
  bool queue_has_an_access;
  // mmap() of less than a whole region, from its start.
  bool mmap_may_be_shorter;
  // Pages of the region of a mock vIOMMU.
  unsigned int mock_region_pages;
  // GET_HW_INFO with INPUT_TYPE. Without it the series' driver tells of a
  // CMDQV in the SMMU's own answer.
  int hw_info_input_type;
};

inline constexpr FormFacts kFormFacts[] = {
    {
        .form = DESC_VCMDQ_V2,
        .unknown_viommu_type = -ENOENT,
        .second_vdevice = 0,
        .vdevice_outlives_device = true,
        .queue_at_unmapped_zero = -EINVAL,
        .queue_at_zero = -EINVAL,
        .queue_of_unmapped_memory = -ENXIO,
        .unknown_queue_of_unmapped_memory = -ENXIO,
        .queue_whose_pages_cannot_be_counted = -ENXIO,
        .queue_has_an_access = false,
        .mmap_may_be_shorter = true,
        .mock_region_pages = 1,
        .hw_info_input_type = -EOPNOTSUPP,
    },
    {
        .form = DESC_HW_QUEUE,
        .unknown_viommu_type = -EOPNOTSUPP,
        .second_vdevice = -EEXIST,
        .vdevice_outlives_device = false,
        .queue_at_unmapped_zero = -ENOENT,
        .queue_at_zero = 0,
        .queue_of_unmapped_memory = -ENOENT,
        .unknown_queue_of_unmapped_memory = -EOPNOTSUPP,
        .queue_whose_pages_cannot_be_counted = -ERANGE,
        .queue_has_an_access = true,
        .mmap_may_be_shorter = false,
        .mock_region_pages = 2,
        .hw_info_input_type = 0,
    },
};

// The row of a form by its name; fails the test when there is none.
inline const FormFacts& FactsOf(std::string_view name) {
  const uint8_t form = desc_revision_by_name(name);
  for (const FormFacts& facts : kFormFacts) {
    if (facts.form == form) return facts;
  }
  ADD_FAILURE() << "tests/util/forms.h has no row of the form " << name;
  return kFormFacts[0];
}

// The names of the forms in a set (enum desc_revision), for ValuesIn().
inline std::vector<const char*> Forms(uint8_t forms = DESC_ALL) {
  std::vector<const char*> names;
  for (const desc_revision_name& r : desc_revisions) {
    if (r.revision & forms) names.push_back(r.name);
  }
  return names;
}

// A form's name as a part of a test's name.
inline std::string FormName(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !isalnum(c); },
      '_');
  return name;
}

}  // namespace iommulab

#endif  // TESTS_UTIL_FORMS_H_
