/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the shim in a program and the lab kernel process say to each other.
 * C11 and C++. One request, one reply, over a SOCK_SEQPACKET connection that
 * belongs to one thread of the program; descriptors travel as SCM_RIGHTS.
 *
 * A descriptor of the lab kernel is, in the program, one end of a socket pair
 * that the lab kernel made: SO_PEERCRED tells the shim so, and the inode
 * number of that end tells the lab kernel which file is meant.
 */
#ifndef TOOLS_CLIENT_PROTOCOL_H_
#define TOOLS_CLIENT_PROTOCOL_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The environment of a program that runs under the client. */
#define LAB_ENV_SOCKET "IOMMULAB_CLIENT_SOCKET" /* path of the socket */
#define LAB_ENV_KERNEL "IOMMULAB_CLIENT_KERNEL" /* pid of the lab kernel */

#define LAB_MAGIC 0x31304c43u /* protocol version, too */

/* Names of memory files that the shim makes for shared memory. */
#define LAB_MEMFD_NAME "iommulab"

/* The folder beside the socket that stands for /sys/kernel/debug. */
#define LAB_DEBUG_FOLDER "debug"

enum lab_op {
  /*
   * First on each connection. kind: LAB_HELLO_x; arg: nonce, nonce of the
   * parent that the process was forked from (or 0). The reply to
   * LAB_HELLO_PROCESS carries a memory file: a page with struct lab_shared.
   */
  LAB_HELLO = 1,
  /* kind: LAB_OPEN_x; arg: open flags, pid, tid. The reply has the file. */
  LAB_OPEN,
  LAB_IOCTL, /* file; arg: command, argument */
  /* file; arg: address, bytes, offset; kind 1: use that offset, 0: the
     file's own. */
  LAB_READ,
  LAB_WRITE,
  /*
   * file; arg: address (reserved for it, or to be replaced), bytes, prot,
   * flags, offset. The reply has a descriptor to map there, value its offset;
   * without one the range has no memory behind it: nobody may touch it.
   */
  LAB_MMAP,
  LAB_MUNMAP, /* arg: address, bytes: of a mapping made by LAB_MMAP */
  /* A memory file that the process maps shared: with the descriptor. kind 1: it
     stands for huge pages. */
  LAB_REGISTER,
  /* arg: address, bytes: about to be unmapped, replaced, moved or dropped. */
  LAB_PRESERVE,
};

enum {
  /* The life of a process image: held open until it exits or execs. */
  LAB_HELLO_PROCESS,
  LAB_HELLO_THREAD,
};

enum {
  LAB_OPEN_IOMMU,
  LAB_OPEN_VFIO,
  LAB_OPEN_FAIL_NTH, /* of thread tid of process pid */
  /* A copy of /proc/PID/status; -EXDEV: not a process of this run. */
  LAB_OPEN_STATUS,
};

#define LAB_NARGS 5

struct lab_request {
  uint32_t magic;
  uint32_t op;
  uint32_t kind;
  uint32_t tid;
  uint64_t file; /* inode number of the descriptor; 0: none */
  uint64_t arg[LAB_NARGS];
  /* The caller's: effective capabilities, user, RLIMIT_MEMLOCK in bytes. */
  uint64_t caps;
  uint64_t memlock;
  uint32_t euid;
  uint32_t reserved;
};

struct lab_reply {
  uint32_t magic;
  /* Bytes to take from the queue of the descriptor that was asked about: it
     has become unreadable. */
  uint32_t drain;
  int64_t result; /* or -errno */
  /* With a descriptor: where its number (4 bytes) goes in the program's
     memory; 0: it is the result. */
  uint64_t store_at;
  uint64_t value;
};

/* Written by the lab kernel, read by the shim. */
struct lab_shared {
  /* Pages of this process's private memory that are pinned: while 0, nobody
     needs LAB_PRESERVE. */
  uint32_t private_pages;
};

#ifdef __cplusplus
}
#endif

#endif /* TOOLS_CLIENT_PROTOCOL_H_ */
