// SPDX-License-Identifier: GPL-2.0-or-later
// Event queues where a program cannot show it: faults that are no group yet,
// what a driver gets as an answer, failures half way, many threads.
#include <poll.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/iommufd/iommufd_test_util.h"

// Last: kernel headers define common words as macros.
#include "core/iommu/io-pgfault.h"
#include "core/iommufd/iommufd_private.h"

namespace iommulab {
namespace {

using Fault = iommu_hwpt_pgfault;
using Response = iommu_hwpt_page_response;

MockMachine::Options Machine(bool interleave) {
  MockMachine::Options options;
  options.revision = kHwQueue;
  options.interleave = interleave;
  options.log_debug = !interleave;
  return options;
}

// A device, a fault queue, a HWPT whose faults go there; and a vIOMMU that
// knows the device as 0x99, with a nested HWPT on it.
class EventqTest : public ::testing::Test {
 protected:
  EventqTest() : EventqTest(false) {}
  explicit EventqTest(bool interleave) : m_(Machine(interleave)) {
    EXPECT_EQ(m_.IoasAlloc(&ioas_), 0);
    EXPECT_EQ(m_.MockDomain(ioas_, &dev_), 0);
    EXPECT_EQ(m_.FaultQueueAlloc(&fault_), 0);
    EXPECT_EQ(m_.HwptAllocFault(dev_.idev, ioas_, fault_.id, &hwpt_), 0);
    EXPECT_EQ(
        m_.HwptAlloc(dev_.idev, ioas_, IOMMU_HWPT_ALLOC_NEST_PARENT, &parent_),
        0);
    EXPECT_EQ(m_.ViommuAlloc(dev_.idev, parent_, &viommu_), 0);
    EXPECT_EQ(m_.VdeviceAlloc(viommu_, dev_.idev, 0x99, nullptr), 0);
    EXPECT_EQ(m_.HwptNested(dev_.idev, viommu_, &nested_), 0);
    buf_ = m_.Anon(4 * kPage);
    (void)m_.sys().take_log();
  }
  ~EventqTest() override {
    if (fault_.fd < 0) return;
    EXPECT_EQ(m_.sys().close(fault_.fd), 0);
  }

  // Up to `most` records of the fault queue.
  std::vector<Fault> ReadFaults(size_t most) {
    std::vector<Fault> faults(most);
    const long n = m_.sys().read(fault_.fd, buf_, most * sizeof(Fault));
    EXPECT_GE(n, 0);
    EXPECT_EQ(n % sizeof(Fault), 0u);
    faults.resize(static_cast<size_t>(n) / sizeof(Fault));
    EXPECT_EQ(m_.sys().load(buf_, faults.data(), faults.size() * sizeof(Fault)),
              0);
    return faults;
  }
  long Answer(uint32_t cookie, uint32_t code = IOMMUFD_PAGE_RESP_SUCCESS) {
    const Response response = {.cookie = cookie, .code = code};
    EXPECT_EQ(m_.Store(buf_, response), 0);
    return m_.sys().write(fault_.fd, buf_, sizeof(response));
  }
  short Poll(int fd) {
    return static_cast<short>(m_.sys().poll(fd, POLLIN, 0));
  }
  // The answers that the driver got since the last call: "group:code ".
  std::string Answers() {
    std::string answers;
    const std::string log = m_.sys().take_log();
    for (size_t at = 0; (at = log.find("group ", at)) != std::string::npos;) {
      at += 6;
      answers += log.substr(at, log.find(',', at) - at) + ':';
      at = log.find("code ", at) + 5;
      answers += log.substr(at, log.find('\n', at) - at) + ' ';
    }
    return answers;
  }

  // The kernel's own view; inside a TaskScope.
  template <class T>
  short_ref<T> Get(uint32_t id) {
    auto ctx = iommufd_ctx_from_fd(m_.fd());
    EXPECT_TRUE(ctx);
    auto ref = iommufd_get<T>(*ctx, id);
    EXPECT_TRUE(ref);
    iommufd_ctx_put(*ctx);
    return ref;
  }
  // A driver's report of a page request.
  int Report(uint32_t grpid, uint64_t addr, uint32_t flags) {
    TaskScope task(m_);
    auto idev = Get<iommufd_device>(dev_.idev);
    iopf_fault evt;
    evt.fault.type = IOMMU_FAULT_PAGE_REQ;
    evt.fault.prm.grpid = grpid;
    evt.fault.prm.addr = addr;
    evt.fault.prm.flags = flags;
    return iommu_report_device_fault(idev->dev, &evt);
  }
  int Partial(uint32_t grpid, uint64_t addr) { return Report(grpid, addr, 0); }
  int Last(uint32_t grpid, uint64_t addr) {
    return Report(grpid, addr, IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE);
  }

