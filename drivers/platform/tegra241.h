// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The Tegra241 machine's end, for platform.cc. No kernel counterpart.
 */
#pragma once

struct kernel;

/* Does nothing without such a machine. */
void platform_exit_tegra241(struct kernel *kernel);
