// SPDX-License-Identifier: GPL-2.0-or-later
//
// For each command that a guest can give, by its own queue and by
// HWPT_INVALIDATE: the DMA before it sees what was, the DMA after it what is,
// and nothing else is seen anew: not what it did not name, and nothing of
// another guest. The same for what the kernel itself does when a VMM changes
// stage 2 or a device's stream table entry.
#include <set>

#include "tests/platform/tegra241_fixture.h"

namespace tegra241 {
namespace {

const std::vector<const char*> kRevisions = iommulab::Forms(DESC_SINCE_VIOMMU);

// A queue's codes; HWPT_INVALIDATE has one errno for both.
constexpr uint32_t kIll = 1;
constexpr uint32_t kIllAccess = 4;

// Addresses of a guest's device. The SMMU keeps what it walked for kVa0 and
// kVa1, the device's ATC what it was told of kVa2. kBefore and kAfter are
// walked anew and show which context descriptor the SMMU uses.
constexpr uint64_t kVa0 = 0x5000000;
constexpr uint64_t kVa1 = 0x5001000;
constexpr uint64_t kVa2 = 0x5002000;
constexpr uint64_t kBefore = 0x5003000;
constexpr uint64_t kAfter = 0x5004000;

using Seen = std::set<std::string>;

class StalenessTest : public Machine {
 protected:
  static constexpr uint64_t kOtherTable = 0x8000;

  // Two guests, each with what is stale in it after MakeStale().
  void TwoGuests(uint64_t asid_b, tegra241_mode mode, const char* rev) {
    ASSERT_NO_FATAL_FAILURE(Boot({.mode = mode}, rev));
    constexpr uint64_t kEats = 1ULL << 28;
    a_ = StartGuest(0, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, 0x10, 7, -1, kEats);
    b_ = StartGuest(1, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, 0x20, asid_b, -1,
                    kEats);
    for (const Guest* g : {&a_, &b_}) {
      StartQueue(*g, 0);
      for (int i = 0; i < 2; i++) {
        const uint64_t at = g->ram + (i == 0 ? Guest::kTable : kOtherTable);
        const uint64_t ipa = at - g->ram + Guest::kIpa;
        Store<uint64_t>(at, (ipa + 0x1000) | 3);
        Store<uint64_t>(at + 0x1000 + (kVa0 >> 21) * 8, (ipa + 0x2000) | 3);
      }
    }
  }
  uint64_t Value(const Guest& g, int page) {
    return 0x1000 * g.asid + static_cast<uint64_t>(page);
  }
  // The guest's memory says: every address is page 2 * n + turn.
  void Turn(const Guest& g, int turn) {
    for (uint64_t table : {uint64_t{Guest::kTable}, kOtherTable}) {
      // What walks differ in: the second table has one page for both.
      const bool other = table == kOtherTable;
      auto map = [&](uint64_t va, int page) {
        Store<uint64_t>(g.ram + table + 0x2000 + ((va >> 12) & 511) * 8,
                        GuestPage(page) | 0xf43);
      };
      map(kVa0, 0 + turn);
      map(kVa1, 2 + turn);
      map(kVa2, 4 + turn);
      map(kBefore, other ? 7 : 6);
      map(kAfter, other ? 7 : 6);
    }
    Store<uint64_t>(g.ram + Guest::kCd + 8,
                    Guest::kIpa + (turn == 0 ? Guest::kTable : kOtherTable));
  }
  void Kernel(const Guest& g, const std::vector<Cmd>& cmds) {
    uint32_t done = 0;
    EXPECT_EQ(Invalidate(g.f, g.viommu.id, cmds, &done), 0);
    EXPECT_EQ(done, cmds.size());
  }
  void MakeStale() {
    for (const Guest* g : {&a_, &b_}) {
      Turn(*g, 0);
      Kernel(*g, {CfgiCdAll(g->vsid), TlbiNhAll(), AtcInv(g->vsid, 0, 52)});
      EXPECT_EQ(DmaRead(g->dev, kVa0), Value(*g, 0));
      EXPECT_EQ(DmaRead(g->dev, kVa1), Value(*g, 2));
      EXPECT_EQ(DmaRead(g->dev, kVa2, kAtc), Value(*g, 4));
    }
    for (const Guest* g : {&a_, &b_}) {
      Turn(*g, 1);
      // Only the device has this one from here on.
      Kernel(*g, {TlbiNhVa(g->asid, kVa2)});
      EXPECT_EQ(DmaRead(g->dev, kVa0), Value(*g, 0));
      EXPECT_EQ(DmaRead(g->dev, kVa1), Value(*g, 2));
      EXPECT_EQ(DmaRead(g->dev, kVa2, kAtc), Value(*g, 4));
      EXPECT_EQ(DmaRead(g->dev, kBefore), Value(*g, 6));
    }
  }
  Seen Fresh() {
    Seen seen;
    for (const Guest* g : {&a_, &b_}) {
      const std::string who = g == &a_ ? "" : "b.";
      auto look = [&](const char* name, uint64_t va, uint32_t how, int old) {
        const uint64_t got = DmaRead(g->dev, va, how);
        if (got == Value(*g, old + 1)) {
          seen.insert(who + name);
        } else {
          EXPECT_EQ(got, Value(*g, old)) << who << name;
        }
      };
      look("va0", kVa0, 0, 0);
      look("va1", kVa1, 0, 2);
      look("atc", kVa2, kAtc, 4);
      look("cd", kAfter, 0, 6);
    }
    return seen;
  }
  // By the guest's queue; what refuses a command is mended.
  Seen ByQueue(const Cmd& cmd, uint32_t error) {
    MakeStale();
    const uint32_t cons = Push(a_, 0, {cmd, Sync()});
    const bool failed = Load<uint32_t>(Reg(a_, 0, kGerror)) !=
                        Load<uint32_t>(Reg(a_, 0, kGerrorn));
    EXPECT_EQ(failed, error != 0);
    if (failed) {
      EXPECT_EQ(cons >> 24 & 0x7f, error);
      Store(a_.ram + Guest::kQueues + (cons & 63) * 16, Sync());
      Store<uint32_t>(Reg(a_, 0, kGerrorn),
                      Load<uint32_t>(Reg(a_, 0, kGerror)));
      Push(a_, 0, {});
    }
    return Fresh();
  }
  Seen ByKernel(const Cmd& cmd, bool refused) {
    MakeStale();
    uint32_t done = 0;
    EXPECT_EQ(Invalidate(a_.f, a_.viommu.id, {cmd}, &done), refused ? -EIO : 0);
    EXPECT_EQ(done, refused ? 0u : 1u);
    return Fresh();
  }

