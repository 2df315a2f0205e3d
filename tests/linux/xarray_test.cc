// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/linux/xarray.h"

#include <climits>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "core/linux/slab.h"
#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

class XarrayTest : public KernelTest {
 protected:
  void* Entry(size_t i) { return &entries_[i % 256]; }

  u64 entries_[256];
  struct xarray plain_{LOCK_CLASS(XarrayTest, plain)};
  struct xarray ids_{LOCK_CLASS(XarrayTest, ids), XA_FLAGS_ALLOC};
  struct xarray ids1_{LOCK_CLASS(XarrayTest, ids1), XA_FLAGS_ALLOC1};
};

TEST_F(XarrayTest, EmptyHasNoMemory) {
  EXPECT_TRUE(xa_empty(&plain_));
  EXPECT_EQ(xa_load(&plain_, 0), nullptr);
  EXPECT_EQ(xa_load(&plain_, ULONG_MAX), nullptr);
  EXPECT_EQ(xa_erase(&plain_, 77), nullptr);
  EXPECT_EQ(kernel_slab_live(&kernel_), 0);
}

TEST_F(XarrayTest, StoreReturnsTheOldEntry) {
  EXPECT_EQ(xa_store(&plain_, 5, Entry(0), GFP_KERNEL), nullptr);
  EXPECT_EQ(xa_store(&plain_, 5, Entry(1), GFP_KERNEL), Entry(0));
  EXPECT_EQ(xa_load(&plain_, 5), Entry(1));
  EXPECT_EQ(xa_load(&plain_, 5 + 64), nullptr);
  EXPECT_EQ(kernel_slab_live(&kernel_), 1);
  EXPECT_EQ(xa_store(&plain_, 5, nullptr, GFP_KERNEL), Entry(1));
  EXPECT_TRUE(xa_empty(&plain_));
}

TEST_F(XarrayTest, WholeIndexSpace) {
  const std::vector<unsigned long> indices = {0,
                                              63,
                                              64,
                                              4095,
                                              4096,
                                              1ul << 32,
                                              (1ul << 60) - 1,
                                              1ul << 60,
                                              ULONG_MAX - 64,
                                              ULONG_MAX};
  for (size_t i = 0; i < indices.size(); ++i) {
    EXPECT_EQ(xa_store(&plain_, indices[i], Entry(i), GFP_KERNEL), nullptr);
  }
  std::vector<unsigned long> seen;
  unsigned long index;
  void* entry;
  xa_for_each(&plain_, index, entry) {
    EXPECT_EQ(entry, Entry(seen.size()));
    seen.push_back(index);
  }
  EXPECT_EQ(seen, indices);
  for (size_t i = 0; i < indices.size(); ++i) {
    EXPECT_EQ(xa_erase(&plain_, indices[i]), Entry(i));
  }
  EXPECT_TRUE(xa_empty(&plain_));
}

TEST_F(XarrayTest, AllocGivesTheLowestFreeId) {
  u32 id;
  for (u32 i = 0; i < 200; ++i) {
    ASSERT_EQ(xa_alloc(&ids_, &id, Entry(i), xa_limit_31b, GFP_KERNEL), 0);
    EXPECT_EQ(id, i);
    ASSERT_EQ(xa_alloc(&ids1_, &id, Entry(i), xa_limit_31b, GFP_KERNEL), 0);
    EXPECT_EQ(id, i + 1);
  }
  for (u32 hole : {130, 7, 64, 63}) xa_erase(&ids_, hole);
  for (u32 want : {7, 63, 64, 130, 200}) {
    ASSERT_EQ(xa_alloc(&ids_, &id, Entry(0), xa_limit_31b, GFP_KERNEL), 0);
    EXPECT_EQ(id, want);
  }
  xa_destroy(&ids_);
  xa_destroy(&ids1_);
}

