"""What the training of a base leaves: an artifact, and costs of unseen rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .evaluation import pair_labels, ranking_correct, sign_correct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.training import Trained, Training
    from safebench.typing import Array
    from safebench_cost_model.model.platt_scaling import PlattScaling

    from .evaluation import PairLabels
    from .pairs import PreferencePair
    from .singles import SingleResponse

    FitBase = Callable[[Training, Sequence[SingleResponse]], "FittedBase"]

# What penalties are tried: inverse strengths, scikit-learn's C.
REGULARIZATION_GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FittedBase:
    """What a base came to, with its costs of the N test pairs and of S responses.

    The responses are those that the caller had labelled alone and kept out. `finish`
    measures the model and writes what is not written yet: what is left of it if it is
    to be kept, and nothing that a fold's model needs.
    """

    finish: Callable[[], Trained]
    pairs: Sequence[PreferencePair]
    costs: Array  # (N, 2)
    single_costs: Array  # (S,)
    platt: PlattScaling | None


def merit(labels: PairLabels, costs: Array) -> float:
    """Return the mean of both accuracies of costs (N, 2)."""
    correct = (sign_correct(labels, costs), ranking_correct(labels, costs))
    return float(sum(column.mean() for column in correct) / 2)


def best_penalty(costs: dict[float, Array], val: Sequence[PreferencePair]) -> float:
    """Return the penalty whose costs (N, 2) of the validation pairs are the best."""
    labels = pair_labels(val)
    return max(costs, key=lambda c: merit(labels, costs[c]))


def exchanges_of(pairs: Sequence[PreferencePair]) -> list[tuple[str, str]]:
    """Return both exchanges of N pairs, 2 N of them."""
    return [(pair.prompt, text) for pair in pairs for text in pair.responses]


def by_pair(costs: Array) -> Array:
    """Return the costs (2 N,) of `exchanges_of` pairs as (N, 2)."""
    return np.asarray(costs).reshape(-1, 2)
