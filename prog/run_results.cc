// SPDX-License-Identifier: GPL-2.0-or-later
#include "prog/run_results.h"

#include <string>
#include <utility>

namespace prog {

const Output* FindOutput(const CallResult& result, std::string_view path) {
  for (const Output& output : result.outputs) {
    for (const std::string& name : output.names) {
      if (name == path) return &output;
    }
  }
  return nullptr;
}

void ResultTable::Set(size_t index, CallResult result) {
  results_[index] = std::move(result);
  const absl::MutexLock lock(&mutex_);
  done_[index] = true;
}

const CallResult& ResultTable::Wait(size_t index) {
  const absl::MutexLock lock(&mutex_);
  const auto done = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return static_cast<bool>(done_[index]);
  };
  mutex_.Await(absl::Condition(&done));
  return results_[index];
}

void ResultTable::Report(
    const std::function<void(size_t, const std::vector<CallResult>&)>&
        on_result) {
  for (; reported_ < results_.size() && IsDone(reported_); reported_++) {
    if (on_result) on_result(reported_, results_);
  }
}

}  // namespace prog
