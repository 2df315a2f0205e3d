// SPDX-License-Identifier: GPL-2.0-or-later
// expect: no viable conversion from 'const STE' to 'const CD'
//
// A field of a context descriptor, used with a stream table entry (R13).
#include "drivers/hw/smmuv3-regs.h"

u64 f(const STE &ste, const CD &cd)
{
#ifndef MISUSE
	(void)ste;
	return CD::ASID::get(cd);
#else
	(void)cd;
	return CD::ASID::get(ste);
#endif
}
