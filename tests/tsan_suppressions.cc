// SPDX-License-Identifier: GPL-2.0-or-later
//
// What ThreadSanitizer is told to leave alone, for every test that uses threads
// (link //tests:tsan_suppressions). Abseil's futex waiter sits in memory that
// its arena mapped where TSan does not look (abseil-cpp issue 760). One line a
// suppression, with its reason.

extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:synchronization_internal::Waiter::Post\n";
}