TEST_F(XarrayTest, AllocStaysInsideItsLimit) {
  u32 id = 99;
  for (u32 want : {10, 11, 12}) {
    ASSERT_EQ(xa_alloc(&ids_, &id, Entry(0), XA_LIMIT(10, 12), GFP_KERNEL), 0);
    EXPECT_EQ(id, want);
  }
  id = 99;
  EXPECT_EQ(xa_alloc(&ids_, &id, Entry(0), XA_LIMIT(10, 12), GFP_KERNEL),
            -EBUSY);
  EXPECT_EQ(id, 99u);
  EXPECT_EQ(xa_alloc(&ids_, &id, Entry(0), XA_LIMIT(0xffffffffu, 0xffffffffu),
                     GFP_KERNEL),
            0);
  EXPECT_EQ(id, 0xffffffffu);
  EXPECT_EQ(xa_alloc(&ids_, &id, Entry(0), XA_LIMIT(0xffffffffu, 0xffffffffu),
                     GFP_KERNEL),
            -EBUSY);
  xa_destroy(&ids_);
}

TEST_F(XarrayTest, ReservedReadsAsNullAndIsNotHandedOut) {
  u32 id;
  ASSERT_EQ(xa_alloc(&ids1_, &id, XA_ZERO_ENTRY, xa_limit_31b, GFP_KERNEL), 0);
  EXPECT_EQ(id, 1u);
  EXPECT_EQ(xa_load(&ids1_, 1), nullptr);
  EXPECT_EQ(xa_load_raw(&ids1_, 1), XA_ZERO_ENTRY);
  EXPECT_FALSE(xa_empty(&ids1_));
  unsigned long index;
  void* entry;
  xa_for_each(&ids1_, index, entry) ADD_FAILURE() << index;
  ASSERT_EQ(xa_alloc(&ids1_, &id, Entry(2), xa_limit_31b, GFP_KERNEL), 0);
  EXPECT_EQ(id, 2u);
  // The entry comes later, as iommufd's finalize does it.
  xa_lock(&ids1_);
  EXPECT_EQ(__xa_store_raw(&ids1_, 1, Entry(1)), XA_ZERO_ENTRY);
  xa_unlock(&ids1_);
  EXPECT_EQ(xa_load(&ids1_, 1), Entry(1));
  EXPECT_EQ(xa_erase(&ids1_, 1), Entry(1));
  EXPECT_EQ(xa_erase(&ids1_, 2), Entry(2));
  EXPECT_TRUE(xa_empty(&ids1_));
}

TEST_F(XarrayTest, NullInAnAllocArrayKeepsTheId) {
  u32 id;
  ASSERT_EQ(xa_alloc(&ids_, &id, Entry(0), xa_limit_31b, GFP_KERNEL), 0);
  EXPECT_EQ(xa_store(&ids_, 0, nullptr, GFP_KERNEL), Entry(0));
  EXPECT_EQ(xa_load_raw(&ids_, 0), XA_ZERO_ENTRY);
  ASSERT_EQ(xa_alloc(&ids_, &id, Entry(0), xa_limit_31b, GFP_KERNEL), 0);
  EXPECT_EQ(id, 1u);
  // The one exception: a compare and exchange with NULL gives the id back.
  EXPECT_EQ(xa_cmpxchg(&ids_, 1, Entry(0), nullptr, GFP_KERNEL), Entry(0));
  EXPECT_EQ(xa_load_raw(&ids_, 1), nullptr);
  xa_destroy(&ids_);
}

