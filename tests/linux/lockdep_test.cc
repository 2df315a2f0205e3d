// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/linux/lockdep.h"

#include <memory>
#include <thread>
#include <vector>

#include "core/linux/mutex.h"
#include "core/linux/rwsem.h"
#include "core/linux/slab.h"
#include "core/linux/spinlock.h"
#include "core/linux/uaccess.h"
#include "core/linux/xarray.h"
#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Locks {
  struct mutex a{LOCK_CLASS(Locks, a)};
  struct mutex b{LOCK_CLASS(Locks, b)};
  struct mutex c{LOCK_CLASS(Locks, c)};
  struct rw_semaphore sem{LOCK_CLASS(Locks, sem)};
  spinlock_t spin{LOCK_CLASS(Locks, spin)};
  struct xarray xa{LOCK_CLASS(Locks, xa), XA_FLAGS_ALLOC};
};

class LockdepTest : public KernelTest {
 protected:
  // The lockdep reports so far, and forgets that this task made one.
  uint64_t Reports() {
    task_.lockdep_silent = false;
    return kernel_warn_count(&kernel_);
  }
};

TEST_F(LockdepTest, OneOrderIsFine) {
  Locks x, y;
  for (Locks* l : {&x, &y}) {
    mutex_guard a(&l->a);
    rwsem_read_guard s(&l->sem);
    mutex_guard b(&l->b);
    spinlock_guard sp(&l->spin);
  }
  EXPECT_EQ(Reports(), 0u);
  EXPECT_EQ(task_.lockdep_depth, 0);
}

TEST_F(LockdepTest, ClassesOfTwoInstancesInBothOrders) {
  Locks x, y;
  {
    mutex_guard a(&x.a);
    mutex_guard b(&x.b);
  }
  {
    // Other instances: no thread could ever have met a deadlock here.
    mutex_guard b(&y.b);
    mutex_guard a(&y.a);
  }
  EXPECT_EQ(Reports(), 1u);
  EXPECT_THAT(Log(), AllOf(HasSubstr("lockdep: inversion"),
                           HasSubstr("takes Locks.a (write) at lockdep_test"),
                           HasSubstr("while it holds Locks.b (write)"),
                           HasSubstr("Locks.b was taken at lockdep_test"),
                           HasSubstr("while Locks.a was held since"),
                           HasSubstr("#0 Locks.b")));
  ExpectWarns(1);
}

TEST_F(LockdepTest, CircleOfThree) {
  Locks x;
  {
    mutex_guard g(&x.a);
    mutex_guard h(&x.b);
  }
  {
    mutex_guard g(&x.b);
    mutex_guard h(&x.c);
  }
  EXPECT_EQ(Reports(), 0u);
  {
    mutex_guard g(&x.c);
    mutex_guard h(&x.a);
  }
  EXPECT_EQ(Reports(), 1u);
  EXPECT_THAT(Log(), AllOf(HasSubstr("Locks.b was taken"),
                           HasSubstr("Locks.c was taken")));
  ExpectWarns(1);
}

TEST_F(LockdepTest, ReadersTakePartInTheOrder) {
  Locks x;
  {
    rwsem_read_guard g(&x.sem);
    mutex_guard h(&x.a);
  }
  {
    mutex_guard h(&x.a);
    rwsem_read_guard g(&x.sem);
  }
  EXPECT_EQ(Reports(), 1u);
  EXPECT_THAT(Log(), HasSubstr("takes Locks.sem (read)"));
  ExpectWarns(1);
}

TEST_F(LockdepTest, OrdersSeenByAnotherTaskCount) {
  Locks x;
  {
    mutex_guard g(&x.a);
    mutex_guard h(&x.b);
  }
  std::thread([&] {
    task_struct other(&kernel_, "other");
    task_scope scope(&other);
    mutex_guard g(&x.b);
    mutex_guard h(&x.a);
  }).join();
  EXPECT_EQ(Reports(), 1u);
  EXPECT_THAT(Log(), AllOf(HasSubstr("other/"), HasSubstr("by test/")));
  ExpectWarns(1);
}

TEST_F(LockdepTest, KernelsDoNotShareTheirOrders) {
  Locks x;
  {
    mutex_guard g(&x.a);
    mutex_guard h(&x.b);
  }
  kernel other_kernel;  // would abort on a report
  task_struct other(&other_kernel);
  task_scope scope(&other);
  mutex_guard g(&x.b);
  mutex_guard h(&x.a);
  EXPECT_EQ(kernel_warn_count(&other_kernel), 0u);
}

TEST_F(LockdepTest, TryLockAddsNoOrder) {
  Locks x;
  {
    mutex_guard g(&x.a);
    mutex_guard h(&x.b);
  }
  {
    mutex_guard g(&x.b);
    if (mutex_trylock(&x.a)) {
      mutex_unlock(&x.a);
    } else {
      ADD_FAILURE() << "nobody holds it";
    }
  }
  EXPECT_EQ(Reports(), 0u);
}

