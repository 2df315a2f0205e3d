// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/linux/interrupt.h"

#include <atomic>
#include <thread>
#include <vector>

#include "core/linux/idr.h"
#include "core/linux/slab.h"
#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

class InterruptTest : public KernelTest {
 protected:
  struct Device {
    int hard = 0;
    std::atomic<int> thread{0};
    irqreturn_t hard_says = IRQ_WAKE_THREAD;
    std::atomic<bool> hold{false};
    std::atomic<bool> inside{false};
  };
  static irqreturn_t Hard(int, void* dev) {
    auto* d = static_cast<Device*>(dev);
    d->hard++;
    return d->hard_says;
  }
  static irqreturn_t Thread(int, void* dev) {
    auto* d = static_cast<Device*>(dev);
    d->inside = true;
    while (d->hold) std::this_thread::yield();
    d->thread++;
    d->inside = false;
    return IRQ_HANDLED;
  }
  Device dev_;
};

TEST_F(InterruptTest, AnEdgeRunsTheHandlersAsDeferredWork) {
  ASSERT_EQ(request_threaded_irq(7, &Hard, &Thread, IRQF_ONESHOT, "t", &dev_),
            0);
  EXPECT_TRUE(irq_raise(&kernel_, 7));
  EXPECT_TRUE(irq_raise(&kernel_, 7));  // the same edge
  EXPECT_EQ(dev_.hard, 0);
  run_deferred(&kernel_);
  EXPECT_EQ(dev_.hard, 1);
  EXPECT_EQ(dev_.thread, 1);
  dev_.hard_says = IRQ_HANDLED;
  irq_raise(&kernel_, 7);
  run_deferred(&kernel_);
  EXPECT_EQ(dev_.hard, 2);
  EXPECT_EQ(dev_.thread, 1);
  free_irq(7, &dev_);
}

TEST_F(InterruptTest, WhatARequestRefuses) {
  EXPECT_EQ(request_threaded_irq(0, &Hard, nullptr, 0, "t", &dev_), -EINVAL);
  EXPECT_EQ(request_threaded_irq(7, nullptr, nullptr, 0, "t", &dev_), -EINVAL);
  ASSERT_EQ(request_threaded_irq(7, nullptr, &Thread, 0, "t", &dev_), 0);
  EXPECT_EQ(request_irq(7, &Hard, 0, "t", &dev_), -EBUSY);
  EXPECT_EQ(request_irq(8, &Hard, 0, "t", &dev_), 0);
  irq_raise(&kernel_, 7);
  run_deferred(&kernel_);
  EXPECT_EQ(dev_.thread, 1);
  EXPECT_EQ(dev_.hard, 0);
  free_irq(7, &dev_);
  free_irq(8, &dev_);
}

TEST_F(InterruptTest, AFreedLineIsSilent) {
  EXPECT_FALSE(irq_raise(&kernel_, 7));
  ASSERT_EQ(request_threaded_irq(7, nullptr, &Thread, 0, "t", &dev_), 0);
  irq_raise(&kernel_, 7);
  free_irq(7, &dev_);
  run_deferred(&kernel_);
  EXPECT_EQ(dev_.thread, 0);
  EXPECT_FALSE(irq_raise(&kernel_, 7));
  ExpectWarns(1);
  free_irq(7, &dev_);
}

TEST_F(InterruptTest, SynchronizeWaitsForAHandlerAndKeepsTheNextEdge) {
  ASSERT_EQ(request_threaded_irq(7, nullptr, &Thread, 0, "t", &dev_), 0);
  dev_.hold = true;
  irq_raise(&kernel_, 7);
  std::thread hardware([this] { run_deferred(&kernel_); });
  while (!dev_.inside) std::this_thread::yield();
  std::thread waker([this] { dev_.hold = false; });
  synchronize_irq(7);
  EXPECT_EQ(dev_.thread, 1);
  waker.join();
  hardware.join();

  irq_raise(&kernel_, 7);
  synchronize_irq(7);
  EXPECT_EQ(dev_.thread, 1);
  run_deferred(&kernel_);
  EXPECT_EQ(dev_.thread, 2);
  free_irq(7, &dev_);
}

