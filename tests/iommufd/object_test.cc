// SPDX-License-Identifier: GPL-2.0-or-later
// The object table by itself: reserve, publish, hold, remove, close.
#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "core/iommufd/iommufd_private.h"
#include "core/linux/file.h"
#include "core/linux/kernel.h"
#include "core/linux/sched.h"
#include "gtest/gtest.h"

namespace iommulab {
namespace {

// Any object that the tests can make as they like.
struct TestObject : iommufd_object {
  static constexpr enum iommufd_object_type obj_type = IOMMUFD_OBJ_SELFTEST;

  users_ref<TestObject> holds;
  std::vector<uint32_t>* log = nullptr;
  std::atomic<int>* destroyed = nullptr;
};

// The row of its type, which the selftest has, declares no member.
void Hold(TestObject* holder, users_ref<TestObject>&& user) {
  iommufd_users::set(&holder->holds, std::move(user));
}

void DestroyTestObject(struct iommufd_object* obj) {
  auto* t = static_cast<TestObject*>(obj);
  if (t->log) t->log->push_back(t->id);
  if (t->destroyed) t->destroyed->fetch_add(1);
  t->holds.reset();
}

const struct iommufd_test_ops kTestOps = {
    .ioctl = [](struct iommufd_ucmd*) { return -ENOTTY; },
    .destroy = DestroyTestObject,
    .is_mock_dev = [](struct device*) { return true; },
    .syz_conv_iova_id = nullptr,
    .memory_limit = 0,
};

class ObjectTest : public ::testing::Test {
 protected:
  ObjectTest() : task_(&kernel_), files_(&kernel_) {
    kernel_.iommufd_test = &kTestOps;
    task_.files = &files_;
    task_scope scope(&task_);
    auto file = iommufd_file_open(&iommufd_revision_hw_queue, false);
    EXPECT_TRUE(file);
    file_ = *file;
    ictx_ = static_cast<iommufd_ctx*>(file_->private_data);
  }
  ~ObjectTest() override {
    Close();
    EXPECT_EQ(kernel_slab_live(&kernel_), 0);
    EXPECT_EQ(kernel_warn_count(&kernel_), 0u);
  }

  void Close() {
    if (!file_) return;
    task_scope scope(&task_);
    __fput_sync(file_);
    file_ = nullptr;
  }
  TestObject* Reserve() {
    auto obj = iommufd_object_alloc<TestObject>(ictx_);
    EXPECT_TRUE(obj);
    obj->destroyed = &destroyed_;
    obj->log = &log_;
    return *obj;
  }
  TestObject* New() {
    TestObject* obj = Reserve();
    iommufd_object_finalize(ictx_, obj);
    return obj;
  }
  int Get(uint32_t id, enum iommufd_object_type type = IOMMUFD_OBJ_ANY) {
    auto obj = iommufd_get_object(ictx_, id, type);
    return obj.error();
  }
  int Destroy(uint32_t id) { return iommufd_object_remove(ictx_, {}, id, 0); }

