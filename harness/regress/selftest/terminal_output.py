"""The progress and the result of a selftest: a line for each run, a table and the advice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from harness.regress.compare.terminal_output import VERDICT_STYLES
from harness.regress.selftest.selftest_files import Injected, SelftestRecord
from harness.regress.terminal_output import ProgressConsole, markdown_table
from harness.regress.verdict.resampling import Rate
from harness.regress.verdict.verdicts import VerdictOutcome

SELFTEST_HEADS: Final = (
    *("runs", "--detect", "false REGRESSION", "by replay", "found", "by replay"),
)


class SelftestConsole(ProgressConsole):
    """Shows the progress of a selftest; a SelftestProgress of harness.regress.selftest.run."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.n_runs = self.n_done = self.n_before = 0
        self.injected = ""

    def plan(self, n_runs: int, n_done: int, names: Sequence[str]) -> None:
        """Show how much there is to do."""
        self.n_runs, self.n_done, self.n_before = n_runs, n_done, n_done
        kept = f", {n_done} of them kept from before" if n_done else ""
        self.print(f"{n_runs} runs of {len(names)} benchmarks{kept}")

    def begin(self, names: Sequence[str], missing: Sequence[str]) -> None:
        """Show nothing: each run has the same benchmarks."""

    def step(self, text: str) -> None:
        """Show what a run does first."""
        self.show(f"run {self.n_done + 1} of {self.n_runs}: {text}")

    def run(self, planned: Injected) -> None:
        """A run begins."""
        self.injected = injected_text(planned)

    def block(self, n_done: int, n_wanted: int, names: Sequence[str]) -> None:
        """Show how many blocks are done."""
        run = f"run {self.n_done + 1} of {self.n_runs}"
        self.show(f"{run}, {self.injected}: block {n_done + 1} of {n_wanted}")

    def verdict(self, planned: Injected, outcome: VerdictOutcome, wall_time_s: float) -> None:
        """Show what a run came to, and how long the others will take."""
        self.n_done += 1
        a_run_s = (time.monotonic() - self.started) / (self.n_done - self.n_before)
        left_s = a_run_s * (self.n_runs - self.n_done)
        self.print(
            f"run {self.n_done} of {self.n_runs}, {injected_text(planned)}: "
            f"{VERDICT_STYLES[outcome.verdict][0]} after {outcome.n_blocks} blocks, "
            f"{wall_time_s:.0f} s; {left_s / 60:.0f} min left"
        )

    def replaying(self, n_blocks: int) -> None:
        """Show that replays begin; they take a minute or two."""
        self.print(f"Replaying {n_blocks} blocks")

    def done(self, record: SelftestRecord, report: str) -> None:
        """Show what came out."""
        self.print_table(SELFTEST_HEADS, selftest_rows(record))
        self.print(deviation_text(record))
        self.print(advice_text(record))
        self.print(f"report: {report}")


def injected_text(planned: Injected) -> str:
    """What was injected into head."""
    return (
        f"{planned.slowed} {100 * planned.effect:g} % slower" if planned.slowed else "the same code"
    )


def selftest_rows(record: SelftestRecord) -> list[tuple[str, ...]]:
    """The table's rows of texts: one for each injected slow-down."""
    rows: list[tuple[str, ...]] = []
    for case in record.rates:
        runs, replay = case.runs, case.replay
        rows.append(
            (
                f"{100 * runs.effect:g} % slower" if runs.effect else "the same code",
                f"{100 * runs.detect:g} %",
                rate_text(runs.false_regression),
                rate_text(replay.false_regression if replay else None),
                rate_text(runs.found) if runs.effect else "",
                rate_text(replay.found if replay else None) if runs.effect else "",
            )
        )
    return rows


def rate_text(rate: Rate | None) -> str:
    """A rate with its exact interval."""
    if rate is None or rate.low is None or rate.high is None:
        return "not measured"
    return f"{rate.k:,} of {rate.n:,} ({100 * rate.low:.3g} to {100 * rate.high:.3g} %)"


def deviation_text(record: SelftestRecord) -> str:
    """By how much a block of the same code deviates from 0, over the benchmarks."""
    known = [value for value in record.deviation.values() if value is not None]
    if not known:
        return "How much blocks deviate was not measured: no runs of the same code"
    low, high = (f"{100 * value:.2f}" for value in (min(known), max(known)))
    between = low if low == high else f"{low} to {high}"
    return f"A block of the same code deviates by {between} %, over {record.n_blocks} blocks"


def advice_text(record: SelftestRecord) -> str:
    """Which `--detect` to choose on this machine."""
    advice = record.advice
    if advice.detect is not None:
        return f"Choose --detect {100 * advice.detect:g}% on this machine, or more"
    if not advice.tried:
        return "Too few blocks of the same code to advise a --detect: make more runs"
    most = 100 * advice.tried[-1][0].detect
    return f"No --detect up to {most:g}% works on this machine: it is too noisy now"


def selftest_markdown(record: SelftestRecord) -> str:
    """The table and both sentences for a CI's step summary."""
    table = markdown_table(SELFTEST_HEADS, selftest_rows(record), n_numbers=0)
    return "\n".join(
        ["### Selftest", "", *table, "", deviation_text(record), "", advice_text(record)]
    )
