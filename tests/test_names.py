"""Names in any script and of the greatest length, wherever a name may stand.

File to search to report to resume.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w

from harness import config as specs
from harness import records
from harness.cells import CELLS
from harness.config.validation import NAME_LENGTH
from harness.plugins import load_plugins
from harness.study import run, run_context
from harness.tasks import TASKS
from tests.rendering.pages import visible_text
from tests.small import SMALL, RecordingObserver, tables
from tests.tally import Tally

PLUGIN = """
import torch
from harness.cells import Cell, register_cell
from harness.tasks import register_task
from harness.tasks.delayed_recall import DelayedRecall

class Echo(torch.nn.Module):
    def __init__(self, input_size, hidden_size, num_layers):
        super().__init__()
        self.rnn = torch.nn.RNN(input_size, hidden_size, num_layers, batch_first=True)

    def forward(self, inputs):
        return self.rnn(inputs)[0]

class Named(DelayedRecall):
    name = {task!r}

register_cell(Cell({cell!r}, Echo))
register_task(Named())
"""

SCRIPTS = {
    "Korean, emoji": ("기억력 연구", "메아리 셀", "📞 회상", "🦣"),
    "right to left, combining": ("מחקר זיכרון", "تجربة", "z\u0335\u0301a\u0300", "n\u0303"),
    "long": ("s" * NAME_LENGTH, "c" * NAME_LENGTH, "한" * 26, "v" * NAME_LENGTH),
    "signs": ("a & b's `x` $y$", "[red]x", "100 % #1 {z}", "_a_ ~b~ ^c^ (d) [e](f)"),
}


@pytest.mark.parametrize(
    "script",
    [pytest.param(name, marks=() if name == "signs" else pytest.mark.nightly) for name in SCRIPTS],
)
def test_a_study_in_any_script(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """A plug-in's path, cell and task, a variant, the study, its question and its folder.

    Searched, confirmed, told, resumed.
    """
    study, cell, task, variant = SCRIPTS[script]
    monkeypatch.delitem(CELLS, cell, raising=False)
    monkeypatch.delitem(TASKS, task, raising=False)
    plugin = tmp_path / f"{variant[:30]} plugin.py"
    plugin.write_text(PLUGIN.format(cell=cell, task=task), encoding="utf-8")
    load_plugins([str(plugin)])
    plain = tomllib.loads(SMALL)
    plain["study"] = {"name": study, "question": f"{study}? {cell} {variant} \u202e\x1b[31m"}
    plain["compare"] = {"tasks": [task], "cells": [cell, variant], "variants": {variant: "rnn"}}
    plain["space"] |= {"sequence_length": 10, "initialization": "pytorch"}
    plain["confirm"] = {"seeds": 1, "sequence_lengths": [10, 14]}
    plain["claims"] = [{"cell": variant, "text": f"{variant} remembers", "lag": 9}]
    path = tmp_path / f"{variant[:30]}.toml"
    path.write_text(tomli_w.dumps(plain), encoding="utf-8")
    spec = specs.check_study(specs.load_study(path), path.name, TASKS, CELLS, 8 << 30)
    options = run_context.StudyOptions(
        tmp_path / f"{study[:30]} results", "cpu", 1, plugins=(str(plugin),), where=path.name
    )
    fault = "names in other scripts, of signs and markup, 80 bytes long"
    with tally.each(fault, "searched, told, drawn, resumed") as count, count.one():
        outcome = run.run_study(spec, options, RecordingObserver())
        found = records.read_study(outcome.directory)
        assert set(found.trials["cell"]) == {cell, variant}
        assert set(found.winners) == {(task, cell), (task, variant)}
        assert found.spec.study.name == outcome.directory.name == study
        html = visible_text((outcome.directory / "report.html").read_text("utf-8"))
        for name in (study, cell, variant):
            assert name in html
        for name in ("report.md", "paper.tex", "figures/memory.svg", "figures/memory.png"):
            assert (outcome.directory / name).stat().st_size > 200
        before = tables(outcome.directory)
        observer = RecordingObserver()
        run.run_study(spec, options, observer)
        assert observer.ends() == []  # all was kept, winners too
        assert "keep" not in observer.phases
        assert tables(outcome.directory) == before
        inside = {each.resolve() for each in tmp_path.rglob("*")}
        assert all(each.is_relative_to(tmp_path) for each in inside)
