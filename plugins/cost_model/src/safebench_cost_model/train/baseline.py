"""Training of the baseline `cost_tfidf` on the same pairs, and its measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import DataError
from safebench.training import Trained
from safebench_cost_model.model.artifact import BASELINE_FOLDER, KIND_TFIDF
from safebench_cost_model.model.platt_scaling import fit_platt
from safebench_cost_model.model.tfidf import TfidfModel, new_vectorizer, tfidf_features

from .evaluation import cost_measures, pair_labels, ranking_correct, sign_correct
from .pairs import read_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.training import Measure, Training
    from safebench.typing import Array

    from .pairs import PreferencePair

REGULARIZATION_GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # inverse: scikit-learn's C


def fit_baseline(training: Training) -> Trained:
    """Train the baseline; the strength of its penalty is the best one on val.

    Raises `DataError` where all training responses have one label.
    """
    conflicts = training.options.conflicts
    splits = {"train": training.train, "val": training.val, "test": training.test}
    pairs = {
        name: read_pairs(split, conflicts, training.say)
        for name, split in splits.items()
    }
    shares = {share for pair in pairs["train"] for share in pair.soft_labels}
    if shares in ({0.0}, {1.0}):
        raise DataError("all responses of the training part have one label")
    labels = {name: pair_labels(split) for name, split in pairs.items()}
    models = {
        c: train_tfidf(pairs["train"], c, training.seed) for c in REGULARIZATION_GRID
    }
    val_costs = {c: _pair_costs(model, pairs["val"]) for c, model in models.items()}

    def merit(c: float) -> float:
        """Return the mean of both accuracies on the validation pairs."""
        correct = (
            sign_correct(labels["val"], val_costs[c]),
            ranking_correct(labels["val"], val_costs[c]),
        )
        return float(sum(column.mean() for column in correct) / 2)

    best = max(models, key=merit)
    training.say(
        f"C={best} of {', '.join(map(str, REGULARIZATION_GRID))} is best on val"
    )
    model = models[best]
    platt = fit_platt(val_costs[best].reshape(-1), labels["val"].unsafe.reshape(-1))
    measures: list[Measure] = []
    for name in ("val", "test"):
        costs = _pair_costs(model, pairs[name])
        measures += cost_measures(
            labels[name], costs, who=KIND_TFIDF, split=name, platt=platt
        )
    words_sha256 = model.save(training.out / BASELINE_FOLDER)
    manifest = {
        "words_sha256": words_sha256,
        "strength": best,
        "calibration": platt.as_json() if platt else None,
    }
    return Trained(classifier=KIND_TFIDF, manifest=manifest, measures=measures)


def train_tfidf(train: Sequence[PreferencePair], c: float, seed: int = 0) -> TfidfModel:
    """Fit words and weights on every response of the training pairs.

    A soft label is learnt as two rows, safe and unsafe, that are weighted by it.
    """
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    exchanges, unsafe_share = flatten_pairs(train)
    vectorizers = [
        new_vectorizer().fit(texts) for texts in zip(*exchanges, strict=True)
    ]
    features = tfidf_features(vectorizers, exchanges)
    y = np.repeat([1, 0], len(unsafe_share))
    weight = np.concatenate([unsafe_share, 1 - unsafe_share])
    model = LogisticRegression(C=c, max_iter=2000, random_state=seed)
    model.fit(vstack([features, features]).tocsr(), y, sample_weight=weight)
    return TfidfModel(vectorizers, model.coef_[0], float(model.intercept_[0]))


def flatten_pairs(
    pairs: Sequence[PreferencePair],
) -> tuple[list[tuple[str, str]], Array]:
    """Return both exchanges of N pairs, (2 N,), and their shares of unsafe labels."""
    exchanges = [(pair.prompt, text) for pair in pairs for text in pair.responses]
    return exchanges, np.array([share for pair in pairs for share in pair.soft_labels])


def _pair_costs(model: TfidfModel, pairs: Sequence[PreferencePair]) -> Array:
    """Return the costs (N, 2) of N pairs."""
    return model.costs(flatten_pairs(pairs)[0]).reshape(-1, 2)
