// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the allocation and the destruction of one object cost: two ioctls, each
// with its entry, copy in, handler and copy out, on a kernel with the mock
// IOMMU. BM_AllocDestroy/<OBJECT> is one such pair. BM_Floor/<OBJECT>, beside
// it, is what the pair cannot do without: as many zeroed allocations as it
// makes (the object's own, the driver's part, the nodes of an index; each taken
// to be of the object's size) and their frees, as many ids taken and given
// back, and the same copies from and to user memory. It counts them itself, on
// one traced pair; the counters allocs, ids and copies say what it found. The
// ratio of the two is what the semantics cost: references, locks, checks,
// pinned pages. Run both in one run, as a machine's speed drifts.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "benchmark/benchmark.h"
#include "core/iommufd/introspect.h"
#include "core/iommufd/iommufd_private.h"
#include "core/linux/slab.h"
#include "core/linux/xarray.h"
#include "core/sim_syscalls.h"
#include "drivers/platform/platform.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_test.h"

namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kIova = 0x1000000;

[[noreturn]] void Die(const char* what, long rc) {
  std::fprintf(stderr, "alloc_destroy: %s: %s\n", what,
               std::strerror(static_cast<int>(-rc)));
  std::exit(1);
}

// An ioctl's struct with its size filled in.
template <class Cmd>
Cmd Zeroed() {
  Cmd cmd = {};
  cmd.size = sizeof(cmd);
  return cmd;
}

// A kernel as a benchmark wants it: no lock checks, no poisoned allocations.
// One device on a nesting parent, which has a vIOMMU and one page mapped.
class Machine {
 public:
  explicit Machine(const char* revision) {
    sim_options opts;
    opts.kernel.lockdep = false;
    opts.kernel.poison = false;
    opts.revision = revision;
    opts.machine = &mock_machine;
    auto sys = sim_syscalls::create(opts);
    if (!sys) Die("no kernel", sys.error());
    sys_ = std::move(*sys);
    fd_ = sys_->open("/dev/iommu", "");
    if (fd_ < 0) Die("open", fd_);
    user_ = Anon(16 * kPage);

    auto alloc = Zeroed<iommu_ioas_alloc>();
    ioas_ = Call(IOMMU_IOAS_ALLOC, alloc).out_ioas_id;
    const uint64_t memory = Anon(kPage);
    auto map = Zeroed<iommu_ioas_map>();
    map.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
                IOMMU_IOAS_MAP_WRITEABLE;
    map.ioas_id = ioas_;
    map.user_va = memory;
    map.length = kPage;
    map.iova = kIova;
    Call(IOMMU_IOAS_MAP, map);
    auto mock = Zeroed<iommu_test_cmd>();
    mock.op = IOMMU_TEST_OP_MOCK_DOMAIN;
    mock.id = ioas_;
    mock = Call(IOMMU_TEST_CMD, mock);
    idev_ = mock.mock_domain.out_idev_id;
    parent_ = Call(IOMMU_HWPT_ALLOC, Hwpt()).out_hwpt_id;
    viommu_ = Call(IOMMU_VIOMMU_ALLOC, Viommu()).out_viommu_id;
  }
  ~Machine() { sys_->close(fd_); }

  // What one pair allocates, and how often it copies.
  struct Inventory {
    int allocs = 0, ids = 0, copies = 0;
  };
  template <class Cmd>
  Inventory TakeInventory(unsigned long nr, const Cmd& cmd,
                          uint32_t Cmd::* out_id) {
    Inventory pair;
    fault_state& fault = sys_->kernel()->fault;
    const uint32_t id = Call(nr, cmd).*out_id;
    iommufd_snapshot with, without;
    Look(&with);
    Call(IOMMU_DESTROY, Destroy(id));
    Look(&without);
    pair.ids = static_cast<int>(with.objects.size() - without.objects.size());
    fault.trace = true;
    task()->instrument |= TASK_FAULT;
    Call(nr, cmd);
    Call(IOMMU_DESTROY, Destroy(id));
    task()->instrument &= ~TASK_FAULT;
    fault.trace = false;
    raw_guard lock(&fault.lock);
    for (const fault_site& site : fault.sites) {
      pair.allocs += site.type == FAULT_SLAB;
      pair.copies += site.type == FAULT_USERCOPY;
    }
    return pair;
  }

  struct task_struct* task() { return sys_->task(); }
  uint64_t user() const { return user_; }

  // Runs the call once, outside of what is measured; dies where it fails.
  template <class Cmd>
  Cmd Call(unsigned long nr, Cmd cmd) {
    Put(user_, cmd);
    const long rc = sys_->ioctl(fd_, nr, user_);
    if (rc) Die("set-up", rc);
    sys_->load(user_, &cmd, sizeof(cmd));
    return cmd;
  }

