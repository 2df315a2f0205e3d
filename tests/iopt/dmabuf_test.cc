// SPDX-License-Identifier: GPL-2.0-or-later
//
// IOAS_MAP_FILE over a dma-buf: what is in the domains, before and after its
// exporter takes it back. The buffers here are in nobody's RAM, so whoever asks
// for their struct page is found out.
#include <atomic>
#include <deque>
#include <random>
#include <thread>

#include "core/linux/dma-buf.h"
#include "core/linux/file.h"
#include "core/mm/memfd.h"
#include "tests/iopt/iopt_fixture.h"

namespace iopt_test {
namespace {

constexpr int kRead = IOMMU_READ;
constexpr unsigned long kIova = 0x1000000;
constexpr phys_addr_t kMmio = 0x7f0000000000;

// An exporter of a range of MMIO.
struct Exporter {
  phys_vec phys;
  bool revoked = false;
  int fail_attach = 0;
  int fail_pin = 0;
  std::atomic<int> attached{0};
  std::atomic<int> pinned{0};
  bool released = false;
};

Exporter* Of(dma_buf* buf) { return static_cast<Exporter*>(buf->priv); }

constexpr dma_buf_ops kOps = {
    .attach =
        [](dma_buf* buf, dma_buf_attachment*) {
          if (Of(buf)->fail_attach) return Of(buf)->fail_attach;
          Of(buf)->attached++;
          return 0;
        },
    .detach = [](dma_buf* buf, dma_buf_attachment*) { Of(buf)->attached--; },
    .pin =
        [](dma_buf_attachment* a) {
          if (Of(a->dmabuf)->fail_pin) return Of(a->dmabuf)->fail_pin;
          Of(a->dmabuf)->pinned++;
          return 0;
        },
    .unpin = [](dma_buf_attachment* a) { Of(a->dmabuf)->pinned--; },
    .release = [](dma_buf* buf) { Of(buf)->released = true; },
};

// Says nobody where it is.
constexpr dma_buf_ops kOtherOps = {
    .release = [](dma_buf* buf) { Of(buf)->released = true; },
};

int Map(dma_buf_attachment* attach, phys_vec* phys) {
  lockdep_assert_held(&attach->dmabuf->resv.lock);
  if (attach->dmabuf->ops != &kOps) return -EOPNOTSUPP;
  if (Of(attach->dmabuf)->revoked) return -ENODEV;
  *phys = Of(attach->dmabuf)->phys;
  return 0;
}

class DmabufTest : public IoptTest {
 protected:
  DmabufTest() {
    files_ = std::make_unique<files_struct>(&kernel_);
    task_->files = files_.get();
    hooks_.dma_buf_iommufd_map = Map;
  }
  ~DmabufTest() override {
    close_all_files(files_.get());
    task_work_run();
    EXPECT_EQ(kernel_slab_live(&kernel_), base_slab_);
  }

  int Export(Exporter* e, unsigned long npages,
             const dma_buf_ops* ops = &kOps) {
    e->phys = {kMmio, npages * kPage};
    dma_buf_export_info info;
    info.ops = ops;
    info.size = npages * kPage;
    info.priv = e;
    auto buf = dma_buf_export(&info);
    EXPECT_TRUE(static_cast<bool>(buf));
    return dma_buf_fd(*buf, 0);
  }
  void Close(int fd) {
    EXPECT_EQ(close_fd(static_cast<unsigned>(fd)), 0);
    task_work_run();
  }
  static void Revoke(int fd, bool revoked = true) {
    auto buf = dma_buf_get(fd);
    ASSERT_TRUE(static_cast<bool>(buf));
    dma_buf* const dmabuf = *buf;
    {
      mutex_guard resv(&dmabuf->resv.lock);
      Of(dmabuf)->revoked = revoked;
      dma_buf_invalidate_mappings(dmabuf);
    }
    dma_buf_put(dmabuf);
  }
  int MapFile(iommufd_ioas* ioas, unsigned long iova, int fd,
              unsigned long start, unsigned long length, int prot = kRead) {
    return iopt_map_file_pages(ictx_.get(), &ioas->iopt, &iova, fd, start,
                               length, prot, 0);
  }

  // Lives longer than any file.
  Exporter& NewExporter() { return exporters_.emplace_back(); }

