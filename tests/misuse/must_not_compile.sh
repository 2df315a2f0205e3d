#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# must_not_compile.sh COMPILER FILE.cc [compiler options]: see misuse.bzl. Runs in the runfiles.
set -u
compiler=$1 source=$2
shift 2
# The flags of product code (.bazelrc).
flags=(-x c++ -std=c++20 -fsyntax-only -O1 -Wall -Wextra -Werror -Wno-invalid-offsetof -Wthread-safety
	-Wthread-safety-beta -fno-exceptions -fno-rtti -fno-color-diagnostics -iquote . --system-header-prefix=absl/
	--system-header-prefix=gtest/)

expected=$(sed -n 's|^// expect: ||p' "$source" | head -n 1)
if [[ -z $expected ]]; then
	echo "$source:1: no line '// expect: REGEX'"
	exit 1
fi
if ! said=$("$compiler" "${flags[@]}" "$@" "$source" 2>&1); then
	printf '%s: without -DMISUSE this must compile, and does not:\n%s\n' "$source" "$said"
	exit 1
fi
if said=$("$compiler" "${flags[@]}" -DMISUSE "$@" "$source" 2>&1); then
	printf '%s: compiles with -DMISUSE, and must not; expected an error like: %s\n' "$source" "$expected"
	exit 1
fi
# The error itself must match, not a note or the source line that is shown with it.
if ! grep -E ': (fatal )?error: ' <<< "$said" | grep -qE -- "$expected"; then
	printf '%s: no error matches: %s\nThe compiler said:\n%s\n' "$source" "$expected" "$said"
	exit 1
fi
grep -E ': error: ' <<< "$said" | grep -E -- "$expected" | head -n 1
