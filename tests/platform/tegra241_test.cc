// SPDX-License-Identifier: GPL-2.0-or-later
//
// The SMMUv3 driver on the model of an SMMUv3: what a device's DMA reaches.
#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/platform/tegra241_fixture.h"

namespace tegra241 {
namespace {

const std::vector<const char*> kRevisions = iommulab::Forms(DESC_SINCE_VIOMMU);
constexpr tegra241_mode kModes[] = {TEGRA241_EAGER, TEGRA241_STEPPED,
                                    TEGRA241_FREE_RUNNING};

TEST_F(Machine, ADevicesDmaFollowsItsIoas) {
  for (tegra241_mode mode : kModes) {
    SCOPED_TRACE(mode);
    ASSERT_NO_FATAL_FAILURE(Boot({.mode = mode}));
    const int f = Open("/dev/iommu");
    const Device d = OpenDevice(f, 0);
    const uint64_t mem = Anon(0x10000);
    Store<uint64_t>(mem + 0x1008, 0x1122334455667788);

    // Nothing before there is anything.
    EXPECT_EQ(DmaRead(d, 0x1000000 + 0x1008), ~0ULL);
    uint32_t ioas = IoasAlloc(f);
    ASSERT_EQ(Map(f, ioas, mem, 0x1000000, 0x10000), 0);
    uint32_t pt = ioas;
    ASSERT_EQ(Attach(d, &pt), 0);
    EXPECT_NE(pt, ioas);
    EXPECT_EQ(DmaRead(d, 0x1000000 + 0x1008), 0x1122334455667788u);
    uint64_t v = 0xcafe;
    EXPECT_EQ(Dma(d, kWrite, 0x1000000 + 0x2000, &v), kOk);
    EXPECT_EQ(Load<uint64_t>(mem + 0x2000), 0xcafeu);
    // Gone at once, though the SMMU had it in its TLB.
    EXPECT_EQ(Unmap(f, ioas, 0x1000000, 0x10000), 0);
    EXPECT_EQ(DmaRead(d, 0x1000000 + 0x1008), ~0ULL);
    ASSERT_EQ(Map(f, ioas, mem, 0x2000000, 0x10000, IOMMU_IOAS_MAP_READABLE),
              0);
    EXPECT_EQ(DmaRead(d, 0x2000000 + 0x1008), 0x1122334455667788u);
    EXPECT_EQ(Dma(d, kWrite, 0x2000000, &v), kAborted);
    EXPECT_EQ(Detach(d), 0);
    EXPECT_EQ(DmaRead(d, 0x2000000 + 0x1008), ~0ULL);
    Shutdown();
  }
}

TEST_F(Machine, EveryKindOfTableAndOfSmmu) {
  struct Case {
    tegra241_machine_options opts;
    uint32_t flags;
    long rc;
  };
  const Case cases[] = {
      {{.s1 = true, .s2 = false}, 0, 0},
      {{.s1 = false, .s2 = true}, 0, 0},
      {{}, IOMMU_HWPT_ALLOC_NEST_PARENT, 0},
      {{.s1 = false, .s2 = true}, IOMMU_HWPT_ALLOC_NEST_PARENT, -EOPNOTSUPP},
      {{.s1 = true, .s2 = false}, IOMMU_HWPT_ALLOC_NEST_PARENT, -EOPNOTSUPP},
      {{.pasid_bits = 4}, IOMMU_HWPT_ALLOC_PASID, 0},
      {{.cmdqv = false}, 0, 0},
      {{}, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, 0},
      {{},
       IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
       -EOPNOTSUPP},
  };
  for (const Case& c : cases) {
    ASSERT_NO_FATAL_FAILURE(Boot(c.opts));
    const int f = Open("/dev/iommu");
    const Device d = OpenDevice(f, 1);
    const uint64_t mem = Anon(4 << 20, true);
    const uint32_t ioas = IoasAlloc(f);
    ASSERT_EQ(Map(f, ioas, mem, 1ULL << 32, 4 << 20), 0);
    uint32_t hwpt = 0;
    ASSERT_EQ(HwptAlloc(f, d.id, ioas, c.flags, &hwpt), c.rc);
    if (c.rc == 0) {
      ASSERT_EQ(Attach(d, hwpt), 0);
      uint64_t v = 5;
      EXPECT_EQ(Dma(d, kWrite, (1ULL << 32) + 0x234568, &v), kOk);
      EXPECT_EQ(Load<uint64_t>(mem + 0x234568), 5u);
      EXPECT_EQ(Unmap(f, ioas, 0, ~0ULL), 0);
      EXPECT_EQ(Dma(d, kWrite, (1ULL << 32) + 0x234568, &v), kAborted);
    }
    Shutdown();
  }
}

TEST_F(Machine, DirtyPagesAreTheHardwares) {
  ASSERT_NO_FATAL_FAILURE(Boot());
  const int f = Open("/dev/iommu");
  const Device d = OpenDevice(f, 0);
  const uint64_t mem = Anon(0x10000);
  const uint32_t ioas = IoasAlloc(f);
  ASSERT_EQ(Map(f, ioas, mem, 0x1000000, 0x10000), 0);
  uint32_t hwpt = 0;
  ASSERT_EQ(HwptAlloc(f, d.id, ioas, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt),
            0);
  ASSERT_EQ(Attach(d, hwpt), 0);
  iommulab::Cmd set("HWPT_SET_DIRTY_TRACKING");
  set.Set("flags", IOMMU_HWPT_DIRTY_TRACKING_ENABLE).Set("hwpt_id", hwpt);
  ASSERT_EQ(Ioctl(f, &set), 0);
  auto dirty = [&] {
    const uint64_t zero = 0;
    iommulab::Cmd get("HWPT_GET_DIRTY_BITMAP");
    get.Set("hwpt_id", hwpt)
        .Set("iova", 0x1000000)
        .Set("length", 0x10000)
        .Set("page_size", 0x1000)
        .Set("data", Beside(&zero, sizeof(zero)));
    EXPECT_EQ(Ioctl(f, &get), 0);
    return Load<uint64_t>(args_ + 0x8000);
  };
  EXPECT_EQ(dirty(), 0u);
  EXPECT_NE(DmaRead(d, 0x1000000), ~0ULL);
  EXPECT_EQ(dirty(), 0u);
  uint64_t v = 1;
  EXPECT_EQ(Dma(d, kWrite, 0x1003000, &v), kOk);
  EXPECT_EQ(Dma(d, kWrite, 0x100f000, &v), kOk);
  EXPECT_EQ(dirty(), 0x8008u);
  // Cleared, and forgotten by the TLB: the next write is seen again.
  EXPECT_EQ(dirty(), 0u);
  EXPECT_EQ(Dma(d, kWrite, 0x1003000, &v), kOk);
  EXPECT_EQ(dirty(), 0x8u);
}

TEST_F(Machine, PasidsHaveTablesOfTheirOwn) {
  // Beyond 1024 there are tables of two levels.
  for (unsigned bits : {4u, 12u}) {
    ASSERT_NO_FATAL_FAILURE(Boot({.pasid_bits = bits}));
    const int f = Open("/dev/iommu");
    const Device d = OpenDevice(f, 0);
    const uint64_t mem = Anon(0x3000);
    uint32_t ioas[3], hwpt[3];
    for (int i = 0; i < 3; i++) {
      Store<uint64_t>(mem + i * 0x1000, 100 + i);
      ioas[i] = IoasAlloc(f);
      ASSERT_EQ(Map(f, ioas[i], mem + i * 0x1000, 0x1000000, 0x1000), 0);
      ASSERT_EQ(HwptAlloc(f, d.id, ioas[i], IOMMU_HWPT_ALLOC_PASID, &hwpt[i]),
                0);
    }
    const uint32_t last = (1u << bits) - 1;
    // Before the device itself has a table.
    ASSERT_EQ(AttachPasid(d, last, hwpt[1]), 0);
    EXPECT_EQ(DmaRead(d, 0x1000000, kSsv, last), 101u);
    EXPECT_EQ(DmaRead(d, 0x1000000), ~0ULL);
    ASSERT_EQ(Attach(d, hwpt[0]), 0);
    EXPECT_EQ(DmaRead(d, 0x1000000), 100u);
    ASSERT_EQ(AttachPasid(d, 1, hwpt[2]), 0);
    EXPECT_EQ(DmaRead(d, 0x1000000, kSsv, 1), 102u);
    EXPECT_EQ(DmaRead(d, 0x1000000, kSsv, last), 101u);
    EXPECT_EQ(DmaRead(d, 0x1000000, kSsv, 2), ~0ULL);
    ASSERT_EQ(AttachPasid(d, 1, hwpt[1]), 0);
    EXPECT_EQ(DmaRead(d, 0x1000000, kSsv, 1), 101u);
    EXPECT_EQ(AttachPasid(d, last + 1, hwpt[1]), -EINVAL);
    EXPECT_EQ(Detach(d), 0);
    EXPECT_EQ(DmaRead(d, 0x1000000), ~0ULL);
    EXPECT_EQ(DmaRead(d, 0x1000000, kSsv, last), 101u);
    CloseDevice(d);
    Shutdown();
  }
}

TEST_F(Machine, WhatADevicesAtcHoldsIsInvalidatedToo) {
  ASSERT_NO_FATAL_FAILURE(Boot());
  const int f = Open("/dev/iommu");
  const Device d = OpenDevice(f, 0);
  const uint64_t mem = Anon(0x4000);
  Store<uint64_t>(mem, 1);
  Store<uint64_t>(mem + 0x1000, 2);
  const uint32_t ioas = IoasAlloc(f);
  ASSERT_EQ(Map(f, ioas, mem, 0x1000000, 0x1000), 0);
  ASSERT_EQ(Attach(d, ioas), 0);
  EXPECT_EQ(DmaRead(d, 0x1000000, kAtc), 1u);
  ASSERT_EQ(Unmap(f, ioas, 0x1000000, 0x1000), 0);
  EXPECT_EQ(DmaRead(d, 0x1000000, kAtc), ~0ULL);
  ASSERT_EQ(Map(f, ioas, mem + 0x1000, 0x1000000, 0x1000), 0);
  EXPECT_EQ(DmaRead(d, 0x1000000, kAtc), 2u);
  // A device that does not answer costs an error that the driver recovers from.
  Store<uint32_t>(d.bar + kQuirks, 1);
  EXPECT_EQ(Unmap(f, ioas, 0x1000000, 0x1000), 0);
  EXPECT_NE(Log().find("ATC invalidate timeout"), std::string::npos);
  Store<uint32_t>(d.bar + kQuirks, 0);
  ASSERT_EQ(Map(f, ioas, mem, 0x1000000, 0x1000), 0);
  EXPECT_EQ(DmaRead(d, 0x1000000), 1u);
}

TEST_F(Machine, AGuestsTableIsOverOurs) {
  for (const char* rev : kRevisions) {
    for (uint32_t type :
         {IOMMU_VIOMMU_TYPE_ARM_SMMUV3, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV}) {
      for (tegra241_mode mode : kModes) {
        SCOPED_TRACE(std::string(rev) + " " + std::to_string(type) + " " +
                     std::to_string(mode));
        ASSERT_NO_FATAL_FAILURE(Boot({.mode = mode}, rev));
        Guest g = StartGuest(0, type);
        GuestMap(g, 0x5000000, GuestPage(3));
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7003u);
        // Not what the guest did not map, nor what it has not.
        EXPECT_EQ(DmaRead(g.dev, GuestPage(3)), ~0ULL);
        GuestMap(g, 0x5001000, 0x1000);
        EXPECT_EQ(DmaRead(g.dev, 0x5001000), ~0ULL);

        // Changed, and stale until the right invalidation.
        GuestMap(g, 0x5000000, GuestPage(4));
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7003u);
        uint32_t done = 0;
        auto invalidate = [&](Cmd c) {
          EXPECT_EQ(Invalidate(g.f, g.viommu.id, {c}, &done), 0);
          EXPECT_EQ(done, 1u);
        };
        invalidate(TlbiNhVa(8, 0x5000000));
        invalidate(TlbiNhVa(7, 0x6000000));
        invalidate(TlbiNhAsid(6));
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7003u);
        invalidate(TlbiNhVa(7, 0x5000000, 0xffff));
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7004u);
        GuestMap(g, 0x5000000, GuestPage(5));
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7004u);
        invalidate(TlbiNhAsid(7));
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7005u);
        GuestMap(g, 0x5000000, GuestPage(6));
        invalidate(TlbiNhAll());
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7006u);
        GuestMap(g, 0x5000000, GuestPage(7));
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7006u);
        invalidate(TlbiNsnhAll());
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7007u);

        // Another context: stale until it is invalidated, by the guest's name
        // of its device.
        const uint64_t old = Load<uint64_t>(g.ram + Guest::kCd + 8);
        Store<uint64_t>(g.ram + Guest::kCd + 8, Guest::kIpa + 0x8000);
        invalidate(TlbiNhAll());
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7007u);
        invalidate(CfgiCd(g.vsid));
        invalidate(TlbiNhAll());
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), ~0ULL);
        Store<uint64_t>(g.ram + Guest::kCd + 8, old);
        invalidate(CfgiCd(g.vsid));
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7007u);

        // Our own stage 2 needs no help of the guest's.
        EXPECT_EQ(Unmap(g.f, g.ioas, Guest::kIpa, Guest::kSize), 0);
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), ~0ULL);
        Shutdown();
      }
    }
  }
}

