#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the kernel's own iommufd selftests, unmodified, under the client.

Usage: run.py --client=BINARY [options] [TEST...]

The programs come from tools/testing/selftests/iommu of Debian's package
linux-source-6.12, which is fetched once into a cache folder, and are built with
this project's uapi/iommufd.h as <linux/iommufd.h>. TEST is a part of a test's
name, as dirty_tracking or iommufd_ioas.mock_domain; without one all run.

  --source=DIR    another kernel's tree, built with its own headers
  --uapi=NAME     the revision that open("/dev/iommu") gives (for the package:
                  linux-v6_12, and hw-queue for the tests that need it)
  --replay=TOOL   (./lab selftest --replay) run each test alone under --trace
                  instead, and let TOOL, which is tools/iommulab, run the program
                  that came of it: all must come out as it did. Of the tests on
                  address spaces, mock domains, dirty bits and VFIO if none is named
  --json=FILE     the counts, for summary.py
  --timeout=N     seconds for each program (default 900)

Prints each failing test with what its assertion says and the last calls that it
made. The last line is `N passed, N failed, N skipped`; the exit status is 1
unless all passed.
"""
import argparse
import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGE = "linux-source-6.12"
SELFTESTS = "tools/testing/selftests"
PROGRAMS = ("iommufd", "iommufd_fail_nth")
# Of the kernel's tree, and with --source its headers too.
NEEDED = (SELFTESTS + "/iommu", SELFTESTS + "/kselftest.h", SELFTESTS + "/kselftest_harness.h",
          "drivers/iommu/iommufd/iommufd_test.h")
HEADERS = tuple(f"include/uapi/linux/{name}.h" for name in ("iommufd", "vfio", "stddef"))
LAST_CALLS = 6
REPLAYED = ("iommufd_ioas.", "mock_domain", "dirty_tracking.", "vfio_")
# The form of the surface that the package's kernel has. Its programs assert a few things that only later kernels have: those
# tests are judged by the form that has them.
PACKAGE_UAPI = "linux-v6_12"
JUDGED_BY = {"get_hw_info": "hw-queue"}  # IOMMU_HW_INFO_FLAG_INPUT_TYPE

Result = collections.namedtuple("Result", "status notes")  # status: ok, not ok, skip


def say(text):
    print(f"selftest: {text}", file=sys.stderr, flush=True)


def die(text, status=2):
    say(text)
    sys.exit(status)


def cache_folder():
    """Shared by all checkouts of a user; in the checkout where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(base) / "iommulab"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    folder = ROOT / ".cache"
    folder.mkdir(exist_ok=True)
    return folder


def run_quietly(command, **kwargs):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **kwargs)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    return done.returncode == 0


def fetch(cache):
    """The parts of the package's kernel tree that are needed, unpacked once."""
    tree = cache / PACKAGE
    if (tree / "complete").exists():
        return tree
    say(f"fetching Debian's package {PACKAGE} (150 MB, once; kept in {tree})")
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", PACKAGE]
        if not run_quietly(download, cwd=scratch):
            say("apt-get update, then once more")
            update = ["apt-get", "-q", "update"]
            if os.geteuid() and shutil.which("sudo"):
                update.insert(0, "sudo")
            if not run_quietly(update) or not run_quietly(download, cwd=scratch):
                die(f"{PACKAGE} could not be fetched (see above); --source=DIR takes a kernel tree that you have", 1)
        deb = next(pathlib.Path(scratch).glob("*.deb"))
        say("unpacking it")
        # Two archives, one in the other, the inner one never on disk.
        outer = f"dpkg-deb --fsys-tarfile '{deb}' | tar -xO --wildcards './usr/src/linux-source-*.tar.xz'"
        members = " ".join(f"'*/{path}'" for path in NEEDED)
        into = pathlib.Path(scratch) / "tree"
        into.mkdir()
        if not run_quietly(["bash", "-o", "pipefail", "-c",
                            f"{outer} | xz -dc -T0 | tar -x -C '{into}' --strip-components=1 --wildcards {members}"]):
            die(f"{deb.name} could not be unpacked (see above)", 1)
        (into / "complete").write_text(deb.name + "\n")
        shutil.rmtree(tree, ignore_errors=True)
        into.rename(tree)
    return tree


