// SPDX-License-Identifier: GPL-2.0-or-later
//
// The SMMUv3 model's registers, queues, errors and interrupts. Translation is
// in smmuv3_walk_test.cc, what is kept in smmuv3_cache_test.cc.

#include "tests/hw/hw_fixture.h"

namespace hw_test {
namespace {

class SmmuTest : public HwFixture {};

TEST_F(SmmuTest, IdentificationSaysWhatItIsBuiltWith) {
  config_.sid_bits = 9;
  config_.ssid_bits = 7;
  config_.cmdqs = 6;
  config_.eventqs = 5;
  config_.granules = 5;
  Start();
  Regs::IDR0 idr0 = Get<Regs::IDR0>();
  EXPECT_EQ(1u, Regs::IDR0::S1P::get(idr0));
  EXPECT_EQ(1u, Regs::IDR0::S2P::get(idr0));
  EXPECT_EQ(2u, Regs::IDR0::TTF::get(idr0));
  EXPECT_EQ(2u, Regs::IDR0::TTENDIAN::get(idr0));
  EXPECT_EQ(1u, Regs::IDR0::ST_LEVEL::get(idr0));
  EXPECT_EQ(0u, Regs::IDR0::PRI::get(idr0));
  Regs::IDR1 idr1 = Get<Regs::IDR1>();
  EXPECT_EQ(9u, Regs::IDR1::SIDSIZE::get(idr1));
  EXPECT_EQ(7u, Regs::IDR1::SSIDSIZE::get(idr1));
  EXPECT_EQ(6u, Regs::IDR1::CMDQS::get(idr1));
  EXPECT_EQ(5u, Regs::IDR1::EVENTQS::get(idr1));
  EXPECT_EQ(1u, Regs::IDR3::RIL::get(Get<Regs::IDR3>()));
  Regs::IDR5 idr5 = Get<Regs::IDR5>();
  EXPECT_EQ(5u, Regs::IDR5::OAS::get(idr5));
  EXPECT_EQ(1u, Regs::IDR5::GRAN4K::get(idr5));
  EXPECT_EQ(0u, Regs::IDR5::GRAN16K::get(idr5));
  EXPECT_EQ(1u, Regs::IDR5::GRAN64K::get(idr5));
  EXPECT_EQ(config_.iidr, Get<Regs::IIDR>().raw);
  EXPECT_EQ(2u, Get<Regs::AIDR>().raw);
  // None of them takes a write.
  for (uint32_t off = 0; off < 0x20; off += 4)
    EXPECT_TRUE(WriteFails(kSmmu + off, ~0u)) << off;
  EXPECT_EQ(idr0.raw, Get<Regs::IDR0>().raw);
}

TEST_F(SmmuTest, OnlyOneAtAnAddress) {
  Start();
  EXPECT_EQ(-EBUSY, smmuv3_hw_create(&config_).error());
}

TEST_F(SmmuTest, AcknowledgesFollowAtOnce) {
  Start();
  Set<Regs::CR0>(~0u);
  // PRI is not built in, reserved bits stay clear.
  EXPECT_EQ(0x1du, Get<Regs::CR0>().raw);
  EXPECT_EQ(0x1du, Get<Regs::CR0ACK>().raw);
  Set<Regs::CR0>(0);
  EXPECT_EQ(0u, Get<Regs::CR0ACK>().raw);
  Set<Regs::IRQ_CTRL>(~0u);
  EXPECT_EQ(5u, Get<Regs::IRQ_CTRLACK>().raw);
  EXPECT_TRUE(WriteFails(kSmmu + Regs::CR0ACK::offset));
  EXPECT_TRUE(WriteFails(kSmmu + Regs::IRQ_CTRLACK::offset));
  EXPECT_TRUE(WriteFails(kSmmu + Regs::GERROR::offset));
}

TEST_F(SmmuTest, GbpaTakesOnlyUpdates) {
  Start();
  Set<Regs::GBPA>(Regs::GBPA::ABORT::mask);
  EXPECT_EQ(0u, Get<Regs::GBPA>().raw);
  uint64_t page = Page(7);
  EXPECT_EQ(7u, DmaRead(1, page));
  Set<Regs::GBPA>(Regs::GBPA::ABORT::mask | Regs::GBPA::UPDATE::mask);
  EXPECT_EQ(Regs::GBPA::ABORT::mask, Get<Regs::GBPA>().raw);
  EXPECT_EQ(~0ull, DmaRead(1, page));
}

TEST_F(SmmuTest, WhatIsInUseTakesNoWrite) {
  Start();
  Up();
  struct {
    uint32_t off;
    unsigned size;
  } guarded[] = {
      {Regs::CR1::offset, 4},         {Regs::CR2::offset, 4},
      {Regs::STRTAB_BASE::offset, 8}, {Regs::STRTAB_BASE_CFG::offset, 4},
      {Regs::CMDQ_BASE::offset, 8},   {Regs::CMDQ_CONS::offset, 4},
      {Regs::EVENTQ_BASE::offset, 8}, {Regs::EVENTQ_PROD::offset, 4},
  };
  for (auto& r : guarded) {
    uint64_t before = Read(kSmmu + r.off, r.size);
    Write(kSmmu + r.off, before ^ 0x40, r.size);
    EXPECT_EQ(before, Read(kSmmu + r.off, r.size)) << std::hex << r.off;
  }
  Set<Regs::CR0>(0);
  for (auto& r : guarded) {
    uint64_t before = Read(kSmmu + r.off, r.size);
    Write(kSmmu + r.off, before ^ 0x40, r.size);
    EXPECT_EQ(before ^ 0x40, Read(kSmmu + r.off, r.size)) << std::hex << r.off;
  }
}

TEST_F(SmmuTest, BothPagesHaveTheSameEventQueueRegisters) {
  Start();
  Write(kSmmu + 0x10000 + Regs::EVENTQ_PROD::offset, 5);
  EXPECT_EQ(5u, Get<Regs::EVENTQ_PROD>().raw);
  Write(kSmmu + Regs::EVENTQ_CONS::offset, 3);
  EXPECT_EQ(3u, Read(kSmmu + 0x10000 + Regs::EVENTQ_CONS::offset));
  // Page 1 has nothing else.
  EXPECT_TRUE(ReadFails(kSmmu + 0x10000));
  EXPECT_TRUE(ReadFails(kSmmu + 0x10000 + Regs::CMDQ_PROD::offset));
}

TEST_F(SmmuTest, HolesAreNoRegisters) {
  Start();
  for (uint32_t off :
       {0x30, 0x40, 0x48, 0x58, 0x78, 0x8c, 0xe0, 0x1000, 0xfffc})
    EXPECT_TRUE(ReadFails(kSmmu + off)) << std::hex << off;
  EXPECT_TRUE(WriteFails(kSmmu + 0x88, 0, 8));  // half of it is one
  EXPECT_TRUE(ReadFails(kSmmu + 2));
  EXPECT_TRUE(ReadFails(kSmmu + Regs::CMDQ_BASE::offset, 2));
  EXPECT_TRUE(ReadFails(kSmmu + 0x20000));
}

// ---- the command queue ----

TEST_F(SmmuTest, CommandsRunOneAStepWhenEnabled) {
  Start();
  cmdq_ = Alloc();
  Set<Regs::CMDQ_BASE>(cmdq_ | kCmdqLog2);
  Push({Sync(), Sync(), Sync()});
  EXPECT_FALSE(smmuv3_hw_step(smmu_));
  Set<Regs::CR0>(Regs::CR0::CMDQEN::mask);
  EXPECT_TRUE(smmuv3_hw_step(smmu_));
  EXPECT_EQ(1u, Get<Regs::CMDQ_CONS>().raw);
  EXPECT_TRUE(smmuv3_hw_step(smmu_));
  EXPECT_TRUE(smmuv3_hw_step(smmu_));
  EXPECT_FALSE(smmuv3_hw_step(smmu_));
  EXPECT_EQ(3u, Get<Regs::CMDQ_CONS>().raw);
  EXPECT_EQ(3u, smmuv3_hw_get_stats(smmu_).commands);
}

TEST_F(SmmuTest, TheQueueWrapsAndCanBeFull) {
  Start();
  EnableQueues();
  for (int i = 0; i < 20; ++i) ASSERT_EQ(0, Run({Sync(), Sync(), Sync()}));
  EXPECT_EQ(60u % 64, Get<Regs::CMDQ_CONS>().raw);
  // Full: the indices are equal, the wrap bits are not.
  for (int i = 0; i < 32; ++i) Push({Sync()});
  EXPECT_EQ(60u ^ 32u, Get<Regs::CMDQ_PROD>().raw);
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(92u, smmuv3_hw_get_stats(smmu_).commands);
  EXPECT_EQ(Get<Regs::CMDQ_PROD>().raw, Get<Regs::CMDQ_CONS>().raw);
}

TEST_F(SmmuTest, AQueueLargerThanBuiltIsCut) {
  config_.cmdqs = 3;
  Start();
  cmdq_ = Alloc();
  Set<Regs::CMDQ_BASE>(cmdq_ | 10);
  for (int i = 0; i < 16; ++i) StoreFormat(cmdq_ + 16 * i, Sync());
  Set<Regs::CR0>(Regs::CR0::CMDQEN::mask);
  Set<Regs::CMDQ_PROD>(8);
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(8u, smmuv3_hw_get_stats(smmu_).commands);
}

TEST_F(SmmuTest, AnIllegalCommandStopsTheQueueUntilAcknowledged) {
  Start();
  EnableQueues();
  CMD bad = Op(static_cast<smmuv3_opcode>(0xff));
  EXPECT_EQ(CERROR_ILL, Run({Sync(), bad, Sync()}));
  EXPECT_EQ(Regs::GERROR::CMDQ_ERR::mask, GlobalErrors());
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_GERROR));
  EXPECT_EQ(1u, Regs::CMDQ_CONS::RD::get(Get<Regs::CMDQ_CONS>()));
  EXPECT_FALSE(smmuv3_hw_step(smmu_));
  // Acknowledged but not mended: the same again.
  AckGlobalErrors();
  EXPECT_TRUE(smmuv3_hw_step(smmu_));
  EXPECT_EQ(Regs::GERROR::CMDQ_ERR::mask, GlobalErrors());
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_GERROR));
  SkipCommand();
  AckGlobalErrors();
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(3u, Regs::CMDQ_CONS::RD::get(Get<Regs::CMDQ_CONS>()));
  EXPECT_EQ(0u, GlobalErrors());
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_GERROR));
}

