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
from safebench.statistics.resampling_weights import count_groups

from .fitted import build_calibrator
from .raw_columns import CALIBRATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.specs import CalibratorSpec
    from safebench.typing import Array, Floats

    from .base import Calibrator
    from .raw_columns import RawColumns

UNLABELLED = "all"
PROBE = "probe"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitSamples:
    """Samples with a score: `rows` (n,) of the predictions, scores and labels (n,).

    `part` is where they come from, `groups` (n,) are codes of what belongs together.
    Labels are bool, and empty for what is fitted without them.
    """

    part: str
    rows: Array
    scores: Floats
    y: Array
    groups: Array

    @property
    def n_groups(self) -> int:
        """How many groups there are that have nothing to do with each other."""
        return count_groups(self.groups)

    def groups_of(self, label: bool) -> int:
        """Return how many groups have a sample of one class."""
        return count_groups(self.groups[self.y == label])


def fit_samples(raw: RawColumns, part: str, category: str | None = None) -> FitSamples:
    """Return the samples of stored predictions that a calibrator is fitted on.

    `part` is ``calibration``, or ``all`` without labels. With a category, its scores
    and its truth are read instead of the sample's.
    """
    score, label = raw.scores["score"], raw.label
    if category is not None:
        score = raw.cells.column("categories", category)
        label = raw.cells.column("category_truth", category)
    among = ~np.isnan(score)
    if part == CALIBRATION:
        among &= ~np.isnan(label)
    if part != UNLABELLED:
        among &= raw.part
    rows = np.flatnonzero(among)
    return FitSamples(
        part=part,
        rows=rows,
        scores=score[rows],
        y=label[rows if part == CALIBRATION else []].astype(bool),
        groups=raw.groups.codes[rows],
    )


def fit(
    spec: CalibratorSpec,
    options: Mapping[str, Any],
    samples: FitSamples,
    held_out: Array,
    *,
    probability: bool,
) -> Calibrator:
    """Fit a calibrator to samples whose labels may be seen: `held_out` (n,) bool.

    Raises ValueError for the row of any other sample, and DataError, in one line, where
    there is too little to fit it to, or no map that is best.
    """
    if samples.part == CALIBRATION:
        seen = samples.rows[~held_out[samples.rows]]
        if len(seen):
            raise ValueError(
                f"prediction {seen[0]} is none of the calibration part: nothing is "
                "fitted to samples that metrics are computed on"
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
