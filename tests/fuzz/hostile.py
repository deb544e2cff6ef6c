"""What a hostile or broken file may hold, and what is asked of whoever reads one.

To take it, or one line and exit code 2.

A kind of file joins the fuzzing as a `Format` in test_formats.py: some good files, and a function
that reads one. HARNESS_FUZZ is the number of examples for each test: 25 every day, 100 every
night, thousands in `make fuzz`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import strategies as st

from tests.kinds import everyday

EXAMPLES = int(os.environ.get("HARNESS_FUZZ") or everyday(25, nightly=100))
LONGEST_S = 20.0  # a hang, on the busiest of machines
MEMORY_BYTES = (
    512 << 20
)  # beyond what the process holds: an allocation of what a number asks for fails

NUMBERS = (
    *(0, 1, -1, 2, 33, 1_000, 10**6, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63),
    *(10**30, -(10**30), 10**400, -0.0, 0.5, 1e-320, 5e-324, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf")),
)
TEXTS = (
    *("", " ", ".", "..", "../../x", "/etc/passwd", "C:\\x", "CON", "nul.txt", "x.", "a" * 5_000),
    *(
        "\x00",
        "\x1b[31mred",
        "\x9b31mred",
        "\r\n",
        "\u202egnp.exe",
        "\ufeff",
        "\ud800",
        "한글",
        "🤖",
        "e\u0301",
    ),
    *("<script>alert(1)</script>", "[bold]x[/bold]", "${HOME}", "{0.__class__}", "%s%n", "'; --"),
    *("nan", "true", "lstm", "adding", "temporal_order", "tpe", "grid"),
)
TOKENS = (
    *(
        b"nan",
        b"-inf",
        b"1e400",
        b"-1e308",
        b"1e-320",
        b"-0",
        b"0",
        b"-1",
        b"1.5",
        b"0x10",
        b"1_000",
    ),
    *(b"9" * 5_000, b"0x" + b"f" * 5_000, b"1" + b"0" * 30, b"9223372036854775808", b"\xd9\xa1"),
    *(b"", b"true", b"null", b"[]", b"{}", b'""', b'"x"', b"'", b"\xff", b"\x00", b"\xef\xbb\xbf"),
    *(b"\n", b"\r", b",", b".", b"=", b"#", b"\\", b"\xea\xb0\x80", b"1979-05-27", b"complete"),
    *(b"[" * 20_000, b"{a=" * 20_000, b'{"a":' * 20_000, b"a." * 20_000, b"x" * 200_000),
)


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of file: good files, what reads one (False: refused in one line), how to write it."""

    name: str
    good: tuple[bytes, ...]
    read: Callable[[bytes], bool]
    notation: str = ""  # toml or json: then values are changed as well as letters


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """No hang, and no allocation of what a number asks for, in this block."""
    started = time.monotonic()
    with _little_memory():
        yield
    assert time.monotonic() - started < LONGEST_S


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Limit this process to MEMORY_BYTES of memory, if the system can (Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        yield
        return
    import resource

    held = int(re.search(r"VmData:\s+(\d+)", status.read_text()).group(1)) * 1024  # type: ignore[union-attr]
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def one_line(code: int, errors: str, output: str = "") -> bool:
    """Whether the command took the file.

    Raises AssertionError for all but that, and one line with exit code 2.
    """
    assert code in (0, 2), f"exit code {code}: {errors}"
    if code == 0:
        return True
    (line,) = errors.splitlines()
    assert line.isprintable(), line
    assert "expected" in line, line
    assert len(line) < 5_000
    assert output == ""
    return False


# --------------------------------------------------------------------------------------- strategies


SCALARS = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(max_size=8), st.sampled_from(TEXTS)), inner, max_size=4),
    ),
    max_leaves=6,
)
CHANGES = st.one_of(
    VALUES, VALUES, st.sampled_from(NUMBERS), SCALARS.map(lambda one: [one] * 1_500)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within, tables and lists included."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items  # type: ignore[assignment]
    for key, each in items:
        yield from places(each, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The same with another value at that path; ... removes it."""
    copy = dict(value) if isinstance(value, dict) else list(value)
    key, *rest = path
    if rest:
        copy[key] = replaced(copy[key], tuple(rest), new)
    elif new is ...:
        del copy[key]
    else:
        copy[key] = new
    return copy


@st.composite
def edited(draw: st.DrawFn, plain: dict[str, Any]) -> dict[str, Any]:
    """A good file's values with some of them changed, removed, or added beside the known ones."""
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(plain))
        if not known:
            return plain
        path = draw(st.sampled_from(known))
        match draw(st.integers(0, 9)):
            case 0:
                plain = replaced(plain, path, ...)
            case 1:
                plain = {**plain, draw(st.sampled_from(TEXTS)): draw(CHANGES)}
            case 2:
                other = plain
                for key in draw(st.sampled_from(known)):
                    other = other[key]
                plain = replaced(plain, path, other)
            case _:
                plain = replaced(plain, path, draw(CHANGES))
    return plain


def well_written(plain: dict[str, Any], notation: str) -> bytes | None:
    """The values as a file, half letters included; None where the notation has no such value."""
    try:
        text = json.dumps(plain, ensure_ascii=False) if notation == "json" else tomli_w.dumps(plain)
    except (TypeError, ValueError):
        return None
    return text.encode("utf-8", "surrogatepass")


def read_plain(content: bytes, notation: str) -> dict[str, Any]:
    """The values of a good file."""
    return dict((json.loads if notation == "json" else tomllib.loads)(content.decode()))


@st.composite
def mangled(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file with words, bytes and stretches of it changed."""
    content = good
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 4)))):
        words = [found.span() for found in re.finditer(rb"[\w.+-]+", content[:20_000])]
        at = draw(st.integers(0, len(content)))
        match draw(st.integers(0, 7)):
            case 0:
                content = content[:at]
            case 1:
                content = content[:at] + draw(st.binary(max_size=8)) + content[at + 1 :]
            case 2:
                content = content[:at] + draw(st.sampled_from(TOKENS)) + content[at:]
            case 3:
                end = draw(st.integers(at, min(len(content), at + 200)))
                content = content[:end] + content[at:end] * draw(st.integers(0, 3)) + content[end:]
            case _ if words:
                start, end = draw(st.sampled_from(words))
                content = content[:start] + draw(st.sampled_from(TOKENS)) + content[end:]
    return content
