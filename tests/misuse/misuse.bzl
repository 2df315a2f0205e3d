# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that something does NOT compile, for the reason that it names.

A misuse file is one of two. Either way the compiler must say what the file's line
`expect: REGEX` names, and the same without the mistake must compile: so a test
cannot pass because of a missing header or a typing error.

  NAME.cc    compiled as it is, it must be clean; compiled with -DMISUSE it must fail
  NAME.edit  a sed script for the file of `edit: FILE`, a mistake made in product
             code; then `compile: FILE` must fail
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
                if not path.startswith("bazel-out/") and path != ".":
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
    return [DefaultInfo(
        executable = script,
        runfiles = ctx.runfiles(
            [ctx.file.src, ctx.executable._runner] + ctx.files.data,
            transitive_files = depset(transitive = [context.headers for context in contexts]),
        ),
    )]

misuse_test = rule(
    implementation = _misuse_test_impl,
    attrs = {
        "src": attr.label(
            allow_single_file = [".cc", ".edit"],
            mandatory = True,
        ),
        "data": attr.label_list(allow_files = True),
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
