// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/explain.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "prog/print.h"
#include "uapi/iommufd_desc.h"

// Last: kernel headers define common words as macros.
#include "core/iommufd/introspect.h"
#include "core/sim_syscalls.h"

namespace tools {
namespace {

std::string Hex(uint64_t n) {
  return absl::StrCat("0x", absl::Hex(n));
}

std::string Range(uint64_t first, uint64_t last) {
  return absl::StrCat(Hex(first), "-", Hex(last));
}

// What a program calls an object, and the call that made it.
struct Origin {
  std::string name;
  const prog::Call* call = nullptr;
};

using Results = std::vector<prog::CallResult>;

// The objects of one descriptor by id. Ids are used again: the last call wins.
std::map<uint32_t, Origin> Origins(const prog::BoundProgram& bound,
                                   const Results& results, size_t last,
                                   int fd) {
  std::map<uint32_t, Origin> origins;
  for (size_t i = 0; i <= last && i < results.size(); i++) {
    const prog::CallResult& result = results[i];
    if (result.fd != fd || result.error != 0) continue;
    size_t ids = 0;
    for (const prog::Output& output : result.outputs) {
      ids += output.field != nullptr && output.field->kind == desc_kind::ID_OUT;
    }
    for (const prog::Output& output : result.outputs) {
      if (output.field == nullptr || output.field->kind != desc_kind::ID_OUT ||
          output.field->object == desc_object::ACCESS_PAGES) {
        continue;
      }
      Origin origin = {bound.calls[i].call->result, bound.calls[i].call};
      if (!origin.name.empty() && ids > 1) {
        absl::StrAppend(&origin.name, ".", output.name);
      }
      origins[static_cast<uint32_t>(output.value)] = std::move(origin);
    }
  }
  return origins;
}

class Names {
 public:
  Names(const iommufd_snapshot& snapshot, std::map<uint32_t, Origin> origins)
      : snapshot_(snapshot), origins_(std::move(origins)) {}

  const iommufd_snapshot_object* Find(uint32_t id) const {
    for (const iommufd_snapshot_object& o : snapshot_.objects) {
      if (o.id == id) return &o;
    }
    return nullptr;
  }

  std::string Kind(uint32_t id) const {
    const iommufd_snapshot_object* o = Find(id);
    if (o == nullptr) return absl::StrCat("object ", id);
    if (o->reserved) return absl::StrCat("reserved ", id);
    return absl::StrCat(iommufd_object_type_name(o->type), " ", id);
  }

  // "q0"; an object without a name in the program gets a description.
  std::string Title(uint32_t id) const {
    const auto it = origins_.find(id);
    if (it != origins_.end() && !it->second.name.empty()) {
      return it->second.name;
    }
    const iommufd_snapshot_object* o = Find(id);
    if (o != nullptr && o->internal) return "internal";
    if (o != nullptr && o->auto_domain) return "automatic";
    return absl::StrCat("#", id);
  }

  std::string Full(uint32_t id) const {
    const auto it = origins_.find(id);
    if (it != origins_.end() && !it->second.name.empty()) {
      return absl::StrCat(it->second.name, " (", Kind(id), ")");
    }
    return Kind(id);
  }

  // The selftest's object of the call that also bound this device: the driver
  // that holds it. 0: the program says nothing about it.
  uint32_t Driver(uint32_t device) const {
    const auto it = origins_.find(device);
    if (it == origins_.end() || it->second.call == nullptr) return 0;
    for (const iommufd_snapshot_object& o : snapshot_.objects) {
      const auto other = origins_.find(o.id);
      if (o.type == IOMMUFD_OBJ_SELFTEST && other != origins_.end() &&
          other->second.call == it->second.call) {
        return o.id;
      }
    }
    return 0;
  }

  // "line 44: q1 = VCMDQ_ALLOC(...)", or empty.
  std::string MadeBy(uint32_t id) const {
    const auto it = origins_.find(id);
    if (it == origins_.end() || it->second.call == nullptr) return {};
    return absl::StrCat("line ", it->second.call->pos.line, ": ",
                        prog::PrintCall(*it->second.call));
  }

