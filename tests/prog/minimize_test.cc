// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/minimize.h"

#include <string>

#include "gtest/gtest.h"
#include "prog/parse.h"
#include "prog/print.h"
#include "prog/run.h"

namespace prog {
namespace {

Program Parsed(std::string_view source) {
  Program program;
  Error error;
  EXPECT_TRUE(Parse(source, &program, &error))
      << FormatError("x", source, error);
  return program;
}

TEST(MinimizeTest, KeepsWhatIsNeeded) {
  const Program p = Parsed(R"(
f = open()   # a remark
i = IOAS_ALLOC(f)
j = IOAS_ALLOC(f, flags=7)
buf = anon(2M, huge=true)
IOAS_MAP(f, ioas_id=i, user_va=buf, length=8k, flags=READABLE|WRITEABLE)
DESTROY(f, id=j)
DESTROY(f, id=i)
)");
  // A bug that a DESTROY of an IOAS shows.
  auto keeps = [](const Program& candidate) {
    BoundProgram bound;
    Error error;
    return Bind(candidate, BindOptions(), &bound, &error) &&
           Print(candidate).find("DESTROY(f, id=i)") != std::string::npos;
  };
  EXPECT_EQ(Print(Minimize(p, keeps)),
            "f = open()\ni = IOAS_ALLOC(f)\nDESTROY(f, id=i)\n");
}

TEST(MinimizeTest, SimplifiesValues) {
  const Program p = Parsed("x(a=A|B|C, b=[1, 5, 9], c={d=3, e=4}, g=7) @t\n");
  auto keeps = [](const Program& candidate) {
    const std::string text = Print(candidate);
    return text.find('B') != std::string::npos &&
           text.find('5') != std::string::npos &&
           text.find("e=") != std::string::npos;
  };
  EXPECT_EQ(Print(Minimize(p, keeps)), "x(a=B, b=[5], c={e=0})\n");
}

TEST(MinimizeTest, AProcessGoesWithItsCalls) {
  const Program p = Parsed(R"(f = open()
p1 = fork()
a = IOAS_ALLOC(f) @p1
b = IOAS_ALLOC(f) @p1.t1
p2 = fork() @p1
join(p1.t1)
exit(p1)
c = IOAS_ALLOC(f)
p1 = fork()
IOAS_ALLOC(f, flags=1) @p1
)");
  auto keeps = [](std::string_view needed) {
    return [needed](const Program& candidate) {
      BoundProgram bound;
      Error error;
      return Bind(candidate, BindOptions(), &bound, &error) &&
             Print(candidate).find(needed) != std::string::npos;
    };
  };
  EXPECT_EQ(Print(Minimize(p, keeps("c ="))),
            "f = open()\nc = IOAS_ALLOC(f)\n");
  EXPECT_EQ(Print(Minimize(p, keeps("b ="))),
            "f = open()\nb = IOAS_ALLOC(f)\n");
  EXPECT_EQ(Print(Minimize(p, keeps("p2 ="))), "p2 = fork()\n");
  EXPECT_EQ(Print(Minimize(p, keeps("(f) @p1.t1"))),
            "f = open()\np1 = fork()\nb = IOAS_ALLOC(f) @p1.t1\n");
  EXPECT_EQ(Print(Minimize(p, keeps("join("))),
            "f = open()\np1 = fork()\nb = IOAS_ALLOC(f) @p1.t1\njoin(p1.t1)\n");
}

TEST(MinimizeTest, DropsJoinsWithTheirThread) {
  const Program p = Parsed("a() @t1\njoin(t1)\nb()\n");
  auto keeps = [](const Program& candidate) {
    return Print(candidate).find("b()") != std::string::npos;
  };
  EXPECT_EQ(Print(Minimize(p, keeps)), "b()\n");
}

TEST(MinimizeTest, TheBudgetIsKept) {
  const Program p = Parsed("a()\nb()\nc()\nd()\n");
  size_t tests = 0;
  auto keeps = [&tests](const Program&) {
    tests++;
    return false;
  };
  EXPECT_EQ(Minimize(p, keeps, {.max_tests = 3}).num_calls(), 4u);
  EXPECT_EQ(tests, 3u);
}

}  // namespace
}  // namespace prog
