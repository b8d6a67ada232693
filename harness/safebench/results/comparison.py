"""Paired comparison of stored predictions, sample by sample: which are better."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from safebench.console import DECIMALS
from safebench.errors import DataError, PluginError, RunFolderError, SafebenchError
from safebench.metrics.intervals import can_compare
from safebench.metrics.paired import compare_outcomes
from safebench.metrics.paired_difference import SwapPlan
from safebench.statistics import default_n_resamples, holm, mcnemar, shared_weights
from safebench.statistics.power import POWER

from .compared_labels import compared_labels
from .outcomes import align, paired_outcomes
from .prediction_reading import PredictionFile, prediction_files, read_prediction_file
from .run_files import check_unchanged
from .runs import run_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.metrics import Outcome
    from safebench.specs import MetricSpec
    from safebench.statistics import Interval, McNemar, ResamplingWeights
    from safebench.typing import Array

    from .compared_labels import ComparedLabels
    from .predictions import StoredPredictions
    from .reviewed_labels import ReviewedLabels
    from .rows import Row


ALPHA = 0.05
DEFAULT_METRICS = ("auroc", "auprc", "f1", "accuracy", "recall", "fpr")
UNCERTAINTY_METRICS = ("error_auroc", "aurc")  # where both sides have an uncertainty
DRAWS_A_LINE = 40  # of so many lines none is lost to Holm for want of swaps
NO_SCORES = "one of both has no score"
NO_DECISIONS = "one of both has no decision"
NO_PROBABILITIES = "scores are no probabilities"
NO_UNCERTAINTIES = "one of both has no uncertainty"
NO_CATEGORIES = "one of both has no categories whose truth is known"
NO_CATEGORY_DECISIONS = "one of both ranks categories, and decides none"
NO_CATEGORY_SCORES = "one of both decides categories, and ranks none"
NO_PAIRS = "the dataset has no pairs of answers"
NO_SEVERITIES = "the dataset has no severities"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricComparison:
    """One metric of both on the same samples, and their difference, b minus a.

    `test` names the test that `p` comes from, `holm` is p adjusted for all lines of
    the comparison. `better` is ``a``, ``b``, or None where the difference is not
    significant or below the margin: then both are `practically_equal`. `note` says why
    there is no number, `failed` that it is for an error of the metric.

    `smallest_difference` is what the test shows with a probability of 80 % at 5 %,
    before Holm's adjustment; `size_note` says why it is not known. `equivalence_p` is
    the p-value of a difference of the margin or more, where that was asked for,
    `equivalence_holm` adjusted for all lines.
    """

    metric: str
    a: Interval | None = None
    b: Interval | None = None
    difference: Interval | None = None
    p: float | None = None
    test: str = ""
    holm: float | None = None
    better: str | None = None
    practically_equal: bool = False
    smallest_difference: float | None = None
    size_note: str = ""
    equivalence_p: float | None = None
    equivalence_holm: float | None = None
    note: str = ""
    failed: bool = False

    @property
    def equivalent(self) -> bool:
        """Tell whether a difference of the margin or more was excluded."""
        return self.equivalence_holm is not None and self.equivalence_holm < ALPHA


class Margin(NamedTuple):
    """The difference below which two sides are practically equal, and where it is from.

    By default half of the last digit that is shown, or the mean width of the bounds of
    either side's scores where that is larger: smaller differences cannot be read off,
    or may come from what a search left out.
    """

    value: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two combinations on one dataset.

    `n` samples that both have, in `groups` groups; `left_out` samples only one has.
    `discordant` counts decisions that one of both gets right. `same_decisions` tells
    whether both decide alike, as a fair comparison of uncertainties wants. A p-value is
    `smallest_p` at least, where groups are swapped at random. `labels` says how labels
    were reviewed, None for those that are stored.
    """

    a: str
    b: str
    dataset: str
    task: str
    n: int
    groups: int
    left_out: int
    failed: tuple[int, int]
    discordant: McNemar | None
    same_decisions: bool
    margin: Margin
    smallest_p: float
    lines: tuple[MetricComparison, ...]
    labels: ComparedLabels | None = None


