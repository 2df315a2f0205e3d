// SPDX-License-Identifier: GPL-2.0-or-later
//
// Draws a small directed graph as an SVG: boxes in layers, an arrow from each
// holder down to what it holds. Knows nothing of iommufd.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tools {

struct GraphNode {
  std::string title;               // the name that people know: "viommu"
  std::string kind;                // "VIOMMU 4"; equal first words, one colour
  std::vector<std::string> lines;  // below the title: "users 2, short-term 0"
  std::string tooltip;
  bool faded = false;    // there but not usable: a tombstone
  bool stacked = false;  // several that are alike
};

struct GraphEdge {
  size_t from = 0;  // the holder
  size_t to = 0;    // what it holds
  std::string label;
  std::string tooltip;
  bool temporary = false;  // drawn dashed
};

struct Graph {
  std::string title;
  std::string subtitle;
  std::vector<GraphNode> nodes;
  std::vector<GraphEdge> edges;
};

// A graph that can be looked at: of more than `most` boxes, those that are
// alike (the same kind, the same lines, and arrows with the same labels to and
// from the same boxes) become one, with a stack's names and all their tooltips.
// Smaller graphs come back as they are.
Graph FoldAlike(const Graph& graph, size_t most);

// The picture. Deterministic; any graph is accepted, cycles too. It follows the
// viewer's light or dark scheme and brings its own background.
std::string DrawSvg(const Graph& graph);

}  // namespace tools
