"""Do the statistics err as rarely as they claim? `lstm` against itself, and simulated results.

    python benchmarks/calibration.py --workers 2

Runs one study of many small searches with the study command (into results/calibration/; what is
finished is not run again), where `lstm_twin` is `lstm` plugged in under another name, and compares
searches of the two as a report would, five against five. Then it counts over simulated results
whose truth is known. Both tables go to results/reference/calibration/. Nothing here decides what is
right: it counts.
"""

from __future__ import annotations

import argparse
import csv
import math
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import records, stats
from harness.columns import seconds
from harness.study.report.study_summary import outcome

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, this one finds tests/simulated.py
from tests import simulated  # noqa: E402  # after the line above

STUDY = "benchmarks/calibration.toml"
PLUGIN = "benchmarks/twin.py"
RESULTS = ROOT / "results" / "calibration"
REFERENCE = ROOT / "results" / "reference" / "calibration"
FEW = 5  # searches on each side of a comparison: as few as a ranking takes
MANY = 20
SAME, OTHER = ("lstm", "lstm_twin"), ("lstm", "rnn")
COMPARISONS = ("kind", "first", "second", "group", "p_value", "verdict", "longer")

Runs = Mapping[int, Sequence[tuple[float, bool | None]]]
Compared = dict[str, object]


def run_study(workers: int) -> None:
    """Run the study, or go on with it."""
    if not (RESULTS / "report.html").exists():
        command = [*(sys.executable, "-m", "harness.study", STUDY), "--plugin", PLUGIN]
        command += ["--workers", str(workers)]
        subprocess.run(command, check=True, cwd=ROOT)


def runs_of(study: records.StudyRecords, cell: str) -> Runs:
    """The confirmation's (lag, solved) of each search of a cell."""
    assert study.confirmation is not None
    found: dict[int, list[tuple[float, bool | None]]] = {}
    rows = study.confirmation[study.confirmation["cell"] == cell]
    columns = (rows[name] for name in ("repeat", "lag", "end", "solved"))
    for repeat, lag, end, solved in zip(*columns, strict=True):
        found.setdefault(int(repeat), []).append((float(lag), outcome(str(end), solved)))
    return found


def climbed(searches: Iterable[Sequence[tuple[float, bool | None]]]) -> stats.RunLadder:
    """The ladder of some searches."""
    return stats.run_ladder(
        (i, lag, solved) for i, runs in enumerate(searches) for lag, solved in runs
    )


def compare(
    kind: str, group: int, names: tuple[str, str], sides: Sequence[Sequence[Any]]
) -> Compared:
    """One comparison as a report makes it."""
    (found,) = stats.compare_cells(
        {
            f"{name} {i}": climbed(side)
            for i, (name, side) in enumerate(zip(names, sides, strict=True))
        }
    )
    longer = "" if found.longer is None else found.longer.rpartition(" ")[0]
    values = (kind, *names, group, found.p_value, found.verdict, longer)
    return dict(zip(COMPARISONS, values, strict=True))


