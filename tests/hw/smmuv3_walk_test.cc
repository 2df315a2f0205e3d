// SPDX-License-Identifier: GPL-2.0-or-later
//
// How the SMMUv3 model translates: stream tables, contexts, table formats of
// both stages, permissions, faults and their records.

#include "drivers/hw/dma-testdev.h"
#include "tests/hw/hw_fixture.h"

namespace hw_test {
namespace {

constexpr uint32_t kSid = 9;

class WalkTest : public HwFixture {
 protected:
  // Stream kSid through one context of stage 1 with tables @t and ASID 3.
  CD S1(const Table& t, unsigned asid = 3) { return Cd(t.root, asid); }
  void UseS1(const CD& cd) {
    if (!cds_) cds_ = Alloc();
    StoreFormat(cds_, cd);
    STE ste = Ste(STE_CONFIG_S1);
    SetSte(kSid, WithS1(ste, cds_));
    EXPECT_EQ(0, Run({Op(CMD_TLBI_NSNH_ALL), Sync()}));
  }
  void UseS2(const STE& ste) {
    SetSte(kSid, ste);
    EXPECT_EQ(0, Run({Op(CMD_TLBI_NSNH_ALL), Sync()}));
  }
  STE S2(const Table& t, unsigned vmid = 5) {
    STE ste = Ste(STE_CONFIG_S2);
    return WithS2(ste, t.root, vmid);
  }
  // The fault of an access: its event, after checking the fields that each has.
  EVT Fault(uint64_t iova, bool write = false) {
    uint64_t word = 0;
    EXPECT_EQ(HW_TXN_ABORT, Dma(Txn(kSid, iova, write), &word));
    EVT evt = NextEvent();
    EXPECT_EQ(kSid, EVT::SID::get(evt));
    return evt;
  }
  void ExpectFault(int id, uint64_t iova, bool write = false, int s2 = 0,
                   uint64_t ipa = 0, int cls = CLASS_IN) {
    EVT evt = Fault(iova, write);
    EXPECT_EQ(id, static_cast<int>(EVT::ID::get(evt)));
    EXPECT_EQ(iova, EVT::INPUT_ADDR::get(evt));
    EXPECT_EQ(!write, EVT::RNW::get(evt));
    EXPECT_EQ(s2, static_cast<int>(EVT::S2::get(evt)));
    EXPECT_EQ(cls, static_cast<int>(EVT::CLASS::get(evt)));
    EXPECT_EQ(ipa, EVT::IPA::get_raw(evt));
    EXPECT_EQ(0, NextEventId());
  }
  uint64_t cds_ = 0;
};

// ---- the stream table ----

TEST_F(WalkTest, AbortIsSilentAndBypassIsNot) {
  Start();
  Up();
  uint64_t page = Page(42);
  EXPECT_EQ(~0ull, DmaRead(kSid, page));
  EXPECT_EQ(0, NextEventId());
  SetSte(kSid, Ste(STE_CONFIG_BYPASS));
  EXPECT_EQ(42u, DmaRead(kSid, page));
  EXPECT_TRUE(DmaWrite(kSid, page + 8, 43));
  EXPECT_EQ(43u, Load(page + 8));
  // Where there is no memory the bus says no; beyond the address size the SMMU.
  uint64_t word = 0;
  EXPECT_EQ(HW_TXN_BUS, Dma(Txn(kSid, 0x1000), &word));
  EXPECT_EQ(0, NextEventId());
  ExpectFault(F_ADDR_SIZE, 1ull << 48);
}

TEST_F(WalkTest, AnAccessMayCrossPages) {
  Start();
  Up();
  Table t = NewTable();
  UseS1(S1(t));
  uint64_t a = Page(0), b = Page(0);
  Map(t, 0x10000, b, kS1Rw);
  Map(t, 0x11000, a, kS1Rw);
  std::vector<uint8_t> data(PAGE_SIZE, 7);
  hw_txn txn = Txn(kSid, 0x10800, true);
  EXPECT_EQ(HW_TXN_OK, smmuv3_hw_dma(smmu_, &txn, data.data(), data.size()));
  EXPECT_EQ(0u, Load(b + 0x7f8));
  EXPECT_EQ(0x0707070707070707u, Load(b + 0x800));
  EXPECT_EQ(0x0707070707070707u, Load(a + 0x7f8));
  EXPECT_EQ(0u, Load(a + 0x800));
}

TEST_F(WalkTest, AnSteThatIsNotValidIsBad) {
  Start();
  Up();
  SetSte(kSid, STE());
  EVT evt = Fault(0x1000);
  EXPECT_EQ(C_BAD_STE, EVT::ID::get(evt));
}

TEST_F(WalkTest, StreamsBeyondTheTableAreUnknown) {
  Start();
  Up();
  SetSte(63, Ste(STE_CONFIG_BYPASS));
  uint64_t page = Page(1);
  EXPECT_EQ(1u, DmaRead(63, page));
  EXPECT_EQ(~0ull, DmaRead(64, page));
  EXPECT_EQ(C_BAD_STREAMID, NextEventId());
}

TEST_F(WalkTest, AStreamTableNowhereIsAFetchFault) {
  Start();
  EnableQueues();
  Set<Regs::STRTAB_BASE>(0x1000);
  Set<Regs::STRTAB_BASE_CFG>(6);
  Set<Regs::CR0>(0xd);
  uint64_t word;
  EXPECT_EQ(HW_TXN_ABORT, Dma(Txn(kSid, 0), &word));
  EVT evt = NextEvent();
  EXPECT_EQ(F_STE_FETCH, EVT::ID::get(evt));
  EXPECT_EQ(0x1000u + 64 * kSid, EVT::FETCH_ADDR::get_raw(evt));
}

TEST_F(WalkTest, TwoLevelStreamTables) {
  Start();
  EnableQueues();
  uint64_t l1 = Alloc(), l2 = Alloc(2);
  // 1024 streams, 256 a table; the second table has 4 entries only.
  Store(l1 + 8, l2 | 3);
  StoreFormat(l2 + 64 * 3, Ste(STE_CONFIG_BYPASS));
  Set<Regs::STRTAB_BASE>(l1);
  Set<Regs::STRTAB_BASE_CFG>(1 << 16 | 8 << 6 | 10);
  Set<Regs::CR0>(0xd);
  uint64_t page = Page(1);
  EXPECT_EQ(1u, DmaRead(0x103, page));
  EXPECT_EQ(~0ull, DmaRead(0x102, page));  // there, not valid
  EXPECT_EQ(C_BAD_STE, NextEventId());
  EXPECT_EQ(~0ull, DmaRead(0x104, page));  // beyond the span
  EXPECT_EQ(C_BAD_STREAMID, NextEventId());
  EXPECT_EQ(~0ull, DmaRead(0x003, page));  // no table
  EXPECT_EQ(C_BAD_STREAMID, NextEventId());
  EXPECT_EQ(~0ull, DmaRead(0x403, page));  // beyond the first level
  EXPECT_EQ(C_BAD_STREAMID, NextEventId());
  Store(l1 + 16, 0x4000 | 9);
  EXPECT_EQ(~0ull, DmaRead(0x200, page));
  EXPECT_EQ(F_STE_FETCH, NextEventId());
  Store(l1 + 24, l2 | 10);  // larger than the split
  EXPECT_EQ(~0ull, DmaRead(0x300, page));
  EXPECT_EQ(C_BAD_STREAMID, NextEventId());
}

// Each field that makes an STE illegal, on both sides of its bound.
TEST_F(WalkTest, BadStes) {
  config_.ssid_bits = 8;
  config_.stall = false;
  config_.httu = 0;
  Start();
  Up();
  Table t2 = NewTable(12, 1, 1);
  cds_ = Alloc();
  Table t1 = NewTable();
  Map(t1, 0, Page(1), kS1Rw);
  Map(t2, 0, Page(2), kS2Rw);
  StoreFormat(cds_, S1(t1));
  struct {
    const char* what;
    ste_config config;
    STE& (*change)(STE&, u64);
    u64 value;
    bool bad;
  } const cases[] = {
      {"eats 1", STE_CONFIG_S1, STE::EATS::set, 1, false},
      {"eats 2", STE_CONFIG_S1, STE::EATS::set, 2, true},
      {"strw el2", STE_CONFIG_S1, STE::STRW::set, 2, false},
      {"strw 1", STE_CONFIG_S1, STE::STRW::set, 1, true},
      {"cdmax 8", STE_CONFIG_S1, STE::S1CDMAX::set, 8, false},
      {"cdmax 9", STE_CONFIG_S1, STE::S1CDMAX::set, 9, true},
      {"t0sz 39", STE_CONFIG_S2, STE::S2T0SZ::set, 39, true},  // with SL0 1
      {"t0sz 33", STE_CONFIG_S2, STE::S2T0SZ::set, 33, false},
      {"t0sz 34", STE_CONFIG_S2, STE::S2T0SZ::set, 34, true},
      {"t0sz 21", STE_CONFIG_S2, STE::S2T0SZ::set, 21, false},
      {"t0sz 20", STE_CONFIG_S2, STE::S2T0SZ::set, 20,
       true},  // 17 tables' worth
      {"sl0 3", STE_CONFIG_S2, STE::S2SL0::set, 3, true},
      {"sl0 0", STE_CONFIG_S2, STE::S2SL0::set, 0, true},
      {"tg 3", STE_CONFIG_S2, STE::S2TG::set, 3, true},
      {"aa32", STE_CONFIG_S2, STE::S2AA64::set, 0, true},
      {"big endian", STE_CONFIG_S2, STE::S2ENDI::set, 1, true},
      {"stall", STE_CONFIG_S2, STE::S2S::set, 1, true},
      {"access flag", STE_CONFIG_S2, STE::S2HA::set, 1, true},
      {"dirty state", STE_CONFIG_S2, STE::S2HD::set, 1, true},
      {"beyond", STE_CONFIG_S2, STE::S2TTB::set, 1ull << 44, true},
  };
  for (auto& c : cases) {
    STE ste = Ste(c.config);
    if (c.config == STE_CONFIG_S1) {
      WithS1(ste, cds_);
      STE::S1DSS::set(ste, STE_S1DSS_SSID0);
    } else {
      WithS2(ste, t2.root, 5);
    }
    c.change(ste, c.value);
    SetSte(kSid, ste);
    EXPECT_EQ(0, Run({Op(CMD_TLBI_NSNH_ALL), Op(CMD_TLBI_EL2_ALL), Sync()}));
    DmaRead(kSid, 0);
    EXPECT_EQ(c.bad, NextEventId() == C_BAD_STE) << c.what;
    while (NextEventId()) {
    }
  }
}

// ---- contexts ----

TEST_F(WalkTest, BadContexts) {
  config_.stall = false;
  config_.httu = 0;
  config_.asid16 = false;
  Start();
  Up();
  Table t = NewTable();
  Map(t, 0, Page(1), kS1Rw);
  struct {
    const char* what;
    CD& (*change)(CD&, u64);
    u64 value;
    bool bad;
  } const cases[] = {
      {"as it is", CD::V::set, 1, false},
      {"v", CD::V::set, 0, true},
      {"aa32", CD::AA64::set, 0, true},
      {"big endian", CD::ENDI::set, 1, true},
      {"a", CD::A::set, 0, true},
      {"stall", CD::S::set, 1, true},
      {"ha", CD::HA::set, 1, true},
      {"asid 255", CD::ASID::set, 255, false},
      {"asid 256", CD::ASID::set, 256, true},
      {"t0sz 15", CD::T0SZ::set, 15, true},
      {"t0sz 40", CD::T0SZ::set, 40, true},
      {"tg 3", CD::TG0::set, 3, true},
      {"upper half without tables", CD::EPD1::set, 0, true},
      {"beyond", CD::TTB0::set, 1ull << 44, true},
  };
  for (auto& c : cases) {
    CD cd = S1(t);
    c.change(cd, c.value);
    UseS1(cd);
    EXPECT_EQ(c.bad ? ~0ull : 1u, DmaRead(kSid, 0)) << c.what;
    EXPECT_EQ(c.bad ? C_BAD_CD : 0, NextEventId()) << c.what;
  }
}

TEST_F(WalkTest, ContextsBySubstream) {
  Start();
  Up();
  Table a = NewTable(), b = NewTable();
  Map(a, 0, Page(1), kS1Rw);
  Map(b, 0, Page(2), kS1Rw);
  cds_ = Alloc();
  StoreFormat(cds_, S1(a, 1));
  StoreFormat(cds_ + 64 * 5, S1(b, 2));
  auto with = [&](unsigned dss, unsigned cdmax = 3) {
    STE ste = Ste(STE_CONFIG_S1);
    WithS1(ste, cds_, cdmax);
    STE::S1DSS::set(ste, dss);
    SetSte(kSid, ste);
  };
  auto read = [&](int ssid) {
    hw_txn txn = Txn(kSid, 0);
    txn.ssv = ssid >= 0;
    txn.ssid = ssid >= 0 ? static_cast<uint32_t>(ssid) : 0;
    uint64_t word = 0;
    return Dma(txn, &word) == HW_TXN_OK ? static_cast<int>(word) : -1;
  };
  with(STE_S1DSS_SSID0);
  EXPECT_EQ(1, read(-1));
  EXPECT_EQ(2, read(5));
  EXPECT_EQ(-1, read(0));
  EXPECT_EQ(F_STREAM_DISABLED, NextEventId());
  EXPECT_EQ(-1, read(8));
  EVT evt = NextEvent();
  EXPECT_EQ(C_BAD_SUBSTREAMID, EVT::ID::get(evt));
  EXPECT_EQ(1u, EVT::SSV::get(evt));
  EXPECT_EQ(8u, EVT::SSID::get(evt));
  EXPECT_EQ(-1, read(7));  // not valid
  EXPECT_EQ(C_BAD_CD, NextEventId());
  with(STE_S1DSS_TERMINATE);
  EXPECT_EQ(-1, read(-1));
  EXPECT_EQ(F_STREAM_DISABLED, NextEventId());
  EXPECT_EQ(1, read(0));
  with(STE_S1DSS_BYPASS);
  uint64_t page = Page(3);
  EXPECT_EQ(3u, DmaRead(kSid, page));
  with(0, 0);
  EXPECT_EQ(1, read(-1));
  EXPECT_EQ(-1, read(5));
  EXPECT_EQ(C_BAD_SUBSTREAMID, NextEventId());
}

TEST_F(WalkTest, TwoLevelContexts) {
  Start();
  Up();
  Table a = NewTable();
  Map(a, 0, Page(1), kS1Rw);
  for (unsigned fmt : {STE_S1FMT_4K_L2, STE_S1FMT_64K_L2}) {
    const unsigned split = fmt == STE_S1FMT_4K_L2 ? 6 : 10;
    uint64_t l1 = Alloc(), l2 = Alloc(4);
    Store(l1 + 8, l2 | 1);
    StoreFormat(l2 + 64 * 5, S1(a, 1));
    STE ste = Ste(STE_CONFIG_S1);
    WithS1(ste, l1, 12);
    STE::S1FMT::set(ste, fmt);
    SetSte(kSid, ste);
    hw_txn txn = Txn(kSid, 0);
    txn.ssv = true;
    txn.ssid = (1u << split) + 5;
    uint64_t word = 0;
    EXPECT_EQ(HW_TXN_OK, Dma(txn, &word));
    EXPECT_EQ(1u, word);
    txn.ssid = 5;
    EXPECT_EQ(HW_TXN_ABORT, Dma(txn, &word));
    EXPECT_EQ(C_BAD_SUBSTREAMID, NextEventId());
    Store(l1, 0x4000 | 1);
    EXPECT_EQ(HW_TXN_ABORT, Dma(txn, &word));
    EXPECT_EQ(F_CD_FETCH, NextEventId());
  }
}

// ---- table formats ----

// Every granule, size and level of stage 1, at the first and the last page of
// a leaf.
TEST_F(WalkTest, Stage1Formats) {
  Start();
  Up();
  struct {
    unsigned granule, tg, tsz;
  } const formats[] = {
      {12, 0, 16}, {12, 0, 24}, {12, 0, 25}, {12, 0, 32}, {12, 0, 39},
      {14, 2, 16}, {14, 2, 17}, {14, 2, 28}, {14, 2, 39}, {16, 1, 16},
      {16, 1, 22}, {16, 1, 35}, {16, 1, 39},
  };
  for (auto& f : formats) {
    const unsigned bits = 64 - f.tsz;
    const unsigned stride = f.granule - 3;
    const unsigned start = 4 - (bits - f.granule + stride - 1) / stride;
    Table t = NewTable(f.granule, start);
    CD cd = S1(t);
    CD::TG0::set(cd, f.tg);
    CD::T0SZ::set(cd, f.tsz);
    UseS1(cd);
    const uint64_t top = 1ull << bits;
    for (unsigned level = std::max(start, 1u); level <= 3; ++level) {
      SCOPED_TRACE(testing::Message() << "granule " << f.granule << " bits "
                                      << bits << " level " << level);
      const bool block = level == 2 || (level == 1 && f.granule == 12);
      const unsigned shift = f.granule + (3 - level) * stride;
      // Of the last leaf of that size.
      const uint64_t in = top - (1ull << shift);
      // Real memory somewhere inside of what the leaf names.
      const uint64_t page = Page(100 + level);
      const uint64_t out = page >> shift << shift;
      Map(t, in, out, kS1Rw, level);
      if (level < 3 && !block) {
        ExpectFault(F_TRANSLATION, in);
      } else {
        EXPECT_EQ(100 + level, DmaRead(kSid, in + (page - out)));
      }
      Unmap(t, in, level);
      EXPECT_EQ(0, Run({Op(CMD_TLBI_NH_ALL), Sync()}));
    }
    if (bits < 48) {
      ExpectFault(F_TRANSLATION, top);
    }
  }
}

TEST_F(WalkTest, TheUpperHalfHasTablesOfItsOwn) {
  Start();
  Up();
  Table lo = NewTable(), hi = NewTable();
  CD cd = S1(lo);
  CD::EPD1::set(cd, 0);
  CD::T1SZ::set(cd, 16);
  CD::TG1::set(cd, 2);
  cd.word[2] |= hi.root;
  UseS1(cd);
  Map(lo, 0x5000, Page(1), kS1Rw);
  Map(hi, 0x5000, Page(2), kS1Rw);
  EXPECT_EQ(1u, DmaRead(kSid, 0x5000));
  EXPECT_EQ(2u, DmaRead(kSid, 0xffff000000005000));
  ExpectFault(F_TRANSLATION, 0x0001000000005000);
  ExpectFault(F_TRANSLATION, 0xfffe000000005000);
  // The top byte is part of the address unless it is to be ignored.
  ExpectFault(F_TRANSLATION, 0x5500000000005000);
  CD::TBI0::set(cd, 1);
  UseS1(cd);
  EXPECT_EQ(1u, DmaRead(kSid, 0x5500000000005000));
  CD::EPD0::set(cd, 1);
  UseS1(cd);
  ExpectFault(F_TRANSLATION, 0x5000);
}

TEST_F(WalkTest, Stage2Formats) {
  Start();
  Up();
  struct {
    unsigned granule, tg, t0sz, sl0, start;
  } const formats[] = {
      {12, 0, 16, 2, 0}, {12, 0, 24, 1, 1}, {12, 0, 21, 1, 1},
      {12, 0, 25, 1, 1}, {12, 0, 34, 0, 2}, {12, 0, 30, 0, 2},
      {14, 2, 16, 2, 1}, {14, 2, 24, 1, 2}, {14, 2, 28, 1, 2},
      {16, 1, 16, 2, 1}, {16, 1, 24, 1, 2}, {16, 1, 35, 0, 3},
  };
  for (auto& f : formats) {
    SCOPED_TRACE(testing::Message() << "granule " << f.granule << " t0sz "
                                    << f.t0sz << " start " << f.start);
    const unsigned bits = 64 - f.t0sz;
    const unsigned stride = f.granule - 3;
    const unsigned shift = f.granule + (3 - f.start) * stride;
    // Up to 16 tables side by side.
    const unsigned more = bits - shift > stride ? bits - shift - stride : 0;
    Table t = NewTable(f.granule, f.start, more);
    STE ste = S2(t);
    STE::S2TG::set(ste, f.tg);
    STE::S2T0SZ::set(ste, f.t0sz);
    STE::S2SL0::set(ste, f.sl0);
    UseS2(ste);
    const uint64_t last = (1ull << bits) - (1ull << f.granule);
    uint64_t page = Page(7);
    const uint64_t out = page >> f.granule << f.granule;
    Map(t, last, out, kS2Rw);
    EXPECT_EQ(7u, DmaRead(kSid, last + (page - out)));
    EXPECT_TRUE(DmaWrite(kSid, last + (page - out) + 8, 5));
    EXPECT_EQ(5u, Load(page + 8));
    if (bits < 48) {
      ExpectFault(F_TRANSLATION, 1ull << bits, false, 1, 1ull << bits);
    }
  }
}

TEST_F(WalkTest, Stage2Blocks) {
  Start();
  Up();
  Table t = NewTable(12, 1, 1);
  UseS2(S2(t));
  uint64_t page = Page(7);
  Map(t, 0x40000000, page & ~0x3fffffffull, kS2Rw, 1);
  EXPECT_EQ(7u, DmaRead(kSid, 0x40000000 + (page & 0x3fffffff)));
  Map(t, 0x80000000, page & ~0x1fffffull, kS2Rw, 2);
  EXPECT_EQ(7u, DmaRead(kSid, 0x80000000 + (page & 0x1fffff)));
}

// ---- descriptors that say no ----

TEST_F(WalkTest, Stage1Permissions) {
  Start();
  Up();
  Table t = NewTable();
  UseS1(S1(t));
  uint64_t page = Page(1);
  Map(t, 0x1000, page, kS1Ro);
  Map(t, 0x2000, page, kAf | kNg);  // privileged only
  Map(t, 0x3000, page, kS1Rw & ~kAf);
  Map(t, 0x4000, 1ull << 47 | 0x1000, kS1Rw);
  EXPECT_EQ(1u, DmaRead(kSid, 0x1000));
  ExpectFault(F_PERMISSION, 0x1000, true);
  ExpectFault(F_PERMISSION, 0x2000);
  hw_txn txn = Txn(kSid, 0x2000, true);
  txn.priv = true;
  uint64_t word = 1;
  EXPECT_EQ(HW_TXN_OK, Dma(txn, &word));
  ExpectFault(F_PERMISSION, 0x2000);  // from what is kept, too
  ExpectFault(F_ACCESS, 0x3000);
  ExpectFault(F_TRANSLATION, 0x5000);
  // Output beyond IPS.
  CD cd = S1(t);
  CD::IPS::set(cd, 2);
  UseS1(cd);
  ExpectFault(F_ADDR_SIZE, 0x4000);
  // Access flag faults switched off.
  CD::AFFD::set(cd, 1);
  UseS1(cd);
  EXPECT_EQ(1u, DmaRead(kSid, 0x3000));
}

TEST_F(WalkTest, TablesNarrowWhatIsBelow) {
  Start();
  Up();
  Table t = NewTable();
  UseS1(S1(t));
  Map(t, 0x1000, Page(1), kS1Rw);
  uint64_t level2 = Descriptor(t, 0x1000, 2);
  Store(level2, Load(level2) | 1ull << 62);  // read only
  EXPECT_EQ(1u, DmaRead(kSid, 0x1000));
  ExpectFault(F_PERMISSION, 0x1000, true);
  Store(level2, (Load(level2) & ~(1ull << 62)) | 1ull << 61);
  EXPECT_EQ(0, Run({Op(CMD_TLBI_NH_ALL), Sync()}));
  ExpectFault(F_PERMISSION, 0x1000);
}

TEST_F(WalkTest, Stage2Permissions) {
  Start();
  Up();
  Table t = NewTable(12, 1, 1);
  UseS2(S2(t));
  uint64_t page = Page(1);
  Map(t, 0x1000, page, kS2Ro);
  Map(t, 0x2000, page, kS2Rw & ~(1ull << 6));
  Map(t, 0x3000, page, kS2Rw & ~kAf);
  EXPECT_EQ(1u, DmaRead(kSid, 0x1000));
  ExpectFault(F_PERMISSION, 0x1000, true, 1, 0x1000);
  EXPECT_TRUE(DmaWrite(kSid, 0x2000, 1));
  ExpectFault(F_PERMISSION, 0x2000, false, 1, 0x2000);
  ExpectFault(F_ACCESS, 0x3000, false, 1, 0x3000);
  ExpectFault(F_TRANSLATION, 0x4008, false, 1, 0x4000);
  STE ste = S2(t);
  STE::S2AFFD::set(ste, 1);
  UseS2(ste);
  EXPECT_EQ(1u, DmaRead(kSid, 0x3000));
  // Not recorded when the STE says so.
  STE::S2R::set(ste, 0);
  UseS2(ste);
  EXPECT_EQ(~0ull, DmaRead(kSid, 0x4000));
  EXPECT_EQ(0, NextEventId());
}

TEST_F(WalkTest, FaultsOfAContextAreRecordedWhenItSaysSo) {
  Start();
  Up();
  Table t = NewTable();
  CD cd = S1(t);
  CD::R::set(cd, 0);
  UseS1(cd);
  EXPECT_EQ(~0ull, DmaRead(kSid, 0x1000));
  EXPECT_EQ(0, NextEventId());
}

TEST_F(WalkTest, TablesNowhere) {
  Start();
  Up();
  Table t = NewTable();
  Store(Descriptor(t, 0, 0), 0x4000 | 3);
  UseS1(S1(t));
  EVT evt = Fault(0x1000);
  EXPECT_EQ(F_WALK_EABT, EVT::ID::get(evt));
  EXPECT_EQ(0x4000u, EVT::FETCH_ADDR::get_raw(evt));
  EXPECT_EQ(0u, EVT::S2::get(evt));
  Table t2 = NewTable(12, 1, 1);
  Store(Descriptor(t2, 0, 1), 0x5000 | 3);
  UseS2(S2(t2));
  evt = Fault(0x1000);
  EXPECT_EQ(F_WALK_EABT, EVT::ID::get(evt));
  EXPECT_EQ(1u, EVT::S2::get(evt));
}

// ---- dirty state ----

TEST_F(WalkTest, Stage1DirtyState) {
  Start();
  Up();
  Table t = NewTable();
  CD cd = S1(t);
  CD::HA::set(cd, 1);
  CD::HD::set(cd, 1);
  UseS1(cd);
  uint64_t page = Page(1);
  Map(t, 0x1000, page, (kS1Ro | kDbm) & ~kAf);
  uint64_t desc = Descriptor(t, 0x1000, 3);
  EXPECT_EQ(1u, DmaRead(kSid, 0x1000));
  EXPECT_EQ(page | kS1Ro | kDbm | 3, Load(desc));
  // What is kept says clean, so the first write looks again.
  EXPECT_TRUE(DmaWrite(kSid, 0x1000, 2));
  EXPECT_EQ(page | kS1Rw | kDbm | 3, Load(desc));
  // Without DBM read only is read only.
  Map(t, 0x2000, page, kS1Ro);
  ExpectFault(F_PERMISSION, 0x2000, true);
  EXPECT_EQ(page | kS1Ro | 3, Load(Descriptor(t, 0x2000, 3)));
}

TEST_F(WalkTest, Stage2DirtyState) {
  Start();
  Up();
  Table t = NewTable(12, 1, 1);
  STE ste = S2(t);
  STE::S2HA::set(ste, 1);
  STE::S2HD::set(ste, 1);
  UseS2(ste);
  uint64_t page = Page(1);
  Map(t, 0x1000, page, (kS2Ro | kDbm) & ~kAf);
  uint64_t desc = Descriptor(t, 0x1000, 3);
  EXPECT_EQ(1u, DmaRead(kSid, 0x1000));
  EXPECT_EQ(page | kS2Ro | kDbm | 3, Load(desc));
  EXPECT_TRUE(DmaWrite(kSid, 0x1000, 2));
  EXPECT_EQ(page | kS2Rw | kDbm | 3, Load(desc));
}

// ---- both stages ----

class NestedTest : public WalkTest {
 protected:
  // A guest whose memory at 0x40000000 is ours at the addresses of RAM: the
  // tables and contexts that it makes are named by IPA.
  static constexpr uint64_t kOffset = 0x40000000ull - RAM_PHYS_BASE;

