// SPDX-License-Identifier: GPL-2.0-or-later
#include "examples/vmm/stories.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <utility>

namespace vmm {
namespace {

// Where the guest's device looks.
constexpr uint64_t kIova = Guest::kIova;
constexpr int kPatienceMs = 10000;
// For what is not to happen.
constexpr std::chrono::milliseconds kImpatience{100};

// A value as a reader wants it.
std::string Show(uint64_t v) {
  switch (v) {
    case Guest::kNoData:
      return "nothing";
    case static_cast<uint64_t>(-EBUSY):
      return "EBUSY";
    case static_cast<uint64_t>(-EINVAL):
      return "EINVAL";
  }
  char buf[32];
  snprintf(buf, sizeof(buf), v < 1000 ? "%llu" : "0x%llx",
           static_cast<unsigned long long>(v));
  return buf;
}

class Story {
 public:
  Story(syscalls* host, const StoryOptions& options, StoryResult* result)
      : host_(host), options_(options), result_(result) {}

  void Run();
  void Reboot();
  void TwoVms();
  void Error();
  void Crash();

 private:
  // ---- the telling ----

  void Say(const std::string& text) { *options_.out << text << "\n"; }
  bool Step(const std::string& what, bool good, const std::string& saw = "") {
    result_->steps++;
    result_->as_expected += good;
    *options_.out << (good ? "  ok    " : "  WRONG ") << what;
    if (!good && !saw.empty()) *options_.out << " (saw " << saw << ")";
    *options_.out << "\n";
    return good;
  }
  bool StepIs(const std::string& what, uint64_t saw, uint64_t expected) {
    return Step(what + ": " + Show(expected), saw == expected, Show(saw));
  }

  // ---- VMs ----

  // A new process, with a VMM that has not started. nullptr: no process.
  std::unique_ptr<Vm> NewVm(const std::string& name, int device) {
    auto vm = std::make_unique<Vm>();
    vm->name = name;
    if (host_->fork(&vm->process) != 0) return nullptr;
    vm->cpu = std::make_unique<Vcpu>(vm->process.get());
    vm->vmm = std::make_unique<Vmm>(vm->process.get(), vm->cpu.get(),
                                    Vmm::Options{options_.revision, device},
                                    [this, name](const std::string& line) {
                                      *options_.out << "          " << name
                                                    << ": " << line << "\n";
                                    });
    // Guests of the same software: only what is in their memory differs.
    vm->guest = std::make_unique<Guest>(vm->cpu.get(),
                                        static_cast<uint32_t>(0xa0 + device));
    return vm;
  }
  std::unique_ptr<Vm> Start(const std::string& name, int device) {
    std::unique_ptr<Vm> vm = NewVm(name, device);
    const bool good = Step(name +
                               ": the VMM makes a VM: the guest's RAM in an "
                               "IOAS, a nest parent, a VINTF, the device",
                           vm != nullptr && vm->vmm->Start() == 0);
    return good ? std::move(vm) : nullptr;
  }
  std::unique_ptr<Vm> StartAndBoot(const std::string& name, int device) {
    std::unique_ptr<Vm> vm = Start(name, device);
    if (vm == nullptr) return nullptr;
    Step(
        name + ": the guest boots: its SMMU, a VINTF, " + "all LVCMDQs of that",
        vm->guest->Boot() && vm->vmm->NumQueues() == vm->guest->num_queues() &&
            vm->guest->num_queues() >= 2);
    return vm;
  }
  void ShutDown(std::unique_ptr<Vm> vm) {
    vm->guest->ShutDown();
    Step(vm->name + ": the guest shuts down: no queue of it is left",
         vm->vmm->NumQueues() == 0 && !vm->vmm->Page0IsTheGuests());
    const long rc = vm->vmm->ShutDown();
    Step(vm->name + ": the VMM takes the VM apart, in order", rc == 0,
         std::to_string(rc));
  }
  void NothingIsLeft() {
    const std::string residue = host_->residue();
    Step("nothing is left in the kernel", residue.empty(), residue);
  }
  void Height(const std::vector<Vm*>& vms) {
    if (options_.at_height) options_.at_height(vms);
  }