 private:
  const iommufd_snapshot& snapshot_;
  std::map<uint32_t, Origin> origins_;
};

// The descriptors of contexts that the program has opened, by their latest
// name.
std::map<int, std::string> Contexts(const prog::BoundProgram& bound,
                                    const Results& results, size_t last) {
  std::map<int, std::string> contexts;
  for (size_t i = 0; i <= last && i < results.size(); i++) {
    if (bound.calls[i].builtin != prog::Builtin::kOpen) continue;
    // A number of another process's table.
    if (bound.calls[i].process != prog::kMainProcess) continue;
    if (results[i].error != 0 || !results[i].has_value) continue;
    contexts[static_cast<int>(results[i].value)] = bound.calls[i].call->result;
  }
  return contexts;
}

bool TakeSnapshot(sim_syscalls* sys, int fd, iommufd_snapshot* snapshot) {
  task_scope scope(sys->task());
  return iommufd_snapshot_fd(fd, snapshot) == 0;
}

// The mmap() calls of the program at a region's offset: "p".
std::string MappingName(const prog::BoundProgram& bound, const Results& results,
                        size_t last, uint64_t offset) {
  std::string name;
  for (size_t i = 0; i <= last && i < results.size(); i++) {
    if (bound.calls[i].builtin != prog::Builtin::kMmap) continue;
    if (results[i].error != 0 || bound.calls[i].call->result.empty()) continue;
    for (const prog::Field& arg : bound.calls[i].call->args) {
      if (arg.name != "offset") continue;
      // The program says where the offset came from; its value is in there.
      for (const auto& ref : bound.calls[i].refs) {
        for (const prog::Output& output : results[ref.second].outputs) {
          if (output.value == offset) name = bound.calls[i].call->result;
        }
      }
      if (arg.value.kind == prog::Value::Kind::kNumber &&
          arg.value.number == offset) {
        name = bound.calls[i].call->result;
      }
    }
  }
  return name;
}

// ", as PASID 0x64" for an attachment that is not the device's own.
std::string AsPasid(const iommufd_snapshot_edge& e) {
  if (e.why != &iommufd_edge_attach || e.value == 0) return {};
  return ", as PASID " + Hex(e.value);
}

// One context's objects, added to the picture.
void AddContext(const iommufd_snapshot& snapshot, const Names& names,
                const std::function<std::string(uint64_t)>& mapping_name,
                Graph* graph) {
  std::map<uint32_t, size_t> node_of;
  for (const iommufd_snapshot_object& o : snapshot.objects) {
    GraphNode node;
    node.title = names.Title(o.id);
    node.kind = names.Kind(o.id);
    node.tooltip = names.MadeBy(o.id);
    node.faded = o.reserved;
    if (o.reserved) {
      node.lines.push_back("no object: a tombstone");
    } else {
      // The table's own one is not worth a number of its own.
      node.lines.push_back(absl::StrCat("users ", o.users,
                                        " \u00b7 short-term ", o.wait_cnt - 1));
      std::string outside;
      for (const iommufd_snapshot_edge& e : snapshot.edges) {
        if (e.to != o.id || e.from != 0 || e.why == &iommufd_edge_mmap ||
            names.Driver(o.id) != 0) {
          continue;
        }
        if (e.why == &iommufd_edge_file) {
          node.lines.push_back("its file is open");
          continue;
        }
        absl::StrAppend(&outside, outside.empty() ? "" : ", ", e.why->label,
                        " ", e.count);
      }
      if (!outside.empty()) node.lines.push_back("drivers: " + outside);
      size_t pins = 0;
      for (const iommufd_snapshot_pin& pin : snapshot.pins) {
        if (pin.ioas != o.id) continue;
        if (pins++ < 4) {
          node.lines.push_back(
              absl::StrCat(pin.locks != 0 ? "locked " : "pinned ",
                           Range(pin.iova, pin.last), " \u00d7", pin.accesses));
        }
      }
      if (pins > 4) {
        node.lines.push_back(absl::StrCat("and ", pins - 4, " more pinned"));
      }
      for (const iommufd_snapshot_eventq& q : snapshot.eventqs) {
        if (q.id != o.id || q.queued + q.unanswered == 0) continue;
        std::string events = absl::StrCat("events: ", q.queued, " queued");
        if (q.unanswered != 0) {
          absl::StrAppend(&events, ", ", q.unanswered, " unanswered");
        }
        node.lines.push_back(std::move(events));
      }
      absl::StrAppend(&node.tooltip, node.tooltip.empty() ? "" : "\n", o.users,
                      " users: 1 of the object table");
      for (const iommufd_snapshot_edge& e : snapshot.edges) {
        if (e.to != o.id) continue;
        absl::StrAppend(&node.tooltip, ", ", e.count, " ",
                        e.from != 0 ? names.Full(e.from) + ": " : "",
                        e.why->what, AsPasid(e));
      }
    }
    node_of[o.id] = graph->nodes.size();
    graph->nodes.push_back(std::move(node));
  }
  for (const iommufd_snapshot_edge& e : snapshot.edges) {
    if (node_of.count(e.to) == 0) continue;
    GraphEdge edge;
    edge.to = node_of[e.to];
    edge.label = e.why->label;
    if (e.why == &iommufd_edge_attach && e.value != 0) {
      absl::StrAppend(&edge.label, " ", Hex(e.value));
    }
    if (e.count > 1) absl::StrAppend(&edge.label, " \u00d7", e.count);
    edge.tooltip = e.why->what + AsPasid(e);
    edge.temporary = e.why->short_term;
    if (e.from != 0) {
      if (node_of.count(e.from) == 0) continue;
      edge.from = node_of[e.from];
    } else if (e.why == &iommufd_edge_mmap) {
      GraphNode node;
      const std::string name = mapping_name(e.value);
      node.title = name.empty() ? "mmap" : name;
      node.kind = absl::StrCat("mapping of ", Hex(e.length));
      node.lines.push_back("offset " + Hex(e.value));
      edge.from = graph->nodes.size();
      graph->nodes.push_back(std::move(node));
    } else if (node_of.count(names.Driver(e.to)) != 0) {
      edge.from = node_of[names.Driver(e.to)];
      edge.label = e.why->label;
      // Both at once is one arrow.
      bool merged = false;
      for (GraphEdge& other : graph->edges) {
        if (other.from != edge.from || other.to != edge.to) continue;
        absl::StrAppend(&other.label, ", ", edge.label);
        merged = true;
      }
      if (merged) continue;
    } else {
      continue;
    }
    graph->edges.push_back(std::move(edge));
  }
}

// A field of the command that was sent.
bool Sent(const prog::BoundCall& call, const prog::CallResult& result,
          const char* field, uint64_t* value) {
  if (call.desc == nullptr || result.sent.size() < call.desc->arg->size) {
    return false;
  }
  const desc_field* d = desc_find_field(*call.desc->arg, field);
  if (d == nullptr) return false;
  *value = desc_load(*d, result.sent.data());
  return true;
}

// The first field of that kind that was sent.
bool SentOfKind(const prog::BoundCall& call, const prog::CallResult& result,
                desc_kind kind, uint64_t* value) {
  for (const desc_field& d : call.desc->arg->fields) {
    if (d.kind == kind) return Sent(call, result, d.name, value);
  }
  return false;
}

// Calls that are being made on other threads.
std::string CallsUnderWay(const prog::BoundProgram& bound,
                          const Results& results, size_t index) {
  std::string out;
  for (size_t i = 0; i < index && i < results.size(); i++) {
    if (results[i].state != prog::CallResult::State::kNotRun) continue;
    absl::StrAppend(&out, "    line ", bound.calls[i].call->pos.line, ": ",
                    prog::PrintCall(*bound.calls[i].call), "\n");
  }
  return out;
}

std::string ExplainObject(const iommufd_snapshot& snapshot, const Names& names,
                          uint32_t id, const prog::BoundProgram& bound,
                          const Results& results, size_t index) {
  const iommufd_snapshot_object* o = names.Find(id);
  if (o == nullptr || o->reserved) return {};
  std::string out =
      absl::StrCat(names.Full(id), " has ", o->users,
                   " users: 1 is the object table's, which DESTROY takes\n");
  uint32_t known = 1;
  for (const iommufd_snapshot_edge& e : snapshot.edges) {
    if (e.to != id) continue;
    known += e.count;
    if (e.from != 0) {
      absl::StrAppend(&out, "  ", e.count, "  ", names.Full(e.from), ": ",
                      e.why->what, AsPasid(e), "\n");
      const std::string made = names.MadeBy(e.from);
      if (!made.empty()) absl::StrAppend(&out, "       ", made, "\n");
      continue;
    }
    absl::StrAppend(&out, "  ", e.count, "  ", e.why->what);
    if (e.why == &iommufd_edge_mmap) {
      const std::string name = MappingName(bound, results, index, e.value);
      absl::StrAppend(&out, ": ", Hex(e.length), " bytes at offset ",
                      Hex(e.value), name.empty() ? "" : ", mapped as " + name);
    }
    absl::StrAppend(&out, "\n");
  }
  if (o->users > known) {
    absl::StrAppend(&out, "  ", o->users - known, "  calls in progress\n",
                    CallsUnderWay(bound, results, index));
  } else if (o->users == 1) {
    absl::StrAppend(
        &out,
        "  the table's is the only one left: a call in progress had another\n");
  }
  return out;
}

std::string ExplainRange(const iommufd_snapshot& snapshot, const Names& names,
                         uint32_t ioas, uint64_t first, uint64_t last, int fd,
                         const prog::BoundProgram& bound,
                         const Results& results, size_t index) {
  std::string out;
  for (const iommufd_snapshot_pin& pin : snapshot.pins) {
    if (pin.ioas != ioas || pin.last < first || pin.iova > last) continue;
    absl::StrAppend(&out, Range(pin.iova, pin.last), " of ", names.Full(ioas),
                    " is pinned ", pin.accesses, " times, ", pin.locks,
                    " of them by queues, which keep it mapped\n");
    for (size_t i = 0; i < index; i++) {
      const prog::BoundCall& call = bound.calls[i];
      const prog::CallResult& result = results[i];
      // It made an object with memory of the address space.
      uint64_t addr, length;
      if (call.desc == nullptr || result.fd != fd || result.error != 0 ||
          call.desc->creates == desc_object::NONE ||
          !SentOfKind(call, result, desc_kind::IOVA, &addr) ||
          !SentOfKind(call, result, desc_kind::IOVA_LEN, &length) ||
          length == 0) {
        continue;
      }
      // Its pages, and it is still there.
      const uint64_t from = addr & ~uint64_t{0xfff};
      const uint64_t to = (addr + length - 1) | 0xfff;
      const auto* o = names.Find(static_cast<uint32_t>(result.value));
      if (to < pin.iova || from > pin.last || o == nullptr ||
          static_cast<unsigned>(o->type) !=
              static_cast<unsigned>(call.desc->creates)) {
        continue;
      }
      absl::StrAppend(&out, "  ", names.Full(o->id), ": its memory\n",
                      "     line ", call.call->pos.line, ": ",
                      prog::PrintCall(*call.call), "\n");
    }
  }
  return out;
}

}  // namespace

Graph Snapshot(sim_syscalls* sys, const std::string& file,
               const prog::BoundProgram& bound, const Results& results,
               size_t last) {
  Graph graph;
  graph.title = file;
  std::string revisions;
  bool complete = true;
  for (const auto& [fd, name] : Contexts(bound, results, last)) {
    iommufd_snapshot snapshot;
    if (!TakeSnapshot(sys, fd, &snapshot)) continue;
    const Names names(snapshot, Origins(bound, results, last, fd));
    AddContext(
        snapshot, names,
        [&](uint64_t offset) {
          return MappingName(bound, results, last, offset);
        },
        &graph);
    complete = complete && snapshot.complete;
    if (!revisions.empty()) revisions += ", ";
    revisions += snapshot.revision;
  }
  graph.subtitle = revisions;
  if (last < bound.calls.size()) {
    std::string text = prog::PrintCall(*bound.calls[last].call);
    constexpr size_t kMost = 90;
    if (text.size() > kMost) text = text.substr(0, kMost) + "...";
    absl::StrAppend(&graph.subtitle, graph.subtitle.empty() ? "" : " \u00b7 ",
                    "after line ", bound.calls[last].call->pos.line, ": ",
                    text);
  }
  if (!complete)
    absl::StrAppend(&graph.subtitle,
                    " (parts are missing: their locks were held)");
  if (graph.nodes.empty()) {
    absl::StrAppend(&graph.subtitle, " \u00b7 there is no object");
  }
  return graph;
}

Graph Snapshot(const std::string& title, const std::string& subtitle,
               const std::vector<NamedContext>& contexts) {
  Graph graph;
  graph.title = title;
  graph.subtitle = subtitle;
  for (const NamedContext& context : contexts) {
    iommufd_snapshot snapshot;
    if (!TakeSnapshot(context.sys, context.fd, &snapshot)) continue;
    std::map<uint32_t, Origin> origins;
    for (const auto& [id, name] : context.objects) origins[id].name = name;
    const Names names(snapshot, std::move(origins));
    AddContext(
        snapshot, names,
        [&](uint64_t offset) {
          const auto it = context.mappings.find(offset);
          return it == context.mappings.end() ? std::string() : it->second;
        },
        &graph);
  }
  return graph;
}

std::string CheckUsers(sim_syscalls* sys, const prog::BoundProgram& bound,
                       const Results& results, size_t last) {
  std::string out;
  for (const auto& [fd, name] : Contexts(bound, results, last)) {
    iommufd_snapshot snapshot;
    if (!TakeSnapshot(sys, fd, &snapshot)) continue;
    const Names names(snapshot, Origins(bound, results, last, fd));
    if (!snapshot.complete)
      absl::StrAppend(&out,
                      "a lock is held, so parts of the graph are missing\n");
    for (const iommufd_snapshot_object& o : snapshot.objects) {
      if (o.reserved) continue;
      uint32_t users = 1;
      uint32_t wait_cnt = 1;
      for (const iommufd_snapshot_edge& e : snapshot.edges) {
        if (e.to != o.id) continue;
        users += e.count;
        if (e.why->short_term) wait_cnt += e.count;
      }
      if (users == o.users && wait_cnt == o.wait_cnt) continue;
      absl::StrAppend(&out, names.Full(o.id), ": users ", o.users,
                      " and wait_cnt ", o.wait_cnt, ", but ", users, " and ",
                      wait_cnt, " are known\n");
    }
  }
  return out;
}

std::string ExplainBusy(sim_syscalls* sys, const prog::BoundProgram& bound,
                        const Results& results, size_t index) {
  const prog::BoundCall& call = bound.calls[index];
  const prog::CallResult& result = results[index];
  if (call.desc == nullptr || result.fd < 0) return {};
  if (call.process != prog::kMainProcess) return {};
  iommufd_snapshot snapshot;
  if (!TakeSnapshot(sys, result.fd, &snapshot)) return {};
  const Names names(snapshot, Origins(bound, results, index, result.fd));
  uint64_t iova, length, ioas;
  std::string out;
  if (Sent(call, result, "iova", &iova) &&
      Sent(call, result, "length", &length) &&
      Sent(call, result, "ioas_id", &ioas)) {
    const uint64_t last = length != 0 && iova + (length - 1) >= iova
                              ? iova + (length - 1)
                              : UINT64_MAX;
    out = ExplainRange(snapshot, names, static_cast<uint32_t>(ioas), iova, last,
                       result.fd, bound, results, index);
    if (!out.empty()) return out;
  }
  if (std::string_view(call.desc->name) == "OPTION") {
    return absl::StrCat("the context has ", snapshot.objects.size(),
                        " objects; this option wants a context without any\n");
  }
  for (const desc_field& d : call.desc->arg->fields) {
    if (d.kind != desc_kind::ID_IN) continue;
    uint64_t id;
    if (!Sent(call, result, d.name, &id)) continue;
    out += ExplainObject(snapshot, names, static_cast<uint32_t>(id), bound,
                         results, index);
  }
  return out;
}

}  // namespace tools