TEST_F(Machine, WhatAGuestsCommandMayBe) {
  for (const char* rev : kRevisions) {
    ASSERT_NO_FATAL_FAILURE(Boot({}, rev));
    Guest g = StartGuest(0);
    uint32_t done = 0;
    auto invalidate = [&](const std::vector<Cmd>& cmds) {
      return Invalidate(g.f, g.viommu.id, cmds, &done);
    };
    // Not a command of a guest's, and of a device that it has not.
    for (Cmd bad : {CfgiSte(g.vsid), Sync(), Cmd{{0x04, 31}}, Cmd{{0x20, 0}},
                    Cmd{{0x28, 0}}, Cmd{{0x2a, 0}}, CfgiCd(g.vsid + 1),
                    AtcInv(0x8, 0, 0), Cmd{{0x41, 0}}, Cmd{{0x44, 0}}}) {
      EXPECT_EQ(invalidate({bad}), -EIO) << std::hex << bad.data[0];
      EXPECT_EQ(done, 0u);
    }
    EXPECT_EQ(invalidate({AtcInv(g.vsid, 0, 52), Cmd{{0x06 | g.vsid << 32, 0}},
                          Cmd{{0x13, 0x1000}}}),
              0);
    EXPECT_EQ(done, 3u);
    // Those before a bad one are done.
    GuestMap(g, 0x5000000, GuestPage(1));
    EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7001u);
    GuestMap(g, 0x5000000, GuestPage(2));
    EXPECT_EQ(
        invalidate({TlbiNhAsid(1), TlbiNhAsid(7), CfgiSte(0), TlbiNhAsid(1)}),
        -EIO);
    EXPECT_EQ(done, 2u);
    EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7002u);
    // More than a batch.
    std::vector<Cmd> many(200, TlbiNhAsid(1));
    many.push_back(TlbiNhAsid(7));
    GuestMap(g, 0x5000000, GuestPage(3));
    EXPECT_EQ(invalidate(many), 0);
    EXPECT_EQ(done, 201u);
    EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7003u);
    many[100] = CfgiSte(0);
    EXPECT_EQ(invalidate(many), -EIO);
    EXPECT_EQ(done, 100u);
    // What the hardware does not know as a command is skipped, and no hang.
    EXPECT_EQ(invalidate({Cmd{{0x12 | 7ULL << 48, 3 << 10 | 1ULL << 12}},
                          Cmd{{0x12, 0xff0}}}),
              0);
    EXPECT_EQ(done, 2u);
    // Nothing asked.
    iommulab::Cmd a("HWPT_INVALIDATE");
    a.Set("hwpt_id", g.viommu.id)
        .Set("data_type", IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3);
    EXPECT_EQ(Ioctl(g.f, &a), -EINVAL);
    Shutdown();
  }
}

