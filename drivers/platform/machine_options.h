// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What machines can be asked for, as rows, without their drivers: program text, command lines and
 * the fuzzer offer what is here. No kernel counterpart.
 */
#pragma once

#include <cstddef>
#include <cstdint>

enum machine_option_type {
	MACHINE_FLAG,	/* 0 or 1 */
	MACHINE_NUMBER, /* min..max; decimal or 0x hexadecimal; suffixes K, M, G, T */
	MACHINE_POWER,	/* the same, a power of two */
	MACHINE_NAME,	/* one of names */
	MACHINE_NAMES,	/* some of names, a + between them */
	MACHINE_RANGE,	/* START-LAST, two numbers in order */
};

struct machine_value {
	/* The number; a flag; the place of a name in names; a bit for each of some; the start. */
	uint64_t number = 0;
	uint64_t last = 0; /* of a range */
};

struct machine_option {
	const char *name = nullptr;
	enum machine_option_type type = MACHINE_FLAG;
	uint64_t min = 0, max = 0;
	const char *const *names = nullptr; /* ends with a NULL */
	/* How a value is written, where type, bounds and names do not say it. */
	const char *value = nullptr;
	const char *initial = nullptr; /* without the option; NULL: nothing of it */
	const char *help = nullptr;    /* one line, without the initial value */
	/*
	 * Values worth trying, a space between them; none makes a driver that breaks the core's
	 * rules, at which the core warns. NULL: there is none.
	 */
	const char *tries = nullptr;
	/* -EINVAL: not beside what is in @options already, which is unchanged then. */
	int (*set)(void *options, const struct machine_value *value) = nullptr;
};

/* A machine, as far as options go. */
struct machine_desc {
	const char *name = nullptr; /* of kind= */
	const char *help = nullptr; /* one line */
	/* In the order in which they are listed; ends with a NULL name. */
	const struct machine_option *options = nullptr;
	/* A struct of options with its initial values. NULL without memory. */
	void *(*alloc)() = nullptr;
	void (*free)(void *options) = nullptr;
};

/* machine_option::set() for a member that takes the number, and for one that collects bits. */
template <auto member> int machine_set_member(void *options, const struct machine_value *value)
{
	[&]<typename T, typename F>(F T::*m) {
		static_cast<T *>(options)->*m = static_cast<F>(value->number);
	}(member);
	return 0;
}
template <auto member> int machine_or_member(void *options, const struct machine_value *value)
{
	[&]<typename T, typename F>(F T::*m) {
		static_cast<T *>(options)->*m |= static_cast<F>(value->number);
	}(member);
	return 0;
}

extern const struct machine_desc mock_machine_desc;	/* struct mock_machine_options */
extern const struct machine_desc tegra241_machine_desc; /* struct tegra241_machine_options */

/* The option of this name in a list that ends with a NULL name. NULL: there is none. */
const struct machine_option *machine_option_find(const struct machine_option *list,
						 const char *name);
/* How a value of @option is written, cut to @size bytes. */
void machine_option_value(const struct machine_option *option, char *buf, size_t size);
/* -EINVAL on a value that is malformed or out of range; @options is unchanged then. */
int machine_option_set(const struct machine_option *option, const char *text, void *options);
/* The same by name. -EINVAL when the machine has no such option. */
int machine_options_set(const struct machine_desc *desc, const char *name, const char *text,
			void *options);
