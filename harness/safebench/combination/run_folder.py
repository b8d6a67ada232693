"""A combination as a run folder: predictions of both parts, rows with all metrics.

It is made of stored predictions alone: neither a model nor a dataset is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.calibration.fit import held_out_ids
from safebench.checksums import file_checksum, sealed
from safebench.errors import DataError, RunFolderError, UnknownNameError, did_you_mean
from safebench.files import lock_folder, write_json
from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals
from safebench.provenance import command_line, package_versions, provenance_fields
from safebench.redaction import redact_secrets
from safebench.results import RESULTS_FILE, Row, merge_rows, read_rows
from safebench.results.latency import latency_rows, unknown_latency_rows
from safebench.results.outcomes import to_outcome
from safebench.results.prediction_reading import (
    CombinationKey,
    combination_key,
    read_prediction_lines,
    to_columns,
)
from safebench.results.prediction_writing import StagedPredictions, path_of
from safebench.results.rows import SCHEMA, interval_fields, joined_notes
from safebench.results.run_files import (
    FILES,
    MANIFEST_FILE,
    PREDICTIONS_FOLDER,
    parse_manifest,
)
from safebench.results.runs import RUNS_FOLDER
from safebench.results.selection import label_list, named_files

from .combine import combine
from .costs import CombinationCost, combined_cost, sample_costs
from .latency import HOW, combined_latency
from .rules import HeldOut, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from safebench.errors import SafebenchError
    from safebench.results.latency import MeasuredSample
    from safebench.results.prediction_reading import PredictionFile, PredictionLine
    from safebench.specs import MetricSpec
    from safebench.typing import Floats

    from .rules import CombinationRule, Combined

COMBINATIONS = "combinations"  # the field of a manifest that says whose folder it is
NO_CATEGORIES = "categories of the parts are not combined"


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinationResult:
    """One combination on one dataset, as it was written.

    `left_out` samples are those that not all parts have.
    """

    classifier: str
    strategy: str
    dataset: str
    task: str
    n: int
    n_failed: int
    left_out: int
    cost: CombinationCost
    fitted: dict[str, object]
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    of_parts: tuple[Row, ...]


class CombinationRequest(NamedTuple):
    """What is to be combined: parts by name, by which rule, and what it is called."""

    parts: Sequence[str]
    rule: CombinationRule
    runs: Sequence[str] = ()
    name: str | None = None
    datasets: Sequence[str] = ()


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return those that are run folders by themselves, and the names of parts."""
    runs = [
        argument
        for argument in arguments
        if any(
            (folder / PREDICTIONS_FOLDER).is_dir()
            for folder in (Path(argument), RUNS_FOLDER / argument)
        )
    ]
    return runs, [argument for argument in arguments if argument not in runs]


def combine_runs(
    request: CombinationRequest,
    metrics: Sequence[MetricSpec],
    out: str | Path | None = None,
    on_error: Callable[[SafebenchError], None] | None = None,
) -> tuple[Path, list[CombinationResult]]:
    """Write a combination of stored predictions into a run folder of its own.

    Raises UnknownNameError, RunFolderError or DataError, before anything is written.
    """
    parts = [_files_of(name, request.runs) for name in request.parts]
    classifiers = ",".join(_one(files).classifier for files in parts)
    classifier = request.name or f"{request.rule.text}({classifiers})"
    strategy = ",".join(_one(files).method for files in parts)
    folder = Path(out) if out else RUNS_FOLDER / _folder_name(classifier)
    stored = _stored_combinations(folder)
    combined = [
        _combine_files(request.rule, files, (classifier, strategy))
        for files in _by_dataset(parts, request)
    ]
    for result in combined:
        _check_same_parts(folder, stored, result)
    with lock_folder(folder, (PREDICTIONS_FOLDER,)):
        results = [
            _write(folder, result, metrics, on_error, stored) for result in combined
        ]
    return folder, results


def _files_of(name: str, runs: Sequence[str]) -> dict[str, PredictionFile]:
    """Return the files that a name stands for by dataset: of one combination."""
    files = named_files(name, runs)
    raw = [file for file in files if file.calibrator is None]
    if len({file.label for file in files}) > 1 and name.casefold() in {
        file.classifier.casefold() for file in files
    }:
        files = raw  # calibrated scores have a name of their own
    if len({file.label for file in files}) > 1:
        raise UnknownNameError(
            f"{name!r} is more than one: name CLASSIFIER/STRATEGY\n  there is: "
            + label_list(files)
        )
    return {file.dataset: file for file in files}


