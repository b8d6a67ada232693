"""Result rows of a combination: what a run writes, with what its parts share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals
from safebench.provenance import provenance_fields
from safebench.results import Row
from safebench.results.latency import latency_rows, unknown_latency_rows
from safebench.results.outcomes import to_outcome
from safebench.results.packed_columns import GroupNames
from safebench.results.rows import interval_fields, joined_notes

from .latency import HOW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from safebench.errors import SafebenchError
    from safebench.specs import MetricSpec

    from .combined_files import CombinedFiles
    from .part_columns import PartColumns
    from .rules import CombinationRule


NO_CATEGORIES = "categories of the parts are not combined"


def combination_notes(made: CombinedFiles) -> tuple[str, ...]:
    """Return what a reader of any number has to know."""
    notes = list(made.combined.notes)
    if made.left_out:
        notes.append(f"{made.left_out} samples that not all parts have are left out")
    if made.cost.escalated is not None:
        notes.append(f"{100 * made.cost.escalated:.1f} % escalated")
    if made.cost.unknown and made.cost.seconds is None:
        notes.append(f"cost not known: {made.cost.unknown}")
    return tuple(notes)


def combined_rows(
    folder: Path,
    made: CombinedFiles,
    metrics: Sequence[MetricSpec],
    on_error: Callable[[SafebenchError], None] | None,
) -> list[Row]:
    """Return one row a metric, about the test part, as a run writes them."""
    stored = made.lines.stored()
    outcome = to_outcome(stored)
    if not (np.isnan(stored.lower).all() or np.isnan(stored.upper).all()):
        outcome = replace(outcome, lower=stored.lower, upper=stored.upper)
    if made.first.annotated.any():
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
                    dict.fromkeys(
                        filter(None, (value.note, note, *combination_notes(made)))
                    )
                ),
            )
        )
    if isinstance(made.latency, str):
        note = joined_notes(made.latency, *combination_notes(made))
        return [*rows, *unknown_latency_rows(shared, note)]
    note = joined_notes(HOW, *combination_notes(made))
    return [*rows, *latency_rows(shared, made.latency, note)]


def _combination_fields(made: CombinedFiles) -> dict[str, Any]:
    """Return what was measured on what; of parts that differ nothing is known."""
    key, cost = made.key, made.cost
    heads = [rows[0] for rows in made.rows if rows]
    complete = len(heads) == len(made.rows)

    def shared(name: str) -> Any:
        values = {getattr(row, name) for row in heads}
        return values.pop() if complete and len(values) == 1 else None

    contaminated = [row.contaminated for row in heads]
    devices = dict.fromkeys(row.device for row in heads)
    return {
        "classifier": key.classifier,
        "model": made.lines.model,
        "strategy": key.strategy,
        "params": {
            "rule": made.rule.text,
            "parts": [f"{file.run.name}/{file.label}" for file in made.files],
        },
        "dataset": key.dataset,
        "config": key.config,
        "split": key.split,
        "part": "test",
        "task": made.first.first["task"],
        "threshold": made.combined.threshold,
        "threshold_from": _threshold_from(made.rule, heads),
        "n_truncated": int((made.lines.tokens_dropped[made.counted] > 0).sum()),
        "n_conflicting": _count_conflicting(made.first),
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


def _count_conflicting(first: PartColumns) -> int:
    """Count the samples of which another one has the same text and another label."""
    codes = GroupNames(first.stored.content).codes
    seen = np.zeros((int(codes.max(initial=-1)) + 1, 2), dtype=bool)
    seen[codes, first.stored.y.astype(int)] = True
    return int((seen.sum(axis=1) > 1)[codes].sum())
