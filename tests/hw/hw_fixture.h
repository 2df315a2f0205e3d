// SPDX-License-Identifier: GPL-2.0-or-later
//
// A kernel with memory, an SMMU and (when asked) a CMDQV, driven by hand: the
// tests are the driver. Tables and queues are pages of the kernel.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "core/linux/io.h"
#include "core/linux/kernel.h"
#include "core/mm/mm.h"
#include "drivers/hw/smmuv3-hw.h"
#include "drivers/hw/tegra241-cmdqv-hw.h"
#include "gtest/gtest.h"

namespace hw_test {

constexpr uint64_t kSmmu = 0x10000000;
constexpr uint64_t kCmdqv = 0x20000000;

using Regs = smmuv3_regs;

// Interrupts that were raised, by line. A line's number is its kind plus one.
struct Irqs {
  std::atomic<int> count[SMMUV3_NR_IRQS] = {};
};

class HwFixture : public testing::Test {
 protected:
  explicit HwFixture(size_t ram_bytes = 32 << 20) {
    mm_options opts;
    opts.ram_bytes = ram_bytes;
    kernel_ = std::make_unique<struct kernel>();
    EXPECT_EQ(0, mm_init(kernel_.get(), opts));
    kernel_->platform = &irqs_;
    task_ = std::make_unique<task_struct>(kernel_.get());
    scope_ = std::make_unique<task_scope>(task_.get());
    config_.kernel = kernel_.get();
    config_.phys = kSmmu;
    for (unsigned i = 0; i < SMMUV3_NR_IRQS; ++i) config_.irqs[i] = i + 1;
    config_.raise = [](struct kernel* k, unsigned irq) {
      ++static_cast<Irqs*>(k->platform)->count[irq - 1];
      return true;
    };
    cmdqv_config_.phys = kCmdqv;
  }

  ~HwFixture() override {
    tegra241_cmdqv_hw_destroy(cmdqv_);
    smmuv3_hw_destroy(smmu_);
    for (auto [page, order] : pages_) __free_pages(page, order);
    EXPECT_EQ(0u, mm_get_residue(kernel_.get()).pages);
    EXPECT_EQ(0u, kernel_warn_count(kernel_.get()));
    mm_exit(kernel_.get());
    kernel_->platform = nullptr;
    scope_.reset();
    task_.reset();
  }

  void Start(bool cmdqv = false) {
    result<smmuv3_hw*> smmu = smmuv3_hw_create(&config_);
    ASSERT_TRUE(bool(smmu));
    smmu_ = *smmu;
    if (!cmdqv) return;
    result<tegra241_cmdqv_hw*> q =
        tegra241_cmdqv_hw_create(smmu_, &cmdqv_config_);
    ASSERT_TRUE(bool(q));
    cmdqv_ = *q;
  }

  // ---- memory ----

  uint64_t Alloc(unsigned order = 0) {
    struct page* page = alloc_pages(GFP_KERNEL, order);
    EXPECT_NE(nullptr, page);
    pages_.push_back({page, order});
    return page_to_phys(page);
  }
  static uint64_t* At(uint64_t phys) {
    return static_cast<uint64_t*>(phys_to_virt(phys));
  }
  static uint64_t Load(uint64_t phys) {
    return __atomic_load_n(At(phys), __ATOMIC_ACQUIRE);
  }
  static void Store(uint64_t phys, uint64_t val) {
    __atomic_store_n(At(phys), val, __ATOMIC_RELEASE);
  }
  template <class Fmt>
  static void StoreFormat(uint64_t phys, const Fmt& fmt) {
    for (unsigned i = 0; i < Fmt::words; ++i) Store(phys + 8 * i, fmt.word[i]);
  }
  template <class Fmt>
  static Fmt LoadFormat(uint64_t phys) {
    Fmt fmt;
    for (unsigned i = 0; i < Fmt::words; ++i) fmt.word[i] = Load(phys + 8 * i);
    return fmt;
  }

  // ---- registers ----