  MockMachine m_;
  uint32_t ioas_ = 0;
  MockMachine::Device dev_;
  MockMachine::EventQueue fault_;
  uint32_t hwpt_ = 0;
  uint32_t parent_ = 0;
  uint32_t viommu_ = 0;
  uint32_t nested_ = 0;
  uint64_t buf_ = 0;
};

// ---- making a queue ----

// Its file was made, and goes before the object: not when the call is over.
TEST_F(EventqTest, TheAnswerOfTheAllocationCannotBeWritten) {
  sim_syscalls& sim = Sim(m_);
  const size_t objects = Look(m_)->objects.size();
  Cmd fault("FAULT_QUEUE_ALLOC");
  Cmd veventq("VEVENTQ_ALLOC");
  veventq.Set("viommu_id", viommu_)
      .Set("type", IOMMU_VEVENTQ_TYPE_SELFTEST)
      .Set("veventq_depth", 1);
  const uint64_t at = m_.Anon(2 * kPage);
  ASSERT_EQ(m_.Store(at, fault), 0);
  ASSERT_EQ(m_.Store(at + kPage, veventq), 0);
  ASSERT_EQ(sim.mprotect(at, 2 * kPage, PROT_READ), 0);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(sim.ioctl(m_.fd(), IOMMU_FAULT_QUEUE_ALLOC, at), -EFAULT);
    EXPECT_EQ(sim.ioctl(m_.fd(), IOMMU_VEVENTQ_ALLOC, at + kPage), -EFAULT);
    EXPECT_EQ(Look(m_)->objects.size(), objects);
    Look(m_).ExpectExplained();
  }
  // Neither a descriptor nor the type is taken.
  MockMachine::EventQueue queue;
  ASSERT_EQ(m_.VeventqAlloc(viommu_, 1, &queue), 0);
  EXPECT_EQ(queue.fd, fault_.fd + 1);
  EXPECT_EQ(sim.close(queue.fd), 0);
}

TEST_F(EventqTest, NoDescriptorIsLeft) {
  std::vector<MockMachine::EventQueue> queues;
  MockMachine::EventQueue queue;
  int rc;
  while ((rc = m_.FaultQueueAlloc(&queue)) == 0) queues.push_back(queue);
  EXPECT_EQ(rc, -EMFILE);
  EXPECT_EQ(queues.back().fd, 1023);
  EXPECT_EQ(m_.VeventqAlloc(viommu_, 1, &queue), -EMFILE);
  Look(m_).ExpectExplained();
  EXPECT_EQ(m_.sys().close(queues.back().fd), 0);
  queues.pop_back();
  ASSERT_EQ(m_.VeventqAlloc(viommu_, 1, &queue), 0);
  EXPECT_EQ(queue.fd, 1023);
  queues.push_back(queue);
  for (const auto& q : queues) EXPECT_EQ(m_.sys().close(q.fd), 0);
}

// ---- faults ----

TEST_F(EventqTest, PartialFaultsWaitForTheLastOfTheirGroup) {
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt_), 0);
  EXPECT_EQ(Partial(1, 0x1000), 0);
  EXPECT_EQ(Partial(2, 0x2000), 0);
  EXPECT_EQ(Partial(1, 0x3000), 0);
  EXPECT_EQ(Poll(fault_.fd), 0);
  EXPECT_EQ(Last(1, 0x4000), 0);
  // All or nothing.
  EXPECT_EQ(m_.sys().read(fault_.fd, buf_, 2 * sizeof(Fault)), -EINVAL);
  std::vector<Fault> faults = ReadFaults(4);
  ASSERT_EQ(faults.size(), 3u);
  const uint64_t addrs[] = {0x1000, 0x3000, 0x4000};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(faults[i].addr, addrs[i]);
    EXPECT_EQ(faults[i].grpid, 1u);
    EXPECT_EQ(faults[i].cookie, faults[0].cookie);
    EXPECT_EQ(faults[i].dev_id, dev_.idev);
    EXPECT_EQ(faults[i].flags,
              i == 2 ? uint32_t{IOMMU_PGFAULT_FLAGS_LAST_PAGE} : 0);
  }
  EXPECT_EQ(Last(2, 0x5000), 0);
  faults = ReadFaults(2);
  ASSERT_EQ(faults.size(), 2u);
  EXPECT_EQ(faults[0].addr, 0x2000u);
  // One answer for the group.
  EXPECT_EQ(Answers(), "");
  EXPECT_EQ(Answer(1), 8);
  EXPECT_EQ(Answer(2, IOMMUFD_PAGE_RESP_INVALID), 8);
  EXPECT_EQ(Answers(), "1:0 2:1 ");
}

