// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/linux/wait.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "core/linux/mutex.h"
#include "core/linux/spinlock.h"
#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

class WaitTest : public KernelTest {
 protected:
  wait_queue_head_t queue_;
  std::atomic<bool> ready_{false};
};

TEST_F(WaitTest, TrueAtOnceKeepsTheTimeout) {
  EXPECT_EQ(wait_event_timeout(queue_, true, 123), 123);
  EXPECT_EQ(wait_event_timeout(queue_, true, 0), 1);
  EXPECT_EQ(queue_.waiters, 0u);
}

TEST_F(WaitTest, TimeoutPasses) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(wait_event_timeout(queue_, ready_.load(), msecs_to_jiffies(30)), 0);
  EXPECT_GE(std::chrono::steady_clock::now() - begin,
            std::chrono::milliseconds(30));
  EXPECT_EQ(wait_event_timeout(queue_, ready_.load(), 0), 0);
}

TEST_F(WaitTest, TheConditionIsSeenAfterTheTimeout) {
  // False on the first two looks, true when the time has passed.
  int looks = 0;
  EXPECT_EQ(wait_event_timeout(queue_, ++looks > 2, 5), 1);
}

TEST_F(WaitTest, AWakeUpEndsIt) {
  std::thread waker([&] {
    task_struct task(&kernel_);
    task_scope scope(&task);
    while (!waitqueue_active(&queue_)) std::this_thread::yield();
    ready_ = true;
    wake_up_all(&queue_);
  });
  // Longer than any test may take: however late the waker runs, time is left.
  const long hours = msecs_to_jiffies(24 * 3600 * 1000);
  const long left = wait_event_timeout(queue_, ready_.load(), hours);
  EXPECT_GT(left, 1);
  EXPECT_LE(left, hours);
  waker.join();
}

TEST_F(WaitTest, AWakeUpWithoutTheConditionDoesNot) {
  std::atomic<int> looks{0};
  std::thread waker([&] {
    task_struct task(&kernel_);
    task_scope scope(&task);
    while (looks < 2) std::this_thread::yield();
    const int before = looks;
    wake_up_all(&queue_);
    while (looks == before) std::this_thread::yield();
    ready_ = true;
    wake_up_interruptible_all(&queue_);
  });
  wait_event(queue_, (looks++, ready_.load()));
  EXPECT_GE(looks, 3);
  waker.join();
}

// Two threads hand a token to and fro: a lost wake-up would stop them.
TEST_F(WaitTest, NoWakeUpIsLost) {
  constexpr int kTurns = 3000;
  std::atomic<int> turn{0};
  const auto play = [&](int parity) {
    for (int i = parity; i < kTurns; i += 2) {
      ASSERT_NE(wait_event_timeout(queue_, turn.load() == i, 30000), 0)
          << "turn " << i;
      turn = i + 1;
      wake_up_all(&queue_);
    }
  };
  std::thread other([&] {
    task_struct task(&kernel_);
    task_scope scope(&task);
    play(1);
  });
  play(0);
  other.join();
  EXPECT_EQ(turn, kTurns);
}

TEST_F(WaitTest, ASignalInterrupts) {
  task_.interrupted = true;
  EXPECT_EQ(wait_event_interruptible(queue_, ready_.load()), -ERESTARTSYS);
  EXPECT_EQ(wait_event_interruptible(queue_, true), 0);
  EXPECT_EQ(wait_event_timeout(queue_, ready_.load(), 1), 0)
      << "not interruptible";
  task_.interrupted = false;
}

TEST_F(WaitTest, WaitingUnderASpinlockIsReported) {
  struct Owner {
    spinlock_t lock{LOCK_CLASS(Owner, lock)};
  } owner;
  {
    spinlock_guard g(&owner.lock);
    wait_event(queue_, true);
  }
  EXPECT_THAT(Log(), testing::HasSubstr("sleeps under a spinlock"));
  ExpectWarns(1);
}

// A scheduler says when a timeout has passed: no real time goes by.
struct ExpiringHook : sched_hook {
  ExpiringHook() {
    point = [](sched_hook*, task_struct*, sched_event, const void*) {};
    block = [](sched_hook* self, task_struct*, const void*, long timeout) {
      static_cast<ExpiringHook*>(self)->timeouts.push_back(timeout);
      return timeout < 0;
    };
  }
  std::vector<long> timeouts;
};

TEST(WaitSchedTest, TheSchedulerDecidesAboutTimeouts) {
  ExpiringHook hook;
  kernel k;
  k.sched = &hook;
  task_struct task(&k);
  task_scope scope(&task);
  wait_queue_head_t queue;
  EXPECT_EQ(wait_event_timeout(queue, false, msecs_to_jiffies(60000)), 0);
  EXPECT_THAT(hook.timeouts, testing::ElementsAre(60000));
}

TEST(WaitCapTest, TheKernelsLimitEndsALongWait) {
  kernel_options options;
  options.max_wait = 10;
  kernel k(options);
  task_struct task(&k);
  task_scope scope(&task);
  wait_queue_head_t queue;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(wait_event_timeout(queue, false, msecs_to_jiffies(60000)), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

}  // namespace
}  // namespace iommulab
