// SPDX-License-Identifier: GPL-2.0-or-later
//
// All sequences of up to five calls over IOAS, HWPT, vIOMMU and queue
// allocation and DESTROY, with every valid, stale, mistyped and never used id,
// in both revisions. After each call the result, the id that it gave, and every
// object's type, users and wait_cnt are those of a model that knows nothing of
// the core: it is forty lines of rules about a graph.
//
// A sequence is a path in a tree; the tree is walked depth first, each context
// built by replaying the path to it. A call that fails must change nothing, so
// the failing last calls of a path share a context, one after the other; one
// that succeeds gets a context of its own. Small worlds find what long random
// runs do not: there is no shorter bug to miss.
#include <errno.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/iommufd/introspect.h"
#include "core/iommufd/iommufd_private.h"
#include "core/linux/sched.h"
#include "core/sim_syscalls.h"
#include "drivers/platform/platform.h"
#include "gtest/gtest.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_test.h"

namespace iommulab {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kIova = 0x1000000;

// ASan, TSan and unoptimised builds walk one level less: a level is a factor of
// about twenty.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kDepth = 4;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr int kDepth = 4;
#else
constexpr int kDepth = 5;
#endif
#else
constexpr int kDepth = 5;
#endif

enum class Op { kIoas, kHwpt, kViommu, kQueue, kDestroy };

struct Step {
  Op op;
  uint32_t id = 0;     // what the call is about
  uint32_t index = 0;  // of a queue

  std::string ToString() const {
    switch (op) {
      case Op::kIoas:
        return "IOAS_ALLOC + MAP";
      case Op::kHwpt:
        return absl::StrCat("HWPT_ALLOC(pt_id=", id, ", NEST_PARENT)");
      case Op::kViommu:
        return absl::StrCat("VIOMMU_ALLOC(hwpt_id=", id, ")");
      case Op::kQueue:
        return absl::StrCat("QUEUE_ALLOC(viommu_id=", id, ", index=", index,
                            ")");
      case Op::kDestroy:
        return absl::StrCat("DESTROY(id=", id, ")");
    }
    return "";
  }
};

struct Result {
  int rc = 0;
  uint32_t id = 0;  // of what was made

  bool operator==(const Result&) const = default;
};

// What is expected of the objects. Users are 1 for the table and 1 for each
// holder; ids are the lowest free ones.
class Model {
 public:
  struct Object {
    Object() = default;
    Object(iommufd_object_type t, uint32_t n = 1, std::vector<uint32_t> h = {})
        : type(t), users(n), holds(std::move(h)) {}

    iommufd_object_type type = IOMMUFD_OBJ_NONE;
    uint32_t users = 1;
    std::vector<uint32_t> holds;
    bool nest_parent = false;
    uint32_t index = 0;   // of a queue
    uint32_t sister = 0;  // a queue's access
  };

  Model(bool hw_queue, std::map<uint32_t, Object> first)
      : hw_queue_(hw_queue), objects_(std::move(first)) {}

  const std::map<uint32_t, Object>& objects() const { return objects_; }

  Result Run(const Step& step) {
    const Object* target = Find(step.id);
    switch (step.op) {
      case Op::kIoas:
        return {0, Add(IOMMUFD_OBJ_IOAS)};
      case Op::kHwpt: {
        if (target == nullptr) return {-EINVAL};
        // On these it would be a nested one, which takes no such flag.
        if (target->type == IOMMUFD_OBJ_HWPT_PAGING ||
            target->type == IOMMUFD_OBJ_VIOMMU) {
          return {-EOPNOTSUPP};
        }
        if (target->type != IOMMUFD_OBJ_IOAS) return {-EINVAL};
        Object hwpt(IOMMUFD_OBJ_HWPT_PAGING);
        hwpt.nest_parent = true;
        return {0, Add(hwpt, {step.id})};
      }
      case Op::kViommu:
        if (target == nullptr || target->type != IOMMUFD_OBJ_HWPT_PAGING) {
          return {-ENOENT};
        }
        if (!target->nest_parent) return {-EINVAL};
        return {0, Add(IOMMUFD_OBJ_VIOMMU, {step.id})};
      case Op::kQueue:
        if (target == nullptr || target->type != IOMMUFD_OBJ_VIOMMU) {
          return {-ENOENT};
        }
        return Queue(step);
      case Op::kDestroy:
        return {Destroy(step.id)};
    }
    return {-ENOSYS};
  }