TEST_F(SmmuTest, AnErrorRaisesNothingWhileInterruptsAreOff) {
  Start();
  EnableQueues();
  Set<Regs::IRQ_CTRL>(0);
  EXPECT_EQ(CERROR_ILL, Run({Op(static_cast<smmuv3_opcode>(0))}));
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_GERROR));
}

TEST_F(SmmuTest, AFetchFromNowhereAborts) {
  Start();
  Set<Regs::CMDQ_BASE>(0x1000 | kCmdqLog2);
  Set<Regs::CR0>(Regs::CR0::CMDQEN::mask);
  Set<Regs::CMDQ_PROD>(1);
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(CERROR_ABT, Regs::CMDQ_CONS::ERR::get(Get<Regs::CMDQ_CONS>()));
  EXPECT_EQ(Regs::GERROR::CMDQ_ERR::mask, GlobalErrors());
}

TEST_F(SmmuTest, AFetchFromFreedMemoryAborts) {
  Start();
  struct page* page = alloc_page(GFP_KERNEL);
  Set<Regs::CMDQ_BASE>(page_to_phys(page) | kCmdqLog2);
  __free_page(page);
  Set<Regs::CR0>(Regs::CR0::CMDQEN::mask);
  Set<Regs::CMDQ_PROD>(1);
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(CERROR_ABT, Regs::CMDQ_CONS::ERR::get(Get<Regs::CMDQ_CONS>()));
}

