// SPDX-License-Identifier: GPL-2.0-or-later
//
// A guest's processor as KVM runs it. A load or store at a guest-physical
// address goes straight to memory where a slot has it: RAM, a device's BAR, the
// page 0 of a VINTF; else the guest exits to the VMM, which is what all this is
// meant to avoid. Interrupts come from the VMM.
#pragma once

#include <cstdint>
#include <vector>

#include "examples/vmm/machine.h"
#include "uapi/syscalls.h"

namespace vmm {

// The VMM's side of an exit.
class ExitHandler {
 public:
  virtual ~ExitHandler() = default;
  virtual uint64_t MmioRead(uint64_t gpa, unsigned size) = 0;
  virtual void MmioWrite(uint64_t gpa, unsigned size, uint64_t value) = 0;
};

class Vcpu {
 public:
  explicit Vcpu(syscalls* process) : process_(process) {}
  void set_handler(ExitHandler* handler) { handler_ = handler; }

  // Compare KVM_SET_USER_MEMORY_REGION: `addr` is the VMM's.
  void AddSlot(uint64_t gpa, uint64_t size, uint64_t addr);
  void RemoveSlot(uint64_t gpa);
  // Compare KVM_IRQ_LINE.
  void RaiseIrq(Irq irq) { irqs_[static_cast<int>(irq)] = true; }
  // At reset: no interrupt is pending.
  void Reset();

  // ---- the guest's ----

  uint32_t Read32(uint64_t gpa) {
    return static_cast<uint32_t>(Read(gpa, sizeof(uint32_t)));
  }
  uint64_t Read64(uint64_t gpa) { return Read(gpa, sizeof(uint64_t)); }
  void Write32(uint64_t gpa, uint32_t value) {
    Write(gpa, sizeof(value), value);
  }
  void Write64(uint64_t gpa, uint64_t value) {
    Write(gpa, sizeof(value), value);
  }
  // Is it pending? It is no more then.
  bool TakeIrq(Irq irq);

  // How often the guest left for the VMM.
  uint64_t exits() const { return exits_; }

 private:
  struct Slot {
    uint64_t gpa, size, addr;
  };

  // The VMM's address, or 0.
  uint64_t Find(uint64_t gpa, unsigned size) const;
  uint64_t Read(uint64_t gpa, unsigned size);
  void Write(uint64_t gpa, unsigned size, uint64_t value);

  syscalls* const process_;
  ExitHandler* handler_ = nullptr;
  std::vector<Slot> slots_;
  bool irqs_[kNumIrqs] = {};
  uint64_t exits_ = 0;
};

}  // namespace vmm
