// SPDX-License-Identifier: GPL-2.0-or-later
//
// A guest's queues: what the driver gives to a guest and takes back, on the
// model of the CMDQV.
#include <atomic>
#include <map>
#include <thread>

#include "core/linux/io.h"
#include "tests/platform/tegra241_fixture.h"

namespace tegra241 {
namespace {

const std::vector<const char*> kRevisions = iommulab::Forms(DESC_SINCE_VIOMMU);
constexpr tegra241_mode kModes[] = {TEGRA241_EAGER, TEGRA241_STEPPED,
                                    TEGRA241_FREE_RUNNING};
constexpr uint64_t kCmdqv = 0x10200000;

// The registers of the CMDQV that a driver writes, of 4 VINTFs with 2 LVCMDQs.
using Registers = std::map<uint64_t, uint64_t>;

// Empty when they are the same.
std::string Diff(const Registers& from, const Registers& to) {
  std::string out;
  for (auto [at, v] : from) {
    char line[64];
    if (to.at(at) == v) continue;
    snprintf(line, sizeof(line), "0x%lx: 0x%lx -> 0x%lx\n", at, v, to.at(at));
    out += line;
  }
  return out;
}

class CmdqvTest : public Machine {
 protected:
  uint64_t Mmio(uint64_t offset, unsigned size = 4) {
    task_scope scope(sim_->task());
    uint64_t v = 0;
    EXPECT_TRUE(mmio_read(sim_->kernel(), kCmdqv + offset, size, &v));
    return v;
  }
  Registers Snapshot() {
    Registers r;
    r[0] = Mmio(0);
    for (uint64_t q = 0; q < 8; q++) {
      r[0x200 + q * 4] = Mmio(0x200 + q * 4);
      for (uint64_t reg = 0; reg < 0x18; reg += 4) {
        // The kernel's own queues move.
        if (q >= 2)
          r[0x10000 + q * 0x80 + reg] = Mmio(0x10000 + q * 0x80 + reg);
      }
      r[0x20000 + q * 0x80] = Mmio(0x20000 + q * 0x80, 8);
      r[0x20008 + q * 0x80] = Mmio(0x20008 + q * 0x80, 8);
    }
    for (uint64_t v = 0; v < 4; v++) {
      // Of a VINTF that is off nothing but that counts.
      const uint64_t config = Mmio(0x1000 + v * 0x100);
      r[0x1000 + v * 0x100] = (config & 1) != 0 ? config : 0;
      r[0x1004 + v * 0x100] = Mmio(0x1004 + v * 0x100);
      for (uint64_t s = 0; s < sids_; s++) {
        r[0x1040 + v * 0x100 + s * 4] = Mmio(0x1040 + v * 0x100 + s * 4);
        r[0x1080 + v * 0x100 + s * 4] = Mmio(0x1080 + v * 0x100 + s * 4);
      }
    }
    return r;
  }
  int EventQueue(const Guest& g, uint32_t type, uint32_t depth = 8) {
    iommu_veventq_alloc a = {};
    a.size = sizeof(a);
    a.viommu_id = g.viommu.id;
    a.type = type;
    a.veventq_depth = depth;
    EXPECT_EQ(Ioctl(g.f, IOMMU_VEVENTQ_ALLOC, &a), 0);
    fds_.push_back(static_cast<int>(a.out_veventq_fd));
    return static_cast<int>(a.out_veventq_fd);
  }
  struct Event {
    iommufd_vevent_header header;
    uint64_t map[2];
  };
  bool ReadEvent(int q, Event* e, int timeout_ms) {
    if (sim_->poll(q, 1, timeout_ms) != 1) return false;
    if (buf_ == 0) buf_ = Anon(0x1000);
    EXPECT_EQ(sim_->read(q, buf_, sizeof(*e)), static_cast<long>(sizeof(*e)));
    return sim_->load(buf_, e, sizeof(*e)) == 0;
  }
  void TearDown() override {
    Shutdown();
    buf_ = 0;
  }

