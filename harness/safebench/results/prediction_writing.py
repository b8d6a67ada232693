"""Where predictions are kept, and how they are written.

A combination has one file, and the path of that file belongs to no other combination.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from safebench.checksums import file_checksum
from safebench.errors import DataError
from safebench.files import (
    atomic_path,
    errors_naming,
    flush_to_disk,
    make_folder,
    replace_file,
    set_aside,
    temporary_path,
    write_jsonl_to,
)

from .line_columns import LineColumns
from .prediction_reading import (
    BY_CATEGORY,
    FORMS,
    CombinationKey,
    read_combination_key,
)
from .run_files import PREDICTIONS_FOLDER, replacing_files
from .stored_columns import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from safebench.records import Dataset

# what every file system keeps apart from every other such name
_PLAIN_NAME = re.compile(r"(?=.{1,100}\Z)[a-z0-9_][a-z0-9_.+@=,-]*(?<!\.)")
ROWS_IN_GROUP = 2**16  # of a parquet file
_LINES_AT_ONCE = 1024
_DATA_SUFFIXES = {"jsonl", "ndjson", "json", "csv", "tsv", "txt", "parquet", "gz"}
_RESERVED_NAMES = {  # on Windows, with any suffix
    *("con", "prn", "aux", "nul"),
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)),
}


def prediction_path(
    folder: Path, classifier: str, dataset: Dataset, strategy: str
) -> Path:
    """Return where the predictions of one combination are kept, as JSON lines."""
    key = CombinationKey(
        classifier, strategy, dataset.name, dataset.config, dataset.split
    )
    return path_of(folder, key)


def path_of(
    folder: Path,
    key: CombinationKey,
    subfolder: str = PREDICTIONS_FOLDER,
    suffix: str = ".jsonl",
) -> Path:
    """Return the path of a file about one combination: its predictions, or others."""
    dataset = _dataset_path_name(key.dataset, key.config, key.split or "")
    place = folder.joinpath(subfolder, path_name(key.classifier), dataset)
    return place / f"{path_name(key.method)}{suffix}"


def path_name(name: str) -> str:
    """Return what a file is called for a name: something else for each name.

    ``a`` and ``a.b`` stand for themselves. Whatever some system could take for another
    name (capitals, a slash, ``..``, ``con``, accents, a dot at the end), or could not
    keep, is spelt ``like_this~`` with ten digits of the name's SHA-256.
    """
    plain = _PLAIN_NAME.fullmatch(name)
    if plain and name.partition(".")[0] not in _RESERVED_NAMES:
        return name
    return _hashed_name(name, name)


def _dataset_path_name(name: str, config: str | None, split: str) -> str:
    """Return what the folder of a dataset is called: ``name[.config].split``, or so."""
    joined = ".".join(filter(None, (name, config, split)))
    # so that the parts can be told from the end: a split, and then either the suffix
    # of a file or a config
    suffix = name.rpartition(".")[2] if "." in name else None
    unambiguous = bool(split) and "." not in split
    if config:
        unambiguous &= "." not in config and config not in _DATA_SUFFIXES
    elif suffix is not None:
        unambiguous &= suffix in _DATA_SUFFIXES
    if unambiguous and path_name(joined) == joined:
        return joined
    return _hashed_name(joined, json.dumps([name, config or None, split]))


def _hashed_name(name: str, hashed: str) -> str:
    digest = hashlib.sha256(hashed.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    readable = re.sub(r"[^a-z0-9]+", "_", name.lower())[:60].strip("_")
    return f"{readable or '_'}~{digest}"


def move_misplaced(folder: Path) -> None:
    """Move files of a run folder to the paths of what they are about.

    Early versions called files otherwise, so that two combinations could mean the same
    one. Where a file is at the right path already, the other one is older. Only for the
    one writer of the folder.
    """
    for path in sorted((folder / PREDICTIONS_FOLDER).glob("*/*/*")):
        if path.suffix not in FORMS.values() or path.name.startswith("."):
            continue
        try:
            right = path_of(folder, read_combination_key(path))
        except (DataError, OSError):
            continue
        if right.with_suffix("") == path.with_suffix(""):
            continue
        if any(right.with_suffix(suffix).exists() for suffix in FORMS.values()):
            path.unlink()
        else:
            make_folder(right.parent)
            path.replace(right.with_suffix(path.suffix))
        for parent in (path.parent, path.parent.parent):
            with suppress(OSError):  # others are in it
                parent.rmdir()


class StagedPredictions:
    """Predictions of several combinations, written beside the places they will take.

    So that no moment has new predictions beside old results or old ones beside new:
    `add` them all, and write the results while `replacing`. Killed in between, there
    are no predictions, and the next run has them.
    """

    def __init__(self) -> None:
        # by path without a suffix: the temporary file, and the suffix it will get
        self._staged: dict[Path, tuple[Path, str] | None] = {}

    def add(self, path: Path, lines: Iterable[dict[str, Any]], form: str) -> None:
        """Write predictions as ``jsonl`` or ``parquet``; ``none``: there will be none.

        A parquet file takes the place of `path` with its own suffix.
        """
        place = path.with_suffix("")
        if form == "none":
            self._staged[place] = None
            return
        file = path.with_suffix(FORMS[form])
        partial = temporary_path(file)
        write = _write_lines if form == "jsonl" else _write_parquet
        try:
            with errors_naming(file, partial):
                write(partial, lines)
                flush_to_disk(partial)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._staged[place] = (partial, FORMS[form])

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Remove what is replaced, let results be written, and then move in.

        If the block raises, the new predictions are dropped.
        """
        try:
            with replacing_files(self._checksums()):
                self._remove_stale()
                yield
                self._publish()
        finally:
            for staged in self._staged.values():
                if staged is not None:
                    staged[0].unlink(missing_ok=True)
            self._staged.clear()

    def _checksums(self) -> dict[Path, str | None]:
        """Return what each file of these combinations will be, None: not there."""
        checksums: dict[Path, str | None] = {}
        for path, staged in self._staged.items():
            for suffix in FORMS.values():
                checksums[path.with_name(path.name + suffix)] = None
            if staged is not None:
                partial, suffix = staged
                checksums[path.with_name(path.name + suffix)] = file_checksum(partial)
        return checksums

    def _remove_stale(self) -> None:
        for path in self._staged:
            for suffix in FORMS.values():
                stale = path.with_name(path.name + suffix)
                if stale.is_dir():
                    set_aside(stale)
                stale.unlink(missing_ok=True)

    def _publish(self) -> None:
        for path, staged in self._staged.items():
            if staged is not None:
                partial, suffix = staged
                replace_file(partial, path.with_name(path.name + suffix))


