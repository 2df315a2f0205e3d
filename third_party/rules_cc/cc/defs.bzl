# SPDX-License-Identifier: GPL-2.0-or-later
"""Offline stand-in for @rules_cc (what Bazel 4.2 and its @bazel_tools load)."""
cc_library = native.cc_library
cc_binary = native.cc_binary
cc_test = native.cc_test
cc_import = native.cc_import
cc_proto_library = native.cc_proto_library
cc_toolchain = native.cc_toolchain
cc_toolchain_suite = native.cc_toolchain_suite
objc_library = native.objc_library
