"""Read the cells of a row as a recipe means them: texts, numbers and labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, did_you_mean
from safebench.recipes import AnyFlag, AtLeast, Every, LabelRule, Votes, Words
from safebench.records import Label

from .labels import normalise_label
from .public import plurality

if TYPE_CHECKING:
    from safebench.recipes import Columns

    from .hub_rows import HubRow

# what copies of a set write into a cell for which nobody has a label
NO_LABEL = frozenset({"none", "null", "nan", "n/a", "na", "<na>", "unknown"})


def find_value(row: HubRow, columns: Columns) -> Any:
    """Return the first value that is there; `DataError` if no column is.

    A column that is there and empty does for a missing one, but says nothing.
    """
    present = False
    for column in columns:
        value, found = follow_path(row, column)
        present = present or found
        if value is not None and value != "":
            return value
    if present:
        return None
    raise missing_column(row, columns)


def missing_column(row: HubRow, columns: Columns) -> DataError:
    """Return the error for a row that has a column under none of its names."""
    hints = (did_you_mean(column.partition(".")[0], row) for column in columns)
    return DataError(
        f"{row.where}: no column {' or '.join(map(repr, columns))}"
        f"{next(filter(None, hints), '')} (columns: {', '.join(row)})"
    )


def follow_path(row: HubRow, path: str) -> tuple[Any, bool]:
    """Return the value at ``column``, ``column.key`` or ``column.0``, and if found."""
    if (column := row.column(path)) is not None:
        return row[column], True
    name, _, rest = path.partition(".")
    column = row.column(name) if rest else None
    value = None if column is None else row[column]
    if value is None:
        return None, column is not None
    if isinstance(value, Mapping):
        return value.get(rest), True
    if isinstance(value, (list, tuple)) and rest.isdigit():
        return (value[int(rest)] if int(rest) < len(value) else None), True
    return None, False


def cell_text(row: HubRow, columns: Columns) -> str:
    """Return the text of the first column that has some, "" if none has."""
    present = False
    for column in columns:
        value, found = follow_path(row, column)
        present = present or found
        # NaN: what pandas writes for an empty cell
        if value is None or value != value:  # noqa: PLR0124
            continue
        if isinstance(value, (bool, list, dict)):
            raise DataError(f"{row.where}: {column} is not text: {value!r:.60}")
        if str(value).strip():
            return str(value)
    if not present and columns:
        raise missing_column(row, columns)
    return ""


def read_label(row: HubRow, rule: LabelRule, source_label: bool | None) -> Label:
    """Return what a rule says of a row; `DataError` for a word without a meaning.

    `source_label` is that of the place where the row lies.
    """
    if isinstance(rule, Votes):
        return _voted_label(row, rule)
    return Label(value=_label_value(row, rule, source_label))


def _label_value(
    row: HubRow, rule: LabelRule, source_label: bool | None
) -> bool | None:
    if isinstance(rule, Every):
        return rule.value
    if isinstance(rule, AtLeast):
        score = cell_number(row, rule.column)
        if score is None:
            return None
        return score > rule.bound if rule.above else score >= rule.bound
    if isinstance(rule, AnyFlag):
        return _any_flag(row, rule)
    return _worded(row, rule) if isinstance(rule, Words) else source_label


def _worded(row: HubRow, rule: Words) -> bool | None:
    word = label_word(find_value(row, rule.columns))
    if word in label_words(rule.positive):
        return True
    if word in label_words(rule.negative):
        return False
    if not word or word in label_words(rule.unknown) or word in NO_LABEL:
        return None
    known = sorted(label_words(rule.positive) | label_words(rule.negative))
    raise DataError(
        f"{row.where}: {rule.columns[0]} is {word!r:.60}, which this set is not known "
        f"to say{did_you_mean(word, known)} (known: {', '.join(known)}); name its "
        "columns to read it anyway: -d ORG/NAME:SPLIT,prompt=COLUMN,label=COLUMN"
    )


def _voted_label(row: HubRow, rule: Votes) -> Label:
    """Return the plurality of the raters' words, with the votes for harm."""
    present = [column for column in rule.columns if row.column(column)]
    if not present:
        raise missing_column(row, rule.columns)
    words = [normalise_label(row[column]) for column in present]
    words = [word for word in words if word and word not in NO_LABEL]
    no = sum(word in label_words(rule.negative) for word in words)
    unsure = sum(word in label_words(rule.unsure) for word in words)
    yes = len(words) - no - unsure
    value = plurality(yes, no, unsure) if words else None
    return Label(value=value, votes=(yes, len(words)) if words else None)


def _any_flag(row: HubRow, rule: AnyFlag) -> bool | None:
    words = [normalise_label(row[column]) for column in rule.columns]
    words = ["" if word in NO_LABEL else word for word in words]
    for column, word in zip(rule.columns, words, strict=True):
        if word not in ("0", "1", "-1", "true", "false", ""):
            raise DataError(f"{row.where}: {column} is {word!r:.60}, not 0 or 1")
    if any(word in ("1", "true") for word in words):
        return True
    return None if any(word in ("-1", "") for word in words) else False


def cell_number(row: HubRow, column: str) -> float | None:
    """Return a number, None for an empty cell; `DataError` for anything else."""
    value = find_value(row, (column,))
    if value is None or value != value:  # noqa: PLR0124 - NaN is unlike itself
        return None
    try:
        return float("" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        raise DataError(
            f"{row.where}: {column} is {value!r:.60}, not a number"
        ) from None


def label_word(value: Any) -> str:
    """Return a label as it is compared; that of a list of one is its element's."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        (value,) = value
    return normalise_label(value)


def label_words(text: str) -> frozenset[str]:
    """Return the words of ``a|b``, as labels are compared."""
    return frozenset(normalise_label(word) for word in text.split("|") if text)