class _Request(NamedTuple):
    """What is to be compared, and how."""

    metrics: Sequence[MetricSpec]
    of_uncertainty: Sequence[MetricSpec]
    n_resamples: int | None
    seed: int
    margin: float | None
    equivalence: bool
    n_pairs: int
    labels: ReviewedLabels | None


def compare(
    pairs: Sequence[tuple[PredictionFile, PredictionFile]],
    metrics: Sequence[MetricSpec],
    *,
    of_uncertainty: Sequence[MetricSpec] = (),
    n_resamples: int | None = None,
    seed: int = 0,
    margin: float | None = None,
    equivalence: bool = False,
    labels: ReviewedLabels | None = None,
) -> list[Comparison]:
    """Compare each pair; the p-values of all are adjusted together, by Holm.

    `metrics` are those that `safebench.metrics.intervals.can_compare` allows, to which
    `of_uncertainty` are added where both sides have one. `margin`: see `Margin`; with
    `equivalence` it is tested whether differences are below it; with `labels` both
    sides are judged by reviewed ones. Raises DataError where two files contradict each
    other or share no sample.
    """
    request = _Request(
        metrics,
        of_uncertainty,
        n_resamples,
        seed,
        margin,
        equivalence,
        len(pairs),
        labels,
    )
    read = lru_cache(maxsize=2)(read_prediction_file)  # A is often the same in all
    comparisons = [
        _compare_pair((a, read(a.path)), (b, read(b.path)), request) for a, b in pairs
    ]
    lines = [line for comparison in comparisons for line in comparison.lines]
    adjusted = iter(holm([line.p for line in lines]))
    equivalent = iter(holm([line.equivalence_p for line in lines]))
    higher = {spec.name: spec.higher_is_better for spec in (*metrics, *of_uncertainty)}
    return [
        replace(
            comparison,
            lines=tuple(
                replace(
                    _with_verdict(
                        line,
                        next(adjusted),
                        comparison.margin.value,
                        higher[line.metric],
                    ),
                    equivalence_holm=next(equivalent),
                )
                for line in comparison.lines
            ),
        )
        for comparison in comparisons
    ]


def _with_verdict(
    line: MetricComparison, adjusted: float | None, margin: float, higher: bool | None
) -> MetricComparison:
    """Name the better one where the adjusted p is below 5 %, but none within margin."""
    value = None if line.difference is None else line.difference.value
    if value is None or adjusted is None:
        return replace(line, holm=adjusted)
    if abs(value) < margin:
        return replace(line, holm=adjusted, practically_equal=True)
    better = None
    if adjusted < ALPHA and higher is not None and value:
        better = "b" if (value > 0) == higher else "a"
    return replace(line, holm=adjusted, better=better)