TEST_F(EventqTest, AGroupIsNotReadInPart) {
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt_), 0);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(Partial(1, i), 0);
  EXPECT_EQ(Last(1, 3), 0);
  EXPECT_EQ(Last(2, 4), 0);
  // Room for one and a half, in bytes and in memory.
  EXPECT_EQ(m_.sys().munmap(buf_ + kPage, kPage), 0);
  const uint64_t end = buf_ + kPage;
  EXPECT_EQ(
      m_.sys().read(fault_.fd, end - 2 * sizeof(Fault), 4 * sizeof(Fault)),
      -EFAULT);
  EXPECT_EQ(
      m_.sys().read(fault_.fd, end - 4 * sizeof(Fault), 5 * sizeof(Fault)),
      4 * static_cast<long>(sizeof(Fault)));
  std::vector<Fault> faults = ReadFaults(1);
  ASSERT_EQ(faults.size(), 1u);
  // The failure has kept no cookie.
  EXPECT_EQ(faults[0].cookie, 2u);
}

TEST_F(EventqTest, PartialFaultsAreDiscarded) {
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt_), 0);
  EXPECT_EQ(Partial(1, 0x1000), 0);
  {
    TaskScope task(m_);
    auto idev = Get<iommufd_device>(dev_.idev);
    dev_iommu* param = idev->dev->iommu;
    iopf_queue* queue;
    {
      mutex_guard lock(&param->lock);
      queue = param->fault_param->queue;
    }
    EXPECT_EQ(iopf_queue_flush_dev(idev->dev), 0);
    EXPECT_EQ(iopf_queue_add_device(queue, idev->dev), -EBUSY);
    EXPECT_EQ(iopf_queue_discard_partial(queue), 0);
    EXPECT_EQ(iopf_queue_discard_partial(nullptr), -EINVAL);
  }
  EXPECT_EQ(Last(1, 0x2000), 0);
  EXPECT_EQ(ReadFaults(2).size(), 1u);
  // A device that leaves takes its own along.
  EXPECT_EQ(Partial(1, 0x1000), 0);
  ASSERT_EQ(m_.Replace(dev_.stdev, ioas_), 0);
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt_), 0);
  EXPECT_EQ(Last(1, 0x2000), 0);
  EXPECT_EQ(ReadFaults(2).size(), 1u);
}

TEST_F(EventqTest, WithoutMemoryAGroupIsAnsweredAsAFailure) {
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt_), 0);
  EXPECT_EQ(Partial(1, 0x1000), 0);
  auto failing = [this](auto&& report) {
    TaskScope task(m_);
    auto idev = Get<iommufd_device>(dev_.idev);
    iopf_fault evt;
    evt.fault.type = IOMMU_FAULT_PAGE_REQ;
    evt.fault.prm.grpid = 1;
    m_.sys().set_fail_nth(1);
    const int rc = report(idev->dev, &evt);
    EXPECT_EQ(m_.sys().fail_nth(), 0u);
    m_.sys().set_fail_nth(0);
    return rc;
  };
  EXPECT_EQ(failing([](device* dev, iopf_fault* evt) {
              return iommu_report_device_fault(dev, evt);
            }),
            -ENOMEM);
  EXPECT_EQ(Answers(), "");
  EXPECT_EQ(failing([](device* dev, iopf_fault* evt) {
              evt->fault.prm.flags = IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE;
              return iommu_report_device_fault(dev, evt);
            }),
            0);
  EXPECT_EQ(Answers(), "1:2 ");
  EXPECT_EQ(Poll(fault_.fd), 0);
  // The part of the group that waited is gone with it.
  EXPECT_EQ(Last(1, 0x2000), 0);
  EXPECT_EQ(ReadFaults(2).size(), 1u);
}

