// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the io_pagetable tests stand on: a kernel with one process, I/O address
// spaces without an object table, and a domain that keeps its map in the open.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/iommu/iommu.h"
#include "core/iommufd/double_span.h"
#include "core/iommufd/io_pagetable.h"
#include "core/iommufd/iommufd_private.h"
#include "core/linux/capability.h"
#include "core/linux/fault-inject.h"
#include "core/linux/kernel.h"
#include "core/linux/slab.h"
#include "core/mm/mm.h"
#include "core/mm/vma.h"
#include "gtest/gtest.h"

namespace iopt_test {

inline constexpr unsigned long kPage = PAGE_SIZE;
inline constexpr unsigned long k4kOnly = SZ_4K;
inline constexpr unsigned long k4kAndUp = ~(SZ_4K - 1);
inline constexpr unsigned long k2kAndUp = ~(2 * SZ_1K - 1);

// A domain whose map is a std::map. An unmap must cut where a map call cut: it
// refuses to break a page. As with a driver's, its ops may be called for
// different IOVA at once.
struct FakeDomain : iommu_domain {
  struct Pte {
    phys_addr_t phys;
    size_t size;
    int prot;
  };

  FakeDomain(const FakeDomain&) = delete;
  explicit FakeDomain(unsigned long pgsizes, unsigned long first = 0,
                      unsigned long last = ~0UL) {
    type = IOMMU_DOMAIN_UNMANAGED;
    ops = &kOps;
    dirty_ops = &kDirtyOps;
    pgsize_bitmap = pgsizes;
    geometry.aperture_start = first;
    geometry.aperture_end = last;
    geometry.force_aperture = true;
  }

  // Bytes that are mapped.
  size_t mapped_bytes() const {
    size_t bytes = 0;
    for (const auto& [iova, pte] : ptes) bytes += pte.size;
    return bytes;
  }

  const Pte* Find(unsigned long iova) const {
    auto it = ptes.upper_bound(iova);
    if (it == ptes.begin()) return nullptr;
    --it;
    return iova - it->first < it->second.size ? &it->second : nullptr;
  }

  phys_addr_t Translate(unsigned long iova) const {
    auto it = ptes.upper_bound(iova);
    if (it == ptes.begin()) return 0;
    --it;
    const unsigned long offset = iova - it->first;
    return offset < it->second.size ? it->second.phys + offset : 0;
  }

  std::map<unsigned long, Pte> ptes;
  unsigned long map_calls = 0;
  // The map call that fails, counted down; 0: none.
  unsigned int fail_map_in = 0;
  int fail_errno = -ENOSPC;
  bool tracking = false;
  std::vector<std::pair<unsigned long, size_t>> cleared;
  std::function<void()> on_unmap;

 private:
  static FakeDomain* Self(iommu_domain* domain) {
    return static_cast<FakeDomain*>(domain);
  }

  static int MapPages(iommu_domain* domain, unsigned long iova,
                      phys_addr_t paddr, size_t pgsize, size_t pgcount,
                      int prot, gfp_t gfp, size_t* mapped) {
    FakeDomain* d = Self(domain);
    std::lock_guard<std::mutex> guard(d->mutex_);
    d->map_calls++;
    if (d->fail_map_in && --d->fail_map_in == 0) return d->fail_errno;
    // A page table page that may not be had.
    void* table = kmalloc(64, gfp);
    if (!table) return -ENOMEM;
    kfree(table);
    for (size_t i = 0; i < pgcount; i++) {
      EXPECT_TRUE(d->pgsize_bitmap & pgsize);
      EXPECT_EQ((iova | paddr) & (pgsize - 1), 0u);
      EXPECT_EQ(d->Find(iova), nullptr) << "maps over a mapping";
      EXPECT_EQ(d->Find(iova + pgsize - 1), nullptr);
      d->ptes[iova] = {paddr, pgsize, prot};
      iova += pgsize;
      paddr += pgsize;
      *mapped += pgsize;
    }
    return 0;
  }

  static size_t UnmapPages(iommu_domain* domain, unsigned long iova,
                           size_t pgsize, size_t pgcount, iommu_iotlb_gather*) {
    FakeDomain* d = Self(domain);
    const size_t size = pgsize * pgcount;
    size_t done = 0;
    if (d->on_unmap) d->on_unmap();
    std::lock_guard<std::mutex> guard(d->mutex_);
    while (done < size) {
      auto it = d->ptes.find(iova + done);
      // Nothing there, the middle of a page, or a page that reaches further.
      if (it == d->ptes.end() || it->second.size > size - done) break;
      done += it->second.size;
      d->ptes.erase(it);
    }
    return done;
  }

  static phys_addr_t IovaToPhys(iommu_domain* domain, dma_addr_t iova) {
    std::lock_guard<std::mutex> guard(Self(domain)->mutex_);
    return Self(domain)->Translate(iova);
  }

  static int SetDirtyTracking(iommu_domain* domain, bool enabled) {
    Self(domain)->tracking = enabled;
    return 0;
  }

