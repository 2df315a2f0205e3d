// SPDX-License-Identifier: GPL-2.0-or-later
//
// The texts of support/, which C programs are put together from.
#pragma once

namespace repro {

extern const char kReportText[];
extern const char kEqualsText[];
extern const char kEqualBytesText[];
extern const char kHashText[];
extern const char kAnonText[];
extern const char kMemfdText[];
extern const char kMapText[];
extern const char kAccessText[];
extern const char kPlaceText[];
extern const char kFailNthText[];
extern const char kStepsText[];
extern const char kForkText[];
extern const char kBecomeText[];
extern const char kMainText[];
// Of a suite.
extern const char kRunnerText[];
extern const char kMakefileText[];

}  // namespace repro
