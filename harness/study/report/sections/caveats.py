"""The caveats: what limits the conclusions of the study."""

from __future__ import annotations

from harness.rendering.document import BulletList, Section
from harness.rendering.sections.machine import run_notes
from harness.stats import MINIMUM_REPEATS
from harness.study.report.study_context import StudyContext


def section(context: StudyContext) -> Section:
    """The caveats that apply to this study, and the warnings of the run."""
    messages, summary = context.messages, context.summary
    spec = summary.records.spec
    items = []
    if summary.common_trials < spec.search.trials:
        items.append(
            messages("caveats.fewer_trials", n=summary.common_trials, asked=spec.search.trials)
        )
    if summary.repeats < MINIMUM_REPEATS:
        items.append(messages("caveats.few_repeats", n=summary.repeats, minimum=MINIMUM_REPEATS))
    if spec.search.trials > 1:
        items.append(messages("caveats.luck", n=summary.repeats, trials=spec.search.trials))
        items.append(messages("caveats.budget"))
    if summary.confirmed:
        items += [messages("caveats.ladder")] if summary.has_ladder else []
        items.append(messages("caveats.plateau"))
        if spec.confirm.seeds > 1:
            items.append(messages("caveats.seeds", seeds=spec.confirm.seeds))
    if spec.search.pruner != "none":
        key = "caveats.bound" if spec.search.pruner == "bound" else "caveats.pruner"
        items.append(messages(key, pruner=spec.search.pruner))
    table = summary.records.throughput
    if table is not None and len(table):
        items.append(messages("caveats.implementation"))
        if (table["device"] == "cpu").any():
            items.append(messages("caveats.cpu"))
    items += run_notes(context, summary.records.machine)
    return Section("caveats", messages("caveats.title"), (BulletList(tuple(items)),))