TEST_F(Machine, WhatAGuestsEntryMayBe) {
  ASSERT_NO_FATAL_FAILURE(Boot());
  const int f = Open("/dev/iommu");
  const Device d = OpenDevice(f, 0);
  const uint32_t ioas = IoasAlloc(f);
  const uint32_t parent = NestParent(f, d.id, ioas);
  Viommu v;
  ASSERT_EQ(ViommuAlloc(f, d.id, parent, IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &v), 0);
  uint32_t id = 0;
  auto ste = [&](uint64_t s0, uint64_t s1) {
    return Nested(f, d.id, v.id, s0, s1, &id);
  };
  constexpr uint64_t kS1 = 1 | 5 << 1, kBypass = 1 | 4 << 1, kAbort = 1;
  EXPECT_EQ(ste(0, ~0ULL), 0);  // not valid: nothing else counts
  EXPECT_EQ(ste(kAbort, 0), 0);
  EXPECT_EQ(ste(kBypass, 0), 0);
  EXPECT_EQ(ste(kS1, 0), 0);
  EXPECT_EQ(ste(kS1, 1ULL << 28), 0);
  EXPECT_EQ(ste(kS1 | 31ULL << 59 | 2 << 4 | 0xfffffffffffc0, 0xff), 0);
  EXPECT_EQ(ste(kS1, 1ULL << 27), 0);  // S1STALLD
  EXPECT_EQ(ste(1 | 6 << 1, 0), -EIO);
  EXPECT_EQ(ste(1 | 7 << 1, 0), -EIO);
  EXPECT_EQ(ste(kS1 | 1ULL << 52, 0), -EIO);
  EXPECT_EQ(ste(kS1, 1ULL << 30), -EIO);  // STRW
  EXPECT_EQ(ste(kS1, 1ULL << 44), -EIO);  // SHCFG
  EXPECT_EQ(ste(kS1, 2ULL << 28), -EIO);  // EATS
  EXPECT_EQ(ste(kS1, 3ULL << 28), -EIO);
  EXPECT_EQ(ste(kBypass, 2ULL << 28), -EIO);
  // The core's part of it.
  const uint64_t two[2] = {kS1, 0};
  EXPECT_EQ(HwptAlloc(f, d.id, v.id, 0, &id, IOMMU_HWPT_DATA_VTD_S1, two, 16),
            -EINVAL);
  EXPECT_EQ(
      HwptAlloc(f, d.id, v.id, 0, &id, IOMMU_HWPT_DATA_ARM_SMMUV3, two, 8),
      -EINVAL);
  EXPECT_EQ(HwptAlloc(f, d.id, v.id, IOMMU_HWPT_ALLOC_PASID, &id,
                      IOMMU_HWPT_DATA_ARM_SMMUV3, two, 16),
            -EOPNOTSUPP);
  EXPECT_EQ(
      HwptAlloc(f, d.id, parent, 0, &id, IOMMU_HWPT_DATA_ARM_SMMUV3, two, 16),
      -EOPNOTSUPP);
  // A table wants the guest's name of the device; what has none does not.
  ASSERT_EQ(ste(kS1, 0), 0);
  EXPECT_EQ(Attach(d, id), -ENOENT);
  ASSERT_EQ(ste(kBypass, 0), 0);
  EXPECT_EQ(Attach(d, id), 0);
  ASSERT_EQ(ste(kAbort, 0), 0);
  EXPECT_EQ(Attach(d, id), 0);
  ASSERT_EQ(ste(0, 0), 0);
  EXPECT_EQ(Attach(d, id), 0);
}

