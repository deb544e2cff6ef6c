"""The fastest sweep on the machine.

One list of trials through what people use today and through the harness, in turn.

    python -m benchmarks.sweep_race [--rounds 3] [--list full] [--out results/sweep_race]

Every program of benchmarks/peers/ is a fresh process, timed from its start to its end; in each
round all of them take their turn, in an order that moves on by one. Equal final losses are the
proof of equal work: a row whose losses differ from the harness's is refused; only the matrix
products, which train nothing, have none. `runs.jsonl` keeps each run as it ends, so the same
command goes on where it was; `race.json`, `race.csv`, `race.md` and `figures/` are made of it.
Nothing else should run on the machine meanwhile. Exit codes: 0 done; 1 a row is refused or a
program failed; 2 the folder holds runs of something else.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import io
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import listed, products
from harness.columns import TrialStatus
from harness.machine import fingerprint, num_cores
from harness.records import write_bytes, write_text
from harness.records.jsonl import append_line, read_lines

ROOT = Path(__file__).parents[1]
# Relative. Equal work differed by at most 1e-7 here, one training step less by up to 3e-4.
TOLERANCE = 1e-4
HARNESS, IDEAL, PRODUCTS = "harness", "ideal", "products"
BOUNDS = frozenset({IDEAL, PRODUCTS})  # no programs that anyone could run a sweep with
Line = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Program:
    """One competitor: its key, its name in the table, its module and its further arguments."""

    key: str
    label: str
    module: str
    arguments: tuple[str, ...] = ()


def programs(workers: int) -> tuple[Program, ...]:
    """All competitors, as the table lists them."""
    told = ("--workers", str(workers))
    jobs = max(2, workers)
    return (
        Program("plain_1", "plain Optuna, n_jobs=1", "plain_optuna"),
        Program(
            *("plain_n", f"plain Optuna, n_jobs={jobs}", "plain_optuna"), ("--n-jobs", str(jobs))
        ),
        Program("ray", "Ray Tune", "ray_tune"),
        Program("tuned", f"tuned Optuna, {workers} processes", "tuned_optuna", told),
        Program(HARNESS, "the harness", "harness_sweep", told),
        Program(IDEAL, "ideal: bare loops / cores", "ideal", told),
        Program(PRODUCTS, "matrix products alone", "products", told),
    )


# --- Running ----------------------------------------------------------------------------------


def order(every: Sequence[Program], round_index: int) -> list[Program]:
    """The order of a round: each starts one further on, so that none is always first."""
    first = round_index % len(every)
    return [*every[first:], *every[:first]]


def run(program: Program, trials: Path) -> dict[str, Any]:
    """One program as a fresh process: its wall time, and what it wrote.

    `failed` where it did not end well.
    """
    with tempfile.TemporaryDirectory() as name:
        out, log = Path(name) / "out.json", Path(name) / "log.txt"
        command = [sys.executable, "-m", f"benchmarks.peers.{program.module}"]
        command += ["--trials", str(trials.absolute()), "--out", str(out), *program.arguments]
        with log.open("wb") as file:
            start = time.perf_counter()
            ended = subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, check=False)
            wall_s = time.perf_counter() - start
        if ended.returncode == 0 and out.exists():
            return {"wall_s": wall_s, **json.loads(out.read_text(encoding="utf-8"))}
        words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return {"failed": words[-1] if words else f"exit code {ended.returncode}"}


def sources_hash() -> str:
    """Which code was raced: the harness's sources and the programs'."""
    digest = hashlib.sha256()
    for folder in (ROOT / "harness", Path(__file__).parent / "peers"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def identity(trials: listed.TrialList, workers: int) -> dict[str, Any]:
    """What all lines of one race have in common."""
    machine = json.dumps(fingerprint("cpu"), sort_keys=True)
    return {
        "list": listed.content_hash(trials),
        "sources": sources_hash(),
        "machine": hashlib.sha256(machine.encode()).hexdigest()[:16],
        "workers": workers,
    }


def read_runs(path: Path) -> list[dict[str, Any]]:
    """The runs that are kept, without a last line that a kill cut short."""
    return [json.loads(line) for line in read_lines(path).lines]


def append(path: Path, line: Line) -> None:
    """Keep one run, on the disk when this returns."""
    append_line(path, json.dumps(line))


def foreign(runs: Iterable[Line], same: Line) -> str:
    """Which part of the identity some kept run does not share, or nothing."""
    return next((name for each in runs for name in same if each[name] != same[name]), "")


# --- Judging ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. `ratios` are wall times over the harness's, by round.

    `said` says why there are none.
    """

    key: str
    label: str
    wall_s: float | None
    ratios: tuple[float, ...]
    largest_difference: float | None
    said: str

    @property
    def ratio(self) -> float | None:
        """The median over the rounds."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def refused(self) -> bool:
        """Whether the work was not equal, or not done."""
        return self.said.startswith(("refused", "failed"))


def difference(losses: Sequence[float], reference: Sequence[float]) -> float:
    """The largest relative difference of two lists of losses.

    Two NaN are alike, a missing loss is infinitely far.
    """
    if len(losses) != len(reference):
        return math.inf
    return max((_apart(a, b) for a, b in zip(losses, reference, strict=True)), default=math.inf)


def _apart(loss: float, reference: float) -> float:
    if math.isnan(loss) or math.isnan(reference):
        return 0.0 if math.isnan(loss) and math.isnan(reference) else math.inf
    return abs(loss - reference) / abs(reference) if loss != reference else 0.0


def seconds(line: Line) -> float:
    """The time that counts: wall time, or for bare loops and products their seconds / cores."""
    return float(line.get("ideal_s", line.get("products_s", line["wall_s"])))


def judge(every: Sequence[Program], runs: Sequence[Line]) -> list[Row]:
    """The table of the runs that are there.

    A round counts for a program where the harness has one of it too.
    """
    by_key = {
        each.key: {line["round"]: line for line in runs if line["program"] == each.key}
        for each in every
    }
    ours = {number: line for number, line in by_key[HARNESS].items() if "losses" in line}
    return [_row(each, by_key[each.key], ours) for each in every]


def _row(program: Program, own: Mapping[int, Line], ours: Mapping[int, Line]) -> Row:
    unlike = next(
        (
            f"{name.replace('_', ' ')}: {line[name]}"
            for line in own.values()
            for name in ("failed", "not_measured")
            if name in line
        ),
        "",
    )
    if unlike:
        return Row(program.key, program.label, None, (), None, unlike)
    common = sorted(own.keys() & ours.keys())
    if not common:
        return Row(program.key, program.label, None, (), None, "not measured: no round yet")
    wall_s = statistics.median(seconds(own[number]) for number in common)
    ratios = tuple(seconds(own[number]) / seconds(ours[number]) for number in common)
    if program.key == PRODUCTS:
        return Row(program.key, program.label, wall_s, ratios, None, "trains nothing")
    largest = max(difference(own[number]["losses"], ours[number]["losses"]) for number in common)
    if largest > TOLERANCE:
        said = f"refused: losses differ by up to {largest:.1e}"
        return Row(program.key, program.label, wall_s, (), largest, said)
    return Row(program.key, program.label, wall_s, ratios, largest, "")


def beyond_ideal(runs: Sequence[Line]) -> dict[str, float]:
    """Where the harness's wall time beyond the ideal goes, in seconds.

    Medians over the rounds, empty without both.
    """
    ours = {line["round"]: line for line in runs if line["program"] == HARNESS and "losses" in line}
    ideal = {line["round"]: line for line in runs if line["program"] == IDEAL and "losses" in line}
    parts = [_parts(ours[number], ideal[number]) for number in sorted(ours.keys() & ideal.keys())]
    return {
        name: statistics.median(each[name] for each in parts)
        for name in (parts[0] if parts else {})
    }


def _parts(ours: Line, ideal: Line) -> dict[str, float]:
    at = ours["phases_s"]
    busy = sum(ours["trial_s"]) / ours["workers"]
    return {
        "interpreter: start and exit": ours["wall_s"] - at["closed"],
        "imports": at["imported"],
        "study file and storage": at["storage opened"] - at["imported"],
        "workers: start, torch, first steps": at["workers ready"] - at["storage opened"],
        "trials: processes, first evaluation, slower loops": busy - seconds(ideal),
        "cores idle: between trials and at the end": at["trials done"] - at["workers ready"] - busy,
        "closing": at["closed"] - at["trials done"],
    }


# --- Telling ----------------------------------------------------------------------------------


COLUMNS = (
    "program",
    "wall time (s)",
    "times the harness's",
    "smallest",
    "largest",
    "rounds",
    "losses differ by at most",
    "remark",
)


def cells(row: Row) -> list[str]:
    """A row of the table as text; what there is not is empty."""
    number = (
        "" if each is None else f"{each:.2f}"
        for each in (row.ratio, min(row.ratios, default=None), max(row.ratios, default=None))
    )
    return [
        row.label,
        "" if row.wall_s is None else f"{row.wall_s:.1f}",
        *number,
        str(len(row.ratios)) if row.ratios else "",
        "" if row.largest_difference is None else f"{row.largest_difference:.0e}",
        row.said,
    ]


def as_csv(rows: Sequence[Row]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(cells(row) for row in rows)
    return text.getvalue()


def as_markdown(rows: Sequence[Row], parts: Mapping[str, float], facts: Mapping[str, Any]) -> str:
    """The table, where the harness's time beyond the ideal goes, and what was raced on what."""
    table = [COLUMNS, ["---"] * len(COLUMNS), *(cells(row) for row in rows)]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    if parts:
        lines += ["", "| the harness beyond the ideal | s |", "| --- | --- |"]
        lines += [f"| {name} | {value:.2f} |" for name, value in parts.items()]
        lines += [f"| all | {sum(parts.values()):.2f} |"]
    said = (
        f"{facts['n_trials']} trials (list {facts['list']}), {facts['cpu']}, cores: {facts['cores']}, "
        f"torch {facts['torch']}, Optuna {facts['optuna']}, Python {facts['python']}, {facts['date']}. "
        "Ratios are medians over rounds in which each program ran once, with the smallest and the largest; above 1 the "
        f"harness is faster. Equal work: final losses agree within {TOLERANCE:g}, relative. The ideal is no program: the "
        "seconds of bare tuned training loops, summed and divided by the number of processes. Nor are the matrix products alone: the "
        f"floating-point operations of the trials' recurrent layers in products of {products.SIDE} x {products.SIDE} by torch.mm. Only "
        "torch's LSTM, whose products oneDNN computes, might take less."
    )
    lines += ["", said]
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row], folder: Path) -> None:
    """The ratios with their range, in the reports' style, as SVG and PNG."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    from harness.rendering import fonts, theme

    with theme.style(fonts.choose([row.label for row in rows]).families):
        picture = theme.figure(0.36 * len(rows) + 0.8)
        axes = picture.subplots()
        for y, row in enumerate(rows):
            if row.ratio is None:
                axes.annotate(
                    row.said,
                    (1, y),
                    xytext=(7, 0),
                    textcoords="offset points",
                    va="center",
                    color=theme.MUTED.light,
                )
                continue
            colour = (
                theme.STATUS_COLOURS[TrialStatus.DIVERGED]
                if row.ratio < 1 and row.key not in BOUNDS
                else theme.CELL_COLOURS[2]
            ).light
            colour = theme.MUTED.light if row.key in {HARNESS, *BOUNDS} else colour
            axes.plot([min(row.ratios), max(row.ratios)], [y, y], color=colour, linewidth=2.2)
            axes.plot([row.ratio], [y], "o", color=colour, markersize=6)
        known = [each for row in rows for each in row.ratios] or [1.0]
        low, high = min(0.8, 0.93 * min(known)), max(1.3, 1.1 * max(known))
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        ticks = [
            tick
            for tick in (0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50)
            if low <= tick <= high
        ]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.axvline(1, color=theme.MUTED.light, linewidth=1.0, zorder=1)
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.tick_params(axis="y", length=0, labelcolor=theme.INK.light)
        axes.grid(visible=False)
        axes.set_xlabel("wall time over the harness's, median and range of rounds (logarithmic)")
        beside = axes.secondary_yaxis("right")
        beside.set_yticks(
            range(len(rows)), [f"{row.ratio:.2f}×" if row.ratio else "" for row in rows]
        )
        beside.tick_params(axis="y", length=0, labelcolor=theme.MUTED.light)
        beside.spines["right"].set_visible(False)
        for kind in ("svg", "png"):
            file = io.BytesIO()
            metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
            picture.savefig(file, format=kind, dpi=160, metadata=metadata)
            write_bytes(folder / "figures" / f"race.{kind}", file.getvalue())


def tell(
    every: Sequence[Program], runs: Sequence[Line], trials: listed.TrialList, folder: Path
) -> list[Row]:
    """Write everything that is made of the runs."""
    rows, parts, machine = judge(every, runs), beyond_ideal(runs), fingerprint("cpu")
    facts = {
        "n_trials": len(trials.trials),
        "list": listed.content_hash(trials),
        "cpu": f"{machine['cpu']} ({machine['cpu_capability']})",
        "cores": num_cores(),
        "torch": machine["versions"]["torch"],
        "optuna": machine["versions"]["optuna"],
        "python": machine["python"],
        "date": max((line["date"] for line in runs), default=""),
    }
    plain = {
        "schema": 1,
        **facts,
        "rows": [{**dataclasses.asdict(row), "ratio": row.ratio} for row in rows],
        "beyond_ideal_s": parts,
        "machine": machine,
        "runs": list(runs),
    }
    write_text(folder / "race.json", json.dumps(plain, indent=1) + "\n")
    write_text(folder / "race.csv", as_csv(rows))
    write_text(folder / "race.md", as_markdown(rows, parts, facts))
    draw(rows, folder)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not yet there, then tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--list", choices=sorted(listed.LISTS), default="full")
    parser.add_argument("--workers", type=int, default=num_cores())
    parser.add_argument(
        "--only", nargs="+", metavar="PROGRAM", help="keys of the programs that run"
    )
    parser.add_argument("--out", type=Path, default=Path("results") / "sweep_race")
    told = parser.parse_args(arguments)
    trials, every = listed.load(listed.LISTS[told.list]), programs(told.workers)
    path = told.out / "runs.jsonl"
    (told.out / "figures").mkdir(parents=True, exist_ok=True)
    runs, same = read_runs(path), identity(trials, told.workers)
    if other := foreign(runs, same):
        print(
            f"{path}: expected runs of the same {other}, got others; name another --out, or remove it",
            file=sys.stderr,
        )
        return 2
    done = {(line["round"], line["program"]) for line in runs if "failed" not in line}
    runs = [line for line in runs if "failed" not in line]
    chosen = [each for each in every if told.only is None or each.key in {HARNESS, *told.only}]
    for number in range(told.rounds):
        for program in order(chosen, number):
            if (number, program.key) in done:
                continue
            date = time.strftime("%Y-%m-%d", time.gmtime())
            line = {
                **same,
                "round": number,
                "program": program.key,
                "date": date,
                **run(program, listed.LISTS[told.list]),
            }
            append(path, line)
            runs.append(line)
            words = line.get("failed") or line.get("not_measured") or f"{seconds(line):.1f} s"
            print(f"round {number + 1}, {program.label}: {words}", flush=True)
    rows = tell(every, runs, trials, told.out)
    print((told.out / "race.md").read_text(encoding="utf-8"))
    return int(any(row.refused for row in rows))


if __name__ == "__main__":
    sys.exit(main())