def _one(files: Mapping[str, PredictionFile]) -> PredictionFile:
    return next(iter(files.values()))


def _folder_name(classifier: str) -> str:
    return re.sub(r"[^\w.@+-]+", "_", classifier).strip("_.")[:100] or "combination"


def _by_dataset(
    parts: Sequence[Mapping[str, PredictionFile]], request: CombinationRequest
) -> list[list[PredictionFile]]:
    """Return the files of all parts, dataset by dataset; raises for names of others."""
    shared = [name for name in parts[0] if all(name in files for files in parts)]
    if not shared:
        listed = "; ".join(
            f"{name}: {', '.join(files)}"
            for name, files in zip(request.parts, parts, strict=True)
        )
        raise RunFolderError(f"no dataset that all parts ran on: {listed}")
    wanted = [name.casefold().replace(":", ".") for name in request.datasets]
    for name in wanted:
        if not any(_is_named(dataset, name) for dataset in shared):
            raise UnknownNameError(
                f"no dataset {name!r} that all parts ran on{did_you_mean(name, shared)}"
                f"\n  there is: {', '.join(shared)}"
            )
    return [
        [files[dataset] for files in parts]
        for dataset in shared
        if not wanted or any(_is_named(dataset, name) for name in wanted)
    ]


def _is_named(dataset: str, name: str) -> bool:
    folded = dataset.casefold()
    return folded == name or folded.startswith(f"{name}.")


class _Combination(NamedTuple):
    """A combination of files, before its rows are computed."""

    key: CombinationKey
    rule: CombinationRule
    files: Sequence[PredictionFile]
    rows: Sequence[Sequence[Row]]
    lines: list[dict[str, Any]]
    combined: Combined
    cost: CombinationCost
    latency: list[MeasuredSample] | str
    left_out: int


def _combine_files(
    rule: CombinationRule, files: Sequence[PredictionFile], names: tuple[str, str]
) -> _Combination:
    """Combine the predictions of one dataset."""
    read = [read_prediction_lines(file.path) for file in files]
    lines, left_out = align_lines(files, read)
    whole = lines[0]
    allowed = held_out_ids(whole)
    held_out = HeldOut(
        ids=[line["id"] for line in whole],
        allowed=allowed,
        rows=np.array([line["part"] == "calibration" for line in whole]),
        # labels of the test part are not even handed on
        y=_floats([line["label"] if line["id"] in allowed else None for line in whole]),
        groups=[line.get("group") or line["content"] for line in whole],
    )
    parts = [_part(file, of_file) for file, of_file in zip(files, lines, strict=True)]
    combined = combine(rule, parts, held_out)
    rows = [
        _rows_about(file, of_file) for file, of_file in zip(files, lines, strict=True)
    ]
    heads = [of_file[0] if of_file else None for of_file in rows]
    costs = [
        sample_costs(file, head, of_file)
        for file, head, of_file in zip(files, heads, lines, strict=True)
    ]
    counted = np.array(
        [line["part"] == "test" and line["label"] is not None for line in whole]
    )
    n_test = int(counted.sum())
    cost = combined_cost(
        costs,
        heads,
        combined.asked,
        counted,
        [line["content"] for line in whole],
        whole=all(head is not None and head.n == n_test for head in heads),
        cascade=rule.name == "cascade",
    )
    latency = combined_latency(files, heads, lines, combined.asked, counted)
    key = combination_key(whole[0])
    key = key._replace(classifier=names[0], strategy=names[1], calibrator=None)
    new_lines = _combined_lines(key, files, lines, parts, combined)
    return _Combination(
        key, rule, files, rows, new_lines, combined, cost, latency, left_out
    )


def align_lines(
    files: Sequence[PredictionFile], read: Sequence[Sequence[PredictionLine]]
) -> tuple[list[list[PredictionLine]], int]:
    """Return the lines of samples that all files have, and how many others there are.

    In the order of the first file. Raises DataError where files disagree on the text,
    label, task or part of a sample.
    """
    by_id = [{line["id"]: line for line in lines} for lines in read]
    ids = [line["id"] for line in read[0] if all(line["id"] in of for of in by_id)]
    if not ids:
        names = " and ".join(str(file.path) for file in files)
        raise DataError(f"{names} share no sample")
    everything = set().union(*by_id)
    first = by_id[0]
    for file, other in zip(files[1:], by_id[1:], strict=True):
        for name, what in (
            ("content", "the text"),
            ("label", "the label"),
            ("task", "the task"),
            ("part", "the part"),
        ):
            differing = [i for i in ids if first[i].get(name) != other[i].get(name)]
            if differing:
                shown = (
                    ""
                    if name == "content"
                    else (
                        f" ({first[differing[0]].get(name)} and "
                        f"{other[differing[0]].get(name)})"
                    )
                )
                hint = (
                    ": run both with the same --seed, --limit and "
                    "--calibration-fraction"
                    if name == "part"
                    else ""
                )
                raise DataError(
                    f"{files[0].path} and {file.path} disagree on {what} of "
                    f"{len(differing)} of {len(ids)} samples, such as {differing[0]}"
                    f"{shown}{hint}"
                )
    return [[of[id_] for id_ in ids] for of in by_id], len(everything) - len(ids)


