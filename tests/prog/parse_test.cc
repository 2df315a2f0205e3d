// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/parse.h"

#include <random>
#include <string>

#include "gtest/gtest.h"
#include "prog/print.h"
#include "prog/run.h"

namespace prog {
namespace {

Program Good(std::string_view source) {
  Program program;
  Error error;
  EXPECT_TRUE(Parse(source, &program, &error))
      << FormatError("test", source, error);
  return program;
}

// The message of a mistake as a person sees it.
std::string Mistake(std::string_view source) {
  Program program;
  Error error;
  BoundProgram bound;
  if (Parse(source, &program, &error) &&
      Bind(program, BindOptions(), &bound, &error)) {
    return "no mistake";
  }
  return FormatError("a.prog", source, error);
}

TEST(ParseTest, EmptyAndComments) {
  EXPECT_EQ(Good("").num_calls(), 0u);
  EXPECT_EQ(Good("\n\n# x\n   # y\n\t\n").num_calls(), 0u);
  EXPECT_EQ(Good("f = open()").call(0).result, "f");
}

TEST(ParseTest, TheParts) {
  const Program p = Good(
      "x = IOAS_MAP(f, flags=A|B, user_va=buf+0x10-2, data={a=1, b=[1, 2]}, "
      "s=\"q\\x01\", o=out(3)) @t1 # EBUSY|ENOENT, iova=5, a.b[1]!=2 rest");
  const Call& c = p.call(0);
  EXPECT_EQ(c.result, "x");
  EXPECT_EQ(c.name, "IOAS_MAP");
  EXPECT_EQ(c.thread, "t1");
  ASSERT_EQ(c.args.size(), 6u);
  EXPECT_EQ(c.args[0].name, "");
  EXPECT_EQ(c.args[1].value.kind, Value::Kind::kOr);
  EXPECT_EQ(c.args[2].value.kind, Value::Kind::kSum);
  EXPECT_TRUE(c.args[2].value.items[2].minus);
  EXPECT_EQ(c.args[3].value.fields[1].value.items.size(), 2u);
  EXPECT_EQ(c.args[4].value.text, std::string("q\x01"));
  EXPECT_EQ(c.args[5].value.items[0].number, 3u);
  EXPECT_EQ(c.expect.errnos, (std::vector<std::string>{"EBUSY", "ENOENT"}));
  ASSERT_EQ(c.expect.outputs.size(), 2u);
  EXPECT_EQ(c.expect.outputs[1].path, "a.b[1]");
  EXPECT_TRUE(c.expect.outputs[1].negated);
  EXPECT_EQ(p.lines[0].comment, " rest");
}

TEST(ParseTest, Numbers) {
  const Program p = Good("c(1, 0x10, 2M, 3k, 1G, 18446744073709551615, 4K)");
  const auto& a = p.call(0).args;
  EXPECT_EQ(a[1].value.number, 16u);
  EXPECT_EQ(a[2].value.number, 2u << 20);
  EXPECT_EQ(a[3].value.number, 3u << 10);
  EXPECT_EQ(a[4].value.number, 1u << 30);
  EXPECT_EQ(a[5].value.number, UINT64_MAX);
  EXPECT_EQ(a[6].value.number, 4096u);
}

TEST(ParseTest, CommentsThatAreNoExpectation) {
  EXPECT_FALSE(Good("c() # several outputs: a").call(0).expect.present);
  EXPECT_FALSE(Good("c() # Each one = 4").call(0).expect.present);
  EXPECT_FALSE(Good("c() # a == b").call(0).expect.present);
  EXPECT_TRUE(Good("c() # = 0xbeef").call(0).expect.present);
  EXPECT_TRUE(Good("c() # EBUSY: queue 1").call(0).expect.present);
  EXPECT_TRUE(Good("c() # ok|EBUSY").call(0).expect.success);
}

TEST(ParseTest, MistakesAreReportedWithTheirPlace) {
  EXPECT_EQ(Mistake("f = open(\n"),
            "a.prog:1:10: the line ends here\n"
            "  f = open(\n"
            "           ^\n"
            "expected a value: a number, a name, a string, [...], {...} or "
            "out(n)\n");
  EXPECT_EQ(Mistake("f = open()\nx = IOAS_ALOC(f)\n"),
            "a.prog:2:5: there is no call 'IOAS_ALOC'; did you mean "
            "'IOAS_ALLOC'?\n"
            "  x = IOAS_ALOC(f)\n"
            "      ^\n"
            "expected a call: `iommulab list` prints them all\n");
  EXPECT_EQ(Mistake("f = open()\nDESTROY(f, idd=1)\n"),
            "a.prog:2:12: there is no field 'idd' in DESTROY; did you mean "
            "'id'?\n"
            "  DESTROY(f, idd=1)\n"
            "             ^\n"
            "expected one of: size, id, tail, arg, fail_nth\n");
}

TEST(ParseTest, MistakesOfMeaning) {
  const std::string head =
      "f = open()\nioas = IOAS_ALLOC(f)\nd = MOCK_DOMAIN(f, id=ioas)\n";
  EXPECT_NE(Mistake(head + "DESTROY(f, id=ioass)").find("did you mean 'ioas'"),
            std::string::npos);
  EXPECT_NE(Mistake(head + "DESTROY(f, id=d)").find("'d' has several outputs"),
            std::string::npos);
  EXPECT_NE(
      Mistake(head + "DESTROY(f, id=d.stdevv)").find("did you mean 'stdev'"),
      std::string::npos);
  EXPECT_EQ(Mistake(head + "DESTROY(f, id=d.stdev)"), "no mistake");
  EXPECT_NE(Mistake(head + "HWPT_ALLOC(f, flags=NEST_PARRENT)")
                .find("did you mean 'NEST_PARENT'"),
            std::string::npos);
  EXPECT_NE(Mistake("IOAS_ALLOC(f)").find("nothing before this line"),
            std::string::npos);
  EXPECT_NE(Mistake("f = open()\nIOAS_ALLOC(f) # EINVL").find("EINVAL?"),
            std::string::npos);
  EXPECT_NE(Mistake("f = open(uapi=vcmdq-v3)").find("did you mean 'vcmdq-v2'"),
            std::string::npos);
  EXPECT_NE(Mistake(head + "IOAS_MAP(f, length=1, length=2)").find("twice"),
            std::string::npos);
  EXPECT_NE(Mistake("join(t1)").find("no call before this line"),
            std::string::npos);
  EXPECT_NE(Mistake("f = open()\nmachine(iommus=2)").find("top of the program"),
            std::string::npos);
  EXPECT_NE(Mistake("anon()").find("anon needs 'size'"), std::string::npos);
  EXPECT_NE(Mistake("a = anon(1, bogus=2)").find("no argument 'bogus'"),
            std::string::npos);
  EXPECT_NE(Mistake("f = open()\nDESTROY(f, id={a=1})").find("no pointer"),
            std::string::npos);
  EXPECT_NE(Mistake("f = open()\nVIOMMU_ALLOC(f, type=SELFTEST, "
                    "data={in_dta=1})")
                .find("did you mean 'in_data'"),
            std::string::npos);
}

TEST(ParseTest, MistakesWithProcesses) {
  const auto says = [](const std::string& lines, const std::string& what) {
    const std::string mistake = Mistake("f = open()\np1 = fork()\n" + lines);
    EXPECT_NE(mistake.find(what), std::string::npos) << mistake;
  };
  says("DESTROY(f, id=p1)\n", "3:15: 'p1' is a process, not a number");
  says("IOAS_ALLOC(f) @p2.t\n", "3:16: 'p2' is no process\n");
  says("IOAS_ALLOC(f) @f.t\n", "'f' is no process\n");
  says("IOAS_ALLOC(f) @p1.\n", "the name of a thread of the process\n");
  says("IOAS_ALLOC(f) @p1.t.t\n", "something after the call");
  says("IOAS_ALLOC(f) @p1.a-b\n", "cannot hold a dash");
  says("exit(p1)\nIOAS_ALLOC(f) @p1\n", "4:16: process 'p1' has ended\n");
  says("exit(p1)\nexit(p1)\n", "4:6: process 'p1' has ended\n");
  says("exit(f)\n", "3:6: this is no process\n");
  says("exit(p1) @t1\n", "exit cannot run on another thread\n");
  says("exit()\n", "exit needs 'process'\n");
  says("x = exit(p1)\nDESTROY(f, id=x)\n", "'x' has no value\n");
  says("join(p1)\n", "no call before this line runs on that thread");
  says("IOAS_ALLOC(f) @t2\nt2 = fork()\n", "run on a thread 't2'\n");
  says("fork() # = 1\n", "fork has no single result\n");
  std::string many;
  for (int i = 0; i < 300; i++) many += "fork()\n";
  says(many, "a.prog:258:1: too many processes\n");
  EXPECT_EQ(Mistake("f = open()\np1 = fork()\nexit(p1)\np1 = fork()\n"
                    "IOAS_ALLOC(f) @p1.t\njoin(p1.t)\np2 = fork() @p1\n"
                    "p3 = fork() @t1\nexit(p3) # remark\nexit(p1)\n"
                    "IOAS_ALLOC(f) @p2\n"),
            "no mistake");
}

// What would be accepted, and then mean something else or nothing.
TEST(ParseTest, MistakesThatLookRight) {
  const auto says = [](const std::string& line, const std::string& what) {
    const std::string mistake =
        Mistake("f = open()\nx = IOAS_ALLOC(f)\n" + line + '\n');
    EXPECT_NE(mistake.find("a.prog:3:"), std::string::npos) << mistake;
    EXPECT_NE(mistake.find(what), std::string::npos) << mistake;
  };
  says("y = IOAS_ALLOC(f) # out_ioas_id = 2", "'# out_ioas_id=value'");
  says("y = IOAS_ALLOC(f) # ioas != 2", "'# ioas=value'");
  says("DESTROY(f, id=x) # -EBUSY", "expected EBUSY\n");
  says("DESTROY(f, id=x) # EBUSY|ok", "ok|EBUSY");
  says("DESTROY(f, id=x-f)", "expected x - f, with spaces");
  says("DESTROY(f, id=x[0])", "'x' is no list\n");
  says("DESTROY(f, id=x,)", "or no ','");
  says("g = open(uapi=3)", "expected one of: vcmdq-v2");
  EXPECT_NE(Mistake("machine() # EBUSY\n").find("no expectation"),
            std::string::npos);
  std::string threads = "f = open()\n";
  for (int i = 0; i < 300; i++) {
    threads += "IOAS_ALLOC(f) @t" + std::to_string(i) + '\n';
  }
  EXPECT_NE(Mistake(threads).find("a.prog:258:16: too many threads"),
            std::string::npos);
  // These are remarks, and all ones.
  EXPECT_EQ(Mistake("f = open()\nx = IOAS_ALLOC(f, flags=-1) # ioas == 1\n"
                    "DESTROY(f, id=x) # id = 1 is gone - EBUSY was before\n"
                    "DESTROY(f, id=U64_MAX) # -EACH one\n"),
            "no mistake");
}

TEST(ParseTest, NumbersThatAreCutAreNoted) {
  const std::string source =
      "f = open()\n"
      "DESTROY(f, id=0x100000001)\n"
      "VIOMMU_ALLOC(f, type=SELFTEST, data={in_data=5G})\n"
      "DESTROY(f, id=-1, size=0xffffffff)\n";
  const Program program = Good(source);
  BoundProgram bound;
  Error error;
  ASSERT_TRUE(Bind(program, BindOptions(), &bound, &error));
  ASSERT_EQ(bound.notes.size(), 2u);
  EXPECT_EQ(FormatError("a.prog", source, bound.notes[0]),
            "a.prog:2:15: note: of this number only 32 bits are sent, as 'id' "
            "has no more\n"
            "  DESTROY(f, id=0x100000001)\n"
            "                ^\n"
            "expected at most 0xffffffff\n");
  EXPECT_EQ(bound.notes[1].pos.line, 3);
}

TEST(ParseTest, TheIssuesExample) {
  EXPECT_EQ(Mistake(R"(
f    = open(uapi=vcmdq-v2)
ioas = IOAS_ALLOC(f)
dev  = MOCK_DOMAIN(f, id=ioas)                       # several outputs: dev.stdev, dev.hwpt, dev.idev
hwpt = HWPT_ALLOC(f, dev_id=dev.idev, pt_id=ioas, flags=NEST_PARENT)
viommu = VIOMMU_ALLOC(f, dev_id=dev.idev, hwpt_id=hwpt, type=SELFTEST)
VCMDQ_ALLOC(f, viommu_id=viommu, type=DEFAULT, addr=0x1000000, length=0x1000)   # EOPNOTSUPP
buf  = anon(2M)
IOAS_MAP(f, ioas_id=ioas, user_va=buf, length=0x1000, iova=0x1000000, flags=FIXED_IOVA|READABLE|WRITEABLE)
q0   = VCMDQ_ALLOC(f, viommu_id=viommu, type=SELFTEST, index=0, addr=0x1000000, length=0x1000)
DESTROY(f, id=q0)
)"),
            "no mistake");
}

TEST(ParseTest, DeepNestingIsRefused) {
  for (const char* open : {"[", "{a=", "out("}) {
    std::string s = "c(";
    for (int i = 0; i < 100000; i++) s += open;
    EXPECT_NE(Mistake(s).find("nested too deep"), std::string::npos);
  }
}

TEST(ParseTest, AnyBytes) {
  std::mt19937_64 random(1);
  const std::string alphabet =
      "abF0x19(){}[],=#@|+-.\"\\ \n\t/E_kM!\x80\xff\x01";
  for (int i = 0; i < 20000; i++) {
    std::string s = "f=open()\nIOAS_MAP(f";
    const size_t n = random() % 60;
    for (size_t k = 0; k < n; k++) {
      s += random() % 20 == 0 ? static_cast<char>(random())
                              : alphabet[random() % alphabet.size()];
    }
    Program program;
    Error error;
    if (!Parse(s, &program, &error)) {
      FormatError("x", s, error);
      continue;
    }
    const std::string text = Print(program);
    Program again;
    ASSERT_TRUE(Parse(text, &again, &error)) << s << "\nprinted\n"
                                             << FormatError("x", text, error);
    ASSERT_EQ(Print(again), text) << s;
  }
}

// Random trees: what is printed is parsed to a tree that prints the same.
class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  Program MakeProgram() {
    Program p;
    const size_t n = random_() % 12;
    for (size_t i = 0; i < n; i++) {
      Line* line = &p.lines.emplace_back();
      switch (random_() % 8) {
        case 0:
          break;
        case 1:
          line->has_comment = true;
          line->comment = " a remark";
          break;
        default:
          line->has_call = true;
          line->call = MakeCall();
          line->has_comment = random_() % 3 == 0;
          if (line->has_comment) line->comment = " Why it is so";
      }
    }
    return p;
  }