  uint64_t buf_ = 0;
  uint64_t sids_ = 16;
};

TEST_F(CmdqvTest, AGuestsQueueInvalidatesWithoutTheKernel) {
  for (const char* rev : kRevisions) {
    for (tegra241_mode mode : kModes) {
      SCOPED_TRACE(std::string(rev) + " " + std::to_string(mode));
      ASSERT_NO_FATAL_FAILURE(Boot({.mode = mode}, rev));
      Guest g = StartGuest(0, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, 0x10, 7, -1,
                           1ULL << 28 /* EATS */);
      for (uint32_t index = 0; index < 2; index++) {
        StartQueue(g, index);
        GuestMap(g, 0x5000000, GuestPage(3));
        Push(g, index, {TlbiNhAsid(7), AtcInv(g.vsid, 0, 52), Sync()});
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7003u);
        GuestMap(g, 0x5000000, GuestPage(4));
        // Of another ASID, another page; and a VMID that the guest made up is
        // not looked at.
        Push(g, index, {TlbiNhAsid(8), TlbiNhVa(7, 0x5001000), Sync()});
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7003u);
        Push(g, index, {TlbiNhVa(7, 0x5000000, 0x1234), Sync()});
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7004u);
        GuestMap(g, 0x5000000, GuestPage(5));
        Push(g, index, {TlbiNhAsid(7, 0x4321), Sync()});
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7005u);

        // What the device itself has, by the guest's name of it.
        EXPECT_EQ(DmaRead(g.dev, 0x5000000, kAtc), 0x7005u);
        GuestMap(g, 0x5000000, GuestPage(6));
        Push(g, index, {TlbiNhAsid(7), Sync()});
        EXPECT_EQ(DmaRead(g.dev, 0x5000000), 0x7006u);
        EXPECT_EQ(DmaRead(g.dev, 0x5000000, kAtc), 0x7005u);
        Push(g, index, {AtcInv(g.vsid, 0x5000000, 0), Sync()});
        EXPECT_EQ(DmaRead(g.dev, 0x5000000, kAtc), 0x7006u);
        // Around the end of the queue.
        Push(g, index, std::vector<Cmd>(60, TlbiNhAsid(7)));
        Push(g, index, std::vector<Cmd>(60, TlbiNhAsid(7)));
      }
      Shutdown();
      buf_ = 0;
    }
  }
}

TEST_F(CmdqvTest, TwoGuestsDoNotMeet) {
  for (const char* rev : kRevisions) {
    ASSERT_NO_FATAL_FAILURE(Boot({}, rev));
    // The same ASID, and the same name for their devices.
    Guest a = StartGuest(0, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, 0x10, 7, -1,
                         1ULL << 28);
    Guest b = StartGuest(1, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, 0x10, 7, -1,
                         1ULL << 28);
    StartQueue(a, 0);
    StartQueue(b, 0);
    StartQueue(a, 1);
    for (Guest* g : {&a, &b}) {
      GuestMap(*g, 0x5000000, GuestPage(1));
      EXPECT_EQ(DmaRead(g->dev, 0x5000000), 0x7001u);
      EXPECT_EQ(DmaRead(g->dev, 0x5000000, kAtc), 0x7001u);
      GuestMap(*g, 0x5000000, GuestPage(2));
    }
    const uint64_t vmid_b = Mmio(0x1200) >> 1 & 0xffff;
    EXPECT_NE(Mmio(0x1100) >> 1 & 0xffff, vmid_b);
    Push(a, 0,
         {TlbiNhAsid(7, vmid_b), TlbiNhVa(7, 0x5000000, vmid_b),
          AtcInv(0x10, 0, 52), Sync()});
    EXPECT_EQ(DmaRead(a.dev, 0x5000000), 0x7002u);
    EXPECT_EQ(DmaRead(a.dev, 0x5000000, kAtc), 0x7002u);
    EXPECT_EQ(DmaRead(b.dev, 0x5000000), 0x7001u);
    EXPECT_EQ(DmaRead(b.dev, 0x5000000, kAtc), 0x7001u);
    // Nor by the way through the kernel.
    uint32_t done = 0;
    EXPECT_EQ(Invalidate(a.f, a.viommu.id,
                         {TlbiNhAsid(7, vmid_b), TlbiNsnhAll(), TlbiNhAll(),
                          AtcInv(0x10, 0, 52)},
                         &done),
              0);
    EXPECT_EQ(DmaRead(b.dev, 0x5000000), 0x7001u);
    EXPECT_EQ(DmaRead(b.dev, 0x5000000, kAtc), 0x7001u);
    // Outside of its own queues page 0 is nothing to a guest.
    for (uint64_t off = 0x100; off < 0x10000; off += 0xf80) {
      Store<uint32_t>(a.page0 + off, 0xffffffff);
    }
    Push(b, 0, {TlbiNhAsid(7), AtcInv(0x10, 0, 52), Sync()});
    EXPECT_EQ(DmaRead(b.dev, 0x5000000), 0x7002u);
    EXPECT_EQ(DmaRead(b.dev, 0x5000000, kAtc), 0x7002u);
    Shutdown();
  }
}

