/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shim: preloaded into a program that runs under the client, it passes on
 * what concerns the lab kernel and leaves everything else to libc. It knows
 * nothing of iommufd: a command is a number and an address, which the lab
 * kernel reads through for itself.
 *
 * Nothing here changes errno but a call's own failure. Calls may come from a
 * signal handler that interrupted another one: that one gets a connection of
 * its own.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#undef _FORTIFY_SOURCE

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/client/protocol.h"

#define EXPORT __attribute__((visibility("default")))
#define TLS __thread __attribute__((tls_model("initial-exec")))

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#define HUGE_SIZE_MASK 63

/* The next definition of a function in the order of the libraries. */
#define NEXT(name)                                                 \
  ({                                                               \
    static _Atomic(void*) next_;                                   \
    void* p_ = atomic_load_explicit(&next_, memory_order_relaxed); \
    if (p_ == NULL) {                                              \
      p_ = dlsym(RTLD_NEXT, #name);                                \
      atomic_store_explicit(&next_, p_, memory_order_relaxed);     \
    }                                                              \
    (__typeof__(name)*)p_;                                         \
  })

/* A system call: its value or -errno. No cancellation point. Every argument is
   a whole register: syscall() takes its arguments as they come. */
static long sys_call(long nr, long a, long b, long c, long d, long e, long f) {
  const int saved = errno;
  long value = syscall(nr, a, b, c, d, e, f);

  if (value == -1) {
    value = -errno;
    errno = saved;
  }
  return value;
}
#define SYS_6(nr, a, b, c, d, e, f, ...)                                    \
  sys_call(SYS_##nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), \
           (long)(f))
#define SYS(nr, ...) SYS_6(nr, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* As system calls are to return: -1 and errno, or the value. */
static long libc_result(long value) {
  if (value < 0) {
    errno = (int)-value;
    return -1;
  }
  return value;
}

/* ---- where we are ---- */

static char socket_path[sizeof(((struct sockaddr_un*)0)->sun_path)];
static char debug_path[sizeof(socket_path) + sizeof(LAB_DEBUG_FOLDER)];
static pid_t kernel_pid; /* 0: no lab kernel, we do nothing */
static long page_size = 4096;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;

/* This process image, as it told the lab kernel. Changed under process_lock. */
static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic pid_t process_pid; /* whose state this is; 0: none yet */
/* 1, and 0 in the memory of a process that was forked since: unlike the pid
   that does not change in a vfork() child, which has its parent's memory and
   state. NULL: the host cannot. */
static atomic_int* same_memory;
static _Atomic uint64_t process_nonce;
static uint64_t parent_nonce;
static atomic_int lifeline = -1;
static _Atomic uint64_t lifeline_ino;
static _Atomic(const struct lab_shared*) shared;

/* Of this thread. */
static TLS int conn = -1;
static TLS uint64_t conn_ino;
static TLS uint64_t conn_nonce;
static TLS bool conn_busy;

/* Our own descriptors, which the program must not close: a bit each. */
#define MAX_OWN_FD 65536
static _Atomic uint64_t own_fds[MAX_OWN_FD / 64];

static bool is_own_fd(unsigned int fd) {
  return fd < MAX_OWN_FD &&
         (atomic_load_explicit(&own_fds[fd / 64], memory_order_relaxed) >>
              (fd % 64) &
          1);
}

static void set_own_fd(int fd, bool own) {
  const uint64_t bit = 1ULL << (fd % 64);

  if ((unsigned int)fd >= MAX_OWN_FD) return;
  if (own) {
    atomic_fetch_or(&own_fds[fd / 64], bit);
  } else {
    atomic_fetch_and(&own_fds[fd / 64], ~bit);
  }
}

static uint64_t inode_of(int fd) {
  struct stat st;

  return SYS(fstat, fd, &st) ? 0 : st.st_ino;
}

/* Gives a descriptor of ours back, if it still is that. */
static void close_own(int fd, uint64_t ino) {
  if (fd < 0) return;
  set_own_fd(fd, false);
  if (inode_of(fd) == ino) SYS(close, fd);
}

/* A signal handler may make calls, too: who holds a lock is not interrupted. */
static void lock(pthread_mutex_t* mutex, sigset_t* before) {
  sigset_t all;

  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, before);
  pthread_mutex_lock(mutex);
}