TEST_F(Machine, AGuestsBypassIsStage2AndItsAbortIsNothing) {
  ASSERT_NO_FATAL_FAILURE(Boot());
  Guest g = StartGuest(0, IOMMU_VIOMMU_TYPE_ARM_SMMUV3);
  GuestMap(g, 0x5000000, GuestPage(3));
  uint32_t bypass = 0, abort = 0;
  ASSERT_EQ(Nested(g.f, g.dev.id, g.viommu.id, 1 | 4 << 1, 0, &bypass), 0);
  ASSERT_EQ(Nested(g.f, g.dev.id, g.viommu.id, 1, 0, &abort), 0);
  EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7003u);
  ASSERT_EQ(Attach(g.dev, bypass), 0);
  EXPECT_EQ(DmaRead(g.dev, 0x5000000), ~0ULL);
  EXPECT_EQ(DmaRead(g.dev, GuestPage(3)), 0x7003u);
  ASSERT_EQ(Attach(g.dev, abort), 0);
  EXPECT_EQ(DmaRead(g.dev, GuestPage(3)), ~0ULL);
  ASSERT_EQ(Attach(g.dev, g.nested), 0);
  EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7003u);
}

TEST_F(Machine, AGuestsFaultsAreItsEvents) {
  for (const char* rev : kRevisions) {
    for (tegra241_mode mode : kModes) {
      SCOPED_TRACE(std::string(rev) + " " + std::to_string(mode));
      ASSERT_NO_FATAL_FAILURE(Boot({.mode = mode}, rev));
      Guest g = StartGuest(0, IOMMU_VIOMMU_TYPE_ARM_SMMUV3, 0x1234);
      iommulab::Cmd a("VEVENTQ_ALLOC");
      a.Set("viommu_id", g.viommu.id)
          .Set("type", IOMMU_VEVENTQ_TYPE_ARM_SMMUV3)
          .Set("veventq_depth", 8);
      ASSERT_EQ(Ioctl(g.f, &a), 0);
      const int q = static_cast<int>(a.Get("out_veventq_fd"));
      fds_.push_back(q);

      EXPECT_EQ(DmaRead(g.dev, 0x5000008), ~0ULL);
      const uint64_t buf = Anon(0x1000);
      EXPECT_EQ(sim_->poll(q, 1 /* POLLIN */, 10000), 1);
      struct {
        iommufd_vevent_header header;
        uint64_t evt[4];
      } e;
      ASSERT_EQ(sim_->read(q, buf, 0x1000), static_cast<long>(sizeof(e)));
      ASSERT_EQ(sim_->load(buf, &e, sizeof(e)), 0);
      EXPECT_EQ(e.header.flags, 0u);
      EXPECT_EQ(e.header.sequence, 0u);
      EXPECT_EQ(e.evt[0] & 0xff, 0x10u);   // F_TRANSLATION
      EXPECT_EQ(e.evt[0] >> 32, 0x1234u);  // as the guest calls it
      EXPECT_EQ(e.evt[2], 0x5000008u);
      EXPECT_EQ(e.evt[1] >> 35 & 1, 1u);  // a read
      // A fault of stage 2 is none of its business.
      GuestMap(g, 0x5001000, 0x1000);
      EXPECT_EQ(DmaRead(g.dev, 0x5001000), ~0ULL);
      EXPECT_EQ(sim_->poll(q, 1, 0), 0);
      Shutdown();
    }
  }
}