  void Nest() {
    Start();
    Up();
    s2_ = NewTable(12, 1, 1);
    // All of RAM, in 2M blocks.
    for (uint64_t i = 0; i < 16; ++i)
      Map(s2_, 0x40000000 + (i << 21), RAM_PHYS_BASE + (i << 21), kS2Rw, 2);
    s1_ = NewTable(12, 0, 0, kOffset);
    cds_ = Alloc();
    StoreFormat(cds_, S1(s1_));
    Renest();
  }
  void Renest() {
    STE ste = Ste(STE_CONFIG_NESTED);
    WithS1(ste, cds_ + kOffset);
    SetSte(kSid, WithS2(ste, s2_.root, 5));
    EXPECT_EQ(0, Run({Op(CMD_TLBI_NSNH_ALL), Sync()}));
  }
  Table s1_, s2_;
};

TEST_F(NestedTest, BothStagesTranslate) {
  Nest();
  uint64_t page = Page(11);
  Map(s1_, 0x7000, page + kOffset, kS1Rw);
  EXPECT_EQ(11u, DmaRead(kSid, 0x7000));
  EXPECT_TRUE(DmaWrite(kSid, 0x7008, 12));
  EXPECT_EQ(12u, Load(page + 8));
  // A block of stage 1 over blocks of stage 2.
  Map(s1_, 0x80000000, (page + kOffset) & ~0x3fffffffull, kS1Rw, 1);
  EXPECT_EQ(11u, DmaRead(kSid, 0x80000000 + ((page + kOffset) & 0x3fffffff)));
}

TEST_F(NestedTest, AFaultSaysWhichStage) {
  Nest();
  ExpectFault(F_TRANSLATION, 0x1000);
  Map(s1_, 0x1000, 0x123000, kS1Rw);  // no such IPA
  ExpectFault(F_TRANSLATION, 0x1008, true, 1, 0x123000);
  uint64_t page = Page(1);
  Map(s2_, 0x200000, page, kS2Ro);
  Map(s1_, 0x2000, 0x200000, kS1Rw);
  EXPECT_EQ(1u, DmaRead(kSid, 0x2000));
  ExpectFault(F_PERMISSION, 0x2000, true, 1, 0x200000);
  Map(s1_, 0x3000, 0x200000, kS1Ro);
  ExpectFault(F_PERMISSION, 0x3000, true);  // stage 1 says it first
}

TEST_F(NestedTest, TablesOfStage1AreInStage2) {
  Nest();
  // A table that the guest may not have.
  Store(Descriptor(s1_, 0x1000, 0), 0x345000 | 3);
  ExpectFault(F_TRANSLATION, 0x1000, false, 1, 0x345000, CLASS_TT);
  // Device memory, when tables there are protected.
  Map(s2_, 0x345000, Page(0), (kS2Rw & ~(0xfull << 2)) | 1 << 2);
  STE ste = Ste(STE_CONFIG_NESTED);
  WithS1(ste, cds_ + kOffset);
  WithS2(ste, s2_.root, 5);
  STE::S2PTW::set(ste, 1);
  UseS2(ste);
  ExpectFault(F_PERMISSION, 0x1000, false, 1, 0x345000, CLASS_TT);
  // The same when the translation is known already, for data.
  Map(s1_, 0x8000000000, 0x345000, kS1Rw);
  EXPECT_EQ(0u, DmaRead(kSid, 0x8000000000));
  ExpectFault(F_PERMISSION, 0x1000, false, 1, 0x345000, CLASS_TT);
}

TEST_F(NestedTest, DirtyStateOfStage2) {
  Nest();
  uint64_t page = Page(1);
  Map(s2_, 0x600000, page, kS2Ro | kDbm);
  Map(s1_, 0x1000, 0x600000, kS1Rw);
  STE ste = Ste(STE_CONFIG_NESTED);
  WithS1(ste, cds_ + kOffset);
  WithS2(ste, s2_.root, 5);
  STE::S2HA::set(ste, 1);
  STE::S2HD::set(ste, 1);
  UseS2(ste);
  EXPECT_EQ(1u, DmaRead(kSid, 0x1000));
  EXPECT_EQ(page | kS2Ro | kDbm | 3, Load(Descriptor(s2_, 0x600000, 3)));
  EXPECT_TRUE(DmaWrite(kSid, 0x1000, 2));
  EXPECT_EQ(page | kS2Rw | kDbm | 3, Load(Descriptor(s2_, 0x600000, 3)));
}

TEST_F(NestedTest, ContextsAreInStage2) {
  Nest();
  STE ste = Ste(STE_CONFIG_NESTED);
  WithS1(ste, 0x456000);
  SetSte(kSid, WithS2(ste, s2_.root, 5));
  ExpectFault(F_TRANSLATION, 0x1000, false, 1, 0x456000, CLASS_CD);
}

TEST_F(NestedTest, DirtyStateNeedsAWritableTable) {
  Nest();
  CD cd = S1(s1_);
  CD::HA::set(cd, 1);
  StoreFormat(cds_, cd);
  uint64_t page = Page(1);
  Map(s1_, 0x1000, page + kOffset, kS1Rw & ~kAf);
  uint64_t table = Descriptor(s1_, 0x1000, 3);
  // The last table, by a page of its own that is read only.
  Map(s2_, 0x600000, table & PAGE_MASK, kS2Ro);
  Store(Descriptor(s1_, 0x1000, 2), 0x600000 | 3);
  Renest();
  ExpectFault(F_PERMISSION, 0x1000, false, 1, 0x600008 & ~0xfffull, CLASS_TT);
  EXPECT_EQ(page + kOffset, Load(table) & 0xfffffffff000);
  EXPECT_EQ(0u, Load(table) & kAf);
  Map(s2_, 0x600000, table & PAGE_MASK, kS2Rw);
  Renest();
  EXPECT_EQ(1u, DmaRead(kSid, 0x1000));
  EXPECT_EQ(kAf, Load(table) & kAf);
}

// ---- stalls, ATS and page requests, with the test device ----

class DeviceTest : public NestedTest {
 protected:
  static constexpr uint64_t kBar = 0x30000000;
  using D = dma_testdev_regs;