  // ---- what a queue is for ----

  // The guest's table changes: a DMA sees the old translation, and the new one
  // after `commands`, which go through LVCMDQ q without an exit.
  void InvalidateThrough(Vm* vm, uint32_t q, const std::string& name,
                         const std::vector<Command>& commands, bool atc,
                         int from, int to) {
    Guest& guest = *vm->guest;
    const std::string who =
        vm->name + ": " + name + " through LVCMDQ " + std::to_string(q);
    guest.MapPage(kIova, from);
    guest.Issue(q,
                {TlbiNhAsid(Guest::kAsid), AtcInv(kVirtualSid, 0, 52), Sync()});
    const uint64_t before = guest.DmaRead(kIova, atc);
    guest.MapPage(kIova, to);
    if (atc) guest.Issue(q, {TlbiNhAsid(Guest::kAsid), Sync()});
    const uint64_t stale = guest.DmaRead(kIova, atc);
    const uint64_t exits = vm->cpu->exits();
    const bool done = guest.Issue(q, commands);
    const uint64_t spent = vm->cpu->exits() - exits;
    StepIs(who + ": before it a DMA reads by the old table",
           stale == before ? stale : ~before, guest.DataOf(from));
    StepIs(who + ": after it by the new one",
           done ? guest.DmaRead(kIova, atc) : 0, guest.DataOf(to));
    StepIs(who + ": exits", spent, 0);
  }
  void EachInvalidation(Vm* vm, uint32_t q) {
    InvalidateThrough(vm, q, "TLBI_NH_VA, SYNC",
                      {TlbiNhVa(Guest::kAsid, kIova), Sync()}, false, 2, 3);
    InvalidateThrough(vm, q, "TLBI_NH_ASID, SYNC",
                      {TlbiNhAsid(Guest::kAsid), Sync()}, false, 4, 5);
    InvalidateThrough(vm, q, "ATC_INV, SYNC",
                      {AtcInv(kVirtualSid, kIova), Sync()}, true, 6, 7);
  }
  bool Works(Vm* vm, uint32_t q, int from, int to) {
    Guest& guest = *vm->guest;
    guest.MapPage(kIova, from);
    if (!guest.Issue(q, {TlbiNhAsid(Guest::kAsid), Sync()})) return false;
    if (guest.DmaRead(kIova) != guest.DataOf(from)) return false;
    guest.MapPage(kIova, to);
    if (guest.DmaRead(kIova) != guest.DataOf(from)) return false;
    return guest.Issue(q, {TlbiNhVa(Guest::kAsid, kIova), Sync()}) &&
           guest.DmaRead(kIova) == guest.DataOf(to);
  }
  // A queue as the hardware's reset leaves it.
  bool IsFresh(Vm* vm, uint32_t q) {
    Guest& g = *vm->guest;
    return g.QueueRegister(q, cmdqv::kQueueProd) == 0 &&
           g.QueueRegister(q, cmdqv::kQueueCons) == 0 &&
           g.QueueRegister(q, cmdqv::kQueueGerror) ==
               g.QueueRegister(q, cmdqv::kQueueGerrorn);
  }
  // One error of the CMDQV comes to the VMM, and the guest deals with it.
  std::vector<Guest::QueueError> TakeErrors(Vm* vm) {
    vm->vmm->RunEvents(kPatienceMs);
    vm->guest->HandleInterrupts();
    return vm->guest->TakeErrors();
  }