def comparisons(
    runs: Mapping[str, Runs], generator: np.random.Generator, n_drawn: int
) -> Iterator[Compared]:
    """Disjoint groups, each search in one of them.

    Groups drawn at random, time and again, from the same searches; all.
    """
    pooled = [search for name in SAME for search in runs[name].values()]
    for names in (SAME, OTHER):
        first, second = ([runs[name][repeat] for repeat in sorted(runs[name])] for name in names)
        for group in range(min(len(first), len(second)) // FEW):
            part = slice(group * FEW, (group + 1) * FEW)
            yield compare("disjoint", group, names, (first[part], second[part]))
        for size in (FEW, MANY):
            for group in range(n_drawn):
                sides = [drawn(generator, side, size) for side in (first, second)]
                yield compare(f"drawn {size}", group, names, sides)
        yield compare("all", 0, names, (first, second))
    for size in (FEW, MANY):
        for group in range(n_drawn):
            both = drawn(generator, pooled, 2 * size)
            yield compare(f"drawn {size}", group, ("pooled", "pooled"), (both[:size], both[size:]))


def drawn(generator: np.random.Generator, searches: Sequence[Any], size: int) -> list[Any]:
    """So many of the searches, none twice."""
    return [searches[i] for i in generator.choice(len(searches), size, replace=False)]


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def percents(*shares: float) -> str:
    """Shares as percentages to a tenth, a range between two of them."""
    return " – ".join(f"{100 * share:.1f}" for share in shares) + " %"


def counted(rows: Sequence[Compared], kind: str, names: tuple[str, str]) -> tuple[int, int]:
    """How many comparisons of a kind show a difference, of how many."""
    own = [row for row in rows if (row["kind"], row["first"], row["second"]) == (kind, *names)]
    return sum(row["verdict"] == "difference_shown" for row in own), len(own)


def real_rows(rows: Sequence[Compared], n_searches: int) -> Iterator[str]:
    """The table of the comparisons of real searches."""
    kinds = {
        "disjoint": f"{FEW} against {FEW}, disjoint groups",
        f"drawn {FEW}": f"{FEW} against {FEW}, drawn at random",
        f"drawn {MANY}": f"{MANY} against {MANY}, drawn at random",
        "all": f"all {n_searches} against all {n_searches}",
    }
    for title, promised, names in (
        ("`lstm` and `lstm_twin`", "≤ 5 %", SAME),
        ("both pooled, any against any", "≤ 5 %", ("pooled", "pooled")),
        ("`lstm` and `rnn`", "", OTHER),
    ):
        for kind, what in kinds.items():
            k, n = counted(rows, kind, names)
            interval = stats.binomial_interval(k, n)
            if interval is None:
                continue
            between = percents(interval.low, interval.high) if kind == "disjoint" else "–"
            share = percents(k / n) if n > 1 else "–"
            yield f"| {title}: {what} | {promised} | {share} | {between} | {k} of {n:,} |"


def simulated_rows(n: int, n_importances: int) -> Iterator[str]:
    """The table of the simulated results: what is promised, and what was found."""
    generator = np.random.default_rng(0)
    for source, sign in (
        (simulated.false_alarms(generator, n), "≤ "),
        (simulated.power(generator, n), ""),
        (simulated.coverage(generator, n), "≥ "),
        (simulated.importances_coverage(generator, n_importances), "≥ "),
    ):
        for found in source:
            promised = "" if math.isnan(found.nominal) else sign + percents(found.nominal)
            interval = stats.binomial_interval(found.k, found.n)
            assert interval is not None
            between = percents(interval.low, interval.high)
            share = percents(found.k / found.n)
            yield f"| {found.what} | {promised} | {share} | {between} | {found.n:,} |"


def spans_line(spans: Sequence[float]) -> str:
    """How the spans of a cell's searches are spread: each with its count."""
    return ", ".join(f"{span:g}: {spans.count(span)}" for span in sorted(set(spans)))


def page(
    study: records.StudyRecords,
    spans: Mapping[str, Sequence[float]],
    tables: Mapping[str, list[str]],
) -> str:
    """README.md, from what was counted."""
    machine, spec = study.machine, study.spec
    head = "| what | promised | found | 95 % interval | n |\n|:---|---:|---:|---:|---:|"
    took = seconds(float(machine["wall_time_s"]))
    searches = len(next(iter(spans.values())))
    lines = [
        "# Calibration",
        "",
        (
            "Are two cells that are the same called different in at most 5 % of comparisons, and does each interval hold the "
            "true value as often as it says? Counted with real searches of a cell against itself under another name, and with "
            "simulated results whose truth is known."
        ),
        "",
        "## Real searches",
        "",
        (
            f"`lstm_twin` is `lstm`, plugged in under another name. {searches} searches of each cell on "
            f"{', '.join(spec.compare.tasks)} ({spec.search.trials} trials of {spec.training.sequences:,} sequences each, the "
            f"winner trained anew at lags {', '.join(f'{lag:g}' for lag in spec.confirm.lags or ())}), compared as a report "
            "compares them. Each search is in one of the disjoint groups, so those comparisons are independent and have an exact "
            "interval. The groups drawn at random use the same searches again and again: their comparisons hang together, so "
            "they have a share and no interval. The rows of `rnn` show how often a difference is found."
        ),
        "",
        head.replace("found", "called different").replace("| n |", "| comparisons |"),
        *tables["real"],
        "",
        "Spans of the searches, in steps of lag (span: searches; 0: the shortest lag was not solved):",
        "",
        *(f"- `{cell}`: {spans_line(own)}" for cell, own in spans.items()),
        "",
        "## Simulated results",
        "",
        (
            "Studies drawn at random, where the truth is known by construction ([tests/simulated.py](../../../tests/simulated.py) "
            "says how). The intervals of binomial_interval, solved_shares, memory_span and the medians are exact: they cover at "
            "least as often as they promise. Newcombe's of probability_longer and the jackknife of importances are approximate."
        ),
        "",
        head,
        *tables["simulated"],
        "",
        (
            f"Made by `python benchmarks/calibration.py --workers {machine['workers']}` on {time.strftime('%Y-%m-%d')}: "
            f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, torch {machine['versions']['torch']}, "
            f"optuna {machine['versions']['optuna']}. The searches took {took} in all; neither the number of workers nor what "
            "else the machine did bears on a span. [searches.csv](searches.csv) holds the spans, "
            "[comparisons.csv](comparisons.csv) the comparisons that are independent, and those of all searches."
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the study, compare its searches, count over simulated results, write both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--drawn", type=int, default=2000, help="groups drawn at random")
    parser.add_argument("--simulated", type=int, default=2000, help="simulated studies a row")
    parser.add_argument("--importances", type=int, default=1000, help="the same, for importances")
    options = parser.parse_args()
    run_study(options.workers)
    study = records.read_study(RESULTS)
    runs = {cell: runs_of(study, cell) for cell in study.spec.compare.cells}
    spans = {
        cell: [float(span) for span in stats.repeat_spans(climbed(own[i] for i in sorted(own)))]
        for cell, own in runs.items()
    }
    compared = list(comparisons(runs, np.random.default_rng(0), options.drawn))
    REFERENCE.mkdir(parents=True, exist_ok=True)
    searches = [
        {"cell": cell, "repeat": repeat, "span": f"{span:g}"}
        for cell, own in spans.items()
        for repeat, span in zip(sorted(runs[cell]), own, strict=True)
    ]
    write_csv(REFERENCE / "searches.csv", ("cell", "repeat", "span"), searches)
    kept = [row for row in compared if row["kind"] in ("disjoint", "all")]
    write_csv(REFERENCE / "comparisons.csv", COMPARISONS, kept)
    tables = {
        "real": list(real_rows(compared, study.spec.search.repeats)),
        "simulated": list(simulated_rows(options.simulated, options.importances)),
    }
    (REFERENCE / "README.md").write_text(page(study, spans, tables), encoding="utf-8")


if __name__ == "__main__":
    main()