def _compare_pair(
    a: tuple[PredictionFile, StoredPredictions],
    b: tuple[PredictionFile, StoredPredictions],
    request: _Request,
) -> Comparison:
    (file_a, all_a), (file_b, all_b) = a, b
    shared_a, shared_b, left_out = align(all_a, all_b)
    if not shared_a.n:
        raise DataError(f"{file_a.path} and {file_b.path} share no sample")
    if (shared_a.y != shared_b.y).any():
        row = int(np.flatnonzero(shared_a.y != shared_b.y)[0])
        raise DataError(
            f"{file_a.path} and {file_b.path} disagree on the label of "
            f"{shared_a.ids[row]}"
        )
    reviewed = None
    if request.labels is not None:
        applied = request.labels.apply(shared_a)
        others = request.labels.apply(shared_b).reviewed
        if (applied.reviewed != others).any():
            row = int(np.flatnonzero(applied.reviewed != others)[0])
            raise DataError(
                f"{file_a.path} and {file_b.path} have different texts of "
                f"{shared_a.ids[row]}, which was reviewed: a mark is about one of them"
            )
        reviewed = compared_labels(shared_a, shared_b, applied)
        shared_a, shared_b = applied.change(shared_a), applied.change(shared_b)
        if not shared_a.n:
            raise DataError(f"{all_a.dataset}: reviewers call every label unclear")
    same = file_a.label == file_b.label
    names = [file.full_label if same else file.label for file in (file_a, file_b)]
    groups = shared_a.groups
    n_groups = groups.n_groups
    outcomes = paired_outcomes(shared_a, shared_b)
    metrics = list(request.metrics)
    if all(outcome.uncertainty is not None for outcome in outcomes):
        metrics += request.of_uncertainty
    margin = _margin(request.margin, shared_a, shared_b)
    draws = request.n_resamples or max(
        default_n_resamples(n_groups), DRAWS_A_LINE * len(metrics) * request.n_pairs
    )
    weights = shared_weights(
        shared_a.y,
        groups,
        n_resamples=request.n_resamples or default_n_resamples(n_groups),
        seed=request.seed,
    )
    plan = SwapPlan(draws, request.seed)
    tested = margin.value if request.equivalence else None
    return Comparison(
        a=names[0],
        b=names[1],
        dataset=all_a.dataset,
        task=all_a.task,
        n=shared_a.n,
        groups=n_groups,
        left_out=left_out,
        failed=(int(outcomes[0].failed.sum()), int(outcomes[1].failed.sum())),
        discordant=_discordant(*outcomes),
        same_decisions=_same_decisions(*outcomes),
        margin=margin,
        smallest_p=1 / (draws + 1),
        lines=tuple(
            _compare_metric(spec, *outcomes, weights, plan, tested) for spec in metrics
        ),
        labels=reviewed,
    )


def _margin(given: float | None, *sides: StoredPredictions) -> Margin:
    if given is not None:
        return Margin(given, "as given")
    widths = [_mean_width(side.lower, side.upper) for side in sides]
    half_digit = 0.5 * 10.0**-DECIMALS
    if max(widths) > half_digit:
        return Margin(max(widths), "the mean width of the scores' bounds")
    return Margin(half_digit, "half of the last digit shown")


def _mean_width(lower: Array, upper: Array) -> float:
    """Return how much bounds leave open of a score; 0 without bounds."""
    width = upper - lower
    width = width[np.isfinite(width)]
    return float(width.mean()) if len(width) else 0.0


def _same_decisions(a: Outcome, b: Outcome) -> bool:
    if a.decision is None or b.decision is None:
        return False
    return bool((a.decision == b.decision).all())


def _discordant(a: Outcome, b: Outcome) -> McNemar | None:
    if a.decision is None or b.decision is None:
        return None
    return mcnemar(a.y, a.decision, b.decision)


def _compare_metric(
    spec: MetricSpec,
    a: Outcome,
    b: Outcome,
    weights: ResamplingWeights,
    plan: SwapPlan,
    margin: float | None,
) -> MetricComparison:
    """Compare by a metric; with a `margin`, test whether they differ by less."""
    try:
        pair = compare_outcomes(spec, a, b, weights, plan)
    except PluginError as error:  # the other metrics go on
        return MetricComparison(metric=spec.name, note=error.message, failed=True)
    if pair is None:
        return MetricComparison(metric=spec.name, note=_why_not(spec, a, b))
    difference, smallest, size_note = pair.difference, None, ""
    if pair.spread is not None:
        smallest = pair.spread.smallest_difference(POWER, ALPHA)
        size_note = "" if smallest is not None else pair.spread.why_no_size()
    return MetricComparison(
        metric=spec.name,
        a=pair.a,
        b=pair.b,
        difference=difference,
        p=difference.p,
        test=pair.test,
        smallest_difference=smallest,
        size_note=size_note,
        equivalence_p=None if margin is None else pair.equivalence_p(margin),
        note="" if difference.p is not None else difference.method,
    )


