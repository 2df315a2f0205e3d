// SPDX-License-Identifier: GPL-2.0-or-later
//
// The usual four steps for layered drawings: break cycles, give each node a
// layer, order the layers so that few arrows cross, then find x positions.
#include "tools/graph.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <utility>

namespace tools {
namespace {

constexpr double kCharWidth = 7.3;  // of 12 px monospace
constexpr double kSmallCharWidth = 6.7;
constexpr double kLineHeight = 16;
constexpr double kBoxPadding = 12;
constexpr double kLayerGap = 74;
constexpr double kNodeGap = 34;
constexpr double kMargin = 28;
constexpr double kHeader = 54;

std::string Escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n') out += c;
    }
  }
  return out;
}

std::string Num(double x) {
  char buf[32];
  snprintf(buf, sizeof(buf), "%.1f", x);
  return buf;
}

size_t Columns(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (c & 0xc0) != 0x80; });
}

// A box, or a bend of a long arrow.
struct Vertex {
  size_t node = SIZE_MAX;  // of the graph; SIZE_MAX is a bend
  size_t layer = 0;
  double width = 10;
  double height = 0;
  double x = 0;  // of the middle
  double y = 0;  // of the top
  std::vector<size_t> above, below;
};

class Drawing {
 public:
  explicit Drawing(const Graph& graph) : graph_(graph) {}

  std::string Draw() {
    for (size_t i = 0; i < graph_.nodes.size(); i++) AddBox(i);
    AssignLayers();
    AddBends();
    OrderLayers();
    PlaceVertically();
    PlaceHorizontally();
    return Write();
  }

 private:
  struct Route {
    size_t edge;
    bool reversed;
    std::vector<size_t> vertices;  // from the upper end down
  };

  void AddBox(size_t i) {
    const GraphNode& node = graph_.nodes[i];
    Vertex v;
    v.node = i;
    size_t columns = std::max(Columns(node.title), Columns(node.kind));
    double width = static_cast<double>(columns) * kCharWidth;
    for (const std::string& line : node.lines) {
      width = std::max(width, Columns(line) * kSmallCharWidth);
    }
    v.width = std::max(110.0, width + 2 * kBoxPadding);
    v.height = 2 * kBoxPadding - 4 +
               kLineHeight * static_cast<double>(2 + node.lines.size());
    vertices_.push_back(v);
  }

  // Depth-first: an edge to a node that is still open would close a cycle.
  void BreakCycles() {
    reversed_.assign(graph_.edges.size(), false);
    std::vector<int> state(graph_.nodes.size());
    std::vector<std::pair<size_t, size_t>> stack;
    for (size_t root = 0; root < graph_.nodes.size(); root++) {
      if (state[root] != 0) continue;
      stack.emplace_back(root, 0);
      state[root] = 1;
      while (!stack.empty()) {
        const size_t node = stack.back().first;
        const size_t index = stack.back().second++;
        if (index == graph_.edges.size()) {
          state[node] = 2;
          stack.pop_back();
          continue;
        }
        const GraphEdge& e = graph_.edges[index];
        if (!Drawn(index) || e.from != node) continue;
        if (state[e.to] == 1) {
          reversed_[index] = true;
        } else if (state[e.to] == 0) {
          state[e.to] = 1;
          stack.emplace_back(e.to, 0);
        }
      }
    }
  }

  size_t From(size_t e) const {
    return reversed_[e] ? graph_.edges[e].to : graph_.edges[e].from;
  }
  size_t To(size_t e) const {
    return reversed_[e] ? graph_.edges[e].from : graph_.edges[e].to;
  }
  bool Drawn(size_t e) const {
    const GraphEdge& edge = graph_.edges[e];
    return edge.from != edge.to && edge.from < graph_.nodes.size() &&
           edge.to < graph_.nodes.size();
  }

