"""Readings of recorded costs, with the constants that a training left or without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.classifiers import Trace
from safebench.errors import IncompatibleError
from safebench.evidence import Cost, EvidenceBundle
from safebench.pipeline.evidence_set import EvidenceSet
from safebench.pipeline.judging import apply_strategy
from safebench.pipeline.resolved import ResolvedStrategy
from safebench.strategies import Context
from safebench.testing import assert_strategy_is_sound
from safebench_cost_model import strategies
from safebench_cost_model.plugin import safebench_strategies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Sample
    from safebench.training import Trained

CONTEXT = Context(task="response_harm")
NO_CONSTANTS = {"bias": None, "temperature": None, "n_calibration": 0}


@pytest.mark.slow
def test_constants_travel_from_training_to_the_probability(
    artifacts: dict[str, tuple[Path, Trained]],
    samples: list[Sample],
    load: Callable[..., Any],
    costs: Callable[..., Cost],
) -> None:
    """cost_platt is the logistic function with the manifest's bias and temperature."""
    folder, trained = artifacts["three llamas"]
    constants = trained.manifest["calibration"]
    evidence = costs(load(folder), samples)
    bundle = EvidenceBundle({Cost: evidence})

    p = strategies.cost_platt(bundle, CONTEXT).score

    expected = 1 / (
        1 + np.exp(-(evidence["value"] - constants["bias"]) / constants["temperature"])
    )
    np.testing.assert_allclose(expected, p)
    default = strategies.cost(bundle, CONTEXT)
    assert default.probability
    np.testing.assert_array_equal(p, default.score)
    for name in ("cost", "cost_sign", "cost_sigmoid", "cost_spread"):
        assert_strategy_is_sound(getattr(strategies, name), bundle, CONTEXT)


def test_without_constants_the_sign_decides_and_probabilities_are_refused() -> None:
    """The default takes the sign, cost_platt says which strategies would work."""
    bundle = EvidenceBundle(
        {Cost: Cost({"value": [-2.0, 0.1, 3.0]}, meta=NO_CONSTANTS)}
    )

    fallen = strategies.cost(bundle, CONTEXT)
    assert not fallen.probability
    assert fallen.score is not None
    assert [False, True, True] == (fallen.score >= 0.5).tolist()
    assert "calibration" in fallen.note
    sign = strategies.cost_sign(bundle, CONTEXT)
    assert [-2.0, 0.1, 3.0] == (sign.score.tolist() if sign.score is not None else None)
    assert not sign.probability
    assert not strategies.cost_sigmoid(bundle, CONTEXT).probability
    with pytest.raises(IncompatibleError, match="cost_sign and cost_sigmoid read it"):
        strategies.cost_platt(bundle, CONTEXT)


@pytest.mark.parametrize(
    ("bias", "temperature"), [(0.25, 1.5), (-3.0, 0.4), (0.0, 1.0), (40.0, 0.5)]
)
@pytest.mark.parametrize("name", ["cost", "cost_platt", "cost_sigmoid", "cost_sign"])
def test_the_sign_decides_for_every_strategy(
    name: str, bias: float, temperature: float
) -> None:
    """Constants give the probability, and never another verdict than the sign."""
    values = [-5.0, -0.08, -1e-17, 0.0, 1e-17, 0.08, 0.2, 0.3, 6.0]
    meta = {"bias": bias, "temperature": temperature, "n_calibration": 20}
    bundle = EvidenceBundle({Cost: Cost({"value": values}, meta=meta)})

    judgements = getattr(strategies, name)(bundle, CONTEXT)

    decision = judgements.decision
    if decision is None:  # by the threshold of the spec, which is 0
        assert name == "cost_sign"
        decision = judgements.score >= 0
    assert [value >= 0 for value in values] == decision.astype(bool).tolist()
    if name in ("cost", "cost_platt"):
        at_zero = 1 / (1 + np.exp(bias / temperature))
        assert at_zero == pytest.approx(judgements.threshold)
        assert f"{at_zero:.3g}" in judgements.decision_note
        assert judgements.probability


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (None, [False, False, True, True]),
        (0.5, [False, False, False, True]),  # the default, and the user says it
        (0.9, [False, False, False, True]),
        (0.05, [False, True, True, True]),
    ],
)
def test_run_and_score_decide_alike(
    threshold: float | None, expected: list[bool]
) -> None:
    """The pipeline takes the sign; a threshold of the user's stands over it."""
    value = [-9.0, -0.08, 0.08, 9.0]
    meta = {"bias": 1.0, "temperature": 1.0, "n_calibration": 20}
    bundle = EvidenceBundle({Cost: Cost({"value": value}, meta=meta)})
    strategy = ResolvedStrategy(
        spec=next(s for s in safebench_strategies() if s.name == "cost_platt"),
        label="cost_platt",
        options=None,
        threshold=0.5 if threshold is None else threshold,
        params={} if threshold is None else {"threshold": threshold},
    )
    evaluation: Any = SimpleNamespace(
        strategy=strategy,
        evidence=EvidenceSet("", {}, bundle, [Trace() for _ in value]),
        dataset=SimpleNamespace(task="response_harm"),
        classifier=SimpleNamespace(spec=strategy.spec),
        policy=None,
    )

    predictions = apply_strategy(evaluation)

    assert predictions.decision is not None
    assert expected == predictions.decision.astype(bool).tolist()
    at_zero = 1 / (1 + np.exp(1.0))
    assert (threshold or at_zero) == pytest.approx(predictions.threshold)


def test_members_that_differ_are_unsure() -> None:
    """cost_spread is the recorded spread, and no score."""
    arrays = {"value": [-2.0, 0.1], "spread": [0.3, 1.2]}
    bundle = EvidenceBundle({Cost: Cost(arrays, meta=NO_CONSTANTS)})

    judgements = strategies.cost_spread(bundle, CONTEXT)

    assert judgements.uncertainty is not None
    assert [0.3, 1.2] == judgements.uncertainty.tolist()
    assert judgements.score is None
    assert not judgements.note


def test_one_network_cannot_differ_and_says_so() -> None:
    """cost_spread of evidence without spread is no uncertainty, with the reason."""
    bundle = EvidenceBundle({Cost: Cost({"value": [-2.0, 0.1]}, meta=NO_CONSTANTS)})

    judgements = strategies.cost_spread(bundle, CONTEXT)

    assert judgements.uncertainty is None
    assert "--members" in judgements.note