 private:
  const Object* Find(uint32_t id) const {
    const auto it = objects_.find(id);
    return it == objects_.end() ? nullptr : &it->second;
  }

  uint32_t Add(Object object, std::vector<uint32_t> holds = {}) {
    uint32_t id = 1;
    while (objects_.contains(id)) ++id;
    for (const uint32_t held : holds) ++objects_.at(held).users;
    object.holds = std::move(holds);
    objects_[id] = std::move(object);
    return id;
  }

  // Each queue depends on the one below it.
  Result Queue(const Step& step) {
    std::vector<uint32_t> holds = {step.id};
    for (const auto& [id, queue] : objects_) {
      const bool is_queue =
          queue.type == IOMMUFD_OBJ_VCMDQ || queue.type == IOMMUFD_OBJ_HW_QUEUE;
      if (!is_queue || queue.holds[0] != step.id) continue;
      if (queue.index == step.index) return {-EEXIST};
      if (queue.index + 1 == step.index) holds.push_back(id);
    }
    if (holds.size() != step.index + 1) return {-EIO};
    Object queue(hw_queue_ ? IOMMUFD_OBJ_HW_QUEUE : IOMMUFD_OBJ_VCMDQ);
    queue.index = step.index;
    const uint32_t id = Add(queue, holds);
    if (!hw_queue_) return {0, id};
    // The merged form pins through an access of its own, which has an id and
    // holds the IOAS; the queue is its user.
    const uint32_t hwpt = objects_.at(step.id).holds[0];
    const uint32_t access =
        Add(IOMMUFD_OBJ_ACCESS, {objects_.at(hwpt).holds[0]});
    ++objects_.at(access).users;
    objects_.at(id).sister = access;
    return {0, id};
  }

  int Destroy(uint32_t id) {
    const Object* object = Find(id);
    if (object == nullptr) return -ENOENT;
    if (object->users != 1) return -EBUSY;
    Remove(id);
    return 0;
  }

  void Remove(uint32_t id) {
    const Object object = objects_.at(id);
    objects_.erase(id);
    for (const uint32_t held : object.holds) --objects_.at(held).users;
    if (object.sister != 0) Remove(object.sister);
  }

  const bool hw_queue_;
  std::map<uint32_t, Object> objects_;
};

// One context on a kernel with one mock device, attached to IOAS 1.
class World {
 public:
  World(sim_syscalls* sys, bool hw_queue)
      : sys_(sys),
        fd_(sys->open("/dev/iommu", hw_queue ? "hw-queue" : "vcmdq-v2")) {
    if (arg_ == 0) arg_ = sys_->anon({.size = kPage});
    if (memory_ == 0) memory_ = sys_->anon({.size = kPage});
    ioas_ = Run({Op::kIoas}).id;
    iommu_test_cmd mock = {};
    mock.op = IOMMU_TEST_OP_MOCK_DOMAIN;
    mock.id = ioas_;
    const int rc = Call(IOMMU_TEST_CMD, &mock);
    if (rc != 0) ADD_FAILURE() << "MOCK_DOMAIN: " << rc;
    stdev_ = mock.mock_domain.out_stdev_id;
    hwpt_ = mock.mock_domain.out_hwpt_id;
    idev_ = mock.mock_domain.out_idev_id;
  }
  ~World() {
    sys_->close(fd_);
    sys_->munmap(arg_, kPage);
    sys_->munmap(memory_, kPage);
  }

  // What the set-up left. The device's users are the table, the driver that
  // bound it, and the same driver's attachment.
  std::map<uint32_t, Model::Object> First() const {
    std::map<uint32_t, Model::Object> first;
    first[ioas_] = Model::Object(IOMMUFD_OBJ_IOAS, 2);
    first[stdev_] = Model::Object(IOMMUFD_OBJ_SELFTEST);
    first[hwpt_] = Model::Object(IOMMUFD_OBJ_HWPT_PAGING, 2, {ioas_});
    first[idev_] = Model::Object(IOMMUFD_OBJ_DEVICE, 3);
    return first;
  }

