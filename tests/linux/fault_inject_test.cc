// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/linux/fault-inject.h"
#include "core/linux/slab.h"
#include "core/linux/uaccess.h"
#include "core/linux/xarray.h"
#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

using testing::HasSubstr;

class FaultInjectTest : public KernelTest {
 protected:
  // True when an allocation fails.
  static bool Fails() {
    void* p = kzalloc(8, GFP_KERNEL);
    kfree(p);
    return p == nullptr;
  }
};

TEST_F(FaultInjectTest, NotArmedNothingFails) {
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(Fails());
  EXPECT_EQ(fail_nth_read(&task_), 0u);
}

TEST_F(FaultInjectTest, TheNthFailsOnce) {
  fail_nth_write(&task_, 3);
  EXPECT_FALSE(Fails());
  EXPECT_EQ(fail_nth_read(&task_), 2u);
  EXPECT_FALSE(Fails());
  EXPECT_TRUE(Fails());
  EXPECT_EQ(fail_nth_read(&task_), 0u);
  EXPECT_FALSE(Fails());
}

TEST_F(FaultInjectTest, WritingZeroDisarms) {
  fail_nth_write(&task_, 1);
  fail_nth_write(&task_, 0);
  EXPECT_FALSE(Fails());
}

TEST_F(FaultInjectTest, TheCountdownIsTheTasks) {
  fail_nth_write(&task_, 1);
  {
    task_struct other(&kernel_);
    task_scope scope(&other);
    EXPECT_FALSE(Fails());
  }
  EXPECT_TRUE(Fails());
}

TEST_F(FaultInjectTest, EveryKindOfAllocationIsASite) {
  BufferMm mm;
  task_.mm = &mm;
  const auto fails = [&](auto&& site) {
    fail_nth_write(&task_, 1);
    const bool failed = site();
    EXPECT_EQ(fail_nth_read(&task_), 0u);
    return failed;
  };
  EXPECT_TRUE(fails([] { return !kmalloc(8, GFP_KERNEL); }));
  EXPECT_TRUE(fails([] { return !kvzalloc(8, GFP_KERNEL); }));
  EXPECT_TRUE(fails([] { return !kvcalloc_array<u64>(4); }));
  EXPECT_TRUE(fails([] { return !kzalloc_obj<u64>(); }));
  EXPECT_TRUE(fails([] { return !kstrdup("x", GFP_KERNEL); }));
  u32 v = 0;
  EXPECT_TRUE(fails([&] {
    return user_in<u32>(BufferMm::kBase).copy_from_user(&v) == -EFAULT;
  }));
  EXPECT_TRUE(fails([&] {
    return user_out<u32>(BufferMm::kBase).copy_to_user(v) == -EFAULT;
  }));
  struct xarray xa{LOCK_CLASS(FaultInjectTest, xa), XA_FLAGS_ALLOC};
  u32 id;
  EXPECT_TRUE(fails([&] {
    return xa_alloc(&xa, &id, &v, xa_limit_31b, GFP_KERNEL) == -ENOMEM;
  }));
  EXPECT_TRUE(xa_empty(&xa));
}

TEST_F(FaultInjectTest, TypesCanBeLeftOut) {
  kernel_.fault.types &= ~(1u << FAULT_SLAB);
  fail_nth_write(&task_, 1);
  EXPECT_FALSE(Fails());
  EXPECT_EQ(fail_nth_read(&task_), 1u);
  EXPECT_TRUE(should_fail(FAULT_IOMMUFD));
}

TEST_F(FaultInjectTest, TheSiteOfAnObjectIsItsCaller) {
  struct One {
    explicit One(int n) : n(n) {}
    int n;
  };
  fault_trace(&kernel_, true);
  int* none = kzalloc_obj<int>();
  One* one = kzalloc_obj<One>(1);
  const std::vector<fault_site> sites = fault_trace_take(&kernel_);
  fault_trace(&kernel_, false);
  ASSERT_EQ(sites.size(), 2u);
  for (const fault_site& site : sites)
    EXPECT_THAT(site.where.file_name(), HasSubstr("fault_inject_test.cc"));
  EXPECT_EQ(*none, 0);
  EXPECT_EQ(one->n, 1);
  kfree_obj(none);
  kfree_obj(one);
}