TEST_F(EventqTest, WhatNobodyWantsIsAnsweredAsInvalid) {
  EXPECT_EQ(Last(1, 0), -EINVAL);
  EXPECT_EQ(Answers(), "1:1 ");
  // Not attached to a table with faults: a partial one is answered too.
  EXPECT_EQ(Partial(2, 0), -EINVAL);
  EXPECT_EQ(Answers(), "2:1 ");
  // What is no page request has no answer.
  {
    TaskScope task(m_);
    auto idev = Get<iommufd_device>(dev_.idev);
    iopf_fault evt;
    EXPECT_EQ(iommu_report_device_fault(idev->dev, &evt), -EINVAL);
  }
  EXPECT_EQ(Answers(), "");
}

TEST_F(EventqTest, EachGroupIsAnsweredOnce) {
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt_), 0);
  for (uint32_t group = 1; group <= 4; ++group) {
    EXPECT_EQ(m_.TriggerIopf(dev_.idev, group), 0);
  }
  EXPECT_EQ(ReadFaults(2).size(), 2u);
  EXPECT_EQ(Answer(2), 8);
  EXPECT_EQ(Answers(), "2:0 ");
  // 3 and 4 were not read, 1 not answered.
  ASSERT_EQ(m_.Replace(dev_.stdev, ioas_), 0);
  EXPECT_EQ(Answers(), "3:1 4:1 1:1 ");
  EXPECT_EQ(Answer(1), -EINVAL);
  EXPECT_EQ(Answers(), "");
  // The same when everything is closed with faults in all states.
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt_), 0);
  EXPECT_EQ(m_.TriggerIopf(dev_.idev, 5), 0);
  EXPECT_EQ(m_.TriggerIopf(dev_.idev, 6), 0);
  EXPECT_EQ(ReadFaults(1).size(), 1u);
  const int fd = fault_.fd;
  fault_.fd = -1;
  EXPECT_EQ(m_.sys().close(fd), 0);
  m_.CloseAll();
  EXPECT_EQ(Answers(), "6:1 5:1 ");
}

// ---- vEVENTs ----

class VeventqTest : public EventqTest {
 protected:
  VeventqTest() : VeventqTest(false) {}
  explicit VeventqTest(bool interleave) : EventqTest(interleave) {
    EXPECT_EQ(m_.VeventqAlloc(viommu_, 2, &queue_), 0);
    EXPECT_EQ(m_.Replace(dev_.stdev, nested_), 0);
  }
  ~VeventqTest() override {
    if (queue_.fd < 0) return;
    EXPECT_EQ(m_.sys().close(queue_.fd), 0);
  }
  int ReportEvent(const std::string& data) {
    TaskScope task(m_);
    auto viommu = Get<iommufd_viommu>(viommu_);
    return iommufd_viommu_report_event(
        viommu.get(),
        static_cast<iommu_veventq_type>(IOMMU_VEVENTQ_TYPE_SELFTEST),
        data.data(), data.size());
  }
  std::string Read(size_t n) {
    const long got = m_.sys().read(queue_.fd, buf_, n);
    if (got < 0) return std::to_string(got);
    std::string bytes(static_cast<size_t>(got), '\0');
    EXPECT_EQ(m_.sys().load(buf_, bytes.data(), bytes.size()), 0);
    return bytes;
  }
  static std::string Event(uint32_t sequence, const std::string& data,
                           uint32_t flags = 0) {
    const iommufd_vevent_header header = {.flags = flags, .sequence = sequence};
    return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) +
           data;
  }
  static std::string LostEvents(uint32_t sequence) {
    return Event(sequence, "", IOMMU_VEVENTQ_FLAG_LOST_EVENTS);
  }
  void SetSequence(uint32_t sequence) {
    TaskScope task(m_);
    auto veventq = Get<iommufd_veventq>(queue_.id);
    spinlock_guard lock(&veventq->lock);
    veventq->sequence = sequence;
  }

  MockMachine::EventQueue queue_;
};

TEST_F(VeventqTest, DataOfAnyLength) {
  const std::string large(3000, 'x');
  EXPECT_EQ(ReportEvent("a"), 0);
  EXPECT_EQ(ReportEvent(large), 0);
  EXPECT_EQ(Read(8), "-22");
  EXPECT_EQ(Read(9), Event(0, "a"));
  EXPECT_EQ(Read(3007), "-22");
  EXPECT_EQ(Read(3008), Event(1, large));
  EXPECT_EQ(Read(3008), "");
}

