// SPDX-License-Identifier: GPL-2.0-or-later
//
// The CMDQV model's registers, order rules, filters and errors, stepped.

#include "tests/hw/hw_fixture.h"

namespace hw_test {
namespace {

class CmdqvTest : public CmdqvFixture {
 protected:
  // Two guests: VINTF 1 with VMID 7, VINTF 2 with VMID 9.
  void Up2() {
    Start(true);
    Up();
    EnableCmdqv();
    EnableVintf(1, 7);
    EnableVintf(2, 9);
  }
};

// Remembers what it was told.
struct Endpoint : hw_endpoint {
  Endpoint(uint32_t stream) {
    sid = stream;
    static const hw_endpoint_ops kOps = {
        .atc_inv =
            [](hw_endpoint* ep, bool, u32, bool, u64 first, u64 last) {
              auto* self = static_cast<Endpoint*>(ep);
              ++self->invalidations;
              self->first = first;
              self->last = last;
              return !self->deaf;
            },
        .pri_resp = nullptr,
        .resume = nullptr,
    };
    ops = &kOps;
  }
  int invalidations = 0;
  uint64_t first = 0, last = 0;
  bool deaf = false;
};

TEST_F(CmdqvTest, ParamSaysWhatThereIs) {
  cmdqv_config_.num_vintfs_log2 = 3;
  cmdqv_config_.num_vcmdqs_log2 = 5;
  cmdqv_config_.num_sids_log2 = 2;
  cmdqv_config_.version = 2;
  Start(true);
  cmdqv_regs::PARAM param;
  param.raw = static_cast<uint32_t>(Read(kCmdqv + 4));
  EXPECT_EQ(2u, cmdqv_regs::PARAM::VER::get(param));
  EXPECT_EQ(3u, cmdqv_regs::PARAM::NUM_VINTF_LOG2::get(param));
  EXPECT_EQ(5u, cmdqv_regs::PARAM::NUM_VCMDQ_LOG2::get(param));
  EXPECT_EQ(2u, cmdqv_regs::PARAM::NUM_SID_PER_VM_LOG2::get(param));
  // And no more than that.
  EXPECT_FALSE(ReadFails(AllocReg(31)));
  EXPECT_TRUE(ReadFails(AllocReg(32)));
  EXPECT_FALSE(ReadFails(Page0(31)));
  EXPECT_TRUE(ReadFails(Page0(32)));
  EXPECT_FALSE(ReadFails(VintfReg(7, 0)));
  EXPECT_TRUE(ReadFails(VintfReg(8, 0)));
  EXPECT_FALSE(ReadFails(VintfReg(0, 0x4c)));
  EXPECT_TRUE(ReadFails(VintfReg(0, 0x50)));
  EXPECT_FALSE(ReadFails(ViPage1(7, 0), 8));
  EXPECT_TRUE(ReadFails(ViPage0(8, 0)));
  EXPECT_TRUE(WriteFails(kCmdqv + 4));
  EXPECT_TRUE(WriteFails(kCmdqv + 8));
  EXPECT_TRUE(WriteFails(kCmdqv + 0x14));
  EXPECT_TRUE(WriteFails(kCmdqv + 0x24));
  EXPECT_TRUE(WriteFails(VintfReg(0, 4)));
  EXPECT_TRUE(WriteFails(VintfReg(0, 0xc0), 0, 8));
}

TEST_F(CmdqvTest, TooMuchIsRefused) {
  Start();
  for (auto field : {&tegra241_cmdqv_hw_config::num_vintfs_log2,
                     &tegra241_cmdqv_hw_config::num_vcmdqs_log2,
                     &tegra241_cmdqv_hw_config::num_sids_log2}) {
    tegra241_cmdqv_hw_config config = cmdqv_config_;
    config.*field = 8;
    EXPECT_EQ(-EINVAL, tegra241_cmdqv_hw_create(smmu_, &config).error());
  }
  tegra241_cmdqv_hw_config config = cmdqv_config_;
  config.phys = kSmmu + 0x1000;
  EXPECT_EQ(-EBUSY, tegra241_cmdqv_hw_create(smmu_, &config).error());
  result<tegra241_cmdqv_hw*> first =
      tegra241_cmdqv_hw_create(smmu_, &cmdqv_config_);
  ASSERT_TRUE(bool(first));
  cmdqv_ = *first;
  config.phys = kCmdqv + 0x10000000;
  EXPECT_EQ(-EBUSY, tegra241_cmdqv_hw_create(smmu_, &config).error());
}

TEST_F(CmdqvTest, EnablesFollowTheirParent) {
  Start(true);
  Write(VintfReg(1, 0), 1);
  EXPECT_EQ(0u, Read(VintfReg(1, 4)) & 1);
  EXPECT_EQ(0u, Read(kCmdqv + 8));
  EnableCmdqv();
  EXPECT_EQ(1u, Read(kCmdqv + 8));
  EXPECT_EQ(1u, Read(VintfReg(1, 4)) & 1);
  uint64_t ring = StartQueue(1, 0, 3);
  EXPECT_EQ(0, RunOn(1, 0, ring, {Sync()}));
  Write(kCmdqv, 0);
  EXPECT_EQ(0u, Read(Page0(3, Q::STATUS::offset)));
  EXPECT_EQ(1u, Read(Page0(3, Q::CONFIG::offset)));
  PushTo(1, 0, ring, {Sync()});
  EXPECT_FALSE(smmuv3_hw_step(smmu_));
  EnableCmdqv();
  EXPECT_TRUE(smmuv3_hw_step(smmu_));
  Write(VintfReg(1, 0), 0);
  EXPECT_EQ(0u, Read(Page0(3, Q::STATUS::offset)));
}

TEST_F(CmdqvTest, AQueueThatIsNotAllocatedDoesNotRun) {
  Up2();
  uint64_t ring = Alloc();
  StoreFormat(ring, Sync());
  Write(Page1(3), ring | kLog2, 8);
  Write(Page0(3, Q::CONFIG::offset), 1);
  Write(Page0(3, Q::PROD::offset), 1);
  EXPECT_EQ(0u, Read(Page0(3, Q::STATUS::offset)));
  EXPECT_FALSE(smmuv3_hw_step(smmu_));
}

// T1: nothing but a write changes a queue's registers.
TEST_F(CmdqvTest, AQueueStartsWithTheLastOwnersRegisters) {
  Up2();
  uint64_t ring = StartQueue(1, 0, 3);
  EXPECT_EQ(0, RunOn(1, 0, ring, {Sync(), Sync()}));
  Write(AllocReg(3), AllocValue(1, 0, false));
  EXPECT_EQ(0u, Read(Page0(3, Q::STATUS::offset)));
  Write(AllocReg(3), AllocValue(2, 0));
  EXPECT_EQ(2u, Read(ViPage0(2, 0, Q::CONS::offset)));
  EXPECT_EQ(2u, Read(ViPage0(2, 0, Q::PROD::offset)));
  EXPECT_EQ(ring | kLog2, Read(ViPage1(2, 0), 8));
  // It even runs.
  EXPECT_EQ(1u, Read(ViPage0(2, 0, Q::STATUS::offset)));
  EXPECT_EQ(0, RunOn(2, 0, ring, {Sync()}));
}

TEST_F(CmdqvTest, TheTwoWindowsShowTheSameRegisters) {
  Up2();
  Write(AllocReg(5), AllocValue(2, 0));
  for (uint32_t off : {0x0, 0x4, 0x14}) {
    Write(Page0(5, off), 3);
    EXPECT_EQ(3u, Read(ViPage0(2, 0, off))) << off;
    Write(ViPage0(2, 0, off), 0);
    EXPECT_EQ(0u, Read(Page0(5, off))) << off;
  }
  Write(ViPage1(2, 0), 0x123456789ae0, 8);
  EXPECT_EQ(0x123456789ae0u, Read(Page1(5), 8));
  // In two halves, as a guest does.
  Write(Page1(5), 0x40);
  Write(Page1(5, 4), 0xffff0001);
  EXPECT_EQ(0x100000040u, Read(ViPage1(2, 0), 8));
  Write(Page1(5, 8), 0x77, 8);
  EXPECT_EQ(0x77u, Read(ViPage1(2, 0, 8), 8));
  EXPECT_TRUE(ReadFails(Page1(5, 0x10)));
  EXPECT_TRUE(ReadFails(Page0(5, 0x18)));
  EXPECT_TRUE(ReadFails(ViPage0(2, 0, 0x14), 8));
}

TEST_F(CmdqvTest, WhatIsNotAllocatedIsZeroInTheVintf) {
  Up2();
  StartQueue(1, 0, 3);
  Write(Page0(4, Q::PROD::offset), 9);
  for (uint64_t at : {ViPage0(1, 1, 4), ViPage0(2, 0, 4), ViPage0(1, 511, 4)}) {
    Write(at, 5);
    EXPECT_EQ(0u, Read(at));
  }
  Write(ViPage1(2, 0), ~0ull, 8);
  EXPECT_EQ(0u, Read(ViPage1(2, 0), 8));
  EXPECT_EQ(9u, Read(Page0(4, Q::PROD::offset)));
  EXPECT_TRUE(ReadFails(ViPage0(2, 0, 0x18)));
}

TEST_F(CmdqvTest, LogicalQueuesComeInOrderAndGoInReverse) {
  Up2();
  auto alloc = [this](unsigned q, unsigned v, unsigned l, bool on = true) {
    Write(AllocReg(q), AllocValue(v, l, on));
    return Read(AllocReg(q)) == AllocValue(v, l, on);
  };
  EXPECT_FALSE(alloc(1, 1, 1));  // a gap
  EXPECT_EQ(AllocValue(1, 1, false), Read(AllocReg(1)));
  EXPECT_TRUE(alloc(0, 1, 0));
  EXPECT_FALSE(alloc(2, 1, 0));  // twice the same
  EXPECT_TRUE(alloc(1, 1, 1));
  EXPECT_FALSE(alloc(3, 4, 0));  // no such VINTF
  EXPECT_EQ(2u, Read(VintfReg(1, 4)) >> 16);
  EXPECT_FALSE(alloc(1, 2, 0));         // while it is allocated
  EXPECT_FALSE(alloc(0, 1, 0, false));  // not the last
  EXPECT_TRUE(alloc(1, 1, 1, false));
  EXPECT_TRUE(alloc(0, 1, 0, false));
  EXPECT_EQ(0u, Read(VintfReg(1, 4)) >> 16);
  EXPECT_TRUE(alloc(0, 2, 0));
}

TEST_F(CmdqvTest, ARunningQueueKeepsBaseAndCons) {
  Up2();
  uint64_t ring = StartQueue(1, 0, 3);
  Write(ViPage1(1, 0), 0, 8);
  EXPECT_EQ(ring | kLog2, Read(Page1(3), 8));
  Write(ViPage0(1, 0), 5);
  EXPECT_EQ(0u, Read(Page0(3)));
  Write(ViPage0(1, 0, Q::STATUS::offset), 0);
  EXPECT_EQ(1u, Read(Page0(3, Q::STATUS::offset)));
  Write(ViPage0(1, 0, Q::GERROR::offset), 1);
  EXPECT_EQ(0u, Read(Page0(3, Q::GERROR::offset)));
  Write(ViPage0(1, 0, Q::CONFIG::offset), 0);
  EXPECT_EQ(0u, Read(Page0(3, Q::STATUS::offset)));
  Write(ViPage0(1, 0), 5);
  EXPECT_EQ(5u, Read(Page0(3)));
  Write(ViPage1(1, 0), 0, 8);
  EXPECT_EQ(0u, Read(Page1(3), 8));
}

TEST_F(CmdqvTest, AnEnabledVintfKeepsItsIdentity) {
  Up2();
  V::CONFIG r;
  V::CONFIG::ENABLE::set(r, 1);
  V::CONFIG::VMID::set(r, 0xffff);
  V::CONFIG::HYP_OWN::set(r, 1);
  Write(VintfReg(1, 0), r.raw);
  r.raw = static_cast<uint32_t>(Read(VintfReg(1, 0)));
  EXPECT_EQ(7u, V::CONFIG::VMID::get(r));
  EXPECT_EQ(0u, V::CONFIG::HYP_OWN::get(r));
}

TEST_F(CmdqvTest, HypOwnCanBeWiredToZero) {
  cmdqv_config_.hyp_own_wired_zero = true;
  Start(true);
  EnableCmdqv();
  EnableVintf(0, 0, true);
  EXPECT_EQ(1u, Read(VintfReg(0, 0)));
}

TEST_F(CmdqvTest, ABadBaseDoesNotStart) {
  config_.cmdqs = 6;
  Start(true);
  Up();
  EnableCmdqv();
  EnableVintf(1, 7);
  Write(AllocReg(3), AllocValue(1, 0));
  uint64_t ring = Alloc();
  struct {
    uint64_t base;
    bool good;
  } const cases[] = {
      {ring | 7, false},        {ring | 6, true}, {(ring + 32) | 1, true},
      {(ring + 32) | 2, false}, {ring, true},     {(ring + 512) | 6, false},
  };
  for (auto& c : cases) {
    Write(Page0(3, Q::CONFIG::offset), 0);
    Write(Page1(3), c.base, 8);
    Write(Page0(3, Q::CONFIG::offset), 1);
    EXPECT_EQ(c.good, Read(Page0(3, Q::STATUS::offset))) << std::hex << c.base;
    EXPECT_EQ(c.good ? 0u : Q::GERROR::CMDQ_INIT_ERR::mask, Errors(1, 0));
    EXPECT_EQ(c.good ? 0 : 1, Irq(SMMUV3_IRQ_CMDQV));
    Ack(1, 0);
  }
}

TEST_F(CmdqvTest, TheQueueWraps) {
  Up2();
  uint64_t ring = StartQueue(1, 0, 3);
  for (int i = 0; i < 11; ++i)
    ASSERT_EQ(0, RunOn(1, 0, ring, {Sync(), Sync(), Sync()}));
  EXPECT_EQ(1u, Read(Page0(3)));
  EXPECT_EQ(33u, smmuv3_hw_get_stats(smmu_).commands);
}

// ---- what a guest may ask for ----

TEST_F(CmdqvTest, AGuestsCommandsAreFiltered) {
  Up2();
  Endpoint device(33);
  ASSERT_EQ(0, smmuv3_hw_add_endpoint(smmu_, &device));
  SetSid(1, 0, 5, 33);
  uint64_t ring = StartQueue(1, 0, 3);
  for (unsigned op = 0; op < 256; ++op) {
    CMD cmd = Op(static_cast<smmuv3_opcode>(op));
    if (op == CMD_ATC_INV) CMD::SID::set(cmd, 5);
    const bool allowed = op == CMD_TLBI_NH_ASID || op == CMD_TLBI_NH_VA ||
                         op == CMD_ATC_INV || op == CMD_SYNC;
    EXPECT_EQ(allowed ? CERROR_NONE : CERROR_ILL, RunOn(1, 0, ring, {cmd}))
        << std::hex << op;
    if (allowed) continue;
    // Mended as a driver does, in place.
    StoreFormat(
        hw_queue_entry(ring, static_cast<uint32_t>(Read(Page0(3))), kLog2, 4),
        Sync());
    Ack(1, 0);
    smmuv3_hw_run_until_idle(smmu_);
    ASSERT_EQ(0, Cerror(1, 0));
  }
  smmuv3_hw_remove_endpoint(smmu_, &device);
}

TEST_F(CmdqvTest, AHypervisorsCommandsAreNot) {
  Start(true);
  Up();
  EnableCmdqv();
  EnableVintf(0, 0, true);
  uint64_t ring = StartQueue(0, 0, 0);
  EXPECT_EQ(
      0, RunOn(0, 0, ring,
               {CfgiAll(), Op(CMD_TLBI_NSNH_ALL), Op(CMD_TLBI_S12_VMALL),
                Op(CMD_TLBI_EL2_ALL), AtcInv(33, 0, 52), Sync(SYNC_CS_IRQ)}));
  // It has no line for SYNC.
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_CMDQ_SYNC));
  EXPECT_EQ(CERROR_ILL,
            RunOn(0, 0, ring, {Op(static_cast<smmuv3_opcode>(0xff))}));
}

