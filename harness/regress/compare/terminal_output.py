"""The progress and the result of a comparison: lines and a table, also as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from harness.columns import size_in_bytes
from harness.regress.compare.comparison_files import (
    ComparisonRecord,
    FindingRecord,
    MemoryRecord,
)
from harness.regress.measuring.slowdown_causes import native_difference
from harness.regress.terminal_output import (
    ProgressConsole,
    interval_text,
    markdown_table,
    markdown_text,
    or_none,
    p_text,
    ratio_text,
)
from harness.regress.verdict.verdicts import BenchmarkVerdict, Reason

VERDICT_STYLES: Final[Mapping[BenchmarkVerdict, tuple[str, str]]] = {
    "ok": ("OK", ""),
    "regression": ("REGRESSION", "bold red"),
    "inconclusive": ("INCONCLUSIVE", "yellow"),
    "contaminated": ("CONTAMINATED", "magenta"),
    "missing": ("MISSING", "bold red"),
}
"""The word and the colour of each verdict."""
REASONS: Final[Mapping[Reason, str]] = {
    "confirmed": "slower, and fresh blocks agree",
    "below_detect": "below the slow-down to find",
    "not_confirmed": "seemed slower, and fresh blocks did not agree",
    "reaches_detect": "too noisy to tell",
    "not_measured": "too few blocks",
    "out_of_budget": "the budget ended",
    "canary_not_measured": "too few blocks with a canary",
    "canary_moved": "the canary moved",
    "absent_in_head": "head lacks it",
}
COMPARISON_HEADS: Final = ("benchmark", "head / base", "interval", "p", "verdict")
MAX_DIFFERENCES: Final = 12
"""Differences between the environments that are shown."""


class CompareConsole(ProgressConsole):
    """Shows the progress of a comparison, then its table, its remarks and its verdict."""

    verb: ClassVar = "Comparing"

    def done(self, record: ComparisonRecord, files: str) -> None:
        """Show what came out, and in which folder its files are."""
        rows = comparison_rows(record)
        styles = [VERDICT_STYLES[verdict][1] for _, verdict in rows]
        self.print_table(COMPARISON_HEADS, [cells for cells, _ in rows], styles)
        for line in remarks(record):
            self.print(line)
        self.print(f"{VERDICT_STYLES[record.verdict][0]}: {conclusion(record)}")
        self.print(f"files: {files}")


def comparison_rows(record: ComparisonRecord) -> list[tuple[tuple[str, ...], BenchmarkVerdict]]:
    """The table's rows of texts, each with the verdict that colours it; the canary comes last."""
    rows: list[tuple[tuple[str, ...], BenchmarkVerdict]] = []
    for each in record.findings:
        p_value = "" if each.p_value is None else p_text(each.p_value)
        numbers = (ratio_text(each.ratio), interval_text(each.ratio), p_value)
        verdict = each.verdict if each.accepted is None else "ok"
        rows.append(((each.name, *numbers, _verdict_text(each)), verdict))
    canary = record.canary
    numbers = (ratio_text(canary.ratio), interval_text(canary.ratio), p_text(canary.p_value))
    last = ("canary", *numbers, "moved" if canary.moved else "still")
    return [*rows, (last, "contaminated" if canary.moved else "ok")]


def remarks(record: ComparisonRecord) -> list[str]:
    """Memory, what is accepted, what is new in head, and possible causes of a regression."""
    lines = []
    for each in record.memory:
        if each.verdict in ("regression", "grown") and each.growth is not None:
            sizes = (
                f"{size_in_bytes(each.base_bytes or 0)} to {size_in_bytes(each.head_bytes or 0)}"
            )
            advice = "" if each.verdict == "regression" else "; on a CPU this is advice"
            lines.append(f"memory of {each.name}: {100 * each.growth:+.1f} % ({sizes}{advice})")
    lines += [f"{name} accepted: {reason}" for name, reason in _accepted(record).items()]
    lines += [f"only head has {name}: not compared" for name in record.only_in_head]
    lines += record.notes
    if record.operators:
        lines += [
            f"differs: {each.name}: {or_none(each.base)} -> {or_none(each.head)}"
            for each in record.differences[:MAX_DIFFERENCES]
        ] or ["the environments do not differ"]
    for name, operators in record.operators.items():
        grown = [
            f"{each.operator} {1e6 * each.base_s:.0f} -> {1e6 * each.head_s:.0f} µs"
            for each in operators
        ]
        lines.append(f"grew most in {name}: {', '.join(grown) or 'nothing that the profiler sees'}")
    return lines


def conclusion(record: ComparisonRecord) -> str:
    """The verdict in a sentence, and a difference of the sides' native kernels."""
    native = native_difference(record.differences)
    if native is None:
        return _verdict_sentence(record)
    kernels = f"base {native.base}; head {native.head}"
    return f"{_verdict_sentence(record)}. The sides differ in their native kernels: {kernels}"


def _verdict_sentence(record: ComparisonRecord) -> str:
    detect = f"{100 * record.detect:g} %"
    failed: tuple[FindingRecord | MemoryRecord, ...] = (*record.findings, *record.memory)
    names = [
        f"memory of {each.name}" if isinstance(each, MemoryRecord) else each.name
        for each in failed
        if each.is_failure and each.verdict == record.verdict
    ]
    match record.verdict:
        case "ok":
            return f"no benchmark is slower by {detect}"
        case "regression":
            return f"{', '.join(names)} regressed"
        case "inconclusive":
            return f"this machine is too noisy, or the time was too short, to find {detect}"
        case "contaminated":
            return "two processes of base differ from each other: do not trust these results"
        case "missing":
            return f"head lacks {', '.join(names)}"


def comparison_markdown(record: ComparisonRecord) -> str:
    """The table and its remarks for a CI's step summary."""
    base, head = (_code(side.label) for side in (record.base, record.head))
    rows = [cells for cells, _ in comparison_rows(record)]
    lines = [
        f"### {VERDICT_STYLES[record.verdict][0]}: {markdown_text(conclusion(record))}",
        "",
        f"`{head}` against `{base}`, {record.n_blocks} blocks. A ratio above 1 is slower.",
        "",
        *markdown_table(COMPARISON_HEADS, rows, n_numbers=3),
        "",
        *(f"- {markdown_text(line)}" for line in remarks(record)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _verdict_text(found: FindingRecord) -> str:
    word = VERDICT_STYLES[found.verdict][0]
    if found.accepted is not None:
        return f"{word}, accepted"
    if found.improved:
        return f"{word}, faster"
    return word if found.verdict == "ok" else f"{word}: {REASONS[found.reason]}"


def _accepted(record: ComparisonRecord) -> dict[str, str]:
    """What was accepted, by name, once for time and memory together."""
    memory = [each for each in record.memory if each.verdict == "regression"]
    both: tuple[FindingRecord | MemoryRecord, ...] = (*record.findings, *memory)
    return {each.name: each.accepted for each in both if each.accepted}


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