TEST_F(CmdqvTest, WhatIsRefusedChangesNothing) {
  for (const char* rev : kRevisions) {
    const iommulab::FormFacts& facts = iommulab::FactsOf(rev);
    SCOPED_TRACE(rev);
    // The largest queue is 16K.
    ASSERT_NO_FATAL_FAILURE(Boot({.cmdq_entries = 1024}, rev));
    Guest g = StartGuest(0);
    const uint64_t q = Guest::kIpa + Guest::kQueues;
    const uint64_t scattered = Anon(0x10000, false, true);
    ASSERT_EQ(Map(g.f, g.ioas, scattered, 0x80000000, 0x10000), 0);
    // One page, but not where its size wants it.
    const uint64_t odd = Anon(0x200000, true);
    ASSERT_EQ(Map(g.f, g.ioas, odd + 0x1000, 0x90000000, 0x8000), 0);
    ASSERT_EQ(Map(g.f, g.ioas, odd, 0xa0000000, 0x1000), 0);
    uint32_t id = 0;
    Registers before = Snapshot();
    auto refused = [&](long rc, uint32_t index, uint64_t addr, uint64_t length,
                       uint32_t type = 1) {
      EXPECT_EQ(QueueAlloc(g.f, g.viommu.id, index, addr, length, &id, type),
                rc)
          << index << " " << std::hex << addr << " " << length;
      EXPECT_EQ(Diff(before, Snapshot()), "");
    };
    refused(-EOPNOTSUPP, 0, q, 0x400, 0);
    refused(-EOPNOTSUPP, 0, q, 0x400, 2);
    refused(-EINVAL, 2, q, 0x400);
    refused(-EINVAL, 0xffffffff, q, 0x400);
    refused(-EIO, 1, q, 0x400);
    for (uint64_t bad : {uint64_t{1}, uint64_t{16}, uint64_t{31}, uint64_t{33},
                         uint64_t{48}, uint64_t{0x401}, uint64_t{0x8000}}) {
      refused(-EINVAL, 0, q, bad);
    }
    refused(-EINVAL, 0, q, 0);
    refused(-EINVAL, 0, q + 0x200, 0x400);
    refused(-EINVAL, 0, q + 16, 32);
    refused(-EINVAL, 0, q + 0x1000, 0x4000);
    refused(facts.queue_of_unmapped_memory, 0, 0x70000000, 0x400);
    refused(facts.queue_at_unmapped_zero, 0, 0, 0x400);
    refused(-EOVERFLOW, 0, ~0ULL - 0x3ff, 0x401);
    refused(-EFAULT, 0, 0x80000000, 0x4000);
    // Aligned where the guest sees it, and not where it is.
    refused(-EINVAL, 0, 0x90000000, 0x2000);
    // Half of it mapped.
    refused(-ENOENT, 0, 0xa0000000, 0x2000);

    // Sizes on the right side of each bound; the next one works.
    for (uint64_t good : {uint64_t{32}, uint64_t{64}, uint64_t{0x4000}}) {
      ASSERT_EQ(QueueAlloc(g.f, g.viommu.id, 0, q, good, &id), 0);
      EXPECT_NE(Diff(before, Snapshot()), "");
      EXPECT_EQ(Mmio(0x20000 + 2 * 0x80, 8) & 31,
                uint64_t(__builtin_ctzll(good)) - 4);
      EXPECT_EQ(Destroy(g.f, id), 0);
      EXPECT_EQ(Diff(before, Snapshot()), "");
    }
    // Inside one page of scattered memory.
    ASSERT_EQ(QueueAlloc(g.f, g.viommu.id, 0, 0x80001000, 0x1000, &id), 0);
    EXPECT_EQ(Destroy(g.f, id), 0);
    EXPECT_EQ(Diff(before, Snapshot()), "");

    const uint32_t q0 = StartQueue(g, 0);
    before = Snapshot();
    refused(-EEXIST, 0, q + 0x2000, 0x400);
    const uint32_t q1 = StartQueue(g, 1);
    before = Snapshot();
    refused(-EEXIST, 1, q + 0x2000, 0x400);
    // Downwards.
    EXPECT_EQ(Destroy(g.f, q0), -EBUSY);
    EXPECT_EQ(Diff(before, Snapshot()), "");
    // What it reads stays where it is.
    EXPECT_EQ(Unmap(g.f, g.ioas, Guest::kIpa, Guest::kSize), -EBUSY);
    EXPECT_EQ(Destroy(g.f, q1), 0);
    EXPECT_EQ(Destroy(g.f, q0), 0);
    EXPECT_EQ(Unmap(g.f, g.ioas, Guest::kIpa, Guest::kSize), 0);
    Shutdown();
  }
}

