r"""Shows the home folder as ~ in texts that are kept or shown, so that they name nobody.

Uses the standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def hide_home(text: str, homes: Iterable[str] | None = None) -> str:
    r"""The text with ~ for the home folder of the user.

    Finds it with / and with \, also doubled as in a repr, and in a URL. `homes` replaces the
    user's own folder. A home that is a root, such as /, is not hidden.
    """
    for home in _homes() if homes is None else homes:
        text = _pattern(home).sub("~", text)
    return text


def _homes() -> list[str]:
    """The home folder, as named and without links, the longer one first."""
    try:
        named = Path.home()
        found = {str(named), str(named.resolve())}
    except (OSError, RuntimeError):  # a user without a home
        return []
    return sorted(found, key=len, reverse=True)


def _pattern(home: str) -> re.Pattern[str]:
    r"""Finds a path that begins with `home`; /home/ann is not in /home/anna or /data/home/ann."""
    parts = [part for part in re.split(r"[\\/]+", home) if part]
    is_drive = re.match(r"[A-Za-z]:", home) is not None
    if len(parts) < 1 + is_drive:
        return re.compile(r"(?!)")
    path = r"[\\/]+".join(map(re.escape, parts))
    before, case = (r"(?<![\w.])", re.IGNORECASE) if is_drive else (r"(?<![\w.~-])[\\/]", 0)
    return re.compile(rf"{before}{path}(?!\.?[\w-])", case)