def _part(file: PredictionFile, lines: Sequence[PredictionLine]) -> Part:
    """Return what a file says of samples; a sample failed with neither answer."""
    columns = {
        name: _floats([line.get(name) for line in lines])
        for name in ("score", "decision", "lower", "upper")
    }
    failed = np.array([line.get("error") is not None for line in lines])
    failed |= np.isnan(columns["score"]) & np.isnan(columns["decision"])
    for name in ("score", "decision"):  # whatever a failed sample still holds
        columns[name][failed] = np.nan
    threshold = lines[0].get("threshold")
    return Part(
        label=file.label,
        failed=failed,
        threshold=None if threshold is None else float(threshold),
        probability=bool(lines[0].get("probability")),
        scale=f"{lines[0]['model']}\n{file.label}",
        **columns,
    )


def _floats(values: Iterable[Any]) -> Floats:
    return np.array(list(values), dtype=object).astype(float)


def _rows_about(file: PredictionFile, lines: Sequence[PredictionLine]) -> list[Row]:
    """Return the rows of a file's run that are about its whole test part."""
    path = file.run / RESULTS_FILE
    if not path.is_file():
        return []
    key = combination_key(lines[0])
    return [
        row
        for row in read_rows(path)
        if row.part == "test"
        and row.slice is None
        and row.category is None
        and row.prevalence is None
        and (row.classifier, row.strategy, row.dataset, row.config, row.split)
        == key[:5]
        and row.calibrator == key.calibrator
    ]


def _combined_lines(
    key: CombinationKey,
    files: Sequence[PredictionFile],
    lines: Sequence[Sequence[PredictionLine]],
    parts: Sequence[Part],
    combined: Combined,
) -> list[dict[str, Any]]:
    """Return predictions: a sample's own fields, and what the combination says."""
    from safebench.pipeline.predictions import json_number

    model = " + ".join(dict.fromkeys(of_file[0]["model"] for of_file in lines))
    written = []
    for row, of_parts in enumerate(zip(*lines, strict=True)):
        decision = combined.decision[row]
        failed = bool(np.isnan(decision) and np.isnan(combined.score[row]))
        errors = [
            f"{file.label}: {line.get('error') or 'no judgement'}"
            for file, line, part in zip(files, of_parts, parts, strict=True)
            if part.failed[row]
        ]
        asked = combined.asked[:, row]
        fields = {
            "strategy": key.strategy,
            "classifier": key.classifier,
            "model": model,
            "policy": None,
            "score": json_number(combined.score[row]),
            "lower": json_number(combined.lower[row]),
            "upper": json_number(combined.upper[row]),
            "probability": combined.probability,
            # those of the parts are about their own scores and decisions
            **dict.fromkeys(("uncertainty", "uncertainty_lower", "uncertainty_upper")),
            **dict.fromkeys(("categories", "category_lower", "category_upper")),
            "predicted_categories": None,
            "category_truth": None,
            "decision": None if np.isnan(decision) else bool(decision),
            "threshold": combined.threshold,
            # the longest prompt: slices by length are no slices by who was asked
            "tokens_in": max(line.get("tokens_in") or 0 for line in of_parts),
            "tokens_dropped": max(
                line.get("tokens_dropped") or 0
                for line, was_asked in zip(of_parts, asked, strict=True)
                if was_asked
            ),
            "error": "; ".join(errors) if failed else None,
            "raw": None,
        }
        line = dict(of_parts[0])
        line.pop("calibrator", None)
        written.append(line | fields | {"asked": int(asked.sum())})
    return written


