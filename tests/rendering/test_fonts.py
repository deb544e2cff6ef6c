from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import font_manager

from harness.rendering import fonts

HANGUL = "기억 단계"


def only_dejavu() -> dict[str, str]:
    """As on a machine with no font but the one that matplotlib brings."""
    return {"DejaVu Sans": font_manager.findfont("DejaVu Sans")}


def test_latin_needs_one_font() -> None:
    """Plain English is drawn with one family."""
    found = fonts.choose(["How many steps back?"])
    assert len(found.families) == 1
    assert not found.missing


def test_letters_that_no_font_has_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a font for Hangul the missing letters are named, and nothing fails."""
    monkeypatch.setattr(fonts, "_installed", only_dejavu)
    monkeypatch.setattr(fonts, "_installed_now", only_dejavu)
    found = fonts.choose([HANGUL, "lstm"])
    assert found.families == ("DejaVu Sans",)
    assert found.missing == set(HANGUL) - {" "}


def test_a_fallback_is_found_by_its_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fallback is chosen because it has the letters, not because of its name."""
    installed = {"DejaVu Sans": "latin", "Some Font": "hangul", "Other Font": "none"}
    letters = {"latin": frozenset("lstm "), "hangul": frozenset(HANGUL), "none": frozenset()}
    monkeypatch.setattr(fonts, "_installed", lambda: installed)
    monkeypatch.setattr(fonts, "_installed_now", lambda: installed)
    monkeypatch.setattr(fonts, "_letters", letters.__getitem__)
    found = fonts.choose([HANGUL, "lstm"])
    assert (found.families, found.missing) == (("DejaVu Sans", "Some Font"), frozenset())


def test_a_broken_font_has_no_letters(tmp_path: Path) -> None:
    """A file that is no font is passed over."""
    path = tmp_path / "broken.ttf"
    path.write_bytes(b"no font")
    assert fonts._letters(str(path)) == frozenset()