TEST_F(CmdqvTest, TheNextGuestFindsNothingOfTheLast) {
  for (const char* rev : kRevisions) {
    SCOPED_TRACE(rev);
    ASSERT_NO_FATAL_FAILURE(Boot({}, rev));
    const Registers empty = Snapshot();
    {
      Guest g = StartGuest(0);
      StartQueue(g, 0);
      StartQueue(g, 1);
      // Both run, one with an error that nobody acknowledges.
      Push(g, 0, {TlbiNhAsid(7), Sync()});
      Push(g, 1, {CfgiSte(0)});
      EXPECT_NE(Load<uint32_t>(Reg(g, 1, kGerror)), 0u);
      // The guest goes with all it has.
      std::erase_if(mapped_, [&](auto& m) { return m.first == g.page0; });
      EXPECT_EQ(sim_->munmap(g.page0, g.viommu.length), 0);
      CloseDevice(g.dev);
      Close(g.f);
    }
    Registers after = Snapshot();
    // GERROR toggles: it has no value to go back to. It is acknowledged.
    for (uint64_t q = 2; q < 8; q++) {
      const uint64_t at = 0x10000 + q * 0x80;
      EXPECT_EQ(after[at + kGerror], after[at + kGerrorn]);
      after[at + kGerror] = after[at + kGerrorn] = 0;
    }
    EXPECT_EQ(Diff(empty, after), "");

    Guest g = StartGuest(1);
    uint32_t id = 0;
    ASSERT_EQ(QueueAlloc(g.f, g.viommu.id, 0, Guest::kIpa + Guest::kQueues,
                         kQueueBytes, &id),
              0);
    EXPECT_EQ(Load<uint32_t>(Reg(g, 0, kProd)), 0u);
    EXPECT_EQ(Load<uint32_t>(Reg(g, 0, kCons)), 0u);
    EXPECT_EQ(Load<uint32_t>(Reg(g, 0, kConfig)), 0u);
    EXPECT_EQ(Load<uint32_t>(Reg(g, 0, kGerror)),
              Load<uint32_t>(Reg(g, 0, kGerrorn)));
    // And given back and taken again by the same guest.
    for (int i = 0; i < 3; i++) {
      EXPECT_EQ(Destroy(g.f, id), 0);
      id = StartQueue(g, 0);
      Push(g, 0, {TlbiNhAsid(7), Sync(), TlbiNhAsid(7), Sync()});
      EXPECT_EQ(Load<uint32_t>(Reg(g, 0, kCons)), 4u);
    }
    Shutdown();
  }
}