  struct kernel kernel_;
  task_struct task_;
  files_struct files_;
  struct file* file_ = nullptr;
  iommufd_ctx* ictx_ = nullptr;
  std::atomic<int> destroyed_{0};
  std::vector<uint32_t> log_;
};

TEST_F(ObjectTest, AReservedIdIsNobodys) {
  task_scope scope(&task_);
  TestObject* obj = Reserve();
  EXPECT_EQ(obj->id, 1u);
  EXPECT_EQ(iommufd_users::read(obj), 1u);
  EXPECT_EQ(refcount_read(&obj->wait_cnt), 1u);
  EXPECT_EQ(Get(1), -ENOENT);
  EXPECT_EQ(Destroy(1), -ENOENT);
  EXPECT_FALSE(iommufd_try_get_users(ictx_, obj));
  TestObject* next = Reserve();
  EXPECT_EQ(next->id, 2u);
  iommufd_object_abort(ictx_, next);

  iommufd_object_finalize(ictx_, obj);
  EXPECT_EQ(Get(1), 0);
  EXPECT_EQ(Destroy(1), 0);
  EXPECT_EQ(destroyed_, 1);
  EXPECT_EQ(Destroy(1), -ENOENT);
  EXPECT_EQ(Destroy(0), -ENOENT);
  EXPECT_EQ(Destroy(0xffffffff), -ENOENT);
}

TEST_F(ObjectTest, AbortGivesTheIdBack) {
  task_scope scope(&task_);
  TestObject* one = Reserve();
  EXPECT_EQ(New()->id, 2u);
  iommufd_object_abort(ictx_, one);
  EXPECT_EQ(destroyed_, 0);
  // The lowest that is free.
  one = Reserve();
  EXPECT_EQ(one->id, 1u);
  iommufd_object_abort_and_destroy(ictx_, one);
  EXPECT_EQ(destroyed_, 1);
  EXPECT_EQ(New()->id, 1u);
  EXPECT_EQ(New()->id, 3u);
}

TEST_F(ObjectTest, LookUpByType) {
  task_scope scope(&task_);
  New();
  EXPECT_EQ(Get(1, IOMMUFD_OBJ_SELFTEST), 0);
  EXPECT_EQ(Get(1, IOMMUFD_OBJ_IOAS), -ENOENT);
  EXPECT_EQ(Get(2, IOMMUFD_OBJ_SELFTEST), -ENOENT);
}

TEST_F(ObjectTest, AShortReferenceCountsInBoth) {
  task_scope scope(&task_);
  TestObject* obj = New();
  {
    auto ref = iommufd_get<TestObject>(ictx_, 1);
    ASSERT_TRUE(ref);
    EXPECT_EQ(ref.get(), obj);
    EXPECT_EQ(iommufd_users::read(obj), 2u);
    EXPECT_EQ(refcount_read(&obj->wait_cnt), 2u);
    // Somebody else's destroy does not wait for a call: it is busy.
    EXPECT_EQ(Destroy(1), -EBUSY);
    EXPECT_EQ(refcount_read(&obj->wait_cnt), 2u);
  }
  EXPECT_EQ(iommufd_users::read(obj), 1u);
  EXPECT_EQ(refcount_read(&obj->wait_cnt), 1u);
  EXPECT_EQ(Destroy(1), 0);
}

TEST_F(ObjectTest, ALongReferenceCountsInUsers) {
  task_scope scope(&task_);
  TestObject* kept = New();
  TestObject* holder = New();
  {
    auto ref = iommufd_get<TestObject>(ictx_, kept->id);
    Hold(holder, users_ref<TestObject>(ref));
    EXPECT_EQ(iommufd_users::read(kept), 3u);
  }
  EXPECT_EQ(iommufd_users::read(kept), 2u);
  EXPECT_EQ(refcount_read(&kept->wait_cnt), 1u);
  EXPECT_EQ(Destroy(1), -EBUSY);
  EXPECT_EQ(Destroy(2), 0);
  EXPECT_EQ(iommufd_users::read(kept), 1u);
  EXPECT_EQ(Destroy(1), 0);
}

TEST_F(ObjectTest, CloseEndsLeavesFirst) {
  {
    task_scope scope(&task_);
    // 1 <- 2 <- 3, in the order in which nothing can be ended as it comes.
    for (int i = 0; i < 3; i++) New();
    for (uint32_t id = 2; id <= 3; id++) {
      auto kept = iommufd_get<TestObject>(ictx_, id - 1);
      auto holder = iommufd_get<TestObject>(ictx_, id);
      Hold(holder.get(), users_ref<TestObject>(kept));
    }
    New();
  }
  Close();
  EXPECT_EQ(log_, (std::vector<uint32_t>{3, 4, 2, 1}));
}

TEST_F(ObjectTest, TombstoneKeepsTheIdUntilClose) {
  task_scope scope(&task_);
  TestObject* obj = New();
  auto user = iommufd_try_get_users(ictx_, obj);
  EXPECT_EQ(Destroy(1), -EBUSY);
  iommufd_object_tombstone_user(ictx_, std::move(user));
  EXPECT_EQ(destroyed_, 1);
  EXPECT_EQ(Get(1), -ENOENT);
  EXPECT_EQ(Destroy(1), -ENOENT);
  EXPECT_TRUE(xa_is_zero(xa_load_raw(&ictx_->objects, 1)));
  EXPECT_EQ(New()->id, 2u);
}

TEST_F(ObjectTest, DestroyOfOnesOwnFailsWhenItIsHeld) {
  task_scope scope(&task_);
  TestObject* obj = New();
  auto user = iommufd_try_get_users(ictx_, obj);
  auto other = iommufd_try_get_users(ictx_, obj);
  // The caller's user goes in any case, and the table's part comes back.
  EXPECT_EQ(iommufd_object_remove(ictx_, std::move(user), 1, REMOVE_WAIT),
            -EBUSY);
  EXPECT_EQ(iommufd_users::read(obj), 2u);
  EXPECT_EQ(refcount_read(&obj->wait_cnt), 1u);
  EXPECT_EQ(Get(1), 0);
  iommufd_object_destroy_user(ictx_, std::move(other));
  EXPECT_EQ(destroyed_, 1);
}

TEST_F(ObjectTest, DestroyOfOnesOwnWaitsForCalls) {
  std::unique_ptr<task_scope> scope = std::make_unique<task_scope>(&task_);
  TestObject* obj = New();
  auto user = iommufd_try_get_users(ictx_, obj);

  std::atomic<int> step{0};
  std::thread call([&] {
    task_struct task(&kernel_);
    task_scope other(&task);
    auto ref = iommufd_get<TestObject>(ictx_, 1);
    EXPECT_TRUE(ref);
    step = 1;
    while (!waitqueue_active(&ictx_->destroy_wait)) std::this_thread::yield();
    EXPECT_EQ(destroyed_, 0);
  });
  while (step == 0) std::this_thread::yield();
  iommufd_object_destroy_user(ictx_, std::move(user));
  EXPECT_EQ(destroyed_, 1);
  call.join();
}

TEST_F(ObjectTest, AUcmdMakesOneObject) {
  task_scope scope(&task_);
  struct iommufd_ucmd ucmd;
  ucmd.ictx = ictx_;
  auto obj = iommufd_object_alloc_ucmd<TestObject>(&ucmd);
  ASSERT_TRUE(obj);
  EXPECT_EQ(ucmd.new_obj, *obj);
  iommufd_object_abort_and_destroy(ictx_, ucmd.new_obj);
}

TEST_F(ObjectTest, EveryAllocationCanFail) {
  task_scope scope(&task_);
  unsigned int n = 1;
  for (;; n++) {
    ASSERT_LT(n, 10u);
    fail_nth_write(&task_, n);
    auto obj = iommufd_object_alloc<TestObject>(ictx_);
    bool failed = fail_nth_read(&task_) == 0;
    fail_nth_write(&task_, 0);
    if (!failed) {
      ASSERT_TRUE(obj);
      iommufd_object_abort(ictx_, *obj);
      break;
    }
    EXPECT_EQ(obj.error(), -ENOMEM);
  }
  EXPECT_GT(n, 2u);  // the object and the table's node
}

// Threads that create, look up and destroy over the same few ids. An object
// is destroyed once, and a call that has one keeps it.
TEST_F(ObjectTest, GetAndDestroyRace) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2000;
  std::atomic<int> created{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++) {
    threads.emplace_back([&, t] {
      task_struct task(&kernel_);
      task_scope scope(&task);
      uint32_t random = 12345 + t;
      for (int i = 0; i < kRounds; i++) {
        random = random * 1664525 + 1013904223;
        uint32_t id = 1 + (random >> 16) % 6;
        switch ((random >> 8) % 3) {
          case 0: {
            auto obj = iommufd_object_alloc<TestObject>(ictx_);
            if (!obj) break;
            obj->destroyed = &destroyed_;
            if (obj->id > 6) {
              iommufd_object_abort(ictx_, *obj);
              break;
            }
            created++;
            iommufd_object_finalize(ictx_, *obj);
            break;
          }
          case 1: {
            auto ref = iommufd_get<TestObject>(ictx_, id);
            if (!ref) break;
            EXPECT_EQ(ref->id, id);
            EXPECT_EQ(ref->destroyed, &destroyed_);
            break;
          }
          case 2: {
            int rc = Destroy(id);
            EXPECT_TRUE(rc == 0 || rc == -ENOENT || rc == -EBUSY) << rc;
            break;
          }
        }
      }
    });
  }
  for (auto& t : threads) t.join();
  Close();
  EXPECT_EQ(destroyed_, created);
}

}  // namespace
}  // namespace iommulab