  static int ReadAndClearDirty(iommu_domain* domain, unsigned long iova,
                               size_t size, unsigned long,
                               struct iommu_dirty_bitmap*) {
    Self(domain)->cleared.emplace_back(iova, size);
    return 0;
  }

  std::mutex mutex_;

  static constexpr iommu_domain_ops kOps = {
      .map_pages = MapPages,
      .unmap_pages = UnmapPages,
      .iova_to_phys = IovaToPhys,
  };
  static constexpr iommu_dirty_ops kDirtyOps = {
      .set_dirty_tracking = SetDirtyTracking,
      .read_and_clear_dirty = ReadAndClearDirty,
  };
};

// A process of a user without privileges, in system call after system call.
class IoptTest : public ::testing::Test {
 protected:
  explicit IoptTest(const kernel_options& opts = {}) : kernel_(opts) {
    EXPECT_EQ(mm_init(&kernel_, {.ram_bytes = 64 << 20}), 0);
    kernel_.iommufd_test = &hooks_;
    task_ = NewTask();
    scope_ = std::make_unique<task_scope>(task_.get());
    user_ = alloc_uid(&kernel_, 1000);
    cred_.uid = 1000;
    cred_.caps = 0;
    cred_.user = user_;
    task_->mm = arena_mm_alloc(&kernel_);
    task_->cred = &cred_;
    task_->rlimit_memlock = 1UL << 40;
    ictx_ = std::make_unique<iommufd_ctx>();
    base_slab_ = kernel_slab_live(&kernel_);
  }

  ~IoptTest() override {
    task_work_run();
    EXPECT_EQ(LockedVm(), 0);
    EXPECT_EQ(PinnedVm(), 0);
    EXPECT_EQ(mm_get_residue(&kernel_).pins, 0u);
    EXPECT_EQ(kernel_warn_count(&kernel_), 0u) << kernel_log_text(&kernel_);
    ictx_.reset();
    if (task_->mm) mmput(task_->mm);
    task_->mm = nullptr;
    mm_exit(&kernel_);
    scope_.reset();
    task_.reset();
  }

  std::unique_ptr<task_struct> NewTask() {
    return std::make_unique<task_struct>(&kernel_);
  }

  // Makes `task` current until the next call.
  void Become(task_struct* task) {
    scope_.reset();
    scope_ = std::make_unique<task_scope>(task);
  }

  std::unique_ptr<iommufd_ioas> NewIoas() {
    auto ioas = std::make_unique<iommufd_ioas>();
    iopt_init_table(&ioas->iopt);
    return ioas;
  }

  // Memory of the process with all its pages there.
  unsigned long NewBuffer(size_t bytes, const mapping_shape& shape = {},
                          int prot = PROT_READ | PROT_WRITE) {
    long addr = vm_mmap_shape(nullptr, 0, bytes, prot,
                              MAP_ANONYMOUS | MAP_PRIVATE, 0, shape);
    EXPECT_GT(addr, 0);
    return static_cast<unsigned long>(addr);
  }

  // The same in runs of consecutive pages with a step between two runs.
  unsigned long NewRunsBuffer(unsigned long npages, unsigned long run) {
    const unsigned long addr = NewBuffer(npages * kPage);
    // Pages come from the lowest free frame, when they are touched.
    for (unsigned long end = npages; end > 0;) {
      const unsigned long start = end > run ? end - run : 0;
      for (unsigned long i = start; i < end; i++) PageOf(addr + i * kPage);
      end = start;
    }
    return addr;
  }

  // The page behind a user address.
  struct page* PageOf(unsigned long addr) {
    struct page* page = nullptr;
    EXPECT_EQ(pin_user_pages_fast(addr & PAGE_MASK, 1, 0, &page), 1);
    unpin_user_page(page);
    return page;
  }

  phys_addr_t PhysOf(unsigned long addr) {
    return page_to_phys(PageOf(addr)) + offset_in_page(addr);
  }

  int MapFixed(iommufd_ioas* ioas, unsigned long iova, unsigned long addr,
               unsigned long length, int prot = IOMMU_READ | IOMMU_WRITE) {
    return iopt_map_user_pages(ictx_.get(), &ioas->iopt, &iova,
                               user_inout<void>(addr), length, prot, 0);
  }

  int MapAuto(iommufd_ioas* ioas, unsigned long* iova, unsigned long addr,
              unsigned long length, int prot = IOMMU_READ | IOMMU_WRITE) {
    return iopt_map_user_pages(ictx_.get(), &ioas->iopt, iova,
                               user_inout<void>(addr), length, prot,
                               IOPT_ALLOC_IOVA);
  }

  int Copy(iommufd_ioas* src, unsigned long src_iova, unsigned long length,
           iommufd_ioas* dst, unsigned long* dst_iova, int prot,
           unsigned int flags = 0) {
    LIST_HEAD(pages_list);
    int rc = iopt_get_pages(&src->iopt, src_iova, length, &pages_list);
    if (rc) return rc;
    rc = iopt_map_pages(&dst->iopt, &pages_list, length, dst_iova, prot, flags);
    iopt_free_pages_list(&pages_list);
    return rc;
  }

