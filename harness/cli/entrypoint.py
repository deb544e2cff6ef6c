"""Command entry point: one-line usage errors, tolerant output encoding, masked passwords."""

from __future__ import annotations

import atexit
import gc
import io
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

import typer
from typer.core import TyperCommand

from harness.errors import printable, visible_lines

UsageError: Any = typer.BadParameter.__mro__[1]  # of click, or of the part of it that typer carries
_IN_URL = re.compile(r"(?<=://)([^\s/:@]*):([^\s/]*)@")
# What stands between the user's name and the last @ of a word, whatever it holds
_BEFORE_LAST_AT = re.compile(r"://[^/:]*:(.*)@", re.DOTALL)


class LineCommand(TyperCommand):
    """A command that reports a wrong option in one line, like every other error."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the options."""
        try:
            return super().make_context(*arguments, **options)
        except UsageError as error:
            said = error.format_message()
            typer.echo(f"error: {printable(said)} (--help lists the options)", err=True)
            raise typer.Exit(2) from None


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
