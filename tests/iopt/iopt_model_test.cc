// SPDX-License-Identifier: GPL-2.0-or-later
//
// Random sequences of everything that io_pagetable.cc and pages.cc do, against
// a model that knows only arithmetic: what each IOVA translates to, how often
// each page is pinned, what the user pays. Also with every allocation failing
// in turn, and from several threads at once.
#include <algorithm>
#include <random>
#include <thread>

#include "tests/iopt/iopt_fixture.h"

namespace iopt_test {
namespace {

constexpr unsigned long kLow = 0x10000;
constexpr unsigned long kIovaPages = 160;
constexpr unsigned long kBufferPages = 48;

// What one map call made; copies and halves share it.
struct PagesModel {
  unsigned long addr;  // of the first page
  bool writable;
  std::vector<int> accesses;  // for each page
};

struct AreaModel {
  unsigned long iova;
  unsigned long length;
  unsigned long start_byte;
  std::shared_ptr<PagesModel> pages;
  int prot;

  unsigned long last() const { return iova + length - 1; }
  unsigned long addr() const { return pages->addr + start_byte; }
  unsigned long Index(unsigned long at) const {
    return (start_byte + (at - iova)) / kPage;
  }
};

struct PinModel {
  unsigned long iova;
  unsigned long length;
  bool locked;

  bool Meets(const AreaModel& area) const {
    return iova <= area.last() && area.iova <= iova + length - 1;
  }
};

struct TableModel {
  std::unique_ptr<iommufd_ioas> ioas;
  std::unique_ptr<FakeAccess> access;  // none: bytes are a fine alignment
  bool small_pages = false;
  std::map<unsigned long, AreaModel> areas;
  std::vector<std::unique_ptr<FakeDomain>> domains;
  std::vector<PinModel> pins;

  unsigned long Alignment() const {
    unsigned long alignment = access || small_pages ? kPage : 1;
    for (const auto& domain : domains)
      alignment =
          std::max(alignment, domain->pgsize_bitmap & -domain->pgsize_bitmap);
    return alignment;
  }

  // The first area that reaches beyond iova - 1.
  std::map<unsigned long, AreaModel>::iterator From(unsigned long iova) {
    auto it = areas.upper_bound(iova);
    if (it != areas.begin() && std::prev(it)->second.last() >= iova) --it;
    return it;
  }

  bool Free(unsigned long iova, unsigned long length) {
    auto it = From(iova);
    return it == areas.end() || it->first > iova + length - 1;
  }

