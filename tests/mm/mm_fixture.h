// SPDX-License-Identifier: GPL-2.0-or-later
//
// A kernel with simulated memory and one process on it; at the end nothing may
// be left.
#pragma once

#include <sys/mman.h>

#include <memory>
#include <string>
#include <vector>

#include "core/linux/fault-inject.h"
#include "core/linux/file.h"
#include "core/linux/io.h"
#include "core/linux/kernel.h"
#include "core/mm/memfd.h"
#include "core/mm/mm.h"
#include "core/mm/vma.h"
#include "gtest/gtest.h"

namespace mm_test {

constexpr unsigned long kPage = PAGE_SIZE;
constexpr unsigned long k2M = SZ_2M;
constexpr unsigned long kRW = PROT_READ | PROT_WRITE;
constexpr unsigned long kAnon = MAP_PRIVATE | MAP_ANONYMOUS;

class MmFixture : public testing::Test {
 protected:
  explicit MmFixture(bool host = false, size_t ram_bytes = 16 << 20) {
    mm_options opts;
    opts.ram_bytes = ram_bytes;
    opts.shared_ram = host;
    kernel_ = std::make_unique<struct kernel>();
    EXPECT_EQ(0, mm_init(kernel_.get(), opts));
    task_ = std::make_unique<task_struct>(kernel_.get());
    files_ = std::make_unique<files_struct>(kernel_.get());
    mm_ = host ? host_mm_alloc(kernel_.get()) : arena_mm_alloc(kernel_.get());
    task_->mm = mm_;
    task_->files = files_.get();
    scope_ = std::make_unique<task_scope>(task_.get());
  }

  ~MmFixture() override {
    Leave();
    if (mm_ != nullptr) mmput(mm_);
    Leave();
    mm_residue r = mm_get_residue(kernel_.get());
    EXPECT_EQ(0u, r.pages);
    EXPECT_EQ(0u, r.pins);
    EXPECT_EQ(0u, r.vmas);
    EXPECT_EQ(0u, r.mms);
    EXPECT_EQ(0, r.locked_vm);
    EXPECT_EQ(0, r.pinned_vm);
    EXPECT_EQ(0, r.users);
    EXPECT_EQ(0, kernel_->files_open.load());
    EXPECT_EQ(0, kernel_slab_live(kernel_.get()));
    EXPECT_EQ(0u, kernel_warn_count(kernel_.get()));
    mm_exit(kernel_.get());
    scope_.reset();
    task_.reset();
  }

  // What the end of a system call does: deferred puts run.
  void Leave() {
    scope_.reset();
    scope_ = std::make_unique<task_scope>(task_.get());
  }

  static size_t Pages(const struct kernel* k) {
    return mm_get_residue(k).pages;
  }
  size_t Pages() const { return Pages(kernel_.get()); }
  size_t Pins() const { return mm_get_residue(kernel_.get()).pins; }
  size_t Vmas() const { return mm_get_residue(kernel_.get()).vmas; }

  static unsigned long Map(unsigned long len, unsigned long prot = kRW,
                           const mapping_shape& shape = {}) {
    long addr = vm_mmap_shape(nullptr, 0, len, prot, kAnon, 0, shape);
    EXPECT_GT(addr, 0);
    return static_cast<unsigned long>(addr);
  }

  // How many bytes could not be copied.
  size_t In(unsigned long addr, void* to, size_t n) {
    return mm_->user_ops->copy_from_user(mm_, to, addr, n);
  }
  size_t Out(unsigned long addr, const void* from, size_t n) {
    return mm_->user_ops->copy_to_user(mm_, addr, from, n);
  }
  bool CanRead(unsigned long addr) {
    char c;
    return In(addr, &c, 1) == 0;
  }
  bool CanWrite(unsigned long addr) { return Out(addr, "x", 1) == 0; }

  static long PinRemote(mm_struct* mm, unsigned long addr, unsigned long n,
                        unsigned int flags, page** pages) {
    int locked = 1;
    mmap_read_lock(mm);
    long rc = pin_user_pages_remote(mm, addr, n, flags, pages, &locked);
    EXPECT_EQ(1, locked);
    mmap_read_unlock(mm);
    return rc;
  }

  std::unique_ptr<struct kernel> kernel_;
  std::unique_ptr<task_struct> task_;
  std::unique_ptr<files_struct> files_;
  std::unique_ptr<task_scope> scope_;
  mm_struct* mm_ = nullptr;
};

}  // namespace mm_test
