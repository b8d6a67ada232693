"""The baseline `cost_tfidf`: TF-IDF and a logistic regression on the same pairs.

Its cost is the log-odds of "unsafe". A cost model that does not beat it has learnt no
more than which words are alarming. Kept without pickle: words as JSON, weights as
``.npz``.
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
from safebench.torch_utils import load_arrays

from .classifier import NO_RESPONSE, calibration_meta
from .location import find_baseline
from .template import prompt_and_response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.typing import Array
    from safebench_cost_model.options import BaselineOptions

SIDES = ("prompt", "response")
VOCABULARY_FILE, WEIGHTS_FILE = "words.json", "weights.npz"


class ExchangeTfidfModel:
    """Words and pairs of words of prompt and response, each side on its own."""

    def __init__(self, vectorizers: Sequence[Any], weights: Array, bias: float) -> None:
        self.vectorizers = vectorizers
        self.weights = weights
        self.bias = bias

    def costs(self, exchanges: Sequence[tuple[str, str]]) -> Array:
        """Return the log-odds of "unsafe" of n pairs (prompt, response), (n,)."""
        if not exchanges:
            return np.zeros(0)
        features = tfidf_features(self.vectorizers, exchanges)
        log_odds: Array = features @ self.weights + self.bias
        return log_odds

    def save(self, folder: Path) -> str:
        """Write words and weights; return the SHA-256 of the words."""
        folder.mkdir(parents=True, exist_ok=True)
        words = [sorted(v.vocabulary_, key=v.vocabulary_.get) for v in self.vectorizers]
        text = json.dumps(dict(zip(SIDES, words, strict=True)), ensure_ascii=True)
        (folder / VOCABULARY_FILE).write_text(text, encoding="utf-8")
        idf = {side: v.idf_ for side, v in zip(SIDES, self.vectorizers, strict=True)}
        arrays = {**idf, "weights": self.weights, "bias": np.array(self.bias)}
        np.savez(folder / WEIGHTS_FILE, allow_pickle=False, **arrays)
        return hashlib.sha256(text.encode()).hexdigest()


def new_vectorizer(words: Sequence[str] | None = None) -> Any:
    """Return the vectorizer of one side, with a fixed vocabulary if given."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, 2),
        min_df=1 if words else 2,
        sublinear_tf=True,
        vocabulary=words,
    )


def fit_vectorizers(exchanges: Sequence[tuple[str, str]]) -> list[Any]:
    """Return the vectorizers of both sides, with the words of N exchanges.

    Raises `DataError` where no word stands in two prompts, or in two responses.
    """
    try:
        sides = zip(*exchanges, strict=True)
        return [new_vectorizer().fit(texts) for texts in sides]
    except ValueError as error:  # scikit-learn's, which speaks of its own parameters
        raise DataError(
            f"{len(exchanges)} training responses are too few: no word stands in two "
            "of them, or in two of their prompts"
        ) from error


def tfidf_features(
    vectorizers: Sequence[Any], exchanges: Sequence[tuple[str, str]]
) -> Any:
    """Return sparse features (n, words of both sides)."""
    from scipy.sparse import hstack

    sides = zip(*exchanges, strict=True)
    return hstack(
        [v.transform(texts) for v, texts in zip(vectorizers, sides, strict=True)]
    ).tocsr()


def load_tfidf(folder: Path) -> ExchangeTfidfModel:
    """Read what a model saved; raises `ModelError` if it is damaged."""
    stored = load_arrays(folder / WEIGHTS_FILE, *SIDES, "weights", "bias")
    try:
        words = json.loads((folder / VOCABULARY_FILE).read_text(encoding="utf-8"))
        vectorizers = []
        for side in SIDES:
            vectorizer = new_vectorizer(words[side])
            vectorizer.idf_ = stored[side]
            vectorizers.append(vectorizer)
        model = ExchangeTfidfModel(
            vectorizers, stored["weights"], float(stored["bias"])
        )
        model.costs([("", "")])  # shapes that do not fit show here
    # Any: what files hold decides what the library raises.
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(f"{folder} cannot be read: {reason}") from error
    return model


class CostTfidf(Classifier):
    """The baseline as a classifier: its log-odds are the cost."""

    def __init__(self, options: BaselineOptions) -> None:
        super().__init__(options)
        self.location = find_baseline(options)
        self.model = load_tfidf(self.location.folder)

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.location.label

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return the cost of every sample, in their order."""
        assert kinds == {Cost}, f"cost_tfidf records no {kinds}"
        started = time.perf_counter()
        exchanges = [prompt_and_response(sample) for sample in samples]
        costs = self.model.costs([exchange or ("", "") for exchange in exchanges])
        seconds = (time.perf_counter() - started) / max(len(samples), 1)
        traces = [
            Trace(seconds=seconds, error=None if exchange else NO_RESPONSE)
            for exchange in exchanges
        ]
        on_progress(len(samples))
        meta = calibration_meta(self.location.calibration)
        return Recording(
            evidence={Cost: Cost({"value": costs}, meta=meta)}, traces=traces
        )
