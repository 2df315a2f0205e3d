// SPDX-License-Identifier: GPL-2.0-or-later
//
// A kernel with one task, entered, for the tests of core/linux.
#pragma once

#include <cstring>
#include <string>

#include "core/linux/kernel.h"
#include "core/linux/mm_types.h"
#include "core/linux/sched.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace iommulab {

// Does not abort on a WARN: TearDown() fails when there was one more, or one
// less, than the test said, and when an allocation is left.
class KernelTest : public testing::Test {
 protected:
  explicit KernelTest(kernel_options options = {})
      : kernel_(Adapt(options)), task_(&kernel_, "test"), scope_(&task_) {}

  void TearDown() override {
    EXPECT_EQ(kernel_warn_count(&kernel_), expected_warns_) << Log();
    EXPECT_EQ(kernel_slab_live(&kernel_), 0);
  }

  std::string Log() const { return kernel_log_text(&kernel_); }
  void ExpectWarns(uint64_t n) { expected_warns_ = n; }

  kernel kernel_;
  task_struct task_;

 private:
  static kernel_options Adapt(kernel_options options) {
    options.panic_on_warn = false;
    return options;
  }

  uint64_t expected_warns_ = 0;
  task_scope scope_;
};

// An address space of one buffer that begins at kBase; beyond it is nothing.
class BufferMm : public mm_struct {
 public:
  static constexpr u64 kBase = 0x10000;
  static constexpr size_t kSize = 8192;

  BufferMm() {
    static constexpr mm_user_ops kOps = {&CopyFrom, &CopyTo, &Clear};
    user_ops = &kOps;
  }

  u8 bytes[kSize] = {};
  int reads = 0;

 private:
  static u8* At(mm_struct* mm, u64 addr, size_t n) {
    if (addr < kBase || n > kSize || addr - kBase > kSize - n) return nullptr;
    return static_cast<BufferMm*>(mm)->bytes + (addr - kBase);
  }
  static size_t CopyFrom(mm_struct* mm, void* dst, u64 addr, size_t n) {
    static_cast<BufferMm*>(mm)->reads++;
    const u8* p = At(mm, addr, n);
    if (!p) return n;
    memcpy(dst, p, n);
    return 0;
  }
  static size_t CopyTo(mm_struct* mm, u64 addr, const void* src, size_t n) {
    u8* p = At(mm, addr, n);
    if (!p) return n;
    memcpy(p, src, n);
    return 0;
  }
  static size_t Clear(mm_struct* mm, u64 addr, size_t n) {
    u8* p = At(mm, addr, n);
    if (!p) return n;
    memset(p, 0, n);
    return 0;
  }
};

}  // namespace iommulab
