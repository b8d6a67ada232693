"""Stored predictions: the files of a run folder, and how they are read.

The names of what a file is about are read from it: its path spells only some of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError, RunFolderError, unknown_name

from .rows import RESULTS_FILE, read_rows
from .run_files import PREDICTIONS_FOLDER, check_unchanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from safebench.typing import Array

    from .rows import Row

    PredictionLine = dict[str, Any]
    CombinationKey = tuple[str, str, str, str | None, str | None]


FORMS = {"jsonl": ".jsonl", "parquet": ".parquet"}  # how they are stored, and as what
# fields of values by category code, which parquet files have as JSON
BY_CATEGORY = ("categories", "category_lower", "category_upper", "category_truth")
COLUMNS = "columns"  # the field of what came along with a sample, as JSON in parquet


@dataclass(frozen=True, slots=True)
class PredictionFile:
    """A file of predictions: its run folder, and the labels of what it is about.

    `dataset` is ``name.config.split``.
    """

    run: Path
    classifier: str
    dataset: str
    strategy: str
    path: Path

    @property
    def label(self) -> str:
        """What tells it apart within its run: ``classifier/strategy``."""
        return f"{self.classifier}/{self.strategy}"

    @property
    def full_label(self) -> str:
        """The same with the run folder before it."""
        return f"{self.run}/{self.label}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMetadata:
    """What a dataset says of one sample: its group, columns, text and their length.

    `length` counts the characters of all turns. A column that a row has but leaves
    empty is in `meta` as None.
    """

    group: str
    meta: dict[str, Any]
    text: str
    length: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredCells:
    """The cells (sample, category) of n samples and L categories, whose codes `labels`.

    `truth` (n, L) is 1 or 0, NaN where unknown; `score` and `named` (n, L) are what the
    guard says, NaN where it says nothing, `named` as 1 or 0.
    """

    labels: tuple[str, ...]
    truth: Array
    score: Array
    named: Array

    def select(self, rows: Sequence[int]) -> StoredCells:
        """Return some of the samples, in the order of `rows`."""
        kept = list(rows)
        return StoredCells(
            labels=self.labels,
            truth=self.truth[kept],
            score=self.score[kept],
            named=self.named[kept],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredPredictions:
    """One classifier x strategy x dataset, the n samples of a part with a known label.

    `y` (n,) bool; `decision`, `score`, `uncertainty` and the score's bounds, `lower`
    and `upper`, (n,) float, NaN where there is none; `tokens` (n,) int, the template's
    included. `errors` says why a sample has no judgement. `threshold` is that of the
    decisions, `probability` whether the score claims to be one. `metadata` is what the
    dataset says of each sample, None where it could not be read again; `columns` are
    the short values of it that were stored, None for what was stored without.
    `sample_datasets` names the dataset of each sample: more than one after
    `pool_predictions`. `group` is empty for what was stored without it. `severity` (n,)
    is NaN where nobody noted it, `pair` names a sample's pair and its side, and `cells`
    are those of categories, None where the truth of none is known.
    """

    classifier: str
    model: str
    strategy: str
    dataset: str
    task: str
    ids: tuple[str, ...]
    content: tuple[str, ...]
    sample_datasets: tuple[str, ...]
    categories: tuple[frozenset[str] | None, ...]
    errors: tuple[str | None, ...]
    y: Array
    decision: Array
    score: Array
    uncertainty: Array
    lower: Array
    upper: Array
    tokens: Array
    severity: Array
    pair: tuple[tuple[str, str] | None, ...]
    cells: StoredCells | None = None
    threshold: float | None = None
    probability: bool = False
    metadata: tuple[SampleMetadata | None, ...] = ()
    columns: tuple[dict[str, Any] | None, ...] = ()
    group: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of samples with a known label, failed ones included."""
        return len(self.y)

    @property
    def name(self) -> str:
        """What tables call it: ``classifier/strategy on dataset``."""
        return f"{self.classifier}/{self.strategy} on {self.dataset}"

    @property
    def judged(self) -> Array:
        """Which samples have a decision, (n,) bool."""
        judged: Array = ~np.isnan(self.decision)
        return judged

    @property
    def wrong(self) -> Array:
        """Which samples were judged and decided against their label, (n,) bool."""
        decided: Array = np.nan_to_num(self.decision).astype(bool)
        wrong: Array = self.judged & (decided != self.y)
        return wrong

    @property
    def sample_columns(self) -> list[dict[str, Any] | None]:
        """What came along with each sample, None if unknown.

        As read again with the dataset, which has all; else as it was stored.
        """
        metadata = self.metadata or (None,) * self.n
        columns = self.columns or (None,) * self.n
        pairs = zip(metadata, columns, strict=True)
        return [known.meta if known else stored for known, stored in pairs]

    @property
    def groups(self) -> list[str]:
        """What belongs together: stored groups, else the dataset's, else equal texts.

        Early versions stored no group.
        """
        if self.group:
            return list(self.group)
        metadata = self.metadata or (None,) * self.n
        pairs = zip(metadata, self.content, strict=True)
        return [known.group if known else content for known, content in pairs]

    def select(self, rows: Sequence[int]) -> StoredPredictions:
        """Return some of the samples, in the order of `rows`."""
        chosen: dict[str, Any] = {
            name: getattr(self, name)[list(rows)] for name in _ARRAYS
        }
        for name in (*_TUPLES, "group", "metadata", COLUMNS):
            values = getattr(self, name)
            chosen[name] = tuple(values[row] for row in rows) if values else ()
        chosen["cells"] = None if self.cells is None else self.cells.select(rows)
        return replace(self, **chosen)


