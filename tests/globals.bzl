# SPDX-License-Identifier: GPL-2.0-or-later
"""A test that libraries, and what they are built from, have no mutable globals.

It reads the symbols of the object files, so it also sees statics in functions and
in templates. `allowed` are demangled names; third-party libraries are not read.
"""

def _no_globals_test_impl(ctx):
    archives = {}
    for dep in ctx.attr.deps:
        for linker_input in dep[CcInfo].linking_context.linker_inputs.to_list():
            if linker_input.owner.workspace_name:
                continue
            for library in linker_input.libraries:
                archive = library.pic_static_library or library.static_library
                if archive:
                    archives[archive] = True
    script = ctx.actions.declare_file(ctx.label.name + ".sh")
    ctx.actions.write(
        script,
        "#!/bin/sh\nexport ALLOWED='{allowed}'\nexec {runner} {archives}\n".format(
            allowed = "\n".join(ctx.attr.allowed),
            runner = ctx.executable._runner.short_path,
            archives = " ".join([archive.short_path for archive in archives]),
        ),
        is_executable = True,
    )
    return [DefaultInfo(
        executable = script,
        runfiles = ctx.runfiles([ctx.executable._runner] + archives.keys()),
    )]

no_globals_test = rule(
    implementation = _no_globals_test_impl,
    attrs = {
        "allowed": attr.string_list(),
        "deps": attr.label_list(providers = [CcInfo]),
        "_runner": attr.label(
            default = "//tests:no_globals.sh",
            allow_single_file = True,
            executable = True,
            cfg = "host",
        ),
    },
    test = True,
)
