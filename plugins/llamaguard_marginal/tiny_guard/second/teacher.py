"""Cross-fitted teachers: no row is judged by a model that saw it or a near copy of it.

Members are TF-IDF of words and a MiniLM encoder, trained on people's labels. Each is
fitted once per fold; a logistic regression on their out-of-fold log-odds weighs them.
Texts that no fold trained on are judged by the mean of all folds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from tiny_guard.second.encoder import HarmEncoder, TextStates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tiny_guard.second.recipe import TeacherRecipe

    Array = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]
    Say = Callable[[str], None]

MEMBERS = ("words", "encoder")


def word_model(c: float) -> Any:
    """TF-IDF of words and word pairs with logistic regression."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    return make_pipeline(words, LogisticRegression(C=c, max_iter=1000))


@dataclass(frozen=True, slots=True)
class TeacherTexts:
    """All texts, and their states below the layers that the encoder trains."""

    texts: Sequence[str]
    states: TextStates


@dataclass(slots=True)
class CrossFitted:
    """Log-odds of every member: out of fold for rows, the folds' mean for texts.

    `rows` (n, members) and `others` (m, members); `weights` (members,) and `offset`
    make log-odds of unsafe of them.
    """

    rows: Array
    others: Array
    weights: Array = field(default_factory=lambda: np.zeros(len(MEMBERS)))
    offset: float = 0.0

    def stack(self, labels: Bools) -> CrossFitted:
        """Fit the weights of the members to the labels, on out-of-fold log-odds."""
        fitted = LogisticRegression(C=1e3).fit(self.rows, labels)
        self.weights, self.offset = fitted.coef_[0], float(fitted.intercept_[0])
        return self

    def probabilities(self, odds: Array) -> Array:
        """P(unsafe) of members' log-odds (n, members)."""
        result: Array = 1 / (1 + np.exp(-(odds @ self.weights + self.offset)))
        return result


def fold_numbers(labels: Bools, clusters: Any, folds: int, seed: int) -> Any:
    """Fold of every row; clusters stay whole, classes are spread evenly."""
    numbers = np.zeros(len(labels), dtype=np.int64)
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    split = parts.split(np.zeros(len(labels)), labels, clusters)
    for number, (_, rest) in enumerate(split):
        numbers[rest] = number
    return numbers


def fit_fold(
    folder: Path,
    recipe: TeacherRecipe,
    data: TeacherTexts,
    places: Sequence[int],
    labels: Bools,
    fold: int,
) -> list[Any]:
    """Fit every member on the texts at `places`, the rows of all folds but one."""
    words = word_model(recipe.word_c).fit([data.texts[i] for i in places], labels)
    encoder = HarmEncoder(folder, recipe, fold).fit(data.states, places, labels)
    return [words, encoder]


def judge(members: Sequence[Any], data: TeacherTexts, places: Sequence[int]) -> Array:
    """Log-odds (places, members)."""
    words, encoder = members
    columns = [
        words.decision_function([data.texts[i] for i in places]),
        encoder.decision_function(data.states, places),
    ]
    return np.column_stack(columns).astype(np.float64)


def describe(odds: Array, labels: Bools) -> dict[str, float]:
    """AUROC of every member."""
    return {
        name: round(float(roc_auc_score(labels, odds[:, place])), 4)
        for place, name in enumerate(MEMBERS)
    }
