#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# no_globals.sh ARCHIVE...: fails when an object file has writable data that $ALLOWED does not name, one name a line.
# See globals.bzl. Data that is constant after relocation (.data.rel.ro) is no global.
set -u
[[ $# -gt 0 ]] || {
	echo "no archive to read"
	exit 1
}
bad=0 objects=0
for archive in "$@"; do
	symbols=$(llvm-objdump-19 -t --demangle "$archive") || exit 1
	objects=$((objects + $(grep -c 'file format' <<< "$symbols")))
	# address flags section size name; sections themselves have the flag d.
	found=$(sed -nE 's/^[0-9a-f]+ .{7} (\.data|\.data\.[^r].*|\.bss|\.bss\..*|\.tdata.*|\.tbss.*|\*COM\*)\t[0-9a-f]+ (\.hidden )?(.*)$/\3/p' <<< "$symbols" |
		grep -vE '^\.(data|bss|tdata|tbss)' | sort -u | grep -vxF -- "${ALLOWED:-/}")
	[[ -z $found ]] || while read -r name; do
		echo "$archive: writable for the life of the process: $name"
		bad=1
	done <<< "$found"
done
echo "$# archives, $objects object files"
exit $bad
