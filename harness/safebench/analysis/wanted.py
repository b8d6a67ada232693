"""What a user wants to see of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to analyse: names of the axes (none: all), and how much of it to show."""

    classifiers: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    part: str = "test"
    columns: tuple[str, ...] = ()
    top: int = 10
    text: bool = False
    data_root: str | None = None
    always_detailed: bool = False