TEST_F(CmdqvTest, AGuestsSyncSignalsNobody) {
  config_.msi = true;
  Up2();
  uint64_t page = Page(0);
  uint64_t ring = StartQueue(1, 0, 3);
  CMD sync = Sync(SYNC_CS_IRQ);
  sync.word[1] |= page;
  CMD::SYNC_MSIDATA::set(sync, 1);
  EXPECT_EQ(CERROR_ILL, RunOn(1, 0, ring, {sync}));
  EXPECT_EQ(0u, Load(page));
}

TEST_F(CmdqvTest, StreamIdsAreReplaced) {
  Up2();
  Endpoint mine(33), other(5);
  ASSERT_EQ(0, smmuv3_hw_add_endpoint(smmu_, &mine));
  ASSERT_EQ(0, smmuv3_hw_add_endpoint(smmu_, &other));
  SetSid(1, 3, 5, 33);
  uint64_t ring = StartQueue(1, 0, 3);
  EXPECT_EQ(0, RunOn(1, 0, ring, {AtcInv(5, 0x7000, 1), Sync()}));
  EXPECT_EQ(1, mine.invalidations);
  EXPECT_EQ(0x6000u, mine.first);
  EXPECT_EQ(0x7fffu, mine.last);
  EXPECT_EQ(0, other.invalidations);
  // Nobody else's numbers, nor the host's own.
  EXPECT_EQ(CERROR_ILL_ACCESS, RunOn(1, 0, ring, {AtcInv(33, 0, 52)}));
  // Another VINTF has no such slot; and a cleared slot matches nothing.
  uint64_t ring2 = StartQueue(2, 0, 4);
  EXPECT_EQ(CERROR_ILL_ACCESS, RunOn(2, 0, ring2, {AtcInv(5, 0, 52)}));
  Write(VintfReg(1, 0x40 + 12), 0);
  StoreFormat(ring + 32, AtcInv(5, 0, 52));
  Ack(1, 0);
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(CERROR_ILL_ACCESS, Cerror(1, 0));
  EXPECT_EQ(1, mine.invalidations);
  EXPECT_EQ(0, other.invalidations);
  smmuv3_hw_remove_endpoint(smmu_, &mine);
  smmuv3_hw_remove_endpoint(smmu_, &other);
}