TEST_F(VeventqTest, TheNumberBeginsAnewAfterTheLargest) {
  SetSequence(INT_MAX - 1);
  EXPECT_EQ(ReportEvent("a"), 0);
  EXPECT_EQ(ReportEvent("b"), 0);
  EXPECT_EQ(ReportEvent("lost"), 0);
  EXPECT_EQ(Read(100),
            Event(INT_MAX - 1, "a") + Event(INT_MAX, "b") + LostEvents(0));
  EXPECT_EQ(ReportEvent("c"), 0);
  EXPECT_EQ(Read(100), Event(1, "c"));
}

TEST_F(VeventqTest, WithoutMemoryAnEventIsLost) {
  auto without_memory = [this](const std::string& data) {
    TaskScope task(m_);
    auto viommu = Get<iommufd_viommu>(viommu_);
    m_.sys().set_fail_nth(1);
    const int rc = iommufd_viommu_report_event(
        viommu.get(),
        static_cast<iommu_veventq_type>(IOMMU_VEVENTQ_TYPE_SELFTEST),
        data.data(), data.size());
    EXPECT_EQ(m_.sys().fail_nth(), 0u);
    m_.sys().set_fail_nth(0);
    return rc;
  };
  EXPECT_EQ(without_memory("a"), -ENOMEM);
  EXPECT_EQ(Read(100), LostEvents(0));
  EXPECT_EQ(ReportEvent("b"), 0);
  EXPECT_EQ(without_memory("c"), -ENOMEM);
  EXPECT_EQ(without_memory("d"), -ENOMEM);
  EXPECT_EQ(Read(100), Event(1, "b") + LostEvents(3));
  // The room is counted: two after all that.
  EXPECT_EQ(ReportEvent("e"), 0);
  EXPECT_EQ(ReportEvent("f"), 0);
  EXPECT_EQ(ReportEvent("g"), 0);
  EXPECT_EQ(Read(100), Event(4, "e") + Event(5, "f") + LostEvents(6));
}

TEST_F(VeventqTest, AHeaderThatCannotBeReadIsStillThereOrNotNeeded) {
  for (const char* data : {"a", "b", "c"}) EXPECT_EQ(ReportEvent(data), 0);
  EXPECT_EQ(Read(18), Event(0, "a") + Event(1, "b"));
  // No memory for the copy of the header.
  m_.sys().set_fail_nth(1);
  EXPECT_EQ(Read(8), "-12");
  EXPECT_EQ(m_.sys().fail_nth(), 0u);
  m_.sys().set_fail_nth(0);
  EXPECT_EQ(m_.sys().read(queue_.fd, 0x10, 8), -EFAULT);
  EXPECT_EQ(Read(8), LostEvents(2));
  EXPECT_EQ(Poll(queue_.fd), 0);
}

// ---- waiting ----

TEST_F(VeventqTest, APollEndsWhenItsTimeIsOver) {
  EXPECT_EQ(m_.sys().poll(queue_.fd, POLLIN, 0), 0);
  EXPECT_EQ(m_.sys().poll(queue_.fd, POLLIN, 1), 0);
  EXPECT_EQ(m_.sys().poll(queue_.fd, POLLOUT, 1), 0);
  EXPECT_EQ(m_.sys().poll(fault_.fd, POLLOUT, -1), POLLOUT);
  {
    // A signal.
    Sim(m_).task()->interrupted = true;
    EXPECT_EQ(m_.sys().poll(queue_.fd, POLLIN, -1), -EINTR);
    EXPECT_EQ(m_.sys().poll(queue_.fd, POLLIN, 0), 0);
    Sim(m_).task()->interrupted = false;
  }
}

TEST_F(VeventqTest, APollThatWaitsKeepsTheFile) {
  std::atomic<int> revents{-1};
  const int fd = queue_.fd;
  std::thread waits([&] { revents = m_.sys().poll(fd, POLLIN, -1); });
  {
    TaskScope task(m_);
    auto veventq = Get<iommufd_veventq>(queue_.id);
    while (!waitqueue_active(&veventq->wait_queue)) std::this_thread::yield();
  }
  EXPECT_EQ(m_.sys().close(fd), 0);
  queue_.fd = -1;
  // Its file has not been released.
  EXPECT_EQ(m_.Destroy(queue_.id), -EBUSY);
  EXPECT_EQ(revents, -1);
  EXPECT_EQ(m_.TriggerVevent(dev_.idev), 0);
  waits.join();
  EXPECT_EQ(revents, POLLIN);
  EXPECT_EQ(m_.Destroy(queue_.id), 0);
}