  uint64_t Read(uint64_t phys, unsigned size = 4) {
    uint64_t val = 0;
    EXPECT_TRUE(mmio_read(kernel_.get(), phys, size, &val)) << std::hex << phys;
    return val;
  }
  void Write(uint64_t phys, uint64_t val, unsigned size = 4) {
    EXPECT_TRUE(mmio_write(kernel_.get(), phys, size, val)) << std::hex << phys;
  }
  // Whether the bus has nobody for it.
  bool ReadFails(uint64_t phys, unsigned size = 4) {
    uint64_t val = 0;
    bool ok = mmio_read(kernel_.get(), phys, size, &val);
    if (!ok) {
      EXPECT_EQ(size == 8 ? ~0ULL : 0xffffffffULL, val);
    }
    return !ok;
  }
  bool WriteFails(uint64_t phys, uint64_t val = 0, unsigned size = 4) {
    return !mmio_write(kernel_.get(), phys, size, val);
  }
  template <class R>
  R Get() {
    R r;
    r.raw =
        static_cast<decltype(r.raw)>(Read(kSmmu + R::offset, sizeof(r.raw)));
    return r;
  }
  template <class R>
  void Set(uint64_t raw) {
    R r;
    Write(kSmmu + R::offset, raw, sizeof(r.raw));
  }

  // ---- the SMMU, as a driver brings it up ----

  static constexpr unsigned kCmdqLog2 = 5;
  static constexpr unsigned kEventqLog2 = 3;

  void EnableQueues() {
    cmdq_ = Alloc();
    eventq_ = Alloc();
    Set<Regs::CMDQ_BASE>(cmdq_ | kCmdqLog2);
    Set<Regs::EVENTQ_BASE>(eventq_ | kEventqLog2);
    Set<Regs::IRQ_CTRL>(Regs::IRQ_CTRL::GERROR_IRQEN::mask |
                        Regs::IRQ_CTRL::EVENTQ_IRQEN::mask |
                        Regs::IRQ_CTRL::PRIQ_IRQEN::mask);
    Set<Regs::CR2>(Regs::CR2::RECINVSID::mask);
    Set<Regs::CR0>(Regs::CR0::CMDQEN::mask | Regs::CR0::EVENTQEN::mask);
  }

  // A linear stream table of 64 streams, all of them aborting.
  void EnableTranslation() {
    strtab_ = Alloc();
    for (uint32_t sid = 0; sid < 64; ++sid) {
      STE ste;
      STE::V::set(ste, 1);
      StoreFormat(strtab_ + 64 * sid, ste);
    }
    Set<Regs::STRTAB_BASE>(strtab_);
    Set<Regs::STRTAB_BASE_CFG>(6);
    Set<Regs::CR0>(Regs::CR0::CMDQEN::mask | Regs::CR0::EVENTQEN::mask |
                   Regs::CR0::SMMUEN::mask | Regs::CR0::ATSCHK::mask);
  }

  void Up() {
    EnableQueues();
    EnableTranslation();
  }

  // ---- commands ----

  static CMD Op(smmuv3_opcode op) {
    CMD cmd;
    CMD::OP::set(cmd, op);
    return cmd;
  }
  static CMD Tlbi(smmuv3_opcode op, unsigned vmid = 0, unsigned asid = 0,
                  uint64_t addr = 0) {
    CMD cmd = Op(op);
    CMD::TLBI_VMID::set(cmd, vmid);
    CMD::TLBI_ASID::set(cmd, asid);
    cmd.word[1] |= addr;
    return cmd;
  }
  static CMD Cfgi(smmuv3_opcode op, uint32_t sid, uint32_t ssid = 0) {
    CMD cmd = Op(op);
    CMD::SID::set(cmd, sid);
    CMD::SSID::set(cmd, ssid);
    return cmd;
  }
  static CMD CfgiAll() {
    CMD cmd = Op(CMD_CFGI_STE_RANGE);
    CMD::CFGI_RANGE::set(cmd, 31);
    return cmd;
  }
  static CMD AtcInv(uint32_t sid, uint64_t addr, unsigned size) {
    CMD cmd = Op(CMD_ATC_INV);
    CMD::SID::set(cmd, sid);
    CMD::ATC_SIZE::set(cmd, size);
    cmd.word[1] |= addr & CMD::ATC_ADDR::mask;
    return cmd;
  }
  static CMD Sync(unsigned cs = SYNC_CS_NONE) {
    CMD cmd = Op(CMD_SYNC);
    CMD::SYNC_CS::set(cmd, cs);
    return cmd;
  }

