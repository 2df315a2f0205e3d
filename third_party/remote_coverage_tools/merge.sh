#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Stand-in for Bazel's CoverageOutputGenerator: concatenates lcov tracefiles. third_party/summary.py adds them up.
set -euo pipefail
dir= out= reports=
for a in "$@"; do
	case $a in
	--coverage_dir=*) dir=${a#*=} ;;
	--output_file=*) out=${a#*=} ;;
	--reports_file=*) reports=${a#*=} ;;
	esac
done
: > "$out"
[[ -z $dir ]] || find -L "$dir" -name '*.dat' -size +0 -print0 | sort -z | xargs -0 -r cat >> "$out"
if [[ -n $reports ]]; then
	while read -r f; do
		[[ ! -s $f ]] || cat "$f" >> "$out"
	done < "$reports"
fi