// ---- errors ----

TEST_F(CmdqvTest, AnErrorIsMappedToldOnceAndAcknowledged) {
  Up2();
  uint64_t ring0 = StartQueue(2, 0, 4);
  uint64_t ring = StartQueue(2, 1, 6);
  EXPECT_EQ(CERROR_ILL, RunOn(2, 1, ring, {Op(CMD_CFGI_STE), Sync()}));
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_CMDQV));
  EXPECT_EQ(1u << 2, Read(kCmdqv + 0x14));
  EXPECT_EQ(0u, Read(kCmdqv + 0x18));
  EXPECT_EQ(1u << 6, Read(kCmdqv + 0x24));
  EXPECT_EQ(2u, Read(VintfReg(2, 0xc0), 8));
  EXPECT_EQ(0u, Read(VintfReg(2, 0xc8), 8));
  EXPECT_EQ(1u, Read(VintfReg(2, 4)) >> 1 & 7);
  EXPECT_EQ(0u, Read(Page0(6)) & 0xfffff);
  // It stands still; its neighbour and the SMMU's own queue go on.
  EXPECT_FALSE(smmuv3_hw_step(smmu_));
  EXPECT_EQ(0, RunOn(2, 0, ring0, {Sync()}));
  EXPECT_EQ(0, Run({Sync()}));
  // A second one of the same VINTF is told, though the VINTF's bit is set.
  EXPECT_EQ(CERROR_ILL, RunOn(2, 0, ring0, {Op(CMD_CFGI_STE)}));
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_CMDQV));
  EXPECT_EQ(3u, Read(VintfReg(2, 0xc0), 8));
  StoreFormat(ring, Sync());
  Ack(2, 1);
  EXPECT_EQ(1u, Read(VintfReg(2, 0xc0), 8));
  EXPECT_EQ(1u << 2, Read(kCmdqv + 0x14));
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(2u, Read(ViPage0(2, 1)) & 0xfffff);
  Ack(2, 0);
  EXPECT_EQ(0u, Read(kCmdqv + 0x14));
  EXPECT_EQ(0u, Read(kCmdqv + 0x24));
  EXPECT_EQ(0u, Read(VintfReg(2, 4)) >> 1 & 7);
}