  std::deque<Exporter> exporters_;
  std::unique_ptr<files_struct> files_;
};

TEST_F(DmabufTest, IsMappedAsMmioInOnePiece) {
  Exporter& e = NewExporter();
  const int fd = Export(&e, 512);
  auto ioas = NewIoas();
  FakeDomain domain(k4kAndUp), late(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  ASSERT_EQ(MapFile(ioas.get(), kIova, fd, 0, SZ_2M,
                    IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE),
            0);
  EXPECT_EQ(e.attached, 1);
  EXPECT_EQ(e.pinned, 1);
  EXPECT_EQ(domain.ptes.size(), 1u);
  EXPECT_EQ(domain.ptes[kIova].phys, kMmio);
  EXPECT_EQ(domain.ptes[kIova].size, SZ_2M);
  EXPECT_EQ(domain.ptes[kIova].prot, IOMMU_READ | IOMMU_WRITE | IOMMU_MMIO);
  // A domain that reads it back from the first one has it as MMIO too.
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &late), 0);
  EXPECT_EQ(late.mapped_bytes(), SZ_2M);
  EXPECT_EQ(late.Translate(kIova + 0x1234), kMmio + 0x1234);
  EXPECT_EQ(late.Find(kIova)->prot, IOMMU_READ | IOMMU_WRITE | IOMMU_MMIO);
  EXPECT_EQ(Pins(), 0);
  EXPECT_EQ(LockedVm(), 0);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  EXPECT_EQ(domain.mapped_bytes(), 0u);
  EXPECT_EQ(late.mapped_bytes(), SZ_2M);
  iopt_table_remove_domain(&ioas->iopt, &late);
  EXPECT_EQ(late.mapped_bytes(), 0u);
  Destroy(ioas.get());
  EXPECT_EQ(e.attached, 0);
  EXPECT_EQ(e.pinned, 0);
  EXPECT_FALSE(e.released);
  Close(fd);
  EXPECT_TRUE(e.released);
}

TEST_F(DmabufTest, PartsBeginAndEndAnywhere) {
  Exporter& e = NewExporter();
  const int fd = Export(&e, 4);
  auto ioas = NewIoas();
  FakeDomain domain(k2kAndUp);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  for (unsigned long start = 0; start < 4 * kPage; start += kPage / 2) {
    for (unsigned long n = kPage / 2; start + n <= 4 * kPage; n += kPage / 2) {
      ASSERT_EQ(MapFile(ioas.get(), kIova, fd, start, n), 0);
      EXPECT_EQ(domain.mapped_bytes(), n);
      EXPECT_EQ(domain.Translate(kIova), kMmio + start);
      EXPECT_EQ(domain.Translate(kIova + n - 1), kMmio + start + n - 1);
      ASSERT_EQ(Unmap(ioas.get(), kIova, n), 0);
      EXPECT_EQ(domain.mapped_bytes(), 0u);
    }
  }
  // Not on a page of the domain's.
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, 1, kPage), -EINVAL);
  EXPECT_EQ(e.attached, 0);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  Destroy(ioas.get());
}

TEST_F(DmabufTest, ErrorsLeaveNothing) {
  Exporter &e = NewExporter(), &other = NewExporter();
  const int fd = Export(&e, 4);
  const int other_fd = Export(&other, 4, &kOtherOps);
  auto ioas = NewIoas();
  FakeDomain a(k4kOnly), b(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &a), 0);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &b), 0);
  EXPECT_EQ(MapFile(ioas.get(), kIova, other_fd, 0, kPage), -EOPNOTSUPP);
  hooks_.dma_buf_iommufd_map = nullptr;
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, 0, kPage), -EOPNOTSUPP);
  hooks_.dma_buf_iommufd_map = Map;
  e.fail_attach = -EBUSY;
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, 0, kPage), -EBUSY);
  e.fail_attach = 0;
  e.fail_pin = -EAGAIN;
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, 0, kPage), -EAGAIN);
  e.fail_pin = 0;
  // The length goes before the exporter, the exporter before the place.
  e.fail_attach = -EBUSY;
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, 0, 4 * kPage + 1), -EINVAL);
  EXPECT_EQ(MapFile(ioas.get(), kIova + 1, fd, 0, kPage), -EBUSY);
  e.fail_attach = 0;
  // A domain that cannot: the other one is emptied again.
  b.fail_map_in = 1;
  EXPECT_EQ(MapFile(ioas.get(), kIova, fd, 0, 4 * kPage), -ENOSPC);
  EXPECT_EQ(a.mapped_bytes() + b.mapped_bytes(), 0u);
  EXPECT_EQ(e.attached, 0);
  EXPECT_EQ(e.pinned, 0);
  // A domain that comes and cannot.
  ASSERT_EQ(MapFile(ioas.get(), kIova, fd, 0, 4 * kPage), 0);
  ASSERT_EQ(MapFile(ioas.get(), kIova + SZ_1M, fd, 0, kPage), 0);
  FakeDomain c(k4kOnly);
  c.fail_map_in = 2;
  EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &c), -ENOSPC);
  EXPECT_EQ(c.mapped_bytes(), 0u);
  Revoke(fd);
  EXPECT_EQ(a.mapped_bytes() + b.mapped_bytes(), 0u);
  iopt_table_remove_domain(&ioas->iopt, &a);
  iopt_table_remove_domain(&ioas->iopt, &b);
  Destroy(ioas.get());
}

