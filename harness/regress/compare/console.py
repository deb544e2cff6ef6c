"""How a comparison goes and what came out: lines, a table, and the same table as Markdown.

Never decides anything.

Nothing is drawn while slices are timed: a line changes only between blocks.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from harness.columns import size_in_bytes

VERDICTS: Mapping[str, tuple[str, str]] = {
    "ok": ("OK", "green"),
    "regression": ("REGRESSION", "bold red"),
    "inconclusive": ("INCONCLUSIVE", "yellow"),
    "contaminated": ("CONTAMINATED", "magenta"),
    "missing": ("MISSING", "bold red"),
}
REASONS: Mapping[str, str] = {
    "confirmed": "slower, and fresh blocks agree",
    "below_detect": "below what is looked for",
    "not_confirmed": "seemed slower, and fresh blocks did not agree",
    "reaches_detect": "too noisy to tell",
    "not_measured": "too few blocks",
    "out_of_budget": "the budget ended",
    "canary_not_measured": "too few blocks with a canary",
    "canary_moved": "the canary moved",
    "absent_in_head": "head lacks it",
}
HEADS = ("benchmark", "head / base", "interval", "p", "verdict")
MOST_DIFFERENCES = 12


class CompareConsole:
    """Tells how a comparison goes; a Watcher of harness.regress.measuring.comparison_runner."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = time.monotonic()
        self.is_open = False  # whether a line is there to be printed over

    def begin(self, names: Sequence[str], missing: Sequence[str]) -> None:
        """Show what is timed."""
        self._print(f"Comparing {len(names)} benchmarks")
        for name in missing:
            self._print(f"head lacks {name}")

    def step(self, text: str) -> None:
        """Show what begins, on a terminal."""
        self._show(text)

    def block(self, n_done: int, n_wanted: int, names: Sequence[str]) -> None:
        """Show how far it is."""
        elapsed_s = time.monotonic() - self.started
        text = f"block {n_done + 1} of {n_wanted}, {len(names)} benchmarks, {elapsed_s:.0f} s"
        self._show(text)
        if not self.console.is_terminal and n_done % 5 == 0:
            self._print(text)

    def done(self, plain: Mapping[str, Any], files: str) -> None:
        """Show what came out."""
        self.close()
        table = Table(Column(HEADS[0], overflow="fold"), *HEADS[1:])
        for cells, verdict in rows(plain):
            table.add_row(
                *map(escape, cells), style=VERDICTS[verdict][1] if verdict != "ok" else ""
            )
        self.console.print()
        self.console.print(table)
        for line in remarks(plain):
            self._print(line)
        self._print(f"{VERDICTS[plain['verdict']][0]}: {conclusion(plain)}")
        self._print(f"files: {files}")

    def note(self, text: str) -> None:
        """Show a remark."""
        self._print(f"note: {text}")

    def close(self) -> None:
        """Clear the line that is printed over."""
        if self.is_open:
            self.console.print(" " * (self.console.width - 1), end="\r")
            self.is_open = False

    def _show(self, text: str) -> None:
        """One line, printed over on a terminal.

        It is drawn here and now, not by a thread that ticks beside a slice.
        """
        if self.console.is_terminal:
            line = text[: self.console.width - 1].ljust(self.console.width - 1)
            self.console.print(escape(line), end="\r", highlight=False)
            self.is_open = True

    def _print(self, text: str) -> None:
        self.close()
        self.console.print(escape(text), highlight=False, soft_wrap=not self.console.is_terminal)


