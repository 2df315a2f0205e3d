// SPDX-License-Identifier: GPL-2.0-or-later
#include "drivers/selftest/mock_options.h"

#include <cerrno>
#include <cstring>

#include "drivers/platform/machine_options.h"
#include "gtest/gtest.h"

namespace {

TEST(MockOptions, DefaultsAreTheKernelsMock) {
  mock_machine_options opts;
  EXPECT_EQ(opts.absent_ops, 0u);
  EXPECT_EQ(opts.small_structs, 0u);
  EXPECT_EQ(opts.io_page_size, 0u);
  EXPECT_EQ(opts.nr_iommus, 1u);
  EXPECT_FALSE(opts.second_driver);
  EXPECT_EQ(opts.nr_stream_ids, 1u);
  EXPECT_FALSE(opts.own_vdevice);
  EXPECT_EQ(opts.group_size, 1u);
  EXPECT_TRUE(opts.cache_coherency);
  EXPECT_EQ(opts.nr_enforce_coherency, 0u);
  EXPECT_EQ(opts.pci_pasid, 0u);
  EXPECT_FALSE(opts.pci_ats);
  EXPECT_EQ(opts.nr_reserved, 0u);
}

TEST(MockOptions, EachKeyIsListedAndTaken) {
  const struct {
    const char* key;
    const char* good;
    const char* bad;
  } kCases[] = {
      {"without", "hw_info+queue", "hw_info+"},
      {"small", "viommu", "hwpt"},
      {"io_page", "4K", "3000"},
      {"aperture", "0x1000-0x1fff", "0x2000-0x1fff"},
      {"iommus", "4", "5"},
      {"second_driver", "1", "2"},
      {"stream_ids", "0", "65"},
      {"own_vdevice", "1", "2"},
      {"group", "2", "0"},
      {"coherent", "0", "yes"},
      {"enforce_coherency", "4", "5"},
      {"pci_pasid", "exec+priv", "enable"},
      {"pci_ats", "1", "2"},
      {"reserved", "16M-0x1ffffff", "16M"},
      {"sw_msi", "0-0xfffff", "-1-2"},
  };
  size_t listed = 0;
  for (const machine_option* help = mock_machine_desc.options; help->name;
       ++help) {
    ++listed;
    EXPECT_NE(strlen(help->help), 0u);
    EXPECT_EQ(strchr(help->help, '\n'), nullptr) << help->name;
  }
  EXPECT_EQ(listed, std::size(kCases));
  for (const auto& c : kCases) {
    mock_machine_options opts;
    bool found = false;
    for (const machine_option* help = mock_machine_desc.options; help->name;
         ++help)
      found |= !strcmp(help->name, c.key);
    EXPECT_TRUE(found) << c.key;
    EXPECT_EQ(machine_options_set(&mock_machine_desc, c.key, c.good, &opts), 0)
        << c.key;
    EXPECT_EQ(machine_options_set(&mock_machine_desc, c.key, c.bad, &opts),
              -EINVAL)
        << c.key;
    EXPECT_EQ(machine_options_set(&mock_machine_desc, c.key, "", &opts),
              -EINVAL)
        << c.key;
  }
}

TEST(MockOptions, UnknownIsRefused) {
  mock_machine_options opts;
  EXPECT_EQ(machine_options_set(&mock_machine_desc, "with", "hw_info", &opts),
            -EINVAL);
  EXPECT_EQ(machine_options_set(&mock_machine_desc, "", "", &opts), -EINVAL);
  EXPECT_EQ(machine_options_set(&mock_machine_desc, "without", "hw_inf", &opts),
            -EINVAL);
  EXPECT_EQ(
      machine_options_set(&mock_machine_desc, "without", "hw_info ", &opts),
      -EINVAL);
}

TEST(MockOptions, NamesStandForTheirBits) {
  mock_machine_options opts;
  ASSERT_EQ(machine_options_set(&mock_machine_desc, "without", "hw_info+dirty",
                                &opts),
            0);
  EXPECT_EQ(opts.absent_ops, MOCK_ABSENT_HW_INFO | MOCK_ABSENT_DIRTY);
  ASSERT_EQ(
      machine_options_set(&mock_machine_desc, "without", "queue_init", &opts),
      0);
  EXPECT_EQ(opts.absent_ops,
            MOCK_ABSENT_HW_INFO | MOCK_ABSENT_DIRTY | MOCK_ABSENT_QUEUE_INIT);
  ASSERT_EQ(machine_options_set(&mock_machine_desc, "small", "queue", &opts),
            0);
  EXPECT_EQ(opts.small_structs, MOCK_SMALL_QUEUE);
}

TEST(MockOptions, NumbersHaveSuffixesAndBounds) {
  mock_machine_options opts;
  ASSERT_EQ(machine_options_set(&mock_machine_desc, "aperture",
                                "1M-0xffffffffffffffff", &opts),
            0);
  EXPECT_EQ(opts.aperture_start, 1u << 20);
  EXPECT_EQ(opts.aperture_last, UINT64_MAX);
  EXPECT_EQ(machine_options_set(&mock_machine_desc, "aperture",
                                "0-0x10000000000000000", &opts),
            -EINVAL);
  EXPECT_EQ(machine_options_set(&mock_machine_desc, "aperture",
                                "0-18446744073709551615G", &opts),
            -EINVAL);
  // Nothing changed.
  EXPECT_EQ(opts.aperture_last, UINT64_MAX);
}

TEST(MockOptions, FourReservedRegions) {
  mock_machine_options opts;
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(machine_options_set(&mock_machine_desc,
                                  i == 1 ? "sw_msi" : "reserved", "0-1", &opts),
              0);
  EXPECT_EQ(opts.nr_reserved, 4u);
  EXPECT_TRUE(opts.reserved[1].sw_msi);
  EXPECT_EQ(machine_options_set(&mock_machine_desc, "reserved", "0-1", &opts),
            -EINVAL);
}

TEST(MockOptions, OneMsiWindow) {
  mock_machine_options opts;
  EXPECT_EQ(machine_options_set(&mock_machine_desc, "sw_msi", "0-1", &opts), 0);
  EXPECT_EQ(machine_options_set(&mock_machine_desc, "sw_msi", "4-5", &opts),
            -EINVAL);
  EXPECT_EQ(opts.nr_reserved, 1u);
}

}  // namespace