TEST_F(DmabufTest, RevokeEmptiesEveryDomain) {
  Exporter& e = NewExporter();
  const int fd = Export(&e, 8);
  auto x = NewIoas(), y = NewIoas();
  FakeDomain x1(k4kOnly), x2(k4kOnly), y1(k2kAndUp), late(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&x->iopt, &x1), 0);
  ASSERT_EQ(MapFile(x.get(), kIova, fd, 0, 8 * kPage), 0);
  ASSERT_EQ(iopt_table_add_domain(&x->iopt, &x2), 0);
  ASSERT_EQ(iopt_table_add_domain(&y->iopt, &y1), 0);
  unsigned long iova = 3 * kIova;
  ASSERT_EQ(Copy(x.get(), kIova + kPage, 4 * kPage, y.get(), &iova, kRead), 0);
  iova = 4 * kIova;
  ASSERT_EQ(Copy(x.get(), kIova + 4 * kPage, 4 * kPage, x.get(), &iova, kRead),
            0);
  // Another attachment of the same buffer.
  ASSERT_EQ(MapFile(y.get(), kIova, fd, kPage / 2, kPage), 0);
  EXPECT_EQ(e.attached, 2);
  EXPECT_EQ(x1.mapped_bytes(), 12 * kPage);
  EXPECT_EQ(x2.mapped_bytes(), 12 * kPage);
  EXPECT_EQ(y1.mapped_bytes(), 5 * kPage);
  EXPECT_EQ(y1.Translate(3 * kIova), kMmio + kPage);

  Revoke(fd);
  EXPECT_EQ(x1.mapped_bytes() + x2.mapped_bytes() + y1.mapped_bytes(), 0u);
  EXPECT_EQ(e.pinned, 2) << "areas stay, and with them the attachments";
  Revoke(fd);
  // Domains come and go over what is not there.
  ASSERT_EQ(iopt_table_add_domain(&x->iopt, &late), 0);
  EXPECT_EQ(late.mapped_bytes(), 0u);
  iopt_table_remove_domain(&x->iopt, &x1);
  // Copies of it are as empty.
  iova = 5 * kIova;
  ASSERT_EQ(Copy(x.get(), kIova, 8 * kPage, y.get(), &iova, kRead), 0);
  EXPECT_EQ(y1.mapped_bytes(), 0u);
  EXPECT_EQ(MapFile(x.get(), 6 * kIova, fd, 0, kPage), -ENODEV);

  // What the exporter gives again is for new maps.
  Revoke(fd, false);
  ASSERT_EQ(MapFile(x.get(), 6 * kIova, fd, 0, kPage), 0);
  EXPECT_EQ(x2.mapped_bytes(), kPage);
  EXPECT_EQ(late.mapped_bytes(), kPage);
  EXPECT_EQ(y1.mapped_bytes(), 0u);
  unsigned long unmapped = 0;
  EXPECT_EQ(Unmap(x.get(), kIova, 8 * kPage, &unmapped), 0);
  EXPECT_EQ(unmapped, 8 * kPage);
  EXPECT_EQ(Unmap(y.get(), 3 * kIova, 4 * kPage), 0);

  iopt_table_remove_domain(&x->iopt, &late);
  iopt_table_remove_domain(&x->iopt, &x2);
  iopt_table_remove_domain(&y->iopt, &y1);
  // Closed while mapped: it lives as long as its areas.
  Close(fd);
  EXPECT_FALSE(e.released);
  Destroy(x.get());
  EXPECT_FALSE(e.released);
  Destroy(y.get());
  task_work_run();
  EXPECT_TRUE(e.released);
  EXPECT_EQ(e.attached + e.pinned, 0);
}

