// SPDX-License-Identifier: GPL-2.0-or-later
//
// The VMM of a guest with an SMMU, a CMDQV and one device that is passed
// through: which ioctls, in which order, and what each exit of the guest
// becomes. One object is the state that a VMM process has for its VM. It stands
// on uapi/syscalls.h and the uapi headers only, so on what a VMM has from a
// real kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "examples/vmm/machine.h"
#include "examples/vmm/process.h"
#include "examples/vmm/vcpu.h"
#include "uapi/syscalls.h"

namespace vmm {

class Vmm final : public ExitHandler {
 public:
  struct Options {
    std::string revision;  // "vcmdq-v2", "hw-queue"
    int device = 0;        // /dev/vfio/devices/vfioN
  };
  using Logger = std::function<void(const std::string&)>;

  // Makes no call; Start() does. Its end is not the VM's: a process that dies
  // makes no calls either.
  Vmm(syscalls* process, Vcpu* cpu, Options options, Logger log);

  // The VM as its guest finds it at power-on. 0, or the -errno of the call that
  // failed, which is logged.
  long Start();
  // The guest resets its machine, whatever state it is in.
  void Reset();
  // The VM goes, in order. 0, or the first -errno.
  long ShutDown();

  // One round of the main loop: events that the kernel has for the guest become
  // interrupts. Waits for the first one, at most so long. How many there were.
  int RunEvents(int timeout_ms);

  uint64_t MmioRead(uint64_t gpa, unsigned size) override;
  void MmioWrite(uint64_t gpa, unsigned size, uint64_t value) override;

  // ---- for who looks on ----

  bool HasQueue(uint32_t q) const { return queues_[q].id != 0; }
  size_t NumQueues() const;
  // What the kernel said to the last attempt to allocate it.
  long QueueResult(uint32_t q) const { return queues_[q].result; }
  bool Page0IsTheGuests() const { return page0_is_guests_; }
  // Attempts that the kernel is to refuse while queues run.
  long TryDestroyQueue(uint32_t q);
  long TryUnmapRam();
  // The file descriptors, and names of objects and of offsets of mappings.
  int iommufd() const { return iommufd_; }
  std::map<uint32_t, std::string> ObjectNames() const;
  std::map<uint64_t, std::string> MappingNames() const;

 private:
  struct Queue {
    uint64_t base = 0;   // as the guest wrote it
    uint32_t alloc = 0;  // its CMDQ_ALLOC_MAP
    uint32_t id = 0;     // the kernel's object; 0: none
    long result = 0;
  };
  struct EventQueue {
    uint32_t id = 0;
    int fd = -1;
  };

  // ioctls
  template <class T>
  long Call(const char* name, int fd, unsigned long cmd, T* arg);
  long OpenDevice();
  long MapRam();
  long HardwareInfo();
  long AllocHwpt(const char* name, uint32_t pt, uint32_t flags,
                 const uint64_t* ste, uint32_t* id);
  long AllocViommu();
  long AllocEventQueue(uint32_t type, EventQueue* q);
  long AllocQueueObject(uint32_t q, uint64_t addr, uint64_t length);
  long Attach(uint32_t hwpt);
  long Destroy(const char* name, uint32_t* id);

  // the SMMU
  uint64_t SmmuRead(uint64_t reg, unsigned size);
  void SmmuWrite(uint64_t reg, uint32_t value);
  void RunCommandQueue();
  bool FlushInvalidations(std::vector<Command>* batch);
  void ConfigureDevice();
  void PutSmmuEvent(const uint64_t* event);
  uint64_t Smmu64(uint64_t reg) const;

  // the CMDQV
  uint32_t CmdqvRead(uint64_t reg);
  void CmdqvWrite(uint64_t reg, uint32_t value);
  void SetBase(uint32_t q, uint64_t base);
  bool ReadyToAlloc(uint32_t q) const;
  void AllocQueues();
  void FreeQueuesFrom(uint32_t q);
  void EnableVintf(bool enable);
  uint64_t PendingErrors();
  uint32_t Page0Register(uint32_t q, uint64_t reg);

  // events
  bool ReadEvent(const EventQueue& q, void* data, size_t n);
  int ReadCmdqvEvents();
  int ReadSmmuEvents();

  bool InRam(uint64_t gpa, uint64_t bytes) const;
  void Log(const char* format, ...) __attribute__((format(printf, 2, 3)));

  Process process_;
  Vcpu* const cpu_;
  const Options options_;
  const bool merged_;
  const Logger log_;

  // The kernel's objects.
  int iommufd_ = -1;
  int device_fd_ = -1;
  uint32_t device_ = 0;
  uint32_t ioas_ = 0;
  uint32_t parent_ = 0;  // stage 2: guest-physical to host
  uint32_t viommu_ = 0;
  uint32_t vdevice_ = 0;
  uint32_t bypass_ = 0;  // nested tables that every guest needs
  uint32_t abort_ = 0;
  uint32_t nested_ = 0;  // the one with the guest's stage 1; 0: none
  uint32_t attached_ = 0;
  EventQueue smmu_events_, cmdqv_events_;

  // Memory of this process.
  uint64_t ram_ = 0;
  uint64_t bar_ = 0, bar_size_ = 0;
  uint64_t page0_ = 0, page0_size_ = 0, page0_offset_ = 0;
  bool page0_is_guests_ = false;

  // What the guest's hardware says of itself.
  uint32_t idr_[8] = {};
  uint32_t cmdqv_param_ = 0;

  // Emulated registers.
  std::map<uint64_t, uint32_t> smmu_;
  uint32_t cmdqv_config_ = 0;
  uint32_t vintf_config_ = 0;
  uint32_t vintf_int_mask_ = 0;
  uint64_t error_map_ = 0;  // LVCMDQs that an event named
  std::vector<Queue> queues_;
};

}  // namespace vmm
