# SPDX-License-Identifier: GPL-2.0-or-later
"""A defect that once was there, put back for one test.

planted_bug(name) takes NAME.patch, which puts the defect into a copy of `src`, compiles the copy and links it in
front of the library that `src` is in: the linker has all its names then and does not look for them there. The test
passes only when the program NAME.prog (or `runner`, which has a test of its own in it) does NOT pass.
"""

def planted_bug(name, src, runner = None):
    source = "%s/%s" % (name, src.split(":")[1])
    native.genrule(
        name = name + "_source",
        srcs = [
            src,
            name + ".patch",
        ],
        outs = [source],
        # A hunk that does not fit fails the build: the patch follows the source.
        # A copy, because patch refuses the links that a sandbox is made of.
        cmd = ("cp $(execpath %s) $@ && chmod u+w $@ && " +
               "patch --silent --force --no-backup-if-mismatch $@ $(execpath %s.patch)") % (src, name),
    )
    native.cc_library(
        name = name + "_planted",
        testonly = True,
        srcs = [source],
        # It is a mistake, and the compiler may well say so.
        copts = [
            "-w",
            "-fno-exceptions",
            "-fno-rtti",
        ],
        # Whole, and before what it stands in front of.
        alwayslink = True,
        deps = ["//drivers/platform"],
    )
    native.cc_test(
        name = name + "_planted_test",
        size = "small",
        args = ["--expect-failure"] + ([] if runner else ["$(rootpath %s.prog)" % name]),
        data = [] if runner else [name + ".prog"],
        # A defect is noticed by what it does; tsan would add minutes and no defect.
        tags = ["no-tsan"],
        deps = [
            name + "_planted",
            runner or ":run",
        ],
    )
