"""Fitting: what a calibrator may see, and when there is too little of it.

Only the calibration part is seen. Samples that belong together are in one part, and
count once: ten copies of a conversation say no more than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError
from safebench.isolation import isolated

from .fitted import build_calibrator

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from safebench.specs import CalibratorSpec
    from safebench.typing import Array, Floats

    from .base import Calibrator

    PredictionLine = Mapping[str, Any]

CALIBRATION = "calibration"
UNLABELLED = "all"
PROBE = "probe"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitSamples:
    """Samples with a score: ids, scores (n,), labels (n,) bool, and their groups.

    `part` is where they come from. Labels are empty for what is fitted without them.
    """

    part: str
    ids: Sequence[str]
    scores: Floats
    y: Array
    groups: Sequence[str]

    @property
    def n_groups(self) -> int:
        """How many groups there are that have nothing to do with each other."""
        return len(set(self.groups))

    def groups_of(self, label: bool) -> int:
        """Return how many groups have a sample of one class."""
        pairs = zip(self.groups, self.y, strict=True)
        return len({group for group, positive in pairs if positive == label})


def fit_samples(
    lines: Sequence[PredictionLine], part: str, category: str | None = None
) -> FitSamples:
    """Return the samples of stored predictions that a calibrator is fitted on.

    `part` is ``calibration``, or ``all`` without labels. With a category, its scores
    and its truth are read instead of the sample's.
    """
    ids, scores, labels, groups = [], [], [], []
    for line in lines:
        score, label = line["score"], line["label"]
        if category is not None:
            score = (line.get("categories") or {}).get(category)
            label = (line.get("category_truth") or {}).get(category)
        if score is None or (part == CALIBRATION and label is None):
            continue
        if part not in (UNLABELLED, line["part"]):
            continue
        ids.append(line["id"])
        scores.append(score)
        labels.append(bool(label))
        groups.append(line.get("group") or line["content"])
    y = np.array(labels if part == CALIBRATION else [], dtype=bool)
    return FitSamples(
        part=part, ids=ids, scores=np.array(scores, dtype=float), y=y, groups=groups
    )


def held_out_ids(lines: Sequence[PredictionLine]) -> frozenset[str]:
    """Return the ids of the calibration part.

    Raises DataError for a group that is in both parts: it would tell the test part.
    """
    parts: dict[str, set[str]] = {}
    for line in lines:
        parts.setdefault(line.get("group") or line["content"], set()).add(line["part"])
    torn = next((group for group, names in parts.items() if len(names) > 1), None)
    if torn is not None:
        raise DataError(
            f"group {torn!r} is in the calibration part and in the test part: repeat "
            "the run"
        )
    return frozenset(line["id"] for line in lines if line["part"] == CALIBRATION)


def fit(
    spec: CalibratorSpec,
    options: Mapping[str, Any],
    samples: FitSamples,
    held_out: Collection[str],
    *,
    probability: bool,
) -> Calibrator:
    """Fit a calibrator to samples whose labels may be seen: those of `held_out`.

    Raises ValueError for the id of any other sample, and DataError, in one line, where
    there is too little to fit it to, or no map that is best.
    """
    if samples.part == CALIBRATION:
        seen = set(samples.ids) - set(held_out)
        if seen:
            raise ValueError(
                f"{min(seen)} is no sample of the calibration part: nothing is fitted "
                "to samples that metrics are computed on"
            )
    _check(spec, samples, probability=probability)
    calibrator = build_calibrator(spec, dict(options), probability=probability)
    with isolated(spec):
        calibrator.fit(samples.scores, samples.y)
    return calibrator


def _check(spec: CalibratorSpec, samples: FitSamples, *, probability: bool) -> None:
    if spec.needs_probability and not probability:
        raise DataError(
            f"{spec.name} takes probabilities, and these scores only rank; platt, "
            "isotonic and histogram take any score"
        )
    if not len(samples.scores):
        if samples.part == CALIBRATION:
            raise DataError(
                "no sample with a score and a label is held out: run with "
                "--calibration-fraction above 0, or with a larger --limit"
            )
        raise DataError("no sample has a score")
    if samples.part != CALIBRATION:
        return
    n_pos, n_neg = samples.groups_of(True), samples.groups_of(False)
    if min(n_pos, n_neg) < spec.min_groups:
        raise DataError(
            f"{spec.name} takes {spec.min_groups} unsafe and {spec.min_groups} safe "
            f"samples that are not related: the calibration part has {n_pos} unsafe "
            f"and {n_neg} safe; a larger --limit or --calibration-fraction gives more"
        )
    if samples.scores.min() == samples.scores.max():
        raise DataError(
            f"all {len(samples.scores)} scores of the calibration part are "
            f"{samples.scores[0]:.6g}: they tell nothing apart"
        )
