// SPDX-License-Identifier: GPL-2.0-or-later
//
// A guest's invalidations, through a VCMDQ of its own and by trapping: what the
// vCMDQ series is for. Both begin with the guest's first store and end when it
// reads that its SYNC is done. N is how many TLBI_NH_VA it does before.
//
// The guest is like Linux's driver: it collects commands, copies up to 64 of
// them into its queue and stores PROD; the last time with a SYNC behind them.
// So 512 commands are 8 doorbells, and so are they for both.
//
// BM_Invalidation/vcmdq/N: the stores of the commands into memory, of PROD into
//   the mmapped page 0 of the VINTF, the hardware's work (the model does it in
//   the store, as TEGRA241_EAGER) and the load of CONS from page 0. No system
//   call, no kernel.
// BM_Invalidation/trapped/N: the same stores into memory. Each doorbell traps:
//   the VMM copies the new commands out of the guest's queue, leaves the SYNC
//   out and calls HWPT_INVALIDATE on the vIOMMU, which copies them in, converts
//   each (VMID, stream id), gives them to the hardware in batches and waits for
//   a SYNC of its own after each batch. Then CONS, in memory, which the guest
//   loads. The trap itself costs nothing here.
// BM_Invalidation/trapped+exit/N: with a VM exit, which takes kVmExitNs, before
//   each doorbell. It is spent in a loop that looks at the clock. The label
//   says how long it is.
// BM_Floor/N: the guest's stores and loads alone, with no command for anybody.
//
// What none has: caches and buses, a guest's own kernel, contention. What the
// model of the hardware takes for a command is in all but the floor, so the
// ratio of two of them is closer to 1 than on hardware, where a command takes
// less than an ioctl. Compare figures of one run only, and where a machine has
// other work those of the CPU.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "tests/platform/tegra241_vm.h"

namespace {

using tegra241::Cmd;
using tegra241::Vm;

// Modelled: from the guest's store until the VMM runs, and back. An assumption
// and no measurement of ours: on arm64 a trap into KVM and back is of the order
// of a microsecond, and KVM_RUN's return to the VMM and its next call double
// that. Real ones are rather longer than shorter.
constexpr int kVmExitNs = 2000;

constexpr uint32_t kLog2 = 10;   // entries of the guest's queue
constexpr uint32_t kBatch = 64;  // of Linux's driver

[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "invalidation: %s\n", what);
  std::exit(1);
}

enum Way { kVcmdq, kTrapped, kTrappedExit, kFloor };

// A guest with a queue, on a kernel as a benchmark wants it: no lock checks, no
// poisoned allocations.
class Guest {
 public:
  explicit Guest(Way way) : way_(way) {
    const tegra241_machine_options machine;
    sim_options opts;
    opts.kernel.lockdep = false;
    opts.kernel.poison = false;
    opts.revision = "vcmdq-v2";
    opts.machine = &tegra241_machine;
    opts.machine_options = &machine;
    auto sys = sim_syscalls::create(opts);
    if (!sys) Die("no kernel");
    sys_ = std::move(*sys);
    vm_ = std::make_unique<Vm>(sys_.get(), Vm::Options{});
    vm_->StartQueue(0, 1u << kLog2);
    if (way != kFloor) Check();
  }
  ~Guest() { vm_.reset(); }

  // `n` invalidations and a SYNC, which is done when it returns.
  void Invalidate(uint32_t n) {
    Cmd batch[kBatch + 1];
    for (uint32_t done = 0; done < n;) {
      const uint32_t now = std::min(n - done, kBatch);
      uint32_t count = now;
      for (uint32_t i = 0; i < now; i++) {
        batch[i] = tegra241::TlbiNhVa(7, Vm::Va(static_cast<int>(done + i)));
      }
      done += now;
      if (done == n) batch[count++] = tegra241::Sync();
      Submit(batch, count);
    }
    while (Cons() != prod_) {
      if (way_ == kVcmdq && vm_->Load<uint32_t>(vm_->Reg(0, tegra241::kGerror)))
        Die("the queue has an error");
    }
  }

 private:
  static constexpr uint32_t kMask = (2u << kLog2) - 1;