static void unlock(pthread_mutex_t* mutex, const sigset_t* before) {
  pthread_mutex_unlock(mutex);
  pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* A descriptor or -errno. */
static int move_high(int fd) {
  struct rlimit lim = {1024, 1024};
  long high;
  long from;

  SYS(prlimit64, 0, RLIMIT_NOFILE, NULL, &lim);
  from = lim.rlim_cur > 1024 ? 900 : (long)lim.rlim_cur * 7 / 8;
  high = SYS(fcntl, fd, F_DUPFD_CLOEXEC, from);
  if (high < 0) high = SYS(fcntl, fd, F_DUPFD_CLOEXEC, 3);
  SYS(close, fd);
  if (high >= 0) set_own_fd((int)high, true);
  return (int)high;
}

static void thread_ends(void* unused) {
  (void)unused;
  close_own(conn, conn_ino);
  conn = -1;
}

static void fork_prepare(void);
static void fork_parent(void);
static void fork_child(void);

static void init(void) {
  const char* path = getenv(LAB_ENV_SOCKET);
  const char* pid = getenv(LAB_ENV_KERNEL);
  char* slash;
  long at;

  page_size = sysconf(_SC_PAGESIZE);
  at = SYS(mmap, NULL, page_size, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at > 0 && SYS(madvise, at, page_size, MADV_WIPEONFORK) == 0) {
    same_memory = (atomic_int*)at;
    *same_memory = 1;
  }
  if (path == NULL || pid == NULL || strlen(path) >= sizeof(socket_path)) {
    return;
  }
  strcpy(socket_path, path);
  strcpy(debug_path, path);
  slash = strrchr(debug_path, '/');
  if (slash == NULL) return;
  strcpy(slash + 1, LAB_DEBUG_FOLDER);
  if (pthread_key_create(&thread_key, thread_ends) ||
      pthread_atfork(fork_prepare, fork_parent, fork_child)) {
    return;
  }
  kernel_pid = atoi(pid);
}

/* False: there is no lab kernel for this program. */
static bool ready(void) {
  pthread_once(&once, init);
  return kernel_pid != 0;
}

__attribute__((constructor)) static void start(void) {
  const int saved = errno;

  ready();
  errno = saved;
}

/* ---- talking ---- */

/* Sends and waits for the reply. -EIO: there is nobody. *got_fd, if wanted: a
   descriptor that came, or -1 (-EMFILE: it had no room). */
static int exchange(int fd, struct lab_request* req, int send_fd,
                    struct lab_reply* reply, int* got_fd) {
  union {
    struct cmsghdr head;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec iov = {req, sizeof(*req)};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
  struct cmsghdr* c;
  long n;

  req->magic = LAB_MAGIC;
  if (send_fd >= 0) {
    memset(&control, 0, sizeof(control));
    msg.msg_control = &control;
    msg.msg_controllen = sizeof(control);
    c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &send_fd, sizeof(int));
  }
  do {
    n = SYS(sendmsg, fd, &msg, MSG_NOSIGNAL);
  } while (n == -EINTR);
  if (n < 0) return -EIO;

  iov.iov_base = reply;
  iov.iov_len = sizeof(*reply);
  msg.msg_control = &control;
  msg.msg_controllen = sizeof(control);
  do {
    n = SYS(recvmsg, fd, &msg, MSG_CMSG_CLOEXEC);
  } while (n == -EINTR);
  if (n != (long)sizeof(*reply) || reply->magic != LAB_MAGIC) return -EIO;
  *got_fd = -1;
  c = CMSG_FIRSTHDR(&msg);
  if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
      c->cmsg_len >= CMSG_LEN(sizeof(int))) {
    memcpy(got_fd, CMSG_DATA(c), sizeof(int));
  } else if (msg.msg_flags & MSG_CTRUNC) {
    *got_fd = -EMFILE;
  }
  return 0;
}

/* No more descriptors. */
static bool is_full(long rc) { return rc == -EMFILE || rc == -ENFILE; }