// Each of those who wait, for as long as it takes.
TEST_F(EventqTest, AFaultWakesAll) {
  ASSERT_EQ(m_.Replace(dev_.stdev, hwpt_), 0);
  const int fd = fault_.fd;
  std::atomic<int> woken{0};
  auto wait = [&] {
    EXPECT_EQ(m_.sys().poll(fd, POLLIN, -1), POLLIN);
    woken++;
  };
  std::thread a(wait), b(wait);
  {
    TaskScope task(m_);
    auto fault = Get<iommufd_fault>(fault_.id);
    while (fault->wait_queue.waiters != 2) std::this_thread::yield();
  }
  EXPECT_EQ(woken, 0);
  EXPECT_EQ(m_.TriggerIopf(dev_.idev, 1), 0);
  a.join();
  b.join();
  EXPECT_EQ(woken, 2);
}

// ---- threads ----

class EventqThreadsTest : public VeventqTest {
 protected:
  static constexpr int kRounds = 200;

  EventqThreadsTest() : VeventqTest(true) {}

  // Runs all of them at once, each with its own view of the machine.
  void Together(std::vector<std::function<void(MockMachine&)>> work) {
    std::vector<std::thread> threads;
    for (auto& w : work) {
      threads.emplace_back([this, &w] {
        MockMachine view(&m_);
        w(view);
      });
    }
    for (std::thread& t : threads) t.join();
  }
};

// A device faults while its program reads and answers, and while it moves
// between tables: every group is answered, by one of them.
TEST_F(EventqThreadsTest, FaultsAgainstAnswersAndMoves) {
  std::atomic<bool> stop{false};
  const int fd = fault_.fd;
  Together({
      [&](MockMachine& m) {
        for (int i = 0; i < kRounds; ++i) {
          EXPECT_EQ(m.TriggerIopf(dev_.idev, static_cast<uint32_t>(i)), 0);
        }
        stop = true;
      },
      [&](MockMachine& m) {
        const uint64_t at = m.Anon(kPage);
        while (!stop) {
          const long n = m.sys().read(fd, at, 4 * sizeof(Fault));
          ASSERT_GE(n, 0);
          for (long i = 0; i < n; i += sizeof(Fault)) {
            const Response response = {
                .cookie = m.Load<Fault>(at + static_cast<uint64_t>(i)).cookie,
                .code = IOMMUFD_PAGE_RESP_SUCCESS};
            EXPECT_EQ(m.Store(at + 2048, response), 0);
            const long rc = m.sys().write(fd, at + 2048, sizeof(response));
            // The move was faster.
            EXPECT_TRUE(rc == sizeof(response) || rc == -EINVAL) << rc;
          }
          std::this_thread::yield();
        }
      },
      [&](MockMachine& m) {
        while (!stop) {
          EXPECT_EQ(m.Replace(dev_.stdev, hwpt_), 0);
          EXPECT_EQ(m.Replace(dev_.stdev, ioas_), 0);
        }
      },
      [&](MockMachine& m) {
        while (!stop) {
          const int revents = m.sys().poll(fd, POLLIN | POLLOUT, 0);
          EXPECT_EQ(revents & ~POLLIN, POLLOUT);
          EXPECT_EQ(m.Destroy(fault_.id), -EBUSY);
          std::this_thread::yield();
        }
      },
  });
  EXPECT_EQ(m_.Replace(dev_.stdev, ioas_), 0);
  EXPECT_EQ(Poll(fd), 0);
  const iommufd_snapshot snapshot = *Look(m_);
  for (const auto& q : snapshot.eventqs) {
    EXPECT_EQ(q.queued, 0u);
    EXPECT_EQ(q.unanswered, 0u);
  }
}