// Which commands there are depends on what it is built with.
TEST_F(SmmuTest, CommandsOfMissingFeaturesAreIllegal) {
  struct {
    const char* name;
    bool smmuv3_hw_config::* feature;
    std::vector<CMD> cmds;
  } const cases[] = {
      {"s1p",
       &smmuv3_hw_config::s1p,
       {Op(CMD_CFGI_CD), Op(CMD_CFGI_CD_ALL), Op(CMD_TLBI_NH_ALL),
        Op(CMD_TLBI_NH_ASID), Op(CMD_TLBI_NH_VA), Op(CMD_TLBI_NH_VAA)}},
      {"s2p",
       &smmuv3_hw_config::s2p,
       {Op(CMD_TLBI_S12_VMALL), Op(CMD_TLBI_S2_IPA)}},
      {"hyp",
       &smmuv3_hw_config::hyp,
       {Op(CMD_TLBI_EL2_ALL), Op(CMD_TLBI_EL2_ASID), Op(CMD_TLBI_EL2_VA),
        Op(CMD_TLBI_EL2_VAA)}},
      {"ats", &smmuv3_hw_config::ats, {AtcInv(0, 0, 0)}},
      {"pri", &smmuv3_hw_config::pri, {Op(CMD_PRI_RESP)}},
      {"stall", &smmuv3_hw_config::stall, {Op(CMD_RESUME)}},
  };
  const smmuv3_hw_config config = config_;
  for (auto& c : cases) {
    config_ = config;
    for (bool on : {true, false}) {
      for (const CMD& cmd : c.cmds) {
        SCOPED_TRACE(testing::Message() << c.name << on << " op " << std::hex
                                        << CMD::OP::get(cmd));
        config_.*c.feature = on;
        Start();
        EnableQueues();
        EXPECT_EQ(on ? CERROR_NONE : CERROR_ILL, Run({cmd, Sync()}));
        smmuv3_hw_destroy(smmu_);
        smmu_ = nullptr;
      }
    }
  }
}