  // The pieces of areas that cover the range; none if there is a gap.
  std::vector<AreaModel> Slices(unsigned long iova, unsigned long length) {
    std::vector<AreaModel> slices;
    const unsigned long last = iova + length - 1;
    for (auto it = From(iova); it != areas.end(); ++it) {
      AreaModel slice = it->second;
      if (slice.iova > iova) return {};
      slice.start_byte += iova - slice.iova;
      slice.length = std::min(slice.last(), last) - iova + 1;
      slice.iova = iova;
      slices.push_back(slice);
      if (slice.last() == last) return slices;
      iova = slice.last() + 1;
    }
    return {};
  }
};

class IoptModelTest : public IoptTest,
                      public ::testing::WithParamInterface<int> {
 protected:
  void SetUp() override {
    rng_.seed(static_cast<unsigned>(GetParam()) * 7919 + 1);
    const mapping_shape shapes[] = {{}, {.fragmented = true}, {.huge = true}};
    for (size_t n = 0; n <= std::size(shapes); n++) {
      const unsigned long buf = n < std::size(shapes)
                                    ? NewBuffer(kBufferPages * kPage, shapes[n])
                                    : NewRunsBuffer(kBufferPages, 5);
      buffers_.push_back(buf);
      for (unsigned long i = 0; i < kBufferPages; i++)
        pages_[buf + i * kPage] = PageOf(buf + i * kPage);
    }
    for (int i = 0; i < 3; i++) {
      auto table = std::make_unique<TableModel>();
      table->ioas = NewIoas();
      if (i > 0) {
        table->access =
            std::make_unique<FakeAccess>(ictx_.get(), table->ioas.get());
        ASSERT_EQ(table->access->Add(), 0);
      }
      if (i == 2) {
        ASSERT_EQ(iopt_disable_large_pages(&table->ioas->iopt), 0);
        table->small_pages = true;
      }
      tables_.push_back(std::move(table));
    }
  }

  void TearDown() override {
    for (auto& table : tables_) {
      while (!table->pins.empty()) DoUnpin(table.get(), 0);
      while (!table->domains.empty()) DoRemoveDomain(table.get(), 0);
      if (HasFatalFailure()) return;
      Verify();
      EXPECT_EQ(iopt_unmap_all(&table->ioas->iopt, nullptr), 0);
      table->areas.clear();
      if (table->access) table->access->Remove();
      iopt_destroy_table(&table->ioas->iopt);
    }
    EXPECT_EQ(Pins(), 0);
  }

  unsigned long Rand(unsigned long n) { return rng_() % n; }
  template <class T>
  T Pick(std::initializer_list<T> list) {
    return list.begin()[Rand(list.size())];
  }

  // The state against the model.
  void Verify() {
    std::map<struct page*, int> expect;
    std::map<PagesModel*, std::vector<bool>> pinned;
    for (auto& table : tables_) {
      size_t bytes = 0;
      for (auto& [iova, area] : table->areas) {
        bytes += area.length;
        auto& bits = pinned[area.pages.get()];
        bits.resize(area.pages->accesses.size());
        if (!table->domains.empty())
          for (unsigned long i = area.Index(area.iova);
               i <= area.Index(area.last()); i++)
            bits[i] = true;
      }
      for (auto& domain : table->domains) {
        ASSERT_EQ(domain->mapped_bytes(), bytes);
        const unsigned long step =
            domain->pgsize_bitmap & -domain->pgsize_bitmap;
        for (auto& [iova, area] : table->areas)
          for (unsigned long off = 0; off < area.length; off += step) {
            const unsigned long addr = area.addr() + off;
            ASSERT_EQ(
                domain->Translate(iova + off),
                page_to_phys(pages_[addr & PAGE_MASK]) + offset_in_page(addr));
          }
      }
    }
    long total = 0;
    for (auto& [pages, bits] : pinned)
      for (size_t i = 0; i < bits.size(); i++)
        if (bits[i] || pages->accesses[i]) {
          expect[pages_[pages->addr + i * kPage]]++;
          total++;
        }
    for (auto& [addr, page] : pages_)
      ASSERT_EQ(page_pin_count(page), expect[page]) << std::hex << addr;
    ASSERT_EQ(Pins(), total);
    ASSERT_EQ(LockedVm(), total);
    ASSERT_EQ(PinnedVm(), total);
  }

  // Runs op, now and then with one allocation failing. True: it did what it had
  // to, `expect`, and that was a success.
  bool Run(int expect, const std::function<int()>& op) {
    const bool inject = fault_max_ && Rand(3) == 0;
    if (inject)
      fail_nth_write(task_.get(), static_cast<u32>(1 + Rand(fault_max_)));
    int rc = op();
    const bool fired = inject && fail_nth_read(task_.get()) == 0;
    fail_nth_write(task_.get(), 0);
    if (fired && rc != expect) {
      EXPECT_TRUE(rc == -ENOMEM || rc == -EFAULT || rc == -EINVAL) << rc;
      injected_++;
      return false;
    }
    EXPECT_EQ(rc, expect);
    if (rc == 0) successes_++;
    return rc == 0 && expect == 0;
  }

  void DoMap(TableModel* t) {
    const unsigned long alignment = t->Alignment();
    const unsigned long unit = std::max(alignment, Pick({1ul, 2048ul, kPage}));
    const unsigned long buf = buffers_[Rand(buffers_.size())];
    const unsigned long units = kBufferPages * kPage / unit;
    const unsigned long first = Rand(units);
    const unsigned long length =
        unit *
        (1 + Rand(Rand(2) ? std::min(units - first, 4ul) : units - first));
    const unsigned long addr = buf + first * unit;
    const int prot = Rand(4) ? IOMMU_READ | IOMMU_WRITE : IOMMU_READ;
    auto pages = std::make_shared<PagesModel>();
    pages->addr = addr & PAGE_MASK;
    pages->writable = prot & IOMMU_WRITE;
    pages->accesses.resize((length + offset_in_page(addr) + kPage - 1) / kPage);

    unsigned long iova = kLow + Rand(kIovaPages * kPage / unit) * unit;
    if (Rand(3) == 0) {
      const unsigned long max_alignment = addr ? addr & -addr : ~0ul;
      const bool fits =
          std::min(roundup_pow_of_two(length), max_alignment) >= alignment;
      if (Run(fits ? 0 : -EINVAL, [&] {
            return MapAuto(t->ioas.get(), &iova, addr, length, prot);
          })) {
        EXPECT_TRUE(t->Free(iova, length));
        EXPECT_NE(iova, 0u);
        t->areas[iova] = {iova, length, offset_in_page(addr), pages, prot};
      }
      return;
    }
    if (Run(t->Free(iova, length) ? 0 : -EEXIST,
            [&] { return MapFixed(t->ioas.get(), iova, addr, length, prot); }))
      t->areas[iova] = {iova, length, offset_in_page(addr), pages, prot};
  }

  void DoCopy(TableModel* src, TableModel* dst) {
    if (src->areas.empty()) return;
    auto it = std::next(src->areas.begin(),
                        static_cast<long>(Rand(src->areas.size())));
    const unsigned long unit = src->Alignment() == 1 ? 512 : src->Alignment();
    unsigned long iova = it->first;
    if (Rand(2)) iova += Rand(it->second.length / unit + 1) * unit;
    const unsigned long length = unit * (1 + Rand(30));
    const int prot = Rand(3) ? IOMMU_READ : IOMMU_READ | IOMMU_WRITE;
    unsigned long to = kLow + Rand(kIovaPages) * kPage;
    auto slices = src->Slices(iova, length);
    const unsigned long mask = dst->Alignment() - 1;
    int expect = 0;
    if (slices.empty()) {
      expect = -ENOENT;
    } else if (length & mask) {
      expect = -EINVAL;
    } else if (!dst->Free(to, length)) {
      expect = -EEXIST;
    } else {
      for (auto& slice : slices) {
        if ((prot & IOMMU_WRITE) && !slice.pages->writable)
          expect = -EPERM;
        else if (slice.start_byte & mask & (kPage - 1))
          expect = -EINVAL;
        if (expect) break;
      }
    }
    if (!expect) {
      // A piece that ends where it does not fit cannot be mapped.
      unsigned long at = to;
      for (auto& slice : slices) {
        if (at & mask || slice.length & mask) return;
        at += slice.length;
      }
    }
    if (Run(expect, [&] {
          return Copy(src->ioas.get(), iova, length, dst->ioas.get(), &to,
                      prot);
        })) {
      for (auto& slice : slices) {
        AreaModel area = slice;
        area.iova = to;
        area.prot = prot;
        dst->areas[to] = area;
        to += slice.length;
      }
    }
  }

  void Count(TableModel* t, const PinModel& pin, int n) {
    for (auto& slice : t->Slices(pin.iova, pin.length))
      for (unsigned long i = slice.Index(slice.iova);
           i <= slice.Index(slice.last()); i++)
        slice.pages->accesses[i] += n;
  }

  void DoUnmap(TableModel* t) {
    unsigned long start, length;
    if (t->areas.empty() || Rand(4) == 0) {
      start = kLow + Rand(kIovaPages) * kPage;
      length = kPage * (1 + Rand(40));
    } else {
      auto it =
          std::next(t->areas.begin(), static_cast<long>(Rand(t->areas.size())));
      start = it->first;
      length = it->second.length;
      if (Rand(3) == 0) length += Rand(64) * kPage;
    }
    const unsigned long last = start + length - 1;
    // Let go of what the areas hold, in the order of the walk.
    int expect = 0;
    unsigned long bytes = 0;
    std::vector<unsigned long> gone;
    for (auto it = t->From(start); it != t->areas.end() && it->first <= last;
         ++it) {
      auto& area = it->second;
      auto meets = [&](const PinModel& pin) { return pin.Meets(area); };
      if (std::any_of(t->pins.begin(), t->pins.end(),
                      [&](auto& pin) { return pin.locked && meets(pin); })) {
        expect = -EBUSY;
        break;
      }
      if (area.iova < start || area.last() > last) {
        expect = -ENOENT;
        break;
      }
      for (size_t i = t->pins.size(); i-- > 0;)
        if (meets(t->pins[i])) {
          Count(t, t->pins[i], -1);
          t->pins.erase(t->pins.begin() + static_cast<long>(i));
        }
      bytes += area.length;
      gone.push_back(area.iova);
    }
    unsigned long unmapped = 0;
    const bool inject = fault_max_ && Rand(3) == 0;
    if (inject)
      fail_nth_write(task_.get(), static_cast<u32>(1 + Rand(fault_max_)));
    EXPECT_EQ(Unmap(t->ioas.get(), start, length, &unmapped), expect);
    fail_nth_write(task_.get(), 0);
    EXPECT_EQ(unmapped, bytes);
    for (unsigned long iova : gone) t->areas.erase(iova);
    if (t->access) {
      EXPECT_EQ(t->access->pins().size(),
                static_cast<size_t>(
                    std::count_if(t->pins.begin(), t->pins.end(),
                                  [](auto& pin) { return !pin.locked; })));
    }
  }

  void DoCut(TableModel* t) {
    if (t->areas.empty()) return;
    auto it =
        std::next(t->areas.begin(), static_cast<long>(Rand(t->areas.size())));
    AreaModel area = it->second;
    unsigned long cut = area.iova + Rand(area.length);
    if (Rand(4)) {
      cut = area.iova + (Rand(area.length / kPage + 1)) * kPage - 1;
      if (cut < area.iova || cut > area.last()) return;
    }
    const unsigned long mask = t->Alignment() - 1;
    const unsigned long left = cut + 1 - area.iova;
    const bool pinned = std::any_of(t->pins.begin(), t->pins.end(),
                                    [&](auto& pin) { return pin.Meets(area); });
    int expect = 0;
    const bool nothing = cut == area.iova || cut == area.last();
    if (!nothing && (((cut + 1) & mask) || ((area.start_byte + left) & mask) ||
                     pinned || (!t->domains.empty() && !t->small_pages)))
      expect = -EINVAL;
    if (Run(expect, [&] { return iopt_cut_iova(&t->ioas->iopt, &cut, 1); }) &&
        !nothing) {
      AreaModel rhs = area;
      t->areas[area.iova].length = left;
      rhs.iova = cut + 1;
      rhs.length -= left;
      rhs.start_byte += left;
      t->areas[rhs.iova] = rhs;
    }
  }

  void DoAddDomain(TableModel* t) {
    if (t->domains.size() == 3) return;
    auto domain =
        std::make_unique<FakeDomain>(Pick({k4kOnly, k4kAndUp, k2kAndUp}));
    const unsigned long mask =
        std::max(t->Alignment(),
                 domain->pgsize_bitmap & -domain->pgsize_bitmap) -
        1;
    int expect = 0;
    if (mask + 1 != t->Alignment())
      for (auto& [iova, area] : t->areas)
        if ((iova | area.length | area.start_byte) & mask) expect = -EADDRINUSE;
    if (Run(expect, [&] {
          return iopt_table_add_domain(&t->ioas->iopt, domain.get());
        }))
      t->domains.push_back(std::move(domain));
    else
      EXPECT_EQ(domain->mapped_bytes(), 0u);
  }

  void DoRemoveDomain(TableModel* t, size_t i) {
    const bool inject = fault_max_ && Rand(2) == 0;
    if (inject)
      fail_nth_write(task_.get(), static_cast<u32>(1 + Rand(fault_max_)));
    iopt_table_remove_domain(&t->ioas->iopt, t->domains[i].get());
    fail_nth_write(task_.get(), 0);
    EXPECT_EQ(t->domains[i]->mapped_bytes(), 0u);
    t->domains.erase(t->domains.begin() + static_cast<long>(i));
  }

  void DoPin(TableModel* t) {
    if (t->areas.empty() || t->pins.size() > 6) return;
    auto it =
        std::next(t->areas.begin(), static_cast<long>(Rand(t->areas.size())));
    const AreaModel& first = it->second;
    PinModel pin;
    pin.iova = first.iova + Rand(first.length / kPage + 1) * kPage;
    if (Rand(8)) pin.iova += (kPage - (first.start_byte % kPage)) % kPage;
    pin.length = kPage * (1 + Rand(Rand(2) ? 3 : 40));
    pin.locked = !t->access || Rand(4) == 0;
    // The same range again.
    if (!t->pins.empty() && Rand(4) == 0) {
      pin.iova = t->pins[0].iova;
      pin.length = t->pins[0].length;
    }
    const unsigned int flags =
        Rand(3) ? +IOMMUFD_ACCESS_RW_READ : +IOMMUFD_ACCESS_RW_WRITE;
    const unsigned long last = pin.iova + pin.length - 1;

    int expect = -ENOENT;
    unsigned long at = pin.iova;
    size_t npages = 0;
    std::vector<struct page*> want;
    for (auto a = t->From(pin.iova); a != t->areas.end() && a->first <= at;
         ++a) {
      const AreaModel& area = a->second;
      const bool end = area.last() >= last;
      if ((area.start_byte + (at - area.iova)) % kPage ||
          (!end && (area.start_byte + area.length) % kPage)) {
        expect = -EINVAL;
        break;
      }
      if (flags && !(area.prot & IOMMU_WRITE)) {
        expect = -EPERM;
        break;
      }
      for (unsigned long i = area.Index(at);
           i <= area.Index(std::min(last, area.last())); i++, npages++)
        want.push_back(pages_[area.pages->addr + i * kPage]);
      if (end) {
        expect = 0;
        break;
      }
      at = area.last() + 1;
    }
    std::vector<struct page*> got(pin.length / kPage + 2);
    if (Run(expect, [&] {
          if (!pin.locked)
            return t->access->Pin(pin.iova, pin.length, &got, flags);
          return iopt_pin_pages(&t->ioas->iopt, pin.iova, pin.length,
                                got.data(), flags, true);
        })) {
      got.resize(npages);
      EXPECT_EQ(got, want);
      Count(t, pin, 1);
      t->pins.push_back(pin);
    }
  }

  void DoUnpin(TableModel* t, size_t i) {
    PinModel pin = t->pins[i];
    const bool inject = fault_max_ && Rand(2) == 0;
    if (inject)
      fail_nth_write(task_.get(), static_cast<u32>(1 + Rand(fault_max_)));
    if (pin.locked) {
      iopt_unpin_pages(&t->ioas->iopt, pin.iova, pin.length, true);
    } else {
      auto& pins = t->access->pins();
      auto it = std::find(pins.begin(), pins.end(),
                          std::make_pair(pin.iova, pin.length));
      ASSERT_NE(it, pins.end());
      t->access->Unpin(static_cast<size_t>(it - pins.begin()));
    }
    fail_nth_write(task_.get(), 0);
    Count(t, pin, -1);
    t->pins.erase(t->pins.begin() + static_cast<long>(i));
  }

  void DoRw(TableModel* t) {
    if (t->areas.empty()) return;
    auto it =
        std::next(t->areas.begin(), static_cast<long>(Rand(t->areas.size())));
    const unsigned long iova = it->first + Rand(it->second.length);
    const unsigned long length = 1 + Rand(Rand(2) ? 16 : 9000);
    auto slices = t->Slices(iova, length);
    const bool write = Rand(2);
    int expect = slices.empty() ? -ENOENT : 0;
    if (write)
      for (auto& slice : slices)
        if (!slice.pages->writable) return;
    if (slices.empty() && write) return;
    const unsigned int flags = Pick({0, +__IOMMUFD_ACCESS_RW_SLOW_PATH}) |
                               (write ? +IOMMUFD_ACCESS_RW_WRITE : 0);
    std::vector<char> data(length), user(length);
    if (write)
      for (char& c : data) c = static_cast<char>(rng_());
    if (!Run(expect, [&] {
          return Rw(t->ioas.get(), iova, data.data(), length, flags);
        }))
      return;
    size_t off = 0;
    for (auto& slice : slices) {
      ASSERT_EQ(user_in<void>(slice.addr())
                    .copy_from_user(user.data() + off, slice.length),
                0);
      off += slice.length;
    }
    // Two slices may be the same memory: then the last write counts.
    if (slices.size() == 1 || !write) {
      EXPECT_EQ(data, user);
    }
  }

  void Step() {
    hooks_.memory_limit = Pick<size_t>({12, 24, 60, 1200, 65536});
    TableModel* t = tables_[Rand(tables_.size())].get();
    switch (Rand(12)) {
      case 0:
      case 1:
      case 2:
        return DoMap(t);
      case 3:
        return DoCopy(t, tables_[Rand(tables_.size())].get());
      case 4:
      case 5:
        return DoUnmap(t);
      case 6:
        return DoCut(t);
      case 7:
        if (Rand(2)) return DoAddDomain(t);
        if (!t->domains.empty()) DoRemoveDomain(t, Rand(t->domains.size()));
        return;
      case 8:
      case 9:
        return DoPin(t);
      case 10:
        if (!t->pins.empty()) DoUnpin(t, Rand(t->pins.size()));
        return;
      case 11:
        return DoRw(t);
    }
  }

  std::mt19937_64 rng_;
  std::vector<unsigned long> buffers_;
  std::map<unsigned long, struct page*> pages_;
  std::vector<std::unique_ptr<TableModel>> tables_;
  unsigned long fault_max_ = 0;
  int successes_ = 0;
  int injected_ = 0;
};

TEST_P(IoptModelTest, RandomSequence) {
  for (int i = 0; i < 400; i++) {
    ASSERT_NO_FATAL_FAILURE(Step()) << "step " << i;
    ASSERT_NO_FATAL_FAILURE(Verify()) << "step " << i;
    ASSERT_FALSE(HasNonfatalFailure()) << "step " << i;
  }
  EXPECT_GT(successes_, 100);
}

TEST_P(IoptModelTest, RandomSequenceWithFailures) {
  fault_max_ = 20;
  for (int i = 0; i < 400; i++) {
    ASSERT_NO_FATAL_FAILURE(Step()) << "step " << i;
    ASSERT_NO_FATAL_FAILURE(Verify()) << "step " << i;
    ASSERT_FALSE(HasNonfatalFailure()) << "step " << i;
  }
  EXPECT_GT(successes_, 60);
  EXPECT_GT(injected_, 3);
}

INSTANTIATE_TEST_SUITE_P(Seeds, IoptModelTest, ::testing::Range(0, 60));

// ---- every failure in turn ----

class IoptSweepTest : public IoptTest {
 protected:
  // Runs `op` with its first, second, ... failure until none is left. `undo`
  // follows a success; after a failure nothing may be left of it.
  void Sweep(const std::function<int()>& op,
             const std::function<void()>& undo) {
    const long slab = kernel_slab_live(&kernel_);
    const long pins = Pins();
    const long locked = LockedVm() + MmLockedVm();
    u32 n = 1;
    for (;; n++) {
      ASSERT_LT(n, 2000u);
      fail_nth_write(task_.get(), n);
      int rc = op();
      const bool fired = fail_nth_read(task_.get()) == 0;
      fail_nth_write(task_.get(), 0);
      if (rc == 0) undo();
      EXPECT_EQ(kernel_slab_live(&kernel_), slab) << "nth " << n;
      EXPECT_EQ(Pins(), pins) << "nth " << n;
      EXPECT_EQ(LockedVm() + MmLockedVm(), locked) << "nth " << n;
      if (!fired) {
        EXPECT_EQ(rc, 0);
        break;
      }
    }
    EXPECT_GT(n, 1u);
  }
};

TEST_F(IoptSweepTest, EveryFailure) {
  for (u8 mode : {IOPT_PAGES_ACCOUNT_USER, IOPT_PAGES_ACCOUNT_MM}) {
    for (size_t limit : {24ul, 65536ul}) {
      SetAccountMode(mode);
      hooks_.memory_limit = limit;
      auto a = NewIoas(), b = NewIoas();
      FakeDomain da[2] = {FakeDomain(k4kAndUp), FakeDomain(k4kOnly)};
      FakeDomain db(k4kOnly, kPage, (1UL << 40) - 1), late(k4kOnly);
      FakeAccess access(ictx_.get(), a.get());
      const unsigned long buf = NewBuffer(30 * kPage, {.fragmented = true});
      const unsigned long iova = 0x100000;
      for (auto& domain : da)
        ASSERT_EQ(iopt_table_add_domain(&a->iopt, &domain), 0);

      // Map into two domains, and without one.
      Sweep([&] { return MapFixed(a.get(), iova, buf, 30 * kPage); },
            [&] { EXPECT_EQ(Unmap(a.get(), iova, 30 * kPage), 0); });
      Sweep([&] { return MapFixed(b.get(), iova, buf, 30 * kPage); },
            [&] { EXPECT_EQ(Unmap(b.get(), iova, 30 * kPage), 0); });

      // Two areas, copied into a table with a domain of its own.
      ASSERT_EQ(MapFixed(a.get(), iova, buf, 10 * kPage), 0);
      ASSERT_EQ(
          MapFixed(a.get(), iova + 10 * kPage, buf + 10 * kPage, 20 * kPage),
          0);
      unsigned long dst = 2 * iova;
      Sweep([&] { return iopt_table_add_domain(&b->iopt, &db); },
            [&] { iopt_table_remove_domain(&b->iopt, &db); });
      ASSERT_EQ(iopt_table_add_domain(&b->iopt, &db), 0);
      Sweep(
          [&] {
            return Copy(a.get(), iova + 5 * kPage, 12 * kPage, b.get(), &dst,
                        IOMMU_READ);
          },
          [&] { EXPECT_EQ(Unmap(b.get(), dst, 12 * kPage), 0); });

      // A third domain comes, and the first one with areas that wait for it.
      Sweep([&] { return iopt_table_add_domain(&a->iopt, &late); },
            [&] { iopt_table_remove_domain(&a->iopt, &late); });
      for (auto& domain : da) iopt_table_remove_domain(&a->iopt, &domain);
      EXPECT_EQ(Pins(), 0);
      Sweep([&] { return iopt_table_add_domain(&a->iopt, &late); },
            [&] { iopt_table_remove_domain(&a->iopt, &late); });

      // Pins, of fresh pages and of pages that a domain or a pin has.
      Sweep([&] { return access.Add(); }, [&] { access.Remove(); });
      ASSERT_EQ(access.Add(), 0);
      auto pin = [&] { return access.Pin(iova + 3 * kPage, 20 * kPage); };
      auto unpin = [&] { access.Unpin(access.pins().size() - 1); };
      Sweep(pin, unpin);
      ASSERT_EQ(access.Pin(iova + 5 * kPage, 10 * kPage), 0);
      Sweep(pin, unpin);
      ASSERT_EQ(iopt_table_add_domain(&a->iopt, &late), 0);
      Sweep(pin, unpin);
      access.UnpinAll();
      Sweep(pin, unpin);

      // Reading and writing through every path.
      iopt_table_remove_domain(&a->iopt, &late);
      std::vector<char> data(3 * kPage);
      for (int flags :
           {0, +__IOMMUFD_ACCESS_RW_SLOW_PATH, +IOMMUFD_ACCESS_RW_WRITE,
            __IOMMUFD_ACCESS_RW_SLOW_PATH | IOMMUFD_ACCESS_RW_WRITE}) {
        for (unsigned long length : {8ul, 3 * kPage}) {
          Sweep(
              [&] {
                return Rw(a.get(), iova + 9 * kPage - 4, data.data(), length,
                          static_cast<unsigned int>(flags));
              },
              [] {});
        }
      }

      // Cutting, both halves of it.
      access.Remove();
      unsigned long at = iova + 4 * kPage - 1;
      const long slab = kernel_slab_live(&kernel_);
      for (u32 n = 1;; n++) {
        fail_nth_write(task_.get(), n);
        int rc = iopt_cut_iova(&a->iopt, &at, 1);
        fail_nth_write(task_.get(), 0);
        if (rc == 0) break;
        EXPECT_EQ(rc, -ENOMEM);
        EXPECT_EQ(kernel_slab_live(&kernel_), slab);
        ASSERT_LT(n, 10u);
      }
      EXPECT_EQ(kernel_slab_live(&kernel_), slab + 1);
      iopt_table_remove_domain(&b->iopt, &db);
      Destroy(a.get());
      Destroy(b.get());
    }
  }
}

// ---- threads ----

// Three tasks of one process on one table, and a domain that comes and goes.
TEST_F(IoptTest, ThreadsOnOneTable) {
  auto ioas = NewIoas();
  FakeDomain steady(k4kOnly), guest(k4kOnly);
  ASSERT_EQ(iopt_table_add_domain(&ioas->iopt, &steady), 0);
  const unsigned long buf = NewBuffer(16 * kPage);
  auto body = [&](unsigned seed, const std::function<void(unsigned)>& step) {
    task_struct task(&kernel_);
    task.mm = task_->mm;
    task.cred = &cred_;
    task.rlimit_memlock = 1UL << 40;
    std::mt19937 rng(seed);
    for (int i = 0; i < 300; i++) {
      task_scope scope(&task);
      step(static_cast<unsigned>(rng()));
    }
  };
  // Each mapper has its own IOVA; both race over the third.
  auto mapper = [&](unsigned long mine) {
    return [&, mine](unsigned r) {
      const unsigned long iova = r & 1 ? mine : 0x900000;
      int rc = MapFixed(ioas.get(), iova, buf, (1 + r % 16) * kPage);
      EXPECT_TRUE(rc == 0 || rc == -EEXIST) << rc;
      unsigned long n;
      // -ENOENT: the unmap has taken the first pages, and the other mapper's
      // next map, which may be longer, begins below what is left of its range.
      rc = Unmap(ioas.get(), iova, 16 * kPage, &n);
      EXPECT_TRUE(rc == 0 || rc == -EBUSY || rc == -ENOENT) << rc;
    };
  };
  // An unmap waits for the pinner, however long that does not run: an unmap op
  // that returns before the pages are unpinned is a driver's mistake.
  std::atomic<bool> pinned{false};
  FakeAccess access(ictx_.get(), ioas.get());
  access.deaf = true;
  access.on_unmap = [&](unsigned long, unsigned long) {
    while (pinned) std::this_thread::yield();
  };
  ASSERT_EQ(access.Add(), 0);
  auto pinner = [&](unsigned r) {
    struct page* pages[16];
    const unsigned long iova = 0x100000 + 0x100000 * (r % 2);
    const unsigned long length = kPage * (1 + r % 4);
    pinned = true;
    if (!iopt_pin_pages(&ioas->iopt, iova, length, pages, 0, true)) {
      iopt_unpin_pages(&ioas->iopt, iova, length, true);
    }
    pinned = false;
  };
  auto attacher = [&](unsigned) {
    EXPECT_EQ(iopt_table_add_domain(&ioas->iopt, &guest), 0);
    iopt_table_remove_domain(&ioas->iopt, &guest);
    EXPECT_EQ(guest.mapped_bytes(), 0u);
  };
  std::thread t1([&] { body(1, mapper(0x100000)); });
  std::thread t2([&] { body(2, mapper(0x200000)); });
  std::thread t3([&] { body(3, pinner); });
  std::thread t4([&] { body(4, attacher); });
  t1.join();
  t2.join();
  t3.join();
  t4.join();
  access.Remove();
  iopt_table_remove_domain(&ioas->iopt, &steady);
  EXPECT_EQ(steady.mapped_bytes(), 0u);
  Destroy(ioas.get());
}

}  // namespace
}  // namespace iopt_test
