// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/client/wire.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace client {

bool Receive(int fd, lab_request* request, UniqueFd* got) {
  union {
    cmsghdr head;
    char space[CMSG_SPACE(4 * sizeof(int))];
  } control;
  iovec iov = {request, sizeof(*request)};
  msghdr msg = {};
  ssize_t n;

  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = &control;
  msg.msg_controllen = sizeof(control);
  do {
    n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return false;
  for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr;
       c = CMSG_NXTHDR(&msg, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < fds; i++) {
      int one;
      memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      UniqueFd owner(one);  // more than one: closed again
      if (!*got) *got = std::move(owner);
    }
  }
  return n == static_cast<ssize_t>(sizeof(*request)) &&
         !(msg.msg_flags & MSG_TRUNC) && request->magic == LAB_MAGIC;
}

bool Send(int fd, lab_reply* reply, int with) {
  union {
    cmsghdr head;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {};
  iovec iov = {reply, sizeof(*reply)};
  msghdr msg = {};
  ssize_t n;

  reply->magic = LAB_MAGIC;
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  if (with >= 0) {
    msg.msg_control = &control;
    msg.msg_controllen = sizeof(control);
    cmsghdr* c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &with, sizeof(int));
  }
  do {
    n = sendmsg(fd, &msg, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof(*reply));
}

}  // namespace client
