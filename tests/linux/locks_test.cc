// SPDX-License-Identifier: GPL-2.0-or-later
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "core/linux/mutex.h"
#include "core/linux/rwsem.h"
#include "core/linux/spinlock.h"
#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

// With and without lockdep: two different paths through each lock.
class LocksTest : public testing::TestWithParam<bool> {
 protected:
  static kernel_options Options() {
    kernel_options options;
    options.lockdep = GetParam();
    return options;
  }

  // Runs @body `times` times on each of `threads` threads.
  template <class Body>
  void OnThreads(int threads, int times, Body body) {
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t) {
      running.emplace_back([&, t] {
        task_struct task(&kernel_);
        for (int i = 0; i < times; ++i) {
          task_scope scope(&task);
          body(t, i);
        }
      });
    }
    for (std::thread& thread : running) thread.join();
  }

  kernel kernel_{Options()};
};

struct Counters {
  struct mutex mutex{LOCK_CLASS(Counters, mutex)};
  long by_mutex __guarded_by(mutex) = 0;
  spinlock_t spin{LOCK_CLASS(Counters, spin)};
  long by_spin __guarded_by(spin) = 0;
  struct rw_semaphore sem{LOCK_CLASS(Counters, sem)};
  long first __guarded_by(sem) = 0;
  long second __guarded_by(sem) = 0;
};

bool CanRead(struct rw_semaphore* sem) {
  if (!down_read_trylock(sem)) return false;
  up_read(sem);
  return true;
}

bool CanWrite(struct rw_semaphore* sem) {
  if (!down_write_trylock(sem)) return false;
  up_write(sem);
  return true;
}

bool CanLock(struct mutex* mutex) {
  if (!mutex_trylock(mutex)) return false;
  mutex_unlock(mutex);
  return true;
}

TEST_P(LocksTest, MutexExcludes) {
  Counters c;
  OnThreads(4, 5000, [&](int, int) {
    mutex_guard g(&c.mutex);
    c.by_mutex++;
  });
  task_struct task(&kernel_);
  task_scope scope(&task);
  mutex_guard g(&c.mutex);
  EXPECT_EQ(c.by_mutex, 20000);
}

TEST_P(LocksTest, SpinlockExcludes) {
  Counters c;
  OnThreads(4, 5000, [&](int, int) {
    spinlock_guard g(&c.spin);
    c.by_spin++;
  });
  task_struct task(&kernel_);
  task_scope scope(&task);
  spinlock_guard g(&c.spin);
  EXPECT_EQ(c.by_spin, 20000);
}

TEST_P(LocksTest, RwsemReadersSeeWholeWrites) {
  Counters c;
  std::atomic<int> torn{0};
  OnThreads(4, 3000, [&](int thread, int i) {
    if (thread < 2 && i % 2) {
      rwsem_write_guard g(&c.sem);
      c.first++;
      c.second++;
    } else {
      rwsem_read_guard g(&c.sem);
      if (c.first != c.second) torn++;
    }
  });
  EXPECT_EQ(torn, 0);
  task_struct task(&kernel_);
  task_scope scope(&task);
  rwsem_read_guard g(&c.sem);
  EXPECT_EQ(c.first, 3000);
}

TEST_P(LocksTest, ReadersShareAndAWriterDoesNot) {
  Counters c;
  task_struct task(&kernel_);
  task_scope scope(&task);
  down_read(&c.sem);
  bool shared = false, exclusive = true;
  std::thread([&] {
    task_struct other(&kernel_);
    task_scope other_scope(&other);
    exclusive = CanWrite(&c.sem);
    shared = CanRead(&c.sem);
  }).join();
  EXPECT_TRUE(shared);
  EXPECT_FALSE(exclusive);
  EXPECT_TRUE(rwsem_is_locked(&c.sem));
  up_read(&c.sem);
  EXPECT_FALSE(rwsem_is_locked(&c.sem));
}