TEST_F(CmdqvTest, AMaskedVintfIsSilent) {
  Up2();
  uint64_t ring = StartQueue(1, 0, 3);
  uint64_t ring2 = StartQueue(2, 0, 4);
  Write(kCmdqv + 0x1c, 1u << 1);
  EXPECT_EQ(CERROR_ILL, RunOn(1, 0, ring, {Op(CMD_CFGI_STE)}));
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_CMDQV));
  EXPECT_EQ(1u << 1, Read(kCmdqv + 0x14));
  EXPECT_EQ(CERROR_ILL, RunOn(2, 0, ring2, {Op(CMD_CFGI_STE)}));
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_CMDQV));
}

// A guest that writes nonsense into GERRORN stops itself and tells nobody.
TEST_F(CmdqvTest, AWrongAcknowledgeHurtsOnlyItself) {
  Up2();
  uint64_t ring = StartQueue(1, 0, 3);
  Write(ViPage0(1, 0, Q::GERRORN::offset), ~0u);
  PushTo(1, 0, ring, {Sync()});
  EXPECT_FALSE(smmuv3_hw_step(smmu_));
  EXPECT_EQ(0u, Read(kCmdqv + 0x14));
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_CMDQV));
  Write(ViPage0(1, 0, Q::GERRORN::offset), 0);
  EXPECT_TRUE(smmuv3_hw_step(smmu_));
}