def write_predictions(path: Path, lines: Iterable[dict[str, Any]], form: str) -> None:
    """Replace the predictions of one combination, in one step."""
    staged = StagedPredictions()
    staged.add(path, lines, form)
    with staged.replacing():
        pass


def write_prediction_file(
    path: Path, lines: Iterable[dict[str, Any]], form: str
) -> None:
    """Write one file in one step, ``jsonl`` or ``parquet``, which no manifest knows."""
    with atomic_path(path) as partial:
        (_write_lines if form == "jsonl" else _write_parquet)(partial, lines)


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    if not isinstance(lines, LineColumns):
        write_jsonl_to(path, lines)
        return
    texts = lines.json_lines()
    with path.open("wb") as file:
        while block := "".join(islice(texts, _LINES_AT_ONCE)):
            file.write(block.encode())


def _write_parquet(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write row groups of few lines each: a reader need not hold them all, either."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if iter(lines) is lines:  # they are gone through twice
        lines = list(lines)
    schema = None
    for chunk in _chunks(lines):  # a field may be empty in one part alone
        found = pa.Table.from_pydict(chunk).schema
        schemas = [found] if schema is None else [schema, found]
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    with pq.ParquetWriter(path, schema or pa.schema([])) as writer:
        for chunk in _chunks(lines):
            writer.write_table(pa.Table.from_pydict(chunk, schema=schema))


def _columns_of(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, list[Any]]]:
    """Yield the values of some lines by field; the first line says which there are."""
    remaining = iter(lines)
    columns: dict[str, list[Any]] = {}
    n = 0
    while rows := list(islice(remaining, _LINES_AT_ONCE)):
        columns = columns or {name: [] for name in rows[0]}
        for name, values in columns.items():
            values.extend(row.get(name) for row in rows)
        n += len(rows)
        if n % ROWS_IN_GROUP == 0:
            yield columns
            columns = {name: [] for name in columns}
    if n % ROWS_IN_GROUP:
        yield columns


def _chunks(
    lines: Iterable[dict[str, Any]],
) -> Iterator[dict[str, list[Any]]]:
    """Yield the values of some lines by field, codes of policies as JSON.

    They differ between policies, and a struct of all would change the schema.
    """
    if isinstance(lines, LineColumns):
        chunks = lines.chunks(ROWS_IN_GROUP)
    else:
        chunks = _columns_of(lines)
    for chunk in chunks:
        for name in (*BY_CATEGORY, COLUMNS):
            if name in chunk:
                chunk[name] = list(map(json.dumps, chunk[name]))
        yield chunk