# the columns of `StoredPredictions`, one entry a sample
_ARRAYS = (
    *("y", "decision", "score", "uncertainty", "lower", "upper", "tokens"),
    "severity",
)
_TUPLES = ("ids", "content", "sample_datasets", "categories", "errors", "pair")


def pool_predictions(parts: Sequence[StoredPredictions]) -> StoredPredictions:
    """Join predictions of one classifier and strategy on several datasets.

    They must share task and threshold, as decisions of one rule do. Categories are left
    out: those of several datasets need not be the same.
    """
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in _ARRAYS
    }
    joined |= {
        name: tuple(value for part in parts for value in getattr(part, name))
        for name in _TUPLES
    }
    with_groups = all(part.group for part in parts)
    return replace(
        parts[0],
        dataset=f"all {len(parts)} sets",
        probability=all(part.probability for part in parts),
        metadata=tuple(
            known for part in parts for known in part.metadata or (None,) * part.n
        ),
        columns=tuple(
            known for part in parts for known in part.columns or (None,) * part.n
        ),
        group=tuple(g for part in parts for g in part.group) if with_groups else (),
        cells=None,
        **joined,
    )


def prediction_files(run: Path) -> list[PredictionFile]:
    """Return the files of a run folder; raises RunFolderError if there are none.

    And if a combination has two: an early version left the one beside the other, and
    nobody knows which of them the results are about.
    """
    files = [_prediction_file(run, path) for path in _prediction_paths(run)]
    if not files:
        raise _no_predictions(run)
    return files


def _no_predictions(run: Path) -> RunFolderError:
    return RunFolderError(
        f"no predictions in {str(run)!r}: run again without `--predictions none`"
    )


def _prediction_paths(run: Path) -> list[Path]:
    folder = run / PREDICTIONS_FOLDER
    if folder.is_dir():
        next(folder.iterdir(), None)  # raises where `glob` would find nothing
    paths = [
        path
        for path in sorted(folder.glob("*/*/*"))
        if path.suffix in FORMS.values() and not path.name.startswith(".")
    ]
    for path in paths:
        if path.suffix == ".parquet" and path.with_suffix(".jsonl") in paths:
            raise RunFolderError(
                f"{path} lies beside {path.with_suffix('.jsonl').name}, predictions of "
                "the same: delete the older one, or run again"
            )
    return paths


def _prediction_file(run: Path, path: Path) -> PredictionFile:
    try:
        key = read_combination_key(path)
    except DataError:  # whoever reads it is told what is wrong
        return PredictionFile(run, path.parts[-3], path.parts[-2], path.stem, path)
    classifier, strategy, *dataset = key
    return PredictionFile(
        run, classifier, ".".join(filter(None, dataset)), strategy, path
    )


def read_combination_key(path: Path) -> CombinationKey:
    """Return what a file is about by its first line; raises DataError if it has none.

    All of a file is about one combination.
    """
    for line in read_prediction_lines(path, most=1):
        try:
            key = combination_key(line)
        except KeyError as error:
            raise DataError(f"{path}: no predictions: lacks {error}") from None
        names, optional = (key[0], key[1], key[2]), (key[3], key[4])
        if all(isinstance(name, str) for name in names) and all(
            isinstance(name, str | None) for name in optional
        ):
            return key
    raise DataError(f"{path}: no predictions: the file is empty")