TEST_F(DmabufTest, NoAccessAndNoCut) {
  Exporter& e = NewExporter();
  const int fd = Export(&e, 4);
  auto ioas = NewIoas();
  FakeDomain domain(k4kOnly);
  ASSERT_EQ(iopt_disable_large_pages(&ioas->iopt), 0);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &domain), 0);
  ASSERT_EQ(MapFile(ioas.get(), kIova, fd, 0, 4 * kPage), 0);
  EXPECT_EQ(domain.map_calls, 4u) << "in small pages";
  struct page* pages[4];
  EXPECT_EQ(iopt_pin_pages(&ioas->iopt, kIova, kPage, pages, 0, false),
            -EINVAL);
  char byte = 0;
  EXPECT_EQ(Rw(ioas.get(), kIova, &byte, 1, 0), -EINVAL);
  EXPECT_EQ(Rw(ioas.get(), kIova, &byte, 1, __IOMMUFD_ACCESS_RW_SLOW_PATH),
            -EINVAL);
  EXPECT_EQ(Rw(ioas.get(), kIova, &byte, 1, IOMMUFD_ACCESS_RW_WRITE), -EPERM);
  unsigned long at = kIova + kPage - 1;
  EXPECT_EQ(iopt_cut_iova(&ioas->iopt, &at, 1), -EOPNOTSUPP);
  at = kIova + 4 * kPage - 1;
  EXPECT_EQ(iopt_cut_iova(&ioas->iopt, &at, 1), 0) << "its end is no cut";
  EXPECT_EQ(Unmap(ioas.get(), kIova, kPage), -ENOENT);
  iopt_table_remove_domain(&ioas->iopt, &domain);
  Destroy(ioas.get());
}

// Every allocation of a map, a copy and a new domain fails once.
TEST_F(DmabufTest, EachAllocationFails) {
  Exporter& e = NewExporter();
  const int fd = Export(&e, 8);
  auto ioas = NewIoas();
  FakeDomain a(k4kOnly), b(k4kOnly), late(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &a), 0);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &b), 0);
  ASSERT_EQ(MapFile(ioas.get(), kIova, fd, 0, 8 * kPage), 0);
  auto sweep = [&](const std::function<int()>& f,
                   const std::function<void()>& undo) {
    const size_t bytes = a.mapped_bytes() + b.mapped_bytes();
    const int attached = e.attached;
    const long slab = kernel_slab_live(&kernel_);
    for (u32 n = 1;; n++) {
      ASSERT_LT(n, 100u);
      fail_nth_write(task_.get(), n);
      const int rc = f();
      const bool injected = fail_nth_read(task_.get()) == 0;
      fail_nth_write(task_.get(), 0);
      if (rc == 0) undo();
      EXPECT_EQ(a.mapped_bytes() + b.mapped_bytes(), bytes);
      EXPECT_EQ(late.mapped_bytes(), 0u);
      EXPECT_EQ(e.attached, attached);
      EXPECT_EQ(e.pinned, attached);
      EXPECT_EQ(kernel_slab_live(&kernel_), slab);
      if (!injected) {
        EXPECT_EQ(rc, 0);
        return;
      }
    }
  };
  sweep([&] { return MapFile(ioas.get(), 2 * kIova, fd, 0, 8 * kPage); },
        [&] { EXPECT_EQ(Unmap(ioas.get(), 2 * kIova, 8 * kPage), 0); });
  sweep(
      [&] {
        unsigned long iova = 2 * kIova;
        return Copy(ioas.get(), kIova, 8 * kPage, ioas.get(), &iova, kRead);
      },
      [&] { EXPECT_EQ(Unmap(ioas.get(), 2 * kIova, 8 * kPage), 0); });
  auto add = [&] { return iopt_table_add_domain(&ioas->iopt, &late); };
  auto remove = [&] { iopt_table_remove_domain(&ioas->iopt, &late); };
  sweep(add, remove);
  Revoke(fd);
  sweep(add, remove);
  iopt_table_remove_domain(&ioas->iopt, &a);
  iopt_table_remove_domain(&ioas->iopt, &b);
  Destroy(ioas.get());
}

