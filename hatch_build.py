"""Compiles the native kernels when a wheel is built or the package is installed from a clone.

Without a C compiler the package is built all the same, without them.
"""

from __future__ import annotations

import importlib.util
import platform
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("harness", "cells", "native")


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatchling's hook; `initialize` is called before the files are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the library beside its sources, and into the wheel."""
        root = Path(self.root)
        spec = importlib.util.spec_from_file_location("build_native", root / NATIVE / "build.py")
        assert spec is not None
        assert spec.loader is not None
        native = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(native)
        is_editable = version != "standard"
        if is_editable and native.is_built():
            return
        try:
            library = native.compile_library()
        except native.CompileError as error:
            self.app.display_warning(f"Built without native kernels: {error}")
            return
        if not is_editable:
            # A Python for two processors of macOS: the library is for this one
            system = sysconfig.get_platform().replace("universal2", platform.machine())
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{system.replace('-', '_').replace('.', '_')}"
            build_data["force_include"][str(library)] = (NATIVE / library.name).as_posix()
