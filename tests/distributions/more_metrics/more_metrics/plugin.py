"""Declare a metric as the guide does, one that may fail, and one with an interval."""

from safebench import MetricSpec, hookimpl


@hookimpl
def safebench_metrics():
    """Return the metrics."""
    return [
        MetricSpec(
            name="flagged",
            summary="share of samples that are flagged",
            load="more_metrics.metrics:flagged",
            needs=frozenset({"decision"}),
            higher_is_better=None,
        ),
        MetricSpec(
            name="score_gap",
            summary="mean score of positives above that of negatives",
            load="more_metrics.metrics:score_gap",
            needs=frozenset({"score"}),
            higher_is_better=True,
        ),
        MetricSpec(
            name="specificity",
            summary="share of negatives that are passed",
            load="more_metrics.metrics:specificity",
            interval="more_metrics.metrics:SPECIFICITY",
            needs=frozenset({"decision"}),
            higher_is_better=True,
        ),
        MetricSpec(
            name="n_groups",
            summary="number of groups",
            load="more_metrics.metrics:n_groups",
            interval="none",
            needs=frozenset({"decision"}),
            higher_is_better=None,
        ),
    ]
