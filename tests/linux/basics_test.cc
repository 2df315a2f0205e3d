// SPDX-License-Identifier: GPL-2.0-or-later
//
// The small ones: types.h bitmap.h list.h err.h errno.h bug.h printk.h sched.h
// workqueue.h io.h device.h capability.h.
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/linux/bitfield.h"
#include "core/linux/bitmap.h"
#include "core/linux/bug.h"
#include "core/linux/capability.h"
#include "core/linux/device.h"
#include "core/linux/err.h"
#include "core/linux/io.h"
#include "core/linux/list.h"
#include "core/linux/types.h"
#include "core/linux/workqueue.h"
#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(TypesTest, Arithmetic) {
  EXPECT_EQ(PAGE_ALIGN(1ul), 4096u);
  EXPECT_EQ(PAGE_ALIGN(4096ul), 4096u);
  EXPECT_EQ(ALIGN(~0ul - 1, 4096), 0u) << "wraps, as the kernel's";
  EXPECT_EQ(ALIGN_DOWN(8191ul, 4096), 4096u);
  EXPECT_TRUE(IS_ALIGNED(8192ul, 4096));
  EXPECT_FALSE(IS_ALIGNED(8193ul, 4096));
  EXPECT_EQ(DIV_ROUND_UP(9, 4), 3);
  EXPECT_EQ(GENMASK(7, 4), 0xf0u);
  EXPECT_EQ(GENMASK_ULL(63, 0), ~0ull);
  EXPECT_EQ(roundup_pow_of_two(5), 8u);
  EXPECT_EQ(roundup_pow_of_two(8), 8u);
  EXPECT_EQ(get_order(1), 0);
  EXPECT_EQ(get_order(4096), 0);
  EXPECT_EQ(get_order(4097), 1);
  EXPECT_EQ(get_order(8193), 2);
  EXPECT_EQ(ilog2(1ull << 40), 40u);
  EXPECT_EQ(FIELD_GET(GENMASK(7, 4), 0xa5), 0xau);
  EXPECT_EQ(FIELD_PREP(GENMASK(7, 4), 0xb), 0xb0u);
  EXPECT_EQ(size_mul(SIZE_MAX, 2), SIZE_MAX);
  EXPECT_EQ(size_add(SIZE_MAX, 1), SIZE_MAX);
}

TEST(TypesTest, Overflow) {
  unsigned long sum;
  EXPECT_FALSE(check_add_overflow(1ul, 2ul, &sum));
  EXPECT_EQ(sum, 3u);
  EXPECT_TRUE(check_add_overflow(~0ul, 1ul, &sum));
  u32 product;
  EXPECT_TRUE(check_mul_overflow(1u << 16, 1u << 16, &product));
  EXPECT_FALSE(check_sub_overflow(3u, 2u, &product));
  EXPECT_TRUE(check_sub_overflow(2u, 3u, &product));
}

TEST(BitmapTest, SetClearFind) {
  DECLARE_BITMAP(map, 200);
  EXPECT_TRUE(bitmap_empty(map, 200));
  bitmap_set(map, 60, 80);
  EXPECT_EQ(bitmap_weight(map, 200), 80u);
  EXPECT_EQ(find_first_bit(map, 200), 60u);
  EXPECT_EQ(find_next_zero_bit(map, 200, 60), 140u);
  EXPECT_EQ(find_next_bit(map, 200, 140), 200u);
  bitmap_clear(map, 63, 2);
  EXPECT_TRUE(test_bit(62, map));
  EXPECT_FALSE(test_bit(63, map));
  EXPECT_FALSE(test_bit(64, map));
  EXPECT_TRUE(test_bit(65, map));
  EXPECT_FALSE(test_and_set_bit(199, map));
  EXPECT_TRUE(test_and_set_bit(199, map));
  EXPECT_TRUE(test_and_clear_bit(199, map));
  bitmap_set(map, 0, 200);
  EXPECT_TRUE(bitmap_full(map, 200));
  clear_bit(130, map);
  EXPECT_FALSE(bitmap_full(map, 200));
  EXPECT_TRUE(bitmap_full(map, 130)) << "bits behind the end do not count";
  bitmap_zero(map, 200);
  __set_bit(5, map);
  set_bit(150, map);
  std::vector<unsigned long> bits;
  unsigned long bit;
  for_each_set_bit(bit, map, 200) bits.push_back(bit);
  EXPECT_THAT(bits, ElementsAre(5, 150));
}

