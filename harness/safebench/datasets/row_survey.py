"""What is to be known of all rows of a source before the first of them is read.

Which columns there are, which words stand for labels, whether there are responses: a
source may be too large to be held, so that it is gone through once for this.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .class_names import LABEL_COLUMNS
from .labels import COMPANION_SUFFIXES
from .messages import message_list
from .request import BadRowError
from .rows import ColumnOptions, is_missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .request import DatasetRequest

    RawRow = tuple[str, dict[str, Any]]

_MAX_SET = 100_000  # ids that are compared without numpy


@dataclass(slots=True)
class Responses:
    """How many rows have a response and how many none, with the first of each."""

    n_with: int = 0
    n_without: int = 0
    first_with: str = ""
    first_without: str = ""
    any_text: bool = False

    def count(self, where: str, response: str | None) -> None:
        """Count a row."""
        if response is None:
            self.first_without = self.first_without or where
            self.n_without += 1
            return
        self.first_with = self.first_with or where
        self.n_with += 1
        self.any_text = self.any_text or bool(response.strip())


@dataclass(slots=True)
class Survey:
    """What `n` rows have.

    `kinds` are rows that stand for all of them, the first of each kind: the same
    columns, labels and names of labels, and categories or none. `repeated_ids` are the
    hashes of ids that occur more than once.
    """

    n: int = 0
    kinds: list[dict[str, Any]] = field(default_factory=list)
    responses: Responses = field(default_factory=Responses)
    repeated_ids: frozenset[int] = frozenset()


def survey_rows(rows: Iterable[RawRow], request: DatasetRequest) -> Survey:
    """Go through all rows of a source once."""
    options = request.options or ColumnOptions()
    columns = ColumnOptions().columns | options.columns | request.columns
    labels = _label_columns(columns)
    categories, id_column = columns["categories"], columns["id"]
    known_labels: dict[tuple[str, ...], list[str]] = {}
    seen: set[tuple[Any, ...]] = set()
    survey, ids = Survey(), array("q")
    for where, row in rows:
        survey.n += 1
        names = tuple(row)
        present = known_labels.get(names)
        if present is None:
            present = known_labels[names] = [name for name in names if name in labels]
        kind = (
            names,
            row.get(categories) is None,
            *[repr(row[name]) for name in present],
        )
        if kind not in seen:
            seen.add(kind)
            survey.kinds.append(row)
        survey.responses.count(where, _response_text(row, columns))
        row_id = row.get(id_column)
        if not is_missing(row_id) and row_id != "":
            ids.append(hash(str(row_id)))
    survey.repeated_ids = repeated_numbers(ids)
    return survey


def _label_columns(columns: Mapping[str, str]) -> frozenset[str]:
    """Return the columns whose values decide what labels mean."""
    named = [columns[name] for name in LABEL_COLUMNS]
    beside = [f"{name}{suffix}" for name in named for suffix in COMPANION_SUFFIXES]
    return frozenset({*named, *beside})


def repeated_numbers(hashes: array[int]) -> frozenset[int]:
    """Return the numbers that occur more than once."""
    if len(hashes) <= _MAX_SET:  # few: `data` commands start without numpy
        return frozenset(h for h, times in Counter(hashes).items() if times > 1)
    import numpy as np

    ordered = np.sort(np.array(hashes, dtype=np.int64))
    return frozenset(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _response_text(row: Mapping[str, Any], columns: Mapping[str, str]) -> str | None:
    response = row.get(columns["response"])
    if not is_missing(response):
        return str(response)
    messages = row.get(columns["messages"])
    try:
        last = message_list(messages)[-1:] if messages else []
    except BadRowError:  # said again, with its place, when the row is read
        return None
    if last and isinstance(last[0], dict) and last[0].get("role") == "assistant":
        return str(last[0].get("content"))
    return None
