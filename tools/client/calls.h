// SPDX-License-Identifier: GPL-2.0-or-later
//
// Executes programs' calls on the kernel of a lab.
#ifndef TOOLS_CLIENT_CALLS_H_
#define TOOLS_CLIENT_CALLS_H_

#include <cstdint>

#include "core/iommufd/revision.h"
#include "tools/client/lab.h"
#include "tools/client/machine.h"
#include "tools/client/protocol.h"

namespace client {

class Calls {
 public:
  // The form that open() gives, and what holds for every program in place of
  // what the program itself has.
  Calls(Lab* lab, const iommufd_revision* revision, Machine machine);

  // One call of the thread; `with` came along with it, *out goes along with the
  // reply. -EIO when the program has ended.
  void Handle(Thread* thread, const lab_request& request, UniqueFd with,
              lab_reply* reply, UniqueFd* out);

 private:
  // What a command has that is a descriptor.
  struct DescriptorFields {
    int in_offset = -1;
    int out_offset = -1;
    bool returned = false;
  };

  void Execute(Thread* thread, const lab_request& request, OpenFile* open,
               UniqueFd with, lab_reply* reply, UniqueFd* out);
  int64_t Open(Thread* thread, const lab_request& request, UniqueFd* out);
  int64_t OpenFailNth(Thread* thread, const lab_request& request,
                      UniqueFd* out);
  int64_t OpenStatus(Thread* thread, const lab_request& request, UniqueFd* out);
  int64_t Ioctl(Thread* thread, const lab_request& request, OpenFile* open,
                lab_reply* reply, UniqueFd* out);
  int64_t Transfer(Thread* thread, const lab_request& request, OpenFile* open);
  int64_t Mmap(Thread* thread, const lab_request& request, OpenFile* open,
               lab_reply* reply, UniqueFd* out);
  bool SetCredentials(Thread* thread, const lab_request& request);
  DescriptorFields FieldsOf(Thread* thread, const lab_request& request);
  struct file* FileOf(Thread* thread, int fd);

  Lab* const lab_;
  const iommufd_revision* const revision_;
  const Machine machine_;
  const uint64_t granted_caps_;
};

}  // namespace client

#endif  // TOOLS_CLIENT_CALLS_H_
