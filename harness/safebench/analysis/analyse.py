"""Put the analyses of a run together: one record that every view draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .agreement import Agreement, among_decisions
from .calibration import Calibration, calibration
from .contest import Contest, contests
from .detection import Detection, detection
from .doubt import Doubt, doubt_of
from .hardest import Hard, least_sure, surest_mistakes
from .members import Members, members_of
from .predictions import pooled
from .reading import read_predictions
from .selective import Selective, selective
from .slices import SliceTable, empty_columns, slices
from .sources import attached, read_sources

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.specs import MetricSpec

    from .predictions import Predictions
    from .wanted import Wanted

    Array = np.ndarray[Any, np.dtype[Any]]

FEW = 3  # combinations that a screen shows in full


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """One classifier x strategy x dataset: None where a part does not apply.

    `accuracy` is that of the judged samples. `notes` say why something is missing.
    """

    predictions: Predictions
    accuracy: float | None
    doubt: Doubt | None = None
    detection: Detection | None = None
    selective: Selective | None = None
    calibration: Calibration | None = None
    slices: tuple[SliceTable, ...] = ()
    hardest: tuple[Hard, ...] = ()
    mistakes: tuple[Hard, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """All that is said of a run; `detailed` if slices and samples are in it.

    `few` combinations are shown in full on a screen, more are not.
    """

    run: str
    part: str
    combinations: tuple[Combination, ...]
    members: tuple[Members, ...]
    agreements: tuple[Agreement, ...]
    contests: tuple[Contest, ...]
    detailed: bool
    few: bool
    metrics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def analyse(
    folder: Path, wanted: Wanted, plugins: Plugins, metrics: Sequence[MetricSpec]
) -> Analysis:
    """Analyse the stored predictions of a run; no model is loaded.

    Raises SafebenchError if the folder holds no predictions, or none of that name.
    """
    found = read_predictions(
        folder,
        classifiers=wanted.classifiers,
        strategies=wanted.strategies,
        datasets=wanted.datasets,
        part=wanted.part,
    )
    few = len(found) <= FEW
    detailed = wanted.always_detailed or few
    found, notes = attached(found, read_sources(folder, plugins, wanted.data_root))
    everything = [*found, *_pooled(found)]
    agreements, alike = among_decisions(found)
    combinations = tuple(
        _combination(each, wanted, metrics, detailed=detailed) for each in everything
    )
    return Analysis(
        run=folder.name,
        part=wanted.part,
        combinations=combinations,
        contests=tuple(contests(combinations)),
        members=tuple(members_of(folder, found, plugins, wanted)),
        agreements=tuple(agreements),
        detailed=detailed,
        few=few,
        metrics=tuple(spec.name for spec in metrics),
        notes=(*notes, *alike, *_empty(found)),
    )


def _empty(found: Sequence[Predictions]) -> list[str]:
    """Return which columns of which datasets cannot make slices, once each."""
    notes = {
        f"{each.dataset}: no slices by {', '.join(names)}, empty in every row"
        for each in found
        if (names := empty_columns(each))
    }
    return sorted(notes)


def _pooled(found: Sequence[Predictions]) -> list[Predictions]:
    """Return the union of the datasets that one rule decided on."""
    rules: dict[tuple[Any, ...], list[Predictions]] = {}
    for each in found:
        rule = (each.classifier, each.strategy, each.task, each.threshold)
        rules.setdefault(rule, []).append(each)
    return [pooled(several) for several in rules.values() if len(several) > 1]


def _combination(
    predictions: Predictions,
    wanted: Wanted,
    metrics: Sequence[MetricSpec],
    *,
    detailed: bool,
) -> Combination:
    parts: dict[str, Any] = {"notes": tuple(_notes(predictions))}
    judged = predictions.judged
    doubt = doubt_of(predictions)
    if doubt is not None:
        rows = doubt.rows
        wrong = predictions.wrong[rows]
        flagged = predictions.decision[rows].astype(bool)
        groups = predictions.groups
        parts |= {
            "doubt": doubt,
            "detection": detection(wrong, doubt.values, [groups[row] for row in rows]),
            "selective": selective(predictions.y[rows], flagged, doubt.values),
        }
        if detailed:
            args = (predictions, doubt, wanted.top)
            parts["hardest"] = least_sure(*args, text=wanted.text)
            parts["mistakes"] = surest_mistakes(*args, text=wanted.text)
    scored = ~np.isnan(predictions.score)
    if predictions.probability and scored.any():
        parts["calibration"] = calibration(
            predictions.y[scored], predictions.score[scored]
        )
    if detailed and judged.any():
        parts["slices"] = slices(predictions, metrics, wanted.columns)
    right = judged & ~predictions.wrong
    accuracy = float(right.sum() / judged.sum()) if judged.any() else None
    return Combination(predictions=predictions, accuracy=accuracy, **parts)


def _notes(predictions: Predictions) -> list[str]:
    notes = []
    failed = sum(error is not None for error in predictions.errors)
    if failed:
        notes.append(f"{failed} of {predictions.n} samples failed and are left out")
    if not predictions.judged.any():
        notes.append("the strategy decides nothing, so nothing can be right or wrong")
    doubt = doubt_of(predictions)
    if doubt is None:
        notes.append("no uncertainty: the strategy gives none, and no score either")
    elif not doubt.own:
        notes.append(f"uncertainty is the {doubt.source}")
    if not predictions.probability:
        notes.append("no calibration: the score is no probability")
    return notes