/* A descriptor; -EMFILE or -ENFILE; -EIO: there is nobody. */
static int connect_kernel(uint64_t* ino) {
  struct sockaddr_un addr = {.sun_family = AF_UNIX};
  long fd;
  long rc;

  strcpy(addr.sun_path, socket_path);
  fd = SYS(socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return is_full(fd) ? (int)fd : -EIO;
  do {
    rc = SYS(connect, fd, &addr, sizeof(addr));
  } while (rc == -EINTR);
  if (rc < 0) {
    SYS(close, fd);
    return -EIO;
  }
  fd = move_high((int)fd);
  if (fd < 0) return -EMFILE;
  *ino = inode_of((int)fd);
  return (int)fd;
}

/* Makes this process known. process_lock is held. 0, or as connect_kernel(). */
static int attach_process(void) {
  struct lab_request req = {.op = LAB_HELLO, .kind = LAB_HELLO_PROCESS};
  struct lab_reply reply;
  const pid_t pid = getpid();
  uint64_t nonce = 0;
  uint64_t ino;
  int page = -1;
  long at;
  int fd;

  if (SYS(getrandom, &nonce, sizeof(nonce), 0) != (long)sizeof(nonce) ||
      nonce == 0) {
    nonce = ((uint64_t)pid << 32) ^ (uintptr_t)&req;
  }
  process_pid = pid;
  fd = connect_kernel(&ino);
  if (fd < 0) return fd;
  req.tid = (uint32_t)pid;
  req.arg[0] = nonce;
  req.arg[1] = parent_nonce;
  if (exchange(fd, &req, -1, &reply, &page) || reply.result < 0) {
    close_own(fd, ino);
    return -EIO;
  }
  /* Without the page nobody could tell when memory must be preserved. */
  at = page < 0 ? page
                : SYS(mmap, NULL, page_size, PROT_READ, MAP_SHARED, page, 0);
  if (page >= 0) SYS(close, page);
  if (at < 0 && at > -page_size) {
    close_own(fd, ino);
    return page == -EMFILE ? -EMFILE : -EIO;
  }
  process_nonce = nonce;
  lifeline_ino = ino;
  lifeline = fd;
  atomic_store(&shared, (const struct lab_shared*)at);
  return 0;
}

/* True: this is the state of a process that we were forked from. */
static bool was_forked(void) {
  if (same_memory != NULL) return *same_memory == 0;
  return process_pid != 0 && process_pid != getpid();
}

/* The state of a process that we were forked from is not ours. The process
   has one thread. */
static void forget_process(void) {
  const struct lab_shared* page = atomic_load(&shared);

  for (unsigned int i = 0; i < MAX_OWN_FD / 64; i++) {
    uint64_t bits = atomic_exchange(&own_fds[i], 0);

    for (; bits != 0; bits &= bits - 1) {
      SYS(close, i * 64 + (unsigned int)__builtin_ctzll(bits));
    }
  }
  if (page != NULL) SYS(munmap, page, page_size);
  atomic_store(&shared, NULL);
  lifeline = -1;
  conn = -1;
  conn_busy = false;
  /* One that told the lab kernel nothing leaves its parent's name. */
  if (process_nonce != 0) parent_nonce = process_nonce;
  process_nonce = 0;
  process_pid = 0;
  if (same_memory != NULL) *same_memory = 1;
}

static bool process_is_known(void) {
  const int fd = lifeline;

  return fd >= 0 && !was_forked() && inode_of(fd) == lifeline_ino;
}

/* Finds the nonce of this process, which is known by then. 0, or as
   connect_kernel(). */
static int process_name(uint64_t* nonce) {
  sigset_t before;
  int rc = 0;

  *nonce = process_nonce;
  if (process_is_known()) return 0;
  lock(&process_lock, &before);
  /* A clone() that told nobody. */
  if (was_forked()) forget_process();
  if (lifeline >= 0 && !process_is_known()) {
    /* Closed behind our back; the lab kernel takes it for an exec. */
    set_own_fd(lifeline, false);
    lifeline = -1;
  }
  if (lifeline < 0) rc = attach_process();
  *nonce = process_nonce;
  unlock(&process_lock, &before);
  return rc;
}

/* A connection for this thread that has said hello. */
static int connect_thread(uint64_t nonce, uint64_t* ino) {
  struct lab_request req = {.op = LAB_HELLO, .kind = LAB_HELLO_THREAD};
  struct lab_reply reply;
  int none;
  int fd = connect_kernel(ino);

  if (fd < 0) return fd;
  req.tid = (uint32_t)SYS(gettid);
  req.arg[0] = nonce;
  if (exchange(fd, &req, -1, &reply, &none) || reply.result < 0) {
    close_own(fd, *ino);
    return -EIO;
  }
  return fd;
}

static void who_am_i(struct lab_request* req) {
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct caps[2] = {{0}};
  struct rlimit lim = {RLIM_INFINITY, RLIM_INFINITY};

  SYS(capget, &head, caps);
  SYS(prlimit64, 0, RLIMIT_MEMLOCK, NULL, &lim);
  req->caps = caps[0].effective | (uint64_t)caps[1].effective << 32;
  req->memlock = lim.rlim_cur;
  req->euid = (uint32_t)SYS(geteuid);
}

/* One request. 0; -EIO when there is no lab kernel (any more); -EMFILE or
   -ENFILE when a connection is needed first and there is no descriptor. */
static int call(struct lab_request* req, int send_fd, struct lab_reply* reply,
                int* got_fd) {
  uint64_t nonce;
  uint64_t ino;
  int none;
  int fd;
  int rc;

  if (got_fd == NULL) got_fd = &none;
  *got_fd = -1;
  rc = process_name(&nonce);
  if (rc) return rc;
  who_am_i(req);
  if (conn_busy) {
    /* A signal handler's, inside another call of this thread. */
    fd = connect_thread(nonce, &ino);
    if (fd < 0) return fd;
    rc = exchange(fd, req, send_fd, reply, got_fd);
    close_own(fd, ino);
    return rc;
  }
  conn_busy = true;
  atomic_signal_fence(memory_order_seq_cst);
  if (conn >= 0 && (conn_nonce != nonce || inode_of(conn) != conn_ino)) {
    close_own(conn, conn_ino);
    conn = -1;
  }
  if (conn < 0) {
    conn = connect_thread(nonce, &conn_ino);
    conn_nonce = nonce;
    if (conn >= 0) pthread_setspecific(thread_key, &conn);
  }
  rc = conn < 0 ? conn : exchange(conn, req, send_fd, reply, got_fd);
  if (rc) {
    close_own(conn, conn_ino);
    conn = -1;
  }
  atomic_signal_fence(memory_order_seq_cst);
  conn_busy = false;
  return rc;
}

/* True: @fd is a file of the lab kernel, and which. */
static bool lab_file(int fd, uint64_t* ino) {
  struct ucred cred;
  socklen_t len = sizeof(cred);

  if (fd < 0 || !ready()) return false;
  if (SYS(getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ||
      cred.pid != kernel_pid || is_own_fd((unsigned int)fd)) {
    return false;
  }
  *ino = inode_of(fd);
  return true;
}

/* ---- ranges of addresses ---- */

/* Mappings of lab files, and those that stand for huge pages. */
#define MAX_RANGES 1024
struct range {
  uintptr_t start;
  uintptr_t end;
  uintptr_t unit; /* where it may be cut */
};
struct ranges {
  atomic_uint n;
  struct range at[MAX_RANGES];
};
static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ranges lab_maps;
static struct ranges huge_maps;

static bool range_add(struct ranges* r, uintptr_t start, uintptr_t len,
                      uintptr_t unit) {
  sigset_t before;
  bool room;

  lock(&ranges_lock, &before);
  room = r->n < MAX_RANGES;
  if (room) r->at[r->n++] = (struct range){start, start + len, unit};
  unlock(&ranges_lock, &before);
  return room;
}

/* False: [start, end) would cut one inside its unit. */
static bool range_may_cut(struct ranges* r, uintptr_t start, uintptr_t end) {
  sigset_t before;
  bool ok = true;

  if (atomic_load(&r->n) == 0) return true;
  lock(&ranges_lock, &before);
  for (unsigned int i = 0; i < r->n; i++) {
    const struct range* a = &r->at[i];

    if (start > a->start && start < a->end && start % a->unit) ok = false;
    if (end > a->start && end < a->end && end % a->unit) ok = false;
  }
  unlock(&ranges_lock, &before);
  return ok;
}

static bool range_touches(struct ranges* r, uintptr_t start, uintptr_t end) {
  sigset_t before;
  bool touches = false;

  if (atomic_load(&r->n) == 0) return false;
  lock(&ranges_lock, &before);
  for (unsigned int i = 0; i < r->n; i++) {
    if (r->at[i].start < end && start < r->at[i].end) touches = true;
  }
  unlock(&ranges_lock, &before);
  return touches;
}

static void range_remove(struct ranges* r, uintptr_t start, uintptr_t end) {
  sigset_t before;

  if (atomic_load(&r->n) == 0) return;
  lock(&ranges_lock, &before);
  for (unsigned int i = 0; i < r->n;) {
    struct range* a = &r->at[i];
    const struct range old = *a;

    if (old.start >= end || start >= old.end) {
      i++;
      continue;
    }
    if (old.start < start && old.end > end && r->n < MAX_RANGES) {
      r->at[r->n++] = (struct range){end, old.end, old.unit};
    }
    if (old.start < start) {
      a->end = start;
      i++;
    } else if (old.end > end) {
      a->start = end;
      i++;
    } else {
      *a = r->at[--r->n];
    }
  }
  unlock(&ranges_lock, &before);
}

/* What is mapped there is about to go. 0, or the error that forbids it: also
   when the lab kernel cannot be told, for want of a descriptor. */
static int before_unmap(uintptr_t start, size_t len, bool drops_mappings) {
  const struct lab_shared* page = atomic_load(&shared);
  struct lab_request req = {.op = LAB_MUNMAP, .arg = {start, len}};
  struct lab_reply reply;
  uintptr_t end;
  int rc;

  if (len == 0 || start % (uintptr_t)page_size ||
      len > UINTPTR_MAX - start - (uintptr_t)page_size || !kernel_pid) {
    return 0; /* the host says what is wrong */
  }
  len = (len + (size_t)page_size - 1) & -(size_t)page_size;
  end = start + len;
  if (drops_mappings) {
    if (!range_may_cut(&huge_maps, start, end)) return -EINVAL;
    if (range_touches(&lab_maps, start, end)) {
      /* A lab kernel that is gone holds nothing. */
      rc = call(&req, -1, &reply, NULL);
      if (is_full(rc)) return -ENOMEM;
      if (!rc && reply.result < 0) return (int)reply.result;
      range_remove(&lab_maps, start, end);
    }
    range_remove(&huge_maps, start, end);
  }
  if (page != NULL && __atomic_load_n(&page->private_pages, __ATOMIC_ACQUIRE)) {
    req.op = LAB_PRESERVE;
    if (is_full(call(&req, -1, &reply, NULL))) return -ENOMEM;
  }
  return 0;
}

static TLS sigset_t fork_mask;

static void fork_prepare(void) {
  sigset_t all;

  lock(&process_lock, &fork_mask);
  lock(&ranges_lock, &all);
}

static void fork_parent(void) {
  pthread_mutex_unlock(&ranges_lock);
  unlock(&process_lock, &fork_mask);
}

static void fork_child(void) {
  const int saved = errno;
  uint64_t nonce;

  pthread_mutex_unlock(&ranges_lock);
  pthread_mutex_unlock(&process_lock);
  forget_process();
  pthread_sigmask(SIG_SETMASK, &fork_mask, NULL);
  /* Mappings that were inherited have a second owner from now on. */
  if (atomic_load(&lab_maps.n) != 0) process_name(&nonce);
  errno = saved;
}

/* ---- open ---- */

/* None of ours is as long, and a program's stack may be small. */
#define MAX_PATH 256

enum path_kind {
  PATH_OTHER,
  PATH_IOMMU,
  PATH_VFIO,
  PATH_FAIL_NTH,
  PATH_STATUS,
  PATH_DEBUG,
};

struct lab_path {
  enum path_kind kind;
  pid_t pid;
  pid_t tid;
  char debug[sizeof(debug_path) + MAX_PATH];
};

static bool eat(const char** p, const char* word) {
  const size_t n = strlen(word);

  if (strncmp(*p, word, n) != 0) return false;
  *p += n;
  return true;
}

static bool eat_number(const char** p, pid_t* number) {
  char* end;
  long n;

  if (**p < '1' || **p > '9') return false;
  n = strtol(*p, &end, 10);
  if (n > INT_MAX) return false;
  *p = end;
  *number = (pid_t)n;
  return true;
}

static void proc_path(const char* p, struct lab_path* out) {
  bool is_task = false;

  if (eat(&p, "thread-self/")) {
    out->pid = getpid();
    out->tid = (pid_t)SYS(gettid);
    is_task = true;
  } else if (eat(&p, "self/")) {
    out->pid = out->tid = getpid();
  } else if (eat_number(&p, &out->pid) && eat(&p, "/")) {
    out->tid = out->pid;
  } else {
    return;
  }
  if (!is_task && eat(&p, "task/") &&
      (!eat_number(&p, &out->tid) || !eat(&p, "/"))) {
    return;
  }
  if (strcmp(p, "fail-nth") == 0) out->kind = PATH_FAIL_NTH;
  if (strcmp(p, "status") == 0) out->kind = PATH_STATUS;
}

static enum path_kind look_at(const char* path, struct lab_path* out) {
  char flat[MAX_PATH];
  const char* p = flat;
  size_t n = 0;

  out->kind = PATH_OTHER;
  if (path == NULL || path[0] != '/' || !ready()) return PATH_OTHER;
  /* Only these begin like ours. */
  while (path[1] == '/') path++;
  if (path[1] != 'd' && path[1] != 'p' && path[1] != 's') return PATH_OTHER;
  for (; *path != '\0' && n < sizeof(flat) - 1; path++) {
    if (path[0] == '/' && path[1] == '/') continue;
    if (path[0] == '/' && path[1] == '.' && path[2] == '/') {
      path++;
      continue;
    }
    flat[n++] = *path;
  }
  if (*path != '\0') return PATH_OTHER;
  flat[n] = '\0';
  if (strcmp(flat, "/dev/iommu") == 0) {
    out->kind = PATH_IOMMU;
  } else if (strcmp(flat, "/dev/vfio/vfio") == 0) {
    out->kind = PATH_VFIO;
  } else if (eat(&p, "/proc/")) {
    proc_path(p, out);
  } else if (eat(&p, "/sys/kernel/debug") && (*p == '/' || *p == '\0')) {
    const size_t base = strlen(debug_path);

    if (base + strlen(p) >= sizeof(out->debug)) return PATH_OTHER;
    memcpy(out->debug, debug_path, base);
    strcpy(out->debug + base, p);
    out->kind = PATH_DEBUG;
  }
  return out->kind;
}

/* Asks for a new file. A descriptor or -errno. */
static int open_lab(uint32_t kind, int flags, pid_t pid, pid_t tid) {
  struct lab_request req = {
      .op = LAB_OPEN,
      .kind = kind,
      .arg = {(uint32_t)flags, (uint32_t)pid, (uint32_t)tid}};
  struct lab_reply reply;
  int fd;
  int rc = call(&req, -1, &reply, &fd);

  if (rc) return rc;
  if (reply.result < 0) return (int)reply.result;
  if (fd == -1) return -EIO;
  if (fd >= 0 && !(flags & O_CLOEXEC)) SYS(fcntl, fd, F_SETFD, 0);
  return fd;
}

/* True: it was ours, *fd is the result. *path may become another one. */
static bool open_ours(const char** path, int flags, struct lab_path* p,
                      int* fd) {
  switch (look_at(*path, p)) {
    case PATH_OTHER:
      return false;
    case PATH_IOMMU:
      *fd = open_lab(LAB_OPEN_IOMMU, flags, 0, 0);
      return true;
    case PATH_VFIO:
      *fd = open_lab(LAB_OPEN_VFIO, flags, 0, 0);
      return true;
    case PATH_FAIL_NTH:
      *fd = open_lab(LAB_OPEN_FAIL_NTH, flags, p->pid, p->tid);
      return true;
    case PATH_STATUS:
      /* Of a process that has nothing to do with the lab: the host's. */
      *fd = open_lab(LAB_OPEN_STATUS, flags, p->pid, p->tid);
      return *fd != -EXDEV && *fd != -EIO;
    case PATH_DEBUG:
      *path = p->debug;
      return false;
  }
  return false;
}

#define NEEDS_MODE(flags) \
  ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE)
#define MODE_OF(flags, last)                     \
  ({                                             \
    mode_t mode_ = 0;                            \
    if (NEEDS_MODE(flags)) {                     \
      va_list ap_;                               \
      va_start(ap_, last);                       \
      mode_ = (mode_t)va_arg(ap_, unsigned int); \
      va_end(ap_);                               \
    }                                            \
    mode_;                                       \
  })

#define DEFINE_OPEN(name)                                              \
  EXPORT int name(const char* path, int flags, ...) {                  \
    const mode_t mode = MODE_OF(flags, flags);                         \
    struct lab_path p;                                                 \
    int fd;                                                            \
                                                                       \
    if (open_ours(&path, flags, &p, &fd)) return (int)libc_result(fd); \
    return NEXT(name)(path, flags, mode);                              \
  }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_OPENAT(name)                                            \
  EXPORT int name(int dir, const char* path, int flags, ...) {         \
    const mode_t mode = MODE_OF(flags, flags);                         \
    struct lab_path p;                                                 \
    int fd;                                                            \
                                                                       \
    if (open_ours(&path, flags, &p, &fd)) return (int)libc_result(fd); \
    return NEXT(name)(dir, path, flags, mode);                         \
  }
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

int __open_2(const char* path, int flags);
int __open64_2(const char* path, int flags);
int __openat_2(int dir, const char* path, int flags);
int __openat64_2(int dir, const char* path, int flags);

#define DEFINE_OPEN_2(name)                                            \
  EXPORT int name(const char* path, int flags) {                       \
    struct lab_path p;                                                 \
    int fd;                                                            \
                                                                       \
    if (open_ours(&path, flags, &p, &fd)) return (int)libc_result(fd); \
    return NEXT(name)(path, flags);                                    \
  }
DEFINE_OPEN_2(__open_2)
DEFINE_OPEN_2(__open64_2)

#define DEFINE_OPENAT_2(name)                                          \
  EXPORT int name(int dir, const char* path, int flags) {              \
    struct lab_path p;                                                 \
    int fd;                                                            \
                                                                       \
    if (open_ours(&path, flags, &p, &fd)) return (int)libc_result(fd); \
    return NEXT(name)(dir, path, flags);                               \
  }
DEFINE_OPENAT_2(__openat_2)
DEFINE_OPENAT_2(__openat64_2)

#define DEFINE_CREAT(name)                                       \
  EXPORT int name(const char* path, mode_t mode) {               \
    struct lab_path p;                                           \
    int fd;                                                      \
                                                                 \
    if (open_ours(&path, O_CREAT | O_WRONLY | O_TRUNC, &p, &fd)) \
      return (int)libc_result(fd);                               \
    return NEXT(name)(path, mode);                               \
  }
DEFINE_CREAT(creat)
DEFINE_CREAT(creat64)

EXPORT DIR* opendir(const char* path) {
  struct lab_path p;

  return NEXT(opendir)(look_at(path, &p) == PATH_DEBUG ? p.debug : path);
}

/* ---- close: ours stay ---- */

EXPORT int close(int fd) {
  if (is_own_fd((unsigned int)fd)) {
    errno = EBADF;
    return -1;
  }
  return NEXT(close)(fd);
}

/* [first, last] in pieces that leave ours out. */
static long close_pieces(unsigned int first, unsigned int last, int flags) {
  unsigned int from = first;
  long rc;

  for (unsigned int i = first / 64; i < MAX_OWN_FD / 64 && i <= last / 64;
       i++) {
    uint64_t bits = atomic_load(&own_fds[i]);

    for (; bits != 0; bits &= bits - 1) {
      const unsigned int fd = i * 64 + (unsigned int)__builtin_ctzll(bits);

      if (fd < first || fd > last) continue;
      if (fd > from) {
        rc = SYS(close_range, from, fd - 1, flags);
        if (rc) return rc;
      }
      from = fd + 1;
    }
  }
  return from > last || from < first ? 0 : SYS(close_range, from, last, flags);
}

EXPORT int close_range(unsigned int first, unsigned int last, int flags) {
  /* What is wrong with it, the host says. */
  if (first > last) {
    return (int)libc_result(SYS(close_range, first, last, flags));
  }
  return (int)libc_result(close_pieces(first, last, flags));
}

EXPORT void closefrom(int lowest) {
  if (lowest < 0) lowest = 0;
  if (close_pieces((unsigned int)lowest, ~0U, 0)) {
    struct rlimit lim = {1024, 1024};

    SYS(prlimit64, 0, RLIMIT_NOFILE, NULL, &lim);
    for (rlim_t fd = (rlim_t)lowest; fd < lim.rlim_cur && fd < INT_MAX; fd++) {
      if (!is_own_fd((unsigned int)fd)) SYS(close, fd);
    }
  }
}

EXPORT int dup2(int from, int to) {
  if (is_own_fd((unsigned int)from) || is_own_fd((unsigned int)to)) {
    errno = EBADF;
    return -1;
  }
  return NEXT(dup2)(from, to);
}

EXPORT int dup3(int from, int to, int flags) {
  if (is_own_fd((unsigned int)from) || is_own_fd((unsigned int)to)) {
    errno = EBADF;
    return -1;
  }
  return NEXT(dup3)(from, to, flags);
}

/* ---- ioctl ---- */

/* A number into the program's memory, which may have gone meanwhile. */
static bool store_number(uint64_t at, int number) {
  struct iovec ours = {&number, sizeof(number)};
  struct iovec theirs = {(void*)(uintptr_t)at, sizeof(number)};

  return SYS(process_vm_writev, getpid(), &ours, 1, &theirs, 1, 0) ==
         (long)sizeof(number);
}

EXPORT int ioctl(int fd, unsigned long cmd, ...) {
  struct lab_request req = {.op = LAB_IOCTL};
  struct lab_reply reply;
  va_list ap;
  void* arg;
  int got;
  int rc;

  va_start(ap, cmd);
  arg = va_arg(ap, void*);
  va_end(ap);
  if (cmd == FIOCLEX || cmd == FIONCLEX || cmd == FIONBIO || cmd == FIOASYNC ||
      !lab_file(fd, &req.file)) {
    return NEXT(ioctl)(fd, cmd, arg);
  }
  req.arg[0] = (uint32_t)cmd;
  req.arg[1] = (uintptr_t)arg;
  rc = call(&req, -1, &reply, &got);
  if (rc) return (int)libc_result(rc);
  if (got == -EMFILE) return (int)libc_result(got);
  if (got >= 0) {
    /* As the kernel makes them: closed by an exec. */
    if (reply.store_at == 0) {
      reply.result = got;
    } else if (!store_number(reply.store_at, got)) {
      SYS(close, got);
      reply.result = -EFAULT;
    }
  }
  return (int)libc_result(reply.result);
}

/* ---- read and write ---- */

/* offset: -1 for the file's own. */
static ssize_t transfer(uint32_t op, int fd, uint64_t ino, const void* buf,
                        size_t n, off_t offset) {
  struct lab_request req = {.op = op,
                            .kind = offset >= 0,
                            .file = ino,
                            .arg = {(uintptr_t)buf, n, (uint64_t)offset}};
  struct lab_reply reply;
  char byte;
  const int rc = call(&req, -1, &reply, NULL);

  if (rc) return libc_result(rc);
  for (; reply.drain != 0; reply.drain--) {
    SYS(recvfrom, fd, &byte, 1, MSG_DONTWAIT, NULL, NULL);
  }
  return libc_result(reply.result);
}

static ssize_t transfer_vector(uint32_t op, int fd, uint64_t ino,
                               const struct iovec* iov, int n) {
  ssize_t done = 0;

  if (n < 0 || n > IOV_MAX) {
    errno = EINVAL;
    return -1;
  }
  for (int i = 0; i < n; i++) {
    const ssize_t got =
        transfer(op, fd, ino, iov[i].iov_base, iov[i].iov_len, -1);

    if (got < 0) return done > 0 ? done : got;
    done += got;
    if ((size_t)got != iov[i].iov_len) break;
  }
  return done;
}

EXPORT ssize_t read(int fd, void* buf, size_t n) {
  uint64_t ino;

  if (lab_file(fd, &ino)) return transfer(LAB_READ, fd, ino, buf, n, -1);
  return NEXT(read)(fd, buf, n);
}

EXPORT ssize_t write(int fd, const void* buf, size_t n) {
  uint64_t ino;

  if (lab_file(fd, &ino)) return transfer(LAB_WRITE, fd, ino, buf, n, -1);
  return NEXT(write)(fd, buf, n);
}

#define DEFINE_AT(name, op, pointer)                                 \
  EXPORT ssize_t name(int fd, pointer buf, size_t n, off_t offset) { \
    uint64_t ino;                                                    \
                                                                     \
    if (offset >= 0 && lab_file(fd, &ino))                           \
      return transfer(op, fd, ino, buf, n, offset);                  \
    return NEXT(name)(fd, buf, n, offset);                           \
  }
DEFINE_AT(pread, LAB_READ, void*)
DEFINE_AT(pread64, LAB_READ, void*)
DEFINE_AT(pwrite, LAB_WRITE, const void*)
DEFINE_AT(pwrite64, LAB_WRITE, const void*)

EXPORT ssize_t readv(int fd, const struct iovec* iov, int n) {
  uint64_t ino;

  if (lab_file(fd, &ino)) return transfer_vector(LAB_READ, fd, ino, iov, n);
  return NEXT(readv)(fd, iov, n);
}

EXPORT ssize_t writev(int fd, const struct iovec* iov, int n) {
  uint64_t ino;

  if (lab_file(fd, &ino)) return transfer_vector(LAB_WRITE, fd, ino, iov, n);
  return NEXT(writev)(fd, iov, n);
}

ssize_t __read_chk(int fd, void* buf, size_t n, size_t room);
ssize_t __pread_chk(int fd, void* buf, size_t n, off_t offset, size_t room);
ssize_t __pread64_chk(int fd, void* buf, size_t n, off_t offset, size_t room);

EXPORT ssize_t __read_chk(int fd, void* buf, size_t n, size_t room) {
  uint64_t ino;

  if (n <= room && lab_file(fd, &ino)) {
    return transfer(LAB_READ, fd, ino, buf, n, -1);
  }
  return NEXT(__read_chk)(fd, buf, n, room);
}

#define DEFINE_AT_CHK(name)                                      \
  EXPORT ssize_t name(int fd, void* buf, size_t n, off_t offset, \
                      size_t room) {                             \
    uint64_t ino;                                                \
                                                                 \
    if (n <= room && offset >= 0 && lab_file(fd, &ino))          \
      return transfer(LAB_READ, fd, ino, buf, n, offset);        \
    return NEXT(name)(fd, buf, n, offset, room);                 \
  }
DEFINE_AT_CHK(__pread_chk)
DEFINE_AT_CHK(__pread64_chk)

/* ---- streams ---- */

static ssize_t cookie_read(void* cookie, char* buf, size_t n) {
  return read((int)(intptr_t)cookie, buf, n);
}

static ssize_t cookie_write(void* cookie, const char* buf, size_t n) {
  const ssize_t done = write((int)(intptr_t)cookie, buf, n);

  return done < 0 ? 0 : done;
}

static int cookie_close(void* cookie) { return close((int)(intptr_t)cookie); }

/* True: the mode of fopen() as open flags. */
static bool stream_flags(const char* mode, int* flags) {
  const bool both = strchr(mode, '+') != NULL;

  if (mode[0] != 'r' && mode[0] != 'w' && mode[0] != 'a') return false;
  *flags = both ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY;
  if (strchr(mode, 'e') != NULL) *flags |= O_CLOEXEC;
  return true;
}

/* True: *stream is the result. libc's own streams read with calls of its own,
   so a stream on a lab file has ours. */
static bool fopen_ours(const char** path, const char* mode, struct lab_path* p,
                       FILE** stream) {
  static const cookie_io_functions_t lab_stream = {
      .read = cookie_read, .write = cookie_write, .close = cookie_close};
  int flags;
  int fd;

  *stream = NULL;
  if (mode == NULL || !stream_flags(mode, &flags)) return false;
  if (!open_ours(path, flags, p, &fd)) return false;
  if (libc_result(fd) < 0) return true;
  *stream = p->kind == PATH_STATUS
                ? fdopen(fd, mode)
                : fopencookie((void*)(intptr_t)fd, mode, lab_stream);
  if (*stream == NULL) {
    SYS(close, fd);
  } else if (p->kind == PATH_FAIL_NTH) {
    setvbuf(*stream, NULL, _IONBF, 0);
  }
  return true;
}

#define DEFINE_FOPEN(name)                                   \
  EXPORT FILE* name(const char* path, const char* mode) {    \
    struct lab_path p;                                       \
    FILE* stream;                                            \
                                                             \
    if (fopen_ours(&path, mode, &p, &stream)) return stream; \
    return NEXT(name)(path, mode);                           \
  }
DEFINE_FOPEN(fopen)
DEFINE_FOPEN(fopen64)

/* ---- memory ---- */

static bool map_failed(long addr) { return addr < 0 && addr > -4096; }

static long host_mmap(uintptr_t addr, size_t len, int prot, int flags, int fd,
                      off_t offset) {
  return SYS(mmap, addr, len, prot, flags, fd, offset);
}

static void* map_result(long addr) {
  if (map_failed(addr)) {
    errno = (int)-addr;
    return MAP_FAILED;
  }
  return (void*)addr;
}

/* The lab kernel is to know the file as memory. */
static void register_file(int fd, bool huge) {
  struct lab_request req = {.op = LAB_REGISTER, .kind = huge};
  struct lab_reply reply;

  call(&req, fd, &reply, NULL);
}

static bool is_memory_file(int fd) { return SYS(fcntl, fd, F_GET_SEALS) >= 0; }

/* Where MAP_FIXED does not say it: addresses of @len bytes with nothing
   behind them, aligned. */
static long reserve(uintptr_t addr, size_t len, size_t align) {
  const size_t more = align > (size_t)page_size ? len + align : len;
  long at;
  uintptr_t start;

  if (more < len) return -ENOMEM;
  at = host_mmap(addr, more, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map_failed(at) || more == len) return at;
  start = ((uintptr_t)at + align - 1) & -align;
  if (start != (uintptr_t)at) SYS(munmap, at, start - (uintptr_t)at);
  SYS(munmap, start + len, (uintptr_t)at + more - (start + len));
  return (long)start;
}

static long map_lab_file(uint64_t ino, uintptr_t addr, size_t len, int prot,
                         int flags, off_t offset) {
  const bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
  const size_t whole = (len + (size_t)page_size - 1) & -(size_t)page_size;
  struct lab_request req = {.op = LAB_MMAP, .file = ino};
  struct lab_reply reply;
  long at = (long)addr;
  long rc;
  int fd;

  if (offset % page_size || len == 0) return -EINVAL;
  if (whole == 0) return -ENOMEM;
  if (flags & MAP_FIXED && addr % (uintptr_t)page_size) return -EINVAL;
  if (flags & MAP_FIXED) {
    rc = before_unmap(addr, len, true);
    if (rc) return rc;
  } else if (fixed) {
    at = host_mmap(
        addr, len, PROT_NONE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
        0);
  } else {
    at = reserve(addr, whole, (size_t)page_size);
  }
  if (map_failed(at)) return at;
  req.arg[0] = (uint64_t)at;
  req.arg[1] = len;
  req.arg[2] = (uint32_t)prot;
  req.arg[3] = (uint32_t)flags;
  req.arg[4] = (uint64_t)offset;
  rc = call(&req, -1, &reply, &fd);
  if (is_full(rc)) rc = -ENOMEM;
  if (!rc) rc = reply.result;
  const bool mapped = !rc;
  if (!rc && fd == -EMFILE) rc = -ENOMEM;
  if (!rc && !range_add(&lab_maps, (uintptr_t)at, whole, (size_t)page_size)) {
    rc = -ENOMEM;
  }
  if (!rc && fd >= 0) {
    rc = host_mmap((uintptr_t)at, whole, prot, MAP_SHARED | MAP_FIXED, fd,
                   (off_t)reply.value);
    rc = map_failed(rc) ? rc : 0;
  } else if (!rc) {
    rc = host_mmap((uintptr_t)at, whole, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                   0);
    rc = map_failed(rc) ? rc : 0;
  }
  if (fd >= 0) SYS(close, fd);
  if (rc && mapped) {
    range_remove(&lab_maps, (uintptr_t)at, (uintptr_t)at + whole);
    req.op = LAB_MUNMAP;
    call(&req, -1, &reply, NULL);
  }
  if (rc && !(flags & MAP_FIXED)) SYS(munmap, at, whole);
  return rc ? rc : at;
}

/* Anonymous memory that is shared, or stands for huge pages. */
static long map_special(uintptr_t addr, size_t len, int prot, int flags) {
  const bool share = (flags & MAP_TYPE) != MAP_PRIVATE;
  const bool huge = flags & MAP_HUGETLB;
  const unsigned int bits =
      (unsigned int)flags >> MAP_HUGE_SHIFT & HUGE_SIZE_MASK;
  const size_t unit =
      huge ? (size_t)1 << (bits ? bits : 21) : (size_t)page_size;
  const int keep = flags & ~(MAP_HUGETLB | HUGE_SIZE_MASK << MAP_HUGE_SHIFT);
  long at = (long)addr;
  long fd = -1;
  long rc;

  if (huge && unit < (size_t)page_size) return -EINVAL;
  if (len > SIZE_MAX - unit) return -ENOMEM;
  len = (len + unit - 1) & -unit;
  if (huge && flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) && addr % unit) {
    return -EINVAL;
  }
  if (share) {
    fd = SYS(memfd_create, LAB_MEMFD_NAME, MFD_CLOEXEC);
    if (fd < 0) return fd == -EMFILE || fd == -ENFILE ? -ENOMEM : fd;
    rc = SYS(ftruncate, fd, len);
    if (rc) {
      SYS(close, fd);
      return -ENOMEM;
    }
  }
  if (huge && !(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))) {
    at = reserve(addr, len, unit);
    if (!map_failed(at)) {
      at = host_mmap(
          (uintptr_t)at, len, prot,
          share ? (keep & ~MAP_ANONYMOUS) | MAP_FIXED : keep | MAP_FIXED,
          (int)fd, 0);
    }
  } else {
    at = host_mmap(addr, len, prot, share ? keep & ~MAP_ANONYMOUS : keep,
                   (int)fd, 0);
  }
  if (!map_failed(at)) {
    if (share) register_file((int)fd, huge);
    if (huge) range_add(&huge_maps, (uintptr_t)at, len, unit);
  }
  if (fd >= 0) SYS(close, fd);
  return at;
}

