"""Columns of a large file on disk, so that its rows need not be read again.

Ids, content hashes, groups, labels and what came along, but no text: all that a run
whose evidence is stored asks about its samples. They are found by everything that
decides them (`columns_key`), the bytes of the source first of all, and are checked
before they are used. Texts are read from the source when somebody looks at them.
"""

from __future__ import annotations

import hashlib
import json
import platform
import unicodedata
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.checksums import sealed, unsealed
from safebench.errors import DataError, SafebenchError
from safebench.files import atomic_path
from safebench.record_columns import PackedTexts, RecordColumns
from safebench.records import Dataset

from .class_names import describing_files
from .copy_key import copy_facts
from .files import COMPRESSIONS, find_file
from .loader import load_dataset
from .record_blocks import LateBlocks, TextlessBlocks
from .row_bytes import ROWS_DIGEST
from .spooled_records import SpooledSamples, SpooledTruths

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.typing import Array

    from .request import DatasetRequest

FORMAT = 1
_READERS = ("read_jsonl", "read_csv", "read_parquet")
_HEAD = "head"
_ARRAYS = ("content", "value", "target", "n_turns", "length", "several", "documents")
_TEXTS = ("ids", "groups")
_FLAGS = ("annotated", "paired", "rated", "described")
_FIELDS = (
    *("name", "config", "split", "task", "policy", "revision", "counts"),
    *("licence", "mix"),
)
_AT_ONCE = 2**20


class UnusableError(ValueError):
    """A file of columns that is damaged; the text says why."""


@dataclass(frozen=True, slots=True)
class StoredColumns:
    """What a file of columns holds: the dataset, and what was said when it was read."""

    dataset: Dataset
    messages: tuple[str, ...]


def columns_key(request: DatasetRequest) -> str | None:
    """Return the SHA-256 (hex) of all that decides the columns of a set.

    The bytes of the file or of the local copy, the request, what describes them, the
    taxonomy, and the code that reads. None for other sets. Raises `DataError` if the
    file is not there.
    """
    rows: Any
    if _is_own_file(request):
        path = find_file(request.source or "")
        described = [_file_digest(p) for p in describing_files(path)]
        rows = {"file": _file_digest(path), "described": described}
    else:
        rows = copy_facts(request)
    if rows is None:
        return None
    decides = {
        "format": FORMAT,
        "rows": rows,
        "code": _code_digest(),
        "policy": [
            _policy_hash(getattr(request.options, "policy", "none")),
            _policy_hash(request.spec.policy or "none"),
        ],
        "request": request_facts(request),
    }
    return _digest(decides)


def _is_own_file(request: DatasetRequest) -> bool:
    module, _, reader = request.spec.load.partition(":")
    return module == "safebench.datasets.files" and reader in _READERS


def request_facts(request: DatasetRequest) -> dict[str, Any]:
    """Return what a request for a file says, but for where the file lies."""
    options = request.options
    return {
        "spec": [request.spec.name, request.spec.load, request.spec.task],
        "name": request.name,
        "split": request.split,
        "config": request.config,
        "on_bad_row": request.on_bad_row,
        "strict": request.strict,
        "label_map": request.label_map,
        "columns": request.columns,
        "options": asdict(options) if is_dataclass(options) else None,  # type: ignore[arg-type]
        "turns": request.turns,
    }


def request_digest(request: DatasetRequest) -> str:
    """Return eight hex digits that tell requests for one file apart."""
    return _digest(request_facts(request))[:8]


def is_unchanged(request: DatasetRequest, key: str, dataset: Dataset) -> bool:
    """Tell whether a dataset was read from the bytes that its `key` was made of."""
    if not _is_own_file(request):
        return columns_key(request) == key
    path = find_file(request.source or "")
    if path.suffix.casefold() in COMPRESSIONS:  # its revision is of what is packed
        return columns_key(request) == key
    return dataset.revision == f"local:{_file_digest(path)[:12]}"


def can_be_kept(dataset: Dataset) -> bool:
    """Tell whether a dataset is large, and has no values that JSON would change."""
    samples = dataset.samples
    return isinstance(samples, SpooledSamples) and samples.blocks.storable


