// SPDX-License-Identifier: GPL-2.0-or-later
// expect: static assertion failed due to requirement 'GERROR::offset \+ sizeof
//
// A register that the page is too small to have (R13).
#include "drivers/hw/tegra241-cmdqv-regs.h"

u32 f(const reg_page<0x10> &page)
{
#ifndef MISUSE
	return page.get<vcmdq_regs::STATUS>().raw;
#else
	return page.get<vcmdq_regs::GERROR>().raw;
#endif
}
