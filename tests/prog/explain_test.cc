// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a person reads about an EBUSY, and what the picture shows.
#include "tools/explain.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prog/parse.h"
#include "prog/run.h"
#include "tools/lab_kernel.h"

namespace tools {
namespace {

using ::testing::_;
using ::testing::ElementsAre;

constexpr char kFixture[] =
    "ioas = IOAS_ALLOC(f)\n"
    "dev = MOCK_DOMAIN(f, id=ioas)\n"
    "hwpt = HWPT_ALLOC(f, dev_id=dev.idev, pt_id=ioas, flags=NEST_PARENT)\n"
    "v = VIOMMU_ALLOC(f, dev_id=dev.idev, hwpt_id=hwpt, type=SELFTEST, "
    "data={in_data=1})\n"
    "buf = anon(2M, huge=true)\n"
    "IOAS_MAP(f, ioas_id=ioas, user_va=buf, length=2M, iova=0x1000000, "
    "flags=FIXED_IOVA|READABLE)\n";

class ExplainTest : public testing::Test {
 protected:
  // Runs the program and explains what the last call says.
  std::string Explain(const std::string& text) {
    source_ = text;
    prog::Error error;
    EXPECT_TRUE(prog::Parse(source_, &program_, &error) &&
                prog::Bind(program_, prog::BindOptions(), &bound_, &error))
        << prog::FormatError("x", source_, error);
    lab_ = LabKernel::Create({}, LabOptions(), &error);
    std::string why;
    prog::RunOptions options;
    options.at_end = [&](const std::vector<prog::CallResult>& results) {
      const size_t last = bound_.calls.size() - 1;
      EXPECT_EQ(results[last].error, EBUSY);
      why = ExplainBusy(lab_->sim(), bound_, results, last);
      graph_ = Snapshot(lab_->sim(), "x.prog", bound_, results, last);
    };
    prog::Run(bound_, lab_->sys(), options);
    return why;
  }

  const GraphNode* Node(const std::string& title) const {
    for (const GraphNode& node : graph_.nodes) {
      if (node.title == title) return &node;
    }
    return nullptr;
  }

  bool HasEdge(const std::string& from, const std::string& to) const {
    for (const GraphEdge& edge : graph_.edges) {
      if (graph_.nodes[edge.from].title == from &&
          graph_.nodes[edge.to].title == to) {
        return true;
      }
    }
    return false;
  }

