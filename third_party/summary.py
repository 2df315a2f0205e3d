#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Adds up what Bazel reported.

Usage: summary.py CONFIG=EVENTS.json...    test results, by test case
       summary.py --lcov FILE              line coverage, by folder

EVENTS.json is what `--build_event_json_file` wrote, or, where CONFIG begins with
selftest, what tests/kernel_selftest/run.py --json wrote. Each test case of a
GoogleTest binary counts once per config; a test without a case list counts as
one, and so does the build of a config that only builds. A target that did not
build is a failure, and so is a config that reported nothing. The last line is
`N passed, N failed`; the exit status is 1 unless something ran and all passed.
"""
import collections
import json
import os
import re
import sys
import urllib.parse
import xml.etree.ElementTree


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.bad = []  # what failed, for people

    def fail(self, what, count=1):
        self.failed += count
        self.bad.append(what)


def local_path(uri):
    return urllib.parse.unquote(urllib.parse.urlparse(uri).path)


def count_cases(tally, label, result):
    """Counts one test run, by the cases of its test.xml where it has them."""
    uri = next((o.get("uri", "") for o in result.get("testActionOutput", []) if o["name"] == "test.xml"), "")
    cases = []
    if uri and os.path.exists(local_path(uri)):
        try:
            cases = list(xml.etree.ElementTree.parse(local_path(uri)).iter("testcase"))
        except xml.etree.ElementTree.ParseError:
            pass  # the test died while writing it
    ok = result["status"] in ("PASSED", "FLAKY")
    failed = 0
    for case in cases:
        name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
        if any(child.tag in ("failure", "error") for child in case):
            failed += 1
            tally.fail(f"{label} {name}")
        elif case.get("status") == "notrun" or case.get("result") == "skipped":
            tally.skipped += 1
        else:
            tally.passed += 1
    if not ok and not failed:
        tally.fail(f"{label} ({result['status'].lower()})")
    elif ok and not cases:
        tally.passed += 1


def read_events(path):
    tally = Tally()
    results = {}
    built = 0
    finished = None
    command = ""
    try:
        lines = open(path, encoding="utf-8").read().splitlines()
    except OSError:
        lines = []
    for line in lines:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut off in the middle
        ident = event.get("id", {})
        if "started" in event:
            command = event["started"].get("command", "")
        elif "testResult" in ident and "testResult" in event:
            key = ident["testResult"]
            results[(key["label"], key.get("run", 1), key.get("shard", 1))] = event["testResult"]  # the last attempt
        elif "targetCompleted" in ident:
            label = ident["targetCompleted"]["label"]
            if event.get("completed", {}).get("success"):
                built += 1
            elif ident["targetCompleted"].get("aspect") is None:
                tally.fail(f"{label} (did not build)")
        elif "finished" in event:
            finished = event["finished"].get("exitCode", {}).get("name", "")
    for (label, _, _), result in sorted(results.items()):
        count_cases(tally, label, result)
    if command == "build" and built and not tally.failed:
        tally.passed += 1
    if finished != "SUCCESS" and not tally.failed:
        tally.fail(f"bazel ended with {finished or 'no report'}")
    if not tally.passed and not tally.failed:
        tally.fail("nothing ran")
    return tally, built


def read_selftest(path):
    tally = Tally()
    try:
        with open(path, encoding="utf-8") as counts_file:
            counts = json.load(counts_file)
    except (OSError, json.JSONDecodeError):
        counts = {"passed": 0, "skipped": 0, "failed": ["the kernel's selftests did not run"]}
    tally.passed, tally.skipped = counts["passed"], counts["skipped"]
    for what in counts["failed"]:
        tally.fail(what)
    return tally


def print_tests(arguments):
    passed = failed = 0
    bad = []
    for argument in arguments:
        config, path = argument.split("=", 1)
        if config.startswith("selftest"):
            tally, remark = read_selftest(path), "the kernel's selftests"
        else:
            tally, built = read_events(path)
            remark = f"{built} targets built"
        extra = f", {tally.skipped} skipped" if tally.skipped else ""
        print(f"{config:17} {tally.passed:6} passed {tally.failed:4} failed{extra}  ({remark})")
        passed += tally.passed
        failed += tally.failed
        bad += [f"{config}: {what}" for what in tally.bad]
    for what in bad[:50]:
        print(f"FAILED {what}")
    if len(bad) > 50:
        print(f"... and {len(bad) - 50} more")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


def print_lcov(path):
    lines = collections.defaultdict(lambda: collections.defaultdict(int))
    name = ""
    with open(path, encoding="utf-8") as tracefile:
        for line in tracefile:
            if line.startswith("SF:"):
                name = re.sub(r"^.*/execroot/[^/]+/", "", line[3:].strip())
            elif line.startswith("DA:"):
                number, count = line[3:].split(",")[:2]
                lines[name][int(number)] += int(count)
    folders = collections.defaultdict(lambda: [0, 0])
    for name, hits in lines.items():
        covered = sum(1 for count in hits.values() if count)
        for key in (os.path.dirname(name), "all"):
            folders[key][0] += covered
            folders[key][1] += len(hits)
        print(f"{100 * covered / len(hits):6.1f} %  {covered:6} of {len(hits):6}  {name}")
    if not folders:
        print("no line was recorded")
        return 1
    print()
    for key in sorted(folders, key=lambda k: (k == "all", k)):
        covered, total = folders[key]
        print(f"{100 * covered / total:6.1f} %  {covered:6} of {total:6}  {key}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--lcov":
        sys.exit(print_lcov(sys.argv[2]))
    if len(sys.argv) < 2 or any("=" not in a for a in sys.argv[1:]):
        sys.exit(__doc__)
    sys.exit(print_tests(sys.argv[1:]))
