// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/compact.h"

#include <string>

#include "fuzz/generator.h"
#include "gtest/gtest.h"
#include "prog/parse.h"
#include "prog/print.h"

namespace fuzz {
namespace {

TEST(Compact, ProgramsComeBackAsTheyWere) {
  size_t text_bytes = 0;
  size_t bytes = 0;
  for (uint64_t seed = 0; seed < 1000; seed++) {
    Random random(seed);
    GeneratorOptions options;
    options.threads = seed % 2 == 0;
    options.processes = seed % 3 == 0;
    const prog::Program program = Generate(random, options);
    const std::string encoded = Encode(program);
    ASSERT_TRUE(IsCompact(encoded));
    prog::Program again;
    ASSERT_TRUE(Decode(encoded, &again)) << "seed " << seed;
    ASSERT_EQ(prog::Print(again), prog::Print(program)) << "seed " << seed;
    text_bytes += prog::Print(program).size();
    bytes += encoded.size();
  }
  EXPECT_LT(bytes, text_bytes * 3 / 4);
}

TEST(Compact, AnyValue) {
  const std::string text =
      "machine(devices=2)\n"
      "f = open(uapi=hw-queue)\n"
      "HWPT_ALLOC(f, data={x=[1, 0x2], s=\"a\\x00b\"}, r=a.b[0].c|D, "
      "p=buf+4k-8, n=out(4), e=out()) @t1\n";
  prog::Program program;
  prog::Error error;
  ASSERT_TRUE(prog::Parse(text, &program, &error)) << error.message;
  prog::Program again;
  ASSERT_TRUE(ParseInput(Encode(program), &again));
  EXPECT_EQ(prog::Print(again), prog::Print(program));
  ASSERT_TRUE(ParseInput(text, &again));
  EXPECT_EQ(prog::Print(again), prog::Print(program));
}

TEST(Compact, CutOffAndBrokenBytesAreNoProgram) {
  Random random(7);
  const std::string good = Encode(Generate(random));
  prog::Program program;
  EXPECT_FALSE(Decode("", &program));
  EXPECT_FALSE(Decode("f = open()\n", &program));
  size_t refused = 0;
  for (size_t n = 0; n < good.size(); n++) {
    refused += !Decode(good.substr(0, n), &program);
  }
  // What ends between two calls is a shorter program.
  EXPECT_GT(refused, good.size() / 2);
  for (int i = 0; i < 20000; i++) {
    std::string bad = good;
    for (int changes = 0; changes < 3; changes++) {
      bad[2 + Below(random, bad.size() - 2)] =
          static_cast<char>(Below(random, 256));
    }
    if (Decode(bad, &program)) (void)prog::Print(program);
  }
  // A nest without end, a count without things.
  EXPECT_FALSE(Decode(good.substr(0, 2) +
                          std::string("\0\1a\0\0\0\0\1\0\0", 10) +
                          std::string(100, '\5'),
                      &program));
}

}  // namespace
}  // namespace fuzz