TEST_F(LockdepTest, AClassTwiceIsRecursion) {
  Locks x, y;
  {
    mutex_guard g(&x.a);
    mutex_guard h(&y.a);
  }
  EXPECT_EQ(Reports(), 1u);
  EXPECT_THAT(Log(), AllOf(HasSubstr("lockdep: recursion"),
                           HasSubstr("another lock of that class")));
  ExpectWarns(1);
}

TEST_F(LockdepTest, AReaderTwiceIsRecursion) {
  Locks x, y;
  {
    rwsem_read_guard g(&x.sem);
    rwsem_read_guard h(&y.sem);
  }
  EXPECT_EQ(Reports(), 1u);
  ExpectWarns(1);
}

TEST_F(LockdepTest, SubclassesAreClassesOfTheirOwn) {
  Locks x, y;
  {
    mutex_guard g(&x.a);
    mutex_guard h(&y.a, SINGLE_DEPTH_NESTING);
  }
  EXPECT_EQ(Reports(), 0u);
  {
    mutex_guard g(&x.a, SINGLE_DEPTH_NESTING);
    mutex_guard h(&y.a);
  }
  EXPECT_EQ(Reports(), 1u);
  EXPECT_THAT(Log(), HasSubstr("Locks.a/1"));
  ExpectWarns(1);
}

void DownNested(Locks* l, Locks* order)
    LOCK_ANALYSIS_ESCAPE("any number of them") {
  down_write_nest_lock(&l->sem, &order->b);
}
void UpNested(Locks* l) LOCK_ANALYSIS_ESCAPE("any number of them") {
  up_write(&l->sem);
}

TEST_F(LockdepTest, NestLockAllowsManyOfAClass) {
  Locks x, y, z;
  mutex_lock(&x.b);
  mutex_lock_nest_lock(&x.a, &x.b);
  mutex_lock_nest_lock(&y.a, &x.b);
  down_write_nest_lock(&x.sem, &x.b);
  down_write_nest_lock(&y.sem, &x.b);
  EXPECT_EQ(Reports(), 0u);
  up_write(&y.sem);
  up_write(&x.sem);
  mutex_unlock(&y.a);
  mutex_unlock(&x.b);
  // The lock that orders them is not held any more.
  mutex_lock_nest_lock(&z.a, &x.b);
  EXPECT_EQ(Reports(), 1u);
  mutex_unlock(&z.a);
  mutex_unlock(&x.a);
  ExpectWarns(1);
}

TEST_F(LockdepTest, NestLockAllowsMoreThanFit) {
  std::vector<std::unique_ptr<Locks>> many;
  Locks order;
  mutex_lock(&order.b);
  for (int i = 0; i < 2 * MAX_LOCK_DEPTH; i++) {
    many.push_back(std::make_unique<Locks>());
    DownNested(many.back().get(), &order);
  }
  EXPECT_EQ(task_.lockdep_depth, 2);
  lockdep_assert_held(&order.b);
  // The first one first, and gone.
  while (!many.empty()) {
    UpNested(many.front().get());
    many.erase(many.begin());
    EXPECT_EQ(task_.lockdep_depth, many.empty() ? 1 : 2);
  }
  mutex_unlock(&order.b);
  EXPECT_EQ(Reports(), 0u);
  EXPECT_EQ(task_.lockdep_depth, 0);
}

TEST_F(LockdepTest, AnyOrderOfReleaseIsFine) {
  Locks x;
  mutex_lock(&x.a);
  mutex_lock(&x.b);
  mutex_unlock(&x.a);
  EXPECT_EQ(task_.lockdep_depth, 1);
  lockdep_assert_held(&x.b);
  mutex_unlock(&x.b);
  EXPECT_EQ(Reports(), 0u);
}

void UnlockUnheld(Locks* l) LOCK_ANALYSIS_ESCAPE("the mistake is the test") {
  mutex_unlock(&l->a);
}

TEST_F(LockdepTest, ReleaseOfALockNotHeld) {
  Locks x;
  UnlockUnheld(&x);
  EXPECT_EQ(Reports(), 1u);
  EXPECT_THAT(Log(), AllOf(HasSubstr("gives back a lock that is not held"),
                           HasSubstr("Locks.a"), HasSubstr("holds no lock")));
  ExpectWarns(1);
}

TEST_F(LockdepTest, SleepingLockUnderASpinlock) {
  Locks x;
  {
    spinlock_guard g(&x.spin);
    mutex_guard h(&x.a);
  }
  EXPECT_EQ(Reports(), 1u);
  EXPECT_THAT(Log(), AllOf(HasSubstr("lockdep: sleeps under a spinlock"),
                           HasSubstr("while it holds Locks.spin")));
  {
    xa_guard g(&x.xa);
    rwsem_read_guard h(&x.sem);
  }
  EXPECT_EQ(Reports(), 2u);
  ExpectWarns(2);
}