  Guest a_, b_;
};

TEST_F(StalenessTest, EachCommandOfAGuests) {
  struct Case {
    const char* name;
    Cmd cmd;
    // What is seen anew when it goes to the queue, and the queue's error; the
    // same for HWPT_INVALIDATE, which takes more.
    Seen queue;
    uint32_t queue_error;
    Seen kernel;
    bool kernel_refuses;
  };
  for (const char* rev : kRevisions) {
    for (uint64_t asid_b : {7, 9}) {
      for (tegra241_mode mode : {TEGRA241_EAGER, TEGRA241_STEPPED}) {
        SCOPED_TRACE(std::string(rev) + " " + std::to_string(asid_b) + " " +
                     std::to_string(mode));
        ASSERT_NO_FATAL_FAILURE(TwoGuests(asid_b, mode, rev));
        // Any VMID that a guest may think of, and the other guest's.
        for (uint64_t vmid : {0, 1, 2, 3, 0xffff}) {
          const Case cases[] = {
              {"SYNC", Sync(), {}, 0, {}, true},
              {"NH_ALL", TlbiNhAll(vmid), {}, kIll, {"va0", "va1"}, false},
              {"NH_ASID",
               TlbiNhAsid(7, vmid),
               {"va0", "va1"},
               0,
               {"va0", "va1"},
               false},
              {"NH_ASID of none", TlbiNhAsid(8, vmid), {}, 0, {}, false},
              {"NH_ASID of b's or of none",
               TlbiNhAsid(9, vmid),
               {},
               0,
               {},
               false},
              {"NH_VA", TlbiNhVa(7, kVa0, vmid), {"va0"}, 0, {"va0"}, false},
              {"NH_VA of none", TlbiNhVa(8, kVa0, vmid), {}, 0, {}, false},
              {"NH_VA of b's", TlbiNhVa(9, kVa0, vmid), {}, 0, {}, false},
              {"NH_VA elsewhere",
               TlbiNhVa(7, 0x6000000, vmid),
               {},
               0,
               {},
               false},
              {"NH_VAA", TlbiNhVaa(kVa1, vmid), {}, kIll, {"va1"}, false},
              {"NH_VAA elsewhere",
               TlbiNhVaa(0x6000000, vmid),
               {},
               kIll,
               {},
               false},
              {"NSNH_ALL", TlbiNsnhAll(), {}, kIll, {"va0", "va1"}, false},
              {"S12_VMALL", TlbiS12Vmall(vmid), {}, kIll, {}, true},
              {"S2_IPA", TlbiS2Ipa(GuestPage(0), vmid), {}, kIll, {}, true},
              {"EL2_ALL", TlbiEl2All(), {}, kIll, {}, true},
          };
          for (const Case& c : cases) {
            SCOPED_TRACE(std::string(c.name) + " " + std::to_string(vmid));
            EXPECT_EQ(ByQueue(c.cmd, c.queue_error), c.queue);
            EXPECT_EQ(ByKernel(c.cmd, c.kernel_refuses), c.kernel);
          }
        }
        const Case cases[] = {
            {"CFGI_CD", CfgiCd(0x10), {}, kIll, {"cd"}, false},
            {"CFGI_CD_ALL", CfgiCdAll(0x10), {}, kIll, {"cd"}, false},
            {"CFGI_STE", CfgiSte(0x10), {}, kIll, {}, true},
            {"CFGI_ALL", CfgiAll(), {}, kIll, {}, true},
            {"ATC_INV", AtcInv(0x10, kVa2, 0), {"atc"}, 0, {"atc"}, false},
            {"ATC_INV of all", AtcInv(0x10, 0, 52), {"atc"}, 0, {"atc"}, false},
            {"ATC_INV elsewhere", AtcInv(0x10, kVa1, 0), {}, 0, {}, false},
            // What b calls its device, and what the host calls a's. 0x10,
            // above, is what the host calls b's.
            {"ATC_INV 20", AtcInv(0x20, 0, 52), {}, kIllAccess, {}, true},
            {"ATC_INV 8", AtcInv(8, 0, 52), {}, kIllAccess, {}, true},
            {"ATC_INV 18", AtcInv(0x18, 0, 52), {}, kIllAccess, {}, true},
            {"CFGI_CD 20", CfgiCd(0x20), {}, kIll, {}, true},
            {"CFGI_CD_ALL 8", CfgiCdAll(8), {}, kIll, {}, true},
        };
        for (const Case& c : cases) {
          SCOPED_TRACE(c.name);
          EXPECT_EQ(ByQueue(c.cmd, c.queue_error), c.queue);
          EXPECT_EQ(ByKernel(c.cmd, c.kernel_refuses), c.kernel);
        }
        Shutdown();
      }
    }
  }
}

// What a guest cannot ask for the kernel does when it is due: S2_IPA,
// S12_VMALL, CFGI_STE.
TEST_F(StalenessTest, WhatTheVmmChangesIsSeenAtOnce) {
  for (const char* rev : kRevisions) {
    for (tegra241_mode mode :
         {TEGRA241_EAGER, TEGRA241_STEPPED, TEGRA241_FREE_RUNNING}) {
      SCOPED_TRACE(std::string(rev) + " " + std::to_string(mode));
      ASSERT_NO_FATAL_FAILURE(TwoGuests(7, mode, rev));
      // A page of stage 2 beside the guest's memory.
      constexpr uint64_t kIpa = 0x80000000;
      const uint64_t memory = Anon(0x2000);
      Store<uint64_t>(memory, 0xaaaa);
      Store<uint64_t>(memory + 0x1000, 0xbbbb);
      ASSERT_EQ(Map(a_.f, a_.ioas, memory, kIpa, 0x1000), 0);
      MakeStale();
      GuestMap(a_, 0x5010000, kIpa);
      EXPECT_EQ(DmaRead(a_.dev, 0x5010000), 0xaaaau);
      EXPECT_EQ(DmaRead(a_.dev, 0x5010000, kAtc), 0xaaaau);
      ASSERT_EQ(Unmap(a_.f, a_.ioas, kIpa, 0x1000), 0);
      EXPECT_EQ(DmaRead(a_.dev, 0x5010000), ~0ULL);
      EXPECT_EQ(DmaRead(a_.dev, 0x5010000, kAtc), ~0ULL);
      ASSERT_EQ(Map(a_.f, a_.ioas, memory + 0x1000, kIpa, 0x1000), 0);
      EXPECT_EQ(DmaRead(a_.dev, 0x5010000), 0xbbbbu);
      EXPECT_EQ(DmaRead(a_.dev, 0x5010000, kAtc), 0xbbbbu);
      // It forgets all of stage 1 of this guest, and of no other.
      for (const std::string& name : Fresh()) {
        EXPECT_NE(name.substr(0, 2), "b.") << name;
      }

      // The guest's entry: bypass is its own addresses.
      MakeStale();
      uint32_t bypass = 0;
      ASSERT_EQ(Nested(a_.f, a_.dev.id, a_.viommu.id, 1 | 4 << 1, 0, &bypass),
                0);
      EXPECT_EQ(DmaRead(a_.dev, GuestPage(9)), ~0ULL);
      ASSERT_EQ(Attach(a_.dev, bypass), 0);
      EXPECT_EQ(DmaRead(a_.dev, GuestPage(9)), Value(a_, 9));
      EXPECT_EQ(DmaRead(a_.dev, kVa0), ~0ULL);
      ASSERT_EQ(Attach(a_.dev, a_.nested), 0);
      EXPECT_EQ(DmaRead(a_.dev, GuestPage(9)), ~0ULL);
      EXPECT_NE(DmaRead(a_.dev, kVa0), ~0ULL);
      for (const std::string& name : Fresh()) {
        EXPECT_NE(name.substr(0, 2), "b.") << name;
      }
      Shutdown();
    }
  }
}

}  // namespace
}  // namespace tegra241
