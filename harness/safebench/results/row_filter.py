"""Rows of some classifiers, strategies and datasets, by the names of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.errors import RunFolderError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .rows import Row

EVERY = "all"


def filter_rows(
    rows: Sequence[Row],
    classifiers: Sequence[str] = (),
    strategies: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> list[Row]:
    """Return the rows that are about one of the names of each kind; none: any.

    A strategy is named with its calibrator (``NAME+CALIBRATOR``) or without, then in
    each form; a dataset as tables do (``name:config:split``) or by its name alone.
    Raises UnknownNameError for a name that no row has, RunFolderError if all names are
    known, and nothing is about all of them.
    """
    kept = list(rows)
    kinds: tuple[tuple[str, Sequence[str], Callable[[Row], set[str]]], ...] = (
        ("classifier", classifiers, lambda row: {row.classifier}),
        ("strategy", strategies, _strategy_names),
        ("dataset", datasets, _dataset_names),
    )
    for kind, wanted, names_of in kinds:
        known = {name for row in rows for name in names_of(row)}
        folded = {name.casefold() for name in known}
        for name in wanted:
            if name.casefold() not in folded | {EVERY}:
                raise unknown_name(f"{kind} in these runs", name, known)
        chosen = {name.casefold() for name in wanted}
        if chosen and EVERY not in chosen:
            kept = [r for r in kept if chosen & {n.casefold() for n in names_of(r)}]
    if rows and not kept:
        raise RunFolderError(
            "no results with all of these together: "
            + ", ".join([*classifiers, *strategies, *datasets])
        )
    return kept


def _strategy_names(row: Row) -> set[str]:
    return {row.strategy, "+".join(filter(None, (row.strategy, row.calibrator)))}


def _dataset_names(row: Row) -> set[str]:
    whole = ":".join(filter(None, (row.dataset, row.config, row.split)))
    return {row.dataset, whole}
