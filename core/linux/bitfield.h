// SPDX-License-Identifier: GPL-2.0-or-later
//
// Mirrors include/linux/bitfield.h, Linux v7.2. MIRRORED: for masks of software formats; registers
// have their own types.
#pragma once

#include "core/linux/types.h"

#define __bf_shf(mask)	      ((unsigned int)__builtin_ctzll(mask))
#define FIELD_GET(mask, reg)  ((__typeof__(mask))(((reg) & (mask)) >> __bf_shf(mask)))
#define FIELD_PREP(mask, val) (((__typeof__(mask))(val) << __bf_shf(mask)) & (mask))
#define FIELD_MAX(mask)	      ((__typeof__(mask))((mask) >> __bf_shf(mask)))
