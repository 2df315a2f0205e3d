#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes compile_commands.json for editors and clang-tidy from `bazel aquery`.

Usage: cdb.py [TARGETS]      (default //...)

Paths of our own sources are the workspace's, so that an editor opens the file
itself; third-party headers are found through Bazel's execution root.
"""
import json
import os
import subprocess
import sys


def bazel(*args):
    done = subprocess.run(["bazel", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not done.stdout:
        sys.exit(f"cdb.py: bazel {args[0]} said nothing:\n{done.stderr[-2000:]}")
    return done.stdout


def main():
    targets = sys.argv[1] if len(sys.argv) > 1 else "//..."
    workspace = bazel("info", "workspace").strip()
    os.chdir(workspace)
    root = bazel("info", "execution_root").strip()
    query = f'mnemonic("CppCompile", {targets} - filter("^@", {targets}))'
    actions = json.loads(bazel("aquery", query, "--output=jsonproto", "--keep_going"))

    entries = {}
    for action in actions.get("actions", []):
        args = action["arguments"]
        source = args[args.index("-c") + 1]
        if source.startswith(("external/", "bazel-out/")):
            continue
        compiler = "clang-19" if source.endswith(".c") else "clang++-19"
        path = os.path.join(workspace, source)
        args = [compiler] + [path if a == source else a for a in args[1:]]
        # `-iquote .` is the execution root: the workspace's own files come first.
        at = next((i for i, a in enumerate(args) if a == "-iquote"), len(args))
        args[at:at] = ["-iquote", workspace]
        entries.setdefault(path, {"directory": root, "file": path, "arguments": args})

    with open("compile_commands.json", "w", encoding="utf-8") as out:
        json.dump([entries[k] for k in sorted(entries)], out, indent=1)
        out.write("\n")
    print(f"compile_commands.json: {len(entries)} files")


main()