TEST_F(CmdqvTest, AnErrorOfTheGuestsIsItsEvent) {
  for (const char* rev : kRevisions) {
    for (tegra241_mode mode : kModes) {
      SCOPED_TRACE(std::string(rev) + " " + std::to_string(mode));
      ASSERT_NO_FATAL_FAILURE(Boot({.mode = mode}, rev));
      Guest g = StartGuest(0);
      StartQueue(g, 0);
      StartQueue(g, 1);
      const int events = EventQueue(g, IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV);
      Event e;
      EXPECT_FALSE(ReadEvent(events, &e, 0));
      for (uint32_t n = 0; n < 3; n++) {
        const uint32_t cons = Push(g, 1, {TlbiNhAsid(7), CfgiSte(0), Sync()});
        EXPECT_EQ(cons >> 24 & 0x7f, 1u);  // CERROR_ILL
        ASSERT_TRUE(ReadEvent(events, &e, 10000));
        EXPECT_EQ(e.header.flags, 0u);
        EXPECT_EQ(e.header.sequence, n);
        EXPECT_EQ(e.map[0], 2u);
        EXPECT_EQ(e.map[1], 0u);
        // The other queue runs on.
        Push(g, 0, {TlbiNhAsid(7), Sync()});
        // The guest mends its queue, as a driver would, and acknowledges.
        const uint64_t bad = g.ram + Guest::kQueues + 0x1000 + (cons & 63) * 16;
        EXPECT_EQ(Load<Cmd>(bad).data[0], CfgiSte(0).data[0]);
        Store(bad, Sync());
        const uint32_t prod = Load<uint32_t>(Reg(g, 1, kProd));
        Store<uint32_t>(Reg(g, 1, kGerrorn),
                        Load<uint32_t>(Reg(g, 1, kGerror)));
        EXPECT_EQ(WaitFor(Reg(g, 1, kCons), 127, prod), prod);
      }
      EXPECT_FALSE(ReadEvent(events, &e, 0));
      // A device that it has not.
      Push(g, 0, {AtcInv(0x99, 0, 52), Sync()});
      ASSERT_TRUE(ReadEvent(events, &e, 10000));
      EXPECT_EQ(e.map[0], 1u);
      Shutdown();
      buf_ = 0;
    }
  }
}

TEST_F(CmdqvTest, AGuestThatErrsForEverIsNoFlood) {
  ASSERT_NO_FATAL_FAILURE(Boot());
  Guest g = StartGuest(0);
  StartQueue(g, 0);
  const int events = EventQueue(g, IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, 4);
  for (int i = 0; i < 200; i++) {
    Push(g, 0, {CfgiSte(0)});
    Store<uint32_t>(Reg(g, 0, kConfig), 0);
    Store<uint32_t>(Reg(g, 0, kProd), 0);
    Store<uint32_t>(Reg(g, 0, kCons), 0);
    Store<uint32_t>(Reg(g, 0, kGerrorn), Load<uint32_t>(Reg(g, 0, kGerror)));
    Store<uint32_t>(Reg(g, 0, kConfig), 1);
  }
  Event e;
  for (int i = 0; i < 4; i++) EXPECT_TRUE(ReadEvent(events, &e, 0));
  const std::string log = Log();
  size_t lines = 0;
  for (size_t at = 0;
       (at = log.find("unexpected error", at)) != std::string::npos; at++) {
    lines++;
  }
  EXPECT_EQ(lines, 10u);
}