TEST_F(XarrayTest, ReserveReleaseInsertCmpxchg) {
  EXPECT_EQ(xa_reserve(&plain_, 9, GFP_KERNEL), 0);
  EXPECT_EQ(xa_insert(&plain_, 9, Entry(1), GFP_KERNEL), -EBUSY);
  // A reserved entry compares as itself, and reads back as NULL.
  EXPECT_EQ(xa_cmpxchg(&plain_, 9, nullptr, Entry(1), GFP_KERNEL), nullptr);
  EXPECT_EQ(xa_load(&plain_, 9), nullptr);
  EXPECT_EQ(xa_cmpxchg(&plain_, 9, XA_ZERO_ENTRY, Entry(1), GFP_KERNEL),
            nullptr);
  EXPECT_EQ(xa_load(&plain_, 9), Entry(1));
  xa_release(&plain_, 9);
  EXPECT_EQ(xa_load(&plain_, 9), Entry(1)) << "released what was stored";
  EXPECT_EQ(xa_cmpxchg(&plain_, 9, Entry(2), Entry(3), GFP_KERNEL), Entry(1));
  EXPECT_EQ(xa_cmpxchg(&plain_, 9, Entry(1), nullptr, GFP_KERNEL), Entry(1));
  EXPECT_TRUE(xa_empty(&plain_));
  EXPECT_EQ(xa_reserve(&plain_, 9, GFP_KERNEL), 0);
  xa_release(&plain_, 9);
  EXPECT_TRUE(xa_empty(&plain_));
  EXPECT_EQ(xa_insert(&plain_, 9, Entry(1), GFP_KERNEL), 0);
  EXPECT_EQ(xa_insert(&plain_, 9, Entry(2), GFP_KERNEL), -EBUSY);
  EXPECT_EQ(xa_erase(&plain_, 9), Entry(1));
}

TEST_F(XarrayTest, ErrorsAndValues) {
  EXPECT_EQ(xa_err(xa_mk_err(-ENOMEM)), -ENOMEM);
  EXPECT_TRUE(xa_is_err(xa_mk_err(-1)));
  EXPECT_FALSE(xa_is_err(Entry(0)));
  EXPECT_FALSE(xa_is_err(nullptr));
  EXPECT_FALSE(xa_is_err(XA_ZERO_ENTRY));
  EXPECT_EQ(xa_to_value(xa_mk_value(1234)), 1234u);
  EXPECT_TRUE(xa_is_value(xa_mk_value(0)));
}

TEST_F(XarrayTest, NoMemoryLeavesNothingBehind) {
  // Three nodes are needed: each of them fails once.
  for (u32 nth = 1; nth <= 3; ++nth) {
    fail_nth_write(&task_, nth);
    EXPECT_EQ(xa_err(xa_store(&plain_, 64 * 64 + 5, Entry(0), GFP_KERNEL)),
              -ENOMEM);
    EXPECT_TRUE(xa_empty(&plain_));
    EXPECT_EQ(kernel_slab_live(&kernel_), 0);
  }
  EXPECT_EQ(xa_store(&plain_, 1, Entry(1), GFP_KERNEL), nullptr);
  for (u32 nth = 1; nth <= 3; ++nth) {
    fail_nth_write(&task_, nth);
    void* old = xa_store(&plain_, 64 * 64 + 5, Entry(0), GFP_KERNEL);
    EXPECT_TRUE(fail_nth_read(&task_) || xa_err(old) == -ENOMEM);
    EXPECT_EQ(xa_load(&plain_, 1), Entry(1));
    fail_nth_write(&task_, 0);
  }
  xa_destroy(&plain_);
}

TEST_F(XarrayTest, TheCurrentEntryMayGoDuringTheWalk) {
  for (size_t i = 0; i < 300; ++i) {
    EXPECT_EQ(xa_store(&plain_, i * 7, Entry(i), GFP_KERNEL), nullptr);
  }
  size_t n = 0;
  unsigned long index;
  void* entry;
  xa_for_each(&plain_, index, entry) {
    EXPECT_EQ(xa_erase(&plain_, index), Entry(n));
    n++;
  }
  EXPECT_EQ(n, 300u);
  EXPECT_TRUE(xa_empty(&plain_));
}

TEST_F(XarrayTest, RangeWalkStopsAtItsEnd) {
  for (size_t i : {10, 20, 30}) {
    EXPECT_EQ(xa_store(&plain_, i, Entry(i), GFP_KERNEL), nullptr);
  }
  std::vector<unsigned long> seen;
  unsigned long index;
  void* entry;
  xa_for_each_range(&plain_, index, entry, 11, 30) seen.push_back(index);
  EXPECT_THAT(seen, testing::ElementsAre(20, 30));
  xa_destroy(&plain_);
}

