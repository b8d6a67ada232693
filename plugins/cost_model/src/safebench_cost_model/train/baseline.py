"""Training of the baseline `cost_tfidf` on the same pairs, and its measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import DataError
from safebench.training import Trained
from safebench_cost_model.model.artifact import BASELINE_FOLDER, KIND_TFIDF
from safebench_cost_model.model.platt_scaling import fit_platt
from safebench_cost_model.model.tfidf import (
    ExchangeTfidfModel,
    fit_vectorizers,
    tfidf_features,
)

from .evaluation import cost_measures, pair_labels
from .fitted import (
    REGULARIZATION_GRID,
    FittedBase,
    best_penalty,
    by_pair,
    exchanges_of,
)
from .pairs import read_pairs
from .singles import read_training_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.training import Measure, Training
    from safebench.typing import Array

    from .pairs import PreferencePair
    from .singles import SingleResponse


def fit_baseline(
    training: Training, unseen_singles: Sequence[SingleResponse] = ()
) -> FittedBase:
    """Train the baseline; the strength of its penalty is the best one on val.

    Raises `DataError` where all training responses have one label.
    """
    options = training.options
    train, singles = read_training_rows(training)
    pairs = {
        "val": read_pairs(training.val, options.conflicts, training.say),
        "test": read_pairs(training.test, options.conflicts, training.say),
    }
    check_labels(train, singles)
    models = {
        c: train_tfidf(train, c, training.seed, singles, options.w_single)
        for c in REGULARIZATION_GRID
    }
    val_costs = {c: _pair_costs(model, pairs["val"]) for c, model in models.items()}
    best = best_penalty(val_costs, pairs["val"])
    training.say(
        f"C={best} of {', '.join(map(str, REGULARIZATION_GRID))} is best on val"
    )
    model = models[best]
    labels = {name: pair_labels(split) for name, split in pairs.items()}
    platt = fit_platt(val_costs[best].reshape(-1), labels["val"].unsafe.reshape(-1))
    costs = {"val": val_costs[best], "test": _pair_costs(model, pairs["test"])}

    def finish() -> Trained:
        measures: list[Measure] = []
        for name, values in costs.items():
            measures += cost_measures(
                labels[name], values, who=KIND_TFIDF, split=name, platt=platt
            )
        manifest = {
            "words_sha256": model.save(training.out / BASELINE_FOLDER),
            "strength": best,
            "calibration": platt.as_json() if platt else None,
        }
        return Trained(classifier=KIND_TFIDF, manifest=manifest, measures=measures)

    return FittedBase(
        finish=finish,
        pairs=pairs["test"],
        costs=costs["test"],
        single_costs=model.costs([(s.prompt, s.response) for s in unseen_singles]),
        platt=platt,
    )


def check_labels(
    train: Sequence[PreferencePair], singles: Sequence[SingleResponse]
) -> None:
    """Raise `DataError` where all responses have one label."""
    shares = {share for pair in train for share in pair.soft_labels}
    shares |= {single.unsafe for single in singles}
    if shares in ({0.0}, {1.0}):
        raise DataError("all responses of the training part have one label")


def train_tfidf(
    train: Sequence[PreferencePair],
    c: float,
    seed: int = 0,
    singles: Sequence[SingleResponse] = (),
    w_single: float = 1.0,
) -> ExchangeTfidfModel:
    """Fit words and weights on every response of the training pairs, and on `singles`.

    A soft label is learnt as two rows, safe and unsafe, that are weighted by it.
    `w_single` is the weight of a single response, where each of a pair has 1.
    """
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    exchanges, unsafe_share = flatten_pairs(train)
    exchanges += [(single.prompt, single.response) for single in singles]
    row_weight = np.repeat([1.0, w_single], [len(unsafe_share), len(singles)])
    unsafe_share = np.append(unsafe_share, [single.unsafe for single in singles])
    vectorizers = fit_vectorizers(exchanges)
    features = tfidf_features(vectorizers, exchanges)
    y = np.repeat([1, 0], len(unsafe_share))
    weight = np.concatenate([unsafe_share, 1 - unsafe_share]) * np.tile(row_weight, 2)
    model = LogisticRegression(C=c, max_iter=2000, random_state=seed)
    model.fit(vstack([features, features]).tocsr(), y, sample_weight=weight)
    return ExchangeTfidfModel(vectorizers, model.coef_[0], float(model.intercept_[0]))


def flatten_pairs(
    pairs: Sequence[PreferencePair],
) -> tuple[list[tuple[str, str]], Array]:
    """Return both exchanges of N pairs, (2 N,), and their shares of unsafe labels."""
    shares = np.array([share for pair in pairs for share in pair.soft_labels])
    return exchanges_of(pairs), shares


def _pair_costs(model: ExchangeTfidfModel, pairs: Sequence[PreferencePair]) -> Array:
    """Return the costs (N, 2) of N pairs."""
    return by_pair(model.costs(exchanges_of(pairs)))
