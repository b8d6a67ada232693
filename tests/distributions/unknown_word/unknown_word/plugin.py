"""Asks for what no outcome has."""

from safebench import MetricSpec, hookimpl


@hookimpl
def safebench_metrics():
    """Return a metric whose need is misspelt."""
    return [
        MetricSpec(
            name="mine",
            load="unknown_word.metric:mine",
            needs=frozenset({"scores"}),
            higher_is_better=True,
        )
    ]
