// SPDX-License-Identifier: GPL-2.0-or-later
//
// A bounded part of the fuzz target cmdqv_mmio in every config: its corpus, and
// inputs of fixed seeds.
#include "fuzz/cmdqv_mmio.h"

#include <cstdint>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace fuzz {
namespace {

std::vector<std::string> files;

TEST(CmdqvMmio, TheCorpusIsClean) {
  EXPECT_FALSE(files.empty());
  for (const std::string& name : files) {
    std::ifstream file(name, std::ios::binary);
    ASSERT_TRUE(file) << name;
    const std::string data((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(RunCmdqvMmio(reinterpret_cast<const uint8_t*>(data.data()),
                           data.size()),
              "")
        << name;
  }
}

TEST(CmdqvMmio, NothingIsNothing) { EXPECT_EQ(RunCmdqvMmio(nullptr, 0), ""); }

TEST(CmdqvMmio, FixedSeedsAreClean) {
  for (uint32_t seed = 0; seed < 96; seed++) {
    std::mt19937_64 random(seed);
    std::vector<uint8_t> data(64 + random() % 1500);
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
    // Every choice of byte 0.
    data[0] = static_cast<uint8_t>(seed);
    EXPECT_EQ(RunCmdqvMmio(data.data(), data.size()), "") << seed;
  }
}

}  // namespace
}  // namespace fuzz

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; i++) fuzz::files.push_back(argv[i]);
  return RUN_ALL_TESTS();
}
