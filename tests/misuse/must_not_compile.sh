#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# must_not_compile.sh COMPILER FILE [compiler options]: see misuse.bzl. Runs in the runfiles.
set -u
compiler=$1 misuse=$2
shift 2
# The flags of product code (.bazelrc).
flags=(-x c++ -std=c++20 -fsyntax-only -O1 -Wall -Wextra -Werror -Wno-invalid-offsetof -Wthread-safety
	-Wthread-safety-beta -fno-exceptions -fno-rtti -fno-color-diagnostics --system-header-prefix=absl/
	--system-header-prefix=gtest/ "$@")

# The rest of the line `<comment sign> NAME: ...` of the misuse file.
directive() { sed -nE "s,^(//|#) $1: ,,p" "$misuse" | head -n 1; }
fail() {
	printf '%s: %s\n' "$misuse" "$1"
	[[ -z ${2:-} ]] || printf 'The compiler said:\n%s\n' "$2"
	exit 1
}

expected=$(directive expect)
[[ -n $expected ]] || fail "no line 'expect: REGEX'"

good=() bad=(-DMISUSE)
source=$misuse
if [[ $misuse == *.edit ]]; then
	# The edited file stands before the real one in the search path.
	edited=$(directive edit)
	source=$(directive compile)
	overlay=$(mktemp -d)
	trap 'rm -rf "$overlay"' EXIT
	mkdir -p "$overlay/${edited%/*}"
	sed -E -f "$misuse" "$edited" > "$overlay/$edited" || fail "sed cannot edit $edited"
	! cmp -s "$edited" "$overlay/$edited" || fail "changes nothing in $edited"
	bad=(-iquote "$overlay")
fi
in_overlay() { if [[ -f ${overlay:-/}/$1 ]]; then echo "$overlay/$1"; else echo "$1"; fi; }

said=$("$compiler" "${good[@]}" -iquote . "${flags[@]}" "$source" 2>&1) || fail "$source must compile, and does not" "$said"
! said=$("$compiler" "${bad[@]}" -iquote . "${flags[@]}" "$(in_overlay "$source")" 2>&1) ||
	fail "compiles, and must not; expected an error like: $expected"
# What the compiler says must match, not a line of source that is shown with it.
grep -E ': (fatal error|error|note): ' <<< "$said" | grep -E -- "$expected" | head -n 1 | grep . ||
	fail "no error matches: $expected" "$said"
