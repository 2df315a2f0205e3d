// SPDX-License-Identifier: GPL-2.0-or-later
//
// A VMM on a Tegra241 machine and its guests, on the public surface, for what
// is no GoogleTest: the fuzzer and the benchmark. Setting up cannot fail: when
// it does, the process ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/sim_syscalls.h"
#include "drivers/platform/platform.h"
#include "tests/platform/tegra241_guest.h"

namespace tegra241 {

// One guest: its memory is at kIpa, and has a context descriptor, tables of one
// 2M of addresses at kVa, pages of data, and its queues.
class Vm {
 public:
  static constexpr uint64_t kIpa = 0x40000000;
  static constexpr uint64_t kSize = 2 << 20;
  static constexpr uint64_t kCd = 0x1000;
  static constexpr uint64_t kTable = 0x2000;  // 2, 3, 4: levels 1 to 3
  static constexpr uint64_t kData = 0x10000;  // kPages pages, each its number
  static constexpr int kPages = 16;
  static constexpr uint64_t kQueues = 0x100000;  // of kQueueBytes each
  static constexpr uint64_t kQueueBytes = 0x10000;
  static constexpr uint64_t kVa = 0x5000000;

  struct Options {
    int device = 0;  // /dev/vfio/devices/vfio<n>
    uint64_t vsid = 0x10;
    uint64_t asid = 7;
  };
  Vm(sim_syscalls* sys, const Options& options);
  ~Vm();
  Vm(const Vm&) = delete;
  Vm& operator=(const Vm&) = delete;

  // ---- the VMM ----

  int fd() const { return fd_; }
  uint32_t viommu() const { return viommu_; }
  uint64_t ram() const { return ram_; }      // where the VMM has it
  uint64_t page0() const { return page0_; }  // of its VINTF
  // 0, or -errno. The object's id in *id.
  long QueueAlloc(uint32_t index, uint64_t ipa, uint64_t bytes, uint32_t* id);
  long Destroy(uint32_t id);
  // Queue `index`, of `entries`, enabled by the guest.
  void StartQueue(uint32_t index, uint32_t entries);
  // HWPT_INVALIDATE of `n` commands at address `cmds` of the VMM's; how many
  // were done in *done.
  long Invalidate(uint64_t cmds, uint32_t n, uint32_t* done);
  // An event queue of the vIOMMU's; closed with the rest.
  int EventQueue(uint32_t type, uint32_t depth);
  // `n` bytes of the VMM's own memory, for what a call points to.
  uint64_t Scratch(size_t n) const;

  // ---- the guest ----

  // kVa + 4096 * n is data page `page`, from the next walk on.
  void MapPage(int n, int page);
  static constexpr uint64_t Va(int n) {
    return kVa + static_cast<uint64_t>(n) * 4096;
  }
  uint64_t Value(int page) const;
  // Of queue `index` in page 0.
  uint64_t Reg(uint32_t index, QueueReg reg) const {
    return page0_ + index * 0x80 + reg;
  }
  uint64_t Entry(uint32_t index, uint32_t at) const {
    return ram_ + kQueues + index * kQueueBytes + at * sizeof(Cmd);
  }

  // ---- its device ----

  // One access; a status of DevStatus. `how` is of CONTROL.
  uint32_t Dma(uint32_t op, uint64_t va, uint64_t* value, uint32_t how = 0);
  // All ones when it cannot.
  uint64_t DmaRead(uint64_t va, uint32_t how = 0);
  uint64_t bar() const { return bar_; }

  template <class T>
  T Load(uint64_t addr) {
    T v{};
    LoadBytes(addr, &v, sizeof(v));
    return v;
  }
  template <class T>
  void Store(uint64_t addr, const T& v) {
    StoreBytes(addr, &v, sizeof(v));
  }

 private:
  void LoadBytes(uint64_t addr, void* to, size_t n);
  void StoreBytes(uint64_t addr, const void* from, size_t n);
  uint64_t Anon(uint64_t size, bool huge);
  template <class T>
  long Ioctl(int fd, unsigned long nr, T* arg);
  template <class T>
  void MustIoctl(int fd, unsigned long nr, T* arg, const char* what);

  sim_syscalls* const sys_;
  const Options options_;
  std::vector<std::pair<uint64_t, uint64_t>> mapped_;
  int fd_ = -1, device_ = -1;
  std::vector<int> events_;
  uint32_t ioas_ = 0, parent_ = 0, viommu_ = 0;
  uint64_t args_ = 0, ram_ = 0, page0_ = 0, bar_ = 0;
};

}  // namespace tegra241