// Nothing that a device can still reach is left when a revoke returns: who
// looks then finds the domains empty until the exporter gives the buffer again.
TEST_F(DmabufTest, ThreadsAgainstRevoke) {
  Exporter& e = NewExporter();
  const int fd = Export(&e, 16);
  auto x = NewIoas(), y = NewIoas();
  FakeDomain steady(k4kOnly), other(k4kOnly), guest(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&x->iopt, &steady), 0);
  ASSERT_EQ(iopt_table_add_domain(&y->iopt, &other), 0);
  auto body = [&](unsigned seed, const std::function<void(unsigned)>& step) {
    task_struct task(&kernel_);
    // Pages outlive the thread that mapped them.
    task.group_leader = task_.get();
    task.mm = task_->mm;
    task.files = files_.get();
    task.cred = &cred_;
    task.rlimit_memlock = 1UL << 40;
    std::mt19937 rng(seed);
    for (int i = 0; i < 400; i++) {
      task_scope scope(&task);
      step(static_cast<unsigned>(rng()));
      task_work_run();
    }
  };
  auto mapper = [&](unsigned r) {
    const unsigned long iova = kIova * (1 + r % 2);
    int rc = MapFile(x.get(), iova, fd, (r % 4) * kPage, (1 + r % 8) * kPage);
    EXPECT_TRUE(rc == 0 || rc == -EEXIST || rc == -ENODEV) << rc;
    unsigned long to = 5 * kIova;
    rc = Copy(x.get(), iova, kPage, y.get(), &to, kRead);
    EXPECT_TRUE(rc == 0 || rc == -EEXIST || rc == -ENOENT) << rc;
    rc = Unmap(y.get(), 5 * kIova, kPage);
    EXPECT_TRUE(rc == 0 || rc == -EBUSY) << rc;
    if (r & 16) return;
    // -ENOENT: the unmap has taken the first pages, and the other mapper's next
    // map, which may be longer, begins below what is left of its range.
    rc = Unmap(x.get(), iova, 16 * kPage);
    EXPECT_TRUE(rc == 0 || rc == -EBUSY || rc == -ENOENT) << rc;
  };
  auto attacher = [&](unsigned) {
    EXPECT_EQ(iopt_table_add_domain(&x->iopt, &guest), 0);
    iopt_table_remove_domain(&x->iopt, &guest);
    EXPECT_EQ(guest.mapped_bytes(), 0u);
  };
  auto revoker = [&](unsigned) {
    Revoke(fd);
    for (unsigned long n = 1; n <= 2; n++) {
      EXPECT_EQ(iommu_iova_to_phys(&steady, n * kIova), 0u);
    }
    EXPECT_EQ(iommu_iova_to_phys(&other, 5 * kIova), 0u);
    Revoke(fd, false);
  };
  std::thread t1([&] { body(1, mapper); });
  std::thread t2([&] { body(2, mapper); });
  std::thread t3([&] { body(3, attacher); });
  std::thread t4([&] { body(4, revoker); });
  t1.join();
  t2.join();
  t3.join();
  t4.join();
  iopt_table_remove_domain(&x->iopt, &steady);
  iopt_table_remove_domain(&y->iopt, &other);
  EXPECT_EQ(steady.mapped_bytes() + other.mapped_bytes(), 0u);
  Destroy(x.get());
  Destroy(y.get());
  EXPECT_EQ(e.attached + e.pinned, 0);
}

// ---- the stand-in itself ----

TEST_F(DmabufTest, FilesAndReferences) {
  Exporter& e = NewExporter();
  EXPECT_EQ(dma_buf_get(99).error(), -EBADF);
  auto file = memfd_create(kPage, {});
  ASSERT_TRUE(static_cast<bool>(file));
  const int memfd = get_unused_fd_flags(0);
  fd_install(static_cast<unsigned>(memfd), *file);
  EXPECT_EQ(dma_buf_get(memfd).error(), -EINVAL);
  const int fd = Export(&e, 1);
  auto buf = dma_buf_get(fd);
  ASSERT_TRUE(static_cast<bool>(buf));
  EXPECT_EQ((*buf)->size, kPage);
  Close(fd);
  EXPECT_FALSE(e.released);
  dma_buf_put(*buf);
  task_work_run();
  EXPECT_TRUE(e.released);
}

TEST_F(DmabufTest, ExportThatFailsLeavesThePrivateDataAlone) {
  Exporter& e = NewExporter();
  dma_buf_export_info info;
  info.ops = &kOps;
  info.size = kPage;
  info.priv = &e;
  for (u32 n = 1; n <= 2; n++) {
    fail_nth_write(task_.get(), n);
    EXPECT_EQ(dma_buf_export(&info).error(), -ENOMEM);
    fail_nth_write(task_.get(), 0);
  }
  EXPECT_FALSE(e.released);
  // Every descriptor is taken: the reference stays the caller's.
  while (get_unused_fd_flags(0) >= 0) {
  }
  auto buf = dma_buf_export(&info);
  ASSERT_TRUE(static_cast<bool>(buf));
  EXPECT_EQ(dma_buf_fd(*buf, 0), -EMFILE);
  EXPECT_FALSE(e.released);
  dma_buf_put(*buf);
  task_work_run();
  EXPECT_TRUE(e.released);
}

}  // namespace
}  // namespace iopt_test