  void Put(uint64_t addr, const void* from, size_t n) {
    if (sys_->store(addr, from, n)) Die("store");
  }
  // Where the guest finds CONS of a queue that is trapped: in memory, as the
  // VMM puts it there.
  uint64_t TrappedCons() const { return vm_->ram() + 0x8000; }
  uint64_t ConsAddress() const {
    return way_ == kVcmdq ? vm_->Reg(0, tegra241::kCons) : TrappedCons();
  }
  uint32_t Cons() {
    uint32_t cons;
    if (sys_->load(ConsAddress(), &cons, sizeof(cons))) Die("load");
    return cons & kMask;
  }

  void Submit(const Cmd* cmds, uint32_t n) {
    const uint32_t from = prod_;
    for (uint32_t i = 0; i < n;) {
      // Around the end in two pieces.
      const uint32_t at = (from + i) & ((1u << kLog2) - 1);
      const uint32_t now = std::min(n - i, (1u << kLog2) - at);
      Put(vm_->Entry(0, at), cmds + i, now * sizeof(Cmd));
      i += now;
    }
    prod_ = (from + n) & kMask;
    switch (way_) {
      case kVcmdq:
        Put(vm_->Reg(0, tegra241::kProd), &prod_, sizeof(prod_));
        return;
      case kFloor:
        Put(TrappedCons(), &prod_, sizeof(prod_));
        return;
      case kTrappedExit:
        Exit();
        break;
      case kTrapped:
        break;
    }
    Trap(from, n);
  }

  static void Exit() {
    const auto until =
        std::chrono::steady_clock::now() + std::chrono::nanoseconds(kVmExitNs);
    while (std::chrono::steady_clock::now() < until) {
    }
  }

  // The VMM, when the guest has stored PROD.
  void Trap(uint32_t from, uint32_t n) {
    Cmd cmds[kBatch + 1];
    for (uint32_t i = 0; i < n;) {
      const uint32_t at = (from + i) & ((1u << kLog2) - 1);
      const uint32_t now = std::min(n - i, (1u << kLog2) - at);
      if (sys_->load(vm_->Entry(0, at), cmds + i, now * sizeof(Cmd)))
        Die("load");
      i += now;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
      if ((cmds[i].data[0] & 0xff) != 0x46) cmds[kept++] = cmds[i];
    }
    const uint64_t at = vm_->Scratch(sizeof(cmds));
    Put(at, cmds, kept * sizeof(Cmd));
    uint32_t done;
    if (kept && (vm_->Invalidate(at, kept, &done) || done != kept))
      Die("HWPT_INVALIDATE");
    Put(TrappedCons(), &prod_, sizeof(prod_));
  }

  // That what is measured does what it is for.
  void Check() {
    for (uint32_t n : {1u, 70u, 16u}) {
      const int last = static_cast<int>(n - 1);
      vm_->MapPage(last, 1);
      Invalidate(n);
      if (vm_->DmaRead(Vm::Va(last)) != vm_->Value(1)) Die("no translation");
      vm_->MapPage(last, 2);
      if (vm_->DmaRead(Vm::Va(last)) != vm_->Value(1)) Die("nothing is stale");
      Invalidate(n);
      if (vm_->DmaRead(Vm::Va(last)) != vm_->Value(2)) Die("it is stale");
    }
  }

  const Way way_;
  std::unique_ptr<sim_syscalls> sys_;
  std::unique_ptr<Vm> vm_;
  uint32_t prod_ = 0;
};

void Add(const char* name, Way way, int n) {
  auto* b = benchmark::RegisterBenchmark(
      (name + ("/" + std::to_string(n))).c_str(), [=](benchmark::State& s) {
        Guest guest(way);
        for (auto _ : s) guest.Invalidate(static_cast<uint32_t>(n));
        s.SetItemsProcessed(s.iterations() * n);
        if (way == kTrappedExit)
          s.SetLabel("exit=" + std::to_string(kVmExitNs) + "ns, modelled");
      });
  b->Unit(benchmark::kMicrosecond);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (int n : {1, 16, 512}) {
    Add("BM_Invalidation/vcmdq", kVcmdq, n);
    Add("BM_Invalidation/trapped", kTrapped, n);
    Add("BM_Invalidation/trapped+exit", kTrappedExit, n);
    Add("BM_Floor", kFloor, n);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
