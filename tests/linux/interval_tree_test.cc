// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/linux/interval_tree.h"

#include <algorithm>
#include <climits>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "core/linux/maple_tree.h"
#include "tests/linux/kernel_test_util.h"

namespace iommulab {
namespace {

using Span = std::pair<unsigned long, unsigned long>;
using Node = interval_tree_node;

// The tree beside a list in the order that it must have.
class IntervalTreeTest : public testing::Test {
 protected:
  Node* Insert(unsigned long start, unsigned long last) {
    nodes_.push_back(std::make_unique<Node>());
    Node* node = nodes_.back().get();
    node->start = start;
    node->last = last;
    interval_tree_insert(node, &root_);
    model_.insert(std::upper_bound(model_.begin(), model_.end(), node,
                                   [](const Node* a, const Node* b) {
                                     return a->start < b->start;
                                   }),
                  node);
    return node;
  }

  void Remove(Node* node) {
    interval_tree_remove(node, &root_);
    model_.erase(std::find(model_.begin(), model_.end(), node));
  }

  std::vector<Node*> Found(unsigned long start, unsigned long last) {
    std::vector<Node*> found;
    for (Node* n = interval_tree_iter_first(&root_, start, last); n;
         n = interval_tree_iter_next(n, start, last)) {
      found.push_back(n);
    }
    return found;
  }

  std::vector<Node*> Expected(unsigned long start, unsigned long last) {
    std::vector<Node*> expected;
    for (Node* n : model_) {
      if (n->start <= last && n->last >= start) expected.push_back(n);
    }
    return expected;
  }

  // The spans of [first, last] as (is_hole, span), from the iterator.
  std::vector<std::pair<int, Span>> Spans(unsigned long first,
                                          unsigned long last) {
    std::vector<std::pair<int, Span>> spans;
    interval_tree_span_iter span;
    interval_tree_for_each_span(&span, &root_, first, last) {
      spans.push_back(
          {span.is_hole, span.is_hole ? Span(span.start_hole, span.last_hole)
                                      : Span(span.start_used, span.last_used)});
    }
    return spans;
  }

  // The same, one index at a time.
  std::vector<std::pair<int, Span>> NaiveSpans(unsigned long first,
                                               unsigned long last) {
    std::vector<std::pair<int, Span>> spans;
    for (unsigned long i = first;; ++i) {
      const int hole = Expected(i, i).empty();
      if (spans.empty() || spans.back().first != hole) {
        spans.push_back({hole, {i, i}});
      } else {
        spans.back().second.second = i;
      }
      if (i == last) return spans;
    }
  }