  // Measures pairs of `nr` with `cmd` and DESTROY. Ids are the lowest free
  // ones, so each pair gets the first one's.
  template <class Cmd>
  void Pairs(benchmark::State& state, unsigned long nr, const Cmd& cmd,
             uint32_t Cmd::* out_id) {
    const uint64_t alloc_arg = user_ + kPage;
    const uint64_t destroy_arg = user_ + 2 * kPage;
    const uint32_t id = Call(nr, cmd).*out_id;
    Call(IOMMU_DESTROY, Destroy(id));
    Put(alloc_arg, cmd);
    Put(destroy_arg, Destroy(id));
    for (auto _ : state) {
      long rc = sys_->ioctl(fd_, nr, alloc_arg);
      rc |= sys_->ioctl(fd_, IOMMU_DESTROY, destroy_arg);
      if (rc) Die("a measured pair", rc);
    }
    Cmd last;
    sys_->load(alloc_arg, &last, sizeof(last));
    if (last.*out_id != id) Die("ids moved", -EIO);
  }

  static iommu_destroy Destroy(uint32_t id) {
    return {sizeof(iommu_destroy), id};
  }
  iommu_ioas_alloc Ioas() const { return Zeroed<iommu_ioas_alloc>(); }
  iommu_hwpt_alloc Hwpt() const {
    auto cmd = Zeroed<iommu_hwpt_alloc>();
    cmd.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
    cmd.dev_id = idev_;
    cmd.pt_id = ioas_;
    return cmd;
  }
  iommu_hwpt_alloc Nested() {
    iommu_hwpt_selftest data = {};
    data.iotlb = IOMMU_TEST_IOTLB_DEFAULT;
    Put(user_ + 3 * kPage, data);
    auto cmd = Zeroed<iommu_hwpt_alloc>();
    cmd.dev_id = idev_;
    cmd.pt_id = parent_;
    cmd.data_type = IOMMU_HWPT_DATA_SELFTEST;
    cmd.data_len = sizeof(data);
    cmd.data_uptr = user_ + 3 * kPage;
    return cmd;
  }
  iommu_viommu_alloc Viommu() const {
    auto cmd = Zeroed<iommu_viommu_alloc>();
    cmd.type = IOMMU_VIOMMU_TYPE_SELFTEST;
    cmd.dev_id = idev_;
    cmd.hwpt_id = parent_;
    return cmd;
  }
  iommu_vdevice_alloc Vdevice() const {
    auto cmd = Zeroed<iommu_vdevice_alloc>();
    cmd.viommu_id = viommu_;
    cmd.dev_id = idev_;
    cmd.virt_id = 0x99;
    return cmd;
  }
  iommu_vcmdq_alloc Vcmdq() const {
    auto cmd = Zeroed<iommu_vcmdq_alloc>();
    cmd.viommu_id = viommu_;
    cmd.type = IOMMU_VCMDQ_TYPE_SELFTEST;
    cmd.addr = kIova;
    cmd.length = kPage;
    return cmd;
  }
  iommu_hw_queue_alloc HwQueue() const {
    auto cmd = Zeroed<iommu_hw_queue_alloc>();
    cmd.viommu_id = viommu_;
    cmd.type = IOMMU_HW_QUEUE_TYPE_SELFTEST;
    cmd.nesting_parent_iova = kIova;
    cmd.length = kPage;
    return cmd;
  }

 private:
  template <class T>
  void Put(uint64_t addr, const T& value) {
    const int rc = sys_->store(addr, &value, sizeof(value));
    if (rc) Die("store", rc);
  }
  void Look(iommufd_snapshot* snapshot) {
    task_scope scope(task());
    if (const int rc = iommufd_snapshot_fd(fd_, snapshot)) Die("snapshot", rc);
  }
  uint64_t Anon(uint64_t size) {
    const uint64_t addr = sys_->anon({.size = size});
    if (is_error(addr)) Die("no memory", static_cast<long>(addr));
    return addr;
  }

  std::unique_ptr<sim_syscalls> sys_;
  int fd_ = -1;
  uint64_t user_ = 0;
  uint32_t ioas_ = 0, idev_ = 0, parent_ = 0, viommu_ = 0;
};

template <class Cmd>
void AllocDestroy(benchmark::State& state, const char* revision,
                  unsigned long nr, Cmd (*make)(Machine&),
                  uint32_t Cmd::* out_id) {
  Machine machine(revision);
  machine.Pairs(state, nr, make(machine), out_id);
}