  Result Run(const Step& step) {
    Result r;
    switch (step.op) {
      case Op::kIoas: {
        iommu_ioas_alloc cmd = {};
        r.rc = Call(IOMMU_IOAS_ALLOC, &cmd);
        r.id = cmd.out_ioas_id;
        iommu_ioas_map map = {};
        map.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
                    IOMMU_IOAS_MAP_WRITEABLE;
        map.ioas_id = r.id;
        map.user_va = memory_;
        map.length = kPage;
        map.iova = kIova;
        if (r.rc == 0) r.rc = Call(IOMMU_IOAS_MAP, &map);
        break;
      }
      case Op::kHwpt: {
        iommu_hwpt_alloc cmd = {};
        cmd.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
        cmd.dev_id = idev_;
        cmd.pt_id = step.id;
        r.rc = Call(IOMMU_HWPT_ALLOC, &cmd);
        r.id = cmd.out_hwpt_id;
        break;
      }
      case Op::kViommu: {
        iommu_viommu_alloc cmd = {};
        cmd.type = IOMMU_VIOMMU_TYPE_SELFTEST;
        cmd.dev_id = idev_;
        cmd.hwpt_id = step.id;
        r.rc = Call(IOMMU_VIOMMU_ALLOC, &cmd);
        r.id = cmd.out_viommu_id;
        break;
      }
      case Op::kQueue: {
        // One number, one layout: HW_QUEUE_ALLOC as well.
        iommu_vcmdq_alloc cmd = {};
        cmd.viommu_id = step.id;
        cmd.type = IOMMU_VCMDQ_TYPE_SELFTEST;
        cmd.index = step.index;
        cmd.addr = kIova;
        cmd.length = kPage;
        r.rc = Call(IOMMU_VCMDQ_ALLOC, &cmd);
        r.id = cmd.out_vcmdq_id;
        break;
      }
      case Op::kDestroy: {
        iommu_destroy cmd = {sizeof(cmd), step.id};
        r.rc = Call(IOMMU_DESTROY, &cmd);
        break;
      }
    }
    if (r.rc != 0) r.id = 0;
    return r;
  }

  // Empty, or how the context differs from the model.
  std::string Difference(const Model& model) {
    iommufd_snapshot snapshot;
    {
      task_scope scope(sys_->task());
      if (iommufd_snapshot_fd(fd_, &snapshot) != 0) return "no snapshot";
    }
    std::string diff;
    size_t seen = 0;
    for (const iommufd_snapshot_object& object : snapshot.objects) {
      const auto it = model.objects().find(object.id);
      if (object.reserved || it == model.objects().end()) {
        absl::StrAppend(&diff, "id ", object.id, " should be free; ");
        continue;
      }
      ++seen;
      if (object.type != it->second.type) {
        absl::StrAppend(&diff, "id ", object.id, " is a ",
                        iommufd_object_type_name(object.type), ", not a ",
                        iommufd_object_type_name(it->second.type), "; ");
      }
      if (object.users != it->second.users) {
        absl::StrAppend(&diff, "id ", object.id, " has ", object.users,
                        " users, not ", it->second.users, "; ");
      }
      // Nothing runs, and no vDEVICE is here to hold its device.
      const uint32_t wait_cnt = 1;
      if (object.wait_cnt != wait_cnt) {
        absl::StrAppend(&diff, "id ", object.id, " has wait_cnt ",
                        object.wait_cnt, "; ");
      }
    }
    if (seen != model.objects().size()) absl::StrAppend(&diff, "objects lost");
    return diff;
  }

  std::vector<uint32_t> FixedIds() const { return {ioas_, hwpt_, idev_}; }

 private:
  // A million calls: no description is looked up for one.
  template <class T>
  int Call(unsigned long nr, T* cmd) {
    cmd->size = sizeof(*cmd);
    sys_->store(arg_, cmd, sizeof(*cmd));
    const int rc = static_cast<int>(sys_->ioctl(fd_, nr, arg_));
    sys_->load(arg_, cmd, sizeof(*cmd));
    return rc;
  }