TEST_F(SmmuTest, FieldsOutOfRangeAreIllegal) {
  config_.pri = true;
  CMD sync = Sync(3);
  CMD atc = AtcInv(0, 0, 53);
  CMD resume = Op(CMD_RESUME);
  CMD::RESUME_RESP::set(resume, 3);
  CMD pri = Op(CMD_PRI_RESP);
  CMD::PRI_RESP::set(pri, 3);
  for (const CMD& cmd : {sync, atc, resume, pri}) {
    Start();
    EnableQueues();
    EXPECT_EQ(CERROR_ILL, Run({cmd}));
    smmuv3_hw_destroy(smmu_);
    smmu_ = nullptr;
  }
  Start();
  EnableQueues();
  CMD::RESUME_RESP::set(resume, 2);
  CMD::PRI_RESP::set(pri, 2);
  EXPECT_EQ(0, Run({Sync(SYNC_CS_SEV), AtcInv(0, 0, 52), resume, pri,
                    Op(CMD_PREFETCH_CFG), Op(CMD_PREFETCH_ADDR)}));
}

// ---- SYNC's ways to say that it is over ----

TEST_F(SmmuTest, SyncByLine) {
  Start();
  EnableQueues();
  EXPECT_EQ(0, Run({Sync(SYNC_CS_NONE), Sync(SYNC_CS_SEV)}));
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_CMDQ_SYNC));
  EXPECT_EQ(0, Run({Sync(SYNC_CS_IRQ)}));
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_CMDQ_SYNC));
}

TEST_F(SmmuTest, SyncByMessage) {
  config_.msi = true;
  Start();
  EnableQueues();
  uint64_t page = Page(0);
  CMD sync = Sync(SYNC_CS_IRQ);
  CMD::SYNC_MSIDATA::set(sync, 0xabcd);
  sync.word[1] |= page + 4;
  EXPECT_EQ(0, Run({sync}));
  EXPECT_EQ(0xabcdull << 32, Load(page));
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_CMDQ_SYNC));
  // To nowhere: the SYNC is done, and the error is told.
  sync.word[1] = 0x1000;
  Push({sync});
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(Regs::GERROR::MSI_CMDQ_ABT_ERR::mask, GlobalErrors());
  EXPECT_EQ(2u, Get<Regs::CMDQ_CONS>().raw);
  // It does not stop the queue.
  Push({Sync()});
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(3u, Get<Regs::CMDQ_CONS>().raw);
}