def _why_not(spec: MetricSpec, a: Outcome, b: Outcome) -> str:
    """Return what one of both lacks."""
    if spec.needs & {"categories", "category_scores"}:
        return _why_no_categories(spec, a, b)
    if "pairs" in spec.needs and a.pairs is None:
        return NO_PAIRS
    if "severity" in spec.needs and a.severity is None:
        return NO_SEVERITIES
    if "decision" in spec.needs and (a.decision is None or b.decision is None):
        return NO_DECISIONS
    if "uncertainty" in spec.needs:
        return NO_UNCERTAINTIES
    if a.score is None or b.score is None:
        return NO_SCORES
    return NO_PROBABILITIES if "probability" in spec.needs else NO_SCORES


def _why_no_categories(spec: MetricSpec, a: Outcome, b: Outcome) -> str:
    if a.gold is None or b.gold is None:
        return a.category_note or b.category_note or NO_CATEGORIES
    if "category_scores" in spec.needs:
        return NO_CATEGORY_SCORES
    return NO_CATEGORY_DECISIONS


def errors_of_metrics(comparisons: Sequence[Comparison]) -> list[PluginError]:
    """Return each error of a metric once."""
    messages = dict.fromkeys(
        line.note
        for comparison in comparisons
        for line in comparison.lines
        if line.failed
    )
    return [PluginError(message) for message in messages]


def require_one_compared(comparisons: Sequence[Comparison]) -> None:
    """Raise where no metric of any pair has a difference: PluginError or DataError."""
    lines = [line for comparison in comparisons for line in comparison.lines]
    if any(line.difference and line.difference.value is not None for line in lines):
        return
    reasons = dict.fromkeys(f"{line.metric}: {line.note}" for line in lines)
    kind = PluginError if any(line.failed for line in lines) else DataError
    raise kind(f"nothing could be compared: {'; '.join(reasons)}")


def ties_with_best(
    rows: Sequence[Row], folders: Sequence[Path], specs: Sequence[MetricSpec]
) -> list[bool]:
    """Tell of each row whether a paired test leaves it open if the first is better.

    `rows` are of one metric on one dataset, best first; p-values are adjusted for
    their number (Holm). Without stored predictions, or for a metric without a paired
    test, nothing is told: all False.
    """
    tied = [False] * len(rows)
    spec = next((spec for spec in specs if rows and spec.name == rows[0].metric), None)
    if spec is None or not can_compare(spec):
        return tied
    files = files_by_row(folders)
    ranked = [files.get((row.run, *names_of_row(row))) for row in rows]
    best = ranked[0]
    if best is None:
        return tied
    others = [
        (place, file)
        for place, file in enumerate(ranked)
        if file is not None and file.path != best.path
    ]
    try:
        comparisons = compare([(best, file) for _, file in others], [spec])
    except DataError:  # damaged, or changed by hand: no mark would look like a test
        raise
    except SafebenchError:  # predictions of different samples: no marks
        return tied
    for (place, _), comparison in zip(others, comparisons, strict=True):
        line = comparison.lines[0]
        tied[place] = line.holm is not None and (
            line.holm >= ALPHA or line.practically_equal
        )
    return tied


def files_by_row(folders: Sequence[Path]) -> dict[tuple[str, ...], PredictionFile]:
    """Return the stored files of runs by run, classifier, dataset and strategy.

    Raises `DataError` for one that is not what its run wrote: the names are in it.
    """
    by_row: dict[tuple[str, ...], PredictionFile] = {}
    for run, folder in zip(run_names(folders), folders, strict=True):
        with suppress(RunFolderError):  # without predictions: no marks
            for file in prediction_files(folder):
                check_unchanged(file.path)
                key = (run, file.classifier, file.dataset, file.method)
                by_row[key] = file
    return by_row


def names_of_row(row: Row) -> tuple[str, str, str]:
    """Return what a row is about as files of predictions call it."""
    dataset = ".".join(filter(None, (row.dataset, row.config, row.split)))
    method = "+".join(filter(None, (row.strategy, row.calibrator)))
    return row.classifier, dataset, method
