// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a guest on a Tegra241 machine and its VMM know by number: registers of
// the DMA test device and of an LVCMDQ, and the SMMU's commands.
#pragma once

#include <cstdint>

namespace tegra241 {

// Registers of the device (drivers/hw/dma-testdev.h), in its BAR.
enum DevReg : uint64_t {
  kControl = 0x04,
  kStatus = 0x08,
  kPasid = 0x0c,
  kIova = 0x10,
  kLength = 0x18,
  kQuirks = 0x2c,
  kBuffer = 0x1000,
};
enum DevOp : uint32_t { kRead = 1, kWrite = 2 };
constexpr uint32_t kSsv = 1u << 8;
constexpr uint32_t kAtc = 1u << 10;
enum DevStatus : uint32_t { kIdle, kOk, kBusy, kAborted, kBus, kInvalid };

// Of an LVCMDQ in page 0.
enum QueueReg : uint64_t {
  kCons = 0x00,
  kProd = 0x04,
  kConfig = 0x08,
  kQueueStatus = 0x0c,
  kGerror = 0x10,
  kGerrorn = 0x14,
};

struct Cmd {
  uint64_t data[2];
};
constexpr Cmd Sync() { return {{0x46, 0}}; }
constexpr Cmd TlbiNhAsid(uint64_t asid, uint64_t vmid = 0) {
  return {{0x11 | vmid << 32 | asid << 48, 0}};
}
constexpr Cmd TlbiNhVa(uint64_t asid, uint64_t va, uint64_t vmid = 0) {
  return {{0x12 | vmid << 32 | asid << 48, va & ~0xfffULL}};
}
constexpr Cmd TlbiNhVaa(uint64_t va, uint64_t vmid = 0) {
  return {{0x13 | vmid << 32, va & ~0xfffULL}};
}
constexpr Cmd TlbiNhAll(uint64_t vmid = 0) { return {{0x10 | vmid << 32, 0}}; }
constexpr Cmd TlbiS12Vmall(uint64_t vmid) { return {{0x28 | vmid << 32, 0}}; }
constexpr Cmd TlbiS2Ipa(uint64_t ipa, uint64_t vmid) {
  return {{0x2a | vmid << 32, ipa & ~0xfffULL}};
}
constexpr Cmd TlbiEl2All() { return {{0x20, 0}}; }
constexpr Cmd TlbiNsnhAll() { return {{0x30, 0}}; }
constexpr Cmd AtcInv(uint64_t sid, uint64_t va, uint64_t log2) {
  return {{0x40 | sid << 32, (va & ~0xfffULL) | log2}};
}
constexpr Cmd CfgiCd(uint64_t sid) { return {{0x05 | sid << 32, 1}}; }
constexpr Cmd CfgiCdAll(uint64_t sid) { return {{0x06 | sid << 32, 0}}; }
constexpr Cmd CfgiAll() { return {{0x04, 31}}; }
constexpr Cmd CfgiSte(uint64_t sid) { return {{0x03 | sid << 32, 1}}; }

}  // namespace tegra241
