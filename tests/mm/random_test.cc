// SPDX-License-Identifier: GPL-2.0-or-later
//
// Random maps, unmaps, protections, stores and pins, against a model that knows
// each page's contents, protection and pins. At the end nothing is left.
#include <cerrno>
#include <map>
#include <random>
#include <vector>

#include "tests/mm/mm_fixture.h"

namespace mm_test {
namespace {

constexpr unsigned long kWindow = 64;  // pages that the programs work on

struct ModelPage {
  bool writable;
  bool readable;
  bool poisoned = false;
  bool touched = false;
  u32 value = 0;
  int identity = -1;  // which page of the model's, once touched
};

struct Pin {
  page* pinned;
  int identity;
};

class RandomTest : public MmFixture, public testing::WithParamInterface<int> {
 protected:
  RandomTest() : MmFixture(false, 32 << 20) {}

  unsigned long Addr(unsigned long index) const {
    return ARENA_BASE + index * kPage;
  }

  void Touch(ModelPage* p) {
    if (p->touched) return;
    p->touched = true;
    p->identity = static_cast<int>(values_.size());
    values_.push_back(0);
  }

  std::map<unsigned long, ModelPage> model_;
  std::vector<u32> values_;  // by identity: a pin sees it after the unmap
  std::vector<Pin> pins_;
};

TEST_P(RandomTest, AgreesWithTheModel) {
  std::mt19937 rng(static_cast<unsigned>(GetParam()));
  const auto pick = [&rng](unsigned long n) { return rng() % n; };
  for (int step = 0; step < 3000; step++) {
    unsigned long at = pick(kWindow);
    unsigned long n = 1 + pick(std::min(12UL, kWindow - at));
    switch (pick(8)) {
      case 0: {  // map, over what is there
        static constexpr unsigned long kProts[] = {kRW, kRW, PROT_READ,
                                                   PROT_NONE};
        unsigned long prot = kProts[pick(4)];
        mapping_shape shape;
        shape.fragmented = pick(2) != 0;
        shape.poisoned = pick(8) == 0;
        ASSERT_EQ(static_cast<long>(Addr(at)),
                  vm_mmap_shape(nullptr, Addr(at), n * kPage, prot,
                                kAnon | MAP_FIXED, 0, shape));
        for (unsigned long i = at; i < at + n; i++)
          model_[i] = {.writable = prot == kRW,
                       .readable = prot != PROT_NONE,
                       .poisoned = shape.poisoned};
        break;
      }
      case 1:
        ASSERT_EQ(0, vm_munmap(Addr(at), n * kPage));
        for (unsigned long i = at; i < at + n; i++) model_.erase(i);
        break;
      case 2: {
        bool write = pick(2) != 0;
        bool whole = true;
        for (unsigned long i = at; i < at + n; i++) whole &= model_.count(i);
        int rc = vm_mprotect(Addr(at), n * kPage, write ? kRW : PROT_READ);
        ASSERT_EQ(whole ? 0 : -ENOMEM, rc);
        for (unsigned long i = at; whole && i < at + n; i++) {
          model_[i].readable = true;
          model_[i].writable = write;
        }
        break;
      }
      case 3:
      case 4: {  // store
        u32 v = static_cast<u32>(rng());
        size_t left = Out(Addr(at) + 16, &v, 4);
        auto it = model_.find(at);
        bool ok =
            it != model_.end() && it->second.writable && !it->second.poisoned;
        ASSERT_EQ(ok ? 0u : 4u, left);
        if (ok) {
          Touch(&it->second);
          values_[static_cast<size_t>(it->second.identity)] = v;
        }
        break;
      }
      case 5: {  // load
        u32 v = 0;
        size_t left = In(Addr(at) + 16, &v, 4);
        auto it = model_.find(at);
        bool ok =
            it != model_.end() && it->second.readable && !it->second.poisoned;
        ASSERT_EQ(ok ? 0u : 4u, left);
        if (ok) {
          Touch(&it->second);
          ASSERT_EQ(values_[static_cast<size_t>(it->second.identity)], v);
        }
        break;
      }
      case 6: {  // pin
        page* pages[16];
        bool write = pick(2) != 0;
        long rc = pick(2) ? pin_user_pages_fast(Addr(at), static_cast<int>(n),
                                                write ? FOLL_WRITE : 0, pages)
                          : PinRemote(mm_, Addr(at), n, write ? FOLL_WRITE : 0,
                                      pages);
        long want = 0;
        for (unsigned long i = at; i < at + n; i++, want++) {
          auto it = model_.find(i);
          if (it == model_.end() || it->second.poisoned ||
              !(write ? it->second.writable : it->second.readable))
            break;
        }
        ASSERT_EQ(want ? want : -EFAULT, rc);
        for (long i = 0; i < rc; i++) {
          ModelPage* p = &model_[at + static_cast<unsigned long>(i)];
          Touch(p);
          pins_.push_back({pages[i], p->identity});
        }
        break;
      }
      case 7: {  // a pin sees its page, mapped or not; then it may go
        if (pins_.empty()) break;
        size_t i = pick(pins_.size());
        u32 v;
        memcpy_from_page(&v, pins_[i].pinned, 16, 4);
        ASSERT_EQ(values_[static_cast<size_t>(pins_[i].identity)], v);
        v = static_cast<u32>(rng());
        memcpy_to_page(pins_[i].pinned, 16, &v, 4);
        values_[static_cast<size_t>(pins_[i].identity)] = v;
        if (pick(4) == 0) break;
        unpin_user_page(pins_[i].pinned);
        pins_[i] = pins_.back();
        pins_.pop_back();
        break;
      }
    }
    if (step % 64 == 0) {
      ASSERT_EQ(pins_.size(), Pins());
    }
  }
  // Every page is mapped or pinned, none is both lost and kept.
  std::map<page*, int> live;
  for (const Pin& pin : pins_) live[pin.pinned] = pin.identity;
  std::map<int, int> identities;
  for (auto& [p, id] : live) ASSERT_EQ(1, ++identities[id]);
  size_t pages = live.size();
  for (auto& [index, p] : model_)
    if (p.touched && !identities.count(p.identity)) pages++;
  EXPECT_EQ(pages, Pages());
  for (const Pin& pin : pins_) unpin_user_page(pin.pinned);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomTest, testing::Range(1, 41));

}  // namespace
}  // namespace mm_test
