from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from harness.errors import InputError
from harness.regress.compare.comparison_files import (
    ComparisonRecord,
    comparison_record,
    read_comparison,
    write_comparison,
)
from harness.regress.measuring.blocks import BlockRatios
from harness.regress.measuring.comparison_runner import (
    ComparisonResult,
    SamplingPlan,
    SlowdownCause,
    TimedBlock,
)
from harness.regress.measuring.peak_memory import Footprint
from harness.regress.measuring.slowdown_causes import OperatorGrowth
from harness.regress.sides.side import Side
from harness.regress.sides.worker_answers import SideFacts
from harness.regress.verdict.decision_rules import rules_for
from harness.regress.verdict.verdicts import Family, Stop, decide

SIDES = (Side("revision", "main", "a" * 40), Side("worktree", ".", "."))
SLOWDOWN: dict[str, Any] = {"lstm": 1.10, "gru": 1.0, "rnn": 1.0}
MACHINE: dict[str, Any] = {"cpu": "C", "torch": "2.13.0", "threads": 1}
FACTS = SideFacts(MACHINE, {}, {"numpy": "2.1"})


def comparison(accepted: dict[str, str] | None = None, *, n_blocks: int = 15) -> ComparisonResult:
    """A comparison in which lstm is 10 % slower, of 8 sequences a step, and head lacks "old"."""
    family = Family(tuple(SLOWDOWN), ("old",), accepted or {})
    rules = rules_for(3)
    blocks = []
    for i in range(n_blocks):
        wobble = 1 + 0.001 * (-1) ** i
        rounds = {n: ((0.01, 0.01 * by * wobble),) * 6 for n, by in SLOWDOWN.items()}
        blocks.append(TimedBlock(rounds, ((0.002, 0.002 * wobble),) * 6))
    values: list[BlockRatios] = [block.ratios for block in blocks]
    stop = decide(values, family, rules, budget_over=True)
    assert isinstance(stop, Stop)
    return ComparisonResult(
        rules=rules,
        sampling=SamplingPlan(),
        n_steps={"lstm": 3, "gru": 3, "rnn": 3, "canary": 10},
        is_pinned=True,
        sequences={"lstm": 8.0, "gru": 8.0, "rnn": 8.0},
        blocks=tuple(blocks),
        outcome=stop.outcome,
        footprints=(
            Footprint("lstm", "cuda_allocator", 1000, 1100),
            Footprint("gru", "x", None, 1),
        ),
        facts=(FACTS, SideFacts({**MACHINE, "threads": 2}, {}, {"numpy": "2.2"})),
        only_in_head=("new",),
        explained=(SlowdownCause("lstm", (OperatorGrowth("aten::lstm", 0.01, 0.02),)),),
        wall_time_s=12.5,
    )


