// SPDX-License-Identifier: GPL-2.0-or-later
//
// The results of a running program's calls: threads set them, wait for them and
// take values from them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "prog/run.h"

namespace prog {

// nullptr: the call has no such output.
const Output* FindOutput(const CallResult& result, std::string_view path);

class ResultTable {
 public:
  explicit ResultTable(size_t calls) : done_(calls), results_(calls) {}

  void Set(size_t index, CallResult result) ABSL_LOCKS_EXCLUDED(mutex_);
  // Until the call is done; then its result does not change any more.
  const CallResult& Wait(size_t index) ABSL_LOCKS_EXCLUDED(mutex_);
  // Tells of calls that are done, in the order of the text, each once.
  void Report(const std::function<void(size_t, const std::vector<CallResult>&)>&
                  on_result) ABSL_LOCKS_EXCLUDED(mutex_);

  // While no call runs.
  const std::vector<CallResult>& all() const { return results_; }
  std::vector<CallResult> Take() { return std::move(results_); }

 private:
  bool IsDone(size_t index) ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::MutexLock lock(&mutex_);
    return done_[index];
  }

  absl::Mutex mutex_;
  std::vector<char> done_ ABSL_GUARDED_BY(mutex_);
  // An entry is its call's until that is done.
  std::vector<CallResult> results_;
  size_t reported_ = 0;  // the main thread's
};

}  // namespace prog