  syscalls* const host_;
  const StoryOptions& options_;
  StoryResult* const result_;
};

// A VM's life, step by step.
void Story::Run() {
  std::unique_ptr<Vm> vm = Start("vm", 0);
  if (vm == nullptr) return;
  Guest& guest = *vm->guest;
  Vmm& vmm = *vm->vmm;

  Say("The guest's SMMU is off: stage 2 alone.");
  guest.Load();
  StepIs("the device's addresses are guest-physical",
         guest.DmaRead(Guest::DataAddress(1)), guest.DataOf(1));
  StepIs("and reach nothing but the guest's RAM",
         guest.DmaRead(kRamGpa + kRamSize), Guest::kNoData);

  Say("The guest's SMMU comes up: every register of it traps.");
  uint64_t exits = vm->cpu->exits();
  Step("registers, a stream table, CFGI_STE: the VMM attaches a nested table",
       guest.StartSmmu());
  const uint64_t boot_exits = vm->cpu->exits() - exits;
  Step("that took " + std::to_string(boot_exits) + " exits", boot_exits > 0);
  guest.MapPage(kIova, 1);
  StepIs("the device's addresses are of the guest's stage 1",
         guest.DmaRead(kIova), guest.DataOf(1));
  StepIs("and no more guest-physical", guest.DmaRead(Guest::DataAddress(1)),
         Guest::kNoData);

  Say("An invalidation through the SMMU's own queue: the VMM does it.");
  guest.MapPage(kIova, 2);
  StepIs("before it a DMA reads by the old table", guest.DmaRead(kIova),
         guest.DataOf(1));
  exits = vm->cpu->exits();
  const bool issued =
      guest.IssueTrapped({TlbiNhVa(Guest::kAsid, kIova), Sync()});
  const uint64_t trapped_exits = vm->cpu->exits() - exits;
  StepIs("after HWPT_INVALIDATE by the new one",
         issued ? guest.DmaRead(kIova) : 0, guest.DataOf(2));
  Step("TLBI_NH_VA, SYNC took " + std::to_string(trapped_exits) + " exits",
       trapped_exits > 0);

  Say("The CMDQV.");
  Step("the guest enables its VINTF", guest.StartVintf());
  StepIs("it does not own the hardware: HYP_OWN reads", guest.hyp_own(), 0);
  Step("page 0 is the guest's", vmm.Page0IsTheGuests());
  Step("there are several LVCMDQs in it", guest.num_queues() >= 2);
  Step("a queue that nobody allocated does not start",
       !guest.EnableQueue(0, kImpatience));

  Say("VCMDQ_BASE in two stores.");
  guest.MapQueue(0);
  guest.WriteBaseLow(0, static_cast<uint32_t>(guest.QueueBase(0)));
  StepIs("its lower half allocates nothing", vmm.NumQueues(), 0);
  guest.WriteBaseHigh(0, static_cast<uint32_t>(guest.QueueBase(0) >> 32));
  Step("its upper half: the VMM allocates LVCMDQ 0", vmm.HasQueue(0));
  Step("it starts", guest.EnableQueue(0));
  for (uint32_t q = 1; q < guest.num_queues(); q++) {
    Step("LVCMDQ " + std::to_string(q) + " likewise",
         guest.StartQueue(q) && vmm.HasQueue(q));
  }
  Height({vm.get()});

  Say("The guest's commands go to the hardware.");
  for (uint32_t q = 0; q < guest.num_queues(); q++) {
    EachInvalidation(vm.get(), q);
  }
  exits = vm->cpu->exits();
  bool good = true;
  for (int i = 0; i < 12; i++) {
    std::vector<Command> many(Guest::kQueueEntries / 3,
                              TlbiNhVa(Guest::kAsid, kIova));
    many.push_back(Sync());
    good = good && guest.Issue(i % 2, many);
  }
  Step("some hundred commands, around the end of both queues", good);
  StepIs("exits", vm->cpu->exits() - exits, 0);

  Say("While they run the kernel holds what they need.");
  StepIs("LVCMDQ 0 is busy below the next one", vmm.TryDestroyQueue(0),
         static_cast<uint64_t>(-EBUSY));
  StepIs("the memory that they are in cannot be unmapped", vmm.TryUnmapRam(),
         static_cast<uint64_t>(-EBUSY));

  Say("The guest clears BASE.");
  const uint32_t last = guest.num_queues() - 1;
  guest.StopQueue(last);
  Step("of the last queue: the VMM destroys it",
       !vmm.HasQueue(last) && vmm.HasQueue(last - 1));
  Step("the one below works", Works(vm.get(), last - 1, 1, 2));
  Step("the guest takes it again", guest.StartQueue(last));
  Step("it begins at its beginning", IsFresh(vm.get(), last));
  Step("and works", Works(vm.get(), last, 3, 4));
  guest.WriteBaseLow(0, 0);
  StepIs("of the first queue: those above it depend on it and go, too",
         vmm.NumQueues(), 0);
  for (uint32_t q = 0; q < guest.num_queues(); q++) {
    guest.WriteBaseLow(q, static_cast<uint32_t>(guest.QueueBase(q)));
    guest.EnableQueue(q);
  }
  Step("with BASE all of them are there again",
       vmm.NumQueues() == guest.num_queues());
  Step("and work", Works(vm.get(), 0, 5, 6) && Works(vm.get(), last, 7, 8));

  ShutDown(std::move(vm));
  NothingIsLeft();
}

// The guest resets its machine in the middle of everything.
void Story::Reboot() {
  std::unique_ptr<Vm> vm = StartAndBoot("vm", 0);
  if (vm == nullptr) return;
  Guest& guest = *vm->guest;
  for (int time = 1; time <= 3; time++) {
    Say("Reset " + std::to_string(time) + ".");
    Step("the guest uses its queues",
         Works(vm.get(), 0, 1, 2) && Works(vm.get(), 1, 3, 4));
    Step("one stops at an error that nobody deals with",
         !guest.Issue(1, {CfgiSte(kVirtualSid), Sync()}));
    if (time == 1) Height({vm.get()});
    vm->vmm->Reset();
    StepIs("reset: no queue is left", vm->vmm->NumQueues(), 0);
    Step("and no page 0", !vm->vmm->Page0IsTheGuests());
    const uint64_t exits = vm->cpu->exits();
    guest.QueueRegister(0, cmdqv::kQueueProd);
    StepIs("a load from there is an exit again", vm->cpu->exits() - exits, 1);
    Step("the guest's tables are away from the device",
         guest.DmaRead(kIova) == Guest::kNoData);
    guest.HandleInterrupts();
    Step("no interrupt of before is pending", guest.TakeErrors().empty());
    Step("the guest boots again", guest.Boot());
    Step("its queues begin at their beginning",
         IsFresh(vm.get(), 0) && IsFresh(vm.get(), 1));
    StepIs("no event comes of before", vm->vmm->RunEvents(0), 0);
  }
  Step("and its queues work",
       Works(vm.get(), 0, 5, 6) && Works(vm.get(), 1, 7, 8));
  ShutDown(std::move(vm));
  NothingIsLeft();
}

// Two VMs on one SMMU, with the same software: one ASID, one name for the
// device.
void Story::TwoVms() {
  std::unique_ptr<Vm> a = StartAndBoot("vm a", 0);
  std::unique_ptr<Vm> b = StartAndBoot("vm b", 1);
  if (a == nullptr || b == nullptr) return;
  Height({a.get(), b.get()});
  Say("Each has a VINTF with queues of its own.");
  for (Vm* vm : {a.get(), b.get()}) {
    for (uint32_t q = 0; q < vm->guest->num_queues(); q++) {
      EachInvalidation(vm, q);
    }
  }

  Say("What one invalidates is not the other's, though they call it the same.");
  for (bool atc : {false, true}) {
    const std::string what = atc ? "its device's own cache" : "the SMMU's";
    for (Vm* vm : {a.get(), b.get()}) {
      vm->guest->MapPage(kIova, 1);
      vm->guest->Issue(
          0, {TlbiNhAsid(Guest::kAsid), AtcInv(kVirtualSid, 0, 52), Sync()});
      vm->guest->DmaRead(kIova, atc);
      vm->guest->MapPage(kIova, 2);
    }
    // A guest may write any VMID that it likes: nobody looks at it.
    Command forged = TlbiNhAsid(Guest::kAsid);
    forged.data[0] |= 2ULL << 32;
    a->guest->Issue(1, {TlbiNhAsid(Guest::kAsid), forged,
                        AtcInv(kVirtualSid, 0, 52), Sync()});
    StepIs("vm a: new, of " + what, a->guest->DmaRead(kIova, atc),
           a->guest->DataOf(2));
    StepIs("vm b: still old, of " + what, b->guest->DmaRead(kIova, atc),
           b->guest->DataOf(1));
    a->guest->IssueTrapped({TlbiNsnhAll(), AtcInv(kVirtualSid, 0, 52), Sync()});
    StepIs("vm b: nor by the way through vm a's VMM",
           b->guest->DmaRead(kIova, atc), b->guest->DataOf(1));
    b->guest->Issue(
        1, {TlbiNhAsid(Guest::kAsid), AtcInv(kVirtualSid, 0, 52), Sync()});
    StepIs("vm b: new by its own command", b->guest->DmaRead(kIova, atc),
           b->guest->DataOf(2));
  }

  Say("Stores beyond its queues are nothing to anybody.");
  for (uint64_t at = 0x100; at < cmdqv::kPageSize; at += 0xf80) {
    a->cpu->Write32(kCmdqvGpa + cmdqv::kPage0 + at, ~0u);
  }
  Step("vm b: works", Works(b.get(), 0, 3, 4) && Works(b.get(), 1, 5, 6));

  Say("An error is its guest's.");
  Step("vm a: a queue stops", !a->guest->Issue(0, {CfgiSte(0), Sync()}));
  Step("vm b: works", Works(b.get(), 0, 3, 4));
  StepIs("vm b: hears nothing", b->vmm->RunEvents(0), 0);
  const auto errors = TakeErrors(a.get());
  Step("vm a: mends it", errors.size() == 1 && errors[0].queue == 0);
  Step("vm a: works", Works(a.get(), 0, 3, 4));

  Say("One goes.");
  ShutDown(std::move(a));
  Step("vm b: works on", Works(b.get(), 0, 5, 6) && Works(b.get(), 1, 7, 8));
  a = StartAndBoot("vm c", 0);
  if (a != nullptr) {
    Step("vm c: has the VINTF, and nothing of vm a",
         IsFresh(a.get(), 0) && IsFresh(a.get(), 1));
    Step("vm c: works", Works(a.get(), 0, 1, 2) && Works(a.get(), 1, 3, 4));
    ShutDown(std::move(a));
  }
  Step("vm b: works on", Works(b.get(), 0, 1, 2));
  ShutDown(std::move(b));
  NothingIsLeft();
}

// What a guest does wrong comes back to it.
void Story::Error() {
  std::unique_ptr<Vm> vm = StartAndBoot("vm", 0);
  if (vm == nullptr) return;
  Guest& guest = *vm->guest;
  Vmm& vmm = *vm->vmm;
  constexpr uint64_t kReg = cmdqv::kQueueGerror;

  Say("A command that is not for a guest's queue: CFGI_STE in LVCMDQ 1.");
  guest.MapPage(kIova, 1);
  guest.Issue(0, {TlbiNhAsid(Guest::kAsid), Sync()});
  guest.DmaRead(kIova);
  guest.MapPage(kIova, 2);
  Step("the queue stops there",
       !guest.Issue(1,
                    {CfgiSte(kVirtualSid), TlbiNhAsid(Guest::kAsid), Sync()}));
  Step("GERROR has it, without an exit",
       guest.QueueRegister(1, kReg) !=
           guest.QueueRegister(1, cmdqv::kQueueGerrorn));
  StepIs("what comes after it is not done", guest.DmaRead(kIova),
         guest.DataOf(1));
  Step("LVCMDQ 0 runs on", Works(vm.get(), 0, 3, 4));
  guest.MapPage(kIova, 5);
  Step("the VMM reads a vEVENT and interrupts the guest",
       vmm.RunEvents(kPatienceMs) > 0);
  Height({vm.get()});
  guest.HandleInterrupts();
  auto errors = guest.TakeErrors();
  Step("the guest's handler finds LVCMDQ 1, by the map that the VMM shows",
       errors.size() == 1 && errors[0].queue == 1);
  StepIs("the code: illegal", errors.empty() ? 0 : errors[0].code,
         smmu::kErrorIllegal);
  StepIs("the command: CFGI_STE",
         errors.empty() ? 0 : errors[0].command.opcode(), kCfgiSte);
  StepIs("it acknowledged the error: the rest is done", guest.DmaRead(kIova),
         guest.DataOf(5));
  StepIs("no error is left in the map",
         vm->cpu->Read64(kCmdqvGpa + cmdqv::kLvcmdqErrMap), 0);
  Step("the queue works", Works(vm.get(), 1, 1, 2));

  Say("ATC_INV of a device that the guest has not.");
  Step("the queue stops there", !guest.Issue(0, {AtcInv(0x99, 0, 52), Sync()}));
  errors = TakeErrors(vm.get());
  Step("the guest hears of LVCMDQ 0",
       errors.size() == 1 && errors[0].queue == 0 &&
           errors[0].command.opcode() == kAtcInv);
  Step("the queue works", Works(vm.get(), 0, 1, 2));

  Say("Both queues at once.");
  guest.Issue(0, {CfgiSte(0)});
  guest.Issue(1, {CfgiAll()});
  errors.clear();
  for (int i = 0; i < 2 && errors.size() < 2; i++) {
    for (const auto& e : TakeErrors(vm.get())) errors.push_back(e);
  }
  StepIs("the guest hears of both", errors.size(), 2);
  Step("they work", Works(vm.get(), 0, 1, 2) && Works(vm.get(), 1, 3, 4));

  Say("A command that the guest's SMMU does not know, in the queue that "
      "traps.");
  Step("the VMM stops it there", !guest.IssueTrapped({Command{{0xff, 0}}}));
  guest.HandleInterrupts();
  errors = guest.TakeErrors();
  Step("the guest hears of it", errors.size() == 1 && errors[0].queue == -1 &&
                                    errors[0].code == smmu::kErrorIllegal);
  Step("and the queue works", guest.IssueTrapped({Sync()}));

  Say("A DMA where the guest's table has nothing.");
  guest.MapPage(kIova + 0x1000, -1);
  StepIs("it is aborted", guest.DmaRead(kIova + 0x1008), Guest::kNoData);
  Step("the VMM reads a vEVENT of the SMMU", vmm.RunEvents(kPatienceMs) > 0);
  guest.HandleInterrupts();
  const auto faults = guest.TakeFaults();
  StepIs("the guest finds it in its event queue: a translation fault",
         faults.size() == 1 ? faults[0].type : 0, smmu::kFaultTranslation);
  StepIs("of the device, by the guest's name",
         faults.size() == 1 ? faults[0].sid : 0, kVirtualSid);
  StepIs("at its address", faults.size() == 1 ? faults[0].address : 0,
         kIova + 0x1008);

  Say("A BASE that is not aligned to the queue's size.");
  guest.StopQueue(1);
  guest.MapQueue(1);
  const uint64_t odd = guest.QueueBase(1) + 0x200;
  guest.WriteBaseLow(1, static_cast<uint32_t>(odd));
  guest.WriteBaseHigh(1, static_cast<uint32_t>(odd >> 32));
  StepIs("the kernel refuses it", vmm.QueueResult(1),
         static_cast<uint64_t>(-EINVAL));
  Step("the guest sees a queue that does not start",
       !guest.EnableQueue(1, kImpatience));
  guest.StopQueue(1);
  Step("the right one starts", guest.StartQueue(1));
  Step("and works", Works(vm.get(), 1, 1, 2));

  ShutDown(std::move(vm));
  NothingIsLeft();
}

// The VMM's process dies: without a call of its own, at every stage of a VM.
void Story::Crash() {
  struct Stage {
    const char* name;
    std::function<bool(Vm*)> reach;  // from the one before
    bool height = false;
  };
  const std::vector<Stage> stages = {
      {"with a VM that is not running",
       [](Vm* vm) { return vm->vmm->Start() == 0; }},
      {"with the guest's SMMU up",
       [](Vm* vm) {
         vm->guest->Load();
         return vm->guest->StartSmmu();
       }},
      {"with a VINTF", [](Vm* vm) { return vm->guest->StartVintf(); }},
      {"with half a BASE",
       [](Vm* vm) {
         Guest& g = *vm->guest;
         g.MapQueue(0);
         g.WriteBaseLow(0, static_cast<uint32_t>(g.QueueBase(0)));
         return vm->vmm->NumQueues() == 0;
       }},
      {"with a queue that is not enabled",
       [](Vm* vm) {
         Guest& g = *vm->guest;
         g.WriteBaseHigh(0, static_cast<uint32_t>(g.QueueBase(0) >> 32));
         return vm->vmm->NumQueues() == 1;
       }},
      {"with a queue that runs and one to come",
       [](Vm* vm) { return vm->guest->EnableQueue(0); }},
      {"with all queues at work",
       [this](Vm* vm) {
         for (uint32_t q = 1; q < vm->guest->num_queues(); q++) {
           if (!vm->guest->StartQueue(q)) return false;
         }
         return Works(vm, 0, 1, 2) && Works(vm, 1, 3, 4);
       }},
      {"with an error that nobody read",
       [](Vm* vm) {
         return !vm->guest->Issue(1, {CfgiSte(0), TlbiNhAsid(Guest::kAsid)});
       },
       true},
      {"with one that the guest has not acknowledged",
       [](Vm* vm) { return vm->vmm->RunEvents(kPatienceMs) > 0; }},
      {"in a reset",
       [](Vm* vm) {
         vm->vmm->Reset();
         return vm->vmm->NumQueues() == 0;
       }},
  };
  for (size_t last = 0; last < stages.size(); last++) {
    Say(std::string("The VMM dies ") + stages[last].name + ".");
    std::unique_ptr<Vm> vm = NewVm("vm", 0);
    bool good = vm != nullptr;
    for (size_t i = 0; good && i <= last; i++) good = stages[i].reach(vm.get());
    Step("the VM came so far", good);
    if (vm == nullptr) return;
    if (stages[last].height) Height({vm.get()});
    vm->process.reset();
    NothingIsLeft();
  }

  Say("The next VM finds a machine as new.");
  std::unique_ptr<Vm> vm = StartAndBoot("vm", 0);
  if (vm == nullptr) return;
  Step("its queues begin at their beginning",
       IsFresh(vm.get(), 0) && IsFresh(vm.get(), 1));
  for (uint32_t q = 0; q < vm->guest->num_queues(); q++) {
    EachInvalidation(vm.get(), q);
  }
  StepIs("no event comes of before", vm->vmm->RunEvents(0), 0);
  ShutDown(std::move(vm));
  NothingIsLeft();
}

}  // namespace

const std::vector<std::string>& StoryNames() {
  static const auto* names = new std::vector<std::string>{
      "run", "reboot", "two-vms", "error", "crash"};
  return *names;
}

bool TellStory(const std::string& name, syscalls* host,
               const StoryOptions& options, StoryResult* result) {
  Story story(host, options, result);
  if (name == "run") {
    story.Run();
  } else if (name == "reboot") {
    story.Reboot();
  } else if (name == "two-vms") {
    story.TwoVms();
  } else if (name == "error") {
    story.Error();
  } else if (name == "crash") {
    story.Crash();
  } else {
    return false;
  }
  *options.out << result->steps << " steps, " << result->as_expected
               << " as expected\n";
  return true;
}

}  // namespace vmm
