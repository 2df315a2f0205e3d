// SPDX-License-Identifier: GPL-2.0-or-later
//
// Arbitrary accesses to every register, arbitrary commands, arbitrary DMA: no
// access may bring the model down, and what it says of itself stays consistent.
// And the same for a guest, from its page 0 and its ring only: nobody else
// notices.

#include <random>

#include "drivers/hw/dma-testdev.h"
#include "tests/hw/hw_fixture.h"

namespace hw_test {
namespace {

class RandomTest : public CmdqvFixture {
 protected:
  ~RandomTest() override { dma_testdev_destroy(dev_); }

  uint64_t Below(uint64_t n) { return random_() % n; }
  // A value that means something to somebody, more often than not.
  uint64_t Value() {
    switch (Below(6)) {
      case 0:
        return Below(16);
      case 1:
        return ~0ull;
      case 2:
        return RAM_PHYS_BASE + Below(64) * PAGE_SIZE + Below(8);
      case 3:
        return 1ull << Below(64);
      case 4:
        return memory_ + Below(4) * PAGE_SIZE + Below(12);
      default:
        return random_();
    }
  }
  void Plug() {
    dma_testdev_config config;
    config.phys = 0x30000000;
    config.sid = 9;
    dev_ = *dma_testdev_create(smmu_, &config);
    memory_ = Alloc(2);
  }
  void RandomMemory() {
    for (uint64_t i = 0; i < 4 * PAGE_SIZE; i += 8) Store(memory_ + i, Value());
  }
  // A command that is mostly well formed.
  CMD Command() {
    static constexpr uint8_t kOps[] = {
        CMD_CFGI_STE,       CMD_CFGI_STE_RANGE, CMD_CFGI_CD,
        CMD_CFGI_CD_ALL,    CMD_TLBI_NH_ALL,    CMD_TLBI_NH_ASID,
        CMD_TLBI_NH_VA,     CMD_TLBI_NH_VAA,    CMD_TLBI_EL2_ALL,
        CMD_TLBI_S12_VMALL, CMD_TLBI_S2_IPA,    CMD_TLBI_NSNH_ALL,
        CMD_ATC_INV,        CMD_RESUME,         CMD_SYNC,
        CMD_PRI_RESP};
    CMD cmd;
    cmd.word[0] = random_();
    cmd.word[1] = Value();
    if (Below(8)) CMD::OP::set(cmd, kOps[Below(sizeof(kOps))]);
    return cmd;
  }

  // The maps of errors and of allocations say the same everywhere.
  void CheckMaps() {
    uint32_t errors = 0, vintf_errors = 0;
    std::vector<unsigned> count(cmdqv_->num_vintfs());
    for (unsigned q = 0; q < cmdqv_->num_vcmdqs(); ++q) {
      Map_ map;
      map.raw = static_cast<uint32_t>(Read(AllocReg(q)));
      const bool bit = Read(kCmdqv + 0x24) >> q & 1;
      const uint32_t active =
          static_cast<uint32_t>(Read(Page0(q, Q::GERROR::offset)) ^
                                Read(Page0(q, Q::GERRORN::offset)));
      if (bit) {
        EXPECT_NE(0u, active);
      }
      errors |= bit << q;
      const bool running = Read(Page0(q, Q::STATUS::offset));
      if (running) {
        EXPECT_TRUE(Map_::ALLOC::get(map));
        EXPECT_EQ(1u, Read(Page0(q, Q::CONFIG::offset)));
      }
      if (!Map_::ALLOC::get(map)) continue;
      const unsigned v = Map_::VINTF::get(map), l = Map_::LVCMDQ::get(map);
      ASSERT_LT(v, cmdqv_->num_vintfs());
      ++count[v];
      if (bit) vintf_errors |= 1u << v;
      EXPECT_EQ(bit, Read(VintfReg(v, 0xc0)) >> l & 1);
      EXPECT_EQ(Read(Page0(q, 4)), Read(ViPage0(v, l, 4)));
      if (running) {
        EXPECT_EQ(1u, Read(VintfReg(v, 4)) & 1);
      }
    }
    EXPECT_EQ(errors, Read(kCmdqv + 0x24));
    EXPECT_EQ(vintf_errors, Read(kCmdqv + 0x14));
    for (unsigned v = 0; v < cmdqv_->num_vintfs(); ++v)
      EXPECT_EQ(count[v], Read(VintfReg(v, 4)) >> 16);
  }

