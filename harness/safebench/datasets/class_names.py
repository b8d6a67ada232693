"""Names of classes that are stored with a data set, in place of their numbers.

The ``datasets`` library stores a class as its index into a list of names: in the schema
of a parquet file, in a set's README, in ``dataset_infos.json``. Which index is harmful
is then up to the author. Here rows get the names back before anything reads them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError

from .rows import ColumnOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .request import DatasetRequest

    Features = Mapping[str, Any]  # as `datasets.Features.to_dict` writes them
    ClassNames = dict[str, tuple[str, ...]]

# Columns whose numbers may be classes of a set.
LABEL_COLUMNS = (
    "label",
    "is_response_0_safe",
    "is_response_1_safe",
    "safer_response_id",
)
CARD = "README.md"
INFOS = ("dataset_info.json", "dataset_infos.json")
# Above a file: `data/en/test/part.jsonl` is as deep as sets on the hub usually are.
_LEVELS = 3
_ASKED = "--label-map 0=safe|unsafe --label-map 1=safe|unsafe"


def column_names(features: Features) -> ClassNames:
    """Return the class names of each column that has some, by index."""
    return {
        column: tuple(map(str, feature["names"]))
        for column, feature in features.items()
        if _is_class_label(feature)
    }


def name_rows(rows: list[dict[str, Any]], features: Features) -> list[dict[str, Any]]:
    """Return rows with the names of their classes."""
    # most sets have no classes, and some have millions of values to look at
    if "ClassLabel" not in json.dumps(features, default=str):
        return rows
    return [name_classes(row, features) for row in rows]


def name_classes(value: Any, feature: Any) -> Any:
    """Return a value with the name in place of each class index inside it.

    A negative index is the library's sign for an unknown label: None. Anything else is
    returned as it is.
    """
    if _is_class_label(feature):
        return _class_name(value, feature["names"])
    if isinstance(feature, dict) and isinstance(feature.get("_type"), str):
        inner = feature.get("feature")
        if inner is None:
            return value
        # version 3 of the library reads a sequence of structs as a struct of sequences
        if isinstance(value, dict) and isinstance(inner, dict):
            return {k: _name_all(v, inner.get(k)) for k, v in value.items()}
        return _name_all(value, inner)
    if isinstance(feature, dict) and isinstance(value, dict):
        return {k: name_classes(v, feature.get(k)) for k, v in value.items()}
    if isinstance(feature, list) and feature:
        return _name_all(value, feature[0])
    return value


def _name_all(value: Any, feature: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [name_classes(item, feature) for item in value]
    return name_classes(value, feature)


def _is_class_label(feature: Any) -> bool:
    return (
        isinstance(feature, dict)
        and feature.get("_type") == "ClassLabel"
        and isinstance(feature.get("names"), list)
    )


def _class_name(value: Any, names: Sequence[str]) -> Any:
    # floats: pandas makes them of integers with gaps; text: cells of a CSV file
    text = str(value).strip()
    words = {str(name).strip().casefold() for name in names}
    if text.casefold() in {"true", "false"} - words:
        # the library casts booleans to the index 0 or 1, whatever that class is
        text = str(int(text.casefold() == "true"))
    if not re.fullmatch(r"-?\d{1,9}(\.0*)?", text):
        return value
    index = int(text.partition(".")[0])
    if index < 0:
        return None
    return names[index] if index < len(names) else value


def parquet_features(metadata: Mapping[bytes, bytes] | None) -> Features:
    """Return the features that the library stored in a parquet schema, {} if none."""
    try:
        stored = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = stored["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def card_names(path: Path, column: str) -> tuple[str, ...]:
    """Return the class names of a column from what describes the data set of a file.

    A README, ``dataset_info.json`` or ``dataset_infos.json`` lies beside the file or in
    one of the `_LEVELS` folders above it, of which the nearest that names the classes
    counts. () if none does. Raises `DataError` if its configs disagree, or if a README
    that speaks of classes cannot be read.
    """
    for folder in list(path.absolute().parents)[: _LEVELS + 1]:
        names_of_classes = {
            *_names_in_card(folder / CARD, column),
            *_names_in_infos(folder, column),
        }
        if len(names_of_classes) > 1:
            listed = " or ".join(", ".join(names) for names in sorted(names_of_classes))
            raise DataError(
                f"{path}: the classes of {column!r} are {listed}, by the config, as "
                f"{folder} describes them: say which with {_ASKED}"
            )
        if names_of_classes:
            return names_of_classes.pop()
    return ()


def describing_files(path: Path) -> list[Path]:
    """Return the files that `card_names` reads for a file, the nearest first."""
    folders = list(path.absolute().parents)[: _LEVELS + 1]
    files = (folder / name for folder in folders for name in (CARD, *INFOS))
    return [file for file in files if file.is_file()]


def described_features(features: Features, file: Path) -> Features:
    """Return the features of a file with the classes that a description names.

    The library forgets them where it is told which files to read. Raises `DataError`
    as `card_names` does.
    """
    described = dict(features)
    for column, feature in features.items():
        is_value = isinstance(feature, dict) and feature.get("_type") == "Value"
        if is_value and (names := card_names(file, column)):
            described[column] = {"_type": "ClassLabel", "names": list(names)}
    return described


def _names_in_card(card: Path, column: str) -> list[tuple[str, ...]]:
    """Return the names that each config of a README gives the classes of a column."""
    import yaml

    try:
        # only the head matters, whatever encoding the prose below it has
        text = card.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return []
    header = re.match(r"\s*---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        content = yaml.safe_load(header[1]) if header else None
    except (yaml.YAMLError, ValueError, RecursionError):
        if header and "class_label" in header[1]:
            raise DataError(
                f"{card} names classes, and its YAML head cannot be read: mend it, or "
                f"say what the numbers mean with {_ASKED}"
            ) from None
        return []
    infos = content.get("dataset_info") if isinstance(content, dict) else None
    names_by_config = []
    for info in infos if isinstance(infos, list) else [infos]:
        features = info.get("features") if isinstance(info, dict) else None
        for feature in features if isinstance(features, list) else ():
            names = _card_feature_names(feature, column)
            if names:
                names_by_config.append(names)
    return names_by_config


def _names_in_infos(folder: Path, column: str) -> list[tuple[str, ...]]:
    """Return the names that the library's own descriptions give a column.

    ``dataset_info.json`` describes one config, ``dataset_infos.json`` each by its name.
    """
    infos: list[Any] = []
    for name in INFOS:
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            infos += [content, *content.values()]
    features = [info.get("features") for info in infos if isinstance(info, dict)]
    columns = [f.get(column) for f in features if isinstance(f, dict)]
    return [tuple(map(str, c["names"])) for c in columns if c and _is_class_label(c)]


def _card_feature_names(feature: Any, column: str) -> tuple[str, ...]:
    """Return names from ``dtype: {class_label: {names: {'0': ..., '1': ...}}}``."""
    try:
        if feature["name"] != column:
            return ()
        names = feature["dtype"]["class_label"]["names"]
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names, key=int)]
        return tuple(map(str, names))
    except (KeyError, TypeError, ValueError):
        return ()


def note_class_names(name: str, request: DatasetRequest) -> None:
    """Tell the user that stored names decide what the numbers in the label column are.

    `name` is the source's.
    """
    columns = ColumnOptions().columns | request.columns
    for column in (columns[label] for label in LABEL_COLUMNS):
        names = request.report.class_names.get(column)
        if names:
            listed = ", ".join(f"{i} is {word!r}" for i, word in enumerate(names))
            note = f"{name}: {column} {listed}, as the set names them"
            request.report.notes.append(note)