static long map(uintptr_t addr, size_t len, int prot, int flags, int fd,
                off_t offset) {
  const int type = flags & MAP_TYPE;
  const bool share = type == MAP_SHARED || type == MAP_SHARED_VALIDATE;
  uint64_t ino;
  long at;

  if (!(flags & MAP_ANONYMOUS) && lab_file(fd, &ino)) {
    return map_lab_file(ino, addr, len, prot, flags, offset);
  }
  if (!ready() || len == 0) {
    return host_mmap(addr, len, prot, flags, fd, offset);
  }
  if (flags & MAP_FIXED) {
    at = before_unmap(addr, len, true);
    if (at) return at;
  }
  if (flags & MAP_ANONYMOUS) {
    if (type == MAP_SHARED) return map_special(addr, len, prot, flags);
    at = host_mmap(addr, len, prot, flags, fd, offset);
    if (map_failed(at) && flags & MAP_HUGETLB && type == MAP_PRIVATE &&
        at != -EEXIST) {
      at = map_special(addr, len, prot, flags);
    }
    return at;
  }
  at = host_mmap(addr, len, prot, flags, fd, offset);
  if (!map_failed(at) && share && is_memory_file(fd)) register_file(fd, false);
  return at;
}

EXPORT void* mmap(void* addr, size_t len, int prot, int flags, int fd,
                  off_t offset) {
  return map_result(map((uintptr_t)addr, len, prot, flags, fd, offset));
}