def _write(
    folder: Path,
    made: _Combination,
    metrics: Sequence[MetricSpec],
    on_error: Callable[[SafebenchError], None] | None,
    stored: dict[str, Any],
) -> CombinationResult:
    """Write predictions and rows of a combination, in the place of earlier ones."""
    rows = _result_rows(folder, made, metrics, on_error)
    dataset = ":".join(filter(None, made.key[2:5]))
    label = f"{made.key.classifier}/{made.key.strategy}"
    stored.setdefault(label, {})[dataset] = {
        "rule": made.rule.text,
        "parts": [_origin(file) for file in made.files],
        "left_out": made.left_out,
        "fitted": made.combined.fitted,
    }
    _write_manifest(folder, stored)
    staged = StagedPredictions()
    staged.add(path_of(folder, made.key), made.lines, "jsonl")

    def is_earlier(row: Row) -> bool:
        names = (row.classifier, row.strategy, row.dataset, row.config, row.split)
        return names == made.key[:5]

    with staged.replacing():
        merge_rows(folder / RESULTS_FILE, rows, drop=is_earlier)
    counted = [
        line
        for line in made.lines
        if line["part"] == "test" and line["label"] is not None
    ]
    return CombinationResult(
        classifier=made.key.classifier,
        strategy=made.key.strategy,
        dataset=dataset,
        task=made.lines[0]["task"],
        n=len(counted),
        n_failed=sum(line["error"] is not None for line in counted),
        left_out=made.left_out,
        cost=made.cost,
        fitted=made.combined.fitted,
        notes=_notes(made),
        rows=tuple(rows),
        of_parts=tuple(row for of_part in made.rows for row in of_part),
    )


def _origin(file: PredictionFile) -> dict[str, str]:
    return {
        "run": file.run.as_posix(),
        "label": file.label,
        "predictions": file_checksum(file.path),
    }


def _notes(made: _Combination) -> tuple[str, ...]:
    """Return what a reader of any number has to know."""
    notes = list(made.combined.notes)
    if made.left_out:
        notes.append(f"{made.left_out} samples that not all parts have are left out")
    if made.cost.escalated is not None:
        notes.append(f"{100 * made.cost.escalated:.1f} % escalated")
    if made.cost.unknown and made.cost.seconds is None:
        notes.append(f"cost not known: {made.cost.unknown}")
    return tuple(notes)


def _result_rows(
    folder: Path,
    made: _Combination,
    metrics: Sequence[MetricSpec],
    on_error: Callable[[SafebenchError], None] | None,
) -> list[Row]:
    """Return one row a metric, about the test part, as a run writes them."""
    stored = to_columns(made.lines, (), "test")
    outcome = to_outcome(stored)
    if not (np.isnan(stored.lower).all() or np.isnan(stored.upper).all()):
        outcome = replace(outcome, lower=stored.lower, upper=stored.upper)
    if any(line.get("gold_categories") is not None for line in made.lines):
        outcome = replace(outcome, category_note=NO_CATEGORIES)
    n_failed = int(outcome.failed.sum())
    shared: dict[str, Any] = {
        "run": folder.name,
        **_combination_fields(made),
        "n": outcome.n,
        "n_pos": int(outcome.y.sum()),
        "n_neg": int((~outcome.y).sum()),
        "n_failed": n_failed,
        **provenance_fields(),
    }
    values = compute(outcome, metrics, on_error)
    known = [spec for spec, value in values if value.value is not None]
    intervals = sampling_intervals(outcome, known, on_error)
    rows = []
    for spec, value in values:
        interval = intervals.get(spec.name)
        note = interval.note if interval and value.value is not None else ""
        rows.append(
            Row(
                **shared,
                **interval_fields(value.value, interval),
                metric=spec.name,
                value=value.value,
                bound_low=value.bound_low,
                bound_high=value.bound_high,
                higher_is_better=spec.higher_is_better,
                n_scored=(
                    outcome.n - n_failed if value.n_scored is None else value.n_scored
                ),
                note="; ".join(
                    dict.fromkeys(filter(None, (value.note, note, *_notes(made))))
                ),
            )
        )
    if isinstance(made.latency, str):
        note = joined_notes(made.latency, *_notes(made))
        return [*rows, *unknown_latency_rows(shared, note)]
    note = joined_notes(HOW, *_notes(made))
    return [*rows, *latency_rows(shared, made.latency, note)]


