"""Rows with two responses to one prompt, each labelled, and the safer one named."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from safebench.records import Label, Turn

from .example import Example
from .labels import LabelWords, fold
from .rows import BadRowError, RowReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESPONSES = ("response_0", "response_1")
LABELS = ("is_response_0_safe", "is_response_1_safe")
SAFER = "safer_response_id"
COLUMNS = (*RESPONSES, *LABELS, SAFER)
TASK = "response_harm"
SAFE = dict.fromkeys(("true", "yes", "1"), "safe") | dict.fromkeys(
    ("false", "no", "0"), "unsafe"
)
FEW = 2  # columns that tell pairs from rows whose label was forgotten


def holds_pairs(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> bool:
    """Tell whether rows are meant as pairs: no label, but two columns of pairs."""
    if any(columns[name] != name for name in COLUMNS):
        return True  # they were named
    there = {column for row in rows for column in row}
    return columns["label"] not in there and len(there.intersection(COLUMNS)) >= FEW


class PairReader(RowReader):
    """Reads rows of pairs; each gives two examples, the label true for unsafe.

    `name_pair` makes the name of a pair from the place of its row. Severities, in
    ``response_0_severity_level`` and ``response_1_severity_level``, and the harms in
    ``response_0_harm_category`` and its twin are taken where they are.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        label_map: Mapping[str, str],
        name_pair: Callable[[str], str],
    ) -> None:
        super().__init__(columns, TASK, label_map, None)
        meanings = SAFE | {fold(word): means for word, means in label_map.items()}
        self.safe = [LabelWords(TASK, meanings, self.columns[n]) for n in LABELS]
        self.name_pair = name_pair

    def lacking(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Say which needed column no row has; empty if none is needed."""
        there = {column: None for row in rows for column in row}
        if not {self.columns["prompt"], self.columns["messages"]} & there.keys():
            return self.missing("prompt", there)
        lost = [name for name in COLUMNS if self.columns[name] not in there]
        return f"a file of pairs, but {self.missing(lost[0], there)}" if lost else ""

    def examples(self, row: Mapping[str, Any], where: str) -> tuple[Example, ...]:
        """Return both responses of a row, or raise `BadRowError`."""
        turns = self.asked(row)
        responses = [self._response(row, name) for name in RESPONSES]
        harms = [self._harm(row, i) for i in range(len(LABELS))]
        safer = self._safer(row)
        metas = _severities(row)
        name = self.id_of(row)
        return tuple(
            Example(
                turns=(*turns, Turn("assistant", response)),
                label=Label(value=harm),
                id=name and f"{name}/{i}",
                group=self.text(row, "group") or "",
                language=self.text(row, "language"),
                pair=(self.name_pair(where), "safer" if i == safer else "unsafer"),
                gold_meta=meta,
                where=where,
            )
            for i, (response, harm, meta) in enumerate(
                zip(responses, harms, metas, strict=True)
            )
        )

    def _value(self, row: Mapping[str, Any], name: str) -> Any:
        if self.columns[name] not in row:
            raise BadRowError(self.missing(name, row))
        return row[self.columns[name]]

    def _response(self, row: Mapping[str, Any], name: str) -> str:
        value = self._value(row, name)
        if not isinstance(value, str):
            raise BadRowError(f"{self.columns[name]!r} is not text: {value!r:.60}")
        return value

    def _harm(self, row: Mapping[str, Any], i: int) -> bool | None:
        value = self._value(row, LABELS[i])
        try:
            return self.safe[i].read(value)
        except ValueError as error:
            raise BadRowError(f"{self.columns[LABELS[i]]}: {error}") from None

    def _safer(self, row: Mapping[str, Any]) -> int:
        value = self._value(row, SAFER)
        if fold(value) not in ("0", "1"):
            raise BadRowError(f"{self.columns[SAFER]}: {value!r} is neither 0 nor 1")
        return int(fold(value))


def _severities(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is noted of each response: severity and harms, if they are there."""
    levels = [_level(row, f"{name}_severity_level") for name in RESPONSES]
    if (levels[0] is None) != (levels[1] is None):
        raise BadRowError("a severity level of one response alone")
    harms = [_harms(row.get(f"{name}_harm_category")) for name in RESPONSES]
    return [
        ({} if level is None else {"severity": level})
        | ({} if found is None else {"harms": found})
        for level, found in zip(levels, harms, strict=True)
    ]


def _level(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    if value in (None, ""):
        return None
    try:
        level = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        level = math.nan
    if not math.isfinite(level):
        raise BadRowError(f"{column}: {value!r} is not a number")
    return level


def _harms(value: Any) -> list[str] | None:
    if isinstance(value, dict):
        return sorted(str(name) for name, yes in value.items() if yes)
    if isinstance(value, list) and value:
        return sorted(map(str, value))
    return None