EXPORT void* mmap64(void* addr, size_t len, int prot, int flags, int fd,
                    off64_t offset) {
  return map_result(map((uintptr_t)addr, len, prot, flags, fd, offset));
}

EXPORT int munmap(void* addr, size_t len) {
  const int rc = ready() ? before_unmap((uintptr_t)addr, len, true) : 0;

  return (int)libc_result(rc ? rc : SYS(munmap, addr, len));
}

EXPORT void* mremap(void* old, size_t old_len, size_t len, int flags, ...) {
  void* to = NULL;
  va_list ap;

  if (flags & MREMAP_FIXED) {
    va_start(ap, flags);
    to = va_arg(ap, void*);
    va_end(ap);
  }
  if (ready()) {
    const uintptr_t start = (uintptr_t)old;
    const size_t n = old_len != 0 ? old_len : (size_t)page_size;
    int rc;

    if (range_touches(&lab_maps, start, start + n)) return map_result(-EFAULT);
    if (range_touches(&huge_maps, start, start + n)) return map_result(-EINVAL);
    rc = before_unmap(start, old_len, false);
    if (!rc && flags & MREMAP_FIXED)
      rc = before_unmap((uintptr_t)to, len, true);
    if (rc) return map_result(rc);
  }
  return map_result(SYS(mremap, old, old_len, len, flags, to));
}