def write_columns(
    path: Path, key: str, dataset: Dataset, rows_digest: str, messages: Sequence[str]
) -> None:
    """Write the columns of a dataset that `can_be_kept`, in one step.

    `rows_digest` is the hash of all its rows, `messages` what was said of them.
    """
    import numpy as np

    samples, columns = dataset.samples, dataset.columns
    assert isinstance(samples, SpooledSamples)
    blocks = samples.blocks.textless()
    arrays: dict[str, Any] = {name: getattr(columns, name) for name in _ARRAYS}
    for name in _TEXTS:
        packed = getattr(columns, name)
        arrays[name] = np.frombuffer(packed.content, dtype=np.uint8)
        arrays[f"{name}_ends"] = packed.ends
    arrays["blocks"] = np.frombuffer(b"".join(blocks), dtype=np.uint8)
    arrays["block_ends"] = np.cumsum([0, *map(len, blocks)])
    head = sealed(
        {
            "format": FORMAT,
            "key": key,
            "dataset": {name: getattr(dataset, name) for name in _FIELDS},
            "contaminates": sorted(dataset.contaminates),
            "data_hash": dataset.data_hash,
            "rows_digest": rows_digest,
            "block_size": samples.blocks.size,
            "columns_task": columns.task,
            "flags": {name: getattr(columns, name) for name in _FLAGS},
            "messages": list(messages),
            "sha256": {name: _array_digest(array) for name, array in arrays.items()},
        }
    )
    arrays[_HEAD] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    with atomic_path(path) as partial_path, partial_path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_columns(path: Path, key: str, request: DatasetRequest) -> StoredColumns | None:
    """Return a dataset whose columns were kept under `key`, None if there are none.

    Raises `UnusableError` for a file that is not what was written.
    """
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            head = unsealed(json.loads(stored[_HEAD].tobytes()))
            if head.get("format") != FORMAT or head.get("key") != key:
                return None
            arrays = {name: stored[name] for name in head["sha256"]}
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - a damaged archive raises whatever it likes
        raise UnusableError(f"{type(error).__name__}: {error}") from None
    for name, digest in head["sha256"].items():
        if _array_digest(arrays[name]) != digest:
            raise UnusableError(f"the checksum of its {name} differs")
    return StoredColumns(_dataset(head, arrays, request), tuple(head["messages"]))


def _dataset(
    head: Mapping[str, Any], arrays: Mapping[str, Array], request: DatasetRequest
) -> Dataset:
    texts = {
        name: PackedTexts(arrays[name].tobytes(), arrays[f"{name}_ends"])
        for name in _TEXTS
    }
    fields: dict[str, Any] = {name: arrays[name] for name in _ARRAYS} | head["flags"]
    columns = RecordColumns(**(fields | texts), task=head["columns_task"])
    content, size = arrays["blocks"].tobytes(), head["block_size"]
    ends = pairwise(arrays["block_ends"].tolist())
    textless = TextlessBlocks([content[start:end] for start, end in ends], size)
    late = LateBlocks(
        partial(_load_again, request, columns, head["dataset"]["revision"]), size
    )
    rows = range(len(columns))
    facts = head["dataset"]
    dataset = Dataset(
        **facts,
        samples=SpooledSamples(late, rows, columns, facts["task"], textless),
        ground_truth=SpooledTruths(textless, rows),
        contaminates=frozenset(head["contaminates"]),
    )
    known = {"data_hash": head["data_hash"], ROWS_DIGEST: head["rows_digest"]}
    vars(dataset).update(known)
    return dataset


def _load_again(request: DatasetRequest, columns: RecordColumns, revision: str) -> Any:
    """Return the blocks of the source, whose bytes must be those of the columns.

    Content hashes alone do not tell: of what came along they have nothing.
    """
    import numpy as np

    dataset = load_dataset(request, say=lambda _: None)
    read, samples = dataset.columns, dataset.samples
    same = dataset.revision == revision and len(read) == len(columns)
    same = same and all(
        np.array_equal(getattr(read, name), getattr(columns, name)) for name in _ARRAYS
    )
    if not same or not isinstance(samples, SpooledSamples):
        name = request.source or request.label
        raise DataError(f"{name} has changed since this run began")
    return samples.blocks


def _policy_hash(name: str) -> str | None:
    """Return the hash of a taxonomy; reading makes it known."""
    from safebench.policies import load_policy

    try:
        return None if name == "none" else load_policy(name).hash
    except SafebenchError:  # said by whoever needs it: of files without categories none
        return None


@cache
def _code_digest() -> str:
    """Return a hash of the code that makes columns of rows, and of what it runs on."""
    here = Path(__file__).parent
    files = [*here.glob("*.py"), here.parent / "records.py"]
    files.append(here.parent / "record_columns.py")
    hashes = [f"{path.name} {_file_digest(path)}" for path in sorted(files)]
    return _digest([hashes, platform.python_version(), unicodedata.unidata_version])


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _array_digest(array: Array) -> str:
    import numpy as np

    shape = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(shape + np.ascontiguousarray(array).tobytes()).hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