def read_predictions(
    folder: Path,
    *,
    classifiers: Sequence[str] = (),
    strategies: Sequence[str] = (),
    datasets: Sequence[str] = (),
    part: str = "test",
) -> list[StoredPredictions]:
    """Return the predictions that are named; without names, all of them.

    A dataset is named as tables do (``name:config:split``) or by its name alone. `part`
    is ``test``, ``calibration`` or ``all``. Raises UnknownNameError, RunFolderError or
    DataError.
    """
    keys = {path: read_combination_key(path) for path in _prediction_paths(folder)}
    if not keys:
        raise _no_predictions(folder)
    _refuse_unknown(keys.values(), classifiers, strategies, datasets)
    results = _result_rows(folder)
    predictions = [
        read_prediction_file(path, results.get(key, ()), part)
        for path, key in keys.items()
        if _is_selected(key, classifiers, strategies, datasets)
    ]
    labelled = [combination for combination in predictions if combination.n]
    if not labelled:
        raise RunFolderError(
            f"{folder} has no predictions with a known label"
            + ("" if part == "all" else f" in the {part} part; try --part all")
        )
    return labelled


def read_prediction_file(
    path: Path, rows: Sequence[Row] = (), part: str = "test"
) -> StoredPredictions:
    """Read a file; `rows` are the results that were computed from it, if known.

    Raises DataError for what holds no predictions.
    """
    lines = read_prediction_lines(path)
    try:
        return _to_columns(lines, rows, part)
    except KeyError as error:
        raise DataError(f"{path}: no predictions: lacks {error}") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: no predictions: {error}") from None


def read_prediction_lines(
    path: Path, most: int | None = None, name: str = ""
) -> list[PredictionLine]:
    """Return the predictions of a file as they were written, or the first `most`.

    Raises DataError for a line that is none, and calls the file `name` there: files
    are copied while they are written, or cut off. And for a file that was changed
    since the run wrote it, if it is read whole.
    """
    if most is None:
        check_unchanged(path)
    if path.suffix == ".parquet":
        return _read_parquet(path, most, name)
    return list(iter_prediction_lines(path, most, name))


def iter_prediction_lines(
    path: Path, most: int | None = None, name: str = ""
) -> Iterator[PredictionLine]:
    """Yield the predictions of a JSON Lines file, as `read_prediction_lines` does."""
    with path.open("rb") as file:  # split at "\n" alone: texts may hold U+2028
        for number, line in enumerate(islice(file, most), 1):
            if line.strip():
                yield _parse_line(line, f"{name or path}:{number}")


def _read_parquet(path: Path, most: int | None, name: str) -> list[PredictionLine]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if most is None:
                return _by_category(file.read().to_pylist())
            batches = file.iter_batches(batch_size=most)
            return _by_category(next((batch.to_pylist() for batch in batches), []))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the surroundings: no file, no permission
        place = name or path
        raise DataError(f"{place} holds no predictions: damaged, or cut off") from None


def _by_category(records: list[PredictionLine]) -> list[PredictionLine]:
    """Read again what parquet files have as text."""
    for record in records:
        for name in (*BY_CATEGORY, COLUMNS):
            if isinstance(record.get(name), str):
                record[name] = json.loads(record[name])
    return records


def _parse_line(line: bytes, place: str) -> PredictionLine:
    try:
        prediction = json.loads(line)
    except (ValueError, RecursionError):
        prediction = None
    if not isinstance(prediction, dict) or "id" not in prediction:
        raise DataError(f"{place} is no prediction: damaged, or cut off")
    return prediction


def _to_columns(
    lines: Sequence[PredictionLine], rows: Sequence[Row], part: str
) -> StoredPredictions:
    if not lines:
        raise ValueError("the file is empty")
    first = lines[0]
    kept = [
        line
        for line in lines
        if line["label"] is not None and part in ("all", line["part"])
    ]
    dataset = _dataset_name(combination_key(first))
    return StoredPredictions(
        classifier=first["classifier"],
        model=first["model"],
        strategy=first["strategy"],
        dataset=dataset,
        task=first["task"],
        ids=tuple(line["id"] for line in kept),
        content=tuple(line["content"] for line in kept),
        group=_groups(kept),
        columns=tuple(line.get(COLUMNS) for line in kept),
        sample_datasets=(dataset,) * len(kept),
        categories=tuple(_codes(line.get("gold_categories")) for line in kept),
        errors=tuple(line.get("error") for line in kept),
        y=np.array([line["label"] for line in kept], dtype=bool),
        decision=_floats([line["decision"] for line in kept]),
        score=_floats([line["score"] for line in kept]),
        uncertainty=_floats([line.get("uncertainty") for line in kept]),
        lower=_floats([line.get("lower") for line in kept]),
        upper=_floats([line.get("upper") for line in kept]),
        tokens=np.array([line.get("tokens_in") or 0 for line in kept], dtype=np.int64),
        severity=_floats([line.get("severity") for line in kept]),
        pair=tuple(_pair(line) for line in kept),
        cells=_cells(kept),
        threshold=_threshold(first, rows),
        probability=_claims_probability(kept, rows),
    )