  std::string source_;
  prog::Program program_;
  prog::BoundProgram bound_;
  std::unique_ptr<LabKernel> lab_;
  Graph graph_;
};

TEST_F(ExplainTest, AQueueThatAnotherDependsOn) {
  EXPECT_EQ(
      Explain(std::string("f = open(uapi=vcmdq-v2)\n") + kFixture +
              "q0 = VCMDQ_ALLOC(f, viommu_id=v, type=SELFTEST, index=0, "
              "addr=0x1000000, length=0x1000)\n"
              "q1 = VCMDQ_ALLOC(f, viommu_id=v, type=SELFTEST, index=1, "
              "addr=0x1000000, length=0x1000)\n"
              "DESTROY(f, id=q0)\n"),
      "q0 (VCMDQ 7) has 2 users: 1 is the object table's, which DESTROY takes\n"
      "  1  q1 (VCMDQ 8): depends on it\n"
      "       line 9: q1 = VCMDQ_ALLOC(f, viommu_id=v, type=SELFTEST, index=1, "
      "addr=0x1000000, length=0x1000)\n");
  EXPECT_TRUE(HasEdge("q1", "q0"));
  EXPECT_TRUE(HasEdge("q0", "v"));
  EXPECT_TRUE(HasEdge("v", "hwpt"));
  EXPECT_TRUE(HasEdge("hwpt", "ioas"));
  EXPECT_TRUE(HasEdge("dev.stdev", "dev.idev"));
  ASSERT_NE(Node("q0"), nullptr);
  EXPECT_EQ(Node("q0")->kind, "VCMDQ 7");
}

TEST_F(ExplainTest, APasid) {
  EXPECT_EQ(
      Explain("f = open()\n"
              "ioas = IOAS_ALLOC(f)\n"
              "dev = MOCK_DOMAIN_FLAGS(f, id=ioas, dev_flags=PASID)\n"
              "t = HWPT_ALLOC(f, dev_id=dev.idev, pt_id=ioas, flags=PASID)\n"
              "MOCK_DOMAIN_REPLACE(f, id=dev.stdev, pt_id=t)\n"
              "PASID_ATTACH(f, id=dev.stdev, pasid=100, pt_id=t)\n"
              "DESTROY(f, id=t)\n"),
      "t (HWPT_PAGING 5) has 3 users: 1 is the object table's, which DESTROY "
      "takes\n"
      "  1  dev.idev (DEVICE 3): attached to it\n"
      "       line 3: dev = MOCK_DOMAIN_FLAGS(f, id=ioas, dev_flags=PASID)\n"
      "  1  dev.idev (DEVICE 3): attached to it, as PASID 0x64\n"
      "       line 3: dev = MOCK_DOMAIN_FLAGS(f, id=ioas, dev_flags=PASID)\n");
  EXPECT_TRUE(HasEdge("dev.idev", "t"));
}

TEST_F(ExplainTest, AMapping) {
  const std::string why = Explain(
      std::string("f = open(uapi=hw-queue)\n") + kFixture +
      "p = mmap(f, offset=v.out_mmap_offset, length=v.out_mmap_length)\n"
      "DESTROY(f, id=v)\n");
  EXPECT_NE(why.find("a mapping of its region"), std::string::npos) << why;
  EXPECT_NE(why.find("mapped as p"), std::string::npos) << why;
  EXPECT_TRUE(HasEdge("p", "v"));
}

TEST_F(ExplainTest, ARangeThatAQueueHasPinned) {
  const std::string why =
      Explain(std::string("f = open(uapi=hw-queue)\n") + kFixture +
              "q = HW_QUEUE_ALLOC(f, viommu_id=v, type=SELFTEST, index=0, "
              "nesting_parent_iova=0x1000000, length=0x1000)\n"
              "IOAS_UNMAP(f, ioas_id=ioas, iova=0x1000000, length=2M)\n");
  EXPECT_NE(why.find("0x1000000-0x11fffff of ioas"), std::string::npos) << why;
  EXPECT_NE(why.find("q (HW_QUEUE"), std::string::npos) << why;
}

TEST_F(ExplainTest, AFaultQueueWithFaults) {
  EXPECT_EQ(
      Explain("f = open()\n"
              "ioas = IOAS_ALLOC(f)\n"
              "dev = MOCK_DOMAIN(f, id=ioas)\n"
              "q = FAULT_QUEUE_ALLOC(f)\n"
              "h = HWPT_ALLOC(f, dev_id=dev.idev, pt_id=ioas, "
              "flags=FAULT_ID_VALID, fault_id=q.fault)\n"
              "MOCK_DOMAIN_REPLACE(f, id=dev.stdev, pt_id=h)\n"
              "TRIGGER_IOPF(f, dev_id=dev.idev)\n"
              "TRIGGER_IOPF(f, dev_id=dev.idev)\n"
              "TRIGGER_IOPF(f, dev_id=dev.idev)\n"
              "read(q.fd, out(40))\n"
              "DESTROY(f, id=q.fault)\n"),
      "q (FAULT 5) has 3 users: 1 is the object table's, which DESTROY takes\n"
      "  1  its file, which is open\n"
      "  1  h (HWPT_PAGING 6): its page faults go there\n"
      "       line 5: h = HWPT_ALLOC(f, dev_id=dev.idev, pt_id=ioas, "
      "flags=FAULT_ID_VALID, fault_id=q.fault)\n");
  EXPECT_TRUE(HasEdge("h", "q"));
  ASSERT_NE(Node("q"), nullptr);
  EXPECT_THAT(Node("q")->lines, ElementsAre(_, "its file is open",
                                            "events: 2 queued, 1 unanswered"));
}

TEST_F(ExplainTest, AVeventqWithEvents) {
  Explain(std::string("f = open()\n") + kFixture +
          "d = VDEVICE_ALLOC(f, viommu_id=v, dev_id=dev.idev, virt_id=1)\n"
          "h = HWPT_ALLOC(f, dev_id=dev.idev, pt_id=v, data_type=SELFTEST, "
          "data={iotlb=1})\n"
          "MOCK_DOMAIN_REPLACE(f, id=dev.stdev, pt_id=h)\n"
          "q = VEVENTQ_ALLOC(f, viommu_id=v, type=SELFTEST, veventq_depth=9)\n"
          "TRIGGER_VEVENT(f, dev_id=dev.idev)\n"
          "close(q.fd)\n"
          "DESTROY(f, id=v)\n");
  EXPECT_TRUE(HasEdge("q", "v"));
  ASSERT_NE(Node("q"), nullptr);
  EXPECT_THAT(Node("q")->lines, ElementsAre(_, "events: 1 queued"));
}

TEST_F(ExplainTest, ATombstoneIsInThePicture) {
  Explain(std::string("f = open(uapi=hw-queue)\n") + kFixture +
          "d = VDEVICE_ALLOC(f, viommu_id=v, dev_id=dev.idev, virt_id=1)\n"
          "DESTROY(f, id=dev.stdev)\n"
          "DESTROY(f, id=ioas)\n");
  ASSERT_NE(Node("d"), nullptr);
  EXPECT_TRUE(Node("d")->faded);
}

}  // namespace
}  // namespace tools