  // Puts commands into the SMMU's queue; nothing runs before a step.
  void Push(std::initializer_list<CMD> cmds) {
    uint32_t prod = Get<Regs::CMDQ_PROD>().raw;
    for (const CMD& cmd : cmds) {
      StoreFormat(hw_queue_entry(cmdq_, prod, kCmdqLog2, 4), cmd);
      prod = hw_queue_next(prod, kCmdqLog2);
    }
    Set<Regs::CMDQ_PROD>(prod);
  }
  // CMDQ_CONS.ERR afterwards when the queue is in error, else 0.
  int Run(std::initializer_list<CMD> cmds) {
    Push(cmds);
    smmuv3_hw_run_until_idle(smmu_);
    if (!GlobalErrors()) return 0;
    return static_cast<int>(Regs::CMDQ_CONS::ERR::get(Get<Regs::CMDQ_CONS>()));
  }
  uint32_t GlobalErrors() {
    return Get<Regs::GERROR>().raw ^ Get<Regs::GERRORN>().raw;
  }
  void AckGlobalErrors() { Set<Regs::GERRORN>(Get<Regs::GERROR>().raw); }
  // Leaves out the command that the queue stands at.
  void SkipCommand() {
    uint32_t cons = Get<Regs::CMDQ_CONS>().raw;
    StoreFormat(hw_queue_entry(cmdq_, cons, kCmdqLog2, 4), Sync());
  }

  // ---- events ----

  // Takes the next one. ID 0 when there is none.
  EVT NextEvent() {
    uint32_t cons = Get<Regs::EVENTQ_CONS>().raw;
    uint32_t prod = Get<Regs::EVENTQ_PROD>().raw;
    if (hw_queue_empty(prod, cons, kEventqLog2)) return EVT();
    EVT evt = LoadFormat<EVT>(hw_queue_entry(eventq_, cons, kEventqLog2, 5));
    Set<Regs::EVENTQ_CONS>(hw_queue_next(cons, kEventqLog2) |
                           (cons & Regs::EVENTQ_CONS::OVACKFLG::mask));
    return evt;
  }
  int NextEventId() { return static_cast<int>(EVT::ID::get(NextEvent())); }

  // ---- streams ----

  void SetSte(uint32_t sid, const STE& ste, bool invalidate = true) {
    StoreFormat(strtab_ + 64 * sid, ste);
    if (invalidate) {
      EXPECT_EQ(0, Run({Cfgi(CMD_CFGI_STE, sid), Sync()}));
    }
  }
  static STE Ste(ste_config config) {
    STE ste;
    STE::V::set(ste, 1);
    STE::CONFIG::set(ste, config);
    return ste;
  }
  // Stage 1 with 4K tables of 48 bits at @ttb and one context.
  static CD Cd(uint64_t ttb, unsigned asid) {
    CD cd;
    CD::V::set(cd, 1);
    CD::AA64::set(cd, 1);
    CD::A::set(cd, 1);
    CD::R::set(cd, 1);
    CD::T0SZ::set(cd, 16);
    CD::IPS::set(cd, 5);
    CD::EPD1::set(cd, 1);
    CD::ASID::set(cd, asid);
    cd.word[1] |= ttb;
    return cd;
  }
  static STE& WithS1(STE& ste, uint64_t cds, unsigned cdmax = 0) {
    ste.word[0] |= cds;
    STE::S1CDMAX::set(ste, cdmax);
    STE::S1DSS::set(ste, cdmax ? STE_S1DSS_SSID0 : 0);
    STE::EATS::set(ste, STE_EATS_TRANS);
    return ste;
  }
  // 40 bits of 4K tables: two tables side by side at level 1.
  static STE& WithS2(STE& ste, uint64_t ttb, unsigned vmid) {
    STE::S2VMID::set(ste, vmid);
    STE::S2T0SZ::set(ste, 24);
    STE::S2SL0::set(ste, 1);
    STE::S2PS::set(ste, 5);
    STE::S2AA64::set(ste, 1);
    STE::S2R::set(ste, 1);
    STE::EATS::set(ste, STE_EATS_TRANS);
    ste.word[3] |= ttb;
    return ste;
  }

  // ---- page tables ----

