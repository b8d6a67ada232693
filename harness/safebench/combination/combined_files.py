"""The predictions of one dataset, combined: lines, cost and latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.calibration.fit import held_out_ids
from safebench.results.prediction_reading import (
    CombinationKey,
    combination_key,
    read_prediction_lines,
)

from .combine import combine
from .costs import CombinationCost, combined_cost, sample_costs
from .latency import combined_latency
from .parts import align_lines, part_of, rows_about, to_floats
from .rules import HeldOut, Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.results import Row
    from safebench.results.latency import MeasuredSample
    from safebench.results.prediction_reading import PredictionFile, PredictionLine

    from .rules import CombinationRule, Combined


class CombinedFiles(NamedTuple):
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


def combine_files(
    rule: CombinationRule, files: Sequence[PredictionFile], names: tuple[str, str]
) -> CombinedFiles:
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
        y=to_floats(
            [line["label"] if line["id"] in allowed else None for line in whole]
        ),
        groups=[line.get("group") or line["content"] for line in whole],
    )
    parts = [part_of(file, of_file) for file, of_file in zip(files, lines, strict=True)]
    combined = combine(rule, parts, held_out)
    rows = [
        rows_about(file, of_file) for file, of_file in zip(files, lines, strict=True)
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
    return CombinedFiles(
        key, rule, files, rows, new_lines, combined, cost, latency, left_out
    )


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
