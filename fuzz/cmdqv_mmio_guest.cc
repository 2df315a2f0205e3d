// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "core/linux/io.h"
#include "core/linux/kernel.h"
#include "core/mm/mm.h"
#include "drivers/hw/tegra241-cmdqv-hw.h"
#include "fuzz/cmdqv_mmio_input.h"
#include "tests/platform/tegra241_vm.h"
#include "uapi/iommufd.h"

namespace fuzz::cmdqv {
namespace {

using tegra241::Cmd;
using tegra241::Vm;

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

}  // namespace

std::string RunGuest(uint8_t how, Input* in) {
  World world(how);
  world.Run(in);
  return world.Finish();
}

}  // namespace fuzz::cmdqv