TEST_F(Machine, AFaultThatStallsWaitsForItsAnswer) {
  ASSERT_NO_FATAL_FAILURE(Boot({.can_stall = true}));
  const int f = Open("/dev/iommu");
  const Device d = OpenDevice(f, 0);
  const uint64_t mem = Anon(0x1000);
  const uint32_t ioas = IoasAlloc(f);
  iommulab::Cmd fa("FAULT_QUEUE_ALLOC");
  ASSERT_EQ(Ioctl(f, &fa), 0);
  const int q = static_cast<int>(fa.Get("out_fault_fd"));
  fds_.push_back(q);
  iommulab::Cmd ha("HWPT_ALLOC");
  ha.Set("flags", IOMMU_HWPT_FAULT_ID_VALID)
      .Set("dev_id", d.id)
      .Set("pt_id", ioas)
      .Set("fault_id", fa.Get("out_fault_id"));
  ASSERT_EQ(Ioctl(f, &ha), 0);
  ASSERT_EQ(Attach(d, ha.Get("out_hwpt_id")), 0);
  Store<uint64_t>(mem, 42);
  for (bool answer : {true, false}) {
    uint64_t v = 0;
    EXPECT_EQ(Dma(d, kRead, 0x1000000, &v), kBusy);
    ASSERT_EQ(sim_->poll(q, 1, 1000), 1);
    const uint64_t buf = Anon(0x1000);
    ASSERT_EQ(sim_->read(q, buf, sizeof(iommu_hwpt_pgfault)),
              static_cast<long>(sizeof(iommu_hwpt_pgfault)));
    const auto fault = Load<iommu_hwpt_pgfault>(buf);
    EXPECT_EQ(fault.addr, 0x1000000u);
    EXPECT_EQ(fault.dev_id, d.id);
    if (answer) ASSERT_EQ(Map(f, ioas, mem, 0x1000000, 0x1000), 0);
    iommu_hwpt_page_response r = {};
    r.cookie = fault.cookie;
    r.code = answer ? IOMMUFD_PAGE_RESP_SUCCESS : IOMMUFD_PAGE_RESP_INVALID;
    Store(buf, r);
    ASSERT_EQ(sim_->write(q, buf, sizeof(r)), static_cast<long>(sizeof(r)));
    EXPECT_EQ(Load<uint32_t>(d.bar + kStatus),
              answer ? uint32_t{kOk} : uint32_t{kAborted});
    if (answer) {
      EXPECT_EQ(Load<uint64_t>(d.bar + kBuffer), 42u);
      ASSERT_EQ(Unmap(f, ioas, 0x1000000, 0x1000), 0);
    }
  }
  // One that is still waiting goes with the device.
  uint64_t v = 0;
  EXPECT_EQ(Dma(d, kRead, 0x1000000, &v), kBusy);
  ASSERT_EQ(sim_->poll(q, 1, 1000), 1);
}

