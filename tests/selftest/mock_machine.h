// SPDX-License-Identifier: GPL-2.0-or-later
// A kernel with the mock IOMMU, one open /dev/iommu, and the calls that tests
// of the mock make. Every method returns what the system call does: 0 or more,
// or -errno; ids come back through the last argument, which may be null.
#ifndef TESTS_SELFTEST_MOCK_MACHINE_H_
#define TESTS_SELFTEST_MOCK_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "drivers/selftest/mock_options.h"
#include "tests/util/cmd.h"
#include "tests/util/forms.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_test.h"
#include "uapi/syscalls.h"

namespace iommulab {

inline constexpr uint64_t kPage = 4096;
inline constexpr char kVcmdqV2[] = "vcmdq-v2";
inline constexpr char kHwQueue[] = "hw-queue";

class MockMachine {
 public:
  struct Options {
    std::string revision = kVcmdqV2;
    mock_machine_options mock = {};
    // Off for shapes that the core WARNs about: a driver's bug.
    bool panic_on_warn = true;
    // Threads give way to each other at the places where a race can begin.
    bool interleave = false;
    // The log has debug lines: a page fault's answer is one.
    bool log_debug = false;
  };

  // An event queue.
  struct EventQueue {
    uint32_t id = 0;
    int fd = -1;
  };

  // What MOCK_DOMAIN makes.
  struct Device {
    uint32_t stdev = 0;
    uint32_t hwpt = 0;
    uint32_t idev = 0;
  };

  MockMachine() : MockMachine(Options()) {}
  explicit MockMachine(const Options& options);
  // The same kernel and the same file, for another thread.
  explicit MockMachine(MockMachine* shared);
  // Closes everything and expects that nothing is left. What shares another's
  // kernel only gives back its own memory and accesses.
  ~MockMachine();
  MockMachine(const MockMachine&) = delete;
  MockMachine& operator=(const MockMachine&) = delete;

  syscalls& sys() { return *sys_; }
  int fd() const { return fd_; }
  const std::string& revision() const { return options_.revision; }
  // WARNs so far.
  uint64_t Warnings() const;

  // Closes /dev/iommu, the accesses that are still open and all memory of
  // Anon(); Open() starts anew.
  void CloseAll();
  int Open();

  // Memory of the program, zeroed.
  uint64_t Anon(uint64_t size, bool huge = false, uint64_t align = 0);
  template <class T>
  int Store(uint64_t addr, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return sys_->store(addr, &value, sizeof(value));
  }
  int Store(uint64_t addr, const Cmd& cmd) {
    return sys_->store(addr, cmd.data(), cmd.size());
  }
  template <class T>
  T Load(uint64_t addr) {
    T value = {};
    ExpectLoaded(sys_->load(addr, &value, sizeof(value)));
    return value;
  }

  // Copies *cmd to the program's memory, calls, copies it back.
  template <class T>
  int Ioctl(unsigned long nr, T* cmd) {
    return IoctlBytes(nr, cmd, sizeof(*cmd));
  }
  int Ioctl(Cmd* cmd) {
    return IoctlBytes(cmd->nr(), cmd->data(), cmd->size());
  }
  int IoctlBytes(unsigned long nr, void* cmd, size_t size);
  int Test(iommu_test_cmd* cmd) {
    cmd->size = sizeof(*cmd);
    return Ioctl(IOMMU_TEST_CMD, cmd);
  }