  static constexpr uint64_t kAf = 1ull << 10, kNg = 1ull << 11;
  static constexpr uint64_t kDbm = 1ull << 51;
  // Stage 1: read and write for all.
  static constexpr uint64_t kS1Rw = kAf | kNg | (1ull << 6);
  static constexpr uint64_t kS1Ro = kS1Rw | (1ull << 7);
  static constexpr uint64_t kS2Rw = kAf | (3ull << 6) | (0xfull << 2);
  static constexpr uint64_t kS2Ro = kAf | (1ull << 6) | (0xfull << 2);

  // Tables of @granule_log2, made on the way down. @in and @out are addresses
  // of what the hardware that walks the table calls memory; @offset is added
  // to a page's physical address to get there (stage 1 of a nested stream).
  struct Table {
    uint64_t root = 0;
    unsigned granule = 12;
    unsigned start = 0;
    uint64_t offset = 0;
  };
  Table NewTable(unsigned granule = 12, unsigned start = 0,
                 unsigned root_order = 0, uint64_t offset = 0) {
    Table t{0, granule, start, offset};
    t.root = Alloc(granule - 12 + root_order) + offset;
    return t;
  }
  // The address (physical) of the descriptor of @in at @level.
  uint64_t Descriptor(const Table& t, uint64_t in, unsigned level) {
    uint64_t table = t.root - t.offset;
    for (unsigned l = t.start;; ++l) {
      const unsigned shift = t.granule + (3 - l) * (t.granule - 3);
      uint64_t index = in >> shift;
      if (l != t.start) index &= (1ull << (t.granule - 3)) - 1;
      const uint64_t desc = table + 8 * index;
      if (l == level) return desc;
      if (!(Load(desc) & 1))
        Store(desc, (Alloc(t.granule - 12) + t.offset) | 3);
      table = (Load(desc) & 0xfffffffff000) - t.offset;
    }
  }
  void Map(const Table& t, uint64_t in, uint64_t out, uint64_t attrs,
           unsigned level = 3) {
    Store(Descriptor(t, in, level), out | attrs | (level == 3 ? 3 : 1));
  }
  void Unmap(const Table& t, uint64_t in, unsigned level = 3) {
    Store(Descriptor(t, in, level), 0);
  }

  // ---- DMA ----

  static hw_txn Txn(uint32_t sid, uint64_t iova, bool write = false) {
    hw_txn txn;
    txn.sid = sid;
    txn.iova = iova;
    txn.write = write;
    return txn;
  }
  hw_txn_status Dma(const hw_txn& txn, uint64_t* word) {
    return smmuv3_hw_dma(smmu_, &txn, word, sizeof(*word));
  }
  // What a device reads there; ~0 when it may not.
  uint64_t DmaRead(uint32_t sid, uint64_t iova) {
    uint64_t word = 0;
    return Dma(Txn(sid, iova), &word) == HW_TXN_OK ? word : ~0ull;
  }
  bool DmaWrite(uint32_t sid, uint64_t iova, uint64_t word) {
    return Dma(Txn(sid, iova, true), &word) == HW_TXN_OK;
  }
  // A page whose first word is @word.
  uint64_t Page(uint64_t word) {
    uint64_t page = Alloc();
    Store(page, word);
    return page;
  }
  int Irq(smmuv3_hw_irq irq) { return irqs_.count[irq].exchange(0); }

  Irqs irqs_;
  std::unique_ptr<struct kernel> kernel_;
  std::unique_ptr<task_struct> task_;
  std::unique_ptr<task_scope> scope_;
  smmuv3_hw_config config_;
  tegra241_cmdqv_hw_config cmdqv_config_;
  smmuv3_hw* smmu_ = nullptr;
  tegra241_cmdqv_hw* cmdqv_ = nullptr;
  uint64_t cmdq_ = 0, eventq_ = 0, strtab_ = 0;

 private:
  std::vector<std::pair<struct page*, unsigned>> pages_;
};

// With a CMDQV, and what its driver does.
class CmdqvFixture : public HwFixture {
 protected:
  using Map_ = cmdqv_regs::CMDQ_ALLOC_MAP;
  using Q = vcmdq_regs;
  using V = vintf_regs;
  static constexpr unsigned kLog2 = 4;