def write(
    folder: Path, result: ComparisonResult, sides: tuple[Side, Side], exit_code: int, **more: Any
) -> ComparisonRecord:
    """Write the files of a comparison; what comparison.json holds."""
    record = comparison_record(result, sides, exit_code, **more)
    write_comparison(folder, record, result)
    return record


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The files of a comparison that failed."""
    command = "python -m harness.regress compare"
    write(tmp_path, comparison(), SIDES, 4, command=command, notes=("a note",))
    return tmp_path


def test_it_reads_back_with_every_round(written: Path) -> None:
    """Findings, canary, memory, what differs, what grew, and the raw rounds."""
    record = read_comparison(written)
    assert record == comparison_record(
        comparison(),
        SIDES,
        4,
        command="python -m harness.regress compare",
        notes=("a note",),
    )
    plain = json.loads((written / "comparison.json").read_text())
    assert (plain["verdict"], plain["exit_code"], plain["detect"]) == ("missing", 4, 0.05)
    assert plain["base"] == {
        "kind": "revision",
        "text": "main",
        "value": "a" * 40,
        "label": "main (aaaaaaaaa)",
    }
    found = {each["name"]: each for each in plain["findings"]}
    assert {name: each["verdict"] for name, each in found.items()} == {
        **dict.fromkeys(("gru", "rnn"), "ok"),
        "lstm": "regression",
        "old": "missing",
    }
    assert found["lstm"]["ratio"]["value"] == pytest.approx(1.10, abs=0.002)
    assert found["lstm"]["base_sequences_per_second"] == pytest.approx(800)
    assert found["old"]["base_sequences_per_second"] is None
    assert plain["memory"][0]["growth"] == pytest.approx(0.1)
    assert plain["memory"][0]["verdict"] == "regression"
    assert [each["name"] for each in plain["differences"]] == ["threads", "package numpy"]
    assert plain["operators"] == {
        "lstm": [{"operator": "aten::lstm", "base_s": 0.01, "head_s": 0.02}]
    }
    assert len(plain["blocks"]) == 15
    assert plain["blocks"][0]["rounds"]["gru"][0][0] == 0.01
    assert len(plain["blocks"][0]["canary"]) == 6


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 99}', '"text"', "[" * 100_000])
def test_what_is_no_comparison_is_one_line(tmp_path: Path, content: str) -> None:
    """The file is named."""
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(InputError, match=r"comparison\.json"):
        read_comparison(tmp_path)


def test_pytest_benchmark_compares_both_sides(written: Path) -> None:
    """Its own command reads both files and shows all three benchmarks of each."""
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "base.json", "head.json"]
    done = subprocess.run(
        [*command, "--csv=table.csv"], cwd=written, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names = {line.partition(",")[0] for line in (written / "table.csv").read_text().splitlines()}
    assert names >= {"lstm", "gru", "rnn"} or "lstm" in done.stdout
    base, head = (
        {each["name"]: each["stats"] for each in json.loads(path.read_text())["benchmarks"]}
        for path in (written / "base.json", written / "head.json")
    )
    assert head["lstm"]["median"] / base["lstm"]["median"] == pytest.approx(1.10, abs=0.002)
    assert base["lstm"]["rounds"] == 90


def junit_of(folder: Path) -> dict[tuple[str, str], ET.Element]:
    """The test cases of a file, by class and name."""
    (suite,) = ET.parse(folder / "junit.xml").getroot()
    cases = list(suite)
    for attribute, kind in (("failures", "failure"), ("skipped", "skipped"), ("errors", "error")):
        assert int(suite.attrib[attribute]) == sum(case.find(kind) is not None for case in cases)
    assert int(suite.attrib["tests"]) == len(cases)
    return {
        (case.attrib["classname"].rpartition(".")[2], case.attrib["name"]): case for case in cases
    }


def test_a_regression_is_a_failure_in_junit(written: Path) -> None:
    """So is what is missing, and memory that grew on CUDA; what is OK has nothing inside."""
    cases = junit_of(written)
    failure = cases["time", "lstm"].find("failure")
    assert failure is not None
    assert failure.attrib["type"] == "regression"
    assert failure.attrib["message"].startswith("REGRESSION (confirmed): +10.")
    assert cases["time", "old"].find("failure") is not None
    assert len(cases["time", "gru"]) == 0
    assert cases["memory", "lstm"].find("failure") is not None
    assert ("memory", "gru") not in cases  # not measured on both sides


def test_what_is_accepted_is_no_failure(tmp_path: Path) -> None:
    """Its reason is kept, with letters that XML has not left out."""
    accepted = {"lstm": "worth it\x00 <&>", "old": "of no use"}
    found = comparison(accepted)
    memory = tuple(dataclasses.replace(each, accepted="worth it") for each in found.footprints)
    write(tmp_path, dataclasses.replace(found, footprints=memory), SIDES, 0)
    cases = junit_of(tmp_path)
    assert all(case.find("failure") is None for case in cases.values())
    assert cases["time", "lstm"].findtext("system-out") == "accepted: worth it <&>"


@pytest.mark.parametrize(("exit_code", "kind"), [(0, "skipped"), (3, "failure")])
def test_what_is_undecided_is_skipped_unless_it_fails_the_run(
    tmp_path: Path, exit_code: int, kind: str
) -> None:
    """With --fail-on inconclusive a CI must see why."""
    found = comparison(n_blocks=4)
    write(tmp_path, found, SIDES, exit_code)
    case = junit_of(tmp_path)["time", "gru"]
    assert [each.tag for each in case] == [kind]
    assert "INCONCLUSIVE (out of budget)" in case[0].attrib["message"]


def test_paths_of_this_machine_are_not_kept(tmp_path: Path) -> None:
    """An environment and a plug-in are known by their last names."""
    sides = (
        Side("environment", ".venv", "/home/me/.venv/bin/python"),
        Side("plugin", "new_cell.py", "/home/me/new_cell.py"),
    )
    record = write(tmp_path, comparison(), sides, 4)
    assert [side.value for side in (record.base, record.head)] == ["python", "new_cell.py"]
