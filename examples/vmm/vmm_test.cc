// SPDX-License-Identifier: GPL-2.0-or-later
//
// Every story under both forms of the surface, on hardware that is done at once
// and on hardware that is a thread: all steps are as expected, and nothing is
// left in the kernel.
#include <memory>
#include <sstream>
#include <string>
#include <tuple>

#include "examples/vmm/stories.h"
#include "gtest/gtest.h"

// Last: kernel headers define common words as macros.
#include "core/sim_syscalls.h"
#include "drivers/platform/platform.h"

namespace vmm {
namespace {

class VmmTest : public testing::TestWithParam<
                    std::tuple<std::string, std::string, tegra241_mode>> {
 protected:
  std::unique_ptr<sim_syscalls> Boot(const tegra241_machine_options& machine) {
    sim_options sim;
    sim.machine = &tegra241_machine;
    sim.machine_options = &machine;
    auto host = sim_syscalls::create(sim);
    EXPECT_TRUE(bool(host));
    return host ? std::move(*host) : nullptr;
  }
};

std::string LastLine(const std::string& text) {
  const size_t end = text.rfind('\n');
  if (end == std::string::npos || end == 0) return text;
  return text.substr(text.rfind('\n', end - 1) + 1,
                     end - text.rfind('\n', end - 1) - 1);
}

TEST_P(VmmTest, EveryStepIsAsExpected) {
  const auto& [story, revision, mode] = GetParam();
  tegra241_machine_options machine;
  machine.mode = mode;
  std::unique_ptr<sim_syscalls> host = Boot(machine);
  ASSERT_NE(host, nullptr);
  std::ostringstream out;
  StoryOptions options;
  options.revision = revision;
  options.out = &out;
  int heights = 0;
  size_t vms = 0;
  options.at_height = [&](const std::vector<Vm*>& there) {
    heights++;
    vms = there.size();
    for (const Vm* vm : there) {
      EXPECT_GE(vm->vmm->iommufd(), 0);
      EXPECT_GE(vm->vmm->NumQueues(), 2u);
    }
  };
  StoryResult result;
  ASSERT_TRUE(TellStory(story, host.get(), options, &result));
  EXPECT_GT(result.steps, 20);
  EXPECT_EQ(result.as_expected, result.steps) << out.str();
  EXPECT_EQ(LastLine(out.str()), std::to_string(result.steps) + " steps, " +
                                     std::to_string(result.steps) +
                                     " as expected");
  EXPECT_EQ(heights, 1);
  EXPECT_EQ(vms, story == "two-vms" ? 2u : 1u);
  EXPECT_EQ(host->residue(), "");
  EXPECT_EQ(kernel_warn_count(host->kernel()), 0u) << host->take_log();
}

INSTANTIATE_TEST_SUITE_P(
    Stories, VmmTest,
    testing::Combine(testing::ValuesIn(StoryNames()),
                     testing::Values("vcmdq-v2", "hw-queue"),
                     testing::Values(TEGRA241_EAGER, TEGRA241_FREE_RUNNING)),
    [](const auto& info) {
      std::string name =
          std::get<0>(info.param) + "_" + std::get<1>(info.param) +
          (std::get<2>(info.param) == TEGRA241_EAGER ? "" : "_free_running");
      for (char& c : name) {
        if (c == '-') c = '_';
      }
      return name;
    });

TEST_F(VmmTest, AStepThatIsNotAsExpectedIsCounted) {
  // Without a CMDQV the VMM says so, and no story comes to a good end.
  tegra241_machine_options machine;
  machine.cmdqv = false;
  std::unique_ptr<sim_syscalls> host = Boot(machine);
  ASSERT_NE(host, nullptr);
  std::ostringstream out;
  StoryOptions options;
  options.out = &out;
  StoryResult result;
  EXPECT_FALSE(TellStory("none", host.get(), options, &result));
  ASSERT_TRUE(TellStory("reboot", host.get(), options, &result));
  EXPECT_LT(result.as_expected, result.steps);
  EXPECT_NE(out.str().find("WRONG"), std::string::npos);
}

}  // namespace
}  // namespace vmm