TEST_F(CmdqvTest, VintfsAndTheirPages) {
  for (const char* rev : kRevisions) {
    const iommulab::FormFacts& facts = iommulab::FactsOf(rev);
    SCOPED_TRACE(rev);
    ASSERT_NO_FATAL_FAILURE(Boot({}, rev));
    const int f = Open("/dev/iommu");
    const Device d = OpenDevice(f, 0);
    const uint32_t parent = NestParent(f, d.id, IoasAlloc(f));
    constexpr uint32_t kType = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV;
    Viommu v[4];
    const Registers before = Snapshot();
    EXPECT_EQ(ViommuAlloc(f, d.id, parent, kType, &v[0], 0), -EINVAL);
    EXPECT_EQ(ViommuAlloc(f, d.id, parent, kType, &v[0], 8), -EINVAL);
    EXPECT_EQ(ViommuAlloc(f, d.id, parent, kType, &v[0], 24), -EINVAL);
    EXPECT_EQ(ViommuAlloc(f, d.id, parent, 3, &v[0]), -EOPNOTSUPP);
    EXPECT_EQ(Diff(before, Snapshot()), "");
    for (int i = 0; i < 3; i++) {
      ASSERT_EQ(ViommuAlloc(f, d.id, parent, kType, &v[i]), 0);
      EXPECT_EQ(v[i].length, 0x10000u);
      EXPECT_NE(v[i].offset, 0u);
    }
    EXPECT_EQ(ViommuAlloc(f, d.id, parent, kType, &v[3]), -ENOSPC);
    // All of them are the guest's.
    for (uint64_t i = 1; i < 4; i++) {
      EXPECT_EQ(Mmio(0x1000 + i * 0x100) & 0x20001, 1u);
    }
    auto map = [&](const Viommu& viommu, uint64_t len, uint64_t off, int prot,
                   int flags) {
      return sim_->mmap(0, len, prot, flags, f, viommu.offset + off);
    };
    constexpr int kRw = PROT_READ | PROT_WRITE;
    const uint64_t p = map(v[1], 0x10000, 0, kRw, MAP_SHARED);
    ASSERT_FALSE(is_error(p));
    EXPECT_EQ(map(v[1], 0x20000, 0, kRw, MAP_SHARED),
              static_cast<uint64_t>(-ENXIO));
    EXPECT_EQ(map(v[1], 0xf000, 0x1000, kRw, MAP_SHARED),
              static_cast<uint64_t>(-ENXIO));
    EXPECT_EQ(map(v[1], 0x10000, 0, kRw, MAP_PRIVATE),
              static_cast<uint64_t>(-EINVAL));
    const uint64_t part = map(v[1], 0x1000, 0, kRw, MAP_SHARED);
    EXPECT_EQ(is_error(part), !facts.mmap_may_be_shorter);
    if (facts.mmap_may_be_shorter) EXPECT_EQ(sim_->munmap(part, 0x1000), 0);
    EXPECT_EQ(Destroy(f, v[1].id), -EBUSY);
    EXPECT_EQ(sim_->munmap(p, 0x10000), 0);
    EXPECT_EQ(Destroy(f, v[1].id), 0);
    // The page went with it, and its VINTF is the next one's.
    EXPECT_EQ(map(v[1], 0x10000, 0, kRw, MAP_SHARED),
              static_cast<uint64_t>(-ENXIO));
    EXPECT_EQ(ViommuAlloc(f, d.id, parent, kType, &v[1]), 0);
    for (int i = 0; i < 3; i++) EXPECT_EQ(Destroy(f, v[i].id), 0);
    EXPECT_EQ(Diff(before, Snapshot()), "");
    // A plain vSMMU takes none.
    for (int i = 0; i < 8; i++) {
      EXPECT_EQ(
          ViommuAlloc(f, d.id, parent, IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &v[0]), 0);
    }
    EXPECT_EQ(Diff(before, Snapshot()), "");
    uint32_t id = 0;
    EXPECT_EQ(QueueAlloc(f, v[0].id, 0, 0x1000, 0x400, &id), -EOPNOTSUPP);
    Shutdown();
    // And without a CMDQV there is nothing to take.
    ASSERT_NO_FATAL_FAILURE(Boot({.cmdqv = false}, rev));
    const int g = Open("/dev/iommu");
    const Device e = OpenDevice(g, 0);
    EXPECT_EQ(
        ViommuAlloc(g, e.id, NestParent(g, e.id, IoasAlloc(g)), kType, &v[0]),
        -EOPNOTSUPP);
    Shutdown();
  }
}

TEST_F(CmdqvTest, NamesOfDevicesTakeSlots) {
  for (const char* rev : kRevisions) {
    SCOPED_TRACE(rev);
    sids_ = 2;
    ASSERT_NO_FATAL_FAILURE(Boot({.nr_devices = 3, .sids = 2}, rev));
    const int f = Open("/dev/iommu");
    Device d[3];
    for (int i = 0; i < 3; i++) d[i] = OpenDevice(f, i);
    const uint32_t parent = NestParent(f, d[0].id, IoasAlloc(f));
    Viommu v;
    ASSERT_EQ(
        ViommuAlloc(f, d[0].id, parent, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, &v),
        0);
    const Registers before = Snapshot();
    uint32_t id[3] = {};
    // 20 bits.
    EXPECT_EQ(VdeviceAlloc(f, v.id, d[0].id, 0x100000, &id[0]), -EINVAL);
    EXPECT_EQ(VdeviceAlloc(f, v.id, d[0].id, 1ULL << 32, &id[0]), -EINVAL);
    EXPECT_EQ(Diff(before, Snapshot()), "");
    ASSERT_EQ(VdeviceAlloc(f, v.id, d[0].id, 0xfffff, &id[0]), 0);
    EXPECT_EQ(Mmio(0x1100 + 0x40), 0x1fffffu);
    EXPECT_EQ(Mmio(0x1100 + 0x80), 8u);
    EXPECT_EQ(VdeviceAlloc(f, v.id, d[1].id, 0xfffff, &id[1]), -EEXIST);
    ASSERT_EQ(VdeviceAlloc(f, v.id, d[1].id, 0, &id[1]), 0);
    EXPECT_EQ(Mmio(0x1100 + 0x44), 1u);
    EXPECT_EQ(Mmio(0x1100 + 0x84), 16u);
    EXPECT_EQ(VdeviceAlloc(f, v.id, d[2].id, 1, &id[2]), -ENOSPC);
    EXPECT_EQ(Destroy(f, id[0]), 0);
    EXPECT_EQ(Mmio(0x1100 + 0x40), 0u);
    ASSERT_EQ(VdeviceAlloc(f, v.id, d[2].id, 1, &id[2]), 0);
    EXPECT_EQ(Mmio(0x1100 + 0x40), 3u);
    EXPECT_EQ(Mmio(0x1100 + 0x80), 24u);
    // One goes with its device.
    if (!iommulab::FactsOf(rev).vdevice_outlives_device) {
      CloseDevice(d[2]);
      EXPECT_EQ(Mmio(0x1100 + 0x40), 0u);
    }
    Shutdown();
  }
}

