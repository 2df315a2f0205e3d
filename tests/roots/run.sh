#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The README's commands on another Debian, from nothing: makes a root of a suite with debootstrap, from the mirror that
# this machine's own apt uses, puts a clean clone of HEAD in it, and runs a command there. It needs root.
#
# usage: run.sh [--keep] SUITE [COMMAND...]     e.g. run.sh trixie ./lab test --quick
#
#   SUITE      bookworm, trixie, testing: what debootstrap takes
#   COMMAND    runs in the clone; without one: ./lab run examples/vcmdq.prog
#   --keep     goes on in the root that is there; without it the root is made anew
#
# The roots are in $ROOTS (default ${TMPDIR:-/tmp}/iommulab-roots), outside the tree. The exit status is the command's.
set -euo pipefail

die() { printf 'run.sh: %s\n' "$*" >&2; exit 1; }
say() { printf 'run.sh: %s: %s (%s s)\n' "$suite" "$*" "$SECONDS" >&2; }

keep=0
[[ ${1:-} != --keep ]] || { keep=1 && shift; }
suite=${1:-}
[[ $suite =~ ^[a-z]+$ ]] || die "usage: run.sh [--keep] SUITE [COMMAND...]"
shift
[[ $# -gt 0 ]] || set -- ./lab run examples/vcmdq.prog
[[ $(id -u) -eq 0 ]] || die "debootstrap and chroot need root"
command -v debootstrap > /dev/null || die "no debootstrap: apt-get install debootstrap"

tree=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
base=${ROOTS:-${TMPDIR:-/tmp}/iommulab-roots}
mkdir -p "$base"
root=$(cd "$base" && pwd -P)/$suite

if [[ $keep -eq 0 || ! -f $root/.complete ]]; then
	# The archive that this machine's apt takes most from.
	mirror=$(apt-get update --print-uris 2> /dev/null | sed -n "s|^'\([^']*\)/dists/.*|\1|p" | sort | uniq -c | sort -rn |
		awk '/debian/ && !/security/ { print $2; exit }')
	[[ -n $mirror ]] || die "apt on this machine has no Debian archive"
	say "debootstrap"
	rm -rf "$root"
	debootstrap --variant=minbase "$suite" "$root" "$mirror" > "$base/$suite-debootstrap.log" 2>&1 || {
		tail -n 20 "$base/$suite-debootstrap.log" >&2
		die "debootstrap failed"
	}
	# How this machine reaches the mirror.
	apt-config dump Acquire | grep -v '^Acquire::Languages\|IndexTargets' > "$root/etc/apt/apt.conf.d/00machine"
	touch "$root/.complete"
fi
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"

say "a clean clone of $(git -C "$tree" log -1 --format='%h %s')"
rm -rf "$root/src/iommulab"
git clone -q --no-hardlinks "$tree" "$root/src/iommulab"

# Processes of its own, so that nothing of it is left: Bazel's server goes with the command.
say "$*"
status=0
unshare --mount --pid --fork bash -ec '
	root=$1
	shift
	mount -t proc proc "$root/proc"
	mount --rbind /sys "$root/sys"
	mount --rbind /dev "$root/dev"
	# shellcheck disable=SC2016
	exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 CI="${CI:-}" \
		bash -c '\''cd /src/iommulab && exec "$@"'\'' roots "$@"
' roots "$root" "$@" < /dev/null || status=$?
say "status $status"
exit "$status"
