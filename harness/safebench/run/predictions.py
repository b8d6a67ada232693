"""One line per sample and strategy: what was said, what was true, what failed."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from safebench.files import write_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from safebench.classifiers import Trace
    from safebench.records import Dataset

    from .grid import ChosenClassifier, ChosenStrategy
    from .judging import Judged

DIGITS = 6  # significant: what float32 evidence can carry


def rounded(value: float | None) -> float | None:
    """Round to 6 significant digits; NaN becomes None, infinity stays a big number."""
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return math.copysign(1e308, value)
    return float(f"{value:.{DIGITS}g}")


def prediction_path(
    folder: Path, classifier: str, dataset: Dataset, strategy: str
) -> Path:
    """Return where the predictions of one combination are kept."""
    name = ".".join(filter(None, (dataset.name, dataset.config, dataset.split)))
    safe = [part.replace("/", "_") for part in (classifier, name, strategy)]
    return folder / "predictions" / safe[0] / safe[1] / f"{safe[2]}.jsonl"


def prediction_lines(
    classifier: ChosenClassifier,
    strategy: ChosenStrategy,
    dataset: Dataset,
    judged: Judged,
    traces: list[Trace],
    calibration: frozenset[str],
) -> Iterator[dict[str, Any]]:
    """Yield one prediction a sample, failed ones included, in dataset order."""
    found = judged.judgements
    for i, (sample, gold) in enumerate(
        zip(dataset.samples, dataset.golds, strict=True)
    ):
        trace = traces[i]
        yield {
            "id": sample.id,
            "content": sample.content,
            "group": sample.group,
            "strategy": strategy.label,
            "classifier": classifier.label,
            "model": classifier.model,
            "dataset": dataset.name,
            "config": dataset.config,
            "split": dataset.split,
            "part": "calibration" if sample.id in calibration else "test",
            "task": dataset.task,
            "policy": classifier.policy,
            "score": _at(found.score, i),
            "lower": _at(found.lower, i),
            "upper": _at(found.upper, i),
            "uncertainty": _at(found.uncertainty, i),
            "categories": _categories(judged, i),
            "decision": _decision(judged, i),
            "label": gold.label.value,
            "gold_categories": (
                None if gold.categories is None else sorted(gold.categories)
            ),
            "tokens_in": trace.tokens_in,
            "tokens_dropped": trace.tokens_dropped,
            "error": found.errors[i],
            "raw": trace.raw,
        }


def write_predictions(path: Path, lines: Iterator[dict[str, Any]], form: str) -> None:
    """Write predictions as JSON lines or parquet, in one step."""
    if form == "jsonl":
        write_records(path, lines)
    elif form == "parquet":
        _write_parquet(path.with_suffix(".parquet"), list(lines))


def _write_parquet(path: Path, lines: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for line in lines:  # category codes differ between policies: keep them as JSON
        line["categories"] = json.dumps(line["categories"])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    pq.write_table(pa.Table.from_pylist(lines), partial)
    partial.replace(path)


def _at(column: Any, row: int) -> float | None:
    return None if column is None else rounded(float(column[row]))


def _categories(judged: Judged, row: int) -> dict[str, float | None] | None:
    found = judged.judgements
    if found.categories is None or judged.failed[row]:
        return None
    values = found.categories[row].tolist()
    return {
        code: rounded(value) for code, value in zip(found.labels, values, strict=True)
    }


def _decision(judged: Judged, row: int) -> bool | None:
    if judged.decision is None or math.isnan(judged.decision[row]):
        return None
    return bool(judged.decision[row])
