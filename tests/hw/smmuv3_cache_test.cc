// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the SMMUv3 model keeps, and what makes it forget: after each
// invalidation command what it names is seen anew, and nothing else is. The
// same through the SMMU's queue and through a VCMDQ.

#include <functional>
#include <map>
#include <set>

#include "tests/hw/hw_fixture.h"

namespace hw_test {
namespace {

// Streams of the kinds that tag their translations differently. Each has two
// pages: at 0x7000, and at 0x8000, which stage 1 maps as global.
enum Stream {
  kA,    // nested, VMID 5, ASID 3
  kB,    // nested, VMID 5, ASID 4
  kC,    // nested, VMID 6, ASID 3
  kD,    // stage 2 only, VMID 5
  kE,    // stage 2 only, VMID 6
  kEl2,  // stage 1 only, EL2, ASID 3
  kEl1,  // stage 1 only, VMID 0, ASID 3
  kStreams
};
constexpr const char* kNames[] = {"A", "B", "C", "D", "E", "El2", "El1"};

class CacheTest : public CmdqvFixture {
 protected:
  static constexpr uint64_t kOffset = 0x40000000ull - RAM_PHYS_BASE;
  static constexpr uint32_t Sid(Stream s) { return 16 + s; }

  void SetUp() override {
    Start(true);
    Up();
    for (int s = 0; s < kStreams; ++s) {
      const bool nested = s <= kC;
      const bool s2_only = s == kD || s == kE;
      const unsigned vmid = s == kA || s == kB || s == kD ? 5 : 6;
      STE ste = Ste(nested    ? STE_CONFIG_NESTED
                    : s2_only ? STE_CONFIG_S2
                              : STE_CONFIG_S1);
      if (nested || s2_only) {
        // Streams of one VMID have one stage 2.
        Table& s2 = s2_[vmid];
        if (!s2.root) {
          s2 = NewTable(12, 1, 1);
          for (uint64_t i = 0; i < 16; ++i)
            Map(s2, 0x40000000 + (i << 21), RAM_PHYS_BASE + (i << 21), kS2Rw,
                2);
        }
        WithS2(ste, s2.root, vmid);
      }
      if (!s2_only) {
        const uint64_t offset = nested ? kOffset : 0;
        s1_[s] = NewTable(12, 0, 0, offset);
        cds_[s] = Alloc();
        StoreFormat(cds_[s], Cd(s1_[s].root, s == kB ? 4 : 3));
        WithS1(ste, cds_[s] + offset);
        if (s == kEl2) STE::STRW::set(ste, STE_STRW_EL2);
      }
      SetSte(Sid(static_cast<Stream>(s)), ste);
      for (int page = 0; page < 2; ++page)
        for (int turn = 0; turn < 2; ++turn)
          pages_[s][page][turn] = Page(Value(s, page, turn));
    }
  }

  // Global translations are one for A and B, which share a VMID, so they say
  // the same.
  static uint64_t Value(int s, int page, int turn) {
    if (s == kB && page == 1) s = kA;
    return 1000 + 100 * s + 10 * page + turn;
  }
  static uint64_t Va(int page) { return 0x7000 + 0x1000 * page; }

  // Lets both pages of every stream be page @turn of memory.
  void MapAll(int turn) {
    for (int s = 0; s < kStreams; ++s) {
      for (int page = 0; page < 2; ++page) {
        const uint64_t out = pages_[s][page][turn];
        if (s == kD || s == kE)
          Map(s2_[s == kD ? 5 : 6], Va(page), out, kS2Rw);
        else
          Map(s1_[s], Va(page), out + (s <= kC ? kOffset : 0),
              page ? kS1Rw & ~kNg : kS1Rw);
      }
    }
  }

  std::set<std::string> Fresh(int turn) {
    std::set<std::string> fresh;
    for (int s = 0; s < kStreams; ++s) {
      for (int page = 0; page < 2; ++page) {
        const uint64_t got = DmaRead(Sid(static_cast<Stream>(s)), Va(page));
        const std::string name = std::string(kNames[s]) + (page ? "8" : "7");
        if (got == Value(s, page, turn))
          fresh.insert(name);
        else
          EXPECT_EQ(Value(s, page, 1 - turn), got) << name;
      }
    }
    return fresh;
  }

