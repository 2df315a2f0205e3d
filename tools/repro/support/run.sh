#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs the programs of this folder, or those that are named, and prints TAP, then
# a table: program | result | first difference. Builds those that are not built.
# Needs root and a kernel with CONFIG_IOMMUFD_TEST. Exit status: 1 when one
# differs. REPRO_RUN is put in front of each program, as a wrapper.
cd "$(dirname "$0")" || exit 2
if [ $# -eq 0 ]; then
	for source in *.c; do
		set -- "$@" "${source%.c}"
	done
fi
for program; do
	if [ ! -x "$program" ]; then
		make || exit 2
		break
	fi
done
limit=
! command -v timeout > /dev/null || limit="timeout 60"
table=
number=0
differ=0
echo "TAP version 13"
echo "1..$#"
for program; do
	number=$((number + 1))
	# shellcheck disable=SC2086
	output=$($limit $REPRO_RUN ./"$program" 2>&1)
	status=$?
	first=$(printf '%s\n' "$output" | grep -m 1 '^line ')
	case $status in
	0)
		result=ok
		echo "ok $number - $program"
		;;
	4)
		result=skip
		first=$(printf '%s\n' "$output" | grep -m 1 '^# ' | sed 's/^# \(SKIP \)*//')
		echo "ok $number - $program # SKIP $first"
		;;
	*)
		result="not ok"
		differ=1
		[ -n "$first" ] || first="exit status $status"
		echo "not ok $number - $program"
		printf '%s\n' "$output" | sed 's/^/# /'
		;;
	esac
	table="$table$(printf '%-56s | %-6s | %s' "$program" "$result" "$first")
"
done
echo
printf '%-56s | %-6s | %s\n' program result "first difference"
printf '%s' "$table"
exit "$differ"