  // Another with --gtest_shuffle and --gtest_random_seed.
  std::mt19937_64 random_{
      20250425u +
      static_cast<unsigned>(testing::UnitTest::GetInstance()->random_seed())};
  dma_testdev* dev_ = nullptr;
  uint64_t memory_ = 0;
};

TEST_F(RandomTest, AnyAccessByTheHost) {
  config_.msi = true;
  config_.pri = true;
  Start(true);
  Up();
  EnableCmdqv();
  Plug();
  struct {
    uint64_t base, size;
    bool dense;
  } const regions[] = {
      {kSmmu, 0xe0, true},
      {kSmmu, SMMUV3_REGION_SIZE, false},
      {kCmdqv, 0x34, true},
      {kCmdqv + 0x200, 0x20, true},
      {kCmdqv + 0x1000, 0x400, true},
      {kCmdqv + 0x10000, 0x400, true},
      {kCmdqv + 0x20000, 0x400, true},
      {kCmdqv + 0x30000, 0xa0000, false},
      {0x30000000, 0x30, true},
      {0x30000000, 0x2000, false},
  };
  for (int i = 0; i < 100000; ++i) {
    if (i % 5000 == 0) {
      RandomMemory();
      // Up again, from wherever it went.
      Write(kSmmu + Regs::GERRORN::offset, Read(kSmmu + Regs::GERROR::offset));
      Write(kCmdqv, 1);
    }
    const auto& region = regions[Below(std::size(regions))];
    const unsigned size = Below(3) ? 4 : 8;
    uint64_t at = region.base + Below(region.size) / size * size;
    if (!region.dense && Below(2))
      at = region.base + Below(region.size / 0x80) * 0x80 + Below(6) * 4;
    uint64_t val = 0;
    switch (Below(8)) {
      case 0:
        mmio_read(kernel_.get(), at, size, &val);
        break;
      case 1:
        smmuv3_hw_step(smmu_);
        break;
      case 2: {
        hw_txn txn = Txn(static_cast<uint32_t>(Below(70)), Value(), Below(2));
        txn.ssv = Below(2);
        txn.ssid = static_cast<uint32_t>(Below(5));
        // Its data may go into tables and rings, but not over the host's own
        // memory: it is RAM all the same.
        uint8_t buf[256];
        memset(buf, static_cast<int>(random_()), sizeof(buf));
        smmuv3_hw_dma(smmu_, &txn, buf, Below(sizeof(buf)));
        break;
      }
      case 3:
        StoreFormat(memory_ + Below(4 * PAGE_SIZE / 16) * 16, Command());
        break;
      default:
        mmio_write(kernel_.get(), at, size, Value());
        break;
    }
    if (i % 1000 == 0) CheckMaps();
  }
  smmuv3_hw_run_until_idle(smmu_);
  CheckMaps();
}

// What others can see while a guest does what it likes with its page 0 and the
// memory of its ring.
TEST_F(RandomTest, AnyAccessByAGuest) {
  Start(true);
  Up();
  EnableCmdqv();
  EnableVintf(0, 0, true);
  EnableVintf(1, 7);
  EnableVintf(2, 9);
  Plug();
  SetSid(1, 0, 5, 12);  // its own device; 9 is another's
  const uint64_t hyp_ring = StartQueue(0, 0, 0);
  const uint64_t ring = StartQueue(1, 0, 2);
  StartQueue(2, 0, 4);
  // The neighbour's device has its translation kept, and has an ATC.
  Table s2 = NewTable(12, 1, 1);
  Map(s2, 0x7000, Page(1), kS2Rw);
  STE ste = Ste(STE_CONFIG_S2);
  SetSte(9, WithS2(ste, s2.root, 9));
  EXPECT_EQ(1u, DmaRead(9, 0x7000));
  Map(s2, 0x7000, Page(2), kS2Rw);
  Write(0x30000000 + 0x10, 0x7000, 8);
  Write(0x30000000 + 0x18, 8);
  Write(0x30000000 + 0x04, DMA_TESTDEV_READ | 1u << 10);
  EXPECT_EQ(1u, Read(0x30000000 + 0x28));
  auto others = [&] {
    std::vector<uint64_t> seen;
    for (unsigned q : {0u, 1u, 3u, 4u, 5u, 6u, 7u}) {
      for (uint32_t off = 0; off < Q::page0_end; off += 4)
        seen.push_back(Read(Page0(q, off)));
      seen.push_back(Read(Page1(q), 8));
      seen.push_back(Read(AllocReg(q)));
    }
    for (unsigned v : {0u, 2u, 3u})
      for (uint32_t off : {0x0u, 0x4u, 0x40u, 0x80u, 0xc0u})
        seen.push_back(Read(VintfReg(v, off)));
    seen.push_back(Read(VintfReg(1, 0)));
    seen.push_back(Read(Page1(2), 8));
    seen.push_back(Read(kCmdqv + 0x14) & ~2u);
    seen.push_back(Read(kCmdqv + 0x24) & ~4u);
    for (uint32_t off = 0; off < Regs::end; off += 4)
      if (!ReadFails(kSmmu + off)) seen.push_back(Read(kSmmu + off));
    seen.push_back(Read(0x30000000 + 0x28));
    seen.push_back(DmaRead(9, 0x7000));
    return seen;
  };
  const std::vector<uint64_t> before = others();
  ASSERT_EQ(1u, before.back());
  for (int i = 0; i < 100000; ++i) {
    switch (Below(4)) {
      case 0:
        StoreFormat(ring + Below(1 << kLog2) * 16, Command());
        break;
      case 1:
        smmuv3_hw_step(smmu_);
        break;
      default: {
        const uint64_t off = Below(2) ? Below(6) * 4 : Below(0x10000) & ~3ull;
        mmio_write(kernel_.get(), ViPage0(1, 0) + off, 4,
                   Below(2) ? Below(32) : random_());
        // Mending keeps it going.
        if (Below(8)) break;
        const uint32_t cons = static_cast<uint32_t>(Read(ViPage0(1, 0)));
        StoreFormat(hw_queue_entry(ring, cons, kLog2, 4), Sync());
        Ack(1, 0);
        Write(ViPage0(1, 0, Q::CONFIG::offset), 1);
        break;
      }
    }
    if (i % 5000 == 0) {
      ASSERT_EQ(before, others());
    }
  }
  EXPECT_EQ(before, others());
  EXPECT_GT(smmuv3_hw_get_stats(smmu_).commands, 1000u);
  // The others still work.
  EXPECT_EQ(0, RunOn(0, 0, hyp_ring, {Tlbi(CMD_TLBI_S12_VMALL, 9), Sync()}));
  EXPECT_EQ(2u, DmaRead(9, 0x7000));
}

}  // namespace
}  // namespace hw_test