 private:
  std::string Word() {
    static const char* const kWords[] = {"a", "ioas", "dev", "_x", "q0", "t1"};
    return kWords[random_() % 6];
  }
  std::string Path() {
    static const char* const kPaths[] = {"", "", ".stdev", ".r[3].start"};
    return kPaths[random_() % 4];
  }

  Call MakeCall() {
    Call c;
    if (random_() % 2) c.result = Word();
    c.name = random_() % 2 ? "IOAS_MAP" : "mmap";
    for (size_t i = random_() % 3; i > 0; i--) {
      c.args.emplace_back().value = MakeValue(0);
    }
    for (size_t i = random_() % 4; i > 0; i--) {
      Field* f = &c.args.emplace_back();
      f->name = Word();
      f->value = MakeValue(0);
    }
    if (random_() % 4 == 0) c.thread = Word();
    if (!c.thread.empty() && random_() % 2) c.thread += '.' + Word();
    if (random_() % 3 == 0) {
      c.expect.present = true;
      if (random_() % 2) c.expect.errnos.push_back("EBUSY");
      if (!c.expect.errnos.empty() && random_() % 2) {
        c.expect.errnos.push_back("ENOENT");
        c.expect.success = random_() % 2;
      }
      if (c.expect.errnos.empty() || random_() % 2) {
        Expect::Output* o = &c.expect.outputs.emplace_back();
        if (random_() % 2) o->path = "num_iovas";
        o->negated = random_() % 2;
        o->value = MakeScalar(0);
      }
    }
    return c;
  }

