// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/linux/refcount.h"

#include <thread>
#include <utility>
#include <vector>

#include "core/linux/kref.h"
#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

using testing::HasSubstr;

class RefcountTest : public KernelTest {
 protected:
  unsigned int Value() const { return refcount_read(&r_); }
  static constexpr unsigned int kSaturated = 0xc0000000;

  refcount_t r_{1};
};

TEST_F(RefcountTest, CountsUpAndDown) {
  refcount_inc(&r_);
  EXPECT_EQ(Value(), 2u);
  EXPECT_FALSE(refcount_dec_and_test(&r_));
  refcount_add(4, &r_);
  EXPECT_FALSE(refcount_sub_and_test(4, &r_));
  EXPECT_TRUE(refcount_dec_and_test(&r_));
  EXPECT_EQ(Value(), 0u);
}

TEST_F(RefcountTest, NotZeroForms) {
  EXPECT_TRUE(refcount_inc_not_zero(&r_));
  EXPECT_TRUE(refcount_dec_not_one(&r_));
  EXPECT_FALSE(refcount_dec_not_one(&r_));
  EXPECT_EQ(Value(), 1u);
  refcount_inc(&r_);
  EXPECT_FALSE(refcount_dec_if_one(&r_));
  EXPECT_EQ(Value(), 2u);
  refcount_dec(&r_);
  EXPECT_TRUE(refcount_dec_if_one(&r_));
  EXPECT_FALSE(refcount_inc_not_zero(&r_));
  EXPECT_EQ(Value(), 0u);
}

TEST_F(RefcountTest, IncrementOfZeroWarnsAndSaturates) {
  refcount_set(&r_, 0);
  refcount_inc(&r_);
  EXPECT_EQ(Value(), kSaturated);
  EXPECT_THAT(Log(), HasSubstr("increment of 0"));
  EXPECT_THAT(Log(), HasSubstr("refcount_test.cc"));
  ExpectWarns(1);
}

TEST_F(RefcountTest, UnderflowWarnsAndSaturates) {
  refcount_set(&r_, 0);
  EXPECT_FALSE(refcount_dec_and_test(&r_));
  EXPECT_EQ(Value(), kSaturated);
  EXPECT_THAT(Log(), HasSubstr("underflow"));
  ExpectWarns(1);
}

TEST_F(RefcountTest, DecToZeroWarns) {
  refcount_dec(&r_);
  EXPECT_EQ(Value(), kSaturated);
  EXPECT_THAT(Log(), HasSubstr("decrement reached 0"));
  ExpectWarns(1);
}

TEST_F(RefcountTest, OverflowWarnsAndSaturates) {
  refcount_set(&r_, REFCOUNT_MAX);
  refcount_inc(&r_);
  EXPECT_EQ(Value(), kSaturated);
  EXPECT_THAT(Log(), HasSubstr("overflow"));
  ExpectWarns(1);
}

TEST_F(RefcountTest, OverflowByNotZero) {
  refcount_set(&r_, REFCOUNT_MAX);
  EXPECT_TRUE(refcount_inc_not_zero(&r_));
  EXPECT_EQ(Value(), kSaturated);
  ExpectWarns(1);
}

TEST_F(RefcountTest, SaturatedStaysSo) {
  refcount_set(&r_, REFCOUNT_SATURATED);
  refcount_inc(&r_);
  EXPECT_EQ(Value(), kSaturated);
  EXPECT_FALSE(refcount_dec_and_test(&r_));
  EXPECT_EQ(Value(), kSaturated);
  EXPECT_TRUE(refcount_dec_not_one(&r_));
  EXPECT_EQ(Value(), kSaturated);
  ExpectWarns(2);
}

TEST_F(RefcountTest, OneThreadSeesTheEnd) {
  refcount_set(&r_, 4000);
  std::atomic<int> ends{0};
  int before = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      task_struct task(&kernel_);
      task_scope scope(&task);
      if (t == 0) before = 1;
      for (int i = 0; i < 1000; ++i) {
        if (refcount_dec_and_test(&r_)) ends += before;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ends, 1);
}

TEST(RefcountSchedTest, EachChangePassesTheHook) {
  struct Hook : sched_hook {
    std::vector<std::pair<sched_event, const void*>> points;
  } hook;
  hook.point = [](sched_hook* self, task_struct*, sched_event event,
                  const void* object) {
    static_cast<Hook*>(self)->points.emplace_back(event, object);
  };
  kernel k;
  k.sched = &hook;
  task_struct task(&k);
  task_scope scope(&task);
  refcount_t r(1);
  refcount_inc(&r);
  EXPECT_FALSE(refcount_dec_and_test(&r));
  EXPECT_TRUE(refcount_inc_not_zero(&r));
  refcount_dec(&r);
  EXPECT_TRUE(refcount_dec_if_one(&r));
  EXPECT_THAT(hook.points,
              testing::AllOf(testing::SizeIs(5),
                             testing::Each(testing::Pair(SCHED_AT_REF, &r))));
}

TEST_F(RefcountTest, Kref) {
  struct Object {
    struct kref ref;
    bool released = false;
  } object;
  kref_get(&object.ref);
  const auto release = [](struct kref* ref) {
    container_of(ref, Object, ref)->released = true;
  };
  EXPECT_EQ(kref_read(&object.ref), 2u);
  EXPECT_FALSE(kref_put(&object.ref, release));
  EXPECT_FALSE(object.released);
  EXPECT_TRUE(kref_put(&object.ref, release));
  EXPECT_TRUE(object.released);
  EXPECT_FALSE(kref_get_unless_zero(&object.ref));
}

}  // namespace
}  // namespace iommulab
