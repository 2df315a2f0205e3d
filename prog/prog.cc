// SPDX-License-Identifier: GPL-2.0-or-later
//
// Helpers of the syntax tree: constructors, error texts, errno names.
#include "prog/prog.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace prog {

Value Value::Number(uint64_t n, NumberStyle style) {
  Value v;
  v.kind = Kind::kNumber;
  v.number = n;
  v.style = style;
  return v;
}

Value Value::Name(std::string_view name, std::string_view path) {
  Value v;
  v.kind = Kind::kName;
  v.text = name;
  v.path = path;
  return v;
}

Value Value::String(std::string_view bytes) {
  Value v;
  v.kind = Kind::kString;
  v.text = bytes;
  return v;
}

namespace {

Value Joined(Value::Kind kind, std::vector<Value> items) {
  if (items.empty()) return Value::Number(0);
  if (items.size() == 1) return items[0];
  Value v;
  v.kind = kind;
  v.items = std::move(items);
  return v;
}

}  // namespace

Value Value::Or(std::vector<Value> items) {
  return Joined(Kind::kOr, std::move(items));
}

Value Value::Sum(std::vector<Value> items) {
  return Joined(Kind::kSum, std::move(items));
}

Value Value::Out(uint64_t elements) {
  Value v;
  v.kind = Kind::kOut;
  v.items.push_back(Number(elements));
  return v;
}

size_t Program::num_calls() const {
  size_t n = 0;
  for (const Line& line : lines) n += line.has_call;
  return n;
}

const Call& Program::call(size_t n) const {
  static const Call none;
  for (const Line& line : lines) {
    if (!line.has_call) continue;
    if (n == 0) return line.call;
    n--;
  }
  return none;
}

namespace {

struct ErrnoEntry {
  const char* name;
  int value;
};

#define PROG_ERRNO(e) {#e, e}
constexpr ErrnoEntry kErrnos[] = {
    PROG_ERRNO(EPERM),       PROG_ERRNO(ENOENT),    PROG_ERRNO(ESRCH),
    PROG_ERRNO(EINTR),       PROG_ERRNO(EIO),       PROG_ERRNO(ENXIO),
    PROG_ERRNO(E2BIG),       PROG_ERRNO(ENOEXEC),   PROG_ERRNO(EBADF),
    PROG_ERRNO(ECHILD),      PROG_ERRNO(EAGAIN),    PROG_ERRNO(ENOMEM),
    PROG_ERRNO(EACCES),      PROG_ERRNO(EFAULT),    PROG_ERRNO(ENOTBLK),
    PROG_ERRNO(EBUSY),       PROG_ERRNO(EEXIST),    PROG_ERRNO(EXDEV),
    PROG_ERRNO(ENODEV),      PROG_ERRNO(ENOTDIR),   PROG_ERRNO(EISDIR),
    PROG_ERRNO(EINVAL),      PROG_ERRNO(ENFILE),    PROG_ERRNO(EMFILE),
    PROG_ERRNO(ENOTTY),      PROG_ERRNO(ETXTBSY),   PROG_ERRNO(EFBIG),
    PROG_ERRNO(ENOSPC),      PROG_ERRNO(ESPIPE),    PROG_ERRNO(EROFS),
    PROG_ERRNO(EMLINK),      PROG_ERRNO(EPIPE),     PROG_ERRNO(EDOM),
    PROG_ERRNO(ERANGE),      PROG_ERRNO(EDEADLK),   PROG_ERRNO(ENAMETOOLONG),
    PROG_ERRNO(ENOSYS),      PROG_ERRNO(ELOOP),     PROG_ERRNO(ENOMSG),
    PROG_ERRNO(ENODATA),     PROG_ERRNO(ETIME),     PROG_ERRNO(EPROTO),
    PROG_ERRNO(EBADMSG),     PROG_ERRNO(EOVERFLOW), PROG_ERRNO(EMSGSIZE),
    PROG_ERRNO(EOPNOTSUPP),  PROG_ERRNO(ETIMEDOUT), PROG_ERRNO(EALREADY),
    PROG_ERRNO(EINPROGRESS), PROG_ERRNO(ESTALE),    PROG_ERRNO(ECANCELED),
    PROG_ERRNO(EBADE),       PROG_ERRNO(EBADFD),    PROG_ERRNO(EBADR),
    PROG_ERRNO(EREMOTEIO),   PROG_ERRNO(ENOBUFS),   PROG_ERRNO(EILSEQ),
    PROG_ERRNO(EHWPOISON),   PROG_ERRNO(ENOTEMPTY), PROG_ERRNO(EADDRINUSE),
};
#undef PROG_ERRNO

// The number of insertions, deletions and changes that turn a into b.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); j++) row[j] = j;
  for (size_t i = 1; i <= a.size(); i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); j++) {
      const size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
      const size_t best =
          std::min({row[j] + 1, row[j - 1] + 1, diagonal + cost});
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[b.size()];
}

}  // namespace

int ErrnoByName(std::string_view name) {
  for (const ErrnoEntry& e : kErrnos) {
    if (name == e.name) return e.value;
  }
  return 0;
}

const char* ErrnoName(int error) {
  for (const ErrnoEntry& e : kErrnos) {
    if (error == e.value) return e.name;
  }
  return nullptr;
}

std::string DidYouMean(std::string_view name,
                       const std::vector<std::string>& names) {
  if (name.empty() || name.size() > 64) return {};
  std::string best;
  size_t best_distance = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : names) {
    if (candidate.size() > 64) continue;
    size_t distance = Distance(name, candidate);
    // A long word of which a whole part was written: `NEST` for `NEST_PARENT`.
    if (distance >= best_distance && name.size() >= 4 &&
        candidate.find(name) != std::string::npos) {
      distance = best_distance - 1;
    }
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string FormatError(std::string_view file, std::string_view source,
                        const Error& error) {
  std::string out(file);
  out += ':' + std::to_string(error.pos.line) + ':' +
         std::to_string(error.pos.column) + ": " + error.message + '\n';
  size_t begin = 0;
  for (int line = 1; line < error.pos.line; line++) {
    const size_t newline = source.find('\n', begin);
    if (newline == std::string_view::npos) {
      begin = source.size();
      break;
    }
    begin = newline + 1;
  }
  std::string_view text =
      source.substr(begin, source.find('\n', begin) - begin);
  constexpr size_t kWidth = 160;
  size_t column = error.pos.column > 0 ? error.pos.column - 1 : 0;
  // A very long line is shown around the place.
  size_t skip = 0;
  if (text.size() > kWidth && column > kWidth / 2) {
    skip = std::min(column, text.size()) - kWidth / 2;
  }
  text = text.substr(std::min(skip, text.size()), kWidth);
  column = column >= skip ? column - skip : 0;
  std::string shown, caret;
  for (size_t i = 0; i < text.size(); i++) {
    const unsigned char c = text[i];
    const char safe = (c >= 0x20 && c != 0x7f) || c == '\t' ? char(c) : '?';
    shown += safe;
    // Continuation bytes of UTF-8 take no column of their own.
    if (i < column && (c & 0xc0) != 0x80) caret += c == '\t' ? '\t' : ' ';
  }
  out += "  " + shown + "\n  " + caret + "^\n";
  if (!error.expected.empty()) out += "expected " + error.expected + '\n';
  return out;
}

}  // namespace prog