def build(tree, own_headers, cache):
    """Both programs; the folder where they are. Done again when a source changed."""
    needed = NEEDED + HEADERS if own_headers else NEEDED
    sources = [p for path in needed for p in sorted([tree / path] if (tree / path).is_file() else (tree / path).glob("*.[ch]"))]
    missing = [path for path in needed if not (tree / path).exists()]
    if missing:
        die(f"{tree} has no {missing[0]}: is it a kernel tree?")
    ours = [] if own_headers else [ROOT / "uapi/iommufd.h", ROOT / "uapi/iommufd_test.h"]
    digest = hashlib.sha256()
    for path in [pathlib.Path(__file__), *sources, *ours]:
        digest.update(path.read_bytes())
    folder = cache / f"selftest-{digest.hexdigest()[:16]}"
    if all((folder / name).exists() for name in PROGRAMS):
        return folder
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        copy = pathlib.Path(scratch)
        for path in sources:
            to = copy / path.relative_to(tree)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
        include = copy / "include-linux/linux"
        include.mkdir(parents=True)
        flags = ["-I", str(include.parent), "-I", str(copy / SELFTESTS)]
        if own_headers:
            # As scripts/headers_install.sh has them.
            for path in HEADERS:
                text = (tree / path).read_text()
                (include / pathlib.Path(path).name).write_text(re.sub(r"#include <linux/compiler\w*\.h>|\b__user\b", "", text))
        else:
            shutil.copyfile(ROOT / "uapi/iommufd.h", include / "iommufd.h")
            # The package's lacks a few names that its programs use.
            shutil.copyfile(ROOT / "uapi/iommufd_test.h", copy / "drivers/iommu/iommufd/iommufd_test.h")
            flags += ["-I", str(ROOT)]
        makefile = (tree / SELFTESTS / "iommu/Makefile").read_text()
        libraries = re.findall(r"-l\w+", " ".join(re.findall(r"^LDLIBS.*", makefile, re.M)))
        for name in PROGRAMS:
            # From within the folder, so that assertions name the file alone.
            if not run_quietly(["gcc", "-O2", "-w", "-D_GNU_SOURCE=", *flags, "-o", str(copy / name), f"{name}.c", *libraries],
                               cwd=copy / SELFTESTS / "iommu"):
                die(f"{name}.c did not build (see above)", 1)
        folder.mkdir(exist_ok=True)
        for name in PROGRAMS:
            (copy / name).replace(folder / name)
    return folder


def parse_tap(lines):
    """Test name -> Result, from what the harness prints."""
    results, notes = {}, []
    for line in lines:
        found = re.match(r"(ok|not ok) \d+ (\S+)(?: # (SKIP.*|XFAIL.*))?", line)
        if found:
            status = "skip" if (found[3] or "").startswith("SKIP") else found[1]
            results[found[2]] = Result(status, notes)
            notes = []
        elif line.startswith("#  RUN"):
            notes = []
        elif line.startswith("# ") and not re.match(r"#\s+(OK|FAIL|RUN)\b|# (Starting|PASSED|FAILED|Totals)", line):
            notes.append(line[2:])
        elif not line.startswith(("TAP version", "1..", "#")):
            notes.append(line)
    return results


class Client:
    """How a program is started under the lab kernel."""

    def __init__(self, binary, uapi):
        self.binary = binary
        self.uapi = uapi

    def run(self, program, arguments, timeout, on_line=lambda line: None, trace=None):
        """The lines that it printed, and its status; None when it was killed."""
        command = [self.binary] + ([f"--uapi={self.uapi}"] if self.uapi else []) + ([f"--trace={trace}"] if trace else [])
        process = subprocess.Popen([*command, "--", str(program), *arguments], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                   start_new_session=True)
        killed = threading.Event()

        def kill():
            killed.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout, kill)
        timer.start()
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            on_line(lines[-1])
        status = process.wait()
        timer.cancel()
        return lines, None if killed.is_set() else status


def last_calls(client, program, name, timeout):
    """What the test does last when it runs alone."""
    with tempfile.NamedTemporaryFile(suffix=".prog") as trace:
        client.run(program, ["-r", name], timeout, trace=trace.name)
        lines = pathlib.Path(trace.name).read_text(errors="replace").splitlines()
    return [line for line in lines if line and not line.startswith("#") and "close(" not in line][-LAST_CALLS:]


def replay(client, tool, program, name, timeout):
    """None when the trace of a test replays to the same results, else what differs."""
    with tempfile.TemporaryDirectory() as scratch:
        trace = f"{scratch}/{name}.prog"
        client.run(program, ["-r", name], timeout, trace=trace)
        if not os.path.exists(trace):
            return ["left no trace"]
        done = subprocess.run([tool, "run", trace], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              check=False, timeout=timeout)
    if not done.returncode:
        return None
    lines = done.stdout.splitlines()
    wrong = [i for i, line in enumerate(lines) if line.startswith("!")]
    return [line for i in wrong[:3] for line in lines[i:i + 2]] + lines[-1:]