  int Destroy(uint32_t id);
  int IoasAlloc(uint32_t* id);
  int Map(uint32_t ioas, uint64_t va, uint64_t length, uint64_t* iova,
          uint32_t flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE);
  int MapFixed(uint32_t ioas, uint64_t va, uint64_t length, uint64_t iova);
  int Unmap(uint32_t ioas, uint64_t iova, uint64_t length,
            uint64_t* unmapped = nullptr);
  int IovaRanges(uint32_t ioas, std::vector<iommu_iova_range>* ranges,
                 uint64_t* alignment);
  int HwptAlloc(uint32_t idev, uint32_t pt, uint32_t flags, uint32_t* id);
  int HwptAllocData(uint32_t idev, uint32_t pt, uint32_t flags, uint32_t type,
                    uint64_t data, uint32_t len, uint32_t* id);
  // A nested HWPT with `iotlb` in each entry of its cache.
  int HwptNested(uint32_t idev, uint32_t parent, uint32_t* id,
                 uint32_t iotlb = IOMMU_TEST_IOTLB_DEFAULT);
  // entry_num is in and out.
  int Invalidate(uint32_t id, uint32_t type, uint64_t data, uint32_t entry_len,
                 uint32_t* entry_num);
  int HwInfo(uint32_t idev, uint64_t data, uint32_t len, iommu_hw_info* out);
  int ViommuAlloc(uint32_t idev, uint32_t hwpt, uint32_t* id,
                  uint32_t type = IOMMU_VIOMMU_TYPE_SELFTEST, uint64_t data = 0,
                  uint32_t data_len = 0);
  int VdeviceAlloc(uint32_t viommu, uint32_t idev, uint64_t virt_id,
                   uint32_t* id);
  // VCMDQ_ALLOC or HW_QUEUE_ALLOC: one number, one layout.
  int QueueAlloc(uint32_t viommu, uint32_t index, uint64_t addr,
                 uint64_t length, uint32_t* id,
                 uint32_t type = IOMMU_VCMDQ_TYPE_SELFTEST);

  // What has a descriptor is closed by its owner.
  int FaultQueueAlloc(EventQueue* queue);
  int HwptAllocFault(uint32_t idev, uint32_t pt, uint32_t fault, uint32_t* id,
                     uint32_t more_flags = 0);
  int VeventqAlloc(uint32_t viommu, uint32_t depth, EventQueue* queue,
                   uint32_t type = IOMMU_VEVENTQ_TYPE_SELFTEST);
  int TriggerIopf(uint32_t idev, uint32_t grpid, uint64_t addr = 0,
                  uint32_t pasid = 0);
  int TriggerVevent(uint32_t idev);

  int AddReserved(uint32_t ioas, uint64_t start, uint64_t length);
  int MockDomain(uint32_t pt, Device* dev);
  int MockDomainFlags(uint32_t pt, uint32_t flags, Device* dev);
  int Replace(uint32_t stdev, uint32_t pt, uint32_t* new_pt = nullptr);
  int CheckMap(uint32_t hwpt, uint64_t iova, uint64_t length, uint64_t va);
  int CheckRefs(uint64_t va, uint64_t length, uint32_t refs);
  int CheckIotlb(uint32_t hwpt, uint32_t entry, uint32_t value);
  int CheckCache(uint32_t idev, uint32_t entry, uint32_t value);
  int CheckIotlbAll(uint32_t hwpt, uint32_t value);
  int CheckCacheAll(uint32_t idev, uint32_t value);
  int CreateAccess(uint32_t ioas, uint32_t flags, int* access_fd);
  int AccessPages(int access_fd, uint64_t iova, uint64_t length, uint64_t va,
                  uint32_t flags, uint32_t* item);
  int DestroyAccessPages(int access_fd, uint32_t item);
  int AccessRw(int access_fd, uint64_t iova, uint64_t length, uint64_t va,
               uint32_t flags);
  int AccessReplace(int access_fd, uint32_t ioas);
  int CloseAccess(int access_fd);
  int SetMemoryLimit(uint32_t limit);

 private:
  struct Impl;

  static void ExpectLoaded(int rc);

  const Options options_;
  std::unique_ptr<Impl> impl_;
  syscalls* sys_ = nullptr;
  int fd_ = -1;
  uint64_t scratch_ = 0;
  std::vector<std::pair<uint64_t, uint64_t>> anon_;
  std::vector<int> access_fds_;
};

}  // namespace iommulab

#endif  // TESTS_SELFTEST_MOCK_MACHINE_H_