  // Layer 0 is at the bottom: what holds nothing. All others stand one above
  // the highest thing that they hold.
  void AssignLayers() {
    BreakCycles();
    for (size_t round = 0; round < graph_.nodes.size(); round++) {
      bool changed = false;
      for (size_t e = 0; e < graph_.edges.size(); e++) {
        if (!Drawn(e)) continue;
        const size_t least = vertices_[To(e)].layer + 1;
        if (vertices_[From(e)].layer < least) {
          vertices_[From(e)].layer = least;
          changed = true;
        }
      }
      if (!changed) break;
    }
    for (const Vertex& v : vertices_) {
      num_layers_ = std::max(num_layers_, v.layer + 1);
    }
  }

  void AddBends() {
    for (size_t e = 0; e < graph_.edges.size(); e++) {
      if (!Drawn(e)) continue;
      Route route = {e, reversed_[e], {From(e)}};
      for (size_t layer = vertices_[From(e)].layer - 1;
           layer > vertices_[To(e)].layer; layer--) {
        Vertex bend;
        bend.layer = layer;
        route.vertices.push_back(vertices_.size());
        vertices_.push_back(bend);
      }
      route.vertices.push_back(To(e));
      for (size_t i = 1; i < route.vertices.size(); i++) {
        vertices_[route.vertices[i - 1]].below.push_back(route.vertices[i]);
        vertices_[route.vertices[i]].above.push_back(route.vertices[i - 1]);
      }
      routes_.push_back(std::move(route));
    }
    layers_.resize(num_layers_);
    for (size_t v = 0; v < vertices_.size(); v++) {
      layers_[vertices_[v].layer].push_back(v);
    }
  }

  size_t Crossings() const {
    std::vector<size_t> at(vertices_.size());
    for (const auto& layer : layers_) {
      for (size_t i = 0; i < layer.size(); i++) at[layer[i]] = i;
    }
    size_t n = 0;
    for (const auto& layer : layers_) {
      for (size_t i = 0; i < layer.size(); i++) {
        for (size_t j = i + 1; j < layer.size(); j++) {
          for (const size_t a : vertices_[layer[i]].below) {
            for (const size_t b : vertices_[layer[j]].below) n += at[a] > at[b];
          }
        }
      }
    }
    return n;
  }

  void OrderLayers() {
    std::vector<std::vector<size_t>> best = layers_;
    size_t least = Crossings();
    for (int round = 0; round < 24 && least > 0; round++) {
      const bool down = round % 2 == 0;
      std::vector<double> at(vertices_.size());
      for (const auto& layer : layers_) {
        for (size_t i = 0; i < layer.size(); i++) {
          at[layer[i]] = static_cast<double>(i);
        }
      }
      for (size_t step = 1; step < layers_.size(); step++) {
        auto& layer = layers_[down ? layers_.size() - 1 - step : step];
        std::vector<double> key(vertices_.size());
        for (const size_t v : layer) {
          const auto& others = down ? vertices_[v].above : vertices_[v].below;
          key[v] = at[v];
          if (others.empty()) continue;
          double sum = 0;
          for (const size_t o : others) sum += at[o];
          key[v] = sum / static_cast<double>(others.size());
        }
        std::sort(layer.begin(), layer.end(), [&](size_t a, size_t b) {
          return key[a] != key[b] ? key[a] < key[b] : at[a] < at[b];
        });
        for (size_t i = 0; i < layer.size(); i++) {
          at[layer[i]] = static_cast<double>(i);
        }
      }
      const size_t crossings = Crossings();
      if (crossings < least) {
        least = crossings;
        best = layers_;
      }
    }
    layers_ = best;
  }

  void PlaceVertically() {
    double y = kMargin + kHeader;
    for (size_t layer = num_layers_; layer-- > 0;) {
      double height = 0;
      for (const size_t v : layers_[layer]) {
        height = std::max(height, vertices_[v].height);
      }
      for (const size_t v : layers_[layer]) {
        vertices_[v].y = y;
        // A bend spans its layer, so that its arrow goes straight past boxes.
        if (vertices_[v].node == SIZE_MAX) vertices_[v].height = height;
      }
      y += height + kLayerGap;
    }
    height_ = y - kLayerGap + kMargin;
  }

