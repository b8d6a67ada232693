"""A run folder as data frames: `load_run`, and the `LoadedRun` that it returns.

Files are read when they are asked for, one by one, and checked as the commands check
them: what is not as the run wrote it is refused.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    TypeVar,
    get_type_hints,
    overload,
)

from safebench.errors import RunFolderError, unknown_name
from safebench.files import FileState, file_state
from safebench.results import RESULTS_FILE, Row, read_rows
from safebench.results.prediction_reading import (
    iter_prediction_lines,
    prediction_files,
    read_prediction_lines,
)
from safebench.results.run_files import (
    MANIFEST_FILE,
    PREDICTIONS_FOLDER,
    check_unchanged,
    parse_manifest,
)
from safebench.results.runs import results_files, run_names
from safebench.results.selection import files_of_run
from safebench.results.stored_columns import CALIBRATOR, COLUMNS

from .calls import errors_for_callers, installed_plugins
from .frames import (
    FrameColumns,
    Frames,
    Kind,
    check_library,
    collect_columns,
    join_columns,
    make_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd
    import polars as pl

    from safebench.results.prediction_reading import PredictionFile, PredictionLine

    from .recorded_evidence import SampleId

FrameT = TypeVar("FrameT")
Part = Literal["all", "test", "calibration"]
PARTS: tuple[Part, ...] = ("all", "test", "calibration")
# what a run writes about a prediction, in its order
PREDICTION_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("id", "content", "group", "strategy"), "string"),
    CALIBRATOR: "string",
    **dict.fromkeys(("classifier", "model", "dataset", "config", "split"), "string"),
    **dict.fromkeys(("part", "task", "policy"), "string"),
    **dict.fromkeys(("score", "lower", "upper"), "double"),
    "probability": "bool",
    "uncertainty": "double",
    "uncertainty_lower": "double",
    "uncertainty_upper": "double",
    "categories": "mapping",
    "category_lower": "mapping",
    "category_upper": "mapping",
    "predicted_categories": "list",
    "decision": "bool",
    "threshold": "double",
    "label": "bool",
    "gold_categories": "list",
    "category_truth": "mapping",
    "pair": "string",
    "pair_side": "string",
    "severity": "double",
    "tokens_in": "int",
    "tokens_dropped": "int",
    "error": "string",
    "raw": "string",
}
_ROW_KINDS: dict[Any, Kind] = {
    str: "string",
    int: "int",
    bool: "bool",
    float: "double",
    dict[str, Any]: "mapping",
}
ROW_KINDS: dict[str, Kind] = {
    name: next(
        kind for type_, kind in _ROW_KINDS.items() if hint in (type_, type_ | None)
    )
    for name, hint in get_type_hints(Row).items()
}


class LoadedRun(Generic[FrameT]):
    """A run folder, whose results, predictions and evidence are data frames.

    Every access returns a frame of its own, of what the folder holds then; a file is
    read again only if it has changed. Threads may share it. Each access raises
    `DataError` for a file that is not as the run wrote it (`safebench.errors`).
    """

    def __init__(
        self,
        folder: Path,
        frames: Frames,
        make: Callable[[FrameColumns, Frames], FrameT],
    ) -> None:
        self.folder = folder
        self._frames = frames
        self._make = make
        self._lock = threading.Lock()
        self._files: dict[Path, tuple[FileState, FrameColumns]] = {}

    def __repr__(self) -> str:
        return f"<safebench run in {str(self.folder)!r}, frames in {self._frames}>"

    @property
    def rows(self) -> FrameT:
        """The results, one row a metric: all columns of ``results.jsonl``.

        `ci_method` and `note` say why a value or an interval is ``<NA>``.
        Rows with a `slice` are about a part of a set, or a gap between parts: leave
        them out before you rank.
        """
        with errors_for_callers():
            (name,) = run_names([self.folder])
            rows = [replace(row, run=name) for row in read_rows(self._results)]
        names = list(ROW_KINDS)
        records = ({name: getattr(row, name) for name in names} for row in rows)
        return self._make(collect_columns(records, ROW_KINDS), self._frames)

    @property
    def notes(self) -> list[str]:
        """What to know of these numbers, as ``safebench run`` prints it below them.

        Parts that failed are among them. Empty for folders of early versions.
        """
        with errors_for_callers():
            try:
                stored = parse_manifest(self.folder / MANIFEST_FILE).get("notes", [])
            except FileNotFoundError:
                return []
            except ValueError as error:
                path = self.folder / MANIFEST_FILE
                raise RunFolderError(f"{path} is damaged ({error})") from None
        return [str(note) for note in stored] if isinstance(stored, list) else []

    @property
    def combinations(self) -> list[str]:
        """What `predictions_of` can be asked for: ``classifier/strategy``, in order."""
        with errors_for_callers():
            files = prediction_files(self.folder)
        return list(dict.fromkeys(file.label for file in files))

    @property
    def predictions(self) -> FrameT:
        """All predictions of the run, those held out for calibration too (`part`).

        One row for each sample, classifier, strategy and dataset; for a calibrated
        score, `calibrator` says by what. Raises `RunFolderError` if none are stored.
        """
        return self.predictions_of()

    def predictions_of(
        self,
        of: str = "",
        *,
        dataset: str | Sequence[str] = (),
        part: Part = "all",
    ) -> FrameT:
        """Return some of the predictions, reading no more files than these are in.

        `of` is ``classifier/strategy[+calibrator]``, or one of both; a dataset is named
        as tables do (``name:config:split``) or by its name alone. Raises
        `UnknownNameError`, with the nearest name.
        """
        if part not in PARTS:
            raise unknown_name("part", str(part), PARTS)
        with errors_for_callers():
            columns = [self._read(file.path) for file in self._select(of, dataset)]
        joined = join_columns(columns, PREDICTION_KINDS)
        if part != "all":
            kept = [value == part for value in joined.cells["part"]]
            joined = FrameColumns(
                joined.kinds,
                {
                    name: [v for v, keep in zip(values, kept, strict=True) if keep]
                    for name, values in joined.cells.items()
                },
            )
        return self._make(joined, self._frames)

    def evidence(
        self,
        classifier: str = "",
        *,
        kind: str = "",
        dataset: str | Sequence[str] = (),
    ) -> FrameT:
        """Return what a classifier recorded, one row for each sample and kind.

        `kind` is a class of `safebench.evidence`, such as ``VerdictTree``; each of its
        arrays is a column, whose cells are a number, or the sample's rows of it as an
        array. `meta` is what is the same for all samples. Samples that share evidence
        have a row each; `id_note` says why a row has no `id`, or what to know of it.
        Evidence that samples share is matched by reading the datasets again.
        Without a classifier the only one is meant. Raises `UnknownNameError` with the
        nearest name, and `DataError` for a shard that is damaged.
        """
        from .recorded_evidence import (
            EVIDENCE_KINDS,
            evidence_keys,
            evidence_records,
            samples_by_key,
            stored_kinds,
        )

        plugins = installed_plugins()
        parts = []
        with errors_for_callers():
            label, keys = evidence_keys(read_rows(self._results), classifier)
            samples = self._samples(label, dataset)
            for key, datasets in keys.items():
                of_key = [s for s in samples if (s.dataset, s.split) in datasets]
                kinds = stored_kinds(self.folder, key, plugins, kind)
                for stored in kinds:
                    sample_keys = stored.store.keys()
                    matched = samples_by_key(sample_keys, of_key, self.folder, plugins)
                    records = evidence_records(stored, matched, label)
                    if dataset:
                        records = (record for record in records if "id" in record)
                    parts.append(collect_columns(records, EVIDENCE_KINDS))
        return self._make(join_columns(parts, EVIDENCE_KINDS), self._frames)

    def _samples(self, label: str, dataset: str | Sequence[str]) -> list[SampleId]:
        """Return the samples of a classifier's predictions, each once."""
        from .recorded_evidence import SampleId

        by_dataset = {
            file.dataset: file.path
            for file in self._select("", dataset)
            if file.classifier == label
        }
        samples: dict[SampleId, None] = {}
        for path in by_dataset.values():
            cells = self._read(path).cells
            names = ("dataset", "split", "task", "id", "content")
            columns = (cells[name] for name in names)
            samples |= dict.fromkeys(map(SampleId, *columns))
        return list(samples)

    @property
    def _results(self) -> Path:
        return self.folder / RESULTS_FILE

    def _select(self, of: str, dataset: str | Sequence[str]) -> list[PredictionFile]:
        datasets = [dataset] if isinstance(dataset, str) else list(dataset)
        if not (self.folder / PREDICTIONS_FOLDER).is_dir():
            prediction_files(self.folder)  # raises, and says how to have some
        return files_of_run(self.folder, of, datasets)

    def _read(self, path: Path) -> FrameColumns:
        """Return a file of predictions, from memory if it is as it was."""
        state = file_state(path)
        with self._lock:
            known = self._files.get(path)
            if known is None or known[0] != state:
                lines = map(_flat_line, _lines(path))
                known = state, collect_columns(lines, PREDICTION_KINDS)
                self._files[path] = known
            return known[1]


