"""How a recording goes and what it came to, and the change points of a history.

Lines and tables, also as Markdown. Decides nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from harness.columns import seconds, significant
from harness.regress.compare.console import CompareConsole, markdown_text, p_text

RECORD_HEADS = ("benchmark", "a step", "over canary", "spread", "change")
CHANGE_HEADS = ("benchmark", "revision", "recorded", "change", "p", "fingerprint")


class RecordConsole:
    """Tells how a recording goes; a Watcher of harness.regress.trend.recorder.

    `lines` shows what a comparison shows alike.
    """

    def __init__(self, console: Console) -> None:
        self.lines = CompareConsole(console)

    def begin(self, names: Sequence[str], _missing: Sequence[str]) -> None:
        """Show what is timed."""
        n = len(names)
        self._print(f"Recording {n} {'benchmark' if n == 1 else 'benchmarks'}")

    def step(self, text: str) -> None:
        """Show what begins, on a terminal."""
        self.lines.step(text)

    def block(self, n_done: int, n_wanted: int, names: Sequence[str]) -> None:
        """Show how far it is."""
        self.lines.block(n_done, n_wanted, names)

    def done(self, plain: Mapping[str, Any]) -> None:
        """Show what was recorded."""
        self.lines.close()
        console = self.lines.console
        table = Table(Column(RECORD_HEADS[0], overflow="fold"), *RECORD_HEADS[1:])
        for cells in record_rows(plain):
            table.add_row(*map(escape, cells))
        console.print()
        console.print(table)
        for line in record_remarks(plain):
            self._print(line)

    def note(self, text: str) -> None:
        """Show a remark."""
        self.lines.note(text)

    def close(self) -> None:
        """Clear the line that is printed over."""
        self.lines.close()

    def _print(self, text: str) -> None:
        self.lines.close()
        console = self.lines.console
        console.print(escape(text), highlight=False, soft_wrap=not console.is_terminal)


def record_rows(plain: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table's rows of texts; the canary comes last."""
    rows = [
        (
            each["name"],
            _seconds(each["step_time_s"]),
            "not measured" if each["over_canary"] is None else significant(each["over_canary"]),
            _share(each["spread"]),
            "" if each["change"] is None else f"{100 * each['change']:+.1f} %",
        )
        for each in plain["benchmarks"]
    ]
    canary = plain["canary"]
    return [*rows, ("canary", _seconds(canary["step_time_s"]), "", _share(canary["spread"]), "")]


def record_remarks(plain: Mapping[str, Any]) -> list[str]:
    """What was recorded, what it stands beside, and loudly where that is nothing."""
    others = plain["others"]
    n_others = sum(each["n"] for each in others)
    said = []
    compared = [each["n_compared"] for each in plain["benchmarks"]]
    if plain["n_before"] and any(compared):
        n = max(compared)
        past = "the recording before" if n == 1 else f"the median of the last {n} recordings"
        said.append(f"change: against {past} of this machine; no test, and it fails nothing")
    if plain["n_before"]:
        if others:
            said.append(f"left out: {_recordings(n_others)} of other machines or environments")
    elif others:
        said.append(
            f"ANOTHER MACHINE OR ENVIRONMENT: none of the {_recordings(n_others)} before was made "
            "in this one, so nothing is compared"
        )
        newest = others[-1]
        said += [
            f"differs from {newest['fingerprint']}: {each['name']}: {_there(each['before'])} -> "
            f"{_there(each['after'])}"
            for each in newest["differs"]
        ]
    else:
        said.append("the first recording: there is nothing to compare it with")
    if plain["torn_bytes"]:
        said.append(f"a torn last line of {plain['torn_bytes']} bytes was cut off")
    number = plain["n_before"] + 1
    said.append(
        f"recorded: {plain['revision']} as number {number} of fingerprint {plain['fingerprint']} "
        f"in {plain['history']}"
    )
    return said


def record_markdown(plain: Mapping[str, Any]) -> str:
    """The table and its remarks for a CI's step summary."""
    lines = [
        f"### Recorded: {markdown_text(plain['revision'])}",
        "",
        *markdown_table(RECORD_HEADS, record_rows(plain)),
        "",
        *(f"- {markdown_text(line)}" for line in record_remarks(plain)),
    ]
    return "\n".join(lines) + "\n"


def show_trend(plain: Mapping[str, Any], answer: str, report: str, *, on_stderr: bool) -> None:
    """Show the answer and the table of change points."""
    console = Console(stderr=on_stderr)
    rows = change_rows(plain)
    if rows:
        table = Table(Column(CHANGE_HEADS[0], overflow="fold"), *CHANGE_HEADS[1:])
        for cells in rows:
            table.add_row(*map(escape, cells))
        console.print(table)
    for text in (answer, f"report: {report}"):
        console.print(escape(text), highlight=False, soft_wrap=not console.is_terminal)


def change_rows(plain: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """All change points as rows of texts, machine by machine, in the order of their recordings."""
    found = [
        (i, change["position"], benchmark["name"], machine, change)
        for i, machine in enumerate(plain["machines"])
        for benchmark in machine["benchmarks"]
        for change in benchmark["changes"]
    ]
    return [
        (
            name,
            machine["revisions"][position],
            machine["recorded"][position].partition("T")[0],  # its day
            f"{100 * (change['ratio'] - 1):+.1f} %",
            p_text(change["p_value"]),
            machine["fingerprint"],
        )
        for _, position, name, machine, change in sorted(found, key=lambda one: one[:3])
    ]


def trend_markdown(plain: Mapping[str, Any], answer: str) -> str:
    """The answer and the change points for a CI's step summary."""
    n = sum(len(machine["revisions"]) for machine in plain["machines"])
    lines = [f"### Trend over {_recordings(n)}", "", markdown_text(answer)]
    if rows := change_rows(plain):
        lines += ["", *markdown_table(CHANGE_HEADS, rows)]
    return "\n".join(lines) + "\n"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    texts = [f"| {' | '.join(map(markdown_text, cells))} |" for cells in rows]
    return [f"| {' | '.join(heads)} |", f"| {' | '.join(rule)} |", *texts]


def _there(value: str) -> str:
    return value or "none"


def _recordings(n: int) -> str:
    return "one recording" if n == 1 else f"{n} recordings"


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else seconds(value)


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


@contextlib.contextmanager
def open_record_console(*, on_stderr: bool = False) -> Iterator[RecordConsole]:
    """A console on standard output, or error.

    Its line is taken down at the end, whatever happens.
    """
    console = RecordConsole(Console(stderr=on_stderr))
    try:
        yield console
    finally:
        console.close()
