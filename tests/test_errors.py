"""harness.errors: one line that says where, what was expected, what was got, and the remedy."""

import ast
import errno
import os
import re
from pathlib import Path

import pytest

from harness import errors
from harness.errors import (
    HarnessError,
    InputError,
    Shown,
    StorageError,
    WorkerError,
    nearest,
    unwritable,
)
from tests.tally import Tally


def test_an_input_error_is_one_sentence() -> None:
    """One line has where, key, what was expected, what was got and the remedy, in that order."""
    error = InputError("a.toml", "space.x", expected="a number", got="7", remedy="write 7")
    assert str(error) == "a.toml: space.x: expected a number, got '7'; write 7"


def test_key_and_remedy_may_be_empty() -> None:
    """An error about a whole file leaves no loose punctuation."""
    assert str(InputError("a.toml", expected="TOML", got=None)) == "a.toml: expected TOML, got None"


def test_shown_text_has_no_quotes() -> None:
    """A description instead of a value is shown as it is."""
    assert str(InputError("--set", expected="one", got=Shown("both"))).endswith("got both")


def test_an_error_is_one_line_whatever_it_shows() -> None:
    """Line breaks in a value or a description become blanks."""
    assert "\n" not in str(InputError("f", expected="a\nb", got=Shown("c\r\nd"), remedy="e\tf"))


def deeply_nested(levels: int) -> object:
    """A list in a list in a list."""
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [deeply_nested(100_000), 16**20_000], ids=["nested", "digits"])
def test_a_value_without_a_text_is_described(value: object) -> None:
    """A value that Python cannot write as text is named by its type."""
    said = str(InputError("f", "k", expected="a number", got=value))
    kind = type(value).__name__
    assert said == f"f: k: expected a number, got a value of type {kind}, too large to show"


def test_a_long_value_is_cut() -> None:
    """A value of a million characters leaves a readable line."""
    said = str(InputError("f", expected="a name", got="x" * 1_000_000))
    assert len(said) < 300
    assert said.endswith("xxx...")


def test_every_part_of_a_line_is_cut() -> None:
    """Hostile names of keys, descriptions and remedies leave a line that a terminal can show."""
    long = "x" * 1_000_000
    error = InputError(long, long, expected=long, got=Shown(long), remedy=nearest(long, [long * 2]))
    assert len(str(error)) < 4_000
    many = nearest("?", [f"name {i:04}" for i in range(1_000)])
    assert many.endswith("name 0039 and 960 more")


@pytest.mark.parametrize("error", [HarnessError, StorageError, WorkerError])
def test_no_terminal_obeys_an_error(error: type[HarnessError], tally: Tally) -> None:
    """Colours, cursor moves, bells, reversed writing and half letters are shown as escapes.

    Letters of any script stay.
    """
    with tally.each("control characters in an error", "no terminal obeys them") as count:
        with count.one():
            said = str(error("a\x1b[31mb\x07\u202ec\ud800\n한글 é"))
            assert said == "a\\x1b[31mb\\x07\\u202ec\\ud800 한글 é"
        with count.one():
            got = Shown("\r\x08")
            said = str(InputError("f\x1b]0;x\x07.toml", "k\x9b", expected="a name", got=got))
            assert said == "f\\x1b]0;x\\x07.toml: k\\x9b: expected a name, got \\x08"


def test_the_nearest_name_is_proposed() -> None:
    """A typing error gets one proposal."""
    assert nearest("lstn", ["rnn", "gru", "lstm"]) == "did you mean 'lstm'?"


def test_all_names_are_listed_where_none_is_near() -> None:
    """A name that resembles nothing gets the whole list, sorted."""
    assert nearest("transformer", ["rnn", "gru"]) == "known: gru, rnn"


def subclasses(of: type[HarnessError]) -> set[type[HarnessError]]:
    """Every class below `of`."""
    return {of}.union(*(subclasses(each) for each in of.__subclasses__()))


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The drawing shows every error with the exit code it ends in, indented below its base."""
    drawn = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if "Error " not in line:
            continue
        depth = len(line) - len(line.lstrip("│├└─ "))
        name, *_, code = line.lstrip("│├└─ ").partition(":")[0].split()
        path[depth // 4 :] = [name]
        drawn[name] = (path[depth // 4 - 1] if depth else "Exception", int(code))
    assert drawn == {
        each.__name__: (each.__bases__[0].__name__, each.exit_code)
        for each in subclasses(HarnessError)
        if each.__module__ == errors.__name__
    }


def test_no_input_error_is_raised_with_a_bare_message() -> None:
    """Every InputError of the package says what was expected and what was got."""
    package = Path(errors.__file__).parent
    bare = [
        f"{path.name}:{node.lineno}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("InputError", "IdentityError")
        and not {"expected", "got"} <= {keyword.arg for keyword in node.keywords}
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EMFILE, "expected a free place for one more open file, got .*; free some"),
        (errno.ENOSPC, "expected disk space to write, got .*; free some"),
        (errno.EISDIR, "expected a path that can be written, got .*; move it aside"),
        (errno.EROFS, "expected a path that can be written, got .*; allow writing there, or name"),
    ],
)
def test_the_remedy_fits_what_the_system_says(number: int, said: str) -> None:
    """A file that cannot be written is told with what the system lacks and what helps."""
    error = unwritable("report.html", OSError(number, os.strerror(number)))
    assert re.match(f"report.html: {said}", str(error))