// Two devices of one group fault, with a PASID and without, while both kinds of
// attachment change: none of it is answered twice or lost.
TEST(EventqGroupThreadsTest, FaultsOfAGroupAgainstMoves) {
  MockMachine::Options options;
  options.revision = kHwQueue;
  options.interleave = true;
  options.mock.group_size = 2;
  MockMachine m(options);
  uint32_t ioas = 0;
  uint32_t plain = 0;
  uint32_t hwpt = 0;
  MockMachine::Device devs[2];
  MockMachine::EventQueue queue;
  ASSERT_EQ(m.IoasAlloc(&ioas), 0);
  for (auto& dev : devs) {
    ASSERT_EQ(m.MockDomainFlags(ioas, MOCK_FLAGS_DEVICE_PASID, &dev), 0);
  }
  ASSERT_EQ(m.FaultQueueAlloc(&queue), 0);
  ASSERT_EQ(m.HwptAlloc(devs[0].idev, ioas, IOMMU_HWPT_ALLOC_PASID, &plain), 0);
  ASSERT_EQ(m.HwptAllocFault(devs[0].idev, ioas, queue.id, &hwpt,
                             IOMMU_HWPT_ALLOC_PASID),
            0);
  ASSERT_EQ(m.Replace(devs[0].stdev, plain), 0);
  std::atomic<int> reporters{2};
  auto faults = [&](int which) {
    MockMachine view(&m);
    for (uint32_t i = 0; i < 150; ++i) {
      EXPECT_EQ(view.TriggerIopf(devs[which].idev, i, 0, i % 2 ? 7 : 0), 0);
    }
    reporters--;
  };
  auto moves = [&] {
    MockMachine view(&m);
    while (reporters != 0) {
      EXPECT_EQ(view.Replace(devs[0].stdev, hwpt), 0);
      EXPECT_EQ(view.Replace(devs[1].stdev, plain), 0);
    }
  };
  auto attaches = [&] {
    MockMachine view(&m);
    while (reporters != 0) {
      for (const auto& dev : devs) {
        iommu_test_cmd cmd = {};
        cmd.op = IOMMU_TEST_OP_PASID_ATTACH;
        cmd.id = dev.stdev;
        cmd.pasid_attach.pasid = 7;
        cmd.pasid_attach.pt_id = hwpt;
        EXPECT_EQ(view.Test(&cmd), 0);
      }
      for (const auto& dev : devs) {
        iommu_test_cmd cmd = {};
        cmd.op = IOMMU_TEST_OP_PASID_DETACH;
        cmd.id = dev.stdev;
        cmd.pasid_detach.pasid = 7;
        EXPECT_EQ(view.Test(&cmd), 0);
      }
    }
  };
  auto reads = [&] {
    MockMachine view(&m);
    const uint64_t at = view.Anon(kPage);
    while (reporters != 0) {
      const long n = view.sys().read(queue.fd, at, 8 * sizeof(Fault));
      ASSERT_GE(n, 0);
      for (long i = 0; i < n; i += sizeof(Fault)) {
        const auto fault = view.Load<Fault>(at + static_cast<uint64_t>(i));
        EXPECT_TRUE(fault.dev_id == devs[0].idev ||
                    fault.dev_id == devs[1].idev);
        EXPECT_EQ(fault.pasid, fault.grpid % 2 ? 7u : 0u);
      }
      std::this_thread::yield();
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back(faults, 0);
  threads.emplace_back(faults, 1);
  threads.emplace_back(moves);
  threads.emplace_back(attaches);
  threads.emplace_back(reads);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(m.Replace(devs[0].stdev, plain), 0);
  const Look look(m);
  for (const auto& q : look->eventqs) {
    EXPECT_EQ(q.queued, 0u);
    EXPECT_EQ(q.unanswered, 0u);
  }
  EXPECT_EQ(m.sys().close(queue.fd), 0);
}

// The same with queues, tables and devices that come and go.
TEST_F(EventqThreadsTest, FaultQueuesComeAndGo) {
  auto work = [&](MockMachine& m) {
    const uint64_t at = m.Anon(kPage);
    for (int i = 0; i < kRounds / 4; ++i) {
      MockMachine::Device dev;
      MockMachine::EventQueue queue;
      uint32_t hwpt = 0;
      ASSERT_EQ(m.MockDomain(ioas_, &dev), 0);
      ASSERT_EQ(m.FaultQueueAlloc(&queue), 0);
      ASSERT_EQ(m.HwptAllocFault(dev.idev, ioas_, queue.id, &hwpt), 0);
      EXPECT_EQ(m.Replace(dev.stdev, hwpt), 0);
      EXPECT_EQ(m.TriggerIopf(dev.idev, 1), 0);
      EXPECT_EQ(m.TriggerIopf(dev.idev, 2), 0);
      EXPECT_EQ(m.sys().read(queue.fd, at, sizeof(Fault)),
                static_cast<long>(sizeof(Fault)));
      EXPECT_EQ(m.Destroy(dev.stdev), 0);
      EXPECT_EQ(m.Destroy(hwpt), 0);
      EXPECT_EQ(m.sys().close(queue.fd), 0);
      EXPECT_EQ(m.Destroy(queue.id), 0);
    }
  };
  Together({work, work, work});
}

// Events are reported while they are read, by two readers: none is there twice,
// and what is missing was lost.
TEST_F(EventqThreadsTest, EventsAgainstReaders) {
  std::atomic<int> reporters{2};
  std::atomic<int> seen{0};
  std::mutex mutex;
  std::set<uint32_t> numbers;
  auto report = [&](MockMachine& m) {
    for (int i = 0; i < kRounds; ++i) EXPECT_EQ(m.TriggerVevent(dev_.idev), 0);
    reporters--;
  };
  auto read = [&](MockMachine& m) {
    const uint64_t at = m.Anon(kPage);
    for (;;) {
      const bool over = reporters == 0;
      const long n = m.sys().read(queue_.fd, at, 64);
      ASSERT_GE(n, 0);
      for (uint64_t i = 0; i < static_cast<uint64_t>(n);) {
        const auto header = m.Load<iommufd_vevent_header>(at + i);
        i += sizeof(header);
        if (header.flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS) continue;
        EXPECT_EQ(m.Load<iommu_viommu_event_selftest>(at + i).virt_id, 0x99u);
        i += sizeof(iommu_viommu_event_selftest);
        seen++;
        std::lock_guard<std::mutex> lock(mutex);
        EXPECT_TRUE(numbers.insert(header.sequence).second);
      }
      if (n == 0 && over) break;
      if (n == 0) std::this_thread::yield();
    }
  };
  auto poll = [&](MockMachine& m) {
    while (reporters != 0) {
      const int revents = m.sys().poll(queue_.fd, POLLIN, 0);
      EXPECT_EQ(revents & ~POLLIN, 0);
      std::this_thread::yield();
    }
  };
  Together({report, report, read, read, poll});
  EXPECT_GT(seen, 0);
  EXPECT_LE(seen, 2 * kRounds);
  EXPECT_LT(*numbers.rbegin(), static_cast<uint32_t>(2 * kRounds));
}

// One reader sleeps until there is something; it sees everything in order.
TEST_F(EventqThreadsTest, AReaderThatSleeps) {
  std::atomic<bool> stop{false};
  Together({
      [&](MockMachine& m) {
        for (int i = 0; i < kRounds; ++i) {
          EXPECT_EQ(m.TriggerVevent(dev_.idev), 0);
        }
        stop = true;
        EXPECT_EQ(m.TriggerVevent(dev_.idev), 0);
      },
      [&](MockMachine& m) {
        const uint64_t at = m.Anon(kPage);
        long last = -1;
        while (last < kRounds) {
          EXPECT_EQ(m.sys().poll(queue_.fd, POLLIN, -1), POLLIN);
          const long n = m.sys().read(queue_.fd, at, 12);
          ASSERT_GT(n, 0);
          const auto header = m.Load<iommufd_vevent_header>(at);
          EXPECT_GT(static_cast<long>(header.sequence), last);
          last = header.sequence;
        }
      },
  });
}

// vEVENTQs and their vIOMMU go at the same time, under events.
TEST_F(EventqThreadsTest, VeventqsAndVIommusComeAndGo) {
  std::atomic<uint32_t> viommu{0};
  std::atomic<bool> stop{false};
  Together({
      [&](MockMachine& m) {
        for (int i = 0; i < kRounds; ++i) {
          uint32_t id = 0;
          ASSERT_EQ(m.ViommuAlloc(dev_.idev, parent_, &id), 0);
          viommu = id;
          int rc;
          while ((rc = m.Destroy(id)) == -EBUSY) std::this_thread::yield();
          EXPECT_EQ(rc, 0);
        }
        stop = true;
      },
      [&](MockMachine& m) {
        while (!stop) {
          MockMachine::EventQueue queue;
          // The id may be another object's by now.
          if (m.VeventqAlloc(viommu, 1, &queue) != 0) continue;
          EXPECT_EQ(m.sys().close(queue.fd), 0);
          EXPECT_EQ(m.Destroy(queue.id), 0);
        }
      },
      [&](MockMachine& m) {
        while (!stop) {
          MockMachine::EventQueue queue;
          if (m.VeventqAlloc(viommu, 1, &queue, 77) != 0) continue;
          EXPECT_EQ(m.sys().close(queue.fd), 0);
          EXPECT_EQ(m.Destroy(queue.id), 0);
        }
      },
      [&](MockMachine& m) {
        while (!stop) EXPECT_EQ(m.TriggerVevent(dev_.idev), 0);
      },
  });
}

}  // namespace
}  // namespace iommulab