struct Item {
  explicit Item(int value) : value(value) {}
  int value;
  struct list_head link;
};

std::vector<int> Values(list_head* head) {
  std::vector<int> values;
  Item* item;
  list_for_each_entry(item, head, link) values.push_back(item->value);
  std::vector<int> reverse;
  list_for_each_entry_reverse(item, head, link) reverse.push_back(item->value);
  EXPECT_EQ(std::vector<int>(reverse.rbegin(), reverse.rend()), values);
  return values;
}

TEST(ListTest, Operations) {
  LIST_HEAD(head);
  LIST_HEAD(other);
  Item a(1), b(2), c(3), d(4);
  EXPECT_TRUE(list_empty(&head));
  EXPECT_EQ(list_first_entry_or_null(&head, Item, link), nullptr);
  list_add_tail(&b.link, &head);
  list_add(&a.link, &head);
  list_add_tail(&c.link, &head);
  EXPECT_THAT(Values(&head), ElementsAre(1, 2, 3));
  EXPECT_EQ(list_first_entry(&head, Item, link), &a);
  EXPECT_EQ(list_last_entry(&head, Item, link), &c);
  EXPECT_TRUE(list_is_last(&c.link, &head));
  EXPECT_EQ(list_next_entry(&a, link), &b);
  list_move_tail(&a.link, &head);
  EXPECT_THAT(Values(&head), ElementsAre(2, 3, 1));
  list_add(&d.link, &other);
  list_splice_init(&head, &other);
  EXPECT_TRUE(list_empty(&head));
  EXPECT_THAT(Values(&other), ElementsAre(2, 3, 1, 4));
  Item *pos, *next;
  list_for_each_entry_safe(pos, next, &other, link) {
    if (pos->value % 2) list_del_init(&pos->link);
  }
  EXPECT_THAT(Values(&other), ElementsAre(2, 4));
  EXPECT_TRUE(list_empty(&a.link));
  EXPECT_EQ(list_count_nodes(&other), 2u);
  list_del(&d.link);
  EXPECT_EQ(d.link.next, nullptr);
  EXPECT_TRUE(list_is_singular(&other));
}

result<int*> Pointer(int* p, int error) {
  if (error) return error;
  return p;
}

struct Base {};
struct Derived : Base {};

TEST(ResultTest, PointersAreOneWord) {
  int x = 7;
  static_assert(sizeof(result<int*>) == sizeof(void*));
  result<int*> good = Pointer(&x, 0);
  ASSERT_TRUE(good);
  EXPECT_EQ(*good, &x);
  EXPECT_EQ(good.error(), 0);
  result<int*> bad = Pointer(&x, -EBUSY);
  EXPECT_FALSE(bad);
  EXPECT_EQ(bad.error(), -EBUSY);
  result<int*> null = Pointer(nullptr, 0);
  EXPECT_TRUE(null) << "NULL is a value";
  EXPECT_EQ(*null, nullptr);
  result<int*> last = Pointer(nullptr, -MAX_ERRNO);
  EXPECT_EQ(last.error(), -MAX_ERRNO);
  Derived d;
  result<Derived*> derived = &d;
  result<Base*> base = derived;
  EXPECT_EQ(*base, &d);
  EXPECT_EQ(result<Base*>(result<Derived*>(-EPERM)).error(), -EPERM);
}

TEST(ResultTest, ValuesMoveAndAreDestroyedOnce) {
  using Owned = std::shared_ptr<int>;
  Owned owner = std::make_shared<int>(5);
  {
    result<Owned> r = owner;
    EXPECT_EQ(owner.use_count(), 2);
    EXPECT_EQ(**r, 5);
    result<Owned> moved = std::move(r);
    EXPECT_TRUE(moved);
    EXPECT_EQ(owner.use_count(), 2);
    Owned taken = *std::move(moved);
    EXPECT_EQ(owner.use_count(), 2);
  }
  EXPECT_EQ(owner.use_count(), 1);
  result<Owned> bad = -EINVAL;
  EXPECT_FALSE(bad);
  EXPECT_EQ(bad.error(), -EINVAL);
}

