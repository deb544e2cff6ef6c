"""Compiles the native kernels when a wheel is built or the package is installed from a clone.

Without a C compiler the package is built all the same, without them.
"""

from __future__ import annotations

import importlib.util
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
        try:
            library = native.compile_library()
        except native.CompileError as error:
            self.app.display_warning(f"Built without native kernels: {error}")
            return
        if version == "standard":
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"
            build_data["force_include"][str(library)] = (NATIVE / library.name).as_posix()
