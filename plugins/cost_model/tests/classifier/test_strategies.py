"""Readings of recorded costs, with the constants that a training left or without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.errors import IncompatibleError
from safebench.evidence import Cost, EvidenceBundle
from safebench.strategies import Context
from safebench.testing import assert_strategy_is_sound
from safebench_cost_model import strategies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Sample
    from safebench.training import Trained

CONTEXT = Context(task="response_harm")
NO_CONSTANTS = {"bias": None, "temperature": None, "n_calibration": 0}


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


def test_where_the_probability_decides_is_said() -> None:
    """A cost between 0 and the bias is unsafe by its sign, and safe by cost_platt."""
    meta = {"bias": 0.25, "temperature": 1.5, "n_calibration": 20}
    bundle = EvidenceBundle({Cost: Cost({"value": [0.2, 0.25, 0.3]}, meta=meta)})

    judgements = strategies.cost(bundle, CONTEXT)

    assert judgements.score is not None
    assert [False, True, True] == (judgements.score >= 0.5).tolist()
    assert "one half is a cost of 0.25" in judgements.note


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