TEST(ResultDeathTest, NoErrorFromAPositiveNumber) {
  EXPECT_DEATH((void)result<int*>(EINVAL).error(), "");
  EXPECT_DEATH((void)result<int*>(0).error(), "");
}

TEST(ErrnoTest, Names) {
  EXPECT_STREQ(errname(-EINVAL), "EINVAL");
  EXPECT_STREQ(errname(ENOIOCTLCMD), "ENOIOCTLCMD");
  EXPECT_STREQ(errname(0), "0");
  EXPECT_STREQ(errname(-3999), "E?");
}

class KernelBasicsTest : public KernelTest {};

TEST_F(KernelBasicsTest, WarnOnIsItsCondition) {
  EXPECT_FALSE(WARN_ON(kernel_.opts.max_wait == 1));
  EXPECT_TRUE(WARN_ON(kernel_.opts.max_wait == 0));
  EXPECT_THAT(Log(), HasSubstr("basics_test.cc"));
  EXPECT_THAT(Log(), HasSubstr("kernel_.opts.max_wait == 0"));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(WARN_ON_ONCE(i >= 0));
  EXPECT_TRUE(WARN(true, "number %d", 42));
  EXPECT_THAT(Log(), HasSubstr("number 42"));
  ExpectWarns(3);
}

TEST(WarnDeathTest, PanicOnWarn) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        kernel k;
        task_struct task(&k);
        task_scope scope(&task);
        WARN_ON(true);
      },
      "panic_on_warn");
  EXPECT_DEATH(BUG_ON(true), "kernel BUG at .*basics_test");
}

TEST_F(KernelBasicsTest, RatelimitedLinesStop) {
  for (int i = 0; i < 50; ++i) pr_warn_ratelimited("line %d", i);
  EXPECT_THAT(Log(), HasSubstr("line 9\n"));
  EXPECT_THAT(Log(), Not(HasSubstr("line 10\n")));
  pr_warn("another place\n");
  pr_debug("not asked for");
  EXPECT_THAT(Log(), HasSubstr("another place\n"));
  EXPECT_THAT(Log(), Not(HasSubstr("not asked for")));
}

TEST(LogTest, IsARing) {
  kernel_options options;
  options.log_lines = 3;
  kernel k(options);
  for (int i = 0; i < 8; ++i) kernel_printk(&k, LOGLEVEL_INFO, "%d", i);
  EXPECT_EQ(kernel_log_text(&k), "5\n6\n7\n");
}

TEST(ManyKernelsTest, AThousandInOneProcess) {
  std::vector<std::unique_ptr<kernel>> kernels;
  std::vector<std::unique_ptr<task_struct>> tasks;
  for (int i = 0; i < 1000; ++i) {
    kernels.push_back(std::make_unique<kernel>());
    tasks.push_back(std::make_unique<task_struct>(kernels.back().get()));
    EXPECT_EQ(tasks.back()->pid, 1);
  }
  for (auto& task : tasks) {
    task_scope scope(task.get());
    pr_info("here");
  }
  EXPECT_EQ(current, nullptr);
  for (auto& k : kernels) EXPECT_EQ(kernel_log_text(k.get()), "here\n");
}

TEST_F(KernelBasicsTest, ATaskInUseWarns) {
  {
    task_struct task(&kernel_, "short");
    get_task_struct(&task);
  }
  EXPECT_THAT(Log(), HasSubstr("task short/"));
  ExpectWarns(1);
}

TEST_F(KernelBasicsTest, Credentials) {
  EXPECT_TRUE(capable(CAP_IPC_LOCK));
  cred user;
  user.caps = BIT_ULL(CAP_SYS_ADMIN);
  task_.cred = &user;
  EXPECT_FALSE(capable(CAP_IPC_LOCK));
  EXPECT_TRUE(capable(CAP_SYS_ADMIN));
  task_.rlimit_memlock = 12345;
  EXPECT_EQ(rlimit(RLIMIT_MEMLOCK), 12345u);
  task_struct thread(&kernel_);
  thread.group_leader = &task_;
  task_scope scope(&thread);
  EXPECT_EQ(rlimit(RLIMIT_MEMLOCK), 12345u) << "the process's";
}

struct Job {
  work_struct work;
  std::vector<int>* order = nullptr;
  int number = 0;
  Job* then = nullptr;
};