  rb_root_cached root_ = RB_ROOT_CACHED;
  std::vector<Node*> model_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

TEST_F(IntervalTreeTest, EqualStartsStayInOrderOfInsertion) {
  Node* a = Insert(5, 9);
  Node* b = Insert(5, 7);
  Node* c = Insert(5, 5);
  EXPECT_EQ(Found(5, 5), (std::vector<Node*>{a, b, c}));
  Remove(b);
  EXPECT_EQ(Found(0, 100), (std::vector<Node*>{a, c}));
}

TEST_F(IntervalTreeTest, BothEndsAreIncluded) {
  Node* n = Insert(10, 20);
  EXPECT_EQ(Found(0, 10), std::vector<Node*>{n});
  EXPECT_EQ(Found(20, 30), std::vector<Node*>{n});
  EXPECT_TRUE(Found(0, 9).empty());
  EXPECT_TRUE(Found(21, ULONG_MAX).empty());
}

TEST_F(IntervalTreeTest, EndsOfTheIndexSpace) {
  Node* all = Insert(0, ULONG_MAX);
  Node* end = Insert(ULONG_MAX, ULONG_MAX);
  EXPECT_EQ(Found(ULONG_MAX, ULONG_MAX), (std::vector<Node*>{all, end}));
  EXPECT_THAT(Spans(0, ULONG_MAX),
              testing::ElementsAre(std::pair(0, Span(0, ULONG_MAX))));
  Remove(all);
  EXPECT_THAT(
      Spans(ULONG_MAX - 1, ULONG_MAX),
      testing::ElementsAre(std::pair(1, Span(ULONG_MAX - 1, ULONG_MAX - 1)),
                           std::pair(0, Span(ULONG_MAX, ULONG_MAX))));
}

TEST_F(IntervalTreeTest, BehavesAsAList) {
  std::mt19937 random(2);
  for (int step = 0; step < 5000; ++step) {
    if (model_.size() < 5 || random() % 5 < 3) {
      const unsigned long start = random() % 1000;
      Insert(start, start + random() % (random() % 4 ? 20 : 500));
    } else {
      Remove(model_[random() % model_.size()]);
    }
    if (model_.size() > 200) {
      while (model_.size() > 20) Remove(model_[random() % model_.size()]);
    }
    const unsigned long start = random() % 1100;
    const unsigned long last = start + random() % 100;
    ASSERT_EQ(Found(start, last), Expected(start, last));
  }
  while (!model_.empty()) Remove(model_.front());
  EXPECT_TRUE(RB_EMPTY_ROOT(&root_));
}

TEST_F(IntervalTreeTest, SortedInsertsKeepItShallow) {
  for (unsigned long i = 0; i < 4096; ++i) Insert(i, i);
  int deepest = 0;
  for (Node* n : model_) {
    int depth = 0;
    for (; n->parent; n = n->parent) ++depth;
    deepest = std::max(deepest, depth);
  }
  EXPECT_LT(deepest, 48);
}

TEST_F(IntervalTreeTest, AnEmptyTreeIsOneHole) {
  EXPECT_THAT(Spans(3, 9), testing::ElementsAre(std::pair(1, Span(3, 9))));
}

TEST_F(IntervalTreeTest, TouchingNodesAreOneSpan) {
  Insert(10, 19);
  Insert(20, 29);
  Insert(12, 14);
  Insert(40, 60);
  EXPECT_THAT(Spans(0, 50), testing::ElementsAre(std::pair(1, Span(0, 9)),
                                                 std::pair(0, Span(10, 29)),
                                                 std::pair(1, Span(30, 39)),
                                                 std::pair(0, Span(40, 50))));
  EXPECT_THAT(Spans(15, 15), testing::ElementsAre(std::pair(0, Span(15, 15))));
  EXPECT_THAT(Spans(30, 35), testing::ElementsAre(std::pair(1, Span(30, 35))));
}

TEST_F(IntervalTreeTest, SpansAreWhatEachIndexSays) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    for (int i = random() % 8; i > 0; --i) {
      const unsigned long start = random() % 60;
      Insert(start, start + random() % 12);
    }
    const unsigned long first = random() % 50;
    const unsigned long last = first + random() % 40;
    ASSERT_EQ(Spans(first, last), NaiveSpans(first, last));
    while (!model_.empty()) Remove(model_.front());
  }
}

TEST_F(IntervalTreeTest, AdvanceSkips) {
  Insert(10, 19);
  Insert(30, 39);
  interval_tree_span_iter span;
  interval_tree_span_iter_first(&span, &root_, 0, 99);
  // Inside the span.
  interval_tree_span_iter_advance(&span, &root_, 5);
  EXPECT_EQ(span.is_hole, 1);
  EXPECT_EQ(span.start_hole, 5u);
  EXPECT_EQ(span.last_hole, 9u);
  // To the next one.
  interval_tree_span_iter_advance(&span, &root_, 10);
  EXPECT_EQ(span.is_hole, 0);
  EXPECT_EQ(span.start_used, 10u);
  EXPECT_EQ(span.last_used, 19u);
  // Over several.
  interval_tree_span_iter_advance(&span, &root_, 35);
  EXPECT_EQ(span.is_hole, 0);
  EXPECT_EQ(span.start_used, 35u);
  EXPECT_EQ(span.last_used, 39u);
  interval_tree_span_iter_next(&span);
  EXPECT_EQ(span.is_hole, 1);
  EXPECT_EQ(span.last_hole, 99u);
  interval_tree_span_iter_advance(&span, &root_, 100);
  EXPECT_TRUE(interval_tree_span_iter_done(&span));
  interval_tree_span_iter_advance(&span, &root_, 5);
  EXPECT_TRUE(interval_tree_span_iter_done(&span));
}

class MapleTreeTest : public KernelTest {
 protected:
  struct maple_tree mt_{LOCK_CLASS(MapleTreeTest, mt)};
  int a_, b_, c_;
};

TEST_F(MapleTreeTest, RangesFindTheLowestPlace) {
  unsigned long a = 0, b = 0, c = 0;
  ASSERT_EQ(mtree_alloc_range(&mt_, &a, &a_, 16, 0, 99, GFP_KERNEL), 0);
  ASSERT_EQ(mtree_alloc_range(&mt_, &b, &b_, 32, 0, 99, GFP_KERNEL), 0);
  ASSERT_EQ(mtree_alloc_range(&mt_, &c, &c_, 10, 0, 99, GFP_KERNEL), 0);
  EXPECT_EQ(a, 0u);
  EXPECT_EQ(b, 16u);
  EXPECT_EQ(c, 48u);
  EXPECT_EQ(mtree_load(&mt_, 15), &a_);
  EXPECT_EQ(mtree_load(&mt_, 16), &b_);
  EXPECT_EQ(mtree_load(&mt_, 57), &c_);
  EXPECT_EQ(mtree_load(&mt_, 58), nullptr);
  EXPECT_EQ(mtree_erase(&mt_, 20), &b_) << "any index of the range";
  EXPECT_EQ(mtree_erase(&mt_, 20), nullptr);
  ASSERT_EQ(mtree_alloc_range(&mt_, &b, &b_, 33, 0, 99, GFP_KERNEL), 0);
  EXPECT_EQ(b, 58u) << "the gap is one too small";
  ASSERT_EQ(mtree_alloc_range(&mt_, &b, &b_, 32, 0, 99, GFP_KERNEL), 0);
  EXPECT_EQ(b, 16u);
  EXPECT_EQ(mtree_alloc_range(&mt_, &b, &b_, 10, 0, 99, GFP_KERNEL), -EBUSY);
  mtree_destroy(&mt_);
  EXPECT_TRUE(mtree_empty(&mt_));
}

TEST_F(MapleTreeTest, TheLastPlaceFitsExactly) {
  unsigned long at = 0;
  ASSERT_EQ(mtree_alloc_range(&mt_, &at, &a_, 6, 0, 9, GFP_KERNEL), 0);
  EXPECT_EQ(mtree_alloc_range(&mt_, &at, &b_, 5, 0, 9, GFP_KERNEL), -EBUSY);
  ASSERT_EQ(mtree_alloc_range(&mt_, &at, &b_, 4, 0, 9, GFP_KERNEL), 0);
  EXPECT_EQ(at, 6u);
  mtree_destroy(&mt_);
}

TEST_F(MapleTreeTest, Errors) {
  unsigned long at = 0;
  EXPECT_EQ(mtree_alloc_range(&mt_, &at, &a_, 0, 0, 9, GFP_KERNEL), -EINVAL);
  EXPECT_EQ(mtree_alloc_range(&mt_, &at, &a_, 1, 9, 8, GFP_KERNEL), -EINVAL);
  EXPECT_EQ(mtree_alloc_range(&mt_, &at, &a_, 11, 0, 9, GFP_KERNEL), -EINVAL);
  fail_nth_write(&task_, 1);
  EXPECT_EQ(mtree_alloc_range(&mt_, &at, &a_, 1, 0, 9, GFP_KERNEL), -ENOMEM);
  EXPECT_TRUE(mtree_empty(&mt_));
  ASSERT_EQ(mtree_alloc_range(&mt_, &at, &a_, 10, ULONG_MAX - 9, ULONG_MAX,
                              GFP_KERNEL),
            0);
  EXPECT_EQ(mtree_load(&mt_, ULONG_MAX), &a_);
  EXPECT_EQ(mtree_alloc_range(&mt_, &at, &a_, 1, ULONG_MAX - 9, ULONG_MAX,
                              GFP_KERNEL),
            -EBUSY);
  {
    mtree_guard g(&mt_);
    EXPECT_EQ(mtree_load(&mt_, ULONG_MAX), &a_) << "with the lock held";
  }
  mtree_destroy(&mt_);
}

}  // namespace
}  // namespace iommulab