TEST_F(FaultInjectTest, TheTraceNamesTheSiteThatFailed) {
  fault_trace(&kernel_, true);
  fail_nth_write(&task_, 2);
  EXPECT_FALSE(Fails());
  EXPECT_TRUE(should_fail(FAULT_PAGE_ALLOC));
  EXPECT_FALSE(Fails());
  const std::vector<fault_site> sites = fault_trace_take(&kernel_);
  ASSERT_EQ(sites.size(), 3u);
  EXPECT_EQ(sites[0].type, FAULT_SLAB);
  EXPECT_FALSE(sites[0].failed);
  EXPECT_EQ(sites[1].type, FAULT_PAGE_ALLOC);
  EXPECT_TRUE(sites[1].failed);
  EXPECT_FALSE(sites[2].failed);
  char text[200];
  fault_site_format(sites[1], text, sizeof(text));
  EXPECT_THAT(text, HasSubstr("page_alloc at fault_inject_test.cc:"));
  EXPECT_EQ(kernel_.fault.last.where.line(), sites[1].where.line());
  fault_trace(&kernel_, false);
  EXPECT_FALSE(Fails());
  EXPECT_TRUE(fault_trace_take(&kernel_).empty());
  EXPECT_EQ(task_.instrument & TASK_FAULT, 0u);
}

TEST_F(FaultInjectTest, AllocationsAreBoundedAndCounted) {
  EXPECT_EQ(kzalloc(kernel_.opts.max_kmalloc + 1, GFP_KERNEL), nullptr);
  EXPECT_EQ(kmalloc(SIZE_MAX, GFP_KERNEL), nullptr);
  EXPECT_EQ(kcalloc(1ull << 40, 1ull << 40, GFP_KERNEL), nullptr);
  EXPECT_EQ(kvcalloc_array<u64>(SIZE_MAX / 8), nullptr);
  void* big = kvzalloc(kernel_.opts.max_kmalloc + 1, GFP_KERNEL);
  ASSERT_NE(big, nullptr);
  EXPECT_EQ(kernel_slab_live(&kernel_), 1);
  {
    // A task that ends leaves its count behind.
    task_struct other(&kernel_);
    task_scope scope(&other);
    kvfree(big);
    EXPECT_EQ(kernel_slab_live(&kernel_), 0);
  }
  EXPECT_EQ(kernel_slab_live(&kernel_), 0);
}

TEST_F(FaultInjectTest, MemoryIsZeroOrPoison) {
  u8* zero = static_cast<u8*>(kzalloc(64, GFP_KERNEL));
  u8* poison = static_cast<u8*>(kmalloc(64, GFP_KERNEL));
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(zero[i], 0);
    EXPECT_EQ(poison[i], 0x5a);
  }
  poison = static_cast<u8*>(krealloc(poison, 128, GFP_KERNEL));
  EXPECT_EQ(poison[63], 0x5a);
  fail_nth_write(&task_, 1);
  EXPECT_EQ(krealloc(poison, 256, GFP_KERNEL), nullptr);
  kfree(poison);
  kfree(zero);
  kfree(nullptr);
}

struct Counted {
  explicit Counted(int* alive) : alive(alive) { ++*alive; }
  ~Counted() { --*alive; }
  int* alive;
  u64 zeroed[4];
};

TEST_F(FaultInjectTest, ObjectsAreConstructedAndDestroyed) {
  int alive = 0;
  Counted* c = kzalloc_obj<Counted>(&alive);
  ASSERT_NE(c, nullptr);
  EXPECT_EQ(alive, 1);
  EXPECT_EQ(c->zeroed[3], 0u);
  kfree_obj(c);
  EXPECT_EQ(alive, 0);
  kfree_obj<Counted>(nullptr);
}

}  // namespace
}  // namespace iommulab