// `bytes` is the object's size. The table has as many ids as the machine's.
template <class Cmd>
void Floor(benchmark::State& state, const char* revision, unsigned long nr,
           Cmd (*make)(Machine&), uint32_t Cmd::* out_id, size_t bytes) {
  constexpr int kMost = 16;
  Machine machine(revision);
  const Machine::Inventory pair =
      machine.TakeInventory(nr, make(machine), out_id);
  if (pair.allocs > kMost || pair.ids > kMost) Die("too much to count", -E2BIG);
  task_scope scope(machine.task());
  struct xarray ids{LOCK_CLASS(floor, ids), XA_FLAGS_ALLOC1};
  const uint64_t user = machine.user();
  auto cmd = Zeroed<Cmd>();
  if (user_out<void>(user).copy_to_user(&cmd, sizeof(cmd)))
    Die("copy", -EFAULT);
  for (u32 id, i = 0; i < 6; i++)
    if (xa_alloc(&ids, &id, &ids, xa_limit_31b, GFP_KERNEL)) Die("id", -ENOMEM);
  for (auto _ : state) {
    iommu_destroy destroy;
    void* memory[kMost];
    u32 id[kMost], size;
    // The allocation's struct in and out and the destruction's in are three of
    // the copies; what is left are a driver's structs.
    int rc = get_user(&size, user_in<u32>(user));
    rc |= copy_struct_from_user(&cmd, sizeof(cmd), user_in<void>(user),
                                sizeof(cmd));
    for (int i = 3; i < pair.copies; i++)
      rc |= user_in<void>(user).copy_from_user(&cmd, sizeof(cmd));
    for (int i = 0; i < pair.allocs; i++) {
      memory[i] = malloc(bytes);
      std::memset(memory[i], 0, bytes);
      benchmark::DoNotOptimize(memory[i]);
    }
    for (int i = 0; i < pair.ids; i++)
      rc |= xa_alloc(&ids, &id[i], memory[0], xa_limit_31b, GFP_KERNEL);
    rc |= user_out<void>(user).copy_to_user(&cmd, sizeof(cmd));

    rc |= get_user(&size, user_in<u32>(user));
    rc |= copy_struct_from_user(&destroy, sizeof(destroy), user_in<void>(user),
                                sizeof(destroy));
    for (int i = 0; i < pair.ids; i++) xa_erase(&ids, id[i]);
    for (int i = 0; i < pair.allocs; i++) free(memory[i]);
    if (rc) Die("the floor", rc);
  }
  xa_destroy(&ids);
  state.counters["allocs"] = pair.allocs;
  state.counters["ids"] = pair.ids;
  state.counters["copies"] = pair.copies;
}

template <class Cmd>
void Add(const std::string& object, const char* revision, unsigned long nr,
         Cmd (*make)(Machine&), uint32_t Cmd::* out_id, size_t bytes) {
  benchmark::RegisterBenchmark(
      ("BM_AllocDestroy/" + object).c_str(), [=](benchmark::State& s) {
        AllocDestroy<Cmd>(s, revision, nr, make, out_id);
      });
  benchmark::RegisterBenchmark(
      ("BM_Floor/" + object).c_str(), [=](benchmark::State& s) {
        Floor<Cmd>(s, revision, nr, make, out_id, bytes);
      });
}

void AddAll() {
  Add<iommu_ioas_alloc>(
      "IOAS", "vcmdq-v2", IOMMU_IOAS_ALLOC, [](Machine& m) { return m.Ioas(); },
      &iommu_ioas_alloc::out_ioas_id, sizeof(iommufd_ioas));
  Add<iommu_hwpt_alloc>(
      "HWPT_PAGING", "vcmdq-v2", IOMMU_HWPT_ALLOC,
      [](Machine& m) { return m.Hwpt(); }, &iommu_hwpt_alloc::out_hwpt_id,
      sizeof(iommufd_hwpt_paging));
  Add<iommu_hwpt_alloc>(
      "HWPT_NESTED", "vcmdq-v2", IOMMU_HWPT_ALLOC,
      [](Machine& m) { return m.Nested(); }, &iommu_hwpt_alloc::out_hwpt_id,
      sizeof(iommufd_hwpt_nested));
  Add<iommu_viommu_alloc>(
      "VIOMMU", "vcmdq-v2", IOMMU_VIOMMU_ALLOC,
      [](Machine& m) { return m.Viommu(); }, &iommu_viommu_alloc::out_viommu_id,
      sizeof(iommufd_viommu));
  Add<iommu_vdevice_alloc>(
      "VDEVICE", "vcmdq-v2", IOMMU_VDEVICE_ALLOC,
      [](Machine& m) { return m.Vdevice(); },
      &iommu_vdevice_alloc::out_vdevice_id, sizeof(iommufd_vdevice));
  Add<iommu_vdevice_alloc>(
      "VDEVICE_hw-queue", "hw-queue", IOMMU_VDEVICE_ALLOC,
      [](Machine& m) { return m.Vdevice(); },
      &iommu_vdevice_alloc::out_vdevice_id, sizeof(iommufd_vdevice));
  Add<iommu_vcmdq_alloc>(
      "VCMDQ", "vcmdq-v2", IOMMU_VCMDQ_ALLOC,
      [](Machine& m) { return m.Vcmdq(); }, &iommu_vcmdq_alloc::out_vcmdq_id,
      sizeof(iommufd_vcmdq));
  Add<iommu_hw_queue_alloc>(
      "HW_QUEUE", "hw-queue", IOMMU_HW_QUEUE_ALLOC,
      [](Machine& m) { return m.HwQueue(); },
      &iommu_hw_queue_alloc::out_hw_queue_id, sizeof(iommufd_hw_queue));
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  AddAll();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