TEST_P(LocksTest, AWaitingWriterKeepsNewReadersOut) {
  Counters c;
  task_struct task(&kernel_);
  task_scope scope(&task);
  down_read(&c.sem);
  std::atomic<bool> written{false};
  std::thread writer([&] {
    task_struct other(&kernel_);
    task_scope other_scope(&other);
    rwsem_write_guard g(&c.sem);
    written = true;
  });
  // Until the writer waits, a second reader would get in.
  bool got_in = true;
  while (got_in) {
    std::thread([&] {
      task_struct other(&kernel_);
      task_scope other_scope(&other);
      got_in = CanRead(&c.sem);
    }).join();
  }
  EXPECT_FALSE(written);
  up_read(&c.sem);
  writer.join();
  EXPECT_TRUE(written);
}

TEST_P(LocksTest, DowngradeLetsReadersIn) {
  Counters c;
  task_struct task(&kernel_);
  task_scope scope(&task);
  down_write(&c.sem);
  std::atomic<bool> read{false};
  std::thread reader([&] {
    task_struct other(&kernel_);
    task_scope other_scope(&other);
    rwsem_read_guard g(&c.sem);
    read = true;
  });
  EXPECT_FALSE(read);
  downgrade_write(&c.sem);
  reader.join();
  EXPECT_TRUE(read);
  up_read(&c.sem);
}

TEST_P(LocksTest, TryLockSaysWhetherItIsHeld) {
  Counters c;
  task_struct task(&kernel_);
  task_scope scope(&task);
  mutex_lock(&c.mutex);
  EXPECT_TRUE(mutex_is_locked(&c.mutex));
  bool got = true;
  std::thread([&] {
    task_struct other(&kernel_);
    task_scope other_scope(&other);
    got = CanLock(&c.mutex);
  }).join();
  EXPECT_FALSE(got);
  mutex_unlock(&c.mutex);
  EXPECT_FALSE(mutex_is_locked(&c.mutex));
}

INSTANTIATE_TEST_SUITE_P(Lockdep, LocksTest, testing::Bool());

// Passes each primitive's place to a scheduler, which here only writes them
// down and lets a contended lock go on once.
struct RecordingHook : sched_hook {
  RecordingHook() {
    point = [](sched_hook* self, task_struct*, sched_event event, const void*) {
      static_cast<RecordingHook*>(self)->events.push_back(event);
    };
    block = [](sched_hook* self, task_struct*, const void*, long) {
      auto* hook = static_cast<RecordingHook*>(self);
      hook->blocked++;
      if (hook->on_block) hook->on_block();
      return true;
    };
  }
  std::vector<sched_event> events;
  int blocked = 0;
  std::function<void()> on_block;
};

TEST(SchedHookTest, LocksPassIt) {
  RecordingHook hook;
  kernel k;
  k.sched = &hook;
  task_struct task(&k);
  task_scope scope(&task);
  Counters c;
  {
    mutex_guard g(&c.mutex);
    spinlock_guard h(&c.spin);
  }
  EXPECT_EQ(hook.blocked, 0);
  EXPECT_THAT(hook.events,
              testing::ElementsAre(SCHED_AT_LOCK, SCHED_AT_LOCK,
                                   SCHED_AT_UNLOCK, SCHED_AT_UNLOCK));
}

TEST(SchedHookTest, AContendedLockAsksWhoRuns) {
  RecordingHook hook;
  kernel k;
  k.sched = &hook;
  task_struct holder(&k), task(&k);
  Counters c;
  // The holder's side runs whenever the scheduler says, on this thread.
  const auto take = [&]() LOCK_ANALYSIS_ESCAPE("another task's half of it") {
    c.mutex.raw.lock();
  };
  const auto give = [&]() LOCK_ANALYSIS_ESCAPE("another task's half of it") {
    c.mutex.raw.unlock();
  };
  take();
  hook.on_block = [&] {
    if (hook.blocked == 3) give();
  };
  task_scope scope(&task);
  mutex_guard g(&c.mutex);
  EXPECT_EQ(hook.blocked, 3);
}

}  // namespace
}  // namespace iommulab