def rows(plain: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    """The table's rows of texts, each with its verdict; the canary comes last."""
    found = [
        (
            (
                each["name"],
                ratio_text(each["ratio"]),
                interval_text(each["ratio"]),
                "" if each["p_value"] is None else p_text(each["p_value"]),
                _verdict_text(each),
            ),
            "ok" if each["accepted"] is not None else each["verdict"],
        )
        for each in plain["findings"]
    ]
    canary = plain["canary"]
    moved = "moved" if canary["moved"] else "still"
    ratio = canary["ratio"]
    texts = ("canary", ratio_text(ratio), interval_text(ratio), p_text(canary["p_value"]), moved)
    return [*found, (texts, "contaminated" if canary["moved"] else "ok")]


def remarks(plain: Mapping[str, Any]) -> list[str]:
    """What else is worth a line: memory, what is accepted, what is new, and why a regression may be."""
    said = []
    for each in plain["memory"]:
        if each["verdict"] in ("regression", "grown"):
            sizes = " to ".join(size_in_bytes(each[f"{side}_bytes"]) for side in ("base", "head"))
            advice = "" if each["verdict"] == "regression" else "; on a CPU this is advice"
            said.append(
                f"memory of {each['name']}: {100 * each['growth']:+.1f} % ({sizes}{advice})"
            )
    said += [f"{each['name']} accepted: {each['accepted']}" for each in _accepted(plain)]
    said += [f"only head has {name}: not compared" for name in plain["only_in_head"]]
    said += list(plain.get("notes", ()))
    if plain["operators"]:
        said += [
            f"differs: {each['name']}: {_there(each['base'])} -> {_there(each['head'])}"
            for each in plain["differences"][:MOST_DIFFERENCES]
        ] or ["the environments do not differ"]
    for name, operators in plain["operators"].items():
        grown = [
            f"{each['operator']} {1e6 * each['base_s']:.0f} -> {1e6 * each['head_s']:.0f} µs"
            for each in operators
        ]
        said.append(f"grew most in {name}: {', '.join(grown) or 'nothing that the profiler sees'}")
    return said


def conclusion(plain: Mapping[str, Any]) -> str:
    """The verdict in a sentence."""
    detect = f"{100 * plain['detect']:g} %"
    match plain["verdict"]:
        case "ok":
            return f"no benchmark is slower by {detect}"
        case "regression":
            names = [each["name"] for each in plain["findings"] if _fails(each, "regression")]
            more = [
                f"memory of {each['name']}"
                for each in plain["memory"]
                if _fails(each, "regression")
            ]
            return f"{', '.join([*names, *more])} regressed"
        case "inconclusive":
            return f"this machine is too noisy, or the time was too short, to tell {detect}"
        case "contaminated":
            return "two processes of base differ from each other: nothing here can be believed"
        case _:
            names = [each["name"] for each in plain["findings"] if _fails(each, "missing")]
            return f"head lacks {', '.join(names)}"


def markdown(plain: Mapping[str, Any]) -> str:
    """The table and its remarks for a CI's step summary."""
    base, head = (plain[side]["label"] for side in ("base", "head"))
    lines = [
        f"### {VERDICTS[plain['verdict']][0]}: {markdown_text(conclusion(plain))}",
        "",
        f"`{_code(head)}` against `{_code(base)}`, {plain['n_blocks']} blocks. A ratio above 1 is slower.",
        "",
        f"| {' | '.join(HEADS)} |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    lines += [f"| {' | '.join(map(markdown_text, cells))} |" for cells, _ in rows(plain)]
    lines += ["", *(f"- {markdown_text(line)}" for line in remarks(plain))]
    return "\n".join(lines).rstrip() + "\n"


def ratio_text(ratio: Mapping[str, Any]) -> str:
    """A ratio of times as a change: +3.2 %."""
    return "not measured" if ratio["value"] is None else f"{100 * (ratio['value'] - 1):+.1f} %"


def interval_text(ratio: Mapping[str, Any]) -> str:
    """Its interval; nothing where there is none."""
    if ratio["low"] is None:
        return ""
    low, high = (f"{100 * (ratio[end] - 1):+.1f}" for end in ("low", "high"))
    return f"{low} to {high} %"


def p_text(p_value: float) -> str:
    """A p-value in as many digits as anyone reads."""
    return f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.1e}"


def _verdict_text(found: Mapping[str, Any]) -> str:
    word = VERDICTS[found["verdict"]][0]
    if found["accepted"] is not None:
        return f"{word}, accepted"
    if found["improved"]:
        return f"{word}, faster"
    return word if found["verdict"] == "ok" else f"{word}: {REASONS[found['reason']]}"


def _fails(found: Mapping[str, Any], verdict: str) -> bool:
    return found["verdict"] == verdict and found["accepted"] is None


def _accepted(plain: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was accepted, by name, once for time and memory together."""
    memory = [each for each in plain["memory"] if each["verdict"] == "regression"]
    found = {each["name"]: each for each in (*plain["findings"], *memory) if each["accepted"]}
    return list(found.values())


def _there(value: str | None) -> str:
    return "not there" if value is None else value


def markdown_text(text: str) -> str:
    """A text that Markdown shows as it is."""
    for letter in "\\`*_[]<>|~#":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


@contextlib.contextmanager
def open_compare_console(*, on_stderr: bool = False) -> Iterator[CompareConsole]:
    """A console on standard output, or error.

    Its line is taken down at the end, whatever happens.
    """
    console = CompareConsole(Console(stderr=on_stderr))
    try:
        yield console
    finally:
        console.close()