void RunJob(work_struct* work) {
  Job* job = container_of(work, Job, work);
  job->order->push_back(job->number);
  if (job->then) schedule_work(&job->then->work);
}

TEST_F(KernelBasicsTest, WorkRunsWhenDrained) {
  std::vector<int> order;
  Job a, b, c;
  int n = 0;
  for (Job* job : {&a, &b, &c}) {
    INIT_WORK(&job->work, RunJob);
    job->order = &order;
    job->number = ++n;
  }
  a.then = &c;
  EXPECT_TRUE(schedule_work(&a.work));
  EXPECT_TRUE(schedule_work(&b.work));
  EXPECT_FALSE(schedule_work(&a.work)) << "pending already";
  EXPECT_TRUE(order.empty());
  run_deferred(&kernel_);
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
  run_deferred(&kernel_);
  EXPECT_EQ(order.size(), 3u);
  EXPECT_EQ(current, &task_);
}

TEST_F(KernelBasicsTest, FlushAndCancel) {
  std::vector<int> order;
  Job a, b;
  for (Job* job : {&a, &b}) {
    INIT_WORK(&job->work, RunJob);
    job->order = &order;
    job->number = job == &a ? 1 : 2;
  }
  workqueue_struct* wq = alloc_workqueue("test", 0, 0);
  ASSERT_NE(wq, nullptr);
  EXPECT_TRUE(queue_work(wq, &a.work));
  EXPECT_TRUE(schedule_work(&b.work));
  EXPECT_TRUE(flush_work(&b.work));
  EXPECT_FALSE(flush_work(&b.work));
  EXPECT_THAT(order, ElementsAre(2));
  EXPECT_TRUE(cancel_work_sync(&a.work));
  EXPECT_FALSE(cancel_work_sync(&a.work));
  EXPECT_TRUE(queue_work(wq, &a.work));
  destroy_workqueue(wq);
  EXPECT_THAT(order, ElementsAre(2, 1)) << "destroying drains";
  fail_nth_write(&task_, 1);
  EXPECT_EQ(alloc_workqueue("test", 0, 0), nullptr);
}

TEST_F(KernelBasicsTest, FlushWaitsForAnotherThread) {
  struct Slow {
    work_struct work;
    std::atomic<bool> started{false}, finish{false}, finished{false};
  } slow;
  INIT_WORK(&slow.work, [](work_struct* work) {
    Slow* s = container_of(work, Slow, work);
    s->started = true;
    while (!s->finish) std::this_thread::yield();
    s->finished = true;
  });
  schedule_work(&slow.work);
  std::thread runner([&] { run_deferred(&kernel_); });
  while (!slow.started) std::this_thread::yield();
  std::thread release([&] { slow.finish = true; });
  EXPECT_FALSE(flush_work(&slow.work));
  EXPECT_TRUE(slow.finished);
  release.join();
  runner.join();
}

class IoTest : public KernelTest {
 protected:
  // One register: 8 bytes at 0x10.
  struct Model {
    u64 reg = 0;
  } model_;
  static constexpr mmio_ops kOps = {
      .read =
          [](void* opaque, u64 off, unsigned int, u64* val) {
            *val = static_cast<Model*>(opaque)->reg;
            return off == 0x10;
          },
      .write =
          [](void* opaque, u64 off, unsigned int, u64 val) {
            if (off == 0x10) static_cast<Model*>(opaque)->reg = val;
            return off == 0x10;
          }};
  u64 memory_[512] = {};
  mmio_region device_{.name = "dev",
                      .phys = 0x1000,
                      .size = 0x1000,
                      .ops = &kOps,
                      .opaque = &model_};
  mmio_region plain_{
      .name = "plain", .phys = 0x4000, .size = 0x1000, .mem = memory_};

  void SetUp() override {
    ASSERT_EQ(mmio_register(&kernel_, &device_), 0);
    ASSERT_EQ(mmio_register(&kernel_, &plain_), 0);
  }
};

