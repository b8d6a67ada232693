"""Read rows with two responses to one prompt, as preference data sets have them.

Both responses are labelled, and a column names the safer one. A row becomes two
examples that share a pair id.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from safebench.records import Label, Turn

from .labels import LabelParser, normalise_label
from .request import BadRowError, Example
from .rows import RowReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESPONSE_COLUMNS = ("response_0", "response_1")
SAFETY_COLUMNS = ("is_response_0_safe", "is_response_1_safe")
SAFER_COLUMN = "safer_response_id"
PAIR_COLUMNS = (*RESPONSE_COLUMNS, *SAFETY_COLUMNS, SAFER_COLUMN)
PAIR_TASK = "response_harm"
SAFETY_WORDS = dict.fromkeys(("true", "yes", "1"), "safe") | dict.fromkeys(
    ("false", "no", "0"), "unsafe"
)
# One such column alone may stand in a file of plain rows whose label column is missing;
# the message about the label helps more there.
MIN_PAIR_COLUMNS = 2


def has_pairs(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> bool:
    """Tell whether rows are meant as pairs: no label, and at least two pair columns.

    A user who renames a column of pairs in `columns` means pairs in any case.
    """
    if any(columns[name] != name for name in PAIR_COLUMNS):
        return True
    present = {column for row in rows for column in row}
    return (
        columns["label"] not in present
        and len(present.intersection(PAIR_COLUMNS)) >= MIN_PAIR_COLUMNS
    )


class PairRowReader(RowReader):
    """Reads rows of pairs; each gives two examples, with label True for unsafe.

    `pair_id` makes the id of a pair from where its row stands. The optional columns
    ``response_0_severity_level`` and ``response_0_harm_category``, and those of
    response 1, go to `Example.gold_meta`.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        label_map: Mapping[str, str],
        pair_id: Callable[[str], str],
    ) -> None:
        super().__init__(columns, PAIR_TASK, label_map, None)
        # These columns are named after the safe class, so true and 1 are not ambiguous.
        meanings = SAFETY_WORDS | {
            normalise_label(word): meaning for word, meaning in label_map.items()
        }
        self.safety_parsers = [
            LabelParser(PAIR_TASK, meanings, self.columns[name])
            for name in SAFETY_COLUMNS
        ]
        self.pair_id = pair_id

    def missing_columns(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Return a message about a required column that no row has, or ""."""
        present = {column: None for row in rows for column in row}  # keeps their order
        if not {self.columns["prompt"], self.columns["messages"]} & present.keys():
            return self.missing_column_message("prompt", present)
        for name in PAIR_COLUMNS:
            if self.columns[name] not in present:
                problem = self.missing_column_message(name, present)
                return f"a file of pairs, but {problem}"
        return ""

    def examples(self, row: Mapping[str, Any], where: str) -> tuple[Example, ...]:
        """Return an example for each response of a row, or raise `BadRowError`."""
        turns = self.prompt_turns(row)
        responses = [self._response(row, name) for name in RESPONSE_COLUMNS]
        harms = [self._is_harmful(row, i) for i in range(len(SAFETY_COLUMNS))]
        safer = self._safer_index(row)
        metas = _severity_meta(row)
        row_id = self.row_id(row)
        return tuple(
            Example(
                turns=(*turns, Turn("assistant", response)),
                label=Label(value=harm),
                id=row_id and f"{row_id}/{i}",
                group=self.text_value(row, "group") or "",
                language=self.text_value(row, "language"),
                pair=(self.pair_id(where), "safer" if i == safer else "unsafer"),
                gold_meta=meta,
                where=where,
            )
            for i, (response, harm, meta) in enumerate(
                zip(responses, harms, metas, strict=True)
            )
        )

    def _value(self, row: Mapping[str, Any], name: str) -> Any:
        if self.columns[name] not in row:
            raise BadRowError(self.missing_column_message(name, row))
        return row[self.columns[name]]

    def _response(self, row: Mapping[str, Any], name: str) -> str:
        value = self._value(row, name)
        if not isinstance(value, str):
            raise BadRowError(f"{self.columns[name]!r} is not text: {value!r:.60}")
        return value

    def _is_harmful(self, row: Mapping[str, Any], i: int) -> bool | None:
        value = self._value(row, SAFETY_COLUMNS[i])
        try:
            return self.safety_parsers[i].parse(value)
        except ValueError as error:
            raise BadRowError(f"{self.columns[SAFETY_COLUMNS[i]]}: {error}") from None

    def _safer_index(self, row: Mapping[str, Any]) -> int:
        value = self._value(row, SAFER_COLUMN)
        if normalise_label(value) not in ("0", "1"):
            raise BadRowError(
                f"{self.columns[SAFER_COLUMN]}: {value!r} is neither 0 nor 1"
            )
        return int(normalise_label(value))


def _severity_meta(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return severity and harms of each response, as far as the row has them.

    Metrics compare severities within a pair, so there are two or none.
    """
    levels = [
        _severity_level(row, f"{name}_severity_level") for name in RESPONSE_COLUMNS
    ]
    if (levels[0] is None) != (levels[1] is None):
        raise BadRowError("a severity level of one response alone")
    harms = [_harm_names(row.get(f"{name}_harm_category")) for name in RESPONSE_COLUMNS]
    return [
        ({} if level is None else {"severity": level})
        | ({} if names is None else {"harms": names})
        for level, names in zip(levels, harms, strict=True)
    ]


def _severity_level(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    if value in (None, ""):
        return None
    try:
        # float(True) is 1.0, and a boolean is no level.
        level = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        level = math.nan
    if not math.isfinite(level):
        raise BadRowError(f"{column}: {value!r} is not a number")
    return level


def _harm_names(value: Any) -> list[str] | None:
    """Return harms from ``{name: bool}``, as PKU-SafeRLHF has them, or from a list."""
    if isinstance(value, dict):
        return sorted(str(name) for name, applies in value.items() if applies)
    if isinstance(value, list) and value:
        return sorted(map(str, value))
    return None
