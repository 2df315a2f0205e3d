// SPDX-License-Identifier: GPL-2.0-or-later
//
// What each statement does when it is run: the last column of its row in
// calls.cc.
#pragma once

namespace prog {

class CallFrame;

// The call is made, and f->result() has what came. False: an argument has no
// value, and no call was made.
using RunStatement = bool (*)(CallFrame* f);

bool RunNothing(CallFrame* f);  // the runner's own: machine, exit, join
bool RunFork(CallFrame* f);
bool RunOpen(CallFrame* f);
bool RunClose(CallFrame* f);
bool RunMemory(CallFrame* f);  // anon, memfd
bool RunMmap(CallFrame* f);
bool RunMunmap(CallFrame* f);
bool RunLoad(CallFrame* f);
bool RunStore(CallFrame* f);
bool RunFtruncate(CallFrame* f);
bool RunReadWrite(CallFrame* f);
bool RunPoll(CallFrame* f);
bool RunRawIoctl(CallFrame* f);

}  // namespace prog