TEST_F(InterruptTest, FreeWaitsForAHandlerOfAnotherThread) {
  for (int i = 0; i < 50; i++) {
    Device dev;
    std::atomic<bool> stop{false};
    ASSERT_EQ(request_threaded_irq(7, nullptr, &Thread, 0, "t", &dev), 0);
    std::thread hardware([this, &stop] {
      while (!stop) {
        irq_raise(&kernel_, 7);
        run_deferred(&kernel_);
      }
    });
    while (!dev.thread) std::this_thread::yield();
    free_irq(7, &dev);
    const int seen = dev.thread;
    EXPECT_FALSE(dev.inside);
    std::this_thread::yield();
    EXPECT_EQ(dev.thread, seen);
    stop = true;
    hardware.join();
  }
}

TEST_F(InterruptTest, APollingTaskServesHardHandlersOnly) {
  ASSERT_EQ(request_threaded_irq(7, &Hard, &Thread, 0, "t", &dev_), 0);
  irq_raise(&kernel_, 7);
  cpu_relax();
  EXPECT_EQ(dev_.hard, 1);
  EXPECT_EQ(dev_.thread, 0);
  run_deferred(&kernel_);
  EXPECT_EQ(dev_.hard, 1);
  EXPECT_EQ(dev_.thread, 1);
  irq_raise(&kernel_, 7);
  free_irq(7, &dev_);
  cpu_relax();
  EXPECT_EQ(dev_.hard, 1);
}

TEST_F(InterruptTest, AThreadHandlerRunsOnceAtATimeAndMissesNoEdge) {
  struct Line {
    std::atomic<int> inside{0}, most{0}, runs{0};
    std::atomic<int> raised{0}, seen{0};
  } line;
  auto handler = [](int, void* dev) {
    auto* l = static_cast<Line*>(dev);
    const int now = ++l->inside;
    if (now > l->most) l->most = now;
    l->seen = l->raised.load();
    l->runs++;
    l->inside--;
    return IRQ_HANDLED;
  };
  ASSERT_EQ(request_threaded_irq(7, nullptr, handler, 0, "t", &line), 0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; i++) {
        line.raised++;
        irq_raise(&kernel_, 7);
        run_deferred(&kernel_);
      }
    });
  }
  for (auto& t : threads) t.join();
  run_deferred(&kernel_);
  EXPECT_EQ(line.most, 1);
  EXPECT_EQ(line.seen, 2000);
  free_irq(7, &line);
}

TEST_F(InterruptTest, AnIdaGivesTheLowestFreeNumber) {
  struct Owner {
    struct ida ids{LOCK_CLASS(Owner, ids)};
  } owner;
  EXPECT_EQ(ida_alloc_max(&owner.ids, 1, GFP_KERNEL), 0);
  EXPECT_EQ(ida_alloc_max(&owner.ids, 1, GFP_KERNEL), 1);
  EXPECT_EQ(ida_alloc_max(&owner.ids, 1, GFP_KERNEL), -ENOSPC);
  ida_free(&owner.ids, 0);
  EXPECT_EQ(ida_alloc_max(&owner.ids, 1, GFP_KERNEL), 0);
  EXPECT_EQ(ida_alloc_range(&owner.ids, 5, 9, GFP_KERNEL), 5);
  ida_free(&owner.ids, 5);
  ida_free(&owner.ids, 1);
  EXPECT_FALSE(ida_is_empty(&owner.ids));
  ida_free(&owner.ids, 0);
  EXPECT_TRUE(ida_is_empty(&owner.ids));
}

}  // namespace
}  // namespace iommulab