def replay_all(client, tool, folder, names, timeout):
    """Counts as main() does."""
    failures = []
    began = last = time.monotonic()
    for done, (program, name) in enumerate(names):
        if time.monotonic() - last > 5:
            last = time.monotonic()
            say(f"{done} of {len(names)} replayed")
        notes = replay(client, tool, folder / program, name, timeout)
        if notes:
            failures.append((program, name, notes, []))
    say(f"{len(names)} tests traced and replayed in {time.monotonic() - began:.1f} s")
    return collections.Counter(passed=len(names) - len(failures)), failures


def read_table(path):
    rows = [line.split(None, 2) for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {(row[0], row[1]): row[2] if len(row) > 2 else "" for row in rows}


def run_all(client, options, folder, expected, known, later):
    """The counts, and (program, test, notes, last calls) of each failure."""
    chosen = options.tests
    wanted = lambda name: not chosen or any(t in name for t in chosen)
    counts = collections.Counter()
    failures = []
    for program in PROGRAMS:
        arguments = []
        for name in {n for p, n in expected if p == program and wanted(n)} if chosen else ():
            arguments += ["-r", name]
        if chosen and expected and not arguments:
            continue
        began = last = time.monotonic()
        done = 0

        def progress(line):
            nonlocal done, last
            done += bool(re.match(r"(not )?ok \d+ ", line))
            if time.monotonic() - last > 5:
                last = time.monotonic()
                say(f"{program}: {done} done")

        lines, status = client.run(folder / program, arguments, options.timeout, progress)
        results = {n: r for n, r in parse_tap(lines).items() if wanted(n)}
        for name in [n for n, r in results.items() if r.status == "not ok" and n.split(".")[-1] in later]:
            other = Client(options.client, later[name.split(".")[-1]])
            again, _ = other.run(folder / program, ["-r", name], options.timeout)
            results.update((n, r) for n, r in parse_tap(again).items() if n == name)
        missing = [n for p, n in expected if p == program and wanted(n) and n not in results]
        tally = collections.Counter(r.status for r in results.values())
        say(f"{program}: {len(results)} tests in {time.monotonic() - began:.1f} s")
        for name, result in results.items():
            if result.status == "not ok":
                failures.append((program, name, result.notes, last_calls(client, folder / program, name, 60)))
            elif result.status == "ok" and (program, name) in known:
                failures.append((program, name, ["passes, and tests/kernel_selftest/known.txt says that it cannot"], []))
            elif result.status == "skip":
                print(f"skipped  {program} {name}: {' '.join(result.notes)}")
        for name in missing:
            failures.append((program, name, ["did not run" if status is not None else "did not end in time"], []))
        if not results:
            failures.append((program, "(all)", lines[-10:] or ["printed nothing"], []))
        elif status is None:
            failures.append((program, "(all)", [f"killed after {options.timeout:.0f} s"], []))
        elif status not in (0, 1) or (status == 1 and "not ok" not in {l[:6] for l in lines}):
            failures.append((program, "(all)", [f"ended with status {status}"] + lines[-10:], []))
        counts["passed"] += tally["ok"]
        counts["skipped"] += tally["skip"]

    return counts, failures


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--client", required=True)
    parser.add_argument("--source")
    parser.add_argument("--uapi")
    parser.add_argument("--replay")
    parser.add_argument("--json")
    parser.add_argument("--timeout", type=float, default=900)
    parser.add_argument("--help", action="store_true")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    if options.help:
        print(__doc__)
        return 0

    cache = cache_folder()
    tree = pathlib.Path(options.source).resolve() if options.source else fetch(cache)
    folder = build(tree, bool(options.source), cache)
    client = Client(options.client, options.uapi or ("" if options.source else PACKAGE_UAPI))
    later = {} if options.source or options.uapi else JUDGED_BY
    known = read_table(HERE / "known.txt")
    expected = read_table(HERE / "linux-6.12.txt") if not options.source else {}

    if options.replay:
        if options.source:
            die("--replay takes the package's programs")
        names = [(p, n) for p, n in expected if p == PROGRAMS[0] and any(t in n for t in options.tests or REPLAYED)]
        counts, failures = replay_all(client, options.replay, folder, names, 120)
    else:
        counts, failures = run_all(client, options, folder, expected, known, later)

    for program, name, notes, calls in failures:
        print(f"FAILED   {program} {name}")
        for note in notes[:10]:
            print(f"           {note}")
        for call in calls:
            print(f"             {call}")
        if (program, name) in known:
            print(f"           known: {known[program, name]}")
    counts["failed"] = len(failures)
    if not counts["passed"] and not failures:
        die(f"no test's name has {' or '.join(options.tests)} in it")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(
            {"passed": counts["passed"], "failed": [f"{p} {n}" for p, n, _, _ in failures], "skipped": counts["skipped"]}))
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
