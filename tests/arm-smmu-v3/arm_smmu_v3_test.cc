// SPDX-License-Identifier: GPL-2.0-or-later
//
// How the driver changes a stream table entry or a context descriptor that the
// hardware may be using. The counterpart of arm-smmu-v3-test.c of Linux 7.2:
// the same transitions, with the same number of syncs. Where that looks at the
// entry at each sync, this looks at everything the hardware could have fetched
// since the last one: any of the words that changed, old or new.

#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "drivers/arm-smmu-v3/arm-smmu-v3.h"
#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

constexpr u64 kCdTable = 0xF0F0F0F0F0F0;

enum Feature : unsigned { kAts = 1, kStall = 2, kNested = 4 };

bool DiffersInUsedBits(const u64* entry, const u64* used, const u64* target,
                       const u64* safe) {
  for (int i = 0; i < NUM_ENTRY_QWORDS; i++) {
    if (((entry[i] ^ target[i]) & used[i] & ~safe[i]) != 0) return true;
  }
  return false;
}

struct RecordingWriter : arm_smmu_entry_writer {
  const u64* init;
  const u64* target;
  const u64* entry;
  u64 last[NUM_ENTRY_QWORDS];  // as of the last sync
  bool invalid_written = false;
  unsigned syncs = 0;
  std::string mixture;  // the first bad one

  // What the hardware makes of an entry is what it makes of the old one or of
  // the new one.
  bool Consistent(const u64* e) const {
    u64 used[NUM_ENTRY_QWORDS] = {};
    u64 safe_init[NUM_ENTRY_QWORDS] = {};
    u64 safe_target[NUM_ENTRY_QWORDS] = {};
    ops->get_used(e, used);
    if (ops->get_update_safe != nullptr) {
      ops->get_update_safe(e, init, safe_init);
      ops->get_update_safe(e, target, safe_target);
    }
    return !DiffersInUsedBits(e, used, init, safe_init) ||
           !DiffersInUsedBits(e, used, target, safe_target);
  }

  void Sync() {
    syncs++;
    unsigned changed = 0;
    for (int i = 0; i < NUM_ENTRY_QWORDS; i++) {
      if (last[i] != entry[i]) changed |= 1u << i;
    }
    for (unsigned set = changed;; set = (set - 1) & changed) {
      u64 mixed[NUM_ENTRY_QWORDS];
      for (int i = 0; i < NUM_ENTRY_QWORDS; i++) {
        mixed[i] = (set >> i & 1) != 0 ? entry[i] : last[i];
      }
      // Word 0 is zero while the entry is made anew.
      if (mixed[0] != 0 && !Consistent(mixed) && mixture.empty()) {
        mixture = "before sync " + std::to_string(syncs) + ", words " +
                  std::to_string(set) + " of " + std::to_string(changed);
      }
      if (set == 0) break;
    }
    if (entry[0] == 0) invalid_written = true;
    memcpy(last, entry, sizeof(last));
  }
};

void RecordSync(arm_smmu_entry_writer* writer) {
  static_cast<RecordingWriter*>(writer)->Sync();
}

constexpr arm_smmu_entry_writer_ops kSteOps = {
    arm_smmu_get_ste_used, arm_smmu_get_ste_update_safe, RecordSync};
constexpr arm_smmu_entry_writer_ops kCdOps = {arm_smmu_get_cd_used, nullptr,
                                              RecordSync};

class WriteEntryTest : public KernelTest {
 protected:
  WriteEntryTest() {
    smmu_.features = ARM_SMMU_FEAT_STALLS | ARM_SMMU_FEAT_ATTR_TYPES_OVR;
    arm_smmu_make_bypass_ste(&smmu_, &bypass_);
    arm_smmu_make_abort_ste(&abort_);
  }

