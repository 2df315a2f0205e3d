# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that a file does NOT compile, for the reason that it names.

A misuse file's first lines hold `// expect: REGEX`. Compiled as it is, it must be
clean: so the test cannot pass because of a missing header or a typing mistake.
Compiled with -DMISUSE, it must fail, with an error that matches REGEX.
"""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

def _runfiles_path(path):
    # external/NAME/... of the execution root is ../NAME/... in the runfiles.
    return "../" + path[len("external/"):] if path.startswith("external/") else path

def _misuse_test_impl(ctx):
    contexts = [dep[CcInfo].compilation_context for dep in ctx.attr.deps]
    flags = []
    for context in contexts:
        for option, paths in [
            ("-iquote", context.quote_includes),
            ("-I", context.includes),
            ("-isystem", context.system_includes),
        ]:
            for path in paths.to_list():
                if not path.startswith("bazel-out/"):
                    flags += [option, _runfiles_path(path)]
        flags += ["-D" + define for define in context.defines.to_list()]
    script = ctx.actions.declare_file(ctx.label.name + ".sh")
    ctx.actions.write(
        script,
        "#!/bin/sh\nexec {runner} {compiler} {source} {flags}\n".format(
            runner = ctx.executable._runner.short_path,
            compiler = find_cpp_toolchain(ctx).compiler_executable,
            source = ctx.file.src.short_path,
            flags = " ".join(["'%s'" % flag for flag in flags]),
        ),
        is_executable = True,
    )
    headers = [context.headers for context in contexts]
    return [DefaultInfo(
        executable = script,
        runfiles = ctx.runfiles(
            [ctx.file.src, ctx.executable._runner],
            transitive_files = depset(transitive = headers),
        ),
    )]

misuse_test = rule(
    implementation = _misuse_test_impl,
    attrs = {
        "src": attr.label(allow_single_file = [".cc"], mandatory = True),
        "deps": attr.label_list(providers = [CcInfo]),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
        "_runner": attr.label(
            default = "//tests/misuse:must_not_compile.sh",
            allow_single_file = True,
            executable = True,
            cfg = "host",
        ),
    },
    fragments = ["cpp"],
    test = True,
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)