TEST_F(Machine, HardwareInformation) {
  for (const char* rev : kRevisions) {
    const int input_type = iommulab::FactsOf(rev).hw_info_input_type;
    ASSERT_NO_FATAL_FAILURE(Boot({.vintfs = 4, .lvcmdqs = 8, .sids = 2}, rev));
    const int f = Open("/dev/iommu");
    const Device d = OpenDevice(f, 0);
    iommulab::Cmd a("GET_HW_INFO");
    iommu_hw_info_arm_smmuv3 info = {};
    a.Set("dev_id", d.id)
        .Set("data_len", sizeof(info))
        .Set("data_uptr", Beside(&info, sizeof(info)));
    ASSERT_EQ(Ioctl(f, &a), 0);
    EXPECT_EQ(a.Get("out_data_type"), uint32_t{IOMMU_HW_INFO_TYPE_ARM_SMMUV3});
    EXPECT_EQ(a.Get("data_len"), sizeof(info));
    info = Load<iommu_hw_info_arm_smmuv3>(args_ + 0x8000);
    EXPECT_EQ(info.idr[1] >> 21 & 31, 14u);
    EXPECT_EQ(info.flags, input_type ? 1u : 0u);
    EXPECT_EQ(info.impl, input_type ? 0x1031u : 0u);

    a = iommulab::Cmd("GET_HW_INFO");
    a.Set("flags", IOMMU_HW_INFO_FLAG_INPUT_TYPE)
        .Set("dev_id", d.id)
        .Set("in_data_type", IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV);
    iommu_hw_info_tegra241_cmdqv cmdqv = {};
    a.Set("data_len", sizeof(cmdqv))
        .Set("data_uptr", Beside(&cmdqv, sizeof(cmdqv)));
    ASSERT_EQ(Ioctl(f, &a), input_type);
    if (input_type == 0) {
      cmdqv = Load<iommu_hw_info_tegra241_cmdqv>(args_ + 0x8000);
      EXPECT_EQ(cmdqv.version, 1u);
      EXPECT_EQ(cmdqv.log2vcmdqs, 3u);
      EXPECT_EQ(cmdqv.log2vsids, 1u);
      a.Set("in_data_type", IOMMU_HW_INFO_TYPE_INTEL_VTD);
      EXPECT_EQ(Ioctl(f, &a), -EOPNOTSUPP);
    }
    Shutdown();
  }
}