  static RecordingWriter Write(const arm_smmu_entry_writer_ops& ops,
                               const u64* from, const u64* to) {
    u64 entry[NUM_ENTRY_QWORDS];
    memcpy(entry, from, sizeof(entry));
    RecordingWriter w;
    w.ops = &ops;
    w.init = from;
    w.target = to;
    w.entry = entry;
    memcpy(w.last, from, sizeof(w.last));
    arm_smmu_write_entry(&w, entry, to);
    EXPECT_EQ(memcmp(entry, to, sizeof(entry)), 0);
    EXPECT_EQ(w.mixture, "");
    w.entry = nullptr;
    return w;
  }
  template <class Entry>
  static void Expect(const Entry& from, const Entry& to, unsigned syncs,
                     bool hitless) {
    constexpr bool is_ste = std::is_same_v<Entry, arm_smmu_ste>;
    const RecordingWriter w =
        Write(is_ste ? kSteOps : kCdOps, from.data, to.data);
    EXPECT_EQ(w.invalid_written, !hitless);
    EXPECT_EQ(w.syncs, syncs);
  }
  template <class Entry>
  static void Hitless(const Entry& from, const Entry& to, unsigned syncs) {
    Expect(from, to, syncs, true);
  }
  template <class Entry>
  static void NonHitless(const Entry& from, const Entry& to, unsigned syncs) {
    Expect(from, to, syncs, false);
  }

  arm_smmu_ste CdTable(unsigned s1dss, u64 table, unsigned feat) {
    arm_smmu_master master;
    arm_smmu_ste ste;
    master.smmu = &smmu_;
    master.cd_table.cdtab_dma = table;
    master.cd_table.s1cdmax = 0xff;
    master.cd_table.s1fmt = STRTAB_STE_0_S1FMT_64K_L2;
    master.stall_enabled = (feat & kStall) != 0;
    arm_smmu_make_cdtable_ste(&ste, &master, (feat & kAts) != 0, s1dss);
    if ((feat & kNested) != 0) {
      const arm_smmu_ste s2 = S2(feat & ~kNested);
      ste.data[0] |= FIELD_PREP(STRTAB_STE_0_CFG, STRTAB_STE_0_CFG_NESTED);
      ste.data[1] |= STRTAB_STE_1_MEV;
      memcpy(ste.data + 2, s2.data + 2, sizeof(ste.data) - 16);
    }
    return ste;
  }
  arm_smmu_ste S2(unsigned feat) {
    arm_smmu_master master;
    arm_smmu_domain domain;
    io_pgtable pgtable{};
    arm_smmu_ste ste;
    master.smmu = &smmu_;
    master.stall_enabled = (feat & kStall) != 0;
    domain.pgtbl_ops = &pgtable.ops;
    pgtable.cfg.arm_lpae_s2_cfg = {.vttbr = 0xdaedbeefdeadbeefULL,
                                   .vtcr = {.ps = 1,
                                            .tg = 2,
                                            .sh = 3,
                                            .orgn = 1,
                                            .irgn = 2,
                                            .sl = 3,
                                            .tsz = 4}};
    arm_smmu_make_s2_domain_ste(&ste, &master, &domain, (feat & kAts) != 0);
    return ste;
  }
  arm_smmu_cd S1Cd(u16 asid) {
    arm_smmu_master master;
    arm_smmu_domain domain;
    io_pgtable pgtable{};
    arm_smmu_cd cd;
    master.smmu = &smmu_;
    domain.pgtbl_ops = &pgtable.ops;
    domain.cd.asid = asid;
    pgtable.cfg.arm_lpae_s1_cfg = {
        .ttbr = 0xdaedbeefdeadbeefULL,
        .tcr = {.ips = 1, .tg = 2, .sh = 3, .orgn = 1, .irgn = 2, .tsz = 4},
        .mair = 0xabcdef012345678ULL};
    arm_smmu_make_s1_cd(&cd, &master, &domain);
    return cd;
  }

  arm_smmu_device smmu_;
  arm_smmu_ste bypass_;
  arm_smmu_ste abort_;
};

TEST_F(WriteEntryTest, BypassAndAbort) {
  Hitless(bypass_, abort_, 2);
  Hitless(abort_, bypass_, 2);
  Hitless(abort_, abort_, 0);
}

TEST_F(WriteEntryTest, CdTable) {
  const arm_smmu_ste ste = CdTable(STRTAB_STE_1_S1DSS_SSID0, kCdTable, kAts);
  Hitless(ste, abort_, 2);
  Hitless(abort_, ste, 2);
  Hitless(ste, bypass_, 3);
  Hitless(bypass_, ste, 3);
}

