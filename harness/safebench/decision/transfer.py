"""Thresholds on the sets of a run: each on its own test part, elsewhere, and for all.

Whatever is chosen is chosen on calibration parts, and whatever is reported is measured
on test parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safebench.errors import DataError, OptionError, SafebenchError
from safebench.results.prediction_reading import read_prediction_file

from .measured import ReviewBand, measure, scored_samples
from .remarks import (
    remarks_on_calibrator,
    remarks_on_choice,
    remarks_on_measured,
    remarks_on_transfer,
)
from .risk_control import DELTA, control
from .thresholds import (
    COST,
    GIVEN,
    MIN_RECALL,
    REVIEW_BUDGET,
    CutPoints,
    ScoredSamples,
    cheapest,
    check_size,
    choose,
    mean_cost,
    review_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.results.prediction_reading import PredictionFile
    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array

    from .measured import MeasuredDecisions
    from .thresholds import Rule, ThresholdChoice

MIN_OF_CATEGORY = 20  # samples of each class, in the calibration part
CALIBRATION, TEST = "calibration", "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRequest:
    """Which thresholds are asked for, and what is reported of them.

    `control` is a method of `risk_control`, None for the empirical rate. `review` is
    the largest share of samples that a person looks at below the threshold,
    `review_low` the score from which on one does. `prevalence` is the share of
    positives where the guard will work, None for that of the data.
    """

    rule: Rule
    control: str | None = None
    delta: float = DELTA
    prevalence: float | None = None
    review: float | None = None
    review_low: float | None = None
    per_category: bool = False
    transfer: bool = False


class SetParts(NamedTuple):
    """Both parts of one set, as they were predicted; `file` holds them."""

    file: PredictionFile
    calibration: StoredPredictions
    test: StoredPredictions


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryThreshold:
    """The threshold of one category; None with the reason why there is none."""

    category: str
    n_pos: int
    n_neg: int
    choice: ThresholdChoice | None = None
    measured: MeasuredDecisions | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetThreshold:
    """What one set says: a choice on its calibration part and what became of it.

    `choice` is None where nothing could be chosen, with the reason as `note`. `own` is
    measured on the set's test part, `elsewhere` on those of other sets.
    """

    dataset: str
    choice: ThresholdChoice | None = None
    review: ReviewBand | None = None
    own: MeasuredDecisions | None = None
    elsewhere: tuple[MeasuredDecisions, ...] = ()
    categories: tuple[CategoryThreshold, ...] = ()
    note: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutSet:
    """A set, measured with the threshold for all the others."""

    dataset: str
    threshold: float | None
    measured: MeasuredDecisions | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalThreshold:
    """One threshold for all sets; None with the reason why there is none.

    `left_out` says what would have been measured on a set that nothing is known of.
    """

    threshold: float | None
    datasets: tuple[str, ...]
    review: ReviewBand | None = None
    measured: tuple[MeasuredDecisions, ...] = ()
    left_out: tuple[LeftOutSet, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdReport:
    """The thresholds of one classifier and strategy on sets of one task."""

    classifier: str
    model: str
    strategy: str
    task: str
    request: ThresholdRequest
    sets: tuple[SetThreshold, ...]
    everywhere: GlobalThreshold | None = None

    @property
    def label(self) -> str:
        """What names it: ``classifier/strategy[+calibrator]``."""
        return f"{self.classifier}/{self.strategy}"


def threshold_reports(
    files: Sequence[PredictionFile], request: ThresholdRequest
) -> list[ThresholdReport]:
    """Return the report of each classifier, strategy and task, in order of the files.

    Raises DataError if no threshold could be chosen at all, with the reasons.
    """
    check_request(request)
    reports = [
        _report(label, list(parts), request) for label, parts in _by_combination(files)
    ]
    chosen = [s for report in reports for s in report.sets if s.choice is not None]
    if not chosen:
        reasons: dict[str, list[str]] = {}
        for report in reports:
            for known in report.sets:
                name = f"{report.label} on {known.dataset}"
                reasons.setdefault(known.note, []).append(name)
        raise DataError(
            "no threshold: "
            + "\n  ".join(f"{', '.join(who)}: {why}" for why, who in reasons.items())
        )
    return reports


def check_request(request: ThresholdRequest) -> None:
    """Raise OptionError for what does not go together."""
    rule = request.rule
    if request.review is not None and rule.name == REVIEW_BUDGET:
        raise OptionError("--review-budget is the rule already: name another one")
    if request.review_low is not None:
        if request.review is not None:
            raise OptionError("--review-low and --review-budget: say one of them")
        if rule.name == REVIEW_BUDGET:
            raise OptionError("--review-low goes with a threshold to block from")
        if rule.name == GIVEN and not request.review_low < (rule.value or 0.0):
            raise OptionError(
                f"--review-low {request.review_low:g} is not below {rule.option}: "
                "scores from it up to the threshold are reviewed"
            )
    if request.control and request.prevalence and rule.name == REVIEW_BUDGET:
        raise OptionError(
            f"--control {request.control} promises a share of the data's own mix: "
            "leave out --prevalence, or say --max-fpr"
        )


def _by_combination(
    files: Sequence[PredictionFile],
) -> Iterator[tuple[str, Iterator[SetParts]]]:
    """Yield the sets of each classifier, strategy and task together."""
    parts = [_read_parts(file) for file in files]

    def key(part: SetParts) -> tuple[str, str]:
        return part.file.label, (part.calibration or part.test).task

    first = {key(part): position for position, part in reversed([*enumerate(parts)])}
    ordered = sorted(parts, key=lambda part: first[key(part)])
    for (label, _), same in groupby(ordered, key=key):
        yield label, same


def _read_parts(file: PredictionFile) -> SetParts:
    return SetParts(
        file,
        read_prediction_file(file.path, part=CALIBRATION),
        read_prediction_file(file.path, part=TEST),
    )


def _report(
    label: str, parts: Sequence[SetParts], request: ThresholdRequest
) -> ThresholdReport:
    sets = [_set_threshold(part, parts, request) for part in parts]
    everywhere = None
    if request.transfer and len(parts) > 1:
        everywhere = _global_threshold(parts, request)
    classifier, _, strategy = label.partition("/")
    head = parts[0].test
    return ThresholdReport(
        classifier=head.classifier,
        model=head.model,
        strategy=label.removeprefix(f"{head.classifier}/") or strategy or classifier,
        task=head.task,
        request=request,
        sets=tuple(sets),
        everywhere=everywhere,
    )


def _set_threshold(
    part: SetParts, parts: Sequence[SetParts], request: ThresholdRequest
) -> SetThreshold:
    dataset = part.test.dataset
    try:
        samples = calibration_samples(part)
        choice = _choose(samples, request)
    except DataError as error:
        return SetThreshold(dataset=dataset, note=error.message)
    review = _review_band(choice.threshold, samples, request)
    own = _measure(choice.threshold, part, request, review) if part.test.n else None
    elsewhere = []
    if request.transfer:
        elsewhere = [
            _measure(choice.threshold, other, request, review)
            for other in parts
            if other is not part and other.test.n and _has_score(other.test)
        ]
    categories = _categories(part, request) if request.per_category else []
    return SetThreshold(
        dataset=dataset,
        choice=choice,
        review=review,
        own=own,
        elsewhere=tuple(elsewhere),
        categories=tuple(categories),
        remarks=(
            *choice.notes,
            *remarks_on_choice(choice, samples, part.calibration, request.rule),
            *remarks_on_measured(own, request.rule),
            *_remarks_on_transfer(part, parts, request),
            *remarks_on_calibrator(part.file, request.control),
        ),
    )


def calibration_samples(part: SetParts) -> ScoredSamples:
    """Return what thresholds may be chosen on.

    Raises DataError without a calibration part, for a sample or a group that is in both
    parts, and where there are no scores.
    """
    calibration = part.calibration
    if not calibration.n:
        raise DataError(
            "the run held no labelled sample out to choose on: run again with "
            "--calibration-fraction 0.33"
        )
    check_held_out(calibration.ids, part.test.ids)
    torn = set(calibration.groups) & set(part.test.groups)
    if torn:
        raise DataError(
            f"group {min(torn)!r} is in the calibration part and in the test part: "
            "repeat the run"
        )
    return scored_samples(calibration)


def check_held_out(chosen_on: Sequence[str], tested_on: Sequence[str]) -> None:
    """Raise DataError if a sample of the test part is among those chosen on."""
    shared = set(chosen_on) & set(tested_on)
    if shared:
        raise DataError(
            f"a threshold may not be chosen on the test part: {min(shared)} is in it"
            + (f", and {len(shared) - 1:,} more" if len(shared) > 1 else "")
        )


def _choose(samples: ScoredSamples, request: ThresholdRequest) -> ThresholdChoice:
    if request.control is None:
        return choose(request.rule, samples, request.prevalence)
    return control(request.control, request.rule, samples, request.delta)


def _review_band(
    threshold: float, samples: ScoredSamples, request: ThresholdRequest
) -> ReviewBand | None:
    """Return the band that is asked for; None without one, or if no score lies in it.

    Under a budget of review alone a person sees whatever is flagged.
    """
    if request.rule.name == REVIEW_BUDGET:
        return ReviewBand(low=threshold, high=None)
    if request.review_low is not None:
        if request.review_low >= threshold:
            raise DataError(
                f"--review-low {request.review_low:g} is not below the threshold "
                f"{threshold:.4g}"
            )
        return ReviewBand(low=request.review_low, high=threshold)
    if request.review is None:
        return None
    low = review_from(request.review, threshold, samples, request.prevalence)
    return None if low is None else ReviewBand(low=low, high=threshold)


def _measure(
    threshold: float,
    part: SetParts,
    request: ThresholdRequest,
    review: ReviewBand | None,
) -> MeasuredDecisions:
    return measure(
        threshold,
        part.test,
        part=TEST,
        rule=request.rule,
        prevalence=request.prevalence,
        review=review,
    )


def _has_score(predictions: StoredPredictions) -> bool:
    try:
        scored_samples(predictions)
    except DataError:
        return False
    return True


def _global_threshold(
    parts: Sequence[SetParts], request: ThresholdRequest
) -> GlobalThreshold:
    """Return one threshold that keeps the rule on every set, and leave one out."""
    usable = [p for p in parts if p.test.n and _has_score(p.test)]
    datasets = tuple(p.test.dataset for p in usable)
    try:
        threshold, samples = _threshold_for_all(usable, request)
    except SafebenchError as error:
        return GlobalThreshold(threshold=None, datasets=datasets, note=error.message)
    review = None
    if request.review_low is not None or request.rule.name == REVIEW_BUDGET:
        review = _review_band(threshold, samples[0], request)
    elif request.review is not None:
        bands = [_review_band(threshold, s, request) for s in samples]
        lows = [band.low for band in bands if band is not None]
        if len(lows) == len(bands):  # within the budget on each of them
            review = ReviewBand(low=max(lows), high=threshold)
    return GlobalThreshold(
        threshold=threshold,
        datasets=datasets,
        review=review,
        measured=tuple(_measure(threshold, p, request, review) for p in usable),
        left_out=tuple(_left_out(p, usable, request) for p in usable),
    )


def _threshold_for_all(
    parts: Sequence[SetParts], request: ThresholdRequest
) -> tuple[float, list[ScoredSamples]]:
    """Return the threshold that keeps the rule on the calibration parts of all sets.

    The strictest of theirs: the highest for a budget of flagged samples, the lowest for
    a recall. Costs have no budget: the sum of the sets' mean costs is smallest.
    """
    samples = []
    choices = []
    for part in parts:
        try:
            known = calibration_samples(part)
            choices.append(_choose(known, request))
        except DataError as error:
            raise DataError(f"{part.test.dataset}: {error.message}") from None
        samples.append(known)
    rule = request.rule
    if rule.name == COST:
        return _cheapest_for_all(samples, request), samples
    thresholds = [choice.threshold for choice in choices]
    return (min if rule.name == MIN_RECALL else max)(thresholds), samples


def _cheapest_for_all(
    samples: Sequence[ScoredSamples], request: ThresholdRequest
) -> float:
    cuts = np.unique(np.concatenate([CutPoints.of(s).scores for s in samples]))
    candidates = np.append(cuts, np.inf)
    total: Array = np.zeros(len(candidates))
    for known in samples:
        check_size(request.rule, known, request.prevalence)
        own = CutPoints.of(known)
        # How many of this set's scores reach a threshold that is another set's.
        reached = np.searchsorted(-own.scores, -candidates, side="right")
        failed = int((np.isnan(known.score) & ~known.y).sum())
        positives = np.concatenate([[0], own.positives])[reached]
        negatives = np.concatenate([[failed], own.negatives])[reached]
        total += mean_cost(
            request.rule, positives, negatives, known, request.prevalence
        )
    return float(candidates[cheapest(total)].max())


def _left_out(
    part: SetParts, parts: Sequence[SetParts], request: ThresholdRequest
) -> LeftOutSet:
    others = [other for other in parts if other is not part]
    dataset = part.test.dataset
    try:
        threshold, _ = _threshold_for_all(others, request)
    except SafebenchError as error:
        return LeftOutSet(dataset=dataset, threshold=None, note=error.message)
    measured = _measure(threshold, part, request, None)
    return LeftOutSet(dataset=dataset, threshold=threshold, measured=measured)


def _categories(
    part: SetParts, request: ThresholdRequest
) -> Iterator[CategoryThreshold]:
    """Yield the threshold of each category that both truth and guard speak of."""
    calibration, test = part.calibration.cells, part.test.cells
    if calibration is None or test is None or np.isnan(calibration.score).all():
        return
    for column, category in enumerate(calibration.labels):
        held_out = _category_samples(part.calibration, column)
        n_pos, n_neg = held_out.n_pos, held_out.n_neg
        known = CategoryThreshold(category=category, n_pos=n_pos, n_neg=n_neg)
        if min(n_pos, n_neg) < MIN_OF_CATEGORY:
            yield replace(
                known,
                note=f"{n_pos} positives and {n_neg} negatives in the calibration "
                f"part, it takes {MIN_OF_CATEGORY} of each"
                if held_out.n
                else "the set does not say of any sample whether it applies",
            )
            continue
        try:
            choice = _choose(held_out, request)
        except DataError as error:
            yield replace(known, note=error.message)
            continue
        tested = _as_predictions(part.test, column)
        measured = measure(
            choice.threshold,
            tested,
            part=TEST,
            rule=request.rule,
            prevalence=request.prevalence,
        )
        yield replace(known, choice=choice, measured=measured)


def _as_predictions(predictions: StoredPredictions, column: int) -> StoredPredictions:
    """Return the cells of one category whose truth is known as predictions."""
    cells = predictions.cells
    assert cells is not None
    rows = np.flatnonzero(~np.isnan(cells.truth[:, column]))
    kept = predictions.select(rows)
    assert kept.cells is not None
    nothing = np.full(len(rows), np.nan)
    return replace(
        kept,
        y=kept.cells.truth[:, column].astype(bool),
        score=kept.cells.score[:, column],
        lower=nothing,
        upper=nothing,
    )


def _category_samples(predictions: StoredPredictions, column: int) -> ScoredSamples:
    kept = _as_predictions(predictions, column)
    return ScoredSamples(kept.y, kept.score, kept.groups)


def _remarks_on_transfer(
    part: SetParts, parts: Sequence[SetParts], request: ThresholdRequest
) -> Iterator[str]:
    if request.transfer:
        tested, files = [other.test for other in parts], [p.file for p in parts]
        yield from remarks_on_transfer(part.calibration, tested, files)