  ~DeviceTest() override { dma_testdev_destroy(dev_); }
  void Plug() {
    dma_testdev_config config;
    config.phys = kBar;
    config.sid = kSid;
    result<dma_testdev*> dev = dma_testdev_create(smmu_, &config);
    ASSERT_TRUE(bool(dev));
    dev_ = *dev;
  }
  template <class R>
  void SetDev(uint64_t raw) {
    R r;
    Write(kBar + R::offset, raw, sizeof(r.raw));
  }
  template <class R>
  uint64_t GetDev() {
    R r;
    return Read(kBar + R::offset, sizeof(r.raw));
  }
  uint64_t Go(uint32_t control, uint64_t iova, uint32_t len = 8) {
    SetDev<D::IOVA>(iova);
    SetDev<D::LENGTH>(len);
    SetDev<D::CONTROL>(control);
    return GetDev<D::STATUS>();
  }
  uint64_t Word() { return Read(kBar + D::buffer, 8); }
  static constexpr uint32_t kRead = DMA_TESTDEV_READ;
  static constexpr uint32_t kWrite = DMA_TESTDEV_WRITE;
  static constexpr uint32_t kAtc = D::CONTROL::ATC::mask;
  CMD Resume(uint32_t stag, unsigned resp) {
    CMD cmd = Op(CMD_RESUME);
    CMD::SID::set(cmd, kSid);
    CMD::RESUME_STAG::set(cmd, stag);
    CMD::RESUME_RESP::set(cmd, resp);
    return cmd;
  }
  dma_testdev* dev_ = nullptr;
};

TEST_F(DeviceTest, ItsRegisters) {
  Nest();
  Plug();
  EXPECT_EQ(D::ID::value, GetDev<D::ID>());
  for (uint32_t off : {0x0, 0x8, 0x1c, 0x28, 0x30})
    EXPECT_TRUE(WriteFails(kBar + off)) << off;
  EXPECT_TRUE(ReadFails(kBar + 0x30));
  Write(kBar + D::buffer + 0xff8, 77, 8);
  EXPECT_EQ(77u, Read(kBar + D::buffer + 0xff8, 8));
  for (uint32_t len : {0u, 4097u}) {
    EXPECT_EQ(DMA_TESTDEV_INVALID, Go(kRead, 0x7000, len));
  }
  EXPECT_EQ(DMA_TESTDEV_INVALID, Go(0, 0x7000));
  EXPECT_EQ(DMA_TESTDEV_INVALID, Go(4, 0x7000));
  SetDev<D::PASID>(~0u);
  EXPECT_EQ(0xfffffu, GetDev<D::PASID>());
  dma_testdev_reset(dev_);
  EXPECT_EQ(DMA_TESTDEV_IDLE, GetDev<D::STATUS>());
  EXPECT_EQ(0u, GetDev<D::PASID>());
  EXPECT_EQ(0u, Read(kBar + D::buffer + 0xff8, 8));
  dma_testdev_config config;
  config.phys = kBar + 0x10000;
  config.sid = kSid;
  EXPECT_EQ(-EBUSY, dma_testdev_create(smmu_, &config).error());
  config.sid = 1 << 16;
  EXPECT_EQ(-EINVAL, dma_testdev_create(smmu_, &config).error());
  config.sid = 1;
  config.phys = kBar;
  EXPECT_EQ(-EBUSY, dma_testdev_create(smmu_, &config).error());
}

TEST_F(DeviceTest, ReadsAndWrites) {
  Nest();
  Plug();
  uint64_t a = Page(1), b = Page(2);
  Map(s1_, 0x7000, a + kOffset, kS1Rw);
  Map(s1_, 0x8000, b + kOffset, kS1Rw);
  EXPECT_EQ(DMA_TESTDEV_OK, Go(kRead, 0x7000));
  EXPECT_EQ(1u, Word());
  Write(kBar + D::buffer, 99, 8);
  EXPECT_EQ(DMA_TESTDEV_OK, Go(kWrite, 0x8010));
  EXPECT_EQ(99u, Load(b + 0x10));
  EXPECT_EQ(8u, GetDev<D::DONE>());
  // The second page is missing: the first was written.
  Unmap(s1_, 0x8000);
  EXPECT_EQ(0, Run({Op(CMD_TLBI_NSNH_ALL), Sync()}));
  EXPECT_EQ(DMA_TESTDEV_ABORTED, Go(kWrite, 0x7800, 4096));
  EXPECT_EQ(0x800u, GetDev<D::DONE>());
  EXPECT_EQ(F_TRANSLATION, NextEventId());
  Map(s1_, 0x9000, 0x700000, kS1Rw);
  Map(s2_, 0x700000, 0x9000, kS2Rw);
  EXPECT_EQ(DMA_TESTDEV_BUS, Go(kRead, 0x9000));
}

TEST_F(DeviceTest, AStallWaitsForResume) {
  Nest();
  Plug();
  CD cd = S1(s1_);
  CD::S::set(cd, 1);
  StoreFormat(cds_, cd);
  Renest();
  EXPECT_EQ(DMA_TESTDEV_BUSY, Go(kRead, 0x7000));
  EVT evt = NextEvent();
  EXPECT_EQ(F_TRANSLATION, EVT::ID::get(evt));
  EXPECT_EQ(1u, EVT::STALL::get(evt));
  const uint32_t stag = static_cast<uint32_t>(EVT::STAG::get(evt));
  // Busy: nothing starts, nothing changes.
  EXPECT_EQ(DMA_TESTDEV_BUSY, Go(kRead, 0x9000));
  EXPECT_EQ(0x7000u, GetDev<D::IOVA>());
  EXPECT_EQ(0, NextEventId());
  // An answer to another one, or of another stream, is none.
  CMD other = Resume(stag, RESUME_RETRY);
  CMD::SID::set(other, kSid + 1);
  EXPECT_EQ(0, Run({Resume(stag + 1, RESUME_RETRY), other, Resume(999, 0)}));
  EXPECT_EQ(DMA_TESTDEV_BUSY, GetDev<D::STATUS>());
  Map(s1_, 0x7000, Page(5) + kOffset, kS1Rw);
  EXPECT_EQ(0, Run({Resume(stag, RESUME_RETRY), Sync()}));
  EXPECT_EQ(DMA_TESTDEV_OK, GetDev<D::STATUS>());
  EXPECT_EQ(5u, Word());
  for (unsigned resp : {RESUME_TERM, RESUME_ABORT}) {
    EXPECT_EQ(DMA_TESTDEV_BUSY, Go(kRead, 0x9000));
    evt = NextEvent();
    EXPECT_EQ(0,
              Run({Resume(static_cast<uint32_t>(EVT::STAG::get(evt)), resp)}));
    EXPECT_EQ(DMA_TESTDEV_ABORTED, GetDev<D::STATUS>());
  }
  // Not when the STE switches it off.
  STE ste = LoadFormat<STE>(strtab_ + 64 * kSid);
  STE::S1STALLD::set(ste, 1);
  SetSte(kSid, ste);
  EXPECT_EQ(DMA_TESTDEV_ABORTED, Go(kRead, 0x9000));
  EXPECT_EQ(0u, EVT::STALL::get(NextEvent()));
}

TEST_F(DeviceTest, AnUnplugForgetsTheStall) {
  Nest();
  Plug();
  CD cd = S1(s1_);
  CD::S::set(cd, 1);
  StoreFormat(cds_, cd);
  Renest();
  EXPECT_EQ(DMA_TESTDEV_BUSY, Go(kRead, 0x7000));
  dma_testdev_destroy(dev_);
  dev_ = nullptr;
  EXPECT_EQ(0, Run({Resume(0, RESUME_RETRY), Sync()}));
}

TEST_F(DeviceTest, TheAtcHoldsTranslationsUntilInvalidated) {
  Nest();
  Plug();
  uint64_t a = Page(1), b = Page(2);
  Map(s1_, 0x7000, a + kOffset, kS1Rw);
  EXPECT_EQ(DMA_TESTDEV_OK, Go(kRead | kAtc, 0x7000));
  EXPECT_EQ(1u, Word());
  EXPECT_EQ(1u, GetDev<D::ATC_ENTRIES>());
  Map(s1_, 0x7000, b + kOffset, kS1Rw);
  // The SMMU forgets; the device does not.
  EXPECT_EQ(0, Run({Op(CMD_TLBI_NSNH_ALL), Sync()}));
  EXPECT_EQ(DMA_TESTDEV_OK, Go(kRead | kAtc, 0x7000));
  EXPECT_EQ(1u, Word());
  // Another page, another stream, another substream.
  CMD substream = AtcInv(kSid, 0, 52);
  CMD::SSV::set(substream, 1);
  EXPECT_EQ(0, Run({AtcInv(kSid, 0x8000, 0), AtcInv(kSid + 1, 0, 52), substream,
                    Sync()}));
  EXPECT_EQ(DMA_TESTDEV_OK, Go(kRead | kAtc, 0x7000));
  EXPECT_EQ(1u, Word());
  EXPECT_EQ(0, Run({AtcInv(kSid, 0x7000, 0), Sync()}));
  EXPECT_EQ(0u, GetDev<D::ATC_ENTRIES>());
  EXPECT_EQ(DMA_TESTDEV_OK, Go(kRead | kAtc, 0x7000));
  EXPECT_EQ(2u, Word());
}

TEST_F(DeviceTest, AtcInvalidationsOfSubstreams) {
  Nest();
  Plug();
  STE ste = LoadFormat<STE>(strtab_ + 64 * kSid);
  STE::S1CDMAX::set(ste, 2);
  STE::S1DSS::set(ste, STE_S1DSS_SSID0);
  StoreFormat(cds_ + 64, S1(s1_, 8));
  StoreFormat(cds_ + 128, S1(s1_, 9));
  SetSte(kSid, ste);
  Map(s1_, 0x7000, Page(1) + kOffset, kS1Rw);
  auto fill = [&] {
    for (uint32_t ssid : {1, 2}) {
      SetDev<D::PASID>(ssid);
      EXPECT_EQ(DMA_TESTDEV_OK,
                Go(kRead | kAtc | D::CONTROL::SSV::mask, 0x7000));
    }
    EXPECT_EQ(DMA_TESTDEV_OK, Go(kRead | kAtc, 0x7000));
    EXPECT_EQ(3u, GetDev<D::ATC_ENTRIES>());
  };
  CMD inv = AtcInv(kSid, 0x7000, 0);
  fill();
  EXPECT_EQ(0, Run({inv, Sync()}));
  EXPECT_EQ(2u, GetDev<D::ATC_ENTRIES>());
  CMD::SSV::set(inv, 1);
  CMD::SSID::set(inv, 2);
  EXPECT_EQ(0, Run({inv, Sync()}));
  EXPECT_EQ(1u, GetDev<D::ATC_ENTRIES>());
  fill();
  CMD::ATC_GLOBAL::set(inv, 1);
  EXPECT_EQ(0, Run({inv, Sync()}));
  EXPECT_EQ(0u, GetDev<D::ATC_ENTRIES>());
}

TEST_F(DeviceTest, AtsNeedsTheStesLeave) {
  Nest();
  Plug();
  uint64_t page = Page(1);
  Map(s1_, 0x7000, page + kOffset, kS1Rw);
  STE ste = LoadFormat<STE>(strtab_ + 64 * kSid);
  // A fault of a request is an answer, no event.
  EXPECT_EQ(DMA_TESTDEV_ABORTED, Go(kRead | kAtc, 0x9000));
  EXPECT_EQ(0, NextEventId());
  EXPECT_EQ(DMA_TESTDEV_OK, Go(kRead | kAtc, 0x7000));
  STE::EATS::set(ste, STE_EATS_ABT);
  SetSte(kSid, ste);
  // What the device holds is of no use to it any more.
  EXPECT_EQ(DMA_TESTDEV_ABORTED, Go(kRead | kAtc, 0x7000));
  EVT evt = NextEvent();
  EXPECT_EQ(F_TRANSL_FORBIDDEN, EVT::ID::get(evt));
  EXPECT_EQ(page, EVT::INPUT_ADDR::get(evt));
  EXPECT_EQ(DMA_TESTDEV_ABORTED, Go(kRead | kAtc, 0x8000));
  EXPECT_EQ(F_BAD_ATS_TREQ, NextEventId());
  // Nobody checks when ATSCHK is off.
  Set<Regs::CR0>(0xd);
  EXPECT_EQ(DMA_TESTDEV_OK, Go(kRead | kAtc, 0x7000));
}

TEST_F(DeviceTest, AnAtcThatIsReadOnlyAsksAgainToWrite) {
  Nest();
  Plug();
  uint64_t page = Page(1);
  Map(s1_, 0x7000, page + kOffset, kS1Ro);
  EXPECT_EQ(DMA_TESTDEV_OK, Go(kRead | kAtc, 0x7000));
  EXPECT_EQ(DMA_TESTDEV_ABORTED, Go(kWrite | kAtc, 0x7000));
  Map(s1_, 0x7000, page + kOffset, kS1Rw);
  EXPECT_EQ(0, Run({Op(CMD_TLBI_NSNH_ALL), Sync()}));
  EXPECT_EQ(DMA_TESTDEV_OK, Go(kWrite | kAtc, 0x7000));
  EXPECT_EQ(1u, GetDev<D::ATC_ENTRIES>());
}

TEST_F(DeviceTest, ADeafAtcTimesOut) {
  Nest();
  Plug();
  SetDev<D::QUIRKS>(D::QUIRKS::ATC_DEAF::mask);
  EXPECT_EQ(CERROR_ATC_INV_SYNC, Run({AtcInv(kSid, 0, 52), Sync()}));
  AckGlobalErrors();
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(0u, GlobalErrors());
  EXPECT_EQ(Get<Regs::CMDQ_PROD>().raw,
            Regs::CMDQ_CONS::RD::get(Get<Regs::CMDQ_CONS>()));
}

TEST_F(DeviceTest, PageRequestsAreAnswered) {
  config_.pri = true;
  Nest();
  Plug();
  EXPECT_EQ(DMA_TESTDEV_ABORTED, Go(DMA_TESTDEV_PRI, 0x7000));
  uint64_t priq = Alloc();
  Set<Regs::PRIQ_BASE>(priq | 4);
  Set<Regs::CR0>(Get<Regs::CR0>().raw | Regs::CR0::PRIQEN::mask);
  SetDev<D::PRI_GRPID>(17);
  EXPECT_EQ(DMA_TESTDEV_OK,
            Go(DMA_TESTDEV_PRI | D::CONTROL::PRI_WRITE::mask, 0x7000));
  PRQ prq = LoadFormat<PRQ>(priq);
  EXPECT_EQ(kSid, PRQ::SID::get(prq));
  EXPECT_EQ(1u, PRQ::WRITE::get(prq));
  EXPECT_EQ(17u, PRQ::GRPID::get(prq));
  CMD resp = Op(CMD_PRI_RESP);
  CMD::SID::set(resp, kSid);
  CMD::PRI_RESP::set(resp, 2);
  CMD::PRI_GRPID::set(resp, 16);
  EXPECT_EQ(0, Run({resp}));
  EXPECT_EQ(0u, GetDev<D::PRI_RESPONSE>());
  CMD::PRI_GRPID::set(resp, 17);
  EXPECT_EQ(0, Run({resp}));
  EXPECT_EQ(1u << 31 | 2, GetDev<D::PRI_RESPONSE>());
}

}  // namespace
}  // namespace hw_test
