"""Does the quickstart's answer depend on the luck of its searches? Runs it with many seeds.

    python benchmarks/quickstart_seeds.py --seeds 20

Each seed is a whole study, run by the study command (without its timing phase) into
results/quickstart_seeds/; a seed that is finished is not run again. The table goes to
results/reference/quickstart_seeds/. Nothing here decides what is right: it counts.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from pathlib import Path

from harness import records, stats

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "results" / "quickstart_seeds"
REFERENCE = ROOT / "results" / "reference" / "quickstart_seeds"
COLUMNS = ("seed", "rnn", "gru", "lstm", "lstm_beats_rnn", "verdict_of_the_study")


def run_seed(seed: int) -> Path:
    """Run the quickstart with one study seed, or go on with it; returns its results directory."""
    results = RUNS / f"seed-{seed}"
    if not (results / "quickstart" / "report.html").exists():
        command = [
            *(sys.executable, "-m", "harness.study", "quickstart", "--seed", str(seed)),
            *("--set", "throughput.enabled=false", "--results", str(results)),
        ]
        subprocess.run(command, check=True, cwd=ROOT)
    return results / "quickstart"


def tabulate(seed: int, directory: Path) -> dict[str, object]:
    """The memory span of each cell in one study, in steps of lag."""
    study = records.read_study(directory)
    assert study.confirmation is not None
    row: dict[str, object] = {"seed": seed}
    spans: dict[str, float] = {}
    ladders: dict[str, stats.RunLadder] = {}
    for cell, runs in study.confirmation.groupby("cell", sort=False):
        rows = [
            (int(repeat), float(lag), bool(solved) if solved is not None else False)
            for repeat, lag, solved in zip(
                runs["repeat"], runs["lag"], runs["solved"].fillna(False), strict=True
            )
        ]
        ladders[str(cell)] = stats.run_ladder(rows)
        span = stats.memory_span(ladders[str(cell)])
        spans[str(cell)] = float(span.value or 0)
        top = ladders[str(cell)].lags[-1]
        row[str(cell)] = f">= {top:g}" if span.value == top else f"{span.value or 0:g}"
    row["lstm_beats_rnn"] = "yes" if spans["lstm"] > spans["rnn"] else "no"
    (pair,) = (
        each
        for each in stats.compare_cells(ladders)
        if {each.first, each.second} == {"rnn", "lstm"}
    )
    row["verdict_of_the_study"] = pair.verdict.replace("_", " ")
    return row


def write(rows: list[dict[str, object]]) -> None:
    """Write the table as CSV and as a page."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    with (REFERENCE / "seeds.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    wins = sum(row["lstm_beats_rnn"] == "yes" for row in rows)
    share = stats.binomial_interval(wins, len(rows))
    assert share is not None, "there is a row for each seed"
    machine = records.read_study(RUNS / f"seed-{rows[0]['seed']}" / "quickstart").machine
    lines = [
        "# The quickstart over study seeds",
        "",
        (
            f"The memory span of `lstm` is longer than that of `rnn` in {wins} of {len(rows)} whole studies "
            f"(share at least {share.low:.2f}, 95 % interval). Spans are lags in steps; `>=` where the ladder of "
            "lags ends. The last column is what each study's own report says of the pair, from its 5 searches alone: "
            "it asks for more than a longer span."
        ),
        "",
        "| seed | rnn | gru | lstm | lstm beats rnn | rnn against lstm, in the study's report |",
        "|---:|---:|---:|---:|:---|:---|",
        *("| " + " | ".join(str(row[column]) for column in COLUMNS) + " |" for row in rows),
        "",
        (
            f"Made by `python benchmarks/quickstart_seeds.py --seeds {len(rows)}` on {machine['cpu']}, "
            f"{machine['cores']} cores, torch {machine['versions']['torch']}, optuna "
            f"{machine['versions']['optuna']}."
        ),
    ]
    (REFERENCE / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Run the seeds, then write the table; after each seed the table holds what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    rows = []
    for seed in range(parser.parse_args().seeds):
        rows.append(tabulate(seed, run_seed(seed)))
        write(rows)


if __name__ == "__main__":
    main()