def _lines(path: Path) -> Iterator[PredictionLine]:
    """Yield the predictions of a file that is as the run wrote it."""
    if path.suffix == ".parquet":
        yield from read_prediction_lines(path)
        return
    # one line at a time: 10^5 predictions as dictionaries take a gigabyte
    check_unchanged(path)
    yield from iter_prediction_lines(path)


def _flat_line(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a prediction with a column for each that came along with its sample."""
    flat = dict(line)
    of_sample = flat.pop(COLUMNS, None)
    if isinstance(of_sample, dict):
        flat |= {f"{COLUMNS}.{name}": value for name, value in of_sample.items()}
    return flat


@overload
def load_run(path: str | os.PathLike[str]) -> LoadedRun[pd.DataFrame]: ...
@overload
def load_run(
    path: str | os.PathLike[str], *, frames: Literal["pandas"]
) -> LoadedRun[pd.DataFrame]: ...
@overload
def load_run(
    path: str | os.PathLike[str], *, frames: Literal["polars"]
) -> LoadedRun[pl.DataFrame]: ...


def load_run(
    path: str | os.PathLike[str], *, frames: Frames = "pandas"
) -> LoadedRun[Any]:
    """Return a run folder, or a run below ``runs/`` by its name, as data frames.

    `frames` says of which library they are. Nothing of the run is read yet. Raises
    `UnknownNameError` with the nearest run, `RunFolderError` for a folder that holds no
    finished run or several, and `OptionError` if polars is not installed.
    """
    check_library(frames)
    with errors_for_callers():
        files = results_files([Path(path).expanduser()])
    if len(files) > 1:
        folders = ", ".join(str(file.parent) for file in files[:5])
        raise RunFolderError(
            f"{os.fspath(path)!r} holds {len(files)} runs: name one of them, such as "
            f"{folders}"
        )
    (file,) = files
    if file.name != RESULTS_FILE:
        raise RunFolderError(
            f"{os.fspath(path)!r} is no run folder; `safebench leaderboard` reads "
            "other files of results"
        )
    return LoadedRun(file.parent.absolute(), frames, make_frame)