  Value MakeScalar(int depth) {
    switch (random_() % (depth < 2 ? 4 : 2)) {
      case 0:
        return Value::Number(random_() >> (random_() % 64),
                             static_cast<NumberStyle>(random_() % 4));
      case 1:
        return Value::Name(Word(), Path());
      case 2: {
        Value v;
        v.kind = Value::Kind::kSum;
        const size_t n = 2 + random_() % 3;
        for (size_t i = 0; i < n; i++) {
          v.items.push_back(MakeScalar(2));
          v.items.back().minus = random_() % 2;
        }
        return v;
      }
      default: {
        Value v;
        v.kind = Value::Kind::kOr;
        const size_t n = 2 + random_() % 3;
        for (size_t i = 0; i < n; i++) v.items.push_back(MakeScalar(2));
        return v;
      }
    }
  }

  Value MakeValue(int depth) {
    if (depth > 4 || random_() % 2) return MakeScalar(0);
    Value v;
    switch (random_() % 4) {
      case 0: {
        v.kind = Value::Kind::kString;
        for (size_t n = random_() % 8; n > 0; n--) {
          v.text += static_cast<char>(random_());
        }
        return v;
      }
      case 1:
        v.kind = Value::Kind::kList;
        for (size_t n = random_() % 4; n > 0; n--) {
          v.items.push_back(MakeValue(depth + 1));
        }
        return v;
      case 2:
        v.kind = Value::Kind::kStruct;
        for (size_t n = random_() % 4; n > 0; n--) {
          Field* f = &v.fields.emplace_back();
          f->name = Word();
          f->value = MakeValue(depth + 1);
        }
        return v;
      default:
        v.kind = Value::Kind::kOut;
        if (random_() % 2) v.items.push_back(MakeScalar(0));
        return v;
    }
  }