TEST_F(CmdqvTest, AnErrorStaysWithTheQueueWhenItIsGivenOn) {
  Up2();
  uint64_t ring = StartQueue(1, 0, 3);
  EXPECT_EQ(CERROR_ILL, RunOn(1, 0, ring, {Op(CMD_CFGI_STE)}));
  Write(ViPage0(1, 0, Q::CONFIG::offset), 0);
  Write(AllocReg(3), AllocValue(1, 0, false));
  EXPECT_EQ(0u, Read(kCmdqv + 0x14));
  EXPECT_EQ(1u << 3, Read(kCmdqv + 0x24));
  Write(AllocReg(3), AllocValue(2, 0));
  EXPECT_EQ(1u << 2, Read(kCmdqv + 0x14));
  Ack(2, 0);
  EXPECT_EQ(0u, Read(kCmdqv + 0x14));
}

TEST_F(CmdqvTest, AFetchFromNowhereAborts) {
  Up2();
  Write(AllocReg(3), AllocValue(1, 0));
  Write(ViPage1(1, 0), 0x4000 | kLog2, 8);
  Write(ViPage0(1, 0, Q::CONFIG::offset), 1);
  Write(ViPage0(1, 0, Q::PROD::offset), 1);
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(CERROR_ABT, Cerror(1, 0));
}

