// SPDX-License-Identifier: GPL-2.0-or-later
//
// The descriptions of uapi/iommufd_desc.h against the ABI headers, and the
// functions that read them. That every byte is described is checked while
// compiling (uapi/iommufd_desc.cc); here are the facts that only a person can
// write down twice.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "uapi/iommufd.h"
#include "uapi/iommufd_desc.h"
#include "uapi/iommufd_test.h"

namespace {

const desc_field& FieldOf(const char* command, const char* name,
                          uint8_t revisions = DESC_ALL) {
  const desc_ioctl* d = iommufd_desc_find(command, revisions);
  EXPECT_NE(d, nullptr) << command;
  const desc_field* f = desc_find_field(*d->arg, name);
  EXPECT_NE(f, nullptr) << command << "." << name;
  return *f;
}

TEST(Desc, FindsEachByNameAndByNumber) {
  std::set<std::string> names;
  for (const desc_ioctl& d : iommufd_desc_all()) {
    EXPECT_EQ(iommufd_desc_find(d.name, d.revisions), &d) << d.name;
    EXPECT_EQ(iommufd_desc_find_cmd(d.cmd, d.op, d.revisions), &d) << d.name;
    names.insert(d.name);
  }
  EXPECT_EQ(iommufd_desc_find("IOAS_ALLOC")->cmd, IOMMU_IOAS_ALLOC);
  EXPECT_EQ(iommufd_desc_find("MOCK_DOMAIN")->cmd, IOMMU_TEST_CMD);
  EXPECT_EQ(iommufd_desc_find("MOCK_DOMAIN")->op, IOMMU_TEST_OP_MOCK_DOMAIN);
  EXPECT_EQ(iommufd_desc_find("NO_SUCH"), nullptr);
  EXPECT_EQ(iommufd_desc_find_cmd(_IO(IOMMUFD_TYPE, 0x7f), 0, DESC_ALL),
            nullptr);
  EXPECT_EQ(iommufd_desc_find_cmd(IOMMU_TEST_CMD, 99, DESC_ALL), nullptr);
  EXPECT_GT(names.size(), 50u);
}

// The literal table of the ABI, as data.
struct AbiTable {
  std::map<std::string, uint64_t> values;
  std::map<std::string, size_t> structs;
};

const AbiTable& Abi() {
  static const auto& table = *[] {
    auto* t = new AbiTable;
#define ABI_TABLE_IOMMUFD
#define ABI_TABLE_IOMMUFD_TEST
#define ABI_TABLE_VFIO
#define VALUE(name, number) t->values[#name] = number;
#define STRUCT(tag, bytes) t->structs[#tag] = bytes;
#define FIELD(tag, member, offset, bytes)
#include "uapi/abi_table.h"
#undef VALUE
#undef STRUCT
#undef FIELD
    return t;
  }();
  return table;
}

// What a command's number is called in the headers.
std::string HeadersName(const desc_ioctl& d) {
  const std::string name = d.name;
  if (d.cmd == IOMMU_TEST_CMD) return "IOMMU_TEST_OP_" + name;
  return Abi().values.count("IOMMU_" + name) ? "IOMMU_" + name : name;
}

// A description is held against the headers by the compiler, and the headers
// against this table: what is in one only is held against nothing.
TEST(Desc, EachDescriptionHasItsRowsInTheTableOfTheAbi) {
  for (const desc_ioctl& d : iommufd_desc_all()) {
    const auto number = Abi().values.find(HeadersName(d));
    if (number == Abi().values.end()) {
      ADD_FAILURE() << d.name << ": no VALUE row in uapi/abi_table.h";
      continue;
    }
    EXPECT_EQ(number->second, d.cmd == IOMMU_TEST_CMD ? d.op : d.cmd) << d.name;
    // An argument that is a value is no struct of the ABI.
    if (d.arg_is_value) continue;
    std::set<const desc_struct*> structs = {d.arg};
    for (const desc_field& f : d.arg->fields) {
      if (f.pointee != nullptr) structs.insert(f.pointee);
      for (const desc_variant& v : f.variants) {
        if (v.pointee != nullptr) structs.insert(v.pointee);
      }
    }
    for (const desc_struct* s : structs) {
      const auto row = Abi().structs.find(s->name);
      if (row == Abi().structs.end()) {
        ADD_FAILURE() << s->name << ": no STRUCT row in uapi/abi_table.h";
      } else {
        EXPECT_EQ(row->second, s->size) << s->name;
      }
    }
  }
}

TEST(Desc, EachCommandAndStructOfTheTableIsDescribed) {
  std::set<std::string> described;
  for (const desc_ioctl& d : iommufd_desc_all()) {
    described.insert(HeadersName(d));
  }
  for (const auto& [name, number] : Abi().values) {
    const bool command =
        (name.starts_with("IOMMU_TEST_OP_") ||
         (name.starts_with("IOMMU_") && number >> 8 == IOMMUFD_TYPE)) &&
        name != "IOMMU_TEST_CMD";
    if (command) {
      EXPECT_TRUE(described.count(name)) << name << ": no description";
    }
  }
  for (const auto& [tag, bytes] : Abi().structs) {
    if (tag.starts_with("iommu_") && tag != "iommu_test_cmd") {
      EXPECT_NE(iommufd_desc_find_struct(tag), nullptr)
          << tag << ": no description";
    }
  }
}

TEST(Desc, Command94HasTwoForms) {
  const desc_ioctl* v2 =
      iommufd_desc_find_cmd(IOMMU_VCMDQ_ALLOC, 0, DESC_VCMDQ_V2);
  const desc_ioctl* merged =
      iommufd_desc_find_cmd(IOMMU_HW_QUEUE_ALLOC, 0, DESC_HW_QUEUE);
  ASSERT_NE(v2, nullptr);
  ASSERT_NE(merged, nullptr);
  EXPECT_STREQ(v2->name, "VCMDQ_ALLOC");
  EXPECT_STREQ(merged->name, "HW_QUEUE_ALLOC");
  EXPECT_EQ(v2->cmd, merged->cmd);
  EXPECT_EQ(v2->creates, desc_object::VCMDQ);
  EXPECT_EQ(merged->creates, desc_object::HW_QUEUE);
  EXPECT_EQ(iommufd_desc_find("VCMDQ_ALLOC", DESC_HW_QUEUE), nullptr);
  EXPECT_EQ(iommufd_desc_find("HW_QUEUE_ALLOC", DESC_VCMDQ_V2), nullptr);
}

TEST(Desc, SizesAndSmallestSizes) {
  struct {
    const char* name;
    size_t size;
    size_t min_size;
  } const kSizes[] = {
      {"DESTROY", 8, 8},
      {"IOAS_ALLOC", 12, 12},
      {"IOAS_ALLOW_IOVAS", 24, 24},
      {"IOAS_COPY", 40, 40},
      {"IOAS_IOVA_RANGES", 32, 32},
      {"IOAS_MAP", 40, 40},
      {"IOAS_UNMAP", 24, 24},
      {"OPTION", 24, 24},
      {"VFIO_IOAS", 12, 12},
      {"HWPT_ALLOC", 48, 24},
      {"GET_HW_INFO", 40, 32},
      {"HWPT_SET_DIRTY_TRACKING", 16, 16},
      {"HWPT_GET_DIRTY_BITMAP", 48, 48},
      {"HWPT_INVALIDATE", 32, 32},
      {"FAULT_QUEUE_ALLOC", 16, 16},
      {"IOAS_MAP_FILE", 40, 40},
      {"VIOMMU_ALLOC", 40, 24},
      {"VDEVICE_ALLOC", 24, 24},
      {"IOAS_CHANGE_PROCESS", 8, 8},
      {"VEVENTQ_ALLOC", 32, 28},
      {"VCMDQ_ALLOC", 40, 40},
      {"HW_QUEUE_ALLOC", 40, 40},
      {"MOCK_DOMAIN", 72, 68},
      {"VFIO_GET_API_VERSION", 8, 0},
      {"VFIO_CHECK_EXTENSION", 8, 0},
      {"VFIO_SET_IOMMU", 8, 0},
      {"VFIO_IOMMU_GET_INFO", 24, 16},
      {"VFIO_IOMMU_MAP_DMA", 32, 32},
      {"VFIO_IOMMU_UNMAP_DMA", 24, 24},
      {"VFIO_IOMMU_DIRTY_PAGES", 8, 8},
      {"VFIO_DEVICE_GET_INFO", 24, 16},
      {"VFIO_DEVICE_GET_REGION_INFO", 32, 32},
      {"VFIO_DEVICE_RESET", 8, 0},
      {"VFIO_DEVICE_BIND_IOMMUFD", 24, 16},
      {"VFIO_DEVICE_ATTACH_IOMMUFD_PT", 16, 12},
      {"VFIO_DEVICE_DETACH_IOMMUFD_PT", 12, 8},
  };
  for (const auto& s : kSizes) {
    const desc_ioctl* d = iommufd_desc_find(s.name);
    ASSERT_NE(d, nullptr) << s.name;
    EXPECT_EQ(d->arg->size, s.size) << s.name;
    EXPECT_EQ(d->min_size, s.min_size) << s.name;
  }
}

// The masks that the handlers accept.
TEST(Desc, FlagMasks) {
  struct {
    const char* command;
    const char* field;
    uint64_t valid;
    uint8_t revisions;
  } const kMasks[] = {
      {"IOAS_ALLOC", "flags", 0, DESC_ALL},
      {"IOAS_MAP", "flags", 7, DESC_ALL},
      {"IOAS_MAP_FILE", "flags", 7, DESC_ALL},
      {"IOAS_COPY", "flags", 7, DESC_ALL},
      {"HWPT_ALLOC", "flags", 0xf, DESC_ALL},
      {"GET_HW_INFO", "flags", 0, DESC_VCMDQ_V2},
      {"GET_HW_INFO", "flags", 1, DESC_HW_QUEUE},
      {"HWPT_SET_DIRTY_TRACKING", "flags", 1, DESC_ALL},
      {"HWPT_GET_DIRTY_BITMAP", "flags", 1, DESC_ALL},
      {"FAULT_QUEUE_ALLOC", "flags", 0, DESC_ALL},
      {"VIOMMU_ALLOC", "flags", 0, DESC_ALL},
      {"VEVENTQ_ALLOC", "flags", 0, DESC_ALL},
      {"VCMDQ_ALLOC", "flags", 0, DESC_VCMDQ_V2},
      {"HW_QUEUE_ALLOC", "flags", 0, DESC_HW_QUEUE},
      {"MOCK_DOMAIN_FLAGS", "dev_flags", 7, DESC_ALL},
      {"CREATE_ACCESS", "flags", 1, DESC_ALL},
      {"ACCESS_PAGES", "flags", 0x10001, DESC_ALL},
      {"ACCESS_RW", "flags", 0x10005, DESC_ALL},
      {"VFIO_IOMMU_MAP_DMA", "flags", 3, DESC_ALL},
      {"VFIO_IOMMU_UNMAP_DMA", "flags", 2, DESC_ALL},
      {"VFIO_DEVICE_BIND_IOMMUFD", "flags", 0, DESC_ALL},
      {"VFIO_DEVICE_ATTACH_IOMMUFD_PT", "flags", 1, DESC_ALL},
      {"VFIO_DEVICE_DETACH_IOMMUFD_PT", "flags", 1, DESC_ALL},
  };
  std::set<const desc_field*> seen;
  for (const auto& m : kMasks) {
    const desc_field& f = FieldOf(m.command, m.field, m.revisions);
    EXPECT_EQ(f.kind, desc_kind::FLAGS) << m.command;
    EXPECT_EQ(f.valid, m.valid) << m.command << "." << m.field;
    seen.insert(&f);
  }
  for (const desc_ioctl& d : iommufd_desc_all()) {
    for (const desc_field& f : d.arg->fields) {
      if (f.kind == desc_kind::FLAGS) {
        EXPECT_TRUE(seen.count(&f)) << d.name << "." << f.name;
      }
    }
  }
}

// Where a handler refuses what is not zero; other reserved bytes are PADDING.
TEST(Desc, ReservedFields) {
  const std::set<std::string> expected = {
      "IOAS_ALLOW_IOVAS.__reserved", "IOAS_IOVA_RANGES.__reserved",
      "IOAS_MAP.__reserved",         "OPTION.__reserved",
      "VFIO_IOAS.__reserved",        "HWPT_ALLOC.__reserved",
      "GET_HW_INFO.__reserved0",     "GET_HW_INFO.__reserved1",
      "GET_HW_INFO.__reserved2",     "HWPT_GET_DIRTY_BITMAP.__reserved",
      "HWPT_INVALIDATE.__reserved",  "IOAS_CHANGE_PROCESS.__reserved",
      "VEVENTQ_ALLOC.__reserved",
  };
  std::set<std::string> found;
  for (const desc_ioctl& d : iommufd_desc_all()) {
    for (const desc_field& f : d.arg->fields) {
      if (f.kind == desc_kind::RESERVED) {
        found.insert(std::string(d.name) + "." + f.name);
      }
    }
  }
  EXPECT_EQ(found, expected);
}

TEST(Desc, FieldsAreWhereTheStructsHaveThem) {
  iommu_vcmdq_alloc q = {};
  q.size = sizeof(q);
  q.viommu_id = 0x11;
  q.type = IOMMU_VCMDQ_TYPE_SELFTEST;
  q.index = 1;
  q.addr = 0x1000000;
  q.length = 0x2000;
  auto load = [&](const char* name) {
    return desc_load(FieldOf("VCMDQ_ALLOC", name), &q);
  };
  EXPECT_EQ(load("size"), 40u);
  EXPECT_EQ(load("viommu_id"), 0x11u);
  EXPECT_EQ(load("type"), 0xdeadbeefu);
  EXPECT_EQ(load("index"), 1u);
  EXPECT_EQ(load("addr"), 0x1000000u);
  EXPECT_EQ(load("length"), 0x2000u);

  iommu_test_cmd cmd = {};
  desc_store(FieldOf("MD_CHECK_IOTLB", "id"), &cmd, 7);
  desc_store(FieldOf("MD_CHECK_IOTLB", "iotlb_id"), &cmd, 3);
  desc_store(FieldOf("MD_CHECK_IOTLB", "iotlb"), &cmd, 0xabc);
  EXPECT_EQ(cmd.id, 7u);
  EXPECT_EQ(cmd.check_iotlb.id, 3u);
  EXPECT_EQ(cmd.check_iotlb.iotlb, 0xabcu);
}

// Storing into each field of a struct, one after the other, touches each byte
// once: a store of all ones leaves all ones, and each field reads back.
TEST(Desc, FieldsCoverEveryByteOnce) {
  for (const desc_ioctl& d : iommufd_desc_all()) {
    std::vector<unsigned char> image(d.arg->size + 8, 0);
    size_t bytes = 0;
    for (const desc_field& f : d.arg->fields) {
      EXPECT_EQ(desc_load(f, image.data()), 0u) << d.name << "." << f.name;
      desc_store(f, image.data(), ~uint64_t{0});
      EXPECT_EQ(
          desc_load(f, image.data()),
          f.width == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * f.width)) - 1);
      bytes += f.width;
    }
    EXPECT_EQ(bytes, d.arg->size) << d.name;
    for (size_t i = 0; i < image.size(); i++) {
      EXPECT_EQ(image[i], i < d.arg->size ? 0xff : 0) << d.name << " " << i;
    }
  }
}