  static uint64_t VintfReg(unsigned v, uint32_t off) {
    return kCmdqv + cmdqv_regs::vintf_base + cmdqv_regs::vintf_bytes * v + off;
  }
  static uint64_t AllocReg(unsigned q) { return kCmdqv + 0x200 + 4 * q; }
  static uint64_t Page0(unsigned q, uint32_t off = 0) {
    return kCmdqv + 0x10000 + 0x80 * q + off;
  }
  static uint64_t Page1(unsigned q, uint32_t off = 0) {
    return kCmdqv + 0x20000 + 0x80 * q + off;
  }
  static uint64_t ViPage0(unsigned v, unsigned l, uint32_t off = 0) {
    return kCmdqv + 0x30000 + 0x20000 * v + 0x80 * l + off;
  }
  static uint64_t ViPage1(unsigned v, unsigned l, uint32_t off = 0) {
    return ViPage0(v, l, off) + 0x10000;
  }
  static uint32_t AllocValue(unsigned v, unsigned l, bool alloc = true) {
    Map_ r;
    Map_::VINTF::set(r, v);
    Map_::LVCMDQ::set(r, l);
    Map_::ALLOC::set(r, alloc);
    return r.raw;
  }

  void EnableCmdqv() { Write(kCmdqv, 1); }
  void EnableVintf(unsigned v, unsigned vmid, bool hyp_own = false) {
    V::CONFIG r;
    V::CONFIG::VMID::set(r, vmid);
    V::CONFIG::HYP_OWN::set(r, hyp_own);
    Write(VintfReg(v, 0), r.raw);
    V::CONFIG::ENABLE::set(r, 1);
    Write(VintfReg(v, 0), r.raw);
    EXPECT_EQ(1u, Read(VintfReg(v, 4)) & 1);
  }
  void SetSid(unsigned v, unsigned slot, uint32_t vsid, uint32_t sid) {
    V::SID_MATCH match;
    V::SID_MATCH::VIRT_SID::set(match, vsid);
    V::SID_MATCH::ENABLE::set(match, 1);
    Write(VintfReg(v, 0x80 + 4 * slot), sid);
    Write(VintfReg(v, 0x40 + 4 * slot), match.raw);
  }
  // Allocates VCMDQ @q as @l of VINTF @v, with a queue of its own, and starts
  // it through the VINTF's pages.
  uint64_t StartQueue(unsigned v, unsigned l, unsigned q) {
    uint64_t ring = Alloc();
    Write(AllocReg(q), AllocValue(v, l));
    EXPECT_EQ(AllocValue(v, l), Read(AllocReg(q)));
    Write(ViPage1(v, l), ring | kLog2, 8);
    Write(ViPage0(v, l, Q::CONFIG::offset), 1);
    EXPECT_EQ(1u, Read(ViPage0(v, l, Q::STATUS::offset)));
    return ring;
  }
  void PushTo(unsigned v, unsigned l, uint64_t ring,
              std::initializer_list<CMD> cmds) {
    uint32_t prod = static_cast<uint32_t>(Read(ViPage0(v, l, Q::PROD::offset)));
    for (const CMD& cmd : cmds) {
      StoreFormat(hw_queue_entry(ring, prod, kLog2, 4), cmd);
      prod = hw_queue_next(prod, kLog2);
    }
    Write(ViPage0(v, l, Q::PROD::offset), prod);
  }
  // CONS.ERR when the queue stands still on an error, else 0.
  int RunOn(unsigned v, unsigned l, uint64_t ring,
            std::initializer_list<CMD> cmds) {
    PushTo(v, l, ring, cmds);
    smmuv3_hw_run_until_idle(smmu_);
    return Cerror(v, l);
  }
  int Cerror(unsigned v, unsigned l) {
    if (!(Errors(v, l) & 1)) return 0;
    Q::CONS cons;
    cons.raw = static_cast<uint32_t>(Read(ViPage0(v, l)));
    return static_cast<int>(Q::CONS::ERR::get(cons));
  }
  uint32_t Errors(unsigned v, unsigned l) {
    return static_cast<uint32_t>(Read(ViPage0(v, l, Q::GERROR::offset)) ^
                                 Read(ViPage0(v, l, Q::GERRORN::offset)));
  }
  void Ack(unsigned v, unsigned l) {
    Write(ViPage0(v, l, Q::GERRORN::offset),
          Read(ViPage0(v, l, Q::GERROR::offset)));
  }
};

}  // namespace hw_test