def _pair(line: PredictionLine) -> tuple[str, str] | None:
    """Return pair and side; names of pairs are those of one dataset."""
    pair, side = line.get("pair"), line.get("pair_side")
    return None if pair is None or side is None else (pair, side)


def _cells(lines: Sequence[PredictionLine]) -> StoredCells | None:
    """Return the cells of categories; early versions did not store their truth."""
    truths = [line.get("category_truth") for line in lines]
    labels = next((tuple(truth) for truth in truths if truth), ())
    if not labels:
        return None
    named = [line.get("predicted_categories") for line in lines]
    return StoredCells(
        labels=labels,
        truth=_by_label(truths, labels),
        score=_by_label([line.get("categories") for line in lines], labels),
        named=_by_label(
            [
                None if codes is None else {label: label in codes for label in labels}
                for codes in named
            ],
            labels,
        ),
    )


def _by_label(records: Sequence[dict[str, Any] | None], labels: Sequence[str]) -> Array:
    """Return the values of each label, (n, L) float, NaN for null."""
    rows = [[(record or {}).get(label) for label in labels] for record in records]
    return _floats(rows).reshape(len(records), len(labels))


def _threshold(line: PredictionLine, rows: Sequence[Row]) -> float | None:
    """Return where decisions turn; early versions stored it with the results alone."""
    if "threshold" in line:
        return None if line["threshold"] is None else float(line["threshold"])
    return next((row.threshold for row in rows), None)


def _claims_probability(lines: Sequence[PredictionLine], rows: Sequence[Row]) -> bool:
    """Tell whether scores claim to be P(positive).

    Early versions did not store it, but gave a Brier score to probabilities alone;
    without results any score from 0 to 1 may be one.
    """
    if lines and "probability" in lines[0]:
        return bool(lines[0]["probability"])
    if rows:
        return any(row.metric == "brier" and row.value is not None for row in rows)
    return all(line["score"] is None or 0 <= line["score"] <= 1 for line in lines)


def _groups(lines: Sequence[PredictionLine]) -> tuple[str, ...]:
    """Return the stored groups, or none if any line was written without one."""
    groups = [line.get("group") for line in lines]
    return tuple(group for group in groups if group) if all(groups) else ()


def _floats(values: list[Any]) -> Array:
    """Return a column (n,) float, NaN for null."""
    return np.array(values, dtype=object).astype(float)


def _codes(categories: Iterable[str] | None) -> frozenset[str] | None:
    return None if categories is None else frozenset(categories)


def combination_key(line: PredictionLine) -> CombinationKey:
    """Return what a prediction is of: classifier, strategy, and the dataset's names."""
    return (
        line["classifier"],
        line["strategy"],
        line["dataset"],
        line["config"],
        line["split"],
    )


def _dataset_name(key: CombinationKey) -> str:
    return ":".join(filter(None, key[2:]))


def _is_selected(
    key: CombinationKey,
    classifiers: Sequence[str],
    strategies: Sequence[str],
    datasets: Sequence[str],
) -> bool:
    dataset_names = {key[2].casefold(), _dataset_name(key).casefold()}
    return (
        (not classifiers or key[0].casefold() in _casefold_all(classifiers))
        and (not strategies or key[1].casefold() in _casefold_all(strategies))
        and (not datasets or bool(dataset_names & _casefold_all(datasets)))
    )


def _casefold_all(names: Iterable[str]) -> set[str]:
    return {name.casefold() for name in names}


def _refuse_unknown(
    keys: Iterable[CombinationKey],
    classifiers: Sequence[str],
    strategies: Sequence[str],
    datasets: Sequence[str],
) -> None:
    keys = list(keys)
    known = {
        "classifier": {key[0] for key in keys},
        "strategy": {key[1] for key in keys},
        "dataset": {name for key in keys for name in (key[2], _dataset_name(key))},
    }
    requested = (classifiers, strategies, datasets)
    for (kind, there), names in zip(known.items(), requested, strict=True):
        for name in names:
            if name.casefold() not in _casefold_all(there):
                raise unknown_name(f"{kind} in this run", name, there)


def _result_rows(folder: Path) -> dict[CombinationKey, list[Row]]:
    """Return the result rows of each combination, if the run got that far."""
    path = folder / RESULTS_FILE
    by_key: dict[CombinationKey, list[Row]] = {}
    for row in read_rows(path) if path.is_file() else []:
        if row.calibrator is None and row.slice is None and row.category is None:
            key = (row.classifier, row.strategy, row.dataset, row.config, row.split)
            by_key.setdefault(key, []).append(row)
    return by_key
