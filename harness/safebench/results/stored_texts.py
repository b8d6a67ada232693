"""The texts of a run's samples, where `safebench run --keep-text` stored them.

``texts/`` in a run folder has a file for each dataset. Nothing in it says what a sample
is labelled; a text belongs to a prediction if it has the hash that is stored there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError
from safebench.files import write_lines
from safebench.records import Sample, Turn

from .prediction_reading import CombinationKey
from .prediction_writing import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from safebench.records import Dataset

TEXTS_FOLDER = "texts"
TEXTS = "texts"  # what a manifest has of them
UNKNOWN_LICENCE = "not known"
_FILE_NAME = "samples"


@dataclass(frozen=True, slots=True)
class StoredText:
    """A sample with the names of its dataset: all that a stored line holds."""

    dataset: str
    config: str | None
    split: str
    sample: Sample

    @property
    def label(self) -> str:
        """The name of the dataset for tables: ``name[:config]:split``."""
        return ":".join(filter(None, (self.dataset, self.config, self.split)))


def store_texts(folder: Path, dataset: Dataset) -> dict[str, Any]:
    """Write the texts of all samples of a dataset; return what a manifest says of it.

    They take the place of those that were stored of the dataset before.
    """
    write_lines(_path(folder, dataset), (_to_json(dataset, s) for s in dataset.samples))
    return {"samples": len(dataset), "licence": dataset.licence or UNKNOWN_LICENCE}


def _path(folder: Path, dataset: Dataset) -> Path:
    key = CombinationKey(TEXTS, _FILE_NAME, dataset.name, dataset.config, dataset.split)
    # without the folder of a classifier: all of them judge the same texts
    whole = path_of(folder, key, TEXTS_FOLDER)
    return folder / TEXTS_FOLDER / f"{whole.parent.name}.jsonl"


def _to_json(dataset: Dataset, sample: Sample) -> str:
    record: dict[str, Any] = {
        "dataset": dataset.name,
        "config": dataset.config,
        "split": dataset.split,
        "task": sample.task,
        "id": sample.id,
        "content": sample.content,
        "target": sample.target,
        "turns": [{"role": turn.role, "text": turn.text} for turn in sample.turns],
    }
    if sample.documents:
        record["documents"] = list(sample.documents)
    return json.dumps(record)  # of ASCII: texts may hold half a surrogate pair


def text_files(folder: Path) -> list[Path]:
    """Return the files of stored texts in a run folder."""
    return sorted((folder / TEXTS_FOLDER).glob("*.jsonl"))


def read_texts(path: Path) -> Iterator[StoredText]:
    """Yield the samples of a file of texts; raises DataError for a line that is none.

    And for a sample whose texts are not those of its stored hash: somebody edited it.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parse(line, f"{path}:{number}")


def _parse(line: bytes, place: str) -> StoredText:
    try:
        record = json.loads(line)
        turns = tuple(Turn(_text(t["role"]), _text(t["text"])) for t in record["turns"])
        sample = Sample(
            id=_text(record["id"]),
            turns=turns,
            task=_text(record["task"]),
            target=range(len(turns)).index(record["target"] % len(turns)),
            documents=tuple(map(_text, record.get("documents", ()))),
        )
        names = (_text(record["dataset"]), record["config"], _text(record["split"]))
        content = record["content"]
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        raise DataError(
            f"{place} is no text of a sample: damaged, or cut off"
        ) from None
    if sample.content != content:
        raise DataError(f"{place} has another text than the run judged: it was edited")
    return StoredText(*names, sample)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value
