// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/forms.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "prog/parse.h"
#include "prog/print.h"
#include "prog/run.h"

namespace prog {
namespace {

// What is wrong with the text, as a person sees it; empty: nothing.
std::string Mistake(const std::string& source) {
  Program program;
  std::vector<std::string> forms;
  BoundProgram bound;
  Error error;
  if (!Parse(source, &program, &error) || !FormsOf(program, &forms, &error)) {
    return FormatError("a.prog", source, error);
  }
  for (const std::string& form : forms) {
    if (!Bind(ForForm(program, form), BindOptions(), &bound, &error)) {
      return form + ": " + FormatError("a.prog", source, error);
    }
  }
  return "";
}

Program Parsed(const std::string& source) {
  Program program;
  Error error;
  EXPECT_TRUE(Parse(source, &program, &error))
      << FormatError("a.prog", source, error);
  return program;
}

std::vector<std::string> Forms(const std::string& source) {
  const Program program = Parsed(source);
  std::vector<std::string> forms;
  Error error;
  EXPECT_TRUE(FormsOf(program, &forms, &error))
      << FormatError("a.prog", source, error);
  return forms;
}

std::string Under(const std::string& form, const std::string& source) {
  return Print(ForForm(Parsed(source), form));
}

constexpr char kBoth[] =
    "f = open(uapi=vcmdq-v2|hw-queue)\n"
    "ioas = IOAS_ALLOC(f)                             # =1, hw-queue: =2\n"
    "vcmdq-v2: q = VCMDQ_ALLOC(f, viommu_id=ioas)     # ENOENT: no vIOMMU\n"
    "hw-queue: q = HW_QUEUE_ALLOC(f, viommu_id=ioas)  # EINVAL\n"
    "DESTROY(f, id=ioas)                              # EBUSY|ENOENT, "
    "hw-queue: ok: gone\n"
    "DESTROY(f, id=ioas)                              # hw-queue: ENOENT\n";

TEST(FormsTest, AProgramIsForTheFormsOfItsOpen) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(Forms("f = open()\n"), Names{"vcmdq-v2"});
  EXPECT_EQ(Forms("a = open(path=/dev/null)\n"
                  "f = open(uapi=linux-v6_12)\n"
                  "g = open(uapi=hw-queue)\n"),
            Names{"linux-v6_12"});
  EXPECT_EQ(Forms(kBoth), (Names{"vcmdq-v2", "hw-queue"}));
  EXPECT_EQ(Mistake(kBoth), "");
}

TEST(FormsTest, WhatEachFormHas) {
  EXPECT_EQ(Under("vcmdq-v2", kBoth),
            "f = open(uapi=vcmdq-v2)\n"
            "ioas = IOAS_ALLOC(f)                # = 1\n"
            "q = VCMDQ_ALLOC(f, viommu_id=ioas)  # ENOENT: no vIOMMU\n"
            "\n"
            "DESTROY(f, id=ioas)  # EBUSY|ENOENT: gone\n"
            "DESTROY(f, id=ioas)\n");
  EXPECT_EQ(Under("hw-queue", kBoth),
            "f = open(uapi=hw-queue)\n"
            "ioas = IOAS_ALLOC(f)  # = 2\n"
            "\n"
            "q = HW_QUEUE_ALLOC(f, viommu_id=ioas)  # EINVAL\n"
            "DESTROY(f, id=ioas)                    # ok: gone\n"
            "DESTROY(f, id=ioas)                    # ENOENT\n");
}

TEST(FormsTest, PrintingIsStable) {
  const std::string text = Print(Parsed(kBoth));
  EXPECT_EQ(Print(Parsed(text)), text);
  EXPECT_NE(text.find("hw-queue: q = HW_QUEUE_ALLOC"), std::string::npos);
  EXPECT_NE(text.find("# EBUSY|ENOENT, hw-queue: ok: gone"), std::string::npos);
  EXPECT_NE(text.find("# hw-queue: ENOENT"), std::string::npos);
}

// A release's name is its form's.
TEST(FormsTest, AReleaseNamesItsForm) {
  const std::string text =
      "f = open(uapi=vcmdq-v2|linux-v7_2)\n"
      "IOAS_ALLOC(f)  # hw-queue: ENOMEM\n";
  EXPECT_EQ(Under("linux-v7_2", text),
            "f = open(uapi=linux-v7_2)\n"
            "IOAS_ALLOC(f)  # ENOMEM\n");
  EXPECT_EQ(Under("hw-queue", text),
            "f = open(uapi=hw-queue)\n"
            "IOAS_ALLOC(f)  # ENOMEM\n");
}

TEST(FormsTest, ARemarkIsNoForm) {
  const Program p = Parsed(
      "c()  # note: it says EINVAL\n"
      "c()  # EINVAL, too: a remark\n"
      "c()  # =3, why: because\n");
  EXPECT_FALSE(p.lines[0].call.expect.present);
  EXPECT_TRUE(p.lines[1].call.expect.forms.empty());
  EXPECT_EQ(p.lines[2].comment, ", why: because");
}

TEST(FormsTest, Mistakes) {
  const auto expect = [](const std::string& source, const std::string& what) {
    const std::string mistake = Mistake(source);
    EXPECT_NE(mistake.find(what), std::string::npos)
        << source << "says: " << mistake;
  };
  expect("f = open(uapi=vcmdq-v2|hwqueue)\n",
         "a.prog:1:24: there is no form 'hwqueue'");
  expect("f = open(uapi=vcmdq-v2|hw-queue|vcmdq-v2)\n", "listed twice");
  expect("f = open(uapi=vcmdq-v2|hw-queue)\ng = open(uapi=hw-queue|vcmdq-v2)\n",
         "a.prog:2:15: this open() lists other forms than the first one");
  expect("f = open()\nhw-queue: IOAS_ALLOC(f)\n",
         "this line is for the form 'hw-queue', which this program is not for");
  expect("f = open()\nhwqueue: IOAS_ALLOC(f)\n",
         "a.prog:2:1: there is no form 'hwqueue'");
  expect("f = open()\nIOAS_ALLOC(f)  # hw-queue: ENOENT\n",
         "this expectation is for the form 'hw-queue'");
  expect("f = open()\nIOAS_ALLOC(f)  # hwqueue: ENOENT\n",
         "there is no form 'hwqueue'");
  expect("f = open()\nIOAS_ALLOC(f)  # EINVAL, hw-queu: ok\n",
         "there is no form 'hw-queu'");
  expect("f = open()\nIOAS_ALLOC(f)  # any: ENOENT\n",
         "there is no form 'any'");
  expect(
      "f = open(uapi=vcmdq-v2|hw-queue)\n"
      "IOAS_ALLOC(f)  # hw-queue: ENOENT, hw-queue: ok\n",
      "form 'hw-queue' has an expectation already");
  expect(
      "f = open(uapi=vcmdq-v2|hw-queue)\n"
      "IOAS_ALLOC(f)  # hw-queue: nothing\n",
      "nothing is expected of form 'hw-queue'");
  expect(
      "f = open(uapi=vcmdq-v2|hw-queue)\n"
      "vcmdq-v2: ioas = IOAS_ALLOC(f)\n"
      "DESTROY(f, id=ioas)\n",
      "hw-queue: a.prog:3:");
}

TEST(FormsTest, BindTakesAProgramForOneForm) {
  BoundProgram bound;
  Error error;
  EXPECT_FALSE(Bind(Parsed(kBoth), BindOptions(), &bound, &error));
}

}  // namespace
}  // namespace prog
