"""Metrics of weighted samples, against scikit-learn and repetition."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn import metrics as sk

from safebench.errors import UnknownNameError
from safebench.metrics.arrays import (
    metric_definition,
    metric_definitions,
    metric_interval,
    metric_value,
)
from safebench.metrics.calibration import ECE_MASS
from safebench.metrics.definition import decision_columns
from safebench.statistics.resampling_weights import draw_weights
from safebench.statistics.sufficient_statistics import resampled_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Grouped


SKLEARN: dict[str, Callable[..., float]] = {
    "auroc": sk.roc_auc_score,
    "auprc": sk.average_precision_score,
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "precision": sk.precision_score,
    "recall": sk.recall_score,
    "f1": sk.f1_score,
    "mcc": sk.matthews_corrcoef,
    "fpr": lambda y, x: 1 - sk.recall_score(~y, ~x),
    "fnr": lambda y, x: 1 - sk.recall_score(y, x),
    "brier": sk.brier_score_loss,
    "nll": partial(sk.log_loss, labels=[False, True]),
}


def column(data: Grouped, name: str) -> np.ndarray:
    """Return what a metric reads: decisions or probabilities."""
    of_decisions = metric_definition(name).columns is decision_columns
    return data.decision if of_decisions else data.p


@pytest.mark.parametrize("name", SKLEARN)
def test_values_are_those_of_sklearn(data: Grouped, name: str) -> None:
    """The value of the interval is scikit-learn's number."""
    x = column(data, name)
    interval = metric_interval(name, data.y, x, x, n_resamples=50)
    expected = SKLEARN[name](data.y, np.clip(x, 1e-12, 1 - 1e-12) if x is data.p else x)

    assert expected == pytest.approx(interval.value)
    assert expected == pytest.approx(metric_value(name, data.y, x))


@pytest.mark.parametrize("name", metric_definitions())
def test_weights_are_repetition(data: Grouped, name: str) -> None:
    """A draw's value is the metric of the rows repeated as often as they were drawn."""
    x, definition = column(data, name).astype(float), metric_definition(name)
    n, weights = len(x), draw_weights(data.groups, len(x), n_resamples=20, seed=1)
    sums = definition.statistics(weights.group_index, weights.n_groups, data.y, x)
    (values,) = resampled_values(sums, [definition.formula], weights)
    for position in (0, 1, 7, 20, 21, values.size - 1):
        times = weights.weights[weights.group_index, position]
        if definition is ECE_MASS:  # edges stay those of the whole sample
            of_samples = definition.statistics(np.arange(n), n, data.y, x)
            repeated = of_samples.sums(times[:, None].astype(float))
            expected = float(definition.formula(repeated)[0])
        else:
            expected = definition.value(np.repeat(data.y, times), np.repeat(x, times))
        assert expected == pytest.approx(values[position], abs=1e-12)


def test_unknown_metric_names_the_nearest() -> None:
    """A misspelt metric is refused with the right name."""
    with pytest.raises(UnknownNameError, match="'auprc'"):
        metric_interval("auprcs", [True, False], [0.2, 0.1])


def test_a_missing_column_is_named() -> None:
    """F1 without decisions says which column is missing."""
    with pytest.raises(ValueError, match="f1: no decision column"):
        metric_interval("f1", [True, False], [0.2, 0.1])
