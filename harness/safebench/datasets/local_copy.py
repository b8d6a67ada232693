"""Find where a split lies in a local copy of a hub set.

A copy may have the hub's layout and card, one file of the set, or the files of the
repository that the set is from: its card then lacks the config or the split that the
catalogue names. What is read in their place is said, and never guessed where a config
decides the label.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, did_you_mean

from .class_names import CARD
from .csv_rows import csv_rows
from .files import COMPRESSIONS, uncompressed
from .formats import json_rows, parse_json
from .request import LoadReport
from .row_errors import RowErrors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench.recipes import Source

ROW_SUFFIXES = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".txt")
YAML_SUFFIXES = (".yml", ".yaml")
# what the hub and the repositories of authors call one and the same split
SPLIT_SYNONYMS = (
    frozenset({"validation", "val", "valid", "dev"}),
    frozenset({"train", "training"}),
    frozenset({"test", "testing", "eval"}),
)
# files about a set, which hold no rows of it
_DESCRIPTION = re.compile(
    r"(dataset_infos?|state|licen[cs]e|readme|requirements|notice|citation|authors)"
    r"[-_.]",
    re.IGNORECASE,
)


class MissingPartError(DataError):
    """A set lacks a config or a split; `available` are those that it has."""

    def __init__(self, message: str, kind: str, available: list[str]) -> None:
        super().__init__(message)
        self.kind = kind
        self.available = available


def without_card(source: Source, folder: Path) -> Source:
    """Return where a split lies in a local copy that has no card with configs.

    Nothing there says which files belong to a config: the catalog's patterns do, and
    without a match the library's own reading of their names.
    """
    if has_card(folder):
        return source
    if files_of(source, folder):
        return replace(source, config=None)
    if len(data_files(folder)) == len(_row_files(folder)):
        return source
    # the library would take a licence for rows
    files = [path.relative_to(folder) for path in _files_of_split(source.split, folder)]
    if not files:
        return source
    named = {source.split: [path.as_posix() for path in files]}
    options = {**source.options, "data_files": named}
    return replace(source, config=None, files=(), options=options)


def has_card(folder: Path) -> bool:
    """Tell whether a copy has a card that says which files belong together."""
    card = folder / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    return re.search(r"^\W*configs\W*:", text, re.MULTILINE) is not None


def _is_one_file(folder: Path) -> bool:
    """Tell whether a copy has one file, or the numbered pieces of one."""
    return len({re.sub(r"\d+", "", p.name) for p in data_files(folder)}) == 1


def other_part(
    source: Source, error: MissingPartError, folder: Path, *, is_default: bool
) -> Source | None:
    """Return what a copy has in place of a config or split, None if that is in doubt.

    First the part of a like name, then the files by the catalog's patterns, then the
    only part that there is: that one for the set's default split alone, since a copy
    of the test part is no training part.
    """
    wanted = source.config if error.kind == "config" else source.split
    # a part that is a class by its name alone is known by the whole of it
    exactly = source.label is not None
    if name := _like(wanted or "", error.available, exactly=exactly):
        return _with_part(source, error.kind, name)
    if source.config is not None and files_of(source, folder):
        return replace(source, config=None)
    # a config that is a class has no substitute
    if source.label is not None or not is_default or len(error.available) != 1:
        return None
    if not (has_card(folder) or _is_one_file(folder)):
        return None
    (only,) = error.available
    if error.kind == "config":
        return replace(source, config=only, files=())
    return _with_part(source, "split", only)


def _with_part(source: Source, kind: str, name: str) -> Source:
    if kind == "config":
        return replace(source, config=name)
    return replace(source, split=name)


def _like(name: str, available: Iterable[str], *, exactly: bool) -> str:
    """Return the one name that differs in writing alone, "" if none or several do.

    Unless `exactly`, also the one that a synonym is, or that has more or fewer words.
    """
    wanted = plain_name(name)
    same = [
        other for other in available if plain_name(other) == wanted and other != name
    ]
    if not same and not exactly:
        synonyms = next((s for s in SPLIT_SYNONYMS if wanted in s), frozenset({wanted}))
        same = [o for o in available if plain_name(o) in synonyms and o != name]
    if not same and not exactly:
        words = _name_words(name)
        same = [
            other
            for other in available
            if other != name
            and _name_words(other)
            and (words <= _name_words(other) or _name_words(other) <= words)
        ]
    return same[0] if len(same) == 1 else ""


def _name_words(name: str) -> set[str]:
    return {*filter(None, re.split(r"[^a-z0-9]+", name.casefold()))}


@cache
def plain_name(name: str) -> str:
    """Return a name without case and separators, as copies of a set agree on it."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def data_files(folder: Path) -> list[Path]:
    """Return the files of a copy that hold rows.

    Not those about the set; and beside tables, text is no rows.
    """
    files = [p for p in _row_files(folder) if not _DESCRIPTION.match(p.name)]
    tables = [path for path in files if _row_suffix(path) != ".txt"]
    return tables or files


def _row_files(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if _row_suffix(path)]