TEST_F(Machine, ADevicesFile) {
  ASSERT_NO_FATAL_FAILURE(Boot());
  EXPECT_EQ(sim_->open("/dev/vfio/devices/vfio2", ""), -ENOENT);
  const int d = Open("/dev/vfio/devices/vfio0");
  // Nothing works before it is bound.
  vfio_device_info info = {};
  info.argsz = sizeof(info);
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_GET_INFO, &info), -EINVAL);
  EXPECT_EQ(sim_->mmap(0, 0x1000, PROT_READ, MAP_SHARED, d, 0),
            static_cast<uint64_t>(-EINVAL));
  const int f = Open("/dev/iommu");
  vfio_device_bind_iommufd b = {};
  b.iommufd = f;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_BIND_IOMMUFD, &b), -EINVAL);  // argsz
  b.argsz = sizeof(b);
  b.flags = 2;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_BIND_IOMMUFD, &b), -EINVAL);
  b.flags = VFIO_DEVICE_BIND_FLAG_TOKEN;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_BIND_IOMMUFD, &b), -EINVAL);
  b.flags = 0;
  b.iommufd = -1;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_BIND_IOMMUFD, &b), -EINVAL);
  b.iommufd = d;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_BIND_IOMMUFD, &b), -EBADFD);
  b.iommufd = 900;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_BIND_IOMMUFD, &b), -EBADF);
  b.iommufd = f;
  ASSERT_EQ(Ioctl(d, VFIO_DEVICE_BIND_IOMMUFD, &b), 0);
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_BIND_IOMMUFD, &b), -EINVAL);
  const int second = Open("/dev/vfio/devices/vfio0");
  EXPECT_EQ(Ioctl(second, VFIO_DEVICE_BIND_IOMMUFD, &b), -EINVAL);
  Close(second);

  ASSERT_EQ(Ioctl(d, VFIO_DEVICE_GET_INFO, &info), 0);
  EXPECT_EQ(info.flags, 3u);
  EXPECT_EQ(info.num_regions, 9u);
  info.argsz = 15;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_GET_INFO, &info), -EINVAL);
  vfio_region_info r = {};
  r.argsz = sizeof(r);
  r.index = 8;
  ASSERT_EQ(Ioctl(d, VFIO_DEVICE_GET_REGION_INFO, &r), 0);
  EXPECT_EQ(r.size, 0u);
  r.index = 9;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_GET_REGION_INFO, &r), -EINVAL);
  EXPECT_EQ(sim_->ioctl(d, VFIO_DEVICE_RESET, 0), 0);
  EXPECT_EQ(sim_->ioctl(d, _IO(';', 130), 0), -ENOTTY);
  EXPECT_EQ(sim_->mmap(0, 0x3000, PROT_READ, MAP_SHARED, d, 0),
            static_cast<uint64_t>(-EINVAL));
  EXPECT_EQ(sim_->mmap(0, 0x1000, PROT_READ, MAP_SHARED, d, 0x2000),
            static_cast<uint64_t>(-EINVAL));
  EXPECT_EQ(sim_->mmap(0, 0x1000, PROT_READ, MAP_PRIVATE, d, 0),
            static_cast<uint64_t>(-EINVAL));
  EXPECT_EQ(sim_->mmap(0, 0x1000, PROT_READ, MAP_SHARED, d, 1ULL << 40),
            static_cast<uint64_t>(-EINVAL));
  // The iommufd lives as long as the device is bound to it.
  Close(f);
  vfio_device_attach_iommufd_pt a = {};
  a.argsz = sizeof(a);
  a.pt_id = 77;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a), -ENOENT);
  a.flags = 2;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a), -EINVAL);
  a.flags = VFIO_DEVICE_ATTACH_PASID;
  a.argsz = 12;
  EXPECT_EQ(Ioctl(d, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a), -EINVAL);
}

