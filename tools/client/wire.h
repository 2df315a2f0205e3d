// SPDX-License-Identifier: GPL-2.0-or-later
//
// Messages of protocol.h over a connection.
#ifndef TOOLS_CLIENT_WIRE_H_
#define TOOLS_CLIENT_WIRE_H_

#include "tools/client/program.h"
#include "tools/client/protocol.h"

namespace client {

// False: the connection has ended, or what came is no request. *got is the
// descriptor that came along, if one did.
bool Receive(int fd, lab_request* request, UniqueFd* got);
// `with` goes along; -1: no descriptor does.
bool Send(int fd, lab_reply* reply, int with);

}  // namespace client

#endif  // TOOLS_CLIENT_WIRE_H_