TEST_F(CmdqvTest, EachFailureOnTheWayLeavesNothing) {
  for (const char* rev : kRevisions) {
    SCOPED_TRACE(rev);
    ASSERT_NO_FATAL_FAILURE(Boot({}, rev));
    // Whatever call: its n-th allocation fails until it succeeds, and a failure
    // has changed no register. *id is what the last one made.
    int failures = 0;
    int step = 0;
    auto sweep = [&](uint32_t* id, auto call) {
      SCOPED_TRACE("step " + std::to_string(step++));
      for (unsigned nth = 1; nth < 100; nth++) {
        const Registers before = Snapshot();
        sim_->set_fail_nth(nth);
        const long rc = call();
        const bool fired = sim_->fail_nth() == 0;
        sim_->set_fail_nth(0);
        if (!fired) {
          EXPECT_EQ(rc, 0);
          return;
        }
        failures++;
        if (rc == 0) {
          // It did without.
          if (id != nullptr) EXPECT_EQ(Destroy(fds_[0], *id), 0);
          continue;
        }
        // A look-up that fails is ENOENT, or what becomes of that.
        EXPECT_TRUE(rc == -ENOMEM || rc == -EFAULT || rc == -ENOENT ||
                    rc == -EINVAL)
            << rc << " " << nth;
        EXPECT_EQ(Diff(before, Snapshot()), "") << nth;
      }
      FAIL();
    };
    const int f = Open("/dev/iommu");
    const Device d = OpenDevice(f, 0);
    const uint32_t ioas = IoasAlloc(f);
    const uint64_t ram = Anon(2 << 20, true);
    ASSERT_EQ(Map(f, ioas, ram, Guest::kIpa, 2 << 20), 0);
    uint32_t parent = 0, vdev = 0, nested = 0, q[2] = {};
    Viommu v;
    sweep(&parent, [&] {
      return HwptAlloc(f, d.id, ioas, IOMMU_HWPT_ALLOC_NEST_PARENT, &parent);
    });
    sweep(&v.id, [&] {
      return ViommuAlloc(f, d.id, parent, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, &v);
    });
    sweep(&vdev, [&] { return VdeviceAlloc(f, v.id, d.id, 3, &vdev); });
    for (uint32_t index = 0; index < 2; index++) {
      sweep(&q[index], [&] {
        return QueueAlloc(f, v.id, index,
                          Guest::kIpa + Guest::kQueues + index * 0x1000,
                          kQueueBytes, &q[index]);
      });
    }
    sweep(&nested,
          [&] { return Nested(f, d.id, v.id, GuestSte0(), 0, &nested); });
    sweep(nullptr, [&] { return Attach(d, nested); });
    sweep(nullptr, [&] { return Attach(d, ioas); });
    sweep(nullptr, [&] { return Attach(d, nested); });
    EXPECT_GT(failures, 25);
    Shutdown();
  }
}