// A command that takes I/O addresses or user memory may change what is mapped,
// which a recorder and a generator must know: by its effect, or by a reason why
// it has none. That an effect names fields which are there, and of the right
// kinds, is checked while compiling.
TEST(Desc, EachCommandOnMapsHasItsEffect) {
  const std::map<std::string, std::string> none = {
      {"HWPT_GET_DIRTY_BITMAP", "reads and clears dirty bits"},
      {"VCMDQ_ALLOC", "pins or translates what is mapped"},
      {"HW_QUEUE_ALLOC", "pins or translates what is mapped"},
      {"ADD_RESERVED", "keeps maps away, where there are none"},
      {"MD_CHECK_MAP", "compares what is mapped"},
      {"MD_CHECK_REFS", "compares counts of pins"},
      {"ACCESS_PAGES", "pins what is mapped"},
      {"DIRTY", "sets dirty bits"},
      {"TRIGGER_IOPF", "only reports the address"},
  };
  std::set<std::string> excused;
  for (const desc_ioctl& d : iommufd_desc_all()) {
    bool on_maps = false;
    for (const desc_field& f : d.arg->fields) {
      on_maps |= f.kind == desc_kind::USER_VA || f.kind == desc_kind::IOVA ||
                 f.kind == desc_kind::IOVA_INOUT;
    }
    if (d.effect != nullptr) {
      EXPECT_EQ(none.count(d.name), 0u) << d.name << " has an effect";
    } else if (on_maps) {
      EXPECT_EQ(none.count(d.name), 1u) << d.name << ": no effect, no reason";
      excused.insert(d.name);
    }
  }
  EXPECT_EQ(excused.size(), none.size()) << "a reason for no command";
}