  double Gap(size_t a, size_t b) const {
    return (vertices_[a].width + vertices_[b].width) / 2 + kNodeGap;
  }

  void PlaceHorizontally() {
    for (const auto& layer : layers_) {
      double x = 0;
      for (size_t i = 0; i < layer.size(); i++) {
        if (i > 0) x += Gap(layer[i - 1], layer[i]);
        vertices_[layer[i]].x = x;
      }
    }
    for (int round = 0; round < 60; round++) {
      const bool down = round % 2 == 0;
      for (size_t step = 0; step < layers_.size(); step++) {
        Pull(layers_[down ? layers_.size() - 1 - step : step], down);
      }
    }
    double left = vertices_.empty() ? 0 : vertices_[0].x;
    double right = left;
    for (const Vertex& v : vertices_) {
      left = std::min(left, v.x - v.width / 2);
      right = std::max(right, v.x + v.width / 2);
    }
    double title = std::max(Columns(graph_.title) * kCharWidth * 1.3,
                            Columns(graph_.subtitle) * kCharWidth);
    width_ = std::max(right - left, title) + 2 * kMargin;
    const double shift = (width_ - (right - left)) / 2 - left;
    for (Vertex& v : vertices_) v.x += shift;
  }

  // Moves a layer's vertices towards their neighbours as far as their order and
  // widths allow: wishes first, then neighbours that overlap are merged into
  // blocks that stand at the mean of their wishes.
  void Pull(const std::vector<size_t>& layer, bool down) {
    struct Block {
      double sum, weight, offset_end;
      size_t first, count;
      double Position() const { return sum / weight; }
    };
    std::vector<double> offset(layer.size());
    for (size_t i = 1; i < layer.size(); i++) {
      offset[i] = offset[i - 1] + Gap(layer[i - 1], layer[i]);
    }
    std::vector<Block> blocks;
    for (size_t i = 0; i < layer.size(); i++) {
      const Vertex& v = vertices_[layer[i]];
      std::vector<size_t> others = down ? v.above : v.below;
      if (others.empty()) others = down ? v.below : v.above;
      double wish = v.x;
      double weight = 0.1;
      if (others.empty()) {
        // Nothing pulls it: it stays beside its neighbour.
        if (i > 0) {
          wish = vertices_[layer[i - 1]].x + Gap(layer[i - 1], layer[i]);
        } else if (layer.size() > 1) {
          wish = vertices_[layer[1]].x - Gap(layer[0], layer[1]);
        }
      } else {
        wish = 0;
        for (const size_t o : others) wish += vertices_[o].x;
        wish /= static_cast<double>(others.size());
        // Long arrows should be straight.
        weight = v.node == SIZE_MAX ? 4 : 1;
      }
      blocks.push_back({(wish - offset[i]) * weight, weight, 0, i, 1});
      while (blocks.size() > 1 &&
             blocks[blocks.size() - 2].Position() > blocks.back().Position()) {
        const Block last = blocks.back();
        blocks.pop_back();
        blocks.back().sum += last.sum;
        blocks.back().weight += last.weight;
        blocks.back().count += last.count;
      }
    }
    for (const Block& block : blocks) {
      for (size_t i = block.first; i < block.first + block.count; i++) {
        vertices_[layer[i]].x = block.Position() + offset[i];
      }
    }
  }