TEST_F(WriteEntryTest, CdTableWithAnotherDefault) {
  const arm_smmu_ste ste = CdTable(STRTAB_STE_1_S1DSS_SSID0, kCdTable, kAts);
  const arm_smmu_ste s1dss_bypass =
      CdTable(STRTAB_STE_1_S1DSS_BYPASS, kCdTable, kAts);
  Hitless(ste, s1dss_bypass, 1);
  Hitless(s1dss_bypass, ste, 1);
  Hitless(s1dss_bypass, bypass_, 2);
  Hitless(bypass_, s1dss_bypass, 2);
}

TEST_F(WriteEntryTest, Stage2) {
  const arm_smmu_ste ste = S2(kAts);
  Hitless(ste, abort_, 2);
  Hitless(abort_, ste, 2);
  Hitless(ste, bypass_, 2);
  Hitless(bypass_, ste, 2);
}

TEST_F(WriteEntryTest, Stage1AndStage2) {
  for (unsigned feat : {kAts, kStall}) {
    const arm_smmu_ste s1 = CdTable(STRTAB_STE_1_S1DSS_SSID0, kCdTable, feat);
    const arm_smmu_ste s2 = S2(feat);
    Hitless(s1, s2, 3);
    Hitless(s2, s1, 3);
  }
}

TEST_F(WriteEntryTest, ATableAndItsDefaultAtOnceIsABreak) {
  NonHitless(CdTable(STRTAB_STE_1_S1DSS_SSID0, kCdTable, kAts),
             CdTable(STRTAB_STE_1_S1DSS_BYPASS, 0x4B4B4b4B4B, kAts), 3);
}

TEST_F(WriteEntryTest, Nested) {
  const arm_smmu_ste nested =
      CdTable(STRTAB_STE_1_S1DSS_BYPASS, kCdTable, kAts | kNested);
  Hitless(nested, S2(0), 3);
  Hitless(S2(0), nested, 2);
  // Of an entry that only changes what may change at any time.
  arm_smmu_ste no_mev = nested;
  no_mev.data[1] &= ~(STRTAB_STE_1_MEV | STRTAB_STE_1_EATS);
  Hitless(nested, no_mev, 1);
  Hitless(no_mev, nested, 1);
}

TEST_F(WriteEntryTest, Descriptors) {
  const arm_smmu_cd none = {};
  const arm_smmu_cd cd = S1Cd(1997);
  NonHitless(none, cd, 2);
  NonHitless(cd, none, 2);
  Hitless(S1Cd(778), cd, 1);
  Hitless(cd, S1Cd(778), 1);
  // What the released address space of a process leaves: no table.
  arm_smmu_cd epd = cd;
  epd.data[0] |= CTXDESC_CD_0_TCR_EPD0;
  epd.data[0] &=
      ~(CTXDESC_CD_0_TCR_T0SZ | CTXDESC_CD_0_TCR_TG0 | CTXDESC_CD_0_TCR_IRGN0 |
        CTXDESC_CD_0_TCR_ORGN0 | CTXDESC_CD_0_TCR_SH0);
  epd.data[1] &= ~CTXDESC_CD_1_TTB0_MASK;
  Hitless(cd, epd, 2);
  Hitless(epd, cd, 2);
}

TEST_F(WriteEntryTest, FromAnyKindToAnyOther) {
  std::vector<arm_smmu_ste> all = {bypass_, abort_, arm_smmu_ste{}};
  for (unsigned feat = 0; feat < 8; feat++) {
    if ((feat & kAts) != 0 && (feat & kStall) != 0) continue;
    if ((feat & kNested) == 0) all.push_back(S2(feat));
    for (unsigned s1dss = 0; s1dss < 3; s1dss++) {
      all.push_back(CdTable(s1dss, kCdTable, feat));
      all.push_back(CdTable(s1dss, 0x4B4B4b4B4B, feat));
    }
  }
  for (const arm_smmu_ste& from : all) {
    for (const arm_smmu_ste& to : all) Write(kSteOps, from.data, to.data);
  }
}

TEST_F(WriteEntryTest, ABitThatNobodyUsesIsADriversBug) {
  arm_smmu_ste ste = bypass_;
  ste.data[3] = 1;
  ExpectWarns(1);
  Write(kSteOps, abort_.data, ste.data);
}

}  // namespace
}  // namespace iommulab
