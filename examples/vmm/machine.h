// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the guest's machine looks like: where things are in guest-physical
// memory, and the registers that both sides know from the hardware's manual.
// A real VMM tells its guest the first part by device tree or ACPI.
#pragma once

#include <cstdint>

namespace vmm {

// Guest-physical memory. RAM is above 4G, so that an address needs both halves
// of a 64-bit register.
constexpr uint64_t kSmmuGpa = 0x0905'0000;
constexpr uint64_t kSmmuSize = 0x2'0000;
constexpr uint64_t kCmdqvGpa = 0x0b00'0000;
constexpr uint64_t kCmdqvSize = 0x5'0000;  // one VINTF
constexpr uint64_t kDeviceGpa = 0x1000'0000;
constexpr uint64_t kRamGpa = 0x1'0000'0000;
constexpr uint64_t kRamSize = 0x20'0000;

// The stream id that the guest knows its device by.
constexpr uint32_t kVirtualSid = 0x10;

enum class Irq { kSmmuEvents, kSmmuError, kCmdqv };
constexpr int kNumIrqs = 3;

// ---- the SMMU ----

namespace smmu {
constexpr uint64_t kIdr0 = 0x00;  // to IDR5; IIDR, AIDR follow
constexpr uint64_t kAidr = 0x1c;
constexpr uint64_t kCr0 = 0x20;
constexpr uint64_t kCr0Ack = 0x24;
constexpr uint64_t kGerror = 0x60;
constexpr uint64_t kGerrorn = 0x64;
constexpr uint64_t kStrtabBase = 0x80;
constexpr uint64_t kStrtabBaseCfg = 0x88;
constexpr uint64_t kCmdqBase = 0x90;
constexpr uint64_t kCmdqProd = 0x98;
constexpr uint64_t kCmdqCons = 0x9c;
constexpr uint64_t kEventqBase = 0xa0;
constexpr uint64_t kEventqProd = 0x100a8;
constexpr uint64_t kEventqCons = 0x100ac;

constexpr uint32_t kCr0SmmuEn = 1 << 0;
constexpr uint32_t kCr0EventqEn = 1 << 2;
constexpr uint32_t kCr0CmdqEn = 1 << 3;
constexpr uint32_t kGerrorCmdq = 1 << 0;
constexpr uint32_t kIdr0Ats = 1 << 10;

// A queue of 1 << log2 entries: indices have one bit more, the wrap.
constexpr uint32_t QueueLog2(uint64_t base) { return base & 0x1f; }
constexpr uint64_t QueueAddress(uint64_t base) {
  return base & 0x000f'ffff'ffff'ffe0;
}
constexpr uint64_t kEventBytes = 32;
constexpr uint64_t kSteBytes = 64;
// CONS.ERR.
constexpr uint32_t ErrorCode(uint32_t cons) { return cons >> 24 & 0x7f; }
constexpr uint32_t kErrorIllegal = 1;

constexpr uint64_t kSteValid = 1;
constexpr uint64_t kSteBypass = 4 << 1;
constexpr uint64_t kSteAbort = 0 << 1;
constexpr uint64_t kSteStage1 = 5 << 1;
constexpr uint64_t kSte1Ats = 1ULL << 28;  // EATS, in the second word

constexpr uint8_t kFaultTranslation = 0x10;
}  // namespace smmu

// A command, of the SMMU's queue or of an LVCMDQ.
struct Command {
  uint64_t data[2];

  uint8_t opcode() const { return data[0] & 0xff; }
  uint32_t sid() const { return static_cast<uint32_t>(data[0] >> 32); }
};

enum Opcode : uint8_t {
  kCfgiSte = 0x03,
  kCfgiAll = 0x04,
  kCfgiCd = 0x05,
  kCfgiCdAll = 0x06,
  kTlbiNhAll = 0x10,
  kTlbiNhAsid = 0x11,
  kTlbiNhVa = 0x12,
  kTlbiNhVaa = 0x13,
  kTlbiNsnhAll = 0x30,
  kAtcInv = 0x40,
  kSync = 0x46,
};

constexpr Command Sync() { return {{kSync, 0}}; }
constexpr Command CfgiSte(uint64_t sid) { return {{kCfgiSte | sid << 32, 1}}; }
constexpr Command CfgiAll() { return {{kCfgiAll, 31}}; }
constexpr Command TlbiNsnhAll() { return {{kTlbiNsnhAll, 0}}; }
constexpr Command TlbiNhAsid(uint64_t asid) {
  return {{kTlbiNhAsid | asid << 48, 0}};
}
constexpr Command TlbiNhVa(uint64_t asid, uint64_t va) {
  return {{kTlbiNhVa | asid << 48, va & ~0xfffULL}};
}
// One page of 4K; all of a device with log2 of 52.
constexpr Command AtcInv(uint64_t sid, uint64_t va, uint64_t log2 = 0) {
  return {{kAtcInv | sid << 32, (va & ~0xfffULL) | log2}};
}

// ---- the CMDQV: one VINTF, whose number is 0 to the guest ----

namespace cmdqv {
constexpr uint64_t kConfig = 0x0000;
constexpr uint64_t kParam = 0x0004;
constexpr uint64_t kStatus = 0x0008;
constexpr uint64_t kVintfErrMap = 0x0014;
constexpr uint64_t kVintfIntMask = 0x001c;
constexpr uint64_t kAllocMap = 0x0200;  // 4 bytes a VCMDQ
constexpr uint64_t kVintfConfig = 0x1000;
constexpr uint64_t kVintfStatus = 0x1004;
constexpr uint64_t kLvcmdqErrMap = 0x10c0;  // two words of 64 bits
// The pages of VINTF 0, 64K each. What the guest does all day is in page 0.
constexpr uint64_t kPage0 = 0x30000;
constexpr uint64_t kPage1 = 0x40000;
constexpr uint64_t kPageSize = 0x10000;
constexpr uint64_t kQueueStride = 0x80;
// In page 0.
constexpr uint64_t kQueueCons = 0x00;
constexpr uint64_t kQueueProd = 0x04;
constexpr uint64_t kQueueConfig = 0x08;
constexpr uint64_t kQueueStatus = 0x0c;
constexpr uint64_t kQueueGerror = 0x10;
constexpr uint64_t kQueueGerrorn = 0x14;
// In page 1.
constexpr uint64_t kQueueBase = 0x00;

constexpr uint32_t kEnable = 1;
constexpr uint32_t kAllocated = 1;
constexpr uint32_t kHypOwn = 1 << 17;  // of VINTF_CONFIG
constexpr uint32_t NumQueues(uint32_t param) { return 1u << (param >> 4 & 15); }
constexpr uint64_t BaseAddress(uint64_t base) {
  return base & 0x0000'ffff'ffff'ffe0;
}
constexpr uint64_t BaseBytes(uint64_t base) { return 16ULL << (base & 0x1f); }
}  // namespace cmdqv

// ---- the test device's BAR ----

namespace device {
constexpr uint64_t kControl = 0x04;
constexpr uint64_t kStatus = 0x08;
constexpr uint64_t kIova = 0x10;
constexpr uint64_t kLength = 0x18;
constexpr uint64_t kBuffer = 0x1000;
constexpr uint32_t kRead = 1;
constexpr uint32_t kThroughAtc = 1 << 10;  // of CONTROL
constexpr uint32_t kOk = 1;                // of STATUS
}  // namespace device

}  // namespace vmm