TEST_F(LockdepTest, SleepingAllocationUnderASpinlock) {
  Locks x;
  {
    spinlock_guard g(&x.spin);
    kfree(kzalloc(8, GFP_NOWAIT));
    EXPECT_EQ(Reports(), 0u);
    kfree(kzalloc(8, GFP_KERNEL));
  }
  EXPECT_EQ(Reports(), 1u);
  {
    spinlock_guard g(&x.spin);
    u32 id;
    EXPECT_EQ(xa_alloc(&x.xa, &id, &x, xa_limit_31b, GFP_KERNEL), 0);
  }
  EXPECT_EQ(Reports(), 2u);
  xa_destroy(&x.xa);
  ExpectWarns(2);
}

TEST_F(LockdepTest, UserMemoryUnderASpinlock) {
  Locks x;
  BufferMm mm;
  task_.mm = &mm;
  u32 v;
  {
    spinlock_guard g(&x.spin);
    EXPECT_EQ(user_in<u32>(BufferMm::kBase).copy_from_user(&v), 0);
  }
  EXPECT_EQ(Reports(), 1u);
  ExpectWarns(1);
}

void Leak(Locks* l) LOCK_ANALYSIS_ESCAPE("the mistake is the test") {
  mutex_lock(&l->a);
}

TEST_F(LockdepTest, LockHeldAtReturn) {
  Locks x;
  {
    task_struct caller(&kernel_, "caller");
    task_scope scope(&caller);
    Leak(&x);
  }
  EXPECT_EQ(Reports(), 1u);
  EXPECT_THAT(Log(), AllOf(HasSubstr("lockdep: still held at return: caller/"),
                           HasSubstr("#0 Locks.a (write), taken at")));
  ExpectWarns(1);
}

TEST_F(LockdepTest, AScopeInsideLooksAtItsOwnLocksOnly) {
  Locks x;
  mutex_guard g(&x.a);
  {
    task_scope again(&task_);
    mutex_guard h(&x.b);
  }
  EXPECT_EQ(Reports(), 0u);
}

void AssertAll(Locks* l) LOCK_ANALYSIS_ESCAPE("the mistake is the test") {
  lockdep_assert_held(&l->sem);
}
void AssertWrite(Locks* l) LOCK_ANALYSIS_ESCAPE("the mistake is the test") {
  lockdep_assert_held_write(&l->sem);
}
void AssertNot(Locks* l) LOCK_ANALYSIS_ESCAPE("the mistake is the test") {
  lockdep_assert_not_held(&l->sem);
}

TEST_F(LockdepTest, Assertions) {
  Locks x;
  AssertNot(&x);
  EXPECT_EQ(Reports(), 0u);
  AssertAll(&x);
  EXPECT_EQ(Reports(), 1u);
  EXPECT_THAT(Log(), HasSubstr("the lock is not held"));
  {
    rwsem_read_guard g(&x.sem);
    AssertAll(&x);
    EXPECT_EQ(Reports(), 1u);
    AssertWrite(&x);
    EXPECT_EQ(Reports(), 2u);
    AssertNot(&x);
    EXPECT_EQ(Reports(), 3u);
  }
  {
    rwsem_write_guard g(&x.sem);
    AssertWrite(&x);
    EXPECT_EQ(Reports(), 3u);
  }
  ExpectWarns(3);
}

TEST_F(LockdepTest, DowngradeChangesWhatIsHeld) {
  Locks x;
  down_write(&x.sem);
  lockdep_assert_held_write(&x.sem);
  downgrade_write(&x.sem);
  EXPECT_EQ(lock_held(&x.sem.dep), LOCK_SHARED);
  up_read(&x.sem);
  EXPECT_EQ(Reports(), 0u);
}

TEST_F(LockdepTest, OffMeansNothingIsRemembered) {
  kernel_options options;
  options.lockdep = false;
  kernel quiet(options);
  task_struct task(&quiet);
  task_scope scope(&task);
  EXPECT_EQ(task.instrument, 0u);
  Locks x, y;
  mutex_guard g(&x.a);
  mutex_guard h(&y.a);
  EXPECT_EQ(task.lockdep_depth, 0);
  EXPECT_EQ(kernel_warn_count(&quiet), 0u);
}

void RecurseInAPanickyKernel() {
  kernel k;
  task_struct task(&k);
  task_scope scope(&task);
  Locks x, y;
  mutex_guard g(&x.a);
  mutex_guard h(&y.a);
}

TEST(LockdepDeathTest, PanicOnWarnShowsTheReport) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RecurseInAPanickyKernel(),
               "lockdep: recursion(.|\n)*#0 Locks.a(.|\n)*panic_on_warn");
}

}  // namespace
}  // namespace iommulab