  std::mt19937_64 random_;
};

bool Same(const Value& a, const Value& b) {
  if (a.kind != b.kind || a.number != b.number || a.text != b.text ||
      a.path != b.path || a.minus != b.minus ||
      a.items.size() != b.items.size() || a.fields.size() != b.fields.size()) {
    return false;
  }
  for (size_t i = 0; i < a.items.size(); i++) {
    if (!Same(a.items[i], b.items[i])) return false;
  }
  for (size_t i = 0; i < a.fields.size(); i++) {
    if (a.fields[i].name != b.fields[i].name ||
        !Same(a.fields[i].value, b.fields[i].value)) {
      return false;
    }
  }
  return true;
}

TEST(PrintTest, RoundTripOfRandomTrees) {
  for (uint64_t seed = 0; seed < 5000; seed++) {
    const Program p = Generator(seed).MakeProgram();
    const std::string text = Print(p);
    Program again;
    Error error;
    ASSERT_TRUE(Parse(text, &again, &error)) << FormatError("x", text, error);
    ASSERT_EQ(Print(again), text);
    ASSERT_EQ(again.lines.size(), p.lines.size());
    for (size_t i = 0; i < p.lines.size(); i++) {
      const Call& a = p.lines[i].call;
      const Call& b = again.lines[i].call;
      ASSERT_EQ(a.result, b.result) << text;
      ASSERT_EQ(a.thread, b.thread) << text;
      ASSERT_EQ(a.expect.errnos, b.expect.errnos) << text;
      ASSERT_EQ(a.expect.outputs.size(), b.expect.outputs.size()) << text;
      ASSERT_EQ(a.args.size(), b.args.size()) << text;
      for (size_t k = 0; k < a.args.size(); k++) {
        ASSERT_EQ(a.args[k].name, b.args[k].name) << text;
        ASSERT_TRUE(Same(a.args[k].value, b.args[k].value)) << text;
      }
    }
  }
}

TEST(PrintTest, CommentsAreAligned) {
  EXPECT_EQ(Print(Good("f=open()   # x\nioas = IOAS_ALLOC( f ) #EBUSY\n")),
            "f = open()            # x\n"
            "ioas = IOAS_ALLOC(f)  # EBUSY\n");
}

}  // namespace
}  // namespace prog