  // Where a route leaves or meets a box: its share of the side.
  double Port(size_t v, bool bottom, size_t route) const {
    const Vertex& vertex = vertices_[v];
    if (vertex.node == SIZE_MAX) return vertex.x;
    std::vector<std::pair<double, size_t>> all;
    for (size_t r = 0; r < routes_.size(); r++) {
      const auto& path = routes_[r].vertices;
      if (bottom && path.front() == v) {
        all.emplace_back(vertices_[path[1]].x, r);
      }
      if (!bottom && path.back() == v) {
        all.emplace_back(vertices_[path[path.size() - 2]].x, r);
      }
    }
    std::sort(all.begin(), all.end());
    size_t at = 0;
    while (at < all.size() && all[at].second != route) at++;
    const double span = std::min(vertex.width - 36, 44.0 * (all.size() - 1));
    if (all.size() < 2) return vertex.x;
    return vertex.x - span / 2 +
           span * static_cast<double>(at) / static_cast<double>(all.size() - 1);
  }

  std::string Write() const {
    std::string out;
    out += "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + Num(width_) +
           "\" height=\"" + Num(height_) + "\" viewBox=\"0 0 " + Num(width_) +
           " " + Num(height_) + "\">\n";
    out += Style();
    out += "<rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n";
    out += "<text class=\"title\" x=\"" + Num(kMargin) + "\" y=\"" +
           Num(kMargin + 12) + "\">" + Escape(graph_.title) + "</text>\n";
    out += "<text class=\"small\" x=\"" + Num(kMargin) + "\" y=\"" +
           Num(kMargin + 32) + "\">" + Escape(graph_.subtitle) + "</text>\n";
    std::string labels;
    for (size_t r = 0; r < routes_.size(); r++) WriteRoute(r, &out, &labels);
    WriteBoxes(&out);
    return out + labels + "</svg>\n";
  }

