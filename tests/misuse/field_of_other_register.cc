// SPDX-License-Identifier: GPL-2.0-or-later
// expect: no viable conversion from 'vcmdq_regs::GERRORN' to 'const .*GERROR'
//
// A field of one register, used with another of the same width (R13).
#include "drivers/hw/tegra241-cmdqv-regs.h"

u32 f(vcmdq_regs::GERROR gerror, vcmdq_regs::GERRORN gerrorn)
{
#ifndef MISUSE
	(void)gerrorn;
	return vcmdq_regs::GERROR::CMDQ_ERR::get(gerror);
#else
	(void)gerror;
	return vcmdq_regs::GERROR::CMDQ_ERR::get(gerrorn);
#endif
}
