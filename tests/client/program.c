/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The programs that client_test.cc runs under the client: one for each name
 * that the first argument can be. Each prints the first thing that was not as
 * on a real kernel, and then does not end with 0.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/client/protocol.h"
#include "uapi/iommufd.h"
#include "uapi/iommufd_test.h"
#include "uapi/vfio.h"

#define PAGE 4096UL
#define HUGE (2UL << 20)

static void Stop(int line, const char* what) {
  const int saved = errno;

  fprintf(stderr, "program.c:%d: not so: %s (errno %d: %s)\n", line, what,
          saved, strerror(saved));
  _exit(1);
}
#define MUST(what)                      \
  do {                                  \
    if (!(what)) Stop(__LINE__, #what); \
  } while (0)
#define FAILS(with, what)                                                  \
  do {                                                                     \
    errno = 0;                                                             \
    if ((what) != -1 || errno != (with)) Stop(__LINE__, #with ": " #what); \
  } while (0)

/* ---- calls ---- */

static int Open(void) {
  const int fd = open("/dev/iommu", O_RDWR);

  MUST(fd >= 0);
  return fd;
}

static uint32_t Ioas(int fd) {
  struct iommu_ioas_alloc cmd = {.size = sizeof(cmd)};

  MUST(ioctl(fd, IOMMU_IOAS_ALLOC, &cmd) == 0);
  return cmd.out_ioas_id;
}

static int Destroy(int fd, uint32_t id) {
  struct iommu_destroy cmd = {.size = sizeof(cmd), .id = id};

  return ioctl(fd, IOMMU_DESTROY, &cmd);
}

static uint64_t Map(int fd, uint32_t ioas, void* at, size_t length) {
  struct iommu_ioas_map cmd = {
      .size = sizeof(cmd),
      .flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
      .ioas_id = ioas,
      .user_va = (uintptr_t)at,
      .length = length};

  MUST(ioctl(fd, IOMMU_IOAS_MAP, &cmd) == 0);
  return cmd.iova;
}

static int MapFile(int fd, uint32_t ioas, int file, size_t length) {
  struct iommu_ioas_map_file cmd = {
      .size = sizeof(cmd),
      .flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
      .ioas_id = ioas,
      .fd = file,
      .length = length};

  return ioctl(fd, IOMMU_IOAS_MAP_FILE, &cmd);
}

static int Unmap(int fd, uint32_t ioas, uint64_t iova, uint64_t length) {
  struct iommu_ioas_unmap cmd = {
      .size = sizeof(cmd), .ioas_id = ioas, .iova = iova, .length = length};

  return ioctl(fd, IOMMU_IOAS_UNMAP, &cmd);
}

/* Pins everything that is mapped in the ioas. */
static uint32_t Domain(int fd, uint32_t ioas) {
  struct iommu_test_cmd cmd = {
      .size = sizeof(cmd), .op = IOMMU_TEST_OP_MOCK_DOMAIN, .id = ioas};

  MUST(ioctl(fd, IOMMU_TEST_CMD, &cmd) == 0);
  return cmd.mock_domain.out_stdev_id;
}

/* The pins on each page of the range; through any context. */
static bool HasPins(int fd, void* at, size_t length, uint32_t pins) {
  struct iommu_test_cmd cmd = {
      .size = sizeof(cmd),
      .op = IOMMU_TEST_OP_MD_CHECK_REFS,
      .check_refs = {.length = length, .uptr = (uintptr_t)at, .refs = pins}};

  return ioctl(fd, IOMMU_TEST_CMD, &cmd) == 0;
}

static int Access(int fd, uint32_t ioas) {
  struct iommu_test_cmd cmd = {.size = sizeof(cmd),
                               .op = IOMMU_TEST_OP_CREATE_ACCESS,
                               .id = ioas,
                               .create_access = {.flags = 0}};

  MUST(ioctl(fd, IOMMU_TEST_CMD, &cmd) == 0);
  return (int)cmd.create_access.out_access_fd;
}

static int Rw(int fd, int access, uint64_t iova, void* buf, size_t n,
              uint32_t flags) {
  struct iommu_test_cmd cmd = {
      .size = sizeof(cmd),
      .op = IOMMU_TEST_OP_ACCESS_RW,
      .id = (uint32_t)access,
      .access_rw = {
          .iova = iova, .length = n, .uptr = (uintptr_t)buf, .flags = flags}};

  return ioctl(fd, IOMMU_TEST_CMD, &cmd);
}

/* What the IOAS has at iova, in two pages that are pinned, begins with `text`.
   What is inside one page is looked up at the process's address instead. */
static bool Holds(int fd, int access, uint64_t iova, const char* text) {
  static char buf[2 * PAGE];

  return Rw(fd, access, iova, buf, PAGE + 1, MOCK_ACCESS_RW_SLOW_PATH) == 0 &&
         memcmp(buf, text, strlen(text)) == 0;
}

static void* Shared(size_t length) {
  void* at = mmap(NULL, length, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

  MUST(at != MAP_FAILED);
  return at;
}

static void* Private(size_t length) {
  void* at = mmap(NULL, length, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  MUST(at != MAP_FAILED);
  return at;
}

/* A context with `at` mapped and pinned. */
static int Pinned(void* at, size_t length) {
  const int fd = Open();
  const uint32_t ioas = Ioas(fd);

  Domain(fd, ioas);
  Map(fd, ioas, at, length);
  return fd;
}

static void WaitFor(pid_t pid) {
  int status;

  MUST(waitpid(pid, &status, 0) == pid);
  MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void Signal(int pipe) { MUST(write(pipe, "x", 1) == 1); }

static void Await(int pipe) {
  char c;

  MUST(read(pipe, &c, 1) == 1);
}

/* ---- the programs ---- */

static int Calls(void) {
  struct iovec iov[2];
  struct pollfd p;
  struct epoll_event event = {.events = EPOLLIN};
  char buf[64];
  fd_set set;
  FILE* stream;
  int fd, other, epoll;

  /* Every way to open it. */
  const int root = open("/", O_RDONLY | O_DIRECTORY);
  const int opened[] = {open("/dev/iommu", O_RDWR),
                        open64("/dev/iommu", O_RDWR | O_CLOEXEC),
                        openat(AT_FDCWD, "/dev/iommu", O_RDWR),
                        openat64(root, "/dev/iommu", O_RDWR),
                        open("//dev/./iommu", O_RDWR),
                        open("/dev/vfio/vfio", O_RDWR),
                        creat("/dev/iommu", 0600)};
  for (size_t i = 0; i < sizeof(opened) / sizeof(opened[0]); i++) {
    MUST(opened[i] >= 0);
    MUST(fcntl(opened[i], F_GETFD) == (i == 1 ? FD_CLOEXEC : 0));
    if (i != 5) Ioas(opened[i]);
    MUST(close(opened[i]) == 0);
    FAILS(EBADF, ioctl(opened[i], IOMMU_IOAS_ALLOC, NULL));
  }
  FAILS(EEXIST, open("/dev/iommu", O_RDWR | O_CREAT | O_EXCL, 0600));
  FAILS(ENOTDIR, open("/dev/iommu", O_RDONLY | O_DIRECTORY));
  const char* volatile nowhere = NULL;
  FAILS(EFAULT, open(nowhere, O_RDONLY));
  stream = fopen("/dev/iommu", "r+e");
  MUST(stream != NULL && fclose(stream) == 0);

  /* What is no business of ours. */
  fd = open("/proc/self/exe", O_RDONLY);
  MUST(fd >= 0 && read(fd, buf, 4) == 4 && memcmp(buf, "\177ELF", 4) == 0);
  MUST(pread(fd, buf, 3, 1) == 3 && memcmp(buf, "ELF", 3) == 0);
  FAILS(ENOTTY, ioctl(fd, IOMMU_IOAS_ALLOC, NULL));
  MUST(close(fd) == 0);
  MUST(close(root) == 0);

  fd = Open();
  FAILS(ENOTTY, ioctl(fd, _IO(IOMMUFD_TYPE, IOMMUFD_CMD_BASE - 1), buf));
  FAILS(EFAULT, ioctl(fd, IOMMU_IOAS_ALLOC, NULL));
  FAILS(EFAULT, ioctl(fd, IOMMU_IOAS_ALLOC, (void*)-1));
  FAILS(EFAULT, ioctl(fd, IOMMU_TEST_CMD, NULL));
  FAILS(ENOENT, Destroy(fd, 1234));
  MUST(ioctl(fd, FIOCLEX) == 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
  MUST(ioctl(fd, FIONCLEX) == 0 && fcntl(fd, F_GETFD) == 0);
  iov[0] = iov[1] = (struct iovec){buf, 8};
  FAILS(EINVAL, read(fd, buf, 8));
  FAILS(EINVAL, write(fd, buf, 8));
  FAILS(EINVAL, pread(fd, buf, 8, 0));
  FAILS(EINVAL, pwrite(fd, buf, 8, 0));
  FAILS(EINVAL, readv(fd, iov, 2));
  FAILS(EINVAL, writev(fd, iov, 2));
  FAILS(EINVAL, readv(fd, iov, -1));
  FAILS(ENXIO,
        mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
  FAILS(EINVAL,
        mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
  FAILS(EINVAL,
        mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
  other = open("/dev/iommu", O_RDONLY);
  MUST(other >= 0);
  FAILS(EACCES, mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other,
                     0) == MAP_FAILED
                    ? -1
                    : 0);
  FAILS(EBADF, write(other, buf, 1));

  /* It has no poll op: always ready. */
  p = (struct pollfd){.fd = fd, .events = POLLIN | POLLOUT};
  MUST(poll(&p, 1, 0) == 1 && p.revents == (POLLIN | POLLOUT));
  FD_ZERO(&set);
  FD_SET(fd, &set);
  MUST(select(fd + 1, &set, NULL, NULL, NULL) == 1 && FD_ISSET(fd, &set));
  epoll = epoll_create1(0);
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
  MUST(epoll_wait(epoll, &event, 1, 0) == 1);
  return 0;
}

static int Dup(void) {
  char* at = Shared(PAGE);
  const int watch = Open();
  const int fd = Pinned(at, PAGE);
  const int a = dup(fd);
  const int b = fcntl(fd, F_DUPFD_CLOEXEC, 100);
  const int c = dup2(fd, 200);
  const int d = dup3(fd, 201, O_CLOEXEC);

  MUST(a >= 0 && b >= 100 && c == 200 && d == 201);
  MUST(HasPins(watch, at, PAGE, 1));
  MUST(close(fd) == 0 && close(b) == 0 && close(c) == 0 && close(d) == 0);
  MUST(HasPins(watch, at, PAGE, 1));
  Ioas(a);
  /* Over the last one: it goes. */
  MUST(dup2(watch, a) == a);
  MUST(HasPins(watch, at, PAGE, 0));
  Ioas(a);
  return 0;
}

static int Fork(void) {
  char* at = Shared(PAGE);
  const int watch = Open();
  const int fd = Pinned(at, PAGE);
  int go[2];
  pid_t pid;

  MUST(pipe(go) == 0);
  pid = fork();
  if (pid == 0) {
    MUST(close(watch) == 0);
    Await(go[0]);
    /* The only one that still has it. */
    Ioas(fd);
    const int own = Open();
    MUST(HasPins(own, at, PAGE, 1));
    _exit(0);
  }
  MUST(close(fd) == 0);
  MUST(HasPins(watch, at, PAGE, 1));
  Signal(go[1]);
  WaitFor(pid);
  MUST(HasPins(watch, at, PAGE, 0));

  /* A process that only inherited it and knows nothing of the lab. */
  const int again = Pinned(at, PAGE);
  pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
  if (pid == 0) {
    char c;
    syscall(SYS_close, go[1]);
    syscall(SYS_read, go[0], &c, 1);
    syscall(SYS_exit_group, 0);
  }
  MUST(close(again) == 0);
  MUST(HasPins(watch, at, PAGE, 1));
  MUST(close(go[1]) == 0);
  WaitFor(pid);
  MUST(HasPins(watch, at, PAGE, 0));
  return 0;
}

static int ExecChild(const char* number, const char* closed) {
  const int fd = atoi(number);

  FAILS(EBADF, ioctl(atoi(closed), IOMMU_IOAS_ALLOC, NULL));
  Ioas(fd);
  MUST(close(fd) == 0);
  return 0;
}

static int Exec(void) {
  char* at = Shared(PAGE);
  char* own = Private(PAGE);
  const int watch = Open();
  const int fd = Pinned(at, PAGE);
  const int closed = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  char number[16], other[16];
  pid_t pid;

  snprintf(number, sizeof(number), "%d", fd);
  snprintf(other, sizeof(other), "%d", closed);
  pid = fork();
  if (pid == 0) {
    /* Is mapped, and pinned, by an image that goes. */
    Map(fd, Ioas(fd), own, PAGE);
    execl("/proc/self/exe", "program", "exec_child", number, other, NULL);
    _exit(1);
  }
  MUST(close(fd) == 0);
  MUST(close(closed) == 0);
  WaitFor(pid);
  MUST(HasPins(watch, at, PAGE, 0));
  return 0;
}

static void SendFd(int socket, int fd) {
  char control[CMSG_SPACE(sizeof(int))] = "";
  struct iovec iov = {"x", 1};
  struct msghdr msg = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
  struct cmsghdr* c = CMSG_FIRSTHDR(&msg);

  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(c), &fd, sizeof(int));
  MUST(sendmsg(socket, &msg, 0) == 1);
}

static int ReceiveFd(int socket) {
  char control[CMSG_SPACE(sizeof(int))];
  char byte;
  struct iovec iov = {&byte, 1};
  struct msghdr msg = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
  int fd;

  MUST(recvmsg(socket, &msg, 0) == 1);
  MUST(CMSG_FIRSTHDR(&msg) != NULL);
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
  return fd;
}

static int Pass(void) {
  char* at = Shared(PAGE);
  int ends[2];
  pid_t pid;

  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  pid = fork();
  if (pid == 0) {
    const int fd = ReceiveFd(ends[1]);
    Ioas(fd);
    Signal(ends[1]);
    Await(ends[1]);
    _exit(0);
  }
  const int watch = Open();
  const int fd = Pinned(at, PAGE);
  SendFd(ends[0], fd);
  /* In flight, or there already. */
  MUST(close(fd) == 0);
  MUST(HasPins(watch, at, PAGE, 1));
  Await(ends[0]);
  MUST(HasPins(watch, at, PAGE, 1));
  Signal(ends[0]);
  WaitFor(pid);
  MUST(HasPins(watch, at, PAGE, 0));
  return 0;
}

/* Killed in the middle of calls. */
static int Kill9(void) {
  char* at = Shared(16 * PAGE);
  atomic_int* rounds = Shared(PAGE);
  const int watch = Open();
  pid_t pid[2];

  for (int i = 0; i < 2; i++) {
    pid[i] = fork();
    if (pid[i] == 0) {
      char* own = at + 8 * i * PAGE;
      const int fd = Pinned(own, 8 * PAGE);
      char* private_memory = Private(8 * PAGE);
      for (;;) {
        const uint32_t ioas = Ioas(fd);
        const uint32_t dev = Domain(fd, ioas);
        Map(fd, ioas, private_memory, 8 * PAGE);
        MUST(Destroy(fd, dev) == 0);
        MUST(Destroy(fd, ioas) == 0);
        rounds[i]++;
      }
    }
  }
  while (rounds[0] < 5 || rounds[1] < 5) usleep(1000);
  MUST(HasPins(watch, at, 16 * PAGE, 1));
  MUST(kill(pid[0], SIGKILL) == 0);
  MUST(waitpid(pid[0], NULL, 0) == pid[0]);
  MUST(HasPins(watch, at, 8 * PAGE, 0));
  MUST(HasPins(watch, at + 8 * PAGE, 8 * PAGE, 1));
  const int before = rounds[1];
  while (rounds[1] < before + 5) usleep(1000);
  MUST(kill(pid[1], SIGKILL) == 0);
  MUST(waitpid(pid[1], NULL, 0) == pid[1]);
  MUST(HasPins(watch, at, 16 * PAGE, 0));
  return 0;
}

static int stopped_fd;
static void* CallStoppedKernel(void* rc) {
  struct iommu_ioas_alloc cmd = {.size = sizeof(cmd)};

  errno = 0;
  *(int*)rc = ioctl(stopped_fd, IOMMU_IOAS_ALLOC, &cmd) == -1 ? errno : 0;
  return NULL;
}

static int KernelDies(void) {
  const pid_t kernel = atoi(getenv(LAB_ENV_KERNEL));
  char buf[8];
  pthread_t blocked;
  int rc = -1;

  stopped_fd = Open();
  Ioas(stopped_fd);
  MUST(kill(kernel, SIGSTOP) == 0);
  MUST(pthread_create(&blocked, NULL, CallStoppedKernel, &rc) == 0);
  usleep(100000);
  MUST(kill(kernel, SIGKILL) == 0);
  MUST(pthread_join(blocked, NULL) == 0);
  MUST(rc == EIO);
  for (int i = 0; i < 2; i++) {
    FAILS(EIO, ioctl(stopped_fd, IOMMU_IOAS_ALLOC, NULL));
    FAILS(EIO, read(stopped_fd, buf, 8));
    FAILS(EIO, open("/dev/iommu", O_RDWR));
    FAILS(EIO, open("/proc/self/fail-nth", O_RDWR));
  }
  /* The rest of the world goes on. */
  memset(Shared(PAGE), 1, PAGE);
  MUST(close(stopped_fd) == 0);
  printf("EIO it is\n");
  return 0;
}

static _Atomic bool hammer_ends;
static void* Hammer(void* fd_as_pointer) {
  const int fd = (int)(intptr_t)fd_as_pointer;
  char* shared = Shared(4 * PAGE);
  char* own = Private(4 * PAGE);

  while (!hammer_ends) {
    const uint32_t ioas = Ioas(fd);
    const uint32_t dev = Domain(fd, ioas);
    const uint64_t iova = Map(fd, ioas, shared, 4 * PAGE);
    Map(fd, ioas, own, 4 * PAGE);
    MUST(Unmap(fd, ioas, iova, 4 * PAGE) == 0);
    FAILS(EBUSY, Destroy(fd, ioas));
    MUST(Destroy(fd, dev) == 0);
    MUST(Destroy(fd, ioas) == 0);
    FAILS(ENOENT, Destroy(fd, 1u << 30));
    MUST(munmap(own, 4 * PAGE) == 0);
    own = Private(4 * PAGE);
  }
  return NULL;
}

/* As many as two processes with 16 threads each can, for some time. */
static int HammerAll(const char* seconds) {
  pid_t pid = fork();
  pthread_t threads[16];
  const int fd = Open();

  for (int i = 0; i < 16; i++) {
    MUST(pthread_create(&threads[i], NULL, Hammer, (void*)(intptr_t)fd) == 0);
  }
  usleep((useconds_t)(atof(seconds) * 1e6));
  hammer_ends = true;
  for (int i = 0; i < 16; i++) MUST(pthread_join(threads[i], NULL) == 0);
  MUST(close(fd) == 0);
  if (pid == 0) _exit(0);
  WaitFor(pid);
  return 0;
}

/* Pins outlive what was mapped. */
static int Pins(void) {
  char* shared = Shared(2 * PAGE);
  char* own = Private(4 * PAGE);
  const int fd = Open();
  const uint32_t ioas = Ioas(fd);
  const int access = Access(fd, ioas);
  const int file = memfd_create("file", MFD_CLOEXEC);
  uint64_t iova[3];
  char* of_file;

  MUST(ftruncate(file, 2 * PAGE) == 0);
  of_file = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  MUST(of_file != MAP_FAILED);
  strcpy(shared, "shared");
  strcpy(own, "first");
  strcpy(own + PAGE, "second");
  strcpy(own + 2 * PAGE, "third");
  strcpy(of_file, "file");
  Domain(fd, ioas);
  iova[0] = Map(fd, ioas, shared, 2 * PAGE);
  iova[1] = Map(fd, ioas, own, 4 * PAGE);
  iova[2] = Map(fd, ioas, of_file, 2 * PAGE);
  MUST(HasPins(fd, shared, 2 * PAGE, 1) && HasPins(fd, own, 4 * PAGE, 1));
  MUST(HasPins(fd, of_file, 2 * PAGE, 1));

  /* The program and the devices see one memory. */
  strcpy(shared, "SHARED");
  MUST(Holds(fd, access, iova[0], "SHARED"));
  MUST(Rw(fd, access, iova[1], "FIRST", 6, MOCK_ACCESS_RW_WRITE) == 0);
  MUST(strcmp(own, "FIRST") == 0);

  MUST(munmap(shared, 2 * PAGE) == 0);
  MUST(munmap(own, PAGE) == 0);
  MUST(madvise(own + PAGE, PAGE, MADV_DONTNEED) == 0);
  MUST(own[PAGE] == 0);
  strcpy(own + PAGE, "new");
  MUST(mmap(own + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == own + 2 * PAGE);
  MUST(mremap(own + 3 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, own) ==
       own);
  MUST(munmap(of_file, 2 * PAGE) == 0);
  MUST(Holds(fd, access, iova[0], "SHARED"));
  MUST(Holds(fd, access, iova[1], "FIRST"));
  MUST(Holds(fd, access, iova[1] + PAGE, "second"));
  MUST(Holds(fd, access, iova[1] + 2 * PAGE, "third"));
  MUST(Holds(fd, access, iova[2], "file"));
  MUST(pwrite(file, "FILE", 4, 0) == 4);
  MUST(Holds(fd, access, iova[2], "FILE"));
  /* What stands there now is other memory. */
  MUST(HasPins(fd, own + PAGE, 2 * PAGE, 0));

  /* A child has copies of what is private. */
  own = Private(2 * PAGE);
  strcpy(own, "parent");
  iova[1] = Map(fd, ioas, own, 2 * PAGE);
  const pid_t pid = fork();
  if (pid == 0) {
    const int mine = Open();
    MUST(HasPins(mine, own, PAGE, 0));
    strcpy(own, "child");
    MUST(Holds(fd, access, iova[1], "parent"));
    _exit(0);
  }
  WaitFor(pid);
  MUST(Holds(fd, access, iova[1], "parent"));
  MUST(strcmp(own, "parent") == 0);
  return 0;
}

/* What an exited process shared stays, what it had alone is gone. */
static int PinsOfTheDead(void) {
  char* shared = Shared(2 * PAGE);
  const int fd = Open();
  const uint32_t ioas = Ioas(fd);
  const int access = Access(fd, ioas);
  uint64_t* iova = Shared(PAGE);

  Domain(fd, ioas);
  const pid_t pid = fork();
  if (pid == 0) {
    char* gone = Shared(2 * PAGE);
    strcpy(gone, "gone");
    iova[0] = Map(fd, ioas, gone, 2 * PAGE);
    strcpy(shared, "here");
    iova[1] = Map(fd, ioas, shared, 2 * PAGE);
    char* own = Private(2 * PAGE);
    strcpy(own, "own");
    iova[2] = Map(fd, ioas, own, 2 * PAGE);
    _exit(0);
  }
  WaitFor(pid);
  MUST(Holds(fd, access, iova[0], "gone"));
  MUST(Holds(fd, access, iova[1], "here"));
  strcpy(shared, "HERE");
  MUST(Holds(fd, access, iova[1], "HERE"));
  static const char zeroes[2 * PAGE];
  char buf[2 * PAGE] = "x";
  MUST(Rw(fd, access, iova[2], buf, 2 * PAGE, 0) == 0);
  MUST(memcmp(buf, zeroes, sizeof(buf)) == 0);
  MUST(HasPins(fd, shared, 2 * PAGE, 1));
  return 0;
}

static unsigned int ReadNth(int nth) {
  char buf[16] = "";

  MUST(pread(nth, buf, sizeof(buf), 0) >= 2);
  return (unsigned int)atoi(buf);
}

static int FailNth(void) {
  const int fd = Open();
  struct iommu_ioas_alloc cmd = {.size = sizeof(cmd)};
  char path[64];
  char buf[16];
  FILE* stream;
  int nth, other;

  snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", (int)gettid());
  nth = open(path, O_RDWR);
  MUST(nth >= 0);
  MUST(read(nth, buf, sizeof(buf)) == 2 && memcmp(buf, "0\n", 2) == 0);
  MUST(read(nth, buf, sizeof(buf)) == 0);
  MUST(pread(nth, buf, 1, 1) == 1 && buf[0] == '\n');
  MUST(pread(nth, buf, 1, 2) == 0);
  FAILS(EINVAL, pread(nth, buf, 1, -1));

  MUST(write(nth, "1", 1) == 1);
  /* The first place where it can fail is the copy of the command. */
  FAILS(EFAULT, ioctl(fd, IOMMU_IOAS_ALLOC, &cmd));
  MUST(ReadNth(nth) == 0);
  MUST(write(nth, "2\n", 2) == 2);
  FAILS(ENOMEM, ioctl(fd, IOMMU_IOAS_ALLOC, &cmd));
  MUST(ReadNth(nth) == 0);
  MUST(pwrite(nth, "0x40", 4, 0) == 4);
  MUST(ioctl(fd, IOMMU_IOAS_ALLOC, &cmd) == 0);
  const unsigned int left = ReadNth(nth);
  MUST(left > 0 && left < 64);
  /* Reading and writing it copies, and so counts, too. */
  MUST(ReadNth(nth) == left - 1);
  MUST(pwrite(nth, "0", 1, 0) == 1);
  MUST(write(nth, "1", 1) == 1);
  FAILS(EFAULT, pread(nth, buf, sizeof(buf), 0));
  MUST(write(nth, "1", 1) == 1);
  FAILS(EFAULT, pwrite(nth, "0", 1, 0));

  static const char* const junk[] = {"", "x", "-1", "1x", "1\n\n", "0x", " 1"};
  for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
    FAILS(EINVAL, write(nth, junk[i], strlen(junk[i])));
  }
  FAILS(ERANGE, write(nth, "4294967296", 10));
  MUST(write(nth, "+07", 3) == 3 && ReadNth(nth) == 7);
  MUST(write(nth, "0", 1) == 1);

  /* Every name of it is one place. */
  snprintf(path, sizeof(path), "/proc/%d/task/%d/fail-nth", (int)getpid(),
           (int)gettid());
  static const char* const names[] = {"/proc/thread-self/fail-nth",
                                      "/proc/self/fail-nth", NULL};
  for (int i = 0; i < 3; i++) {
    other = open(names[i] != NULL ? names[i] : path, O_RDWR);
    MUST(other >= 0 && write(other, "9", 1) == 1 && ReadNth(nth) == 9);
    MUST(write(other, "0", 1) == 1 && close(other) == 0);
  }
  FAILS(ENOENT, open("/proc/self/task/1/fail-nth", O_RDWR));
  stream = fopen("/proc/self/fail-nth", "w");
  MUST(stream != NULL && fprintf(stream, "%d\n", 5) == 2);
  MUST(ReadNth(nth) == 5);
  MUST(write(nth, "0", 1) == 1 && fclose(stream) == 0);

  /* That of a child, by its parent. */
  int go[2], back[2];
  MUST(pipe(go) == 0 && pipe(back) == 0);
  const pid_t pid = fork();
  if (pid == 0) {
    Ioas(fd);
    Signal(back[1]);
    Await(go[0]);
    FAILS(ENOMEM, ioctl(fd, IOMMU_IOAS_ALLOC, &cmd));
    _exit(0);
  }
  Await(back[0]);
  snprintf(path, sizeof(path), "/proc/%d/fail-nth", (int)pid);
  other = open(path, O_RDWR);
  MUST(other >= 0 && write(other, "2", 1) == 1);
  MUST(ReadNth(nth) == 0);
  Signal(go[1]);
  WaitFor(pid);
  return 0;
}

static long StatusKb(const char* path, const char* key) {
  FILE* f = fopen(path, "r");
  char line[256];
  long kb = -1;

  MUST(f != NULL);
  while (fgets(line, sizeof(line), f) != NULL) {
    if (strncmp(line, key, strlen(key)) == 0) {
      MUST(sscanf(line + strlen(key), "\t%ld kB\n", &kb) == 1);
    }
  }
  MUST(fclose(f) == 0);
  return kb;
}

static int VmPin(void) {
  char* at = Private(4 * PAGE);
  const int fd = Open();
  char path[64];
  char buf[4096];

  snprintf(path, sizeof(path), "/proc/%d/status", (int)getpid());
  MUST(StatusKb("/proc/self/status", "VmPin:") == 0);
  const uint32_t ioas = Ioas(fd);
  const uint32_t dev = Domain(fd, ioas);
  Map(fd, ioas, at, 4 * PAGE);
  MUST(StatusKb("/proc/self/status", "VmPin:") == 16);
  MUST(StatusKb(path, "VmPin:") == 16);
  MUST(StatusKb("/proc/thread-self/status", "VmPin:") == 16);
  MUST(StatusKb(path, "VmLck:") == 0);
  MUST(Destroy(fd, dev) == 0);
  MUST(StatusKb(path, "VmPin:") == 0);
  const int status = open(path, O_RDONLY | O_CLOEXEC);
  MUST(status >= 0 && fcntl(status, F_GETFD) == FD_CLOEXEC);
  MUST(read(status, buf, sizeof(buf)) > 100 && memcmp(buf, "Name:", 5) == 0);
  /* Of one that has nothing to do with it. */
  MUST(StatusKb("/proc/1/status", "VmPin:") >= -1);
  return 0;
}

static int Huge(void) {
  const int shared = MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB;
  const int own = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;

  for (int i = 0; i < 2; i++) {
    const int flags = i == 0 ? shared : own;
    char* at = mmap(NULL, 2 * HUGE - 1, PROT_READ | PROT_WRITE,
                    flags | MAP_POPULATE, -1, 0);
    MUST(at != MAP_FAILED);
    MUST((uintptr_t)at % HUGE == 0);
    memset(at, 1, 2 * HUGE);
    const int fd = Pinned(at, 2 * HUGE);
    MUST(HasPins(fd, at, 2 * HUGE, 1));
    FAILS(EINVAL, munmap(at, PAGE));
    FAILS(EINVAL, munmap(at + PAGE, 2 * HUGE - PAGE));
    MUST(munmap(at + HUGE, HUGE) == 0);
    MUST(mmap(at, HUGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0) ==
         at);
    FAILS(EINVAL, mmap(at + PAGE, HUGE, PROT_READ, flags | MAP_FIXED, -1, 0) ==
                          MAP_FAILED
                      ? -1
                      : 0);
    MUST(munmap(at, HUGE) == 0);
    MUST(close(fd) == 0);
  }
  const int file = memfd_create("huge", MFD_HUGETLB);
  MUST(file >= 0 && ftruncate(file, 2 * HUGE) == 0);
  char* at = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  MUST(at != MAP_FAILED);
  at[HUGE] = 1;
  const int fd = Open();
  MUST(MapFile(fd, Ioas(fd), file, 2 * HUGE) == 0);
  return 0;
}

static void BadMessage(const void* data, size_t n, int hello) {
  struct sockaddr_un addr = {.sun_family = AF_UNIX};
  const int s = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  struct lab_request req = {.magic = LAB_MAGIC,
                            .op = LAB_HELLO,
                            .kind = LAB_HELLO_PROCESS,
                            .tid = (uint32_t)gettid(),
                            .arg = {0x1234567}};
  char buf[256];

  strcpy(addr.sun_path, getenv(LAB_ENV_SOCKET));
  MUST(connect(s, (struct sockaddr*)&addr, sizeof(addr)) == 0);
  if (hello) {
    const int other = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    MUST(connect(other, (struct sockaddr*)&addr, sizeof(addr)) == 0);
    MUST(send(other, &req, sizeof(req), 0) == (ssize_t)sizeof(req));
    MUST(recv(other, buf, sizeof(buf), 0) == sizeof(struct lab_reply));
    req.kind = LAB_HELLO_THREAD;
    MUST(send(s, &req, sizeof(req), 0) == (ssize_t)sizeof(req));
    MUST(recv(s, buf, sizeof(buf), 0) == sizeof(struct lab_reply));
    MUST(send(s, data, n, MSG_NOSIGNAL) == (ssize_t)n);
    /* Some answer, or none: the lab kernel stands. */
    recv(s, buf, sizeof(buf), 0);
    MUST(close(other) == 0);
  } else {
    send(s, data, n, MSG_NOSIGNAL);
    MUST(recv(s, buf, sizeof(buf), 0) <= 0);
  }
  MUST(close(s) == 0);
}

static int BadMessages(void) {
  static char zeroes[1 << 16];
  struct lab_request req = {.magic = LAB_MAGIC};
  unsigned int seed = 1;

  for (size_t n = 1; n < sizeof(zeroes); n = n * 3 + 1) {
    BadMessage(zeroes, n, 0);
    BadMessage(zeroes, n, 1);
  }
  BadMessage(&req, sizeof(req) - 1, 0);
  req.op = LAB_IOCTL;
  BadMessage(&req, sizeof(req), 0);
  /* A thread that is not there; a process without a name. */
  req = (struct lab_request){.magic = LAB_MAGIC,
                             .op = LAB_HELLO,
                             .kind = LAB_HELLO_THREAD,
                             .tid = 1,
                             .arg = {1}};
  BadMessage(&req, sizeof(req), 0);
  for (int i = 0; i < 300; i++) {
    req = (struct lab_request){.magic = LAB_MAGIC,
                               .op = (uint32_t)i % 12,
                               .kind = (uint32_t)rand_r(&seed) % 5,
                               .tid = (uint32_t)rand_r(&seed) % 3,
                               .file = (uint64_t)rand_r(&seed) % 3};
    for (int a = 0; a < LAB_NARGS; a++) {
      const uint64_t values[] = {0, 1, PAGE, ~0ULL, 1ULL << 63, ~0ULL << 12};
      req.arg[a] = values[rand_r(&seed) % 6];
    }
    BadMessage(&req, sizeof(req), 1);
  }
  Ioas(Open());
  return 0;
}

static int CloseAll(void) {
  int fd = Open();
  struct rlimit lim;

  Ioas(fd);
  MUST(close_range(3, ~0U, 0) == 0);
  FAILS(EBADF, ioctl(fd, IOMMU_IOAS_ALLOC, NULL));
  Ioas(Open());
  closefrom(3);
  Ioas(Open());
  MUST(getrlimit(RLIMIT_NOFILE, &lim) == 0);
  for (int i = 3; i < (int)lim.rlim_cur && i < 70000; i++) close(i);
  fd = Open();
  Ioas(fd);
  for (int i = 3; i < 2000; i++) {
    if (i != fd) dup2(1, i);
  }
  Ioas(fd);
  /* Past the shim: it makes itself known anew. */
  MUST(syscall(SYS_close_range, 3, ~0U, 0) == 0);
  Ioas(Open());
  return 0;
}

static int Files(void) {
  const int fd = Open();
  const uint32_t ioas = Ioas(fd);
  const int file = memfd_create("file", 0);
  int ends[2];

  Domain(fd, ioas);
  MUST(ftruncate(file, 4 * PAGE) == 0);
  MUST(MapFile(fd, ioas, file, 4 * PAGE) == 0);
  const int high = fcntl(file, F_DUPFD, 890);
  MUST(high >= 890 && MapFile(fd, ioas, high, 4 * PAGE) == 0);
  struct rlimit lim;
  MUST(getrlimit(RLIMIT_NOFILE, &lim) == 0);
  lim.rlim_cur = lim.rlim_max;
  if (lim.rlim_cur > 65536) {
    MUST(setrlimit(RLIMIT_NOFILE, &lim) == 0);
    MUST(dup2(file, 65535) == 65535);
    MUST(MapFile(fd, ioas, 65535, 4 * PAGE) == 0);
  }
  FAILS(EINVAL, MapFile(fd, ioas, file, 5 * PAGE));
  FAILS(EBADF, MapFile(fd, ioas, 800, PAGE));
  FAILS(EBADF, MapFile(fd, ioas, -1, PAGE));
  MUST(pipe(ends) == 0);
  FAILS(EINVAL, MapFile(fd, ioas, ends[0], PAGE));
  FAILS(EINVAL, MapFile(fd, ioas, fd, PAGE));
  const int text = open("/proc/self/exe", O_RDONLY);
  FAILS(EINVAL, MapFile(fd, ioas, text, PAGE));

  /* Descriptors that come out, and go in again, are the program's own. */
  const int access = Access(fd, ioas);
  const int copy = dup(access);
  MUST(fcntl(access, F_GETFD) == FD_CLOEXEC);
  char buf[8];
  FAILS(ENOENT, Rw(fd, access, 0, buf, 8, 0));
  MUST(close(access) == 0);
  FAILS(EBADFD, Rw(fd, access, 0, buf, 8, 0));
  FAILS(ENOENT, Rw(fd, copy, 0, buf, 8, 0));
  FAILS(EBADFD, Rw(fd, fd, 0, buf, 8, 0));
  /* One file through two processes and two mappings. */
  const uint32_t other = Ioas(fd);
  char* at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  Domain(fd, other);
  const int fresh = memfd_create("fresh", 0);
  MUST(ftruncate(fresh, 4 * PAGE) == 0);
  at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fresh, 0);
  MUST(MapFile(fd, other, fresh, 4 * PAGE) == 0);
  MUST(HasPins(fd, at, 4 * PAGE, 1));
  const pid_t pid = fork();
  if (pid == 0) {
    MUST(HasPins(fd, at, 4 * PAGE, 1));
    _exit(0);
  }
  WaitFor(pid);
  return 0;
}

static int Debugfs(void) {
  DIR* dir = opendir("/sys/kernel/debug/");
  int found = 0;
  char c;

  MUST(dir != NULL);
  for (struct dirent* e; (e = readdir(dir)) != NULL;) {
    char path[300];
    if (strncmp(e->d_name, "fail", 4) != 0) continue;
    found++;
    snprintf(path, sizeof(path), "%s/verbose", e->d_name);
    const int fd = openat(dirfd(dir), path, O_WRONLY);
    MUST(fd >= 0 && write(fd, "0", 1) == 1 && close(fd) == 0);
    snprintf(path, sizeof(path), "/sys/kernel/debug/%s/verbose", e->d_name);
    const int again = open(path, O_RDONLY);
    MUST(again >= 0 && read(again, &c, 1) == 1 && c == '0');
  }
  MUST(found == 4);
  FAILS(ENOENT, open("/sys/kernel/debug/nothing", O_RDONLY));
  MUST(openat(dirfd(dir), "failslab/ignore-gfp-wait", O_WRONLY) >= 0);
  MUST(openat(dirfd(dir), "fail_page_alloc/ignore-gfp-highmem", O_WRONLY) >= 0);
  return 0;
}

static int handler_fd;
static _Atomic int handled;
static void Handler(int signal) {
  struct iommu_ioas_alloc cmd = {.size = sizeof(cmd)};
  const int saved = errno;

  (void)signal;
  if (ioctl(handler_fd, IOMMU_IOAS_ALLOC, &cmd) != 0) _exit(1);
  if (Destroy(handler_fd, cmd.out_ioas_id) != 0) _exit(1);
  handled++;
  errno = saved;
}

static int Signals(void) {
  struct sigaction action = {.sa_handler = Handler};
  const struct itimerval timer = {{0, 0}, {0, 1000}};

  handler_fd = Open();
  MUST(sigaction(SIGALRM, &action, NULL) == 0);
  for (int i = 0; i < 50; i++) {
    MUST(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    while (handled == i) MUST(Destroy(handler_fd, Ioas(handler_fd)) == 0);
  }
  return 0;
}

/* Has a descriptor, and lives on after its parent. */
static int Daemon(const char* out) {
  const int fd = Open();
  const pid_t parent = getpid();
  const pid_t pid = fork();

  MUST(pid >= 0);
  if (pid != 0) return 0;
  while (getppid() == parent) usleep(1000);
  usleep(200000);
  Ioas(fd);
  const int result = open(out, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  MUST(write(result, "served", 6) == 6);
  return 0;
}

/* Processes whose parents end while they make their first call. */
static int Daemons(void) {
  int back[2];
  char c;

  MUST(pipe(back) == 0);
  for (int i = 0; i < 40; i++) {
    const pid_t pid = fork();
    if (pid == 0) {
      /* Some ancestors, each gone at once. */
      for (int j = 0; j < 6; j++) {
        if (fork() != 0) _exit(0);
      }
      Ioas(Open());
      Signal(back[1]);
      _exit(0);
    }
    WaitFor(pid);
  }
  MUST(close(back[1]) == 0);
  int served = 0;
  while (read(back[0], &c, 1) == 1) served++;
  MUST(served == 40);
  return 0;
}

/* The lab kernel's memory, as far as it is here, cannot be cut off or, where it
   is only to be read, be written. */
static int Sealed(void) {
  struct dirent* entry;
  char path[300], target[300];
  char* at = Private(PAGE);
  const int fd = Pinned(at, PAGE);
  FILE* maps = fopen("/proc/self/maps", "r");
  unsigned long start = 0, end = 0;
  DIR* dir = opendir("/proc/self/map_files");

  MUST(maps != NULL && fd >= 0);
  while (fgets(path, sizeof(path), maps) != NULL) {
    if (strstr(path, "iommulab-shared") == NULL) continue;
    MUST(sscanf(path, "%lx-%lx", &start, &end) == 2);
  }
  MUST(start != 0);
  MUST(mprotect((void*)start, PAGE, PROT_READ | PROT_WRITE) == -1);
  if (dir == NULL) return 0;
  while ((entry = readdir(dir)) != NULL) {
    snprintf(path, sizeof(path), "/proc/self/map_files/%s", entry->d_name);
    const ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n < 0) continue;
    target[n] = '\0';
    if (strstr(target, "iommulab-shared") == NULL) continue;
    const int again = open(path, O_RDWR);
    if (again < 0) continue; /* needs privileges */
    FAILS(EPERM, ftruncate(again, 0));
    FAILS(EPERM, ftruncate(again, 2 * PAGE));
    FAILS(EPERM, pwrite(again, "x", 1, 0));
  }
  closedir(dir);
  return 0;
}

static void* FullUp(void* arg) {
  struct iommu_ioas_alloc cmd = {.size = sizeof(cmd)};
  char* at = ((void**)arg)[0];
  const int fd = *(int*)((void**)arg)[1];

  /* This thread has no connection yet. */
  FAILS(EMFILE, ioctl(fd, IOMMU_IOAS_ALLOC, &cmd));
  FAILS(EMFILE, open("/dev/iommu", O_RDWR));
  FAILS(ENOMEM, munmap(at, PAGE));
  FAILS(ENOMEM,
        mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED
            ? -1
            : 0);
  FAILS(EAGAIN, madvise(at, PAGE, MADV_DONTNEED));
  MUST(at[0] == 'x');
  return NULL;
}

/* No descriptors left: that is said, and no memory goes without being saved. */
static int Full(void) {
  char* at = Private(PAGE);
  at[0] = 'x';
  int fd = Pinned(at, PAGE);
  void* arg[] = {at, &fd};
  struct rlimit lim, none;
  pthread_t thread;

  MUST(getrlimit(RLIMIT_NOFILE, &lim) == 0);
  none = lim;
  none.rlim_cur = 3;
  MUST(setrlimit(RLIMIT_NOFILE, &none) == 0);
  MUST(pthread_create(&thread, NULL, FullUp, arg) == 0);
  MUST(pthread_join(thread, NULL) == 0);
  FAILS(EMFILE, open("/dev/iommu", O_RDWR));
  Ioas(fd);
  const pid_t pid = fork();
  if (pid == 0) {
    FAILS(EMFILE, open("/dev/iommu", O_RDWR));
    _exit(0);
  }
  WaitFor(pid);
  MUST(setrlimit(RLIMIT_NOFILE, &lim) == 0);
  Ioas(Open());
  MUST(munmap(at, PAGE) == 0);
  return 0;
}

/* Between vfork() and exec a child has its parent's memory, and state. */
static int Vfork(void) {
  char* at = Private(4 * PAGE);
  const int fd = Pinned(at, 4 * PAGE);
  struct iommu_ioas_alloc cmd = {.size = sizeof(cmd)};
  int rc = -1;

  MUST(StatusKb("/proc/self/status", "VmPin:") == 16);
  const pid_t pid = vfork();
  if (pid == 0) {
    *(volatile int*)&rc = ioctl(fd, IOMMU_IOAS_ALLOC, &cmd);
    _exit(0);
  }
  WaitFor(pid);
  MUST(*(volatile int*)&rc == 0);
  MUST(StatusKb("/proc/self/status", "VmPin:") == 16);
  MUST(Destroy(fd, cmd.out_ioas_id) == 0);
  /* One that has its own memory has its own name. */
  const pid_t copy = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (copy == 0) {
    Ioas(Open());
    MUST(StatusKb("/proc/self/status", "VmPin:") == 0);
    _exit(0);
  }
  WaitFor(copy);
  MUST(StatusKb("/proc/self/status", "VmPin:") == 16);
  return 0;
}

static atomic_int answered;
static void* OpenOrEio(void* unused) {
  int fd = open("/dev/iommu", O_RDWR);

  (void)unused;
  if (fd < 0 && errno != EIO && errno != ENFILE && errno != EMFILE) {
    Stop(__LINE__, "another error");
  }
  answered++;
  while (answered != 15) usleep(1000);
  if (fd >= 0) close(fd);
  return NULL;
}

/* Each thread needs two descriptors here and two in the lab kernel, which has
   others, too, and so runs out of them first: none waits for ever, and it
   serves again when there is room. */
static int ManyThreads(void) {
  pthread_t thread[15];

  Ioas(Open());
  for (int i = 0; i < 15; i++) {
    MUST(pthread_create(&thread[i], NULL, OpenOrEio, NULL) == 0);
  }
  for (int i = 0; i < 15; i++) MUST(pthread_join(thread[i], NULL) == 0);
  /* However long it takes: Bazel ends a test that is never served again. */
  for (;;) {
    const int fd = open("/dev/iommu", O_RDWR);
    if (fd >= 0) {
      Ioas(fd);
      return 0;
    }
    usleep(10000);
  }
}

/* A mapping of a lab file is inherited, and keeps its owner. */
static int Mappings(void) {
  const int fd = Open();
  const uint32_t ioas = Ioas(fd);
  struct iommu_test_cmd domain = {
      .size = sizeof(domain), .op = IOMMU_TEST_OP_MOCK_DOMAIN, .id = ioas};
  struct iommu_hwpt_alloc parent = {.size = sizeof(parent),
                                    .flags = IOMMU_HWPT_ALLOC_NEST_PARENT,
                                    .pt_id = ioas};
  struct iommu_viommu_selftest data = {.in_data = 0xbeef};
  struct iommu_viommu_alloc viommu = {.size = sizeof(viommu),
                                      .type = IOMMU_VIOMMU_TYPE_SELFTEST,
                                      .data_uptr = (uintptr_t)&data,
                                      .data_len = sizeof(data)};
  int go[2], back[2];

  MUST(ioctl(fd, IOMMU_TEST_CMD, &domain) == 0);
  parent.dev_id = viommu.dev_id = domain.mock_domain.out_idev_id;
  MUST(ioctl(fd, IOMMU_HWPT_ALLOC, &parent) == 0);
  viommu.hwpt_id = parent.out_hwpt_id;
  MUST(ioctl(fd, IOMMU_VIOMMU_ALLOC, &viommu) == 0);
  const off_t offset = (off_t)data.out_mmap_offset;
  volatile uint32_t* page =
      mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
  MUST(page != MAP_FAILED && *page == 0xbeef);
  FAILS(ENXIO, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd,
                    offset + (off_t)PAGE) == MAP_FAILED
                   ? -1
                   : 0);
  FAILS(EPERM, mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd,
                    offset) == MAP_FAILED
                   ? -1
                   : 0);
  /* At an address of the program's choice, over something. */
  char* place = Private(3 * PAGE);
  MUST(mmap(place + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
            offset) == place + PAGE);
  MUST(*(uint32_t*)(place + PAGE) == 0xbeef);
  place[0] = place[2 * PAGE] = 1;
  FAILS(EEXIST, mmap(place, PAGE, PROT_READ, MAP_SHARED | 0x100000, fd,
                     offset) == MAP_FAILED
                    ? -1
                    : 0);
  MUST(munmap(place, 3 * PAGE) == 0);

  MUST(pipe(go) == 0 && pipe(back) == 0);
  const pid_t pid = fork();
  if (pid == 0) {
    Signal(back[1]);
    Await(go[0]);
    MUST(*page == 0xbeef);
    _exit(0);
  }
  Await(back[0]);
  MUST(munmap((void*)page, PAGE) == 0);
  FAILS(EBUSY, Destroy(fd, viommu.out_viommu_id));
  Signal(go[1]);
  WaitFor(pid);
  MUST(Destroy(fd, viommu.out_viommu_id) == 0);
  return 0;
}

/* What is capable of nothing may lock what its limit allows. */
static int Limits(void) {
  struct rlimit lim = {4 * PAGE, 4 * PAGE};
  char* at = Private(8 * PAGE);
  struct iommu_ioas_map cmd = {.size = sizeof(cmd),
                               .flags = IOMMU_IOAS_MAP_READABLE,
                               .user_va = (uintptr_t)at,
                               .length = 8 * PAGE};
  const int fd = Open();
  struct {
    uint32_t version;
    int pid;
  } head = {0x20080522, 0};
  uint32_t caps[6] = {0};

  cmd.ioas_id = Ioas(fd);
  Domain(fd, cmd.ioas_id);
  MUST(setrlimit(RLIMIT_MEMLOCK, &lim) == 0);
  MUST(syscall(SYS_capset, &head, caps) == 0);
  FAILS(ENOMEM, ioctl(fd, IOMMU_IOAS_MAP, &cmd));
  cmd.length = 4 * PAGE;
  MUST(ioctl(fd, IOMMU_IOAS_MAP, &cmd) == 0);
  return 0;
}

static int Print(void) {
  printf("%s\n", getenv(LAB_ENV_SOCKET));
  fflush(stdout);
  getchar();
  return 0;
}

static int Term(void) {
  printf("ready\n");
  fflush(stdout);
  pause();
  return 0;
}

static int Leave(void) {
  /* Nobody closes it. */
  Pinned(Private(4 * PAGE), 4 * PAGE);
  return 7;
}

int main(int argc, char** argv) {
  static const struct {
    const char* name;
    int (*run)(void);
    int (*run_with)(const char*);
  } all[] = {
      {"calls", Calls, NULL},
      {"dup", Dup, NULL},
      {"fork", Fork, NULL},
      {"exec", Exec, NULL},
      {"pass", Pass, NULL},
      {"kill9", Kill9, NULL},
      {"kernel_dies", KernelDies, NULL},
      {"hammer", NULL, HammerAll},
      {"pins", Pins, NULL},
      {"pins_of_the_dead", PinsOfTheDead, NULL},
      {"fail_nth", FailNth, NULL},
      {"vmpin", VmPin, NULL},
      {"huge", Huge, NULL},
      {"bad_messages", BadMessages, NULL},
      {"close_all", CloseAll, NULL},
      {"files", Files, NULL},
      {"debugfs", Debugfs, NULL},
      {"signals", Signals, NULL},
      {"daemon", NULL, Daemon},
      {"mappings", Mappings, NULL},
      {"daemons", Daemons, NULL},
      {"sealed", Sealed, NULL},
      {"many_threads", ManyThreads, NULL},
      {"full", Full, NULL},
      {"vfork", Vfork, NULL},
      {"limits", Limits, NULL},
      {"print", Print, NULL},
      {"term", Term, NULL},
      {"leave", Leave, NULL},
  };

  if (argc == 4 && strcmp(argv[1], "exec_child") == 0) {
    return ExecChild(argv[2], argv[3]);
  }
  for (size_t i = 0; argc > 1 && i < sizeof(all) / sizeof(all[0]); i++) {
    if (strcmp(argv[1], all[i].name) != 0) continue;
    return all[i].run != NULL ? all[i].run() : all[i].run_with(argv[2]);
  }
  fprintf(stderr, "program.c: no such program\n");
  return 1;
}
