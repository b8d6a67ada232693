"""The baseline `cost_tfidf`: word counts and a logistic regression, on the same pairs.

Its cost is the log odds of "unsafe". A cost model that does not beat it has learnt no
more than which words are alarming. Words and weights are stored as JSON and arrays.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import DataError, ModelError
from safebench.evidence import Cost
from safebench.training import Trained

from .classifier import NO_RESPONSE, evidence_meta
from .found import read_baseline
from .layout import BASELINE, KIND_TFIDF
from .measures import measure_costs, order_right, sign_right, told
from .pairs import read_pairs
from .platt import fit_platt
from .template import exchange_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.training import Training

    from .options import BaselineOptions
    from .pairs import Pair

    Array = np.ndarray[Any, np.dtype[Any]]

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # C of the regression, tried on val
SIDES = ("prompt", "response")
WORDS, WEIGHTS = "words.json", "weights.npz"


class Tfidf:
    """Words and pairs of words of prompt and response, each side on its own."""

    def __init__(self, vectorizers: Sequence[Any], weights: Array, bias: float) -> None:
        self.vectorizers = vectorizers
        self.weights = weights
        self.bias = bias

    def costs(self, exchanges: Sequence[tuple[str, str]]) -> Array:
        """Return the log odds of "unsafe" for (prompt, response), (n,)."""
        found: Array = features(self.vectorizers, exchanges) @ self.weights + self.bias
        return found

    def save(self, folder: Path) -> str:
        """Write words and weights; return the SHA-256 of the words."""
        folder.mkdir(parents=True, exist_ok=True)
        words = [sorted(v.vocabulary_, key=v.vocabulary_.get) for v in self.vectorizers]
        text = json.dumps(dict(zip(SIDES, words, strict=True)), ensure_ascii=True)
        (folder / WORDS).write_text(text, encoding="utf-8")
        idf = {side: v.idf_ for side, v in zip(SIDES, self.vectorizers, strict=True)}
        arrays = {**idf, "weights": self.weights, "bias": np.array(self.bias)}
        np.savez(folder / WEIGHTS, allow_pickle=False, **arrays)
        return hashlib.sha256(text.encode()).hexdigest()


def vectorizer(words: Sequence[str] | None = None) -> Any:
    """Return how one side is counted, of all words or of stored ones."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, 2),
        min_df=1 if words else 2,
        sublinear_tf=True,
        vocabulary=words,
    )


def features(vectorizers: Sequence[Any], exchanges: Sequence[tuple[str, str]]) -> Any:
    """Return sparse features (n, words of both sides)."""
    from scipy.sparse import hstack

    sides = zip(*exchanges, strict=True)
    return hstack(
        [v.transform(texts) for v, texts in zip(vectorizers, sides, strict=True)]
    ).tocsr()


def load_tfidf(folder: Path) -> Tfidf:
    """Read what `Tfidf.save` wrote; raises ModelError if it is damaged."""
    try:
        words = json.loads((folder / WORDS).read_text(encoding="utf-8"))
        with np.load(folder / WEIGHTS, allow_pickle=False) as arrays:
            stored = dict(arrays)
        vectorizers = []
        for side in SIDES:
            made = vectorizer(words[side])
            made.idf_ = stored[side]
            vectorizers.append(made)
        return Tfidf(vectorizers, stored["weights"], float(stored["bias"]))
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{folder} cannot be read: {reason}") from error


def learn_tfidf(train: Sequence[Pair], strength: float, seed: int = 0) -> Tfidf:
    """Fit words and weights on every response, soft labels as weights of both."""
    from sklearn.linear_model import LogisticRegression

    exchanges, share = flat(train)
    columns = zip(*exchanges, strict=True)
    vectorizers = [vectorizer().fit(texts) for texts in columns]
    rows = features(vectorizers, exchanges)
    twice = _stacked(rows)
    y = np.repeat([1, 0], len(share))
    model = LogisticRegression(C=strength, max_iter=2000, random_state=seed)
    model.fit(twice, y, sample_weight=np.concatenate([share, 1 - share]))
    return Tfidf(vectorizers, model.coef_[0], float(model.intercept_[0]))


def _stacked(rows: Any) -> Any:
    from scipy.sparse import vstack

    return vstack([rows, rows]).tocsr()


def flat(pairs: Sequence[Pair]) -> tuple[list[tuple[str, str]], Array]:
    """Return both exchanges of N pairs, (2 N,), and their shares of unsafe labels."""
    exchanges = [(pair.prompt, text) for pair in pairs for text in pair.responses]
    return exchanges, np.array([share for pair in pairs for share in pair.soft])


def fit_baseline(training: Training) -> Trained:
    """Train the baseline; the strength of its penalty is the best one on val."""
    conflicts = training.options.conflicts
    parts = {
        name: read_pairs(part, conflicts, training.say)
        for name, part in (
            ("train", training.train),
            ("val", training.val),
            ("test", training.test),
        )
    }
    if {share for pair in parts["train"] for share in pair.soft} in ({0.0}, {1.0}):
        raise DataError("all responses of the training part have one label")
    truth = {name: told(pairs) for name, pairs in parts.items()}
    tried = {c: learn_tfidf(parts["train"], c, training.seed) for c in STRENGTHS}
    costs = {c: _pair_costs(model, parts["val"]) for c, model in tried.items()}

    def merit(c: float) -> float:
        right = sign_right(truth["val"], costs[c]), order_right(truth["val"], costs[c])
        return float(sum(column.mean() for column in right) / 2)

    best = max(tried, key=merit)
    training.say(f"C={best} of {', '.join(map(str, STRENGTHS))} is best on val")
    model = tried[best]
    platt = fit_platt(costs[best].reshape(-1), truth["val"].unsafe.reshape(-1))
    measures = [
        found
        for name in ("val", "test")
        for found in measure_costs(
            truth[name],
            _pair_costs(model, parts[name]),
            who=KIND_TFIDF,
            part=name,
            platt=platt,
        )
    ]
    words = model.save(training.out / BASELINE)
    manifest = {
        "words_sha256": words,
        "strength": best,
        "calibration": platt.as_json() if platt else None,
    }
    return Trained(classifier=KIND_TFIDF, manifest=manifest, measures=measures)


def _pair_costs(model: Tfidf, pairs: Sequence[Pair]) -> Array:
    return model.costs(flat(pairs)[0]).reshape(-1, 2)


class CostTfidf(Classifier):
    """The baseline, read as a cost."""

    def __init__(self, options: BaselineOptions) -> None:
        super().__init__(options)
        self.found = read_baseline(options)
        self.model = load_tfidf(self.found.folder)

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.found.label

    def record(
        self,
        samples: Sequence[Sample],
        wanted: frozenset[type[Evidence]],
        tick: Callable[[int], None],
    ) -> Recording:
        """Return the cost of every sample, in their order."""
        assert wanted == {Cost}, f"cost_tfidf records no {wanted}"
        since = time.perf_counter()
        exchanges = [exchange_of(sample) for sample in samples]
        values = self.model.costs([found or ("", "") for found in exchanges])
        seconds = (time.perf_counter() - since) / max(len(samples), 1)
        traces = [
            Trace(seconds=seconds, error=None if found else NO_RESPONSE)
            for found in exchanges
        ]
        tick(len(samples))
        meta: Mapping[str, Any] = evidence_meta(self.found.calibration)
        evidence = Cost({"value": values}, meta=meta)
        return Recording(evidence={Cost: evidence}, traces=traces)
