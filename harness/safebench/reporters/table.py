"""The leaderboard as data: what every output format draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

DECIMALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number of the table: the value, if it is the best, and why it is missing.

    `n_scored` is what it rests on; bounds and interval are as in a result row.
    `near_best`: tested against the best number, and not shown to differ from it.
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
    near_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
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
class Table:
    """Columns (metric names; True where higher is better) and lines, sorted.

    Lines of one section stand together; `sort` is the metric that orders them. `ci`:
    intervals are to be shown.
    """

    metrics: tuple[str, ...]
    higher_is_better: tuple[bool | None, ...]
    lines: tuple[Line, ...]
    sort: str = ""
    title: str = ""
    footnotes: tuple[str, ...] = field(default=())
    ci: bool = False

    @property
    def sections(self) -> list[tuple[str, tuple[Line, ...]]]:
        """The lines by dataset and task, with that name."""
        found = groupby(self.lines, key=lambda line: line.section)
        return [(name, tuple(lines)) for name, lines in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How to draw: width in characters (None: no limit), styles, decimals.

    `styles` allows bold (a terminal), `colour` colours too. `encoding` is what the
    text will be written in.
    """

    width: int | None = None
    styles: bool = False
    colour: bool = False
    decimals: int = DECIMALS
    encoding: str = "utf-8"

    @property
    def unicode(self) -> bool:
        """Tell whether any character can be written."""
        return self.encoding.casefold().replace("_", "-").startswith("utf")
