"""The order of a table's lines: by a metric, by a cost, or by another shown column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .table import COUNT_COLUMNS, NAME_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .table import ColumnSelection, CombinationRows


def sort_groups(
    groups: Sequence[CombinationRows], columns: ColumnSelection
) -> list[CombinationRows]:
    """Return groups by section, in order of appearance, best first in each.

    Names are sorted from A to Z, counts and metrics without a direction largest first.
    Lines that saw the test labels come after the ranked ones, undefined numbers last.
    """
    sections = dict.fromkeys(group.section for group in groups)
    order = {section: position for position, section in enumerate(sections)}

    def sort_key(group: CombinationRows) -> tuple[Any, ...]:
        place = (order[group.section], group.head.saw_test_labels)
        return (*place, *_within(group, columns))

    return sorted(groups, key=sort_key)


def _within(group: CombinationRows, columns: ColumnSelection) -> tuple[Any, ...]:
    """Return where a line stands among the ranked ones, or the others, of a section."""
    sort = columns.sort
    if sort in NAME_COLUMNS:
        method = "+".join(filter(None, (group.head.strategy, group.head.calibrator)))
        names = {"classifier": group.head.classifier, "model": group.head.model}
        return (names.get(sort, method).casefold(),)
    if sort in COUNT_COLUMNS:
        return (-group.n if sort == "n" else -group.head.n_failed,)
    value = group.cell(sort).value
    sign = 1 if columns.higher_is_better[sort] is False else -1
    return (value is None, sign * (value or 0))
