"""The step summary of a trend."""

from __future__ import annotations

from markdown_it import MarkdownIt

from harness.regress.trend.change_points import ChangePoint
from harness.regress.trend.terminal_output import CHANGE_HEADS, change_rows, trend_markdown
from harness.regress.trend.trend_file import TrendRecord
from harness.regress.trend.trend_series import BenchmarkTrend, MachineTrend


def test_the_step_summary_is_a_table() -> None:
    """Markdown that renders, names as they are."""
    benchmark = BenchmarkTrend("a|b", (1.0, 0.9), (ChangePoint(1, 0.9, 0.0002),))
    days = ("x", "2026-01-02T03:04:05")
    machine = MachineTrend("f", {}, ("r1", "r2"), days, (benchmark,))
    record = TrendRecord("h", "c", 0, 0, 0, (machine,))
    assert change_rows(record) == [("a|b", "r2", "2026-01-02", "-10.0 %", "2.0e-04", "f")]
    html = MarkdownIt().enable("table").render(trend_markdown(record, "It *did*."))
    assert html.count("<th") - html.count("<thead") == len(CHANGE_HEADS)
    assert "<p>It *did*.</p>" in html