TEST_F(XarrayTest, LoadWorksWithTheLockHeld) {
  EXPECT_EQ(xa_store(&plain_, 3, Entry(3), GFP_KERNEL), nullptr);
  xa_guard g(&plain_);
  EXPECT_EQ(xa_load(&plain_, 3), Entry(3));
  EXPECT_EQ(__xa_erase(&plain_, 3), Entry(3));
}

// All operations against a map, at indices that are dense here and sparse
// there.
TEST_F(XarrayTest, BehavesAsAMap) {
  std::mt19937_64 random(1);
  std::map<unsigned long, void*> model;  // with reserved entries as themselves
  const auto index = [&]() -> unsigned long {
    switch (random() % 4) {
      case 0:
        return random() % 70;
      case 1:
        return random() % 5000;
      case 2:
        return ULONG_MAX - random() % 100;
      default:
        return 1ul << (random() % 64);
    }
  };
  const auto visible = [&](unsigned long i) -> void* {
    auto it = model.find(i);
    return it == model.end() || it->second == XA_ZERO_ENTRY ? nullptr
                                                            : it->second;
  };
  for (int step = 0; step < 20000; ++step) {
    const unsigned long i = index();
    void* const entry = Entry(random());
    switch (random() % 8) {
      case 0:
      case 1:
        ASSERT_EQ(xa_store(&ids_, i, entry, GFP_KERNEL), visible(i));
        model[i] = entry;
        break;
      case 2:
      case 3:
        ASSERT_EQ(xa_erase(&ids_, i), visible(i));
        model.erase(i);
        break;
      case 4:
        ASSERT_EQ(xa_insert(&ids_, i, entry, GFP_KERNEL),
                  model.count(i) ? -EBUSY : 0);
        model.emplace(i, entry);
        break;
      case 5: {
        ASSERT_EQ(xa_reserve(&ids_, i, GFP_KERNEL), 0);
        model.emplace(i, XA_ZERO_ENTRY);
        break;
      }
      case 6: {
        const u32 min = random() % 100;
        const u32 max = min + random() % 100;
        u32 want = min;
        while (want <= max && model.count(want)) ++want;
        u32 id = 0;
        const int rc =
            xa_alloc(&ids_, &id, entry, XA_LIMIT(min, max), GFP_KERNEL);
        ASSERT_EQ(rc, want <= max ? 0 : -EBUSY);
        if (rc) break;
        ASSERT_EQ(id, want);
        model[id] = entry;
        break;
      }
      case 7: {
        ASSERT_EQ(xa_load(&ids_, i), visible(i));
        unsigned long at = i;
        void* const found = xa_find(&ids_, &at, ULONG_MAX);
        auto it = model.lower_bound(i);
        while (it != model.end() && it->second == XA_ZERO_ENTRY) ++it;
        ASSERT_EQ(found, it == model.end() ? nullptr : it->second);
        if (found) ASSERT_EQ(at, it->first);
        break;
      }
    }
    ASSERT_EQ(xa_empty(&ids_), model.empty());
  }
  for (const auto& [i, entry] : model) xa_erase(&ids_, i);
  EXPECT_TRUE(xa_empty(&ids_));
  EXPECT_EQ(kernel_slab_live(&kernel_), 0) << "a node outlived its entries";
}

TEST_F(XarrayTest, ThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      task_struct task(&kernel_);
      task_scope scope(&task);
      for (int i = 0; i < 2000; ++i) {
        u32 id;
        ASSERT_EQ(xa_alloc(&ids_, &id, &id, xa_limit_31b, GFP_KERNEL), 0);
        ASSERT_EQ(xa_load(&ids_, id), &id);
        ASSERT_EQ(xa_erase(&ids_, id), &id);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(xa_empty(&ids_));
}

}  // namespace
}  // namespace iommulab
