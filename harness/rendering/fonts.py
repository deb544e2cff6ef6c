"""Chooses installed fonts for the letters of a report: a Latin one, then those its texts need.

It never downloads a font and never fails without one. SVG and HTML keep letters as text and name
fallback fonts for the reader's machine. Only a PNG can lack a letter: `missing` lists those.
"""

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

LATIN = (
    "Inter",
    "Source Sans 3",
    "Noto Sans",
    "Open Sans",
    "Helvetica Neue",
    "Segoe UI",
    "Liberation Sans",
    "Arial",
    "DejaVu Sans",
)
# Hangul and Han, by preference: free fonts, macOS, Windows.
FALLBACKS = (
    "Noto Sans KR",
    "Noto Sans CJK KR",
    "NanumGothic",
    "NanumSquare",
    "NanumBarunGothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "Malgun Gothic",
    "UnDotum",
    "Baekmuk Gulim",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
    "Arial Unicode MS",
    "DejaVu Sans",
)
# CSS names for SVG and HTML: fonts that a reader's machine may have.
STACK = (
    "Inter",
    "'Source Sans 3'",
    "'Noto Sans'",
    "'Helvetica Neue'",
    "'Segoe UI'",
    "'Liberation Sans'",
    "Arial",
    "'Apple SD Gothic Neo'",
    "'Malgun Gothic'",
    "'Noto Sans KR'",
    "'Noto Sans CJK KR'",
    "NanumGothic",
    "sans-serif",
)


@dataclasses.dataclass(frozen=True)
class Fonts:
    """Font families for matplotlib in order, and the letters that none of them has."""

    families: tuple[str, ...]
    missing: frozenset[str]


def choose(texts: Iterable[str]) -> Fonts:
    """Fonts for these texts: one Latin family, and as few others as the letters need."""
    needed = {letter for text in texts for letter in text if letter.isprintable()}
    installed = _installed()
    first = next(name for name in LATIN if name in installed)
    families = [first]
    needed -= _letters(installed[first])
    if any(letter > "\u024f" for letter in needed):  # beyond Latin
        installed = _installed_now()
    for name in (*FALLBACKS, *sorted(installed)):
        if not needed:
            break
        if name not in installed or name in families:
            continue
        if found := needed & _letters(installed[name]):
            families.append(name)
            needed -= found
    return Fonts(tuple(families), frozenset(needed))


def _installed() -> dict[str, str]:
    """Path of the upright, regular face of each family that matplotlib knows."""
    faces: dict[str, str] = {}
    for face in font_manager.fontManager.ttflist:
        if face.style == "normal" and face.weight in (400, "normal", "regular"):
            faces.setdefault(face.name, face.fname)
    return faces


@functools.cache
def _installed_now() -> dict[str, str]:
    """As `_installed`, with the fonts that were installed after matplotlib's last scan."""
    known = {face.fname for face in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError):  # a broken font file
                continue
    return _installed()


@functools.lru_cache(maxsize=256)
def _letters(path: str) -> frozenset[str]:
    try:
        return frozenset(chr(code) for code in FT2Font(Path(path)).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
