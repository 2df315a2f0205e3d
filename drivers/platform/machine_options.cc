// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Machine options as text: see machine_options.h. No kernel counterpart.
 */
#include "drivers/platform/machine_options.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

/* Decimal, 0x hexadecimal; K, M, G and T suffixes. Advances *@s past the number. */
static bool scan_u64(const char **s, uint64_t *out)
{
	const char *p = *s;
	unsigned int base = 10;
	unsigned int shift = 0;
	uint64_t val = 0;
	bool any = false;

	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		base = 16;
		p += 2;
	}
	for (;; p++) {
		unsigned int digit;

		if (*p >= '0' && *p <= '9')
			digit = *p - '0';
		else if (base == 16 && *p >= 'a' && *p <= 'f')
			digit = *p - 'a' + 10;
		else if (base == 16 && *p >= 'A' && *p <= 'F')
			digit = *p - 'A' + 10;
		else
			break;
		if (__builtin_mul_overflow(val, (uint64_t)base, &val) ||
		    __builtin_add_overflow(val, (uint64_t)digit, &val))
			return false;
		any = true;
	}
	if (!any)
		return false;

	switch (*p) {
	case 'K':
	case 'k':
		shift = 10;
		break;
	case 'M':
	case 'm':
		shift = 20;
		break;
	case 'G':
	case 'g':
		shift = 30;
		break;
	case 'T':
	case 't':
		shift = 40;
		break;
	}
	if (shift) {
		if (val > UINT64_MAX >> shift)
			return false;
		val <<= shift;
		p++;
	}
	*out = val;
	*s = p;
	return true;
}

static bool parse_u64(const char *value, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t val;

	if (!scan_u64(&value, &val) || *value || val < min || val > max)
		return false;
	*out = val;
	return true;
}

static bool parse_range(const char *value, uint64_t *start, uint64_t *last)
{
	uint64_t a, b;

	if (!scan_u64(&value, &a) || *value != '-')
		return false;
	value++;
	if (!scan_u64(&value, &b) || *value || a > b)
		return false;
	*start = a;
	*last = b;
	return true;
}

/* "a+b+c" into the bits that the names' positions stand for. */
static bool parse_names(const char *value, const char *const *names, uint64_t *out)
{
	uint64_t bits = 0;

	while (true) {
		size_t len = strcspn(value, "+");
		unsigned int i;

		for (i = 0; names[i]; i++)
			if (strlen(names[i]) == len && !memcmp(names[i], value, len))
				break;
		if (!names[i])
			return false;
		bits |= (uint64_t)1 << i;
		value += len;
		if (!*value)
			break;
		value++;
	}
	*out = bits;
	return true;
}

static bool parse_name(const char *value, const char *const *names, uint64_t *out)
{
	for (unsigned int i = 0; names[i]; i++) {
		if (strcmp(value, names[i]))
			continue;
		*out = i;
		return true;
	}
	return false;
}

static bool parse_value(const struct machine_option *option, const char *text,
			struct machine_value *value)
{
	switch (option->type) {
	case MACHINE_FLAG:
		return parse_u64(text, 0, 1, &value->number);
	case MACHINE_NUMBER:
		return parse_u64(text, option->min, option->max, &value->number);
	case MACHINE_POWER:
		return parse_u64(text, option->min, option->max, &value->number) &&
		       !(value->number & (value->number - 1));
	case MACHINE_NAME:
		return parse_name(text, option->names, &value->number);
	case MACHINE_NAMES:
		return parse_names(text, option->names, &value->number);
	case MACHINE_RANGE:
		return parse_range(text, &value->number, &value->last);
	}
	return false;
}

const struct machine_option *machine_option_find(const struct machine_option *list,
						 const char *name)
{
	for (; list->name; list++)
		if (!strcmp(list->name, name))
			return list;
	return nullptr;
}

void machine_option_value(const struct machine_option *option, char *buf, size_t size)
{
	size_t len = 0;

	if (option->value) {
		snprintf(buf, size, "%s", option->value);
		return;
	}
	switch (option->type) {
	case MACHINE_FLAG:
		snprintf(buf, size, "0|1");
		return;
	case MACHINE_NUMBER:
	case MACHINE_POWER:
		snprintf(buf, size, "%" PRIu64 "..%" PRIu64, option->min, option->max);
		return;
	case MACHINE_RANGE:
		snprintf(buf, size, "START-LAST");
		return;
	case MACHINE_NAME:
	case MACHINE_NAMES:
		break;
	}
	buf[0] = 0;
	for (unsigned int i = 0; option->names[i] && len < size; i++)
		len += snprintf(buf + len, size - len, "%s%s", i ? "|" : "", option->names[i]);
	if (option->type == MACHINE_NAMES && len < size)
		snprintf(buf + len, size - len, "[+...]");
}

int machine_option_set(const struct machine_option *option, const char *text, void *options)
{
	struct machine_value value;

	if (!parse_value(option, text, &value))
		return -EINVAL;
	return option->set(options, &value);
}

int machine_options_set(const struct machine_desc *desc, const char *name, const char *text,
			void *options)
{
	const struct machine_option *option = machine_option_find(desc->options, name);

	return option ? machine_option_set(option, text, options) : -EINVAL;
}
