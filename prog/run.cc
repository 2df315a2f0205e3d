// SPDX-License-Identifier: GPL-2.0-or-later
//
// The order of a program's calls: its threads and its processes.
#include "prog/run.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "prog/calls.h"
#include "prog/run_check.h"
#include "prog/run_frame.h"
#include "prog/run_ioctl.h"
#include "prog/run_process.h"
#include "prog/run_results.h"

namespace prog {
namespace {

class Runner {
 public:
  Runner(const BoundProgram& bound, syscalls* sys, const RunOptions& options)
      : run_{.bound = bound,
             .options = options,
             .processes = ProcessTable(sys),
             .results = ResultTable(bound.calls.size())} {}

  RunResult Run() {
    for (size_t i = 0; i < run_.bound.calls.size(); i++) {
      const BoundCall& call = run_.bound.calls[i];
      const WorkerKey key = {call.process, call.thread};
      if (call.builtin == Builtin::kJoin) {
        WaitFor(key);
        CallResult result;
        result.state = CallResult::State::kDone;
        result.expected = true;
        run_.results.Set(i, std::move(result));
      } else if (call.builtin == Builtin::kExit) {
        run_.results.Set(i, Exit(call));
      } else if (call.thread.empty()) {
        run_.results.Set(i, Execute(i, nullptr));
      } else {
        Dispatch(key, i);
      }
      run_.results.Report(run_.options.on_result);
    }
    StopWorkers();
    run_.results.Report(run_.options.on_result);
    if (run_.options.at_end) run_.options.at_end(run_.results.all());
    RunResult out;
    run_.processes.EndAll();
    if (run_.options.cleanup) {
      // The main one is the caller's, and is taken apart by hand.
      Process* main = run_.processes.main();
      main->CleanUp();
      out.residue = main->sys()->residue();
    }
    out.results = run_.results.Take();
    for (size_t i = 0; i < out.results.size(); i++) {
      if (run_.bound.calls[i].builtin == Builtin::kMachine) continue;
      out.calls++;
      out.as_expected += out.results[i].expected;
    }
    return out;
  }

 private:
  // A process (the index of its fork()) and a thread of it.
  using WorkerKey = std::pair<size_t, std::string>;

  struct Worker {
    std::thread thread;
    Scratch scratch;
    // Guarded by mutex_.
    std::deque<size_t> queue;
    bool busy = false;
    bool stop = false;
  };

  // ---- threads ----

  void Dispatch(const WorkerKey& key, size_t index) {
    std::unique_ptr<Worker>& worker = workers_[key];
    const absl::MutexLock lock(&mutex_);
    if (worker == nullptr) {
      worker = std::make_unique<Worker>();
      worker->thread = std::thread([this, w = worker.get()] { Work(w); });
    }
    worker->queue.push_back(index);
  }

  void Work(Worker* worker) {
    const auto called = [worker] {
      return worker->stop || !worker->queue.empty();
    };
    while (true) {
      size_t index;
      {
        const absl::MutexLock lock(&mutex_, absl::Condition(&called));
        if (worker->queue.empty()) return;
        index = worker->queue.front();
        worker->queue.pop_front();
        worker->busy = true;
      }
      run_.results.Set(index, Execute(index, &worker->scratch));
      const absl::MutexLock lock(&mutex_);
      worker->busy = false;
    }
  }

  void WaitFor(const WorkerKey& key) {
    const auto it = workers_.find(key);
    if (it == workers_.end()) return;
    const auto idle = [worker = it->second.get()] {
      return worker->queue.empty() && !worker->busy;
    };
    const absl::MutexLock lock(&mutex_, absl::Condition(&idle));
  }

  void StopWorkers() {
    for (auto& [key, worker] : workers_) {
      {
        const absl::MutexLock lock(&mutex_);
        worker->stop = true;
      }
      worker->thread.join();
    }
  }

  // ---- processes ----

  // The one that makes a call, or (kExit) that ends. nullptr: its fork()
  // failed. Waits for a fork() that another thread makes.
  Process* FindProcess(size_t fork) {
    if (fork != kMainProcess) run_.results.Wait(fork);
    return run_.processes.Find(fork);
  }

  void SkipWithoutProcess(size_t fork, CallResult* result) const {
    result->state = CallResult::State::kSkipped;
    result->why = "the process was not made, see line " +
                  std::to_string(run_.bound.calls[fork].call->pos.line);
  }

  CallResult Exit(const BoundCall& call) {
    CallResult result;
    if (FindProcess(call.target) == nullptr) {
      SkipWithoutProcess(call.target, &result);
      return result;
    }
    for (const auto& [key, worker] : workers_) {
      if (key.first == call.target) WaitFor(key);
    }
    run_.processes.End(call.target);
    result.state = CallResult::State::kDone;
    const Expect& expect = call.call->expect;
    result.expected = expect.errnos.empty() || expect.success;
    if (!result.expected) result.why = expect.errnos[0];
    return result;
  }

  // ---- a call ----

  // `scratch` is the thread's; nullptr is the main thread of the process.
  CallResult Execute(size_t index, Scratch* scratch) {
    const RunOptions& options = run_.options;
    CallResult result = ExecuteOnce(index, scratch, true);
    if (options.retry_injected && index == options.fail_call &&
        result.injected == 0 && result.error != 0) {
      const int error = result.error;
      result = ExecuteOnce(index, scratch, false);
      result.injected = 0;
      result.injected_error = error;
    }
    return result;
  }

  CallResult ExecuteOnce(size_t index, Scratch* scratch, bool inject) {
    const BoundCall& call = run_.bound.calls[index];
    CallResult result;
    Process* process = FindProcess(call.process);
    if (process == nullptr) {
      SkipWithoutProcess(call.process, &result);
      return result;
    }
    CallFrame frame(&run_, index, process,
                    scratch != nullptr ? scratch : process->scratch(), &result);
    if (inject) frame.ArmAt(FailNth(&frame));
    const bool made = frame.statement() != nullptr
                          ? frame.statement()->run(&frame)
                          : RunIoctl(&frame);
    if (!made) {
      result.state = CallResult::State::kSkipped;
      if (result.why.empty()) result.why = "an argument has no value";
      return result;
    }
    result.state = CallResult::State::kDone;
    Check(&frame);
    return result;
  }

  unsigned FailNth(CallFrame* frame) {
    const RunOptions& options = run_.options;
    uint64_t n = frame->index() == options.fail_call ? options.fail_nth : 0;
    for (const Field& arg : frame->bound().call->args) {
      if (arg.name == "fail_nth" && !frame->Eval(arg.value, {}, &n)) n = 0;
    }
    return static_cast<unsigned>(std::min<uint64_t>(n, 1u << 30));
  }

  RunState run_;
  // The main thread's.
  std::map<WorkerKey, std::unique_ptr<Worker>> workers_;
  absl::Mutex mutex_;  // of the workers' queues
};

}  // namespace

RunResult Run(const BoundProgram& bound, syscalls* sys,
              const RunOptions& options) {
  return Runner(bound, sys, options).Run();
}

}  // namespace prog