TEST_F(SmmuTest, InterruptsByMessage) {
  config_.msi = true;
  Start();
  uint64_t page = Page(0);
  Set<Regs::GERROR_IRQ_CFG0>(page);
  Set<Regs::GERROR_IRQ_CFG1>(0x11);
  Set<Regs::EVENTQ_IRQ_CFG0>(page + 8);
  Set<Regs::EVENTQ_IRQ_CFG1>(0x22);
  Up();
  EXPECT_EQ(CERROR_ILL, Run({Op(static_cast<smmuv3_opcode>(0))}));
  EXPECT_EQ(0x11u, Load(page));
  EXPECT_EQ(~0ull, DmaRead(100, 0));
  EXPECT_EQ(0x22u, Load(page + 8));
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_GERROR));
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_EVENTQ));
  // In use: no write.
  Set<Regs::GERROR_IRQ_CFG1>(0x33);
  EXPECT_EQ(0x11u, Get<Regs::GERROR_IRQ_CFG1>().raw);
}

TEST_F(SmmuTest, AMessageToNowhereIsAnErrorOfItsOwn) {
  config_.msi = true;
  Start();
  Set<Regs::EVENTQ_IRQ_CFG0>(0x1000);
  Up();
  EXPECT_EQ(~0ull, DmaRead(100, 0));
  EXPECT_EQ(Regs::GERROR::MSI_EVENTQ_ABT_ERR::mask, GlobalErrors());
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_GERROR));
  EXPECT_EQ(C_BAD_STREAMID, NextEventId());
}

TEST_F(SmmuTest, AGerrorMessageToNowhereIsSeenInTheRegister) {
  config_.msi = true;
  Start();
  Set<Regs::GERROR_IRQ_CFG0>(0x1000);
  EnableQueues();
  EXPECT_EQ(CERROR_ILL, Run({Op(static_cast<smmuv3_opcode>(0))}));
  EXPECT_EQ(
      Regs::GERROR::CMDQ_ERR::mask | Regs::GERROR::MSI_GERROR_ABT_ERR::mask,
      GlobalErrors());
}

// ---- the event queue ----

TEST_F(SmmuTest, EventsInterruptWhenTheQueueWasEmpty) {
  Start();
  Up();
  DmaRead(100, 0x1234);
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_EVENTQ));
  DmaRead(101, 0x1234);
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_EVENTQ));
  EVT evt = NextEvent();
  EXPECT_EQ(C_BAD_STREAMID, EVT::ID::get(evt));
  EXPECT_EQ(100u, EVT::SID::get(evt));
  EXPECT_EQ(0u, EVT::SSV::get(evt));
  EXPECT_EQ(101u, EVT::SID::get(NextEvent()));
  EXPECT_EQ(0, NextEventId());
  DmaRead(100, 0x1234);
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_EVENTQ));
}

TEST_F(SmmuTest, AnOverflowIsToldOnceAndRemembered) {
  Start();
  Up();
  for (uint32_t i = 0; i < 8; ++i) DmaRead(100 + i, 0);
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_EVENTQ));
  EXPECT_EQ(8u, Get<Regs::EVENTQ_PROD>().raw);
  DmaRead(108, 0);
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_EVENTQ));
  EXPECT_EQ(8u | 1u << 31, Get<Regs::EVENTQ_PROD>().raw);
  DmaRead(109, 0);
  EXPECT_EQ(0, Irq(SMMUV3_IRQ_EVENTQ));
  EXPECT_EQ(8u | 1u << 31, Get<Regs::EVENTQ_PROD>().raw);
  EXPECT_EQ(2u, smmuv3_hw_get_stats(smmu_).events_lost);
  for (uint32_t i = 0; i < 8; ++i)
    EXPECT_EQ(100u + i, EVT::SID::get(NextEvent()));
  EXPECT_EQ(0, NextEventId());
  // Seen by software; the next overflow is a new one.
  Set<Regs::EVENTQ_CONS>(8u | 1u << 31);
  for (uint32_t i = 0; i < 9; ++i) DmaRead(100 + i, 0);
  EXPECT_EQ(0u, Get<Regs::EVENTQ_PROD>().raw);
}

