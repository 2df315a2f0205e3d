// SPDX-License-Identifier: GPL-2.0-or-later
// The way of an ioctl to its handler, and the order in which it can fail.
#include <cerrno>
#include <cstring>
#include <set>
#include <vector>

#include "core/iommufd/revision.h"
#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"
#include "uapi/iommufd_desc.h"

namespace iommulab {
namespace {

constexpr uint64_t kBad = 0x10;  // nothing is mapped there

class DispatchTest : public ::testing::TestWithParam<const char*> {
 protected:
  DispatchTest() : m_(MockMachine::Options{.revision = GetParam()}) {}

  uint8_t Bit() const {
    return iommufd_find_revision(GetParam())->desc_revision;
  }
  // Commands that this context has; of IOMMU_TEST_CMD one.
  std::vector<const desc_ioctl*> Commands() const {
    std::vector<const desc_ioctl*> out;
    std::set<uint32_t> seen;
    for (const auto& d : iommufd_desc_all()) {
      // VFIO's numbers are below the tables.
      if (!(d.revisions & Bit()) || _IOC_NR(d.cmd) < IOMMUFD_CMD_BASE) continue;
      const auto& op = iommufd_find_revision(GetParam())
                           ->ioctls->ops[_IOC_NR(d.cmd) - IOMMUFD_CMD_BASE];
      if (op.execute && seen.insert(d.cmd).second) out.push_back(&d);
    }
    return out;
  }
  // The numbers for which the form's table has a handler.
  std::set<unsigned int> Numbers() const {
    std::set<unsigned int> out;
    unsigned int nr = IOMMUFD_CMD_BASE;
    for (const auto& op : iommufd_find_revision(GetParam())->ioctls->ops) {
      if (op.execute) out.insert(nr);
      ++nr;
    }
    return out;
  }
  long Call(unsigned long cmd, const void* bytes, size_t n) {
    uint64_t at = m_.Anon(kPage);
    EXPECT_EQ(m_.sys().store(at, bytes, n), 0);
    return m_.sys().ioctl(m_.fd(), cmd, at);
  }

