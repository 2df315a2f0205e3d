// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz/cmdqv_mmio.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "core/linux/io.h"
#include "core/linux/kernel.h"
#include "core/mm/mm.h"
#include "drivers/hw/dma-testdev.h"
#include "drivers/hw/tegra241-cmdqv-hw.h"
#include "tests/platform/tegra241_vm.h"
#include "uapi/iommufd.h"

namespace fuzz {
namespace {

using tegra241::Cmd;
using tegra241::Vm;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  template <class T>
  T Get() {
    T v{};
    const size_t n = std::min(sizeof(v), size_);
    if (n != 0) memcpy(&v, data_, n);
    data_ += n;
    size_ -= n;
    return v;
  }
  uint8_t Byte() { return Get<uint8_t>(); }
  // A value that means something to somebody more often than random bits do.
  uint64_t Value(uint64_t address) {
    const uint8_t how = Byte();
    switch (how % 5) {
      case 0:
        return how / 5;
      case 1:
        return ~0ULL;
      case 2:
        return 1ULL << (how / 5);
      case 3:
        return address + (static_cast<uint64_t>(Get<uint16_t>()) << 4);
      default:
        return Get<uint64_t>();
    }
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

// A command that is one, mostly.
Cmd Command(Input* in) {
  static constexpr uint8_t kOps[] = {0x11, 0x12, 0x40, 0x46, 0x03, 0x04,
                                     0x05, 0x06, 0x10, 0x13, 0x20, 0x28,
                                     0x2a, 0x30, 0x41, 0x44};
  // Stream ids of both guests, theirs and the host's; VMIDs; ASIDs.
  static constexpr uint64_t kNames[] = {0x30, 0x20, 8, 16, 1, 2, 3, 0xffff};
  static constexpr uint64_t kAsids[] = {7, 9, 0, 0xffff};
  const uint8_t how = in->Byte();
  Cmd cmd;
  if (how & 0x80) {
    cmd.data[0] = in->Get<uint64_t>();
    cmd.data[1] = in->Get<uint64_t>();
    if (how & 0x40) return cmd;
    cmd.data[0] = (cmd.data[0] & ~0xffULL) | kOps[how % 16];
    return cmd;
  }
  // A name of a stream or a VMID, and an ASID; an address that somebody uses.
  const uint8_t who = in->Byte();
  const uint8_t where = in->Byte();
  const uint8_t op = kOps[how % 16];
  // Those of stream ids have nothing above that.
  const bool tlbi = op >= 0x10 && op < 0x40;
  cmd.data[0] =
      op | kNames[who % 8] << 32 | (tlbi ? kAsids[who / 8 % 4] << 48 : 0);
  cmd.data[1] = Vm::Va(where % 4) | (who & 0x40 ? 52 : 0) | where >> 7;
  return cmd;
}

constexpr uint64_t kCmdqv = 0x10200000;
constexpr uint64_t kSmmu = 0x10000000;
constexpr uint32_t kEntries = 64;
constexpr uint32_t kLvcmdqs = 2;

// Two guests: the first is the input's.
class World {
 public:
  explicit World(uint8_t how) {
    tegra241_machine_options machine;
    machine.mode = how & 2 ? TEGRA241_STEPPED : TEGRA241_EAGER;
    machine.cmdq_entries = 256;
    machine.evtq_entries = 32;
    machine.lvcmdqs = kLvcmdqs;
    sim_options opts;
    opts.mm.ram_bytes = 24 << 20;
    opts.revision = how & 1 ? "hw-queue" : "vcmdq-v2";
    opts.machine = &tegra241_machine;
    opts.machine_options = &machine;
    auto sys = sim_syscalls::create(opts);
    if (!sys) {
      finding_ = "no kernel";
      return;
    }
    sys_ = std::move(*sys);
    a_ = std::make_unique<Vm>(sys_.get(), Vm::Options{.vsid = 0x30});
    memory_options secret;
    secret.size = kSecretBytes;
    secret_ = sys_->anon(secret);
    const std::vector<uint8_t> bytes(kSecretBytes, 0x5a);
    sys_->store(secret_, bytes.data(), bytes.size());
    b_ = std::make_unique<Vm>(
        sys_.get(), Vm::Options{.device = 1, .vsid = 0x20, .asid = 7});
    if (how & 4) {
      a_->EventQueue(IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, 2);
      a_->EventQueue(IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 2);
    }
    for (uint32_t i = 0; i < (how & 16 ? 2u : 1u); i++) AllocQueue(i);
    b_->StartQueue(0, kEntries);
    for (int n = 0; n < 4; n++) a_->MapPage(n, n);
    a_->DmaRead(Vm::Va(0));
    // The other guest has what is stale: in the SMMU, and in its device.
    b_->MapPage(0, 0);
    b_->MapPage(1, 1);
    Expect(b_->DmaRead(Vm::Va(0)), b_->Value(0), "set up");
    Expect(b_->DmaRead(Vm::Va(1), tegra241::kAtc), b_->Value(1), "set up");
    b_->MapPage(0, 2);
    b_->MapPage(1, 3);
    // Only the device has this one from here on.
    const uint64_t at = b_->Scratch(sizeof(Cmd));
    b_->Store(at, tegra241::TlbiNhVa(7, Vm::Va(1)));
    uint32_t done = 0;
    Expect(static_cast<uint64_t>(b_->Invalidate(at, 1, &done)), 0, "set up");
    before_ = Others();
    memory_ = Memory();
  }

  void Run(Input* in) {
    for (int steps = 0; !in->empty() && steps < 400 && finding_.empty();
         steps++) {
      Step(in);
      if (steps % 64 == 63) Check();
    }
    if (finding_.empty()) Check();
    if (finding_.empty()) Afterwards();
  }

  // Takes all of it apart.
  std::string Finish() {
    a_.reset();
    if (b_ != nullptr && finding_.empty()) OtherGuestWorks();
    b_.reset();
    if (sys_ == nullptr) return finding_;
    if (secret_ != 0) sys_->munmap(secret_, kSecretBytes);
    if (finding_.empty()) {
      const std::string left = sys_->residue();
      if (!left.empty()) finding_ = "left behind:\n" + left;
    }
    sys_.reset();
    return finding_;
  }

 private:
  static constexpr size_t kSecretBytes = 16 << 10;

  void Step(Input* in) {
    const uint8_t op = in->Byte();
    const uint32_t index = op >> 7;
    switch (op % 16) {
      case 0:
      case 1:
      case 2: {  // A register of a queue, wherever its LVCMDQ may be.
        const uint8_t where = in->Byte();
        const uint64_t at = where % 8 * 4 + (where / 8 % 4) * 0x80;
        StorePage0(at, in->Value(0), 4);
        break;
      }
      case 3: {  // Anywhere in page 0, of any size.
        const uint64_t at = in->Get<uint16_t>();
        const size_t n = size_t{1} << in->Byte() % 4;
        StorePage0(at & ~(n - 1), in->Value(0), n);
        break;
      }
      case 4: {
        uint64_t v;
        const uint64_t at = in->Get<uint16_t>();
        const size_t n = size_t{1} << in->Byte() % 4;
        sys_->load(a_->page0() + (at & ~(n - 1)), &v, n);
        break;
      }
      case 5:
      case 6:
      case 7:  // A command where the queue goes on, and its doorbell.
        a_->Store(a_->Entry(index, Prod(index) % kEntries), Command(in));
        StorePage0(index * 0x80 + tegra241::kProd, Prod(index) + 1, 4);
        break;
      case 8:  // A command anywhere in it.
        a_->Store(a_->Entry(index, in->Byte() % kEntries), Command(in));
        break;
      case 9:  // What has an error is mended.
        Mend(index);
        break;
      case 10: {  // Its own tables, context, data.
        static constexpr uint64_t kWhere[] = {
            Vm::kCd,
            Vm::kTable,
            Vm::kTable + 0x1000 + (Vm::kVa >> 21) * 8,
            Vm::kTable + 0x2000,
            Vm::kQueues,
            Vm::kData};
        const uint64_t at =
            kWhere[in->Byte() % std::size(kWhere)] + in->Byte() % 16 * 8;
        a_->Store(a_->ram() + at, in->Value(Vm::kIpa));
        break;
      }
      case 11: {                   // Its device.
        if (dmas_++ >= 16) break;  // The SMMU keeps a bounded number.
        const uint8_t how = in->Byte();
        uint64_t value = in->Value(Vm::kIpa);
        const uint64_t va = how & 1 ? value : Vm::Va(how / 2 % 8);
        a_->Dma(how & 0x80 ? tegra241::kWrite : tegra241::kRead, va, &value,
                how & 0x40 ? tegra241::kAtc : 0);
        break;
      }
      case 12: {  // By way of the kernel.
        const uint32_t n = in->Byte() % 8 + 1u;
        const uint64_t at = a_->Scratch(n * sizeof(Cmd));
        for (uint32_t i = 0; i < n; i++)
          a_->Store(at + i * sizeof(Cmd), Command(in));
        uint32_t done = 0;
        const long rc = a_->Invalidate(at, n, &done);
        if (rc > 0 || done > n) finding_ = "HWPT_INVALIDATE did too much";
        if (rc == 0 && done != n) finding_ = "HWPT_INVALIDATE did too little";
        break;
      }
      case 13:  // The VMM takes the queue, or gives one.
        if (queues_[index] != 0) {
          FreeQueue(index);
        } else {
          AllocQueue(index);
        }
        break;
      default:
        platform_step(sys_->kernel());
        break;
    }
  }

  uint32_t Prod(uint32_t index) {
    return a_->Load<uint32_t>(a_->Reg(index, tegra241::kProd));
  }
  // What no register is there answers with an error, which is the guest's.
  void StorePage0(uint64_t at, uint64_t value, size_t n) {
    if (at + n <= 0x10000) sys_->store(a_->page0() + at, &value, n);
  }
  void Mend(uint32_t index) {
    const uint32_t cons = a_->Load<uint32_t>(a_->Reg(index, tegra241::kCons));
    a_->Store(a_->Entry(index, cons % kEntries), tegra241::Sync());
    a_->Store(a_->Reg(index, tegra241::kGerrorn),
              a_->Load<uint32_t>(a_->Reg(index, tegra241::kGerror)));
    a_->Store<uint32_t>(a_->Reg(index, tegra241::kConfig), 1);
  }
  void AllocQueue(uint32_t index) {
    const long rc =
        a_->QueueAlloc(index, Vm::kIpa + Vm::kQueues + index * Vm::kQueueBytes,
                       kEntries * sizeof(Cmd), &queues_[index]);
    if (rc != 0) {
      queues_[index] = 0;
      if (index == 0 || rc != -EIO) finding_ = "no queue";
      return;
    }
    a_->Store<uint32_t>(a_->Reg(index, tegra241::kConfig), 1);
    if (a_->Load<uint32_t>(a_->Reg(index, tegra241::kQueueStatus)) != 1)
      finding_ = "a new queue does not start";
  }
  void FreeQueue(uint32_t index) {
    const long rc = a_->Destroy(queues_[index]);
    if (rc == 0) {
      queues_[index] = 0;
    } else if (rc != -EBUSY || index != 0 || queues_[1] == 0) {
      finding_ = "a queue stays";
    }
  }

  uint64_t Mmio(uint64_t phys, unsigned size = 4) {
    uint64_t v = 0;
    mmio_read(sys_->kernel(), phys, size, &v);
    return v;
  }
  uint64_t Vcmdq(uint32_t q, uint64_t reg) {
    return Mmio(kCmdqv + 0x10000 + q * 0x80 + reg);
  }

  // All that is not the first guest's. VINTF0 is the kernel's, 1 the first's.
  std::vector<uint64_t> Others() {
    task_scope scope(sys_->task());
    std::vector<uint64_t> seen;
    auto base = [&](uint32_t q) {
      seen.push_back(Mmio(kCmdqv + 0x20000 + q * 0x80, 8));
      seen.push_back(Mmio(kCmdqv + 0x20008 + q * 0x80, 8));
    };
    for (uint32_t q = 0; q < 4 * kLvcmdqs; q++) {
      const bool kernels = q < kLvcmdqs;
      if (q / kLvcmdqs == 1) continue;
      seen.push_back(Mmio(kCmdqv + 0x200 + q * 4));
      base(q);
      // The kernel's own move when it is asked to invalidate.
      for (uint64_t reg = kernels ? 8 : 0; reg < 0x18; reg += 4) {
        if (!kernels || reg < 0x10) seen.push_back(Vcmdq(q, reg));
      }
    }
    for (uint32_t v = 0; v < 4; v++) {
      seen.push_back(Mmio(kCmdqv + 0x1000 + v * 0x100));
      for (uint64_t s = 0; s < 16; s++) {
        seen.push_back(Mmio(kCmdqv + 0x1040 + v * 0x100 + s * 4));
        seen.push_back(Mmio(kCmdqv + 0x1080 + v * 0x100 + s * 4));
      }
      if (v != 1) seen.push_back(Mmio(kCmdqv + 0x10c0 + v * 0x100));
    }
    seen.push_back(Mmio(kCmdqv));
    seen.push_back(Mmio(kCmdqv + 0x1c));
    for (uint64_t reg = 0; reg < 0xa0; reg += 4) {
      // GERROR and the command queue's indices.
      if (reg != 0x60 && reg != 0x64 && reg != 0x98 && reg != 0x9c)
        seen.push_back(Mmio(kSmmu + reg));
    }
    return seen;
  }
  std::vector<uint8_t> Memory() {
    std::vector<uint8_t> bytes(0x20000 + 0x1000 + kSecretBytes);
    sys_->load(b_->ram(), bytes.data(), 0x20000);
    sys_->load(b_->ram() + Vm::kQueues, bytes.data() + 0x20000, 0x1000);
    sys_->load(secret_, bytes.data() + 0x21000, kSecretBytes);
    return bytes;
  }

  void Expect(uint64_t got, uint64_t want, const char* what) {
    if (got == want || !finding_.empty()) return;
    char text[128];
    snprintf(text, sizeof(text), "%s: 0x%llx and not 0x%llx", what,
             static_cast<unsigned long long>(got),
             static_cast<unsigned long long>(want));
    finding_ = text;
  }

  void Check() {
    const std::vector<uint64_t> now = Others();
    for (size_t i = 0; i < now.size(); i++) {
      if (now[i] != before_[i])
        Expect(now[i], before_[i],
               ("another's register, " + std::to_string(i)).c_str());
    }
    if (Memory() != memory_ && finding_.empty())
      finding_ = "another's memory changed";
    Expect(b_->DmaRead(Vm::Va(0)), b_->Value(0), "another guest's translation");
    Expect(b_->DmaRead(Vm::Va(1), tegra241::kAtc), b_->Value(1),
           "another guest's device's translation");
    // What the guest has no queue for is nobody's, and clean.
    task_scope scope(sys_->task());
    for (uint32_t i = 0; i < kLvcmdqs; i++) {
      const uint32_t q = kLvcmdqs + i;
      const uint64_t map = Mmio(kCmdqv + 0x200 + q * 4) & 1;
      Expect(map, queues_[i] != 0, "an LVCMDQ's being allocated");
      const uint64_t base = Mmio(kCmdqv + 0x20000 + q * 0x80, 8);
      if (queues_[i] != 0) {
        // 64 entries, of its own memory.
        Expect(base & 31, 6, "a queue's size");
        continue;
      }
      Expect(base, 0, "the base of an LVCMDQ that is not allocated");
      for (uint64_t reg = 0; reg < 0x10; reg += 4)
        Expect(Vcmdq(q, reg), 0, "a register of one that is not allocated");
      Expect(Vcmdq(q, tegra241::kGerror), Vcmdq(q, tegra241::kGerrorn),
             "an error of one that is not allocated");
    }
  }

  // Whatever it did, with its queues given back it can begin anew.
  void Afterwards() {
    for (uint32_t i = kLvcmdqs; i-- > 0;) {
      if (queues_[i] != 0) FreeQueue(i);
    }
    if (finding_.empty()) Check();
    if (finding_.empty()) AllocQueue(0);
    if (finding_.empty())
      Works(a_.get(), "the guest's next queue", {tegra241::TlbiNhAsid(7)});
    if (finding_.empty()) Check();
  }
  void OtherGuestWorks() {
    Works(b_.get(), "another guest's queue",
          {tegra241::TlbiNhVa(7, Vm::Va(0)), tegra241::TlbiNhVa(7, Vm::Va(1)),
           tegra241::AtcInv(0x20, 0, 52)});
    Expect(b_->DmaRead(Vm::Va(0)), b_->Value(2), "after the invalidation");
    Expect(b_->DmaRead(Vm::Va(1), tegra241::kAtc), b_->Value(3),
           "after the device's invalidation");
  }
  void Works(Vm* vm, const char* what, std::vector<Cmd> cmds) {
    cmds.push_back(tegra241::Sync());
    uint32_t at = 0;
    for (const Cmd& cmd : cmds) vm->Store(vm->Entry(0, at++), cmd);
    vm->Store<uint32_t>(vm->Reg(0, tegra241::kProd), at);
    for (int i = 0; i < 100; i++) platform_step(sys_->kernel());
    Expect(vm->Load<uint32_t>(vm->Reg(0, tegra241::kCons)), at, what);
  }

  std::string finding_;
  std::unique_ptr<sim_syscalls> sys_;
  std::unique_ptr<Vm> a_, b_;
  uint64_t secret_ = 0;
  uint32_t queues_[kLvcmdqs] = {};
  int dmas_ = 0;
  std::vector<uint64_t> before_;
  std::vector<uint8_t> memory_;
};

// The models alone, and whatever a host does to them.
class Models {
 public:
  explicit Models(uint8_t how) {
    mm_options opts;
    opts.ram_bytes = 8 << 20;
    if (mm_init(&kernel_, opts)) return;
    up_ = true;
    task_ = std::make_unique<task_struct>(&kernel_);
    task_scope scope(task_.get());
    smmuv3_hw_config config;
    config.kernel = &kernel_;
    config.phys = kSmmu;
    config.mode = how & 2 ? HW_STEPPED : HW_EAGER;
    config.msi = how & 1;
    config.pri = how & 4;
    for (unsigned i = 0; i < SMMUV3_NR_IRQS; i++) config.irqs[i] = i + 1;
    config.raise = [](struct kernel*, unsigned) { return true; };
    auto smmu = smmuv3_hw_create(&config);
    if (!smmu) return;
    smmu_ = *smmu;
    tegra241_cmdqv_hw_config cmdqv;
    cmdqv.phys = kCmdqv;
    if (auto q = tegra241_cmdqv_hw_create(smmu_, &cmdqv)) cmdqv_ = *q;
    dma_testdev_config dev;
    dev.phys = kDevice;
    dev.sid = 9;
    if (auto d = dma_testdev_create(smmu_, &dev)) dev_ = *d;
    page_ = alloc_pages(GFP_KERNEL, kOrder);
  }
  ~Models() {
    if (!up_) return;
    task_scope scope(task_.get());
    if (page_ != nullptr) __free_pages(page_, kOrder);
    if (dev_ != nullptr) dma_testdev_destroy(dev_);
    tegra241_cmdqv_hw_destroy(cmdqv_);
    smmuv3_hw_destroy(smmu_);
    mm_exit(&kernel_);
  }

  std::string Run(Input* in) {
    if (page_ == nullptr || dev_ == nullptr || cmdqv_ == nullptr) return "";
    task_scope scope(task_.get());
    const uint64_t memory = page_to_phys(page_);
    static constexpr struct {
      uint64_t base, size;
    } kRegions[] = {
        {kSmmu, 0xe0},
        {kSmmu + 0x10000, 0xe0},
        {kCmdqv, 0x40},
        {kCmdqv + 0x200, 0x40},
        {kCmdqv + 0x1000, 0x400},
        {kCmdqv + 0x10000, 0x400},
        {kCmdqv + 0x20000, 0x400},
        {kCmdqv + 0x30000, 0x400},
        {kCmdqv + 0x40000, 0x400},
        {kCmdqv + 0x50000, 0x400},
        {kDevice, 0x40},
        {kCmdqv, 0xb0000},
    };
    for (int steps = 0; !in->empty() && steps < 1000; steps++) {
      const uint8_t op = in->Byte();
      switch (op % 8) {
        case 0: {
          const uint64_t at = memory + in->Get<uint16_t>() % kBytes / 8 * 8;
          const uint64_t v = in->Value(memory);
          memcpy(phys_to_virt(at), &v, sizeof(v));
          break;
        }
        case 1: {
          const Cmd cmd = Command(in);
          const uint64_t at = memory + in->Byte() % 64 * sizeof(cmd);
          memcpy(phys_to_virt(at), &cmd, sizeof(cmd));
          break;
        }
        case 2:
          smmuv3_hw_step(smmu_);
          break;
        default: {
          const auto& region = kRegions[in->Byte() % std::size(kRegions)];
          const unsigned size = op & 0x80 ? 8 : 4;
          const uint64_t at =
              region.base + in->Get<uint32_t>() % (region.size / size) * size;
          uint64_t v = in->Value(memory);
          if (op & 0x40) {
            mmio_read(&kernel_, at, size, &v);
          } else {
            mmio_write(&kernel_, at, size, v);
          }
        }
      }
    }
    for (int i = 0; i < 1000 && smmuv3_hw_step(smmu_); i++) {
    }
    return Maps();
  }

 private:
  static constexpr uint64_t kDevice = 0x30000000;
  static constexpr unsigned kOrder = 2;
  static constexpr uint64_t kBytes = 0x4000;

  uint64_t Read(uint64_t at) {
    uint64_t v = 0;
    mmio_read(&kernel_, at, 4, &v);
    return v;
  }
  // Who has an error is said in three places.
  std::string Maps() {
    const uint64_t errors = Read(kCmdqv + 0x24);
    uint64_t vintfs = 0;
    for (unsigned q = 0; q < cmdqv_->num_vcmdqs(); q++) {
      const uint64_t map = Read(kCmdqv + 0x200 + q * 4);
      const uint64_t bit = errors >> q & 1;
      if (!(map & 1)) {
        if (Read(kCmdqv + 0x1000c + q * 0x80) & 1)
          return "a VCMDQ runs that is not allocated";
        continue;
      }
      const uint64_t v = map >> 15 & 63;
      if (v >= cmdqv_->num_vintfs()) return "a VCMDQ of no VINTF";
      vintfs |= bit << v;
      if ((Read(kCmdqv + 0x10c0 + v * 0x100) >> (map >> 1 & 127) & 1) != bit)
        return "LVCMDQ_ERR_MAP is not CMDQ_ERR_MAP";
    }
    return Read(kCmdqv + 0x14) == vintfs ? "" : "VINTF_ERR_MAP is wrong";
  }

  struct kernel kernel_;
  bool up_ = false;
  std::unique_ptr<task_struct> task_;
  smmuv3_hw* smmu_ = nullptr;
  tegra241_cmdqv_hw* cmdqv_ = nullptr;
  dma_testdev* dev_ = nullptr;
  struct page* page_ = nullptr;
};

}  // namespace

std::string RunCmdqvMmio(const uint8_t* data, size_t size) {
  Input in(data, size);
  const uint8_t how = in.Byte();
  if (how & 8) return Models(how).Run(&in);
  World world(how);
  world.Run(&in);
  return world.Finish();
}

}  // namespace fuzz
