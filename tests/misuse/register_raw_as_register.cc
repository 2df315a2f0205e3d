// SPDX-License-Identifier: GPL-2.0-or-later
// expect: reference to type 'const vintf_regs::CONFIG' could not bind to an lvalue of type 'u32'
//
// A number where a register is wanted: nothing says which one it is of (R13).
#include "drivers/hw/tegra241-cmdqv-regs.h"

u32 f(u32 raw)
{
	vintf_regs::CONFIG r;

	r.raw = raw;
#ifndef MISUSE
	return vintf_regs::CONFIG::VMID::get(r);
#else
	return vintf_regs::CONFIG::VMID::get(raw);
#endif
}
