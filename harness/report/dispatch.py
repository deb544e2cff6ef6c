"""The report of a folder of results, whichever it holds.

A bench, a study, a comparison or a history's trend.

A bench has a grid.toml, a study a spec.toml, a comparison a comparison.json, a trend a trend.json,
a selftest a selftest.json.
"""

from __future__ import annotations

from pathlib import Path

from harness import records
from harness.bench.report.bench_report import render_bench
from harness.regress.compare.report import render_comparison
from harness.regress.selftest.report import render_selftest
from harness.regress.trend.report import render_trend
from harness.rendering.render import WrittenReport
from harness.study.report.study_report import render


def render_folder(directory: Path, language: str = "en") -> WrittenReport:
    """Read what a folder holds and write its report there.

    Raises InputError where it holds none, or what it holds is broken.
    """
    directory = Path(directory)
    if (directory / "grid.toml").is_file():
        return render_bench(records.read_bench(directory), directory, language)
    if (directory / "comparison.json").is_file():
        return render_comparison(directory, language)
    if (directory / "trend.json").is_file():
        return render_trend(directory, language)
    if (directory / "selftest.json").is_file():
        return render_selftest(directory, language)
    return render(records.read(directory), directory, language)
