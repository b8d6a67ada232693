"""What metrics see: predictions beside the ground truth of the test part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from safebench.metrics import Outcome
from safebench.metrics.pairs import preference_pairs
from safebench.policies import load_policy
from safebench.policies.mapping import project
from safebench.record_columns import UNKNOWN
from safebench.strategies import Judgements

if TYPE_CHECKING:
    from safebench.record_columns import RecordColumns
    from safebench.records import Dataset, GroundTruth
    from safebench.typing import Array

    from .evaluation_set import EvaluationSet
    from .evidence_set import Evaluation
    from .judging import Predictions


@dataclass(frozen=True, slots=True)
class MetricInput:
    """The outcome of n samples, their places in the dataset, and the policy map used.

    `policy_map` says how categories of the dataset became those of the classifier;
    None where no metric needs it.
    """

    outcome: Outcome
    rows: Array
    policy_map: str | None


def build_metric_input(evaluation: Evaluation, predictions: Predictions) -> MetricInput:
    """Return the outcome on the test part, samples without a known label left out."""
    dataset = evaluation.dataset
    rows = rows_of_test_part(evaluation.evaluation_set)
    predictions = drop_unsupported(predictions)
    judgements, failed = predictions.judgements, predictions.failed[rows]
    y = dataset.columns.value[rows] == 1
    categories, policy_map = _category_columns(evaluation, predictions, rows)
    emits = evaluation.strategy.spec.emits
    pairs, pair_note = _preference_pairs(dataset, rows)
    outcome = Outcome(
        y=y,
        failed=failed,
        groups=GroupColumn(dataset.columns, rows),
        score=_select_rows(judgements.score, rows),
        probability="probability" in emits and judgements.probability,
        decision=_count_failures_as_errors(predictions.decision, rows, y, failed),
        threshold=predictions.threshold,
        lower=_select_rows(judgements.lower, rows),
        upper=_select_rows(judgements.upper, rows),
        uncertainty=_select_rows(judgements.uncertainty, rows),
        uncertainty_lower=_select_rows(judgements.uncertainty_lower, rows),
        uncertainty_upper=_select_rows(judgements.uncertainty_upper, rows),
        category_lower=_select_rows(judgements.category_lower, rows),
        category_upper=_select_rows(judgements.category_upper, rows),
        pairs=pairs,
        pair_note=pair_note,
        severity=_severity(dataset, rows),
        **categories,
    )
    return MetricInput(outcome, rows, policy_map)


def build_empty_outcome(evaluation_set: EvaluationSet, note: str) -> Outcome:
    """Return the outcome of a part that failed: the truth, and no judgement."""
    dataset, rows = evaluation_set.dataset, rows_of_test_part(evaluation_set)
    return Outcome(
        y=dataset.columns.value[rows] == 1,
        failed=np.ones(len(rows), dtype=bool),
        groups=GroupColumn(dataset.columns, rows),
        category_note=note if _annotated(dataset, rows) else "",
        pairs=_preference_pairs(dataset, rows)[0],
        severity=_severity(dataset, rows),
    )


def rows_of_test_part(evaluation_set: EvaluationSet) -> Array:
    """Return the samples that metrics are about: not held out, of a known label."""
    known = evaluation_set.dataset.columns.value != UNKNOWN
    return np.flatnonzero(known & ~evaluation_set.held_out)


class GroupColumn(Sequence[str]):
    """The groups of some samples: texts when they are looked at, and codes.

    `codes` (n,) are equal for samples of a group, and ordered as the groups' names are.
    """

    def __init__(self, columns: RecordColumns, rows: Array) -> None:
        self._columns = columns
        self._rows = rows

    @cached_property
    def codes(self) -> Array:
        """Numbers 0..G-1 of the groups that occur."""
        codes = self._columns.group_codes[self._rows]
        return np.unique(codes, return_inverse=True)[1].reshape(-1)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._columns.groups[int(self._rows[index])]


def _truths(dataset: Dataset, rows: Array) -> list[GroundTruth]:
    return [dataset.ground_truth[row] for row in np.asarray(rows).tolist()]


def _annotated(dataset: Dataset, rows: Array) -> bool:
    """Tell whether any of the samples has categories."""
    if not dataset.columns.annotated:
        return False
    return any(truth.categories is not None for truth in _truths(dataset, rows))


def _preference_pairs(dataset: Dataset, rows: Array) -> tuple[Array | None, str]:
    """Return the pairs within `rows`, (m, 2), and a note, as `preference_pairs` do."""
    if not dataset.columns.paired:
        return preference_pairs([], [])
    return preference_pairs(
        [truth.pair for truth in _truths(dataset, rows)],
        [dataset.samples[row].content for row in np.asarray(rows).tolist()],
    )


def _severity(dataset: Dataset, rows: Array) -> Array | None:
    """Return the severities that annotators noted, (n,), NaN where they did not."""
    if not dataset.columns.rated:
        return None
    noted = [severity_of(truth) for truth in _truths(dataset, rows)]
    if all(value is None for value in noted):
        return None
    return np.array([np.nan if value is None else value for value in noted])


def severity_of(truth: GroundTruth) -> float | None:
    """Return how harmful annotators found a sample, None if nobody noted it."""
    value = truth.meta.get("severity")
    return None if value is None else float(value)


def drop_unsupported(predictions: Predictions) -> Predictions:
    """Leave out what evidence that was cut short at one threshold does not support.

    Such evidence decides at its threshold and nothing else: its scores are bounds that
    were never tightened, so neither a ranking nor another threshold may use them.
    """
    if predictions.supported_threshold is None:
        return predictions
    judgements = predictions.judgements
    bare = Judgements(size=judgements.size, errors=judgements.errors)
    if predictions.supported_threshold != predictions.threshold:
        return replace(
            predictions, judgements=bare, decision=None, category_decision=None
        )
    bare.labels, bare.categories = judgements.labels, judgements.categories
    return replace(predictions, judgements=bare)


class CategoryTruth(NamedTuple):
    """What is known of the categories that a strategy names, (n, L) bool each.

    `known` says of which cells the truth is known, `policy_map` how it was projected.
    """

    gold: Array
    known: Array
    policy_map: str | None
    note: str


def project_categories(
    evaluation: Evaluation, labels: Sequence[str], truths: Sequence[GroundTruth]
) -> CategoryTruth | str:
    """Return the truth in the strategy's categories, or why there is none."""
    source, policy = evaluation.dataset.policy, evaluation.policy
    if not labels:
        return "the strategy gives no categories"
    if source is None or policy is None:
        return "the dataset or the classifier has no policy"
    if not set(labels) <= set(policy.codes):
        return f"categories are not those of {policy.id}"
    gold, known, policy_map, note = project(truths, load_policy(source), policy)
    order = [policy.codes.index(code) for code in labels]
    return CategoryTruth(gold[:, order], known[:, order], policy_map, note)