  static std::string Style() {
    return R"(<style>
  .bg { fill: #ffffff }
  text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: 12px; fill: #1f2328 }
  .title { font-size: 15px; font-weight: bold }
  .name { font-weight: bold; font-size: 13px; text-anchor: middle }
  .kind { text-anchor: middle }
  .line { text-anchor: middle; font-size: 11px; fill: #57606a }
  .small { font-size: 11px; fill: #57606a }
  .label { font-size: 10.5px; fill: #57606a; text-anchor: middle; paint-order: stroke; stroke: #ffffff; stroke-width: 6px; stroke-linejoin: round }
  .edge { fill: none; stroke: #6e7781; stroke-width: 1.4 }
  .dash { stroke-dasharray: 5 4 }
  .tip { fill: #6e7781 }
  .box { stroke-width: 1.4 }
  .faded { stroke-dasharray: 4 3; opacity: 0.6 }
  .c0 { fill: #ddf4ff; stroke: #218bff } .c1 { fill: #dafbe1; stroke: #2da44e }
  .c2 { fill: #fff8c5; stroke: #bf8700 } .c3 { fill: #fbefff; stroke: #a475f9 }
  .c4 { fill: #ffebe9; stroke: #fa4549 } .c5 { fill: #fff1e5; stroke: #e16f24 }
  .c6 { fill: #ffeff7; stroke: #e85aad } .c7 { fill: #f0f2f4; stroke: #8c959f }
  @media (prefers-color-scheme: dark) {
    .bg { fill: #0d1117 }
    text { fill: #e6edf3 }
    .line, .small { fill: #9da7b3 }
    .label { fill: #9da7b3; stroke: #0d1117 }
    .edge { stroke: #8b949e } .tip { fill: #8b949e }
    .c0 { fill: #0c2d6b } .c1 { fill: #033a16 } .c2 { fill: #4b2900 } .c3 { fill: #3c1e70 }
    .c4 { fill: #67060c } .c5 { fill: #5a1e02 } .c6 { fill: #5e103e } .c7 { fill: #21262d }
  }
</style>
)";
  }

  // Kinds get colours in the order in which they appear.
  std::map<std::string, size_t> Colours() const {
    std::map<std::string, size_t> colours;
    for (const GraphNode& node : graph_.nodes) {
      const std::string word = node.kind.substr(0, node.kind.find(' '));
      colours.emplace(word, colours.size() % 8);
    }
    return colours;
  }

  void WriteBoxes(std::string* out) const {
    const std::map<std::string, size_t> colours = Colours();
    for (const Vertex& v : vertices_) {
      if (v.node == SIZE_MAX) continue;
      const GraphNode& node = graph_.nodes[v.node];
      const std::string word = node.kind.substr(0, node.kind.find(' '));
      *out += node.faded ? "<g class=\"faded\">" : "<g>";
      if (!node.tooltip.empty()) {
        *out += "<title>" + Escape(node.tooltip) + "</title>";
      }
      if (node.stacked) {
        *out += "<rect class=\"box c" +
                std::to_string(colours.find(word)->second) + "\" x=\"" +
                Num(v.x - v.width / 2 + 5) + "\" y=\"" + Num(v.y + 5) +
                "\" width=\"" + Num(v.width) + "\" height=\"" + Num(v.height) +
                "\" rx=\"7\"/>\n";
      }
      *out += "<rect class=\"box c" +
              std::to_string(colours.find(word)->second) + "\" x=\"" +
              Num(v.x - v.width / 2) + "\" y=\"" + Num(v.y) + "\" width=\"" +
              Num(v.width) + "\" height=\"" + Num(v.height) + "\" rx=\"7\"/>\n";
      double y = v.y + kBoxPadding + 9;
      WriteText(out, "name", v.x, y, node.title);
      y += kLineHeight;
      WriteText(out, "kind", v.x, y, node.kind);
      for (const std::string& line : node.lines) {
        y += kLineHeight;
        WriteText(out, "line", v.x, y, line);
      }
      *out += "</g>\n";
    }
  }

  static void WriteText(std::string* out, const char* style, double x, double y,
                        const std::string& text) {
    *out += std::string("<text class=\"") + style + "\" x=\"" + Num(x) +
            "\" y=\"" + Num(y) + "\">" + Escape(text) + "</text>\n";
  }

  void WriteRoute(size_t r, std::string* out, std::string* labels) const {
    const Route& route = routes_[r];
    const GraphEdge& edge = graph_.edges[route.edge];
    const auto& path = route.vertices;
    double x = Port(path[0], true, r);
    double y = vertices_[path[0]].y + vertices_[path[0]].height;
    const double first_x = x, first_y = y;
    std::string d = "M" + Num(x) + " " + Num(y);
    double label_x = 0, label_y = 0;
    for (size_t i = 1; i < path.size(); i++) {
      const Vertex& v = vertices_[path[i]];
      const bool last = i + 1 == path.size();
      const double to_x = last ? Port(path[i], false, r) : v.x;
      double to_y = v.y;
      if (last && !route.reversed) to_y -= 8;
      const double middle = (y + to_y) / 2;
      if (i == 1) {
        // On the curve; neighbours stand at different heights.
        const double t = 0.35 + 0.15 * static_cast<double>(r % 3);
        const double s = 1 - t;
        const double a = s * s * s + 3 * s * s * t;
        label_x = a * x + (1 - a) * to_x;
        label_y = s * s * s * y + (3 * s * s * t + 3 * s * t * t) * middle +
                  t * t * t * to_y;
      }
      d += " C" + Num(x) + " " + Num(middle) + " " + Num(to_x) + " " +
           Num(middle) + " " + Num(to_x) + " " + Num(to_y);
      x = to_x;
      y = to_y;
      if (!last) {
        y = v.y + v.height;
        d += " L" + Num(x) + " " + Num(y);
      }
    }
    *out += "<g>";
    if (!edge.tooltip.empty()) {
      *out += "<title>" + Escape(edge.tooltip) + "</title>";
    }
    *out += std::string("<path class=\"edge") +
            (edge.temporary ? " dash" : "") + "\" d=\"" + d + "\"/>";
    // The head of the arrow: at what is held.
    const double tip_x = route.reversed ? first_x : x;
    const double tip_y = route.reversed ? first_y : y + 8;
    const double back = route.reversed ? 9 : -9;
    *out += "<path class=\"tip\" d=\"M" + Num(tip_x) + " " + Num(tip_y) + " L" +
            Num(tip_x - 4.5) + " " + Num(tip_y + back) + " L" +
            Num(tip_x + 4.5) + " " + Num(tip_y + back) + " Z\"/></g>\n";
    if (!edge.label.empty()) {
      WriteText(labels, "label", label_x, label_y + 4, edge.label);
    }
  }

  const Graph& graph_;
  std::vector<Vertex> vertices_;
  std::vector<bool> reversed_;
  std::vector<Route> routes_;
  std::vector<std::vector<size_t>> layers_;
  size_t num_layers_ = 0;
  double width_ = 0;
  double height_ = 0;
};

}  // namespace

Graph FoldAlike(const Graph& graph, size_t most) {
  if (graph.nodes.size() <= most) return graph;
  // What makes a box like another, as text; only equality matters.
  std::vector<std::string> look(graph.nodes.size());
  for (size_t i = 0; i < graph.nodes.size(); i++) {
    const GraphNode& node = graph.nodes[i];
    look[i] = node.kind.substr(0, node.kind.find(' ')) +
              (node.faded ? "\nfaded" : "\n");
    for (const std::string& line : node.lines) look[i] += '\n' + line;
  }
  for (const GraphEdge& e : graph.edges) {
    if (e.from >= look.size() || e.to >= look.size()) continue;
    const std::string label = e.temporary ? e.label + "\ndashed" : e.label;
    look[e.from] += "\nto " + std::to_string(e.to) + ' ' + label;
    look[e.to] += "\nfrom " + std::to_string(e.from) + ' ' + label;
  }
  std::map<std::string, std::vector<size_t>> alike;
  for (size_t i = 0; i < look.size(); i++) alike[look[i]].push_back(i);
  Graph out;
  out.title = graph.title;
  out.subtitle = graph.subtitle;
  std::vector<size_t> place(graph.nodes.size());
  std::vector<bool> first(graph.nodes.size());
  for (size_t i = 0; i < graph.nodes.size(); i++) {
    const std::vector<size_t>& same = alike[look[i]];
    // Two or three of a kind are no crowd.
    if (same.size() > 3 && same[0] != i) {
      place[i] = place[same[0]];
      GraphNode& stack = out.nodes[place[i]];
      // 32 tooltips fill a screen.
      constexpr size_t kMostTips = 32;
      const size_t nth =
          std::lower_bound(same.begin(), same.end(), i) - same.begin();
      if (nth < kMostTips) {
        stack.tooltip += '\n' + graph.nodes[i].tooltip;
      } else if (nth == kMostTips) {
        stack.tooltip += "\n...";
      }
      continue;
    }
    first[i] = true;
    place[i] = out.nodes.size();
    GraphNode node = graph.nodes[i];
    if (same.size() > 3) {
      const GraphNode& last = graph.nodes[same.back()];
      const size_t space = last.kind.rfind(' ');
      node.title += " \u2026 " + last.title;
      node.kind = node.kind + " \u2026" +
                  (space == std::string::npos ? "" : last.kind.substr(space));
      node.lines.insert(node.lines.begin(),
                        std::to_string(same.size()) + " alike, each with");
      node.stacked = true;
    }
    out.nodes.push_back(std::move(node));
  }
  for (const GraphEdge& e : graph.edges) {
    if (e.from >= place.size() || e.to >= place.size()) continue;
    // The arrows of the others are the same.
    if (!first[e.from] || !first[e.to]) continue;
    GraphEdge edge = e;
    edge.from = place[e.from];
    edge.to = place[e.to];
    out.edges.push_back(std::move(edge));
  }
  return out;
}

std::string DrawSvg(const Graph& graph) { return Drawing(graph).Draw(); }

}  // namespace tools