TEST_F(CmdqvTest, ATimeoutIsToldByTheNextSync) {
  Up2();
  Endpoint device(33);
  ASSERT_EQ(0, smmuv3_hw_add_endpoint(smmu_, &device));
  SetSid(1, 0, 5, 33);
  uint64_t ring = StartQueue(1, 0, 3);
  uint64_t ring2 = StartQueue(2, 0, 4);
  device.deaf = true;
  EXPECT_EQ(0, RunOn(1, 0, ring, {AtcInv(5, 0, 52)}));
  // Not by another queue's.
  EXPECT_EQ(0, RunOn(2, 0, ring2, {Sync()}));
  EXPECT_EQ(0, Run({Sync()}));
  EXPECT_EQ(CERROR_ATC_INV_SYNC, RunOn(1, 0, ring, {Sync()}));
  EXPECT_EQ(1u, Read(ViPage0(1, 0)) & 0xfffff);
  Ack(1, 0);
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(0, Cerror(1, 0));
  EXPECT_EQ(2u, Read(ViPage0(1, 0)) & 0xfffff);
  smmuv3_hw_remove_endpoint(smmu_, &device);
}

// The next owner gets the last one's timeout, unless the driver flushes it.
TEST_F(CmdqvTest, ATimeoutOutlivesItsOwner) {
  for (bool flush : {false, true}) {
    Start(true);
    Up();
    EnableCmdqv();
    EnableVintf(1, 7);
    EnableVintf(2, 9);
    Endpoint device(33);
    ASSERT_EQ(0, smmuv3_hw_add_endpoint(smmu_, &device));
    SetSid(1, 0, 5, 33);
    uint64_t ring = StartQueue(1, 0, 3);
    device.deaf = true;
    EXPECT_EQ(0, RunOn(1, 0, ring, {AtcInv(5, 0, 52)}));
    Write(ViPage0(1, 0, Q::CONFIG::offset), 0);
    if (flush) {
      EXPECT_EQ(0, Run({Sync()}));
    }
    Write(AllocReg(3), AllocValue(1, 0, false));
    uint64_t ring2 = Alloc();
    Write(AllocReg(3), AllocValue(2, 0));
    for (uint32_t off : {0x0, 0x4}) Write(ViPage0(2, 0, off), 0);
    Write(ViPage1(2, 0), ring2 | kLog2, 8);
    Write(ViPage0(2, 0, Q::CONFIG::offset), 1);
    EXPECT_EQ(flush ? CERROR_NONE : CERROR_ATC_INV_SYNC,
              RunOn(2, 0, ring2, {Sync()}));
    smmuv3_hw_remove_endpoint(smmu_, &device);
    tegra241_cmdqv_hw_destroy(cmdqv_);
    smmuv3_hw_destroy(smmu_);
    cmdqv_ = nullptr;
    smmu_ = nullptr;
  }
}

