// SPDX-License-Identifier: GPL-2.0-or-later
#include "drivers/platform/tegra241_options.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "drivers/platform/machine_options.h"
#include "gtest/gtest.h"
#include "tests/platform/tegra241_fixture.h"

namespace tegra241 {
namespace {

int Parse(const char* key, const char* value) {
  tegra241_machine_options opts;
  return machine_options_set(&tegra241_machine_desc, key, value, &opts);
}

TEST(Tegra241Options, EachBoundFromBothSides) {
  struct Bound {
    const char* key;
    const char *low, *high, *below, *above;
  };
  for (const Bound& b : {
           Bound{"smmus", "1", "4", "0", "5"},
           Bound{"devices", "0", "64", "-1", "65"},
           Bound{"streams", "1", "8", "0", "9"},
           Bound{"cmdqv", "0", "1", "x", "2"},
           Bound{"vintfs", "1", "64", "0", "128"},
           Bound{"lvcmdqs", "1", "64", "0", "65"},
           Bound{"sids", "1", "16", "3", "32"},
           Bound{"cmdq", "128", "65536", "64", "131072"},
           Bound{"evtq", "2", "32768", "1", "65536"},
           Bound{"ats", "0", "1", "", "2"},
           Bound{"pasid_bits", "0", "16", "-1", "17"},
           Bound{"can_stall", "0", "1", "1x", "2"},
           Bound{"coherent_dma", "0", "1", " 1", "2"},
           Bound{"stages", "1", "12", "21", "3"},
           Bound{"mode", "eager", "free", "frei", ""},
       }) {
    EXPECT_EQ(Parse(b.key, b.low), 0) << b.key;
    EXPECT_EQ(Parse(b.key, b.high), 0) << b.key;
    EXPECT_EQ(Parse(b.key, b.below), -EINVAL) << b.key;
    EXPECT_EQ(Parse(b.key, b.above), -EINVAL) << b.key;
  }
  EXPECT_EQ(Parse("no", "1"), -EINVAL);
}

TEST(Tegra241Options, EachKeyIsListed) {
  int n = 0;
  for (const auto* h = tegra241_machine_desc.options; h->name != nullptr; h++)
    n++;
  EXPECT_EQ(n, 15);
}

TEST_F(Machine, TheLargestAndTheSmallest) {
  ASSERT_NO_FATAL_FAILURE(Boot({.nr_smmus = 4,
                                .nr_devices = 64,
                                .nr_stream_ids = 8,
                                .vintfs = 64,
                                .lvcmdqs = 2,
                                .cmdq_entries = 128,
                                .pasid_bits = 16}));
  Shutdown();
  ASSERT_NO_FATAL_FAILURE(
      Boot({.nr_devices = 0, .vintfs = 1, .lvcmdqs = 1, .sids = 1}));
  Shutdown();
  // Contradictions.
  for (const tegra241_machine_options& bad :
       {tegra241_machine_options{.vintfs = 64, .lvcmdqs = 64},
        tegra241_machine_options{.s1 = false, .s2 = false}}) {
    sim_options sim;
    sim.machine = &tegra241_machine;
    sim.machine_options = &bad;
    auto made = sim_syscalls::create(sim);
    EXPECT_EQ(made.error(), -EINVAL);
  }
}

}  // namespace
}  // namespace tegra241
