// SPDX-License-Identifier: GPL-2.0-or-later
//
// A guest: what an operating system in a VM does with its SMMU, its CMDQV and
// one device, in so far as it matters here. It knows guest-physical addresses
// and nothing of iommufd; compare arm-smmu-v3.c and tegra241-cmdqv.c as they
// run in a guest, whose order of accesses this follows.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "examples/vmm/machine.h"
#include "examples/vmm/vcpu.h"

namespace vmm {

class Guest {
 public:
  // `tag` marks this guest's data: page n of it begins with tag << 12 | n.
  Guest(Vcpu* cpu, uint32_t tag) : cpu_(cpu), tag_(tag) {}

  // ---- boot ----

  // Writes the guest's data and empty tables into its RAM.
  void Load();
  // The SMMU with its queues, and the device behind stage 1 tables of the
  // guest. Every register of it traps.
  bool StartSmmu();
  // The CMDQV and its VINTF. False: there is none, or it does not come up.
  bool StartVintf();
  // An LVCMDQ: maps it, tells the hardware where it is, enables it.
  bool StartQueue(uint32_t q);
  // All of it, as a guest boots.
  bool Boot();

  static constexpr std::chrono::milliseconds kPatience{10'000};

  // The parts of StartQueue().
  void MapQueue(uint32_t q);
  void WriteBaseLow(uint32_t q, uint32_t value);
  void WriteBaseHigh(uint32_t q, uint32_t value);
  // False: it did not start for so long.
  bool EnableQueue(uint32_t q, std::chrono::milliseconds patience = kPatience);
  uint64_t QueueBase(uint32_t q) const;
  // Back to before MapQueue(); the last queue goes first.
  void StopQueue(uint32_t q);
  // All that Boot() did.
  void ShutDown();

  uint32_t num_queues() const { return num_queues_; }
  bool hyp_own() const { return hyp_own_; }

  // ---- tables and invalidation ----

  // Stage 1: iova, of those in [kIova, kIova + 2M), to page n of the guest's
  // data; -1: to nothing. Invalidates nothing.
  static constexpr uint64_t kIova = 0x500'0000;
  static constexpr uint64_t kAsid = 7;
  void MapPage(uint64_t iova, int n);
  // What a device then reads there.
  uint64_t DataOf(int n) const { return uint64_t{tag_} << 12 | n; }
  static uint64_t DataAddress(int n);

  // Through an LVCMDQ: into its memory, PROD, and wait for CONS. False: the
  // queue stopped at an error, or does not move.
  bool Issue(uint32_t q, const std::vector<Command>& commands);
  // Through the SMMU's own queue, where the VMM does it.
  bool IssueTrapped(const std::vector<Command>& commands);
  static constexpr uint32_t kQueueLog2 = 6;
  static constexpr uint32_t kQueueEntries = 1 << kQueueLog2;

  // A register of an LVCMDQ in page 0.
  uint32_t QueueRegister(uint32_t q, uint64_t reg);

  // ---- the device ----

  static constexpr uint64_t kNoData = ~0ULL;
  // kNoData when the access is aborted.
  uint64_t DmaRead(uint64_t iova, bool through_atc = false);

  // ---- interrupts ----

  // A queue that stopped, and how the guest understood it.
  struct QueueError {
    int queue;  // LVCMDQ, or -1: the SMMU's own
    uint32_t code;
    Command command;
  };
  struct Fault {
    uint8_t type;
    uint32_t sid;
    uint64_t address;
  };
  // The handlers of interrupts that are pending: a command that the queue
  // stopped at becomes a SYNC and the error is acknowledged, and the queue goes
  // on; events of the SMMU are taken from their queue.
  void HandleInterrupts();
  std::vector<QueueError> TakeErrors();
  std::vector<Fault> TakeFaults();

 private:
  bool WaitFor(uint64_t gpa, uint32_t mask, uint32_t want,
               std::chrono::milliseconds patience = kPatience);
  uint64_t PushCommand(uint64_t queue, uint32_t prod, const Command& command);
  Command CommandAt(uint64_t queue, uint32_t cons);
  QueueError Mend(int q, uint64_t queue, uint32_t cons);
  void HandleCmdqvError();
  void HandleSmmuError();
  void HandleSmmuEvents();

  Vcpu* const cpu_;
  const uint32_t tag_;
  uint32_t num_queues_ = 0;
  bool hyp_own_ = false;
  std::vector<QueueError> errors_;
  std::vector<Fault> faults_;
};

}  // namespace vmm
