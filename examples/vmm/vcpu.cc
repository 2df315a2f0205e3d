// SPDX-License-Identifier: GPL-2.0-or-later
#include "examples/vmm/vcpu.h"

namespace vmm {

void Vcpu::AddSlot(uint64_t gpa, uint64_t size, uint64_t addr) {
  RemoveSlot(gpa);
  slots_.push_back({gpa, size, addr});
}

void Vcpu::RemoveSlot(uint64_t gpa) {
  std::erase_if(slots_, [gpa](const Slot& s) { return s.gpa == gpa; });
}

void Vcpu::Reset() {
  for (bool& irq : irqs_) irq = false;
}

bool Vcpu::TakeIrq(Irq irq) {
  bool& pending = irqs_[static_cast<int>(irq)];
  const bool was = pending;
  pending = false;
  return was;
}

uint64_t Vcpu::Find(uint64_t gpa, unsigned size) const {
  for (const Slot& s : slots_) {
    if (gpa >= s.gpa && gpa - s.gpa <= s.size - size) {
      return s.addr + (gpa - s.gpa);
    }
  }
  return 0;
}

uint64_t Vcpu::Read(uint64_t gpa, unsigned size) {
  if (const uint64_t addr = Find(gpa, size); addr != 0) {
    uint64_t value = 0;
    process_->load(addr, &value, size);
    return value;
  }
  exits_++;
  return handler_->MmioRead(gpa, size);
}

void Vcpu::Write(uint64_t gpa, unsigned size, uint64_t value) {
  if (const uint64_t addr = Find(gpa, size); addr != 0) {
    process_->store(addr, &value, size);
    return;
  }
  exits_++;
  handler_->MmioWrite(gpa, size, value);
}

}  // namespace vmm