def _combination_fields(made: _Combination) -> dict[str, Any]:
    """Return what was measured on what; of parts that differ nothing is known."""
    key, cost = made.key, made.cost
    counted = [
        line
        for line in made.lines
        if line["part"] == "test" and line["label"] is not None
    ]
    heads = [rows[0] for rows in made.rows if rows]
    complete = len(heads) == len(made.rows)

    def shared(name: str) -> Any:
        values = {getattr(row, name) for row in heads}
        return values.pop() if complete and len(values) == 1 else None

    contaminated = [row.contaminated for row in heads]
    devices = dict.fromkeys(row.device for row in heads)
    return {
        "classifier": key.classifier,
        "model": made.lines[0]["model"],
        "strategy": key.strategy,
        "params": {
            "rule": made.rule.text,
            "parts": [f"{file.run.name}/{file.label}" for file in made.files],
        },
        "dataset": key.dataset,
        "config": key.config,
        "split": key.split,
        "part": "test",
        "task": made.lines[0]["task"],
        "threshold": made.combined.threshold,
        "threshold_from": _threshold_from(made.rule, heads),
        "n_truncated": sum(line["tokens_dropped"] > 0 for line in counted),
        "n_conflicting": _count_conflicting(counted),
        "seconds": None if cost.seconds is None else round(cost.seconds, 4),
        "samples_per_second": (
            round(cost.n / cost.seconds, 2) if cost.seconds else None
        ),
        "forward_passes": (
            None if cost.forward_passes is None else round(cost.forward_passes, 2)
        ),
        "tokens": None if cost.tokens is None else int(cost.tokens),
        "latency_mode": shared("latency_mode"),
        "device": " + ".join(filter(None, devices)) or None,
        "dtype": shared("dtype"),
        "evidence_key": "+".join(
            dict.fromkeys(row.evidence_key or "unknown" for row in heads)
        )
        or None,
        "data_hash": shared("data_hash") if not made.left_out else None,
        "split_hash": shared("split_hash") if not made.left_out else None,
        "contaminated": (
            True
            if True in contaminated
            else None
            if None in contaminated or not complete
            else False
        ),
        "licence": shared("licence"),
        "mix": shared("mix"),
        "pack": shared("pack"),
        "pack_missing": shared("pack_missing"),
    }


def _threshold_from(rule: CombinationRule, heads: Sequence[Row]) -> str:
    """Return where decisions come from: if any part saw the test labels, from them."""
    seen = next((row.threshold_from for row in heads if row.saw_test_labels), None)
    if seen is not None:
        return seen
    sources = [row.threshold_from for row in heads]
    return "calibration" if rule.fitted or "calibration" in sources else "fixed"


def _count_conflicting(lines: Sequence[PredictionLine]) -> int:
    """Count the samples of which another one has the same text and another label."""
    labels: dict[str, set[bool]] = {}
    for line in lines:
        labels.setdefault(line["content"], set()).add(line["label"])
    return sum(len(labels[line["content"]]) > 1 for line in lines)


def _stored_combinations(folder: Path) -> dict[str, Any]:
    """Return what a folder of combinations holds; raises RunFolderError for others."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return {}
    try:
        content = parse_manifest(folder / MANIFEST_FILE)
    except (OSError, ValueError):
        content = {}
    combinations = content.get(COMBINATIONS)
    if not isinstance(combinations, dict):
        raise RunFolderError(
            f"{folder} holds no combinations, and what is in it would outlive its own "
            "run: name another folder with --out"
        )
    return combinations


def _check_same_parts(
    folder: Path, stored: Mapping[str, Any], made: _Combination
) -> None:
    """Refuse a combination that would take the place of one of other parts."""
    label = f"{made.key.classifier}/{made.key.strategy}"
    dataset = ":".join(filter(None, made.key[2:5]))
    earlier = stored.get(label, {}).get(dataset)
    if earlier is None:
        return
    before = [(part["run"], part["label"]) for part in earlier["parts"]]
    now = [(file.run.as_posix(), file.label) for file in made.files]
    if (before, earlier["rule"]) != (now, made.rule.text):
        listed = ", ".join(f"{run}/{name}" for run, name in before)
        raise RunFolderError(
            f"{folder} holds another {label} on {dataset}, {earlier['rule']} of "
            f"{listed}: give this one a name with --name, or a folder with --out"
        )


def _write_manifest(folder: Path, combinations: Mapping[str, Any]) -> None:
    path = folder / MANIFEST_FILE
    try:
        content = parse_manifest(path)
    except (OSError, ValueError):
        content = {}
    datasets = sorted({name for sets in combinations.values() for name in sets})
    write_json(
        path,
        sealed(
            {
                "schema": SCHEMA,
                # so that `safebench run` does not take the folder for one of its own
                "identity": {
                    "classifiers": dict.fromkeys(combinations, "combination"),
                    "datasets": datasets,
                },
                "status": "done",
                "versions": package_versions(),
                "commands": [
                    *content.get("commands", []),
                    redact_secrets(command_line()),
                ],
                "notes": [],
                "models": {},
                COMBINATIONS: combinations,
                FILES: content.get(FILES, {}),
            }
        ),
    )
