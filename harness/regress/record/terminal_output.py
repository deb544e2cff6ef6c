"""The progress and the result of a recording: lines and a table, also as Markdown."""

from __future__ import annotations

from typing import ClassVar, Final

from harness.columns import seconds, significant
from harness.regress.record.run import RecordOutcome
from harness.regress.terminal_output import (
    ProgressConsole,
    markdown_table,
    markdown_text,
    n_recordings,
    or_none,
)

RECORD_HEADS: Final = ("benchmark", "a step", "over canary", "spread", "change")


class RecordConsole(ProgressConsole):
    """Shows the progress of a recording, then its table and its remarks."""

    verb: ClassVar = "Recording"

    def done(self, outcome: RecordOutcome) -> None:
        """Show what was recorded."""
        self.print_table(RECORD_HEADS, record_rows(outcome))
        for line in record_remarks(outcome):
            self.print(line)


def record_rows(outcome: RecordOutcome) -> list[tuple[str, ...]]:
    """The table's rows of texts; the canary comes last."""
    rows = [
        (
            each.name,
            _seconds(each.step_time_s),
            "not measured" if each.over_canary is None else significant(each.over_canary),
            _percent(each.spread),
            "" if each.change is None else f"{100 * each.change:+.1f} %",
        )
        for each in outcome.benchmarks
    ]
    canary = outcome.canary
    return [*rows, ("canary", _seconds(canary.step_time_s), "", _percent(canary.spread), "")]


def record_remarks(outcome: RecordOutcome) -> list[str]:
    """What the change is against, what was left out, and in capitals where nothing is compared."""
    others = outcome.others
    n_others = sum(each.n for each in others)
    lines = []
    n_compared = max((each.n_compared for each in outcome.benchmarks), default=0)
    if outcome.n_before and n_compared:
        one = "the recording before"
        past = one if n_compared == 1 else f"the median of the last {n_compared} recordings"
        lines.append(f"change: against {past} of this machine; no test, and it fails nothing")
    if outcome.n_before and others:
        lines.append(f"left out: {n_recordings(n_others)} of other machines or environments")
    elif others:
        newest = others[-1]
        lines.append(
            f"ANOTHER MACHINE OR ENVIRONMENT: none of the {n_recordings(n_others)} before was made "
            "in this one, so nothing is compared"
        )
        lines += [
            f"differs from {newest.fingerprint}: {each.name}: {or_none(each.before)} -> "
            f"{or_none(each.after)}"
            for each in newest.differs
        ]
    elif not outcome.n_before:
        lines.append("the first recording: there is nothing to compare it with")
    if outcome.torn_bytes:
        lines.append(f"a torn last line of {outcome.torn_bytes} bytes was cut off")
    lines.append(
        f"recorded: {outcome.revision} as number {outcome.n_before + 1} of fingerprint "
        f"{outcome.fingerprint} in {outcome.history}"
    )
    return lines


def record_markdown(outcome: RecordOutcome) -> str:
    """The table and its remarks for a CI's step summary."""
    lines = [
        f"### Recorded: {markdown_text(outcome.revision)}",
        "",
        *markdown_table(RECORD_HEADS, record_rows(outcome)),
        "",
        *(f"- {markdown_text(line)}" for line in record_remarks(outcome)),
    ]
    return "\n".join(lines) + "\n"


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else seconds(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