TEST_F(CmdqvTest, QueuesOfOneVintfFromManyThreads) {
  for (const char* rev : kRevisions) {
    for (tegra241_mode mode : {TEGRA241_EAGER, TEGRA241_FREE_RUNNING}) {
      ASSERT_NO_FATAL_FAILURE(Boot({.mode = mode, .lvcmdqs = 8}, rev));
      Guest g = StartGuest(0);
      std::atomic<int> made{0};
      std::vector<std::thread> threads;
      for (int t = 0; t < 3; t++) {
        threads.emplace_back([&, t] {
          memory_options opts;
          opts.size = 0x1000;
          const uint64_t args = sim_->anon(opts);
          for (int i = 0; i < 60; i++) {
            iommu_hw_queue_alloc a = {};
            a.size = sizeof(a);
            a.viommu_id = g.viommu.id;
            a.type = IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV;
            a.index = static_cast<uint32_t>(i + t) % 8;
            a.nesting_parent_iova =
                Guest::kIpa + Guest::kQueues + a.index * 0x1000;
            a.length = kQueueBytes;
            EXPECT_EQ(sim_->store(args, &a, sizeof(a)), 0);
            long rc = sim_->ioctl(g.f, IOMMU_HW_QUEUE_ALLOC, args);
            EXPECT_TRUE(rc == 0 || rc == -EEXIST || rc == -EIO || rc == -EBUSY)
                << rc;
            if (rc == 0) {
              made++;
              EXPECT_EQ(sim_->load(args, &a, sizeof(a)), 0);
              iommu_destroy d = {};
              d.size = sizeof(d);
              d.id = a.out_hw_queue_id;
              EXPECT_EQ(sim_->store(args, &d, sizeof(d)), 0);
              rc = sim_->ioctl(g.f, IOMMU_DESTROY, args);
              EXPECT_TRUE(rc == 0 || rc == -EBUSY) << rc;
            }
          }
          sim_->munmap(args, 0x1000);
        });
      }
      for (auto& t : threads) t.join();
      EXPECT_GT(made, 0);
      Shutdown();
    }
  }
}

// The error interrupt of a VINTF that comes and goes.
TEST_F(CmdqvTest, ErrorsWhileVintfsComeAndGo) {
  for (const char* rev : kRevisions) {
    ASSERT_NO_FATAL_FAILURE(Boot({.mode = TEGRA241_FREE_RUNNING}, rev));
    Guest g = StartGuest(0);
    StartQueue(g, 0);
    const int events = EventQueue(g, IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, 2);
    (void)events;
    std::atomic<bool> stop{false};
    std::thread guest([&] {
      auto store = [&](uint64_t at, uint32_t v) {
        EXPECT_EQ(sim_->store(at, &v, sizeof(v)), 0);
      };
      const Cmd bad = CfgiSte(0);
      EXPECT_EQ(sim_->store(g.ram + Guest::kQueues, &bad, sizeof(bad)), 0);
      while (!stop) {
        uint32_t gerror = 0;
        store(Reg(g, 0, kProd), 1);
        std::this_thread::yield();
        EXPECT_EQ(sim_->load(Reg(g, 0, kGerror), &gerror, 4), 0);
        store(Reg(g, 0, kConfig), 0);
        store(Reg(g, 0, kProd), 0);
        store(Reg(g, 0, kCons), 0);
        store(Reg(g, 0, kGerrorn), gerror);
        store(Reg(g, 0, kConfig), 1);
      }
    });
    for (int i = 0; i < 40; i++) {
      Viommu v;
      ASSERT_EQ(ViommuAlloc(g.f, g.dev.id, g.parent,
                            IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, &v),
                0);
      uint32_t id = 0;
      ASSERT_EQ(QueueAlloc(g.f, v.id, 0, Guest::kIpa + Guest::kQueues,
                           kQueueBytes, &id),
                0);
      const uint64_t page = sim_->mmap(0, v.length, PROT_READ | PROT_WRITE,
                                       MAP_SHARED, g.f, v.offset);
      ASSERT_FALSE(is_error(page));
      // It fails too, and is gone before anybody looks.
      Store<uint32_t>(page + kConfig, 1);
      Store<uint32_t>(page + kProd, 1);
      ASSERT_EQ(sim_->munmap(page, v.length), 0);
      ASSERT_EQ(Destroy(g.f, id), 0);
      ASSERT_EQ(Destroy(g.f, v.id), 0);
    }
    stop = true;
    guest.join();
    Shutdown();
  }
}

}  // namespace
}  // namespace tegra241
