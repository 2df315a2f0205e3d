// SPDX-License-Identifier: GPL-2.0-or-later
//
// The programs of examples/ and tests/prog/, each a test case for each form
// that it is for.
#pragma once

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <string>
#include <system_error>
#include <vector>

#include "gtest/gtest.h"
#include "prog/forms.h"
#include "prog/parse.h"
#include "prog/prog.h"

struct ProgramCase {
  std::string file;
  std::string form;
  bool several = false;  // forms
  std::string source;
  prog::Program program;  // for the form
  std::string mistake;    // why there is none; empty: there is
};

inline std::ostream& operator<<(std::ostream& out, const ProgramCase& c) {
  return out << c.file << " under " << c.form;
}

inline std::vector<ProgramCase> CasesOf(const std::string& file) {
  ProgramCase c;
  c.file = file;
  std::ifstream in(file, std::ios::binary);
  c.source.assign(std::istreambuf_iterator<char>(in), {});
  prog::Program program;
  std::vector<std::string> forms;
  prog::Error error;
  if (!prog::Parse(c.source, &program, &error) ||
      !prog::FormsOf(program, &forms, &error)) {
    c.mistake = prog::FormatError(file, c.source, error);
    return {c};
  }
  std::vector<ProgramCase> cases;
  c.several = forms.size() > 1;
  for (const std::string& form : forms) {
    c.form = form;
    c.program = prog::ForForm(program, form);
    cases.push_back(c);
  }
  return cases;
}

inline std::vector<ProgramCase> ProgramCases() {
  std::vector<std::string> files;
  for (const char* folder : {"examples", "tests/prog"}) {
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator(folder, error)) {
      if (entry.path().extension() == ".prog") {
        files.push_back(entry.path().string());
      }
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<ProgramCase> cases;
  for (const std::string& file : files) {
    for (ProgramCase& c : CasesOf(file)) cases.push_back(std::move(c));
  }
  return cases;
}

inline std::string CaseName(const testing::TestParamInfo<ProgramCase>& info) {
  std::string name = info.param.file.substr(0, info.param.file.size() - 5);
  if (info.param.several) name += "_" + info.param.form;
  for (char& c : name) {
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}