TEST_F(Machine, SmmusDoNotShare) {
  ASSERT_NO_FATAL_FAILURE(Boot({.nr_smmus = 2}));
  const int f = Open("/dev/iommu");
  const Device a = OpenDevice(f, 0), b = OpenDevice(f, 1);
  const uint32_t ioas = IoasAlloc(f);
  const uint32_t parent = NestParent(f, a.id, ioas);
  Viommu v;
  for (uint32_t type :
       {IOMMU_VIOMMU_TYPE_ARM_SMMUV3, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV}) {
    EXPECT_EQ(ViommuAlloc(f, b.id, parent, type, &v), -EINVAL);
    ASSERT_EQ(ViommuAlloc(f, a.id, parent, type, &v), 0);
    uint32_t id = 0;
    EXPECT_EQ(VdeviceAlloc(f, v.id, b.id, 1, &id), -EINVAL);
    EXPECT_EQ(Nested(f, b.id, v.id, 1 | 4 << 1, 0, &id), -EINVAL);
    ASSERT_EQ(Nested(f, a.id, v.id, 1 | 4 << 1, 0, &id), 0);
    EXPECT_EQ(Attach(b, id), -EINVAL);
  }
  EXPECT_EQ(Attach(b, parent), -EINVAL);
  // An IOAS is above them.
  EXPECT_EQ(Attach(a, ioas), 0);
  EXPECT_EQ(Attach(b, ioas), 0);
}

TEST_F(Machine, ADeviceThatCannotBeAGuests) {
  for (const char* rev : kRevisions) {
    // It can get around the caches, and nothing stops it.
    ASSERT_NO_FATAL_FAILURE(Boot({.coherent = false}, rev));
    {
      const int f = Open("/dev/iommu");
      const Device d = OpenDevice(f, 0);
      const uint32_t parent = NestParent(f, d.id, IoasAlloc(f));
      Viommu v;
      EXPECT_EQ(ViommuAlloc(f, d.id, parent, IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &v),
                -EOPNOTSUPP);
    }
    Shutdown();
    // It has two names.
    ASSERT_NO_FATAL_FAILURE(Boot({.nr_stream_ids = 2}, rev));
    const int f = Open("/dev/iommu");
    const Device d = OpenDevice(f, 0);
    const uint32_t parent = NestParent(f, d.id, IoasAlloc(f));
    for (uint32_t type :
         {IOMMU_VIOMMU_TYPE_ARM_SMMUV3, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV}) {
      Viommu v;
      uint32_t id = 0;
      ASSERT_EQ(ViommuAlloc(f, d.id, parent, type, &v), 0);
      EXPECT_EQ(VdeviceAlloc(f, v.id, d.id, 1, &id), -EOPNOTSUPP);
    }
    Shutdown();
  }
}

// Whoever waits for hardware that has a thread of its own lets that thread run:
// with less than it needs of the processors it is slow, and not dead.
TEST_F(Machine, HardwareThatGetsNoProcessorIsOnlySlow) {
  cpu_set_t all, busy, mine;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "this takes two processors";
  CPU_ZERO(&busy);
  for (int cpu = 0; CPU_COUNT(&busy) == 0; cpu++) {
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &busy);
  }
  CPU_XOR(&mine, &all, &busy);
  // The hardware's thread is where all these are; this one is not.
  ASSERT_EQ(sched_setaffinity(0, sizeof(busy), &busy), 0);
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 40; i++) {
    others.emplace_back([&] {
      while (!stop) {
      }
    });
  }
  Boot({.mode = TEGRA241_FREE_RUNNING});
  ASSERT_EQ(sched_setaffinity(0, sizeof(mine), &mine), 0);
  Guest g = StartGuest(0);
  StartQueue(g, 0);
  for (int i = 0; i < 8; i++) {
    uint32_t done = 0;
    EXPECT_EQ(
        Invalidate(g.f, g.viommu.id, {TlbiNhAll(), CfgiCd(g.vsid)}, &done), 0);
    Push(g, 0, {TlbiNhAsid(7), Sync()});
  }
  Shutdown();
  stop = true;
  for (std::thread& t : others) t.join();
  EXPECT_EQ(sched_setaffinity(0, sizeof(all), &all), 0);
}

}  // namespace
}  // namespace tegra241