TEST_F(CmdqvTest, ConsGoesToMemoryWhenAskedFor) {
  Up2();
  uint64_t page = Page(0);
  uint64_t ring = StartQueue(1, 0, 3);
  Write(ViPage0(1, 0, Q::CONFIG::offset), 0);
  Write(ViPage1(1, 0, 8), page, 8);
  Write(ViPage0(1, 0, Q::CONFIG::offset), 1);
  EXPECT_EQ(0, RunOn(1, 0, ring, {Sync(), Sync()}));
  EXPECT_EQ(0u, Load(page));
  Write(kCmdqv, 1 | cmdqv_regs::CONFIG::CONS_DRAM_EN::mask);
  EXPECT_EQ(0, RunOn(1, 0, ring, {Sync(), Sync()}));
  EXPECT_EQ(4u, Load(page));
  Write(ViPage0(1, 0, Q::CONFIG::offset), 0);
  Write(ViPage1(1, 0, 8), 0x4000, 8);
  Write(ViPage0(1, 0, Q::CONFIG::offset), 1);
  EXPECT_EQ(0, RunOn(1, 0, ring, {Sync()}));
  EXPECT_EQ(Q::GERROR::CONS_DRAM_WR_ABT_ERR::mask, Errors(1, 0));
}

TEST_F(CmdqvTest, QueuesTakeTurns) {
  Up2();
  uint64_t a = StartQueue(1, 0, 3);
  uint64_t b = StartQueue(2, 0, 4);
  PushTo(1, 0, a, {Sync(), Sync()});
  PushTo(2, 0, b, {Sync(), Sync()});
  EXPECT_TRUE(smmuv3_hw_step(smmu_));
  EXPECT_EQ(1u, Read(Page0(3)));
  EXPECT_EQ(1u, Read(Page0(4)));
  EXPECT_TRUE(smmuv3_hw_step(smmu_));
  EXPECT_FALSE(smmuv3_hw_step(smmu_));
  EXPECT_EQ(2u, Read(Page0(3)));
}

TEST_F(CmdqvTest, EagerlyADoorbellIsAnsweredAtOnce) {
  config_.mode = HW_EAGER;
  Up2();
  uint64_t ring = StartQueue(1, 0, 3);
  PushTo(1, 0, ring, {Tlbi(CMD_TLBI_NH_ASID), Sync()});
  EXPECT_EQ(2u, Read(ViPage0(1, 0)));
}

TEST_F(CmdqvTest, SteppedThereIsNoMemoryBehindPage0) {
  Up2();
  EXPECT_EQ(0u, mmio_ram(kernel_.get(), ViPage0(1, 0)));
  EXPECT_EQ(0u, mmio_ram(kernel_.get(), 0x5000));
}

}  // namespace
}  // namespace hw_test
