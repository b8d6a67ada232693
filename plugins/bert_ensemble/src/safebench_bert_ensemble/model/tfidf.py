"""The baseline `tfidf`: words and pairs of words, weighted, and logistic regression.

Kept without pickle: terms as JSON, numbers as ``.npz``.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Classifier, Recording, Trace
from safebench.errors import ModelError
from safebench.evidence import MemberLogits
from safebench.torch_utils import load_arrays

from .encoding import context_and_text
from .evidence import two_class_evidence
from .location import TFIDF_KIND, find_baseline
from .logistic_regression import LinearModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.typing import Floats
    from safebench_bert_ensemble.options import TfidfOptions

VOCABULARY_FILE = "vocabulary.json"
WEIGHTS_FILE = "weights.npz"
VECTORIZER_SETTINGS: dict[str, Any] = {
    "ngram_range": (1, 2),
    "sublinear_tf": True,
    "lowercase": True,
    "min_df": 2,
}


class TextTfidfModel:
    """A TF-IDF vectorizer with its linear model."""

    def __init__(self, vectorizer: Any, linear_model: LinearModel) -> None:
        self.vectorizer, self.linear_model = vectorizer, linear_model

    def decision_function(self, texts: Sequence[tuple[str, str]]) -> Floats:
        """Return the log-odds of harm of n (context, text) pairs, (n,)."""
        features = self.vectorizer.transform(list(map(join_text, texts)))
        return self.linear_model.decision_function(features)

    def save(self, folder: Path) -> None:
        """Write terms and numbers; nothing that runs code when it is read."""
        folder.mkdir(parents=True, exist_ok=True)
        terms = self.vectorizer.get_feature_names_out().tolist()
        text = json.dumps(
            {"settings": VECTORIZER_SETTINGS, "terms": terms}, ensure_ascii=False
        )
        (folder / VOCABULARY_FILE).write_text(text + "\n", encoding="utf-8")
        arrays = {"idf": self.vectorizer.idf_} | self.linear_model.to_arrays()
        np.savez(folder / WEIGHTS_FILE, **arrays)

    @classmethod
    def load(cls, folder: Path) -> TextTfidfModel:
        """Read a saved model; `ModelError` if a file is missing or damaged."""
        arrays = load_arrays(folder / WEIGHTS_FILE, "idf", *LinearModel.ARRAY_NAMES)
        try:
            stored = json.loads((folder / VOCABULARY_FILE).read_text(encoding="utf-8"))
            vectorizer = new_vectorizer(stored["terms"])
            vectorizer.idf_ = arrays["idf"]
            model = cls(vectorizer, LinearModel.from_arrays(arrays))
            model.decision_function([("", "")])  # shapes that do not fit show here
        # Any: what files hold decides what the library raises.
        except Exception as error:
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise ModelError(
                f"{folder} is no whole TF-IDF model ({reason}): train it again"
            ) from error
        return model


def new_vectorizer(terms: Sequence[str] | None = None) -> Any:
    """Return a vectorizer, with a fixed vocabulary if given."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    settings = dict(VECTORIZER_SETTINGS)
    if terms is not None:
        settings |= {"vocabulary": list(terms), "min_df": 1}
    return TfidfVectorizer(**settings)


def join_text(text: tuple[str, str]) -> str:
    """Return context and judged text as one, without an empty line for no context."""
    return "\n".join(filter(None, text))


class Tfidf(Classifier):
    """A trained TF-IDF model as a classifier; it reads a whole text, however long."""

    options: TfidfOptions

    def __init__(self, options: TfidfOptions) -> None:
        super().__init__(options)
        self.location = find_baseline(
            options.model, TFIDF_KIND, TFIDF_KIND, options.revision
        )
        self.model = TextTfidfModel.load(self.location.root)

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.location.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """The device, which is always the CPU."""
        return {"device": "cpu"}

    def record(
        self,
        samples: Sequence[Sample],
        kinds: frozenset[type[Evidence]],
        on_progress: Callable[[int], None],
    ) -> Recording:
        """Return the logits of the one member on every sample."""
        assert kinds == {MemberLogits}, f"tfidf records no {kinds}"
        started = time.perf_counter()
        log_odds = self.model.decision_function(
            [context_and_text(sample) for sample in samples]
        )
        evidence = two_class_evidence(
            log_odds,
            np.arange(len(samples) + 1),
            task=self.location.manifest.get("task", "prompt_harm"),
            member=TFIDF_KIND,
        )
        seconds = (time.perf_counter() - started) / max(len(samples), 1)
        on_progress(len(samples))
        return Recording(
            evidence={MemberLogits: evidence},
            traces=[Trace(seconds=seconds) for _ in samples],
        )