TEST_F(IoTest, CallbacksAndMemory) {
  iomem base = ioremap(0x1000, 0x1000);
  ASSERT_TRUE(base);
  writeq(0x1122334455667788ull, base + 0x10);
  EXPECT_EQ(model_.reg, 0x1122334455667788ull);
  EXPECT_EQ(readq_relaxed(base + 0x10), 0x1122334455667788ull);
  EXPECT_EQ(readl(base + 0x10), 0x55667788u);
  iomem mem = ioremap(0x4000, 0x1000);
  writel(7, mem + 12);
  EXPECT_EQ(memory_[1], 7ull << 32);
  EXPECT_EQ(readl_relaxed(mem + 12), 7u);
  u64 v;
  EXPECT_TRUE(mmio_read(&kernel_, 0x400c, 4, &v));
  EXPECT_EQ(v, 7u);
  EXPECT_EQ(Log(), "");
}

TEST_F(IoTest, UnknownAccessesAreEvents) {
  iomem base = ioremap(0x1000, 0x1000);
  EXPECT_EQ(readl(base + 0x20), 0xffffffffu);
  EXPECT_THAT(Log(),
              HasSubstr("mmio: dev: no register: read of 4 bytes at 0x20"));
  writeq(1, base + 0x14);
  EXPECT_THAT(Log(), HasSubstr("write of 8 bytes at 0x14"));
  EXPECT_EQ(readq(base + 0xffc), ~0ull) << "misaligned, and half outside";
  EXPECT_EQ(readl(base + 0x1000), 0xffffffffu);
  EXPECT_EQ(readl(base + ~0ull), 0xffffffffu);
  EXPECT_EQ(readl(iomem{}), 0xffffffffu);
  u64 v = 0;
  EXPECT_FALSE(mmio_read(&kernel_, 0x9000, 8, &v));
  EXPECT_EQ(v, ~0ull);
  EXPECT_FALSE(mmio_write(&kernel_, 0x9000, 8, v));
  EXPECT_FALSE(mmio_read(&kernel_, 0x4000, 3, &v));
  // A guest cannot flood the log.
  for (int i = 0; i < 1000; ++i) readl(base + 0x20);
  const std::string log = Log();
  EXPECT_LT(std::count(log.begin(), log.end(), '\n'), 40);
}

TEST_F(IoTest, RegionsDoNotOverlapAndMapsFit) {
  mmio_region overlap{.phys = 0x1fff, .size = 2};
  EXPECT_EQ(mmio_register(&kernel_, &overlap), -EBUSY);
  EXPECT_FALSE(ioremap(0x1000, 0x1001));
  EXPECT_FALSE(ioremap(0x3000, 1));
  EXPECT_TRUE(ioremap(0x1800, 0x800));
  mmio_unregister(&kernel_, &device_);
  EXPECT_EQ(mmio_find(&kernel_, 0x1000), nullptr);
}

TEST_F(IoTest, PollingLetsTheModelStep) {
  static Model* model;
  model = &model_;
  kernel_.idle = [](kernel*) { return ++model->reg != 0; };
  iomem base = ioremap(0x1000, 0x1000);
  u64 val;
  EXPECT_EQ(readq_poll_timeout(base + 0x10, val, val == 5, 1, 100), 0);
  EXPECT_EQ(model_.reg, 5u);
  EXPECT_EQ(readq_poll_timeout(base + 0x10, val, val == 3, 1, 100), -ETIMEDOUT);
  // Where nothing moves, a second passes in some hundred looks.
  static int looks;
  kernel_.idle = [](kernel*) { return looks++ < 0; };
  EXPECT_EQ(readq_poll_timeout(base + 0x10, val, val == 3, 1, 1000000),
            -ETIMEDOUT);
  EXPECT_GT(looks, 100);
  EXPECT_LT(looks, 1000);
  kernel_.idle = nullptr;
}

TEST_F(KernelBasicsTest, Devices) {
  {
    device dev(&kernel_, "mock0");
    EXPECT_STREQ(dev_name(&dev), "mock0");
    dev_set_drvdata(&dev, &dev);
    EXPECT_EQ(dev_get_drvdata(&dev), &dev);
    get_device(&dev);
    put_device(&dev);
    dev_err(&dev, "code %d", 7);
    EXPECT_THAT(Log(), HasSubstr("mock0: code 7"));
    EXPECT_EQ(kernel_warn_count(&kernel_), 0u);
    get_device(&dev);
  }
  EXPECT_THAT(Log(), HasSubstr("device mock0 ends with 1 references"));
  ExpectWarns(1);
}

}  // namespace
}  // namespace iommulab
