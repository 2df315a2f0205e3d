// SPDX-License-Identifier: GPL-2.0-or-later
// A mock machine whose objects are looked at: counts, references, and whether
// every count is explained.
#ifndef TESTS_IOMMUFD_IOMMUFD_TEST_UTIL_H_
#define TESTS_IOMMUFD_IOMMUFD_TEST_UTIL_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/iommufd/introspect.h"
#include "core/sim_syscalls.h"
#include "gtest/gtest.h"
#include "tests/selftest/mock_machine.h"

namespace iommulab {

inline sim_syscalls& Sim(MockMachine& m) {
  return static_cast<sim_syscalls&>(m.sys());
}

// Runs as a task of the machine's kernel.
class TaskScope {
 public:
  explicit TaskScope(MockMachine& m) : scope_(Sim(m).task()) {}

 private:
  task_scope scope_;
};

// Calls of one thread, through memory of its own.
class ThreadCaller {
 public:
  explicit ThreadCaller(MockMachine* m) : m_(m) {
    memory_options opts;
    opts.size = kPage;
    at_ = m_->sys().anon(opts);
    EXPECT_FALSE(is_error(at_));
  }
  ~ThreadCaller() { EXPECT_EQ(m_->sys().munmap(at_, kPage), 0); }
  ThreadCaller(const ThreadCaller&) = delete;

  template <class T>
  int Call(unsigned long nr, T* cmd) {
    return CallBytes(nr, cmd, sizeof(*cmd));
  }
  int Call(Cmd* cmd) { return CallBytes(cmd->nr(), cmd->data(), cmd->size()); }

 protected:
  MockMachine* const m_;

 private:
  int CallBytes(unsigned long nr, void* cmd, size_t size) {
    EXPECT_EQ(m_->sys().store(at_, cmd, size), 0);
    const int rc = static_cast<int>(m_->sys().ioctl(m_->fd(), nr, at_));
    EXPECT_EQ(m_->sys().load(at_, cmd, size), 0);
    return rc;
  }

  uint64_t at_ = 0;
};

// The same for commands that begin with their size.
class CommandCaller : public ThreadCaller {
 public:
  using ThreadCaller::ThreadCaller;

  template <class T>
  int Call(unsigned long nr, T* cmd) {
    cmd->size = sizeof(*cmd);
    return ThreadCaller::Call(nr, cmd);
  }
  int Destroy(uint32_t id) {
    iommu_destroy cmd = {};
    cmd.id = id;
    return Call(IOMMU_DESTROY, &cmd);
  }
};

// What a context looks like now.
class Look {
 public:
  explicit Look(MockMachine& m) : Look(m, m.fd()) {}
  Look(MockMachine& m, int fd) {
    TaskScope task(m);
    EXPECT_EQ(iommufd_snapshot_fd(fd, &s_), 0);
    EXPECT_TRUE(s_.complete);
  }

  const iommufd_snapshot& operator*() const { return s_; }
  const iommufd_snapshot* operator->() const { return &s_; }

  // nullptr when the id is free.
  const iommufd_snapshot_object* Find(uint32_t id) const {
    for (const auto& o : s_.objects) {
      if (o.id == id) return &o;
    }
    return nullptr;
  }
  // 0 when the id is free or reserved.
  uint32_t Users(uint32_t id) const {
    const auto* o = Find(id);
    return o ? o->users : 0;
  }
  uint32_t WaitCnt(uint32_t id) const {
    const auto* o = Find(id);
    return o ? o->wait_cnt : 0;
  }
  bool Reserved(uint32_t id) const {
    const auto* o = Find(id);
    return o && o->reserved;
  }
  // How many users `from` holds of `to` by this member, or named edge.
  uint32_t Edge(uint32_t from, uint32_t to, std::string_view why) const {
    uint32_t count = 0;
    for (const auto& e : s_.edges) {
      if (e.from == from && e.to == to && e.why->member == why) {
        count += e.count;
      }
    }
    return count;
  }
  // Between calls: the table's one, plus the edges, is what each object counts.
  void ExpectExplained() const {
    std::map<uint32_t, uint32_t> users, waits;
    for (const auto& e : s_.edges) {
      users[e.to] += e.count;
      if (e.why->short_term) waits[e.to] += e.count;
    }
    for (const auto& o : s_.objects) {
      if (o.reserved) continue;
      EXPECT_EQ(o.users, 1 + users[o.id])
          << iommufd_object_type_name(o.type) << " " << o.id;
      EXPECT_EQ(o.wait_cnt, 1 + waits[o.id])
          << iommufd_object_type_name(o.type) << " " << o.id;
    }
  }

 private:
  iommufd_snapshot s_;
};

// A device with a nesting parent, and memory at kIova: what a vIOMMU needs.
class IommufdTest : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr uint64_t kIova = 0x1000000;
  static constexpr uint64_t kBufPages = 512;

  IommufdTest() : IommufdTest(mock_machine_options()) {}
  explicit IommufdTest(const mock_machine_options& mock)
      : m_(MockMachine::Options{.revision = GetParam(), .mock = mock}) {
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    EXPECT_EQ(m_.MockDomain(ioas_, &dev_), 0);
    EXPECT_EQ(
        m_.HwptAlloc(dev_.idev, ioas_, IOMMU_HWPT_ALLOC_NEST_PARENT, &parent_),
        0);
    buf_ = m_.Anon(kBufPages * kPage, /*huge=*/true);
    EXPECT_EQ(m_.MapFixed(ioas_, buf_, kBufPages * kPage, kIova), 0);
  }
  ~IommufdTest() override {
    if (m_.fd() >= 0) Look(m_).ExpectExplained();
  }

  // What this form answers in its own way.
  const FormFacts& Facts() const { return FactsOf(GetParam()); }
  // Where a program puts structs that are not commands.
  uint64_t Scratch() {
    if (!scratch_) scratch_ = m_.Anon(kPage);
    return scratch_;
  }
  uint32_t Viommu() {
    uint32_t id = 0;
    EXPECT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &id), 0);
    return id;
  }
  uint32_t ViommuWithPage(uint64_t* offset, uint64_t* length) {
    iommu_viommu_selftest data = {};
    uint32_t id = 0;
    data.in_data = 0x1234;
    EXPECT_EQ(m_.Store(Scratch(), data), 0);
    EXPECT_EQ(
        m_.ViommuAlloc(dev_.idev, parent_, &id, IOMMU_VIOMMU_TYPE_SELFTEST,
                       Scratch(), sizeof(data)),
        0);
    data = m_.Load<iommu_viommu_selftest>(Scratch());
    *offset = data.out_mmap_offset;
    *length = data.out_mmap_length;
    return id;
  }

  MockMachine m_;
  uint32_t ioas_ = 0;
  MockMachine::Device dev_;
  uint32_t parent_ = 0;
  uint64_t buf_ = 0;
  uint64_t scratch_ = 0;
};

inline std::string RevisionName(
    const ::testing::TestParamInfo<const char*>& info) {
  return FormName(info.param);
}

}  // namespace iommulab

#endif  // TESTS_IOMMUFD_IOMMUFD_TEST_UTIL_H_
