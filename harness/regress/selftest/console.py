"""How a selftest goes and what came out: a line a run, two tables, the advice; also as Markdown.

Never decides anything.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.regress.compare.console import VERDICTS, CompareConsole

if TYPE_CHECKING:
    from harness.regress.selftest.run import Planned
    from harness.regress.verdict.verdicts import Outcome

HEADS = ("runs", "--detect", "false REGRESSION", "by replay", "found", "by replay")


class SelftestConsole(CompareConsole):
    """Tells how a selftest goes; a SelftestWatcher of harness.regress.selftest.run."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.n_runs = self.n_done = self.n_before = 0
        self.what = ""

    def plan(self, n_runs: int, n_done: int, names: Sequence[str]) -> None:
        """Show how much there is to do."""
        self.n_runs, self.n_done, self.n_before = n_runs, n_done, n_done
        kept = f", {n_done} of them kept from before" if n_done else ""
        self._print(f"{n_runs} runs of {len(names)} benchmarks{kept}")

    def begin(self, names: Sequence[str], missing: Sequence[str]) -> None:
        """Each run has the same benchmarks."""

    def step(self, text: str) -> None:
        """What a run does first."""
        self._show(f"run {self.n_done + 1} of {self.n_runs}: {text}")

    def run(self, planned: Planned) -> None:
        """A run begins."""
        self.what = injected(planned.effect, planned.slowed)

    def block(self, n_done: int, n_wanted: int, names: Sequence[str]) -> None:
        """Show how far it is."""
        self._show(
            f"run {self.n_done + 1} of {self.n_runs}, {self.what}: block {n_done + 1} of {n_wanted}"
        )

    def verdict(self, planned: Planned, outcome: Outcome, wall_time_s: float) -> None:
        """A line a run, and how long the others will take."""
        self.n_done += 1
        a_run_s = (time.monotonic() - self.started) / (self.n_done - self.n_before)
        left_s = a_run_s * (self.n_runs - self.n_done)
        self._print(
            f"run {self.n_done} of {self.n_runs}, {injected(planned.effect, planned.slowed)}: "
            f"{VERDICTS[outcome.verdict][0]} after {outcome.n_blocks} blocks, {wall_time_s:.0f} s; "
            f"{left_s / 60:.0f} min left"
        )

    def replaying(self, n_blocks: int) -> None:
        """Replays take a minute or two."""
        self._print(f"Replaying {n_blocks} blocks")

    def done(self, plain: Mapping[str, Any], report: str) -> None:
        """Show what came out."""
        self.close()
        table = Table(*HEADS)
        for row in rows(plain):
            table.add_row(*map(escape, row))
        self.console.print()
        self.console.print(table)
        self._print(deviation(plain))
        self._print(advised(plain))
        self._print(f"report: {report}")


def injected(effect: float, slowed: str | None) -> str:
    """What was done to head."""
    return f"{slowed} {100 * effect:g} % slower" if slowed else "the same code"


def rows(plain: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table's rows of texts: a kind of run each."""
    found: list[tuple[str, ...]] = []
    for each in plain["rates"]:
        real, drawn = each["runs"], each["replay"]
        effect = real["effect"]
        found.append(
            (
                f"{100 * effect:g} % slower" if effect else "the same code",
                f"{100 * real['detect']:g} %",
                rate_text(real["false_regression"]),
                rate_text(drawn and drawn["false_regression"]),
                rate_text(real["found"]) if effect else "",
                rate_text(drawn and drawn["found"]) if effect else "",
            )
        )
    return found


def rate_text(rate: Mapping[str, Any] | None) -> str:
    """A share with its exact interval."""
    if rate is None or not rate["n"]:
        return "not measured"
    ends = " to ".join(f"{100 * rate[end]:.3g}" for end in ("low", "high"))
    return f"{rate['k']:,} of {rate['n']:,} ({ends} %)"


def deviation(plain: Mapping[str, Any]) -> str:
    """How much a block of the same code deviates, over the benchmarks."""
    known = [value for value in plain["deviation"].values() if value is not None]
    if not known:
        return "How much blocks deviate was not measured: no runs of the same code"
    low, high = (f"{100 * value:.2f}" for value in (min(known), max(known)))
    between = low if low == high else f"{low} to {high}"
    return f"A block of the same code deviates by {between} %, over {plain['n_blocks']} blocks"


def advised(plain: Mapping[str, Any]) -> str:
    """What `--detect` to choose on this machine."""
    advice = plain["advice"]
    if advice["detect"] is not None:
        return f"Choose --detect {100 * advice['detect']:g}% on this machine, or more"
    if not advice["tried"]:
        return "Too few blocks of the same code to say which --detect to choose: make more runs"
    most = 100 * advice["tried"][-1][0]["detect"]
    return f"No --detect up to {most:g}% holds on this machine: it is too noisy now"


def markdown(plain: Mapping[str, Any]) -> str:
    """The same as Markdown."""
    lines = ["### Selftest", "", f"| {' | '.join(HEADS)} |", "|" + "---|" * len(HEADS)]
    lines += [f"| {' | '.join(row)} |" for row in rows(plain)]
    return "\n".join([*lines, "", deviation(plain), "", advised(plain)])


@contextlib.contextmanager
def open_selftest_console(*, on_stderr: bool = False) -> Iterator[SelftestConsole]:
    """A console on standard output, or error.

    Its line is taken down at the end, whatever happens.
    """
    console = SelftestConsole(Console(stderr=on_stderr))
    try:
        yield console
    finally:
        console.close()