  sim_syscalls* const sys_;
  const int fd_;
  uint64_t arg_ = 0, memory_ = 0;
  uint32_t ioas_ = 0, stdev_ = 0, hwpt_ = 0, idev_ = 0;
};

class SmallWorldTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    sim_options opts;
    opts.machine = &mock_machine;
    auto sys = sim_syscalls::create(opts);
    ASSERT_TRUE(sys) << sys.error();
    sys_ = std::move(*sys);
  }
  void TearDown() override { EXPECT_EQ(sys_->residue(), ""); }

  // Every next call: about what the set-up made, what the path made (and may
  // have destroyed), and an id that never was.
  std::vector<Step> Next(const World& world,
                         const std::vector<uint32_t>& made) {
    std::vector<uint32_t> ids = world.FixedIds();
    ids.insert(ids.end(), made.begin(), made.end());
    ids.push_back(77);
    std::vector<Step> steps = {{Op::kIoas}};
    for (const uint32_t id : ids) {
      steps.push_back({Op::kHwpt, id});
      steps.push_back({Op::kViommu, id});
      steps.push_back({Op::kDestroy, id});
    }
    // A queue of what is no vIOMMU fails alike for each index.
    for (const uint32_t id : made) {
      steps.push_back({Op::kQueue, id, 0});
      steps.push_back({Op::kQueue, id, 1});
    }
    steps.push_back({Op::kQueue, 77, 0});
    return steps;
  }

  void Check(World& world, Model& model, const Step& step) {
    const Result want = model.Run(step);
    const Result got = world.Run(step);
    ++calls_;
    std::string diff;
    if (!(got == want)) {
      diff = absl::StrCat("returned ", got.rc, " and id ", got.id, ", not ",
                          want.rc, " and id ", want.id, "; ");
    }
    absl::StrAppend(&diff, world.Difference(model));
    if (diff.empty()) return;
    failed_ = true;
    ADD_FAILURE() << diff << "after the set-up and\n  "
                  << absl::StrJoin(path_, "\n  ",
                                   [](std::string* out, const Step& s) {
                                     absl::StrAppend(out, s.ToString());
                                   })
                  << "\n  " << step.ToString();
  }

  void Walk(int depth) {
    if (depth == 0 || failed_) return;
    auto world = std::make_unique<World>(sys_.get(), GetParam());
    Model model(GetParam(), world->First());
    std::vector<uint32_t> made;
    for (const Step& step : path_) {
      model.Run(step);
      const Result r = world->Run(step);
      if (r.id != 0) made.push_back(r.id);
    }
    const std::vector<Step> steps = Next(*world, made);
    std::vector<Step> good;
    for (const Step& step : steps) {
      if (Model(model).Run(step).rc == 0) {
        good.push_back(step);
        continue;
      }
      Check(*world, model, step);
      if (failed_) return;
    }
    world.reset();
    for (const Step& step : good) {
      World fresh(sys_.get(), GetParam());
      Model fresh_model(GetParam(), fresh.First());
      for (const Step& before : path_) {
        fresh_model.Run(before);
        fresh.Run(before);
      }
      Check(fresh, fresh_model, step);
      if (failed_) return;
    }
    for (const Step& step : steps) {
      path_.push_back(step);
      Walk(depth - 1);
      path_.pop_back();
    }
  }

  std::unique_ptr<sim_syscalls> sys_;
  std::vector<Step> path_;
  uint64_t calls_ = 0;
  bool failed_ = false;
};

TEST_P(SmallWorldTest, EverySequenceMatchesTheModel) {
  Walk(kDepth);
  std::printf("%d levels, %llu calls compared\n", kDepth,
              static_cast<unsigned long long>(calls_));
  // The walk must not have ended early: the first level alone has a dozen.
  EXPECT_GT(calls_, kDepth == 5 ? 1000000u : 30000u);
}

INSTANTIATE_TEST_SUITE_P(Revisions, SmallWorldTest, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& info) {
                           return info.param ? "HwQueue" : "VcmdqV2";
                         });

}  // namespace
}  // namespace iommulab
