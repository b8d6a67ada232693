"""Strategies on `Cost`: its sign, a squashed score, a probability, and its spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from safebench.errors import IncompatibleError
from safebench.evidence import Cost
from safebench.strategies import Judgements
from safebench_cost_model.model.platt_scaling import PlattScaling

if TYPE_CHECKING:
    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Array


def cost_sign(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the cost itself, which only ranks; at threshold 0 its sign decides."""
    del context
    value = evidence[Cost]["value"]
    return Judgements(size=len(value), score=value, probability=False)


def cost_sigmoid(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Squash the cost into 0 to 1, where one half stands for a cost of 0.

    No probability: the ranking term of the loss moves costs away from log-odds. The
    sign decides, also where rounding makes one half of a cost just below 0.
    """
    del context
    value = evidence[Cost]["value"]
    return Judgements(
        size=len(value),
        score=expit(value),
        decision=is_unsafe(value),
        threshold=0.5,
        probability=False,
    )


def cost_platt(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return P(unsafe) = s((cost - bias) / temperature), constants from the evidence.

    They say how sure a verdict is, and do not change it: the sign of the cost decides,
    as the model was trained to. Raises IncompatibleError where the model carries none.
    """
    del context
    costs = evidence[Cost]
    constants = _platt_constants(costs)
    if constants is None:
        raise IncompatibleError(
            "strategy 'cost_platt' needs a model that carries bias and temperature; "
            "this one has none: cost_sign and cost_sigmoid read it, and safebench "
            "train cost_model fits them"
        )
    value = costs["value"]
    # The threshold of the sign on the scale of probabilities, so that a shown score and
    # the decision agree.
    at_zero = float(constants.probability(np.zeros(1))[0])
    return Judgements(
        size=len(costs),
        score=constants.probability(value),
        decision=is_unsafe(value),
        threshold=at_zero,
        decision_note=(
            f"the sign of the cost decides: at a cost of 0 the probability is "
            f"{at_zero:.3g}"
        ),
    )


def cost(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Judge by the sign; the score is `cost_platt` where the model carries constants.

    It is `cost_sigmoid` otherwise.
    """
    if _platt_constants(evidence[Cost]) is None:
        judgements = cost_sigmoid(evidence, context)
        judgements.note = "the model carries no calibration"
        judgements.decision_note = "its sign decides"
        return judgements
    return cost_platt(evidence, context)


def is_unsafe(costs: Array) -> Array:
    """Return 1 for costs that are not below 0, and 0 for others, in the same shape."""
    # NaN compares as False, which would be a verdict of safe.
    decisions: Array = np.where(np.isnan(costs), np.nan, costs >= 0)
    return decisions


def cost_spread(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the standard deviation of the members' costs; `cost` decides.

    A model of one network has none, and says so.
    """
    del context
    costs = evidence[Cost]
    if "spread" not in costs:
        note = "one network alone: train several by --members"
        return Judgements(size=len(costs), probability=False, note=note)
    return Judgements(size=len(costs), uncertainty=costs["spread"], probability=False)


def _platt_constants(costs: Cost) -> PlattScaling | None:
    bias, temperature = costs.meta.get("bias"), costs.meta.get("temperature")
    if bias is None or temperature is None:
        return None
    n = costs.meta.get("n_calibration", 0)
    return PlattScaling(bias=bias, temperature=temperature, n=n)