TEST(Desc, OutputsHaveShortNames) {
  auto outputs = [](const char* command) {
    std::vector<std::string> names;
    for (const desc_field& f : iommufd_desc_find(command)->arg->fields) {
      if (desc_is_output(f.kind)) {
        names.emplace_back(desc_output_name(f));
      }
    }
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(outputs("IOAS_ALLOC"), Names({"ioas"}));
  EXPECT_EQ(outputs("MOCK_DOMAIN"), Names({"stdev", "hwpt", "idev"}));
  EXPECT_EQ(outputs("FAULT_QUEUE_ALLOC"), Names({"fault", "fd"}));
  EXPECT_EQ(outputs("VEVENTQ_ALLOC"), Names({"veventq", "fd"}));
  EXPECT_EQ(outputs("VCMDQ_ALLOC"), Names({"vcmdq"}));
  EXPECT_EQ(outputs("IOAS_MAP"), Names({"iova"}));
  EXPECT_EQ(outputs("CREATE_ACCESS"), Names({"access_fd"}));
  for (const desc_ioctl& d : iommufd_desc_all()) {
    std::set<std::string_view> seen;
    for (const desc_field& f : d.arg->fields) {
      if (desc_is_returned(f)) {
        EXPECT_TRUE(seen.insert(desc_output_name(f)).second)
            << d.name << "." << f.name;
      }
    }
  }
}

TEST(Desc, WhatComesBackThoughItIsAnInput) {
  EXPECT_TRUE(desc_is_returned(FieldOf("IOAS_UNMAP", "length")));
  EXPECT_TRUE(desc_is_returned(FieldOf("IOAS_IOVA_RANGES", "num_iovas")));
  EXPECT_TRUE(desc_is_returned(FieldOf("HWPT_INVALIDATE", "entry_num")));
  EXPECT_TRUE(desc_is_returned(FieldOf("GET_HW_INFO", "data_len")));
  EXPECT_FALSE(desc_is_returned(FieldOf("IOAS_MAP", "length")));
  EXPECT_FALSE(desc_is_output(FieldOf("IOAS_UNMAP", "length").kind));
}

TEST(Desc, PointeesFollowTheirSelector) {
  const desc_ioctl& d = *iommufd_desc_find("HWPT_ALLOC");
  const desc_field& data = FieldOf("HWPT_ALLOC", "data_uptr");
  iommu_hwpt_alloc cmd = {};
  EXPECT_EQ(desc_pointee(*d.arg, data, &cmd), nullptr);
  cmd.data_type = IOMMU_HWPT_DATA_SELFTEST;
  ASSERT_NE(desc_pointee(*d.arg, data, &cmd), nullptr);
  EXPECT_STREQ(desc_pointee(*d.arg, data, &cmd)->name, "iommu_hwpt_selftest");
  cmd.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3;
  EXPECT_STREQ(desc_pointee(*d.arg, data, &cmd)->name, "iommu_hwpt_arm_smmuv3");
  cmd.data_type = 0x7777;
  EXPECT_EQ(desc_pointee(*d.arg, data, &cmd), nullptr);

  const desc_ioctl& ranges = *iommufd_desc_find("IOAS_IOVA_RANGES");
  iommu_ioas_iova_ranges r = {};
  EXPECT_STREQ(desc_pointee(*ranges.arg,
                            FieldOf("IOAS_IOVA_RANGES", "allowed_iovas"), &r)
                   ->name,
               "iommu_iova_range");
}

// One number names two kinds of requests; their size tells them apart.
TEST(Desc, InvalidationRequestsAreToldApartByTheirSize) {
  const desc_ioctl& d = *iommufd_desc_find("HWPT_INVALIDATE");
  const desc_field& data = FieldOf("HWPT_INVALIDATE", "data_uptr");
  iommu_hwpt_invalidate cmd = {};
  cmd.data_type = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
  EXPECT_STREQ(desc_pointee(*d.arg, data, &cmd)->name,
               "iommu_hwpt_invalidate_selftest");
  cmd.entry_len = sizeof(iommu_viommu_invalidate_selftest);
  EXPECT_STREQ(desc_pointee(*d.arg, data, &cmd)->name,
               "iommu_viommu_invalidate_selftest");
  cmd.entry_len = sizeof(iommu_hwpt_invalidate_selftest);
  EXPECT_STREQ(desc_pointee(*d.arg, data, &cmd)->name,
               "iommu_hwpt_invalidate_selftest");
}

TEST(Desc, BothNamesOfAUnionLeadToOneField) {
  const desc_struct* s = iommufd_desc_find_struct("iommu_viommu_selftest");
  ASSERT_NE(s, nullptr);
  EXPECT_EQ(desc_find_field(*s, "out_mmap_pgoff"),
            desc_find_field(*s, "out_mmap_offset"));
  EXPECT_NE(desc_find_field(*s, "out_mmap_pgsz"), nullptr);
  for (const auto& [form, r, summary, release] : desc_revisions) {
    EXPECT_EQ(&FieldOf("GET_HW_INFO", "in_data_type", r),
              &FieldOf("GET_HW_INFO", "out_data_type", r));
  }
  EXPECT_EQ(desc_find_field(*s, "nothing"), nullptr);
}

TEST(Desc, StructsOfFilesAndPointers) {
  for (const char* name :
       {"iommu_hwpt_pgfault", "iommufd_vevent_header",
        "iommu_hwpt_page_response", "iommu_iova_range", "iommu_ioas_map"}) {
    ASSERT_NE(iommufd_desc_find_struct(name), nullptr) << name;
    EXPECT_STREQ(iommufd_desc_find_struct(name)->name, name);
  }
  EXPECT_EQ(iommufd_desc_find_struct("iommu_nothing"), nullptr);
  EXPECT_EQ(iommufd_desc_find_struct("iommu_hwpt_pgfault")->size,
            sizeof(iommu_hwpt_pgfault));
}

// Four of VFIO's ioctls take a number where the others take an address.
TEST(Desc, ArgumentsThatAreNoAddress) {
  std::set<std::string> values, numbers;
  for (const desc_ioctl& d : iommufd_desc_all()) {
    if (d.arg_is_value) values.insert(d.name);
    if (d.returns_number) numbers.insert(d.name);
  }
  EXPECT_EQ(values, std::set<std::string>(
                        {"VFIO_GET_API_VERSION", "VFIO_CHECK_EXTENSION",
                         "VFIO_SET_IOMMU", "VFIO_DEVICE_RESET"}));
  EXPECT_EQ(numbers, std::set<std::string>(
                         {"VFIO_GET_API_VERSION", "VFIO_CHECK_EXTENSION"}));
}

TEST(Desc, KindsThatGoInAndOut) {
  EXPECT_TRUE(desc_is_input(desc_kind::ID_INOUT));
  EXPECT_TRUE(desc_is_output(desc_kind::ID_INOUT));
  EXPECT_FALSE(desc_is_input(desc_kind::ID_OUT));
  EXPECT_FALSE(desc_is_output(desc_kind::ID_IN));
  EXPECT_TRUE(desc_is_input(desc_kind::RESERVED));
  EXPECT_FALSE(desc_is_input(desc_kind::PADDING));
  EXPECT_TRUE(desc_is_pointer(desc_kind::PTR_INOUT));
  EXPECT_FALSE(desc_is_pointer(desc_kind::USER_VA));
}

}  // namespace