def _row_suffix(path: Path) -> str:
    """Return what a file may hold by its name, packed or not; "" for no rows."""
    suffixes = [suffix.casefold() for suffix in path.suffixes]
    return next((suffix for suffix in suffixes if suffix in ROW_SUFFIXES), "")


def files_of(source: Source, folder: Path) -> list[str]:
    """Return the files of the first pattern that matches some in a local copy.

    Of the first alone: a file that two patterns match would be read twice.
    """
    present = {path.relative_to(folder) for path in data_files(folder)}
    for name in source.files:
        matching = {path.relative_to(folder) for path in folder.glob(name)}
        # YAML holds rows only where a pattern says so: it is the language of settings
        rows = matching if name.endswith(YAML_SUFFIXES) else matching & present
        if found := sorted(path.as_posix() for path in rows):
            return found
    return []


def require_files(source: Source, folder: Path, hub_id: str) -> None:
    """Raise `MissingPartError` if a copy has none of a source's files.

    Of several sources each would else be taken for all that there is.
    """
    if not files_of(source, folder):
        listed = ", ".join(sorted(p.name for p in data_files(folder))[:5]) or "none"
        raise MissingPartError(
            f"{hub_id} in {folder} has no file {' or '.join(source.files)} (files: "
            f"{listed})",
            "files",
            [],
        )


def plain_rows(source: Source, folder: Path) -> list[dict[str, Any]] | None:
    """Return rows of files that the library cannot read, None if they are not clear.

    Such are arrays of texts, an array inside an object, archives and files in which
    the type of a column changes. The files are those of the patterns, else those whose
    name has the split, else the only one.
    """
    names = files_of(source, folder)
    files = [folder / name for name in names] or _files_of_split(source.split, folder)
    rows: list[dict[str, Any]] = []
    for path in files:
        found = _rows_of_file(path, path.relative_to(folder).as_posix())
        if found is None:
            return None
        rows += found
    return rows or None


def _files_of_split(split: str, folder: Path) -> list[Path]:
    files = sorted(data_files(folder))
    words = next((s for s in SPLIT_SYNONYMS if split in s), frozenset({split}))
    named = [p for p in files if words & {*re.split(r"[^a-z0-9]+", p.stem.casefold())}]
    return named or (files if len(files) == 1 else [])


def _rows_of_file(path: Path, name: str) -> list[dict[str, Any]] | None:
    data, suffix = _unpacked(path, name)
    errors = RowErrors(name, skip=False)
    if suffix in (".json", ".jsonl"):
        listed = _list_inside(data)
        if listed is not None:
            return listed
        rows = [row for _, row in json_rows(data, name, errors)]
    elif suffix in (".csv", ".tsv"):
        pairs = csv_rows(
            data, name, errors, separator="", columns=(), report=LoadReport()
        )
        rows = [row for _, row in pairs]
    elif suffix == ".txt":
        lines = data.decode("utf-8-sig").splitlines()
        rows = [{"text": line} for line in lines if line.strip()]
    elif suffix in YAML_SUFFIXES:
        rows = _yaml_rows(data, name)
    else:
        return None
    errors.raise_or_record(LoadReport(), len(rows))
    return rows


def _yaml_rows(data: bytes, name: str) -> list[dict[str, Any]]:
    """Return the row of a YAML file that is a mapping, or those of a list."""
    import yaml

    try:
        value = yaml.safe_load(data.decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise DataError(f"{name}: not YAML: {text[:120]}") from error
    rows = [value] if isinstance(value, dict) else value
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise DataError(f"{name}: YAML without rows: a mapping, or a list of them")
    return rows


def _unpacked(path: Path, name: str) -> tuple[bytes, str]:
    """Return the bytes of a file and the suffix of what it holds."""
    if path.suffix.casefold() == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = [
                member
                for member in archive.namelist()
                if Path(member).suffix.casefold() in ROW_SUFFIXES
                and "__MACOSX" not in member
            ]
            if len(members) != 1:
                raise DataError(
                    f"{name}: an archive of {len(members)} files of rows: unpack it"
                )
            return archive.read(members[0]), Path(members[0]).suffix.casefold()
    suffixes = [suffix.casefold() for suffix in path.suffixes]
    if suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return uncompressed(path, name), suffixes[-1] if suffixes else ""


def _list_inside(data: bytes) -> list[dict[str, Any]] | None:
    """Return the rows of an array of texts, or of the one array in an object."""
    try:
        value = parse_json(data.decode("utf-8-sig"))
    except ValueError:
        return None
    if isinstance(value, dict):
        lists = [v for v in value.values() if isinstance(v, list)]
        value = lists[0] if len(lists) == 1 else None
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(item, str) for item in value):
        return [{"text": item} for item in value]
    return value if all(isinstance(item, dict) for item in value) else None


def nearest_copy(hub_id: str, data_root: Path) -> str:
    """Return a hint at a folder whose name is nearly that of a set, or ""."""
    copies = [p.relative_to(data_root).as_posix() for p in data_root.glob("*/*")]
    return did_you_mean(hub_id, copies)