  int Unmap(iommufd_ioas* ioas, unsigned long iova, unsigned long length,
            unsigned long* unmapped = nullptr) {
    return iopt_unmap_iova(&ioas->iopt, iova, length, unmapped);
  }

  void Destroy(iommufd_ioas* ioas) {
    EXPECT_EQ(iopt_unmap_all(&ioas->iopt, nullptr), 0);
    iopt_destroy_table(&ioas->iopt);
  }

  long LockedVm() const { return user_->locked_vm.load(); }
  long PinnedVm() const { return to_sim_mm(task_->mm)->pinned_vm.load(); }
  long MmLockedVm() const LOCK_ANALYSIS_ESCAPE("one thread") {
    return static_cast<long>(to_sim_mm(task_->mm)->locked_vm);
  }
  long Pins() const { return static_cast<long>(mm_get_residue(&kernel_).pins); }

  // Reads the I/O address space like a device would that has no page table.
  int Rw(iommufd_ioas* ioas, unsigned long iova, void* data,
         unsigned long length, unsigned int flags) {
    rwsem_read_guard guard(&ioas->iopt.iova_rwsem);
    iopt_area_contig_iter iter;
    iopt_area* area;
    auto* bytes = static_cast<char*>(data);
    iopt_for_each_contig_area(&iter, area, &ioas->iopt, iova,
                              iova + length - 1) {
      const unsigned long last =
          std::min(iova + length - 1, iopt_area_last_iova(area));
      const unsigned long n = last - iter.cur_iova + 1;
      int rc = iopt_pages_rw_access(area->pages,
                                    iopt_area_start_byte(area, iter.cur_iova),
                                    bytes, n, flags);
      if (rc) return rc;
      bytes += n;
    }
    return iopt_area_contig_done(&iter) ? 0 : -ENOENT;
  }

  void SetAccountMode(u8 mode) { ictx_->account_mode = mode; }

  kernel kernel_;
  iommufd_test_ops hooks_{};
  cred cred_ = {};
  user_struct* user_ = nullptr;
  std::unique_ptr<task_struct> task_;
  std::unique_ptr<task_scope> scope_;
  std::unique_ptr<iommufd_ctx> ictx_;
  long base_slab_ = 0;
};

// An in-kernel user of an address space that lets go when it is told to.
class FakeAccess {
 public:
  FakeAccess(iommufd_ctx* ictx, iommufd_ioas* ioas,
             unsigned long alignment = kPage)
      : ioas_(ioas) {
    iommufd_users::init(&access_);
    refcount_set(&access_.wait_cnt, 1);
    access_.type = IOMMUFD_OBJ_ACCESS;
    access_.ictx = ictx;
    access_.ops = &kOps;
    access_.data = this;
    access_.iova_alignment = alignment;
  }

  int Add() { return iopt_add_access(&ioas_->iopt, &access_); }
  void Remove() {
    iopt_remove_access(&ioas_->iopt, &access_, access_.iopt_access_list_id);
  }

  int Pin(unsigned long iova, unsigned long length,
          std::vector<struct page*>* out = nullptr,
          unsigned int flags = IOMMUFD_ACCESS_RW_READ) {
    std::vector<struct page*> pages(length / kPage + 2);
    int rc =
        iopt_pin_pages(&ioas_->iopt, iova, length, pages.data(), flags, false);
    if (!rc) pins_.emplace_back(iova, length);
    if (out) *out = pages;
    return rc;
  }

  void Unpin(size_t i) {
    auto [iova, length] = pins_[i];
    pins_.erase(pins_.begin() + static_cast<ptrdiff_t>(i));
    iopt_unpin_pages(&ioas_->iopt, iova, length, false);
  }

  void UnpinAll() {
    while (!pins_.empty()) Unpin(pins_.size() - 1);
  }

  const std::vector<std::pair<unsigned long, unsigned long>>& pins() const {
    return pins_;
  }
  int unmap_calls() const { return unmap_calls_; }
  // Called before letting go; the argument is the range of the notification.
  std::function<void(unsigned long, unsigned long)> on_unmap;
  bool deaf = false;

 private:
  static void OnUnmap(void* data, unsigned long iova, unsigned long length) {
    auto* self = static_cast<FakeAccess*>(data);
    self->unmap_calls_++;
    // A copy: it may replace itself.
    auto on_unmap = self->on_unmap;
    if (on_unmap) on_unmap(iova, length);
    if (self->deaf) return;
    for (size_t i = self->pins_.size(); i-- > 0;) {
      auto [start, len] = self->pins_[i];
      if (start <= iova + (length - 1) && iova <= start + (len - 1))
        self->Unpin(i);
    }
  }
  static constexpr iommufd_access_ops kOps = {.needs_pin_pages = true,
                                              .unmap = OnUnmap};

  iommufd_ioas* ioas_;
  iommufd_access access_;
  std::vector<std::pair<unsigned long, unsigned long>> pins_;
  std::atomic<int> unmap_calls_{0};  // by each thread that unmaps
};

}  // namespace iopt_test
