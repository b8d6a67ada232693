"""Bars of text."""

from __future__ import annotations

from safebench.analysis.text_table import sparkline


def test_sparklines_never_hide_a_count() -> None:
    """One of a thousand still gets a bar; nothing gets none."""
    assert "▁ █" == sparkline([1, 0, 1000])
    assert ". @" == sparkline([1, 0, 1000], unicode=False)
    assert "  " == sparkline([0, 0])