def _select_rows(column: Array | None, rows: Array) -> Array | None:
    return None if column is None else column[rows]


def _count_failures_as_errors(
    decision: Array | None, rows: Array, truth: Array, failed: Array
) -> Array | None:
    """Count a failed positive as a false negative, a failed negative as false positive.

    Otherwise a guard could improve its accuracy by failing on hard samples.
    """
    if decision is None:
        return None
    made = decision[rows]
    lost = np.isnan(made) | failed.reshape(-1, *[1] * (truth.ndim - 1))
    return np.where(lost, ~truth, np.nan_to_num(made).astype(bool))


def _category_columns(
    evaluation: Evaluation, predictions: Predictions, rows: Array
) -> tuple[dict[str, Any], str | None]:
    """Return the outcome's category columns, in the classifier's policy."""
    judgements = predictions.judgements
    if not _annotated(evaluation.dataset, rows):
        return {}, None
    truths = _truths(evaluation.dataset, rows)
    scores, labels = judgements.categories, judgements.labels
    truth = project_categories(evaluation, () if scores is None else labels, truths)
    if scores is None or isinstance(truth, str):
        return {"category_note": truth}, None
    failed = predictions.failed[rows]
    # NaN of a failed sample is an error and counts, NaN of another is no judgement
    judged = ~np.isnan(np.where(failed[:, None], 0, scores[rows]))
    columns = {
        "labels": tuple(labels),
        "gold": truth.gold,
        "mask": truth.known & judged,
        "predicted": _count_failures_as_errors(
            predictions.category_decision, rows, truth.gold, failed
        ),
        "category_note": "; ".join(
            filter(None, (truth.note, judgements.category_note))
        ),
    }
    if predictions.supported_threshold is None:  # else they decide, and do not rank
        columns["category_score"] = scores[rows]
    return columns, truth.policy_map
