#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Unpacks Debian's source packages of Abseil, GoogleTest and Google Benchmark beside this script, and makes the copy of
# Debian's Bazel platforms that Abseil's BUILD files need. The mirror is the one that this machine's apt already uses;
# apt verifies the signatures. Needs no root and leaves apt's own state alone.
#
# Does nothing when its stamp says that this very script already ran; `fetch.sh --check` only says whether it did.
set -euo pipefail

# package/suite=the directory that WORKSPACE names. Abseil of the newer suite, because it has absl/log.
readonly sources=(abseil/trixie=abseil-cpp googletest/bookworm=googletest benchmark/bookworm=benchmark)
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg

cd "$(dirname "${BASH_SOURCE[0]}")"
say() { printf 'fetch.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

stamp=$(sha256sum < fetch.sh | cut -d' ' -f1)
complete() {
	local s
	[[ -f .fetched && $(< .fetched) == "$stamp" && -f platforms/BUILD ]] || return 1
	for s in "${sources[@]}"; do [[ -f ${s#*=}/BUILD.bazel ]] || return 1; done
}
complete && exit 0
[[ ${1:-} == --check ]] && exit 1

command -v dpkg-source > /dev/null || die "dpkg-source is missing: install the package dpkg-dev"
[[ -d /usr/share/bazel/platforms ]] || die "/usr/share/bazel/platforms is missing: install the package bazel-bootstrap"
[[ -f $keyring ]] || die "$keyring is missing: this needs Debian's source packages, or other entries in WORKSPACE"

# The archive that this machine's apt takes most from. Needs no package list, so it works before any `apt-get update`.
uri=$(apt-get update --print-uris 2> /dev/null | sed -n "s|^'\([^']*\)/dists/.*|\1|p" | sort | uniq -c | sort -rn |
	awk '/debian/ && !/security/ { print $2; exit }')
[[ -n $uri ]] || die "apt on this machine has no Debian archive (see /etc/apt/sources.list)"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp"/{lists/partial,cache/archives/partial,src}
for suite in bookworm trixie; do
	echo "deb-src [signed-by=$keyring] $uri $suite main"
done > "$tmp/src.list"
opt=(-q -o Dir::Etc::sourcelist="$tmp/src.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$tmp/lists"
	-o Dir::Cache="$tmp/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root)
# Shows what apt said only when it fails.
quietly() { "$@" > "$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "this failed: ${*: -3}"; }; }

say "unpacking ${sources[*]%=*} from Debian's source packages"
quietly apt-get "${opt[@]}" update
cd "$tmp/src"
quietly apt-get "${opt[@]}" source "${sources[@]%=*}"
cd "$OLDPWD"
rm -f .fetched
for s in "${sources[@]}"; do
	unpacked=("$tmp"/src/"${s%%/*}"-*/)
	[[ ${#unpacked[@]} -eq 1 && -f ${unpacked[0]}BUILD.bazel ]] || die "${s%=*} unpacked to no directory with a BUILD.bazel"
	rm -rf "${s#*=}"
	mv "${unpacked[0]}" "${s#*=}"
done

# Undo Debian's ABI pinning: absl::string_view and friends are the std types again, as upstream has it.
sed -i -E 's/^(#define ABSL_OPTION_USE_STD_[A-Z_]+) 0/\1 2/' abseil-cpp/absl/base/options.h

# Debian's platforms, with two cpu values that Abseil names and this version lacks.
rm -rf platforms
# A folder deeper from Bazel 7 on.
from=/usr/share/bazel/platforms
[[ ! -d $from/platforms ]] || from=$from/platforms
cp -r "$from" platforms
chmod -R u+w platforms
for cpu in wasm32 wasm64; do
	grep -q "\"$cpu\"" platforms/cpu/BUILD ||
		printf 'constraint_value(name = "%s", constraint_setting = ":cpu")\n' "$cpu" >> platforms/cpu/BUILD
done

printf '%s\n' "$stamp" > .fetched
complete || die "incomplete after all: remove third_party/.fetched and try again"
say "done"