TEST_F(SmmuTest, EventsAreLostWhileTheQueueIsOff) {
  Start();
  Up();
  Set<Regs::CR0>(Regs::CR0::SMMUEN::mask);
  EXPECT_EQ(~0ull, DmaRead(100, 0));
  EXPECT_EQ(0u, Get<Regs::EVENTQ_PROD>().raw);
}

TEST_F(SmmuTest, AnEventQueueNowhereIsAGlobalError) {
  Start();
  Up();
  Set<Regs::CR0>(Regs::CR0::SMMUEN::mask);
  Set<Regs::EVENTQ_BASE>(0x1000 | kEventqLog2);
  Set<Regs::CR0>(Regs::CR0::SMMUEN::mask | Regs::CR0::EVENTQEN::mask);
  EXPECT_EQ(~0ull, DmaRead(100, 0));
  EXPECT_EQ(Regs::GERROR::EVENTQ_ABT_ERR::mask, GlobalErrors());
  EXPECT_EQ(0u, Get<Regs::EVENTQ_PROD>().raw);
}

TEST_F(SmmuTest, UnknownStreamsAreToldWhenAskedFor) {
  Start();
  EnableQueues();
  Set<Regs::CR2>(0);
  EnableTranslation();
  EXPECT_EQ(~0ull, DmaRead(100, 0));
  EXPECT_EQ(0, NextEventId());
}

TEST_F(SmmuTest, PageRequestsGoToTheirQueue) {
  config_.pri = true;
  Start();
  uint64_t priq = Alloc();
  Set<Regs::PRIQ_BASE>(priq | 1);
  EnableQueues();
  hw_txn txn = Txn(5, 0x7000, true);
  txn.ssv = true;
  txn.ssid = 3;
  auto request = [&] {
    smmuv3_hw_guard g(smmu_);
    return __smmuv3_hw_page_request(smmu_, &txn, 9, true);
  };
  EXPECT_FALSE(request());
  Set<Regs::CR0>(Regs::CR0::PRIQEN::mask);
  EXPECT_TRUE(request());
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_PRIQ));
  EXPECT_EQ(1u, Read(kSmmu + 0x10000 + Regs::PRIQ_PROD::offset));
  PRQ prq = LoadFormat<PRQ>(priq);
  EXPECT_EQ(5u, PRQ::SID::get(prq));
  EXPECT_EQ(3u, PRQ::SSID::get(prq));
  EXPECT_EQ(1u, PRQ::WRITE::get(prq));
  EXPECT_EQ(0u, PRQ::READ::get(prq));
  EXPECT_EQ(1u, PRQ::LAST::get(prq));
  EXPECT_EQ(9u, PRQ::GRPID::get(prq));
  EXPECT_EQ(7u, PRQ::ADDR::get(prq));
  EXPECT_TRUE(request());
  EXPECT_FALSE(request());
  EXPECT_EQ(2u | 1u << 31, Get<Regs::PRIQ_PROD>().raw);
}

// ---- modes ----

TEST_F(SmmuTest, EagerlyAStoreReturnsWhenItsCommandsAreDone) {
  config_.mode = HW_EAGER;
  Start();
  EnableQueues();
  Push({Sync(SYNC_CS_IRQ), Sync()});
  EXPECT_EQ(2u, Get<Regs::CMDQ_CONS>().raw);
  EXPECT_EQ(1, Irq(SMMUV3_IRQ_CMDQ_SYNC));
}

}  // namespace
}  // namespace hw_test