  MockMachine m_;
};

// What the form's table has is what its descriptions have.
TEST_P(DispatchTest, EveryCommandIsDescribed) {
  std::set<unsigned int> described;
  for (const desc_ioctl& d : iommufd_desc_all()) {
    if ((d.revisions & Bit()) && _IOC_NR(d.cmd) >= IOMMUFD_CMD_BASE) {
      described.insert(_IOC_NR(d.cmd));
    }
  }
  EXPECT_EQ(described, Numbers());
}

TEST_P(DispatchTest, NumbersThatAreNoCommands) {
  std::vector<uint8_t> cmd(64, 0);
  uint32_t size = 64;
  memcpy(cmd.data(), &size, 4);
  // Outside the range the argument is not looked at.
  for (unsigned int nr :
       {0x00u, 0x3bu, 0x63u, 0x67u, 0x6fu, 0x73u, 0x75u, 0x7fu,
        IOMMUFD_CMD_BASE + IOMMUFD_IOCTL_NR + 0u, 0xffu}) {
    EXPECT_EQ(m_.sys().ioctl(m_.fd(), _IO(';', nr), kBad), -ENOTTY) << nr;
  }
  // Inside it the size is read first.
  const std::set<unsigned int> numbers = Numbers();
  for (unsigned int i = 0; i < IOMMUFD_IOCTL_NR; i++) {
    const unsigned int nr = IOMMUFD_CMD_BASE + i;
    EXPECT_EQ(m_.sys().ioctl(m_.fd(), _IO(';', nr), kBad), -EFAULT) << nr;
    if (!numbers.count(nr)) {
      EXPECT_EQ(Call(_IO(';', nr), cmd.data(), 64), -ENOTTY) << nr;
    }
  }
  // The right number of another type, or with a direction.
  EXPECT_EQ(Call(_IO('x', 0x81), cmd.data(), 64), -ENOTTY);
  EXPECT_EQ(Call(_IOW(';', 0x81, int), cmd.data(), 64), -ENOTTY);
}

TEST_P(DispatchTest, SizeTooSmall) {
  for (const desc_ioctl* d : Commands()) {
    std::vector<uint8_t> cmd(256, 0xff);
    for (uint32_t size : {0u, 4u, uint32_t{d->min_size} - 1}) {
      memcpy(cmd.data(), &size, 4);
      EXPECT_EQ(Call(d->cmd, cmd.data(), 256), -EINVAL) << d->name << size;
    }
  }
}

TEST_P(DispatchTest, SizeTooLarge) {
  for (const desc_ioctl* d : Commands()) {
    std::vector<uint8_t> cmd(256, 0);
    uint32_t size = d->arg->size + 8;
    memcpy(cmd.data(), &size, 4);
    cmd[size - 1] = 1;
    EXPECT_EQ(Call(d->cmd, cmd.data(), 256), -E2BIG) << d->name;
    // A tail of zeros is fine, so the handler speaks.
    cmd[size - 1] = 0;
    EXPECT_NE(Call(d->cmd, cmd.data(), 256), -E2BIG) << d->name;
    // A queue that was made has a descriptor.
    if (d->cmd == IOMMU_FAULT_QUEUE_ALLOC) {
      EXPECT_EQ(m_.sys().close(m_.fd() + 1), 0);
    }
  }
}

TEST_P(DispatchTest, TheCommandCannotBeRead) {
  for (const desc_ioctl* d : Commands()) {
    // Two pages of which the second one goes: the size can be read, the rest
    // cannot.
    memory_options opts;
    opts.size = 2 * kPage;
    uint64_t at = m_.sys().anon(opts);
    ASSERT_FALSE(is_error(at));
    uint32_t size = d->arg->size;
    ASSERT_EQ(m_.sys().store(at + kPage - 4, &size, 4), 0);
    ASSERT_EQ(m_.sys().munmap(at + kPage, kPage), 0);
    EXPECT_EQ(m_.sys().ioctl(m_.fd(), d->cmd, at + kPage - 4), -EFAULT)
        << d->name;
    ASSERT_EQ(m_.sys().munmap(at, kPage), 0);
  }
}

TEST_P(DispatchTest, AShorterStructIsZeroExtended) {
  uint32_t ioas = 0;
  MockMachine::Device dev;
  ASSERT_EQ(m_.IoasAlloc(&ioas), 0);
  ASSERT_EQ(m_.MockDomain(ioas, &dev), 0);
  iommu_hwpt_alloc cmd = {};
  cmd.size = offsetof(iommu_hwpt_alloc, __reserved) + 4;
  cmd.dev_id = dev.idev;
  cmd.pt_id = ioas;
  cmd.data_type = 77;  // behind the size: not there
  ASSERT_EQ(m_.Ioctl(IOMMU_HWPT_ALLOC, &cmd), 0);
  // and only as much comes back
  EXPECT_EQ(cmd.data_type, 77u);
  EXPECT_EQ(m_.Destroy(cmd.out_hwpt_id), 0);
}

TEST_P(DispatchTest, ResponseThatCannotBeWritten) {
  // The object that was made goes again.
  memory_options opts;
  opts.size = kPage;
  opts.readonly = true;
  uint64_t at = m_.sys().anon(opts);
  ASSERT_FALSE(is_error(at));
  Cmd cmd("IOAS_ALLOC");
  if (m_.sys().store(at, cmd.data(), cmd.size())) {
    // A program cannot write there at all; zeros are too small a size.
    EXPECT_EQ(m_.sys().ioctl(m_.fd(), IOMMU_IOAS_ALLOC, at), -EINVAL);
  }
  uint64_t rw = m_.Anon(kPage);
  ASSERT_EQ(m_.sys().store(rw, cmd.data(), cmd.size()), 0);
  ASSERT_EQ(Sim(m_).mprotect(rw, kPage, 1 /* PROT_READ */), 0);
  EXPECT_EQ(m_.sys().ioctl(m_.fd(), IOMMU_IOAS_ALLOC, rw), -EFAULT);
  EXPECT_EQ(Look(m_)->objects.size(), 0u);
  ASSERT_EQ(m_.sys().munmap(at, kPage), 0);
}

TEST_P(DispatchTest, Destroy) {
  EXPECT_EQ(m_.Destroy(0), -ENOENT);
  EXPECT_EQ(m_.Destroy(1), -ENOENT);
  EXPECT_EQ(m_.Destroy(UINT32_MAX), -ENOENT);
  uint32_t id = 0;
  ASSERT_EQ(m_.IoasAlloc(&id), 0);
  EXPECT_EQ(id, 1u);
  EXPECT_EQ(m_.Destroy(1), 0);
  EXPECT_EQ(m_.Destroy(1), -ENOENT);
}

TEST_P(DispatchTest, ReservedFieldsAreRefused) {
  uint32_t ioas = 0;
  MockMachine::Device dev;
  ASSERT_EQ(m_.IoasAlloc(&ioas), 0);
  ASSERT_EQ(m_.MockDomain(ioas, &dev), 0);
  for (const desc_ioctl* d : Commands()) {
    if (d->cmd == IOMMU_TEST_CMD) continue;
    for (const desc_field& f : d->arg->fields) {
      if (f.kind != desc_kind::RESERVED) continue;
      std::vector<uint8_t> cmd(d->arg->size, 0);
      uint32_t size = d->arg->size;
      memcpy(cmd.data(), &size, 4);
      desc_store(f, cmd.data(), 1);
      EXPECT_EQ(Call(d->cmd, cmd.data(), size), -EOPNOTSUPP)
          << d->name << "." << f.name;
    }
  }
}

TEST_P(DispatchTest, UnknownFlagsAreRefused) {
  for (const desc_ioctl* d : Commands()) {
    if (d->cmd == IOMMU_TEST_CMD || d->cmd == IOMMU_HWPT_ALLOC) continue;
    for (const desc_field& f : d->arg->fields) {
      if (f.kind != desc_kind::FLAGS) continue;
      std::vector<uint8_t> cmd(d->arg->size, 0);
      uint32_t size = d->arg->size;
      memcpy(cmd.data(), &size, 4);
      desc_store(f, cmd.data(), 1u << 31);
      EXPECT_EQ(Call(d->cmd, cmd.data(), size), -EOPNOTSUPP)
          << d->name << "." << f.name;
    }
  }
}

TEST_P(DispatchTest, Option) {
  Cmd cmd("OPTION");
  auto call = [&](uint32_t option, uint16_t op, uint32_t object, uint64_t val) {
    cmd = Cmd("OPTION");
    cmd.Set("option_id", option)
        .Set("op", op)
        .Set("object_id", object)
        .Set("val64", val);
    return m_.Ioctl(&cmd);
  };
  const uint32_t kMode = IOMMU_OPTION_RLIMIT_MODE;
  const uint32_t kHuge = IOMMU_OPTION_HUGE_PAGES;
  const uint16_t kSet = IOMMU_OPTION_OP_SET, kGet = IOMMU_OPTION_OP_GET;

  EXPECT_EQ(call(99, kGet, 0, 0), -EOPNOTSUPP);
  EXPECT_EQ(call(kMode, kGet, 0, 0), 0);
  EXPECT_EQ(cmd.Get("val64"), 0u);
  EXPECT_EQ(call(kMode, kGet, 1, 0), -EOPNOTSUPP);
  EXPECT_EQ(call(kMode, 2, 0, 0), -EOPNOTSUPP);
  EXPECT_EQ(call(kMode, kSet, 0, 2), -EINVAL);
  EXPECT_EQ(call(kMode, kSet, 0, 1), 0);
  EXPECT_EQ(call(kMode, kGet, 0, 0), 0);
  EXPECT_EQ(cmd.Get("val64"), 1u);
  EXPECT_EQ(call(kMode, kSet, 0, 0), 0);

  // The capability before the objects before the value.
  uint32_t ioas = 0;
  ASSERT_EQ(m_.IoasAlloc(&ioas), 0);
  EXPECT_EQ(call(kMode, kSet, 0, 2), -EBUSY);
  ASSERT_EQ(Sim(m_).set_credentials(1000, 0), 0);
  EXPECT_EQ(call(kMode, kSet, 0, 2), -EPERM);
  EXPECT_EQ(call(kMode, kGet, 0, 0), 0);

  EXPECT_EQ(call(kHuge, kGet, 0, 0), -ENOENT);
  EXPECT_EQ(call(kHuge, 2, 0, 0), -ENOENT);
  EXPECT_EQ(call(kHuge, 2, ioas, 0), -EOPNOTSUPP);
  EXPECT_EQ(call(kHuge, kGet, ioas, 0), 0);
  EXPECT_EQ(cmd.Get("val64"), 1u);
  EXPECT_EQ(call(kHuge, kSet, ioas, 2), -EINVAL);
  EXPECT_EQ(call(kHuge, kSet, ioas, 0), 0);
  EXPECT_EQ(call(kHuge, kGet, ioas, 0), 0);
  EXPECT_EQ(cmd.Get("val64"), 0u);
  EXPECT_EQ(call(kHuge, kSet, ioas, 1), 0);
  EXPECT_EQ(m_.Destroy(ioas), 0);
}

TEST(RevisionTest, ByName) {
  unsigned int nr = 0;
  for (const desc_revision_name& form : desc_revisions) {
    const iommufd_revision* found = iommufd_find_revision(form.name);
    ASSERT_NE(found, nullptr) << form.name;
    EXPECT_STREQ(found->name, form.name);
    EXPECT_EQ(found->desc_revision, form.revision);
    EXPECT_EQ(iommufd_revision_nr(nr++), found);
    if (form.release != nullptr) {
      EXPECT_EQ(iommufd_find_revision(form.release), found);
    }
  }
  EXPECT_EQ(iommufd_revision_nr(nr), nullptr);
  EXPECT_EQ(iommufd_find_revision(""), iommufd_revision_nr(0));
  EXPECT_EQ(iommufd_find_revision("hw_queue"), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Revisions, DispatchTest, ::testing::ValuesIn(Forms()),
                         RevisionName);

}  // namespace
}  // namespace iommulab
