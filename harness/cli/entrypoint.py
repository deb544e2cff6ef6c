"""Command entry point: one-line usage errors, tolerant output encoding, masked passwords."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

import typer
from typer.core import TyperCommand, TyperGroup

from harness.cli.option_values import check_finite, check_text
from harness.errors import InputError, nearest, printable, visible_lines

UsageError: Any = typer.BadParameter.__mro__[1]  # of click, or of the part of it that typer carries
_IN_URL = re.compile(r"(?<=://)([^\s/:@]*):([^\s/]*)@")
# What stands between the user's name and the last @ of a word, whatever it holds
_BEFORE_LAST_AT = re.compile(r"://[^/:]*:(.*)@", re.DOTALL)


class LineCommand(TyperCommand):
    """A command that reports a wrong option in one line, like every other error."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the options."""
        with _one_line():
            return super().make_context(*arguments, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check each value as it was typed, and then as it was read."""
        typed, _, _ = self.make_parser(ctx).parse_args(list(args))
        for param in self.params:
            for text in _listed(typed.get(param.name or "")):
                if isinstance(text, str):
                    check_text(_shown(param), text, required=param.required)
        rest = super().parse_args(ctx, args)
        for param in self.params:
            check_finite(_shown(param), _listed(ctx.params.get(param.name or "")))
        return rest


class LineGroup(TyperGroup):
    """A command with commands below it; an unknown one is one line with the nearest name."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the options of the group itself."""
        with _one_line():
            return super().make_context(*arguments, **options)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names."""
        with _one_line():
            if args[0] not in self.commands:
                expected, near = ", ".join(self.commands), nearest(args[0], self.commands)
                raise InputError("COMMAND", expected=f"one of {expected}", got=args[0], remedy=near)
            return super().resolve_command(ctx, args)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Print a wrong option as one line and exit with 2."""
    try:
        yield
    except UsageError as error:
        typer.echo(
            f"error: {printable(error.format_message())} (--help lists the options)", err=True
        )
        raise typer.Exit(InputError.exit_code) from None
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from None


def _listed(value: object) -> Sequence[object]:
    """The values of an option: of a repeatable one all, of another one its own."""
    return value if isinstance(value, list | tuple) else [value]


def _shown(param: Any) -> str:
    """An option as it is typed; an argument as --help names it."""
    name = param.opts[0] if param.opts else ""
    return name if name.startswith("-") else str(param.metavar or name).strip("[]")


def run(app: typer.Typer) -> None:
    """Run a command as the main program.

    Letters that the terminal lacks are replaced. A traceback shows no password of a storage URL.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    atexit.register(gc.freeze)  # or the interpreter's last collection looks at all of torch
    try:
        app()
    except Exception:  # noqa: BLE001  # a fault of ours: shown whole, but for passwords
        sys.stderr.write(visible_lines(hide_passwords(traceback.format_exc(), sys.argv)))
        sys.exit(1)


def hide_passwords(text: str, words: Sequence[str]) -> str:
    """The text with *** for each password of a URL in it, or in the words of a command line."""
    for word in words:
        for secret in _passwords(word):
            for form in (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]):
                text = text.replace(form, "***")
    return _IN_URL.sub(r"\1:***@", text)


def _passwords(word: str) -> list[str]:
    """The passwords of a URL: user:password@, or in its query. [] for a word that is no URL."""
    unescaped = _BEFORE_LAST_AT.findall(word)
    try:
        parts = urlsplit(word[word.index("://") - 1 :] if "://" in word else "")
        password = parts.password or ""
        in_query = [value for key, value in parse_qsl(parts.query) if "pass" in key.lower()]
        unquoted = [value for _, value in parse_qsl(f"p={password}")]
    except ValueError:
        unquoted, in_query = [], []
        password = ""
    found = [*unescaped, password, *unquoted, *in_query]
    return [secret for secret in found if len(secret) > 2]  # a shorter one is only hidden in URLs