EXPORT int madvise(void* addr, size_t len, int advice) {
  if (ready() &&
      (advice == MADV_DONTNEED || advice == MADV_FREE ||
       advice == 24 /* MADV_DONTNEED_LOCKED */) &&
      before_unmap((uintptr_t)addr, len, false)) {
    return (int)libc_result(-EAGAIN);
  }
  return (int)libc_result(SYS(madvise, addr, len, advice));
}

EXPORT int memfd_create(const char* name, unsigned int flags) {
  const unsigned int bits = flags >> MAP_HUGE_SHIFT & HUGE_SIZE_MASK;
  const size_t unit = (size_t)1 << (bits ? bits : 21);
  long fd = SYS(memfd_create, name, flags);
  long at = -ENOMEM;

  if (!(flags & MFD_HUGETLB) || !ready()) return (int)libc_result(fd);
  /* The host may make the file and have no pages for it. */
  if (fd >= 0) {
    if (SYS(ftruncate, fd, unit) == 0) {
      at = host_mmap(0, unit, PROT_READ, MAP_SHARED, (int)fd, 0);
      if (!map_failed(at)) SYS(munmap, at, unit);
      SYS(ftruncate, fd, 0);
    }
    if (!map_failed(at)) return (int)fd;
    SYS(close, fd);
  } else if (fd == -EFAULT || fd == -EMFILE || fd == -ENFILE) {
    return (int)libc_result(fd);
  }
  flags &= ~(MFD_HUGETLB | (unsigned int)HUGE_SIZE_MASK << MAP_HUGE_SHIFT);
  fd = SYS(memfd_create, name, flags);
  if (fd >= 0) register_file((int)fd, true);
  return (int)libc_result(fd);
}
