"""The metrics."""

from safebench.metrics import (
    MetricDefinition,
    MetricValue,
    confusion_counts,
    decision_columns,
)


def flagged(outcome):
    """Share of samples that are flagged."""
    if not outcome.n:
        return MetricValue(None, "no samples")
    return MetricValue(float(outcome.decision.mean()))


def score_gap(outcome):
    """Raise an error where a class is missing, as a resample of few samples may."""
    sides = [outcome.score[outcome.y == side].tolist() for side in (True, False)]
    positives, negatives = (sum(side) / len(side) for side in sides)
    return MetricValue(positives - negatives)


def specificity_formula(sums):
    """Return TN / (TN + FP) of each resample: `sums` are (4 kinds, 1, resamples)."""
    _, fp, tn, _ = sums[:, 0]
    return tn / (tn + fp)


SPECIFICITY = MetricDefinition(
    columns=decision_columns,
    statistics=confusion_counts,
    formula=specificity_formula,
    denominator=(1, 2),  # a share of fp and tn: exact where it is 0 or 1
)


def specificity(outcome):
    """Share of negatives that are passed."""
    return MetricValue(SPECIFICITY.value(outcome.y, outcome.decision))


def n_groups(outcome):
    """Count the groups."""
    return MetricValue(float(len(set(outcome.groups))))
