// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/graph.h"

#include <string>

#include "gtest/gtest.h"

namespace tools {
namespace {

size_t Count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at++) {
    n++;
  }
  return n;
}

TEST(GraphTest, AnEmptyOneIsAPicture) {
  const std::string svg = DrawSvg(Graph());
  EXPECT_EQ(svg.rfind("<svg", 0), 0u);
  EXPECT_EQ(Count(svg, "</svg>"), 1u);
}

TEST(GraphTest, BoxesArrowsAndTooltips) {
  Graph g;
  g.title = "a < b & \"c\"";
  g.nodes = {{"q0", "VCMDQ 7", {"users 2"}, "the tip", false},
             {"viommu", "VIOMMU 6", {}, "", true},
             {"hwpt", "HWPT 5", {}, "", false}};
  g.edges = {{0, 1, "queue", "", false},
             {1, 2, "parent", "", false},
             {0, 2, "long", "edge tip", true}};
  const std::string svg = DrawSvg(g);
  EXPECT_EQ(Count(svg, "class=\"box"), 3u);
  EXPECT_EQ(Count(svg, "class=\"tip\""), 3u);
  EXPECT_EQ(Count(svg, "class=\"edge dash\""), 1u);
  EXPECT_EQ(Count(svg, "<title>the tip</title>"), 1u);
  EXPECT_EQ(Count(svg, "<title>edge tip</title>"), 1u);
  EXPECT_EQ(Count(svg, "a &lt; b &amp; &quot;c&quot;"), 1u);
  EXPECT_EQ(Count(svg, "class=\"faded\""), 1u);
  EXPECT_EQ(Count(svg, "nan"), 0u);
  EXPECT_EQ(DrawSvg(g), svg);
}

TEST(GraphTest, ManyThatAreAlikeBecomeOne) {
  Graph g;
  g.nodes = {{"ioas", "IOAS 1", {}, "", false},
             {"other", "IOAS 2", {}, "", false}};
  for (int i = 0; i < 50; i++) {
    const std::string n = std::to_string(i);
    g.nodes.push_back({"h" + n, "HWPT " + n, {"users 1"}, "tip " + n, false});
    g.edges.push_back({g.nodes.size() - 1, 0, "translates", "", false});
  }
  // One differs by a line, one by its arrow.
  g.nodes[10].lines[0] = "users 2";
  g.edges[20].to = 1;
  const Graph folded = FoldAlike(g, 24);
  ASSERT_EQ(folded.nodes.size(), 5u);
  EXPECT_EQ(folded.edges.size(), 3u);
  EXPECT_EQ(folded.nodes[2].title, "h0 \u2026 h49");
  EXPECT_EQ(folded.nodes[2].kind, "HWPT 0 \u2026 49");
  EXPECT_EQ(folded.nodes[2].lines[0], "48 alike, each with");
  EXPECT_TRUE(folded.nodes[2].stacked);
  EXPECT_FALSE(folded.nodes[3].stacked);
  EXPECT_EQ(Count(DrawSvg(folded), "class=\"box"), 6u);
  // What fits on a screen stays as it is.
  EXPECT_EQ(FoldAlike(g, 52).nodes.size(), 52u);
}

TEST(GraphTest, CyclesAndEdgesOutOfRange) {
  Graph g;
  for (int i = 0; i < 5; i++) g.nodes.push_back({"n", "K", {}, "", false});
  g.edges = {{0, 1, "", "", false},  {1, 2, "", "", false},
             {2, 0, "", "", false},  {3, 3, "", "", false},
             {4, 99, "", "", false}, {4, 3, "", "", false},
             {4, 3, "", "", false}};
  const std::string svg = DrawSvg(g);
  EXPECT_EQ(Count(svg, "class=\"tip\""), 5u);
}

}  // namespace
}  // namespace tools
