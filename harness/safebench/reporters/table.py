"""The leaderboard as data: what every output format draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number: its value, whether it is the best, or a note why it is missing.

    `n_scored` is what it rests on; bounds and interval are as in a result row.
    `ties_with_best`: tested against the best number, without a significant difference.
    """

    value: float | None
    best: bool = False
    note: str = ""
    n_scored: int | None = None
    bound_low: float | None = None
    bound_high: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str | None = None
    ties_with_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardLine:
    """One combination: its names, and its numbers in column order.

    `n` samples with a known label, `n_pos` of them positive, `n_failed` without a
    judgement. A line that is not `ranked` saw the test labels and is never the best.
    `source` names where a published number comes from: such a line was not measured
    here, is not ranked, and has n 0 where the source does not say.
    """

    classifier: str
    model: str
    strategy: str
    dataset: str
    task: str
    cells: tuple[Cell, ...]
    n: int
    n_failed: int
    n_pos: int | None = None
    calibrator: str | None = None
    ranked: bool = True
    run: str = ""
    source: str = ""

    @property
    def counts(self) -> tuple[str, str]:
        """`n` and `n_failed` as shown: a dash for what a published line lacks."""
        if self.source:
            return (str(self.n) if self.n else "-", "-")
        return (str(self.n), str(self.n_failed))

    @property
    def method(self) -> str:
        """The strategy with its calibrator: ``strategy[+calibrator]``."""
        return "+".join(filter(None, (self.strategy, self.calibrator)))

    @property
    def section(self) -> str:
        """What numbers can be compared on: dataset and task."""
        return f"{self.dataset} ({self.task})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Metrics as columns, with True where higher is better, and sorted lines.

    Lines of one section stand together; `sort` is the metric that orders them. `ci`
    tells whether intervals are shown.
    """

    metrics: tuple[str, ...]
    higher_is_better: tuple[bool | None, ...]
    lines: tuple[LeaderboardLine, ...]
    sort: str = ""
    title: str = ""
    footnotes: tuple[str, ...] = field(default=())
    ci: bool = False

    @property
    def sections(self) -> list[tuple[str, tuple[LeaderboardLine, ...]]]:
        """The lines by dataset and task, with that name."""
        by_section = groupby(self.lines, key=lambda line: line.section)
        return [(name, tuple(lines)) for name, lines in by_section]