  // What @run makes the SMMU look at again.
  std::set<std::string> Refreshed(const std::function<void()>& run) {
    MapAll(0);
    EXPECT_EQ(0, Run({Op(CMD_TLBI_NSNH_ALL), Op(CMD_TLBI_EL2_ALL), Sync()}));
    EXPECT_EQ(14u, Fresh(0).size());
    MapAll(1);
    EXPECT_EQ(0u, Fresh(1).size());
    run();
    return Fresh(1);
  }
  std::set<std::string> Refreshed(CMD cmd) {
    return Refreshed([&] { EXPECT_EQ(0, Run({cmd, Sync()})); });
  }
  using Set_ = std::set<std::string>;

  std::map<unsigned, Table> s2_;
  Table s1_[kStreams];
  uint64_t cds_[kStreams] = {};
  uint64_t pages_[kStreams][2][2] = {};
};

TEST_F(CacheTest, EachCommandForgetsWhatItNames) {
  EXPECT_EQ(Set_(), Refreshed(Sync()));
  EXPECT_EQ(Set_({"A7", "A8", "B7", "B8"}),
            Refreshed(Tlbi(CMD_TLBI_NH_ALL, 5)));
  EXPECT_EQ(Set_({"El17", "El18"}), Refreshed(Tlbi(CMD_TLBI_NH_ALL, 0)));
  EXPECT_EQ(Set_(), Refreshed(Tlbi(CMD_TLBI_NH_ALL, 7)));
  EXPECT_EQ(Set_({"A7"}), Refreshed(Tlbi(CMD_TLBI_NH_ASID, 5, 3)));
  EXPECT_EQ(Set_({"B7"}), Refreshed(Tlbi(CMD_TLBI_NH_ASID, 5, 4)));
  EXPECT_EQ(Set_({"C7"}), Refreshed(Tlbi(CMD_TLBI_NH_ASID, 6, 3)));
  EXPECT_EQ(Set_(), Refreshed(Tlbi(CMD_TLBI_NH_ASID, 5, 5)));
  EXPECT_EQ(Set_({"A7"}), Refreshed(Tlbi(CMD_TLBI_NH_VA, 5, 3, 0x7000)));
  EXPECT_EQ(Set_(), Refreshed(Tlbi(CMD_TLBI_NH_VA, 5, 3, 0x9000)));
  // Global ones go whatever the ASID is.
  EXPECT_EQ(Set_({"A8", "B8"}), Refreshed(Tlbi(CMD_TLBI_NH_VA, 5, 9, 0x8000)));
  EXPECT_EQ(Set_({"A7", "B7"}), Refreshed(Tlbi(CMD_TLBI_NH_VAA, 5, 0, 0x7000)));
  EXPECT_EQ(Set_({"A7", "A8", "B7", "B8", "D7", "D8"}),
            Refreshed(Tlbi(CMD_TLBI_S12_VMALL, 5)));
  EXPECT_EQ(Set_({"C7", "C8", "E7", "E8"}),
            Refreshed(Tlbi(CMD_TLBI_S12_VMALL, 6)));
  EXPECT_EQ(Set_({"D7"}), Refreshed(Tlbi(CMD_TLBI_S2_IPA, 5, 0, 0x7000)));
  EXPECT_EQ(Set_({"E8"}), Refreshed(Tlbi(CMD_TLBI_S2_IPA, 6, 0, 0x8000)));
  EXPECT_EQ(Set_({"A7", "A8", "B7", "B8", "C7", "C8", "D7", "D8", "E7", "E8",
                  "El17", "El18"}),
            Refreshed(Op(CMD_TLBI_NSNH_ALL)));
  EXPECT_EQ(Set_({"El27", "El28"}), Refreshed(Op(CMD_TLBI_EL2_ALL)));
  EXPECT_EQ(Set_({"El27"}), Refreshed(Tlbi(CMD_TLBI_EL2_ASID, 0, 3)));
  EXPECT_EQ(Set_(), Refreshed(Tlbi(CMD_TLBI_EL2_ASID, 0, 4)));
  EXPECT_EQ(Set_({"El27"}), Refreshed(Tlbi(CMD_TLBI_EL2_VA, 0, 3, 0x7000)));
  EXPECT_EQ(Set_({"El28"}), Refreshed(Tlbi(CMD_TLBI_EL2_VA, 0, 4, 0x8000)));
  EXPECT_EQ(Set_({"El27"}), Refreshed(Tlbi(CMD_TLBI_EL2_VAA, 0, 9, 0x7000)));
  // Configuration is something else.
  EXPECT_EQ(Set_(), Refreshed(CfgiAll()));
}

// The VMID in a guest's command is nobody's business: the VINTF's counts.
TEST_F(CacheTest, AGuestForgetsOnlyItsOwn) {
  EnableCmdqv();
  EnableVintf(1, 5);
  uint64_t ring = StartQueue(1, 0, 3);
  for (unsigned vmid : {0, 5, 6, 0xffff}) {
    EXPECT_EQ(Set_({"A7"}), Refreshed([&] {
                EXPECT_EQ(0, RunOn(1, 0, ring,
                                   {Tlbi(CMD_TLBI_NH_ASID, vmid, 3), Sync()}));
              }));
    EXPECT_EQ(Set_({"B7"}), Refreshed([&] {
                EXPECT_EQ(
                    0, RunOn(1, 0, ring,
                             {Tlbi(CMD_TLBI_NH_VA, vmid, 4, 0x7000), Sync()}));
              }));
  }
  // And what it may not ask for changes nothing.
  for (smmuv3_opcode op :
       {CMD_TLBI_NSNH_ALL, CMD_TLBI_S12_VMALL, CMD_TLBI_NH_ALL,
        CMD_TLBI_EL2_ALL, CMD_CFGI_STE_RANGE}) {
    EXPECT_EQ(Set_(), Refreshed([&] {
                const uint32_t at =
                    static_cast<uint32_t>(Read(ViPage0(1, 0, Q::PROD::offset)));
                EXPECT_EQ(CERROR_ILL, RunOn(1, 0, ring, {Tlbi(op, 5, 3)}));
                StoreFormat(hw_queue_entry(ring, at, kLog2, 4), Sync());
                Ack(1, 0);
                smmuv3_hw_run_until_idle(smmu_);
              }));
  }
}

TEST_F(CacheTest, AHypervisorsQueueNamesTheVmid) {
  EnableCmdqv();
  EnableVintf(0, 0, true);
  uint64_t ring = StartQueue(0, 0, 0);
  EXPECT_EQ(Set_({"A7", "A8", "B7", "B8", "D7", "D8"}), Refreshed([&] {
              EXPECT_EQ(
                  0, RunOn(0, 0, ring, {Tlbi(CMD_TLBI_S12_VMALL, 5), Sync()}));
            }));
}

// Stage 2 changes under a nested stream: two things are kept, and both must go.
TEST_F(CacheTest, NestedStreamsKeepBothStages) {
  const uint64_t ipa = 0x300000;
  const uint64_t a = Page(1), b = Page(2);
  Map(s1_[kA], 0x9000, ipa, kS1Rw);
  Map(s2_[5], ipa, a, kS2Rw);
  EXPECT_EQ(1u, DmaRead(Sid(kA), 0x9000));
  Map(s2_[5], ipa, b, kS2Rw);
  EXPECT_EQ(0, Run({Tlbi(CMD_TLBI_S2_IPA, 5, 0, ipa), Sync()}));
  EXPECT_EQ(1u, DmaRead(Sid(kA), 0x9000));
  EXPECT_EQ(0, Run({Tlbi(CMD_TLBI_NH_VA, 5, 3, 0x9000), Sync()}));
  EXPECT_EQ(2u, DmaRead(Sid(kA), 0x9000));
  // The other way round.
  Map(s2_[5], ipa, a, kS2Rw);
  EXPECT_EQ(0, Run({Tlbi(CMD_TLBI_NH_ALL, 5), Sync()}));
  EXPECT_EQ(2u, DmaRead(Sid(kA), 0x9000));
  EXPECT_EQ(0, Run({Tlbi(CMD_TLBI_S2_IPA, 5, 0, ipa), Tlbi(CMD_TLBI_NH_ALL, 5),
                    Sync()}));
  EXPECT_EQ(1u, DmaRead(Sid(kA), 0x9000));
}

TEST_F(CacheTest, PermissionsAreKeptToo) {
  const uint64_t page = Page(1);
  Map(s1_[kEl1], 0x9000, page, kS1Rw);
  EXPECT_TRUE(DmaWrite(Sid(kEl1), 0x9000, 1));
  Map(s1_[kEl1], 0x9000, page, kS1Ro);
  EXPECT_TRUE(DmaWrite(Sid(kEl1), 0x9000, 1));
  EXPECT_EQ(0, Run({Tlbi(CMD_TLBI_NH_VA, 0, 3, 0x9000), Sync()}));
  EXPECT_FALSE(DmaWrite(Sid(kEl1), 0x9000, 1));
  EXPECT_EQ(1u, DmaRead(Sid(kEl1), 0x9000));
  Unmap(s1_[kEl1], 0x9000);
  EXPECT_EQ(1u, DmaRead(Sid(kEl1), 0x9000));
  EXPECT_EQ(0, Run({Tlbi(CMD_TLBI_NH_VA, 0, 3, 0x9000), Sync()}));
  EXPECT_EQ(~0ull, DmaRead(Sid(kEl1), 0x9000));
  // What is not there is not kept.
  Map(s1_[kEl1], 0x9000, page, kS1Rw);
  EXPECT_EQ(1u, DmaRead(Sid(kEl1), 0x9000));
}

// A command for one address takes the whole leaf, however it was cut up.
TEST_F(CacheTest, BlocksGoAsAWhole) {
  const uint64_t page = Page(1);
  const uint64_t block = page & ~0x1fffffull;
  auto fill = [&] {
    Map(s1_[kEl1], 0x40000000, block, kS1Rw, 2);
    EXPECT_EQ(1u, DmaRead(Sid(kEl1), 0x40000000 + (page - block)));
    Unmap(s1_[kEl1], 0x40000000, 2);
  };
  auto kept = [&] {
    return DmaRead(Sid(kEl1), 0x40000000 + (page - block)) == 1;
  };
  fill();
  EXPECT_EQ(0, Run({Tlbi(CMD_TLBI_NH_VA, 0, 3, 0x40200000), Sync()}));
  EXPECT_TRUE(kept());
  EXPECT_EQ(0, Run({Tlbi(CMD_TLBI_NH_VA, 0, 3, 0x401ff000), Sync()}));
  EXPECT_FALSE(kept());
  // Ranges: 2^scale * (num + 1) pages.
  auto range = [&](uint64_t addr, unsigned num, unsigned scale,
                   unsigned ttl = 0, unsigned tg = 1) {
    CMD cmd = Tlbi(CMD_TLBI_NH_VA, 0, 3, addr);
    CMD::TLBI_TG::set(cmd, tg);
    CMD::TLBI_NUM::set(cmd, num);
    CMD::TLBI_SCALE::set(cmd, scale);
    CMD::TLBI_TTL::set(cmd, ttl);
    return cmd;
  };
  fill();
  EXPECT_EQ(0, Run({range(0x3fffe000, 1, 0), Sync()}));
  EXPECT_TRUE(kept());
  EXPECT_EQ(0, Run({range(0x3fffe000, 2, 0), Sync()}));
  EXPECT_FALSE(kept());
  fill();
  EXPECT_EQ(0, Run({range(0x3f000000, 30, 7), Sync()}));  // 31 * 512K
  EXPECT_TRUE(kept());
  EXPECT_EQ(0, Run({range(0x3f000000, 31, 7), Sync()}));  // 16M
  EXPECT_TRUE(kept());
  EXPECT_EQ(0, Run({range(0x3f000000, 16, 8), Sync()}));  // 17M
  EXPECT_FALSE(kept());
  // A level hint that is wrong misses; so does another granule's.
  fill();
  EXPECT_EQ(0, Run({range(0x40000000, 0, 0, 3), Sync()}));
  EXPECT_TRUE(kept());
  EXPECT_EQ(0, Run({range(0x40000000, 0, 0, 2, 3), Sync()}));
  EXPECT_TRUE(kept());
  EXPECT_EQ(0, Run({range(0x40000000, 0, 0, 2), Sync()}));
  EXPECT_FALSE(kept());
}

// A leaf of stage 1 that stage 2 cuts into pages: all pieces go.
TEST_F(CacheTest, BlocksThatStage2CutGoAsAWhole) {
  Map(s1_[kA], 0x40000000, 0x600000, kS1Rw, 2);
  Map(s2_[5], 0x600000, Page(1), kS2Rw);
  Map(s2_[5], 0x601000, Page(2), kS2Rw);
  EXPECT_EQ(1u, DmaRead(Sid(kA), 0x40000000));
  EXPECT_EQ(2u, DmaRead(Sid(kA), 0x40001000));
  Unmap(s1_[kA], 0x40000000, 2);
  EXPECT_EQ(1u, DmaRead(Sid(kA), 0x40000000));
  EXPECT_EQ(2u, DmaRead(Sid(kA), 0x40001000));
  EXPECT_EQ(0, Run({Tlbi(CMD_TLBI_NH_VA, 5, 3, 0x401ff000), Sync()}));
  EXPECT_EQ(~0ull, DmaRead(Sid(kA), 0x40000000));
  EXPECT_EQ(~0ull, DmaRead(Sid(kA), 0x40001000));
}

TEST_F(CacheTest, WithoutRangesTheyAreOnePage) {
  smmu_->config.ril = false;
  MapAll(0);
  EXPECT_EQ(0, Run({Op(CMD_TLBI_NSNH_ALL), Sync()}));
  Fresh(0);
  MapAll(1);
  CMD cmd = Tlbi(CMD_TLBI_NH_VA, 5, 3, 0x6000);
  CMD::TLBI_TG::set(cmd, 1);
  CMD::TLBI_NUM::set(cmd, 31);
  EXPECT_EQ(0, Run({cmd, Sync()}));
  EXPECT_EQ(0u, Fresh(1).count("A7"));
}

// It keeps a bounded number, and drops the oldest.
TEST_F(CacheTest, TheOldestIsReplaced) {
  const uint64_t a = Page(1), b = Page(2);
  for (unsigned i = 0; i <= SMMUV3_TLB_ENTRIES; ++i)
    Map(s1_[kEl1], 0x100000 + i * 0x1000, a, kS1Rw);
  for (unsigned i = 0; i < SMMUV3_TLB_ENTRIES; ++i)
    EXPECT_EQ(1u, DmaRead(Sid(kEl1), 0x100000 + i * 0x1000));
  Map(s1_[kEl1], 0x100000, b, kS1Rw);
  EXPECT_EQ(1u, DmaRead(Sid(kEl1), 0x100000));
  const uint64_t misses = smmuv3_hw_get_stats(smmu_).tlb_misses;
  EXPECT_EQ(1u, DmaRead(Sid(kEl1), 0x100000 + SMMUV3_TLB_ENTRIES * 0x1000));
  EXPECT_EQ(misses + 1, smmuv3_hw_get_stats(smmu_).tlb_misses);
  EXPECT_EQ(2u, DmaRead(Sid(kEl1), 0x100000));
}

// ---- configuration ----

TEST_F(CacheTest, StesAreKept) {
  const uint64_t page = Page(1);
  const STE bypass = Ste(STE_CONFIG_BYPASS);
  const STE abort = Ste(STE_CONFIG_ABORT);
  const uint32_t sid = 9;
  auto works = [&] { return DmaRead(sid, page) == 1; };
  SetSte(sid, bypass);
  EXPECT_TRUE(works());
  SetSte(sid, abort, false);
  EXPECT_TRUE(works());
  EXPECT_EQ(0, Run({Cfgi(CMD_CFGI_STE, 8), Cfgi(CMD_CFGI_CD_ALL, sid),
                    Cfgi(CMD_CFGI_CD, sid), Op(CMD_TLBI_NSNH_ALL), Sync()}));
  EXPECT_TRUE(works());
  // The range 2^(n + 1) around another stream: 10 and 11, then 8 to 11.
  CMD range = Cfgi(CMD_CFGI_STE_RANGE, 10);
  EXPECT_EQ(0, Run({range}));
  EXPECT_TRUE(works());
  CMD::CFGI_RANGE::set(range, 1);
  EXPECT_EQ(0, Run({range}));
  EXPECT_FALSE(works());
  SetSte(sid, bypass, false);
  EXPECT_FALSE(works());
  EXPECT_EQ(0, Run({CfgiAll(), Sync()}));
  EXPECT_TRUE(works());
  // One that is not valid is kept as well.
  SetSte(sid, STE());
  EXPECT_FALSE(works());
  SetSte(sid, bypass, false);
  EXPECT_FALSE(works());
  EXPECT_EQ(0, Run({Cfgi(CMD_CFGI_STE, sid), Sync()}));
  EXPECT_TRUE(works());
}

TEST_F(CacheTest, CdsAreKept) {
  MapAll(0);
  const uint32_t sid = Sid(kEl1);
  EXPECT_EQ(Value(kEl1, 0, 0), DmaRead(sid, 0x7000));
  // Another context with another ASID and another table.
  Table other = NewTable();
  Map(other, 0x7000, Page(77), kS1Rw);
  auto change = [&](uint64_t ttb, unsigned asid) {
    StoreFormat(cds_[kEl1], Cd(ttb, asid));
  };
  change(other.root, 8);
  EXPECT_EQ(0, Run({Op(CMD_TLBI_NSNH_ALL), Cfgi(CMD_CFGI_CD, sid, 1),
                    Cfgi(CMD_CFGI_CD, sid + 1), Cfgi(CMD_CFGI_CD_ALL, sid + 1),
                    Cfgi(CMD_CFGI_STE, sid + 1), Sync()}));
  EXPECT_EQ(Value(kEl1, 0, 0), DmaRead(sid, 0x7000));
  EXPECT_EQ(0, Run({Cfgi(CMD_CFGI_CD, sid), Sync()}));
  EXPECT_EQ(77u, DmaRead(sid, 0x7000));
  change(s1_[kEl1].root, 3);
  EXPECT_EQ(77u, DmaRead(sid, 0x7000));
  EXPECT_EQ(0, Run({Cfgi(CMD_CFGI_CD_ALL, sid), Sync()}));
  EXPECT_EQ(Value(kEl1, 0, 0), DmaRead(sid, 0x7000));
  change(other.root, 8);
  // An STE's invalidation takes its contexts along.
  EXPECT_EQ(0, Run({Cfgi(CMD_CFGI_STE, sid), Sync()}));
  EXPECT_EQ(77u, DmaRead(sid, 0x7000));
  change(s1_[kEl1].root, 3);
  EXPECT_EQ(0, Run({CfgiAll(), Sync()}));
  EXPECT_EQ(Value(kEl1, 0, 0), DmaRead(sid, 0x7000));
}

// Before SYNC nothing is promised, but a command that was not reached did
// nothing.
TEST_F(CacheTest, ACommandThatWasNotReachedDidNothing) {
  EXPECT_EQ(Set_(), Refreshed([&] {
              EXPECT_EQ(CERROR_ILL, Run({Op(static_cast<smmuv3_opcode>(0)),
                                         Op(CMD_TLBI_NSNH_ALL), Sync()}));
            }));
  SkipCommand();
  AckGlobalErrors();
  smmuv3_hw_run_until_idle(smmu_);
  EXPECT_EQ(12u, Fresh(1).size());
}

}  // namespace
}  // namespace hw_test
