"""The baseline `tfidf`: words and pairs of words, weighed, and logistic regression.

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
from safebench.training.job import Trained

from .encoding import read_text
from .job import CLASSES, Part
from .locate import find_baseline
from .logistic import Fitted, as_logits, fit_logistic
from .measures import ensemble_measures
from .trained import as_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from safebench.evidence import Evidence
    from safebench.records import Sample
    from safebench.training.job import Training

    from .options import TfidfOptions

NAME = "tfidf"
TERMS = "vocabulary.json"
NUMBERS = "weights.npz"
SETTINGS: dict[str, Any] = {
    "ngram_range": (1, 2),
    "sublinear_tf": True,
    "lowercase": True,
    "min_df": 2,
}


class TfidfModel:
    """A vectoriser with its linear model."""

    def __init__(self, vectoriser: Any, fitted: Fitted) -> None:
        self.vectoriser, self.fitted = vectoriser, fitted

    def margin(self, texts: Sequence[tuple[str, str]]) -> Any:
        """Return the log-odds of harm for (context, text) pairs, (n,)."""
        return self.fitted.margin(self.vectoriser.transform(list(map(_whole, texts))))

    def save(self, folder: Path) -> None:
        """Write terms and numbers; nothing that runs code when read."""
        folder.mkdir(parents=True, exist_ok=True)
        terms = self.vectoriser.get_feature_names_out().tolist()
        text = json.dumps({"settings": SETTINGS, "terms": terms}, ensure_ascii=False)
        (folder / TERMS).write_text(text + "\n", encoding="utf-8")
        np.savez(
            folder / NUMBERS,
            idf=self.vectoriser.idf_,
            coefficients=self.fitted.coefficients,
            intercept=self.fitted.intercept,
            strength=self.fitted.strength,
        )

    @classmethod
    def load(cls, folder: Path) -> TfidfModel:
        """Read a saved model; `ModelError` if a file is missing or damaged."""
        try:
            stored = json.loads((folder / TERMS).read_text(encoding="utf-8"))
            with np.load(folder / NUMBERS, allow_pickle=False) as numbers:
                fitted = Fitted(
                    numbers["coefficients"],
                    float(numbers["intercept"]),
                    float(numbers["strength"]),
                    {},
                )
                vectoriser = new_vectoriser(stored["terms"])
                vectoriser.idf_ = numbers["idf"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = " ".join(str(error).split())[:160]
            raise ModelError(
                f"{folder} is no whole TF-IDF model ({problem}): train it again"
            ) from None
        return cls(vectoriser, fitted)


def new_vectoriser(terms: Sequence[str] | None = None) -> Any:
    """Return a vectoriser, with a fixed vocabulary if given."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    settings = dict(SETTINGS)
    if terms is not None:
        settings |= {"vocabulary": list(terms), "min_df": 1}
    return TfidfVectorizer(**settings)


def fit_tfidf(training: Training) -> Trained:
    """Learn terms from the training rows, and the strength from the validation rows."""
    train, val = Part.of(training.train), Part.of(training.val)
    vectoriser = new_vectoriser()
    features = vectoriser.fit_transform(list(map(_whole, train.texts)))
    held_out = vectoriser.transform(list(map(_whole, val.texts)))
    fitted = fit_logistic(features, train.labels, held_out, val.labels, training.seed)
    TfidfModel(vectoriser, fitted).save(training.out)
    model = TfidfModel.load(training.out)  # what is measured is what was kept
    training.say(f"tfidf: {features.shape[1]} terms, C = {fitted.strength:g}")
    measures = []
    for part, dataset in (("val", training.val), ("test", training.test)):
        logits = _evidence(model, dataset.samples, dataset.task)
        measures += ensemble_measures(logits, dataset, part, training.seed)
    return Trained(
        classifier=NAME,
        manifest={
            "base": NAME,
            "label_map": {name: i for i, name in enumerate(CLASSES)},
            "task": training.train.task,
            "terms": features.shape[1],
            "strength": fitted.strength,
            "val_auroc": fitted.val_auroc,
        },
        measures=measures,
    )


class Tfidf(Classifier):
    """A trained TF-IDF model as a guard; it reads a whole text, however long."""

    options: TfidfOptions

    def __init__(self, options: TfidfOptions) -> None:
        super().__init__(options)
        self.found = find_baseline(options.model, NAME, NAME)
        self.model = TfidfModel.load(self.found.root)

    @property
    def label(self) -> str:
        """The model's name for tables."""
        return self.found.label

    @property
    def facts(self) -> Mapping[str, Any]:
        """Nothing depends on the machine."""
        return {"device": "cpu"}

    def record(
        self,
        samples: Sequence[Sample],
        wanted: frozenset[type[Evidence]],
        tick: Callable[[int], None],
    ) -> Recording:
        """Return the logits of the one member on every sample."""
        assert wanted == {MemberLogits}, f"tfidf records no {wanted}"
        started = time.perf_counter()
        task = self.found.manifest.get("task", "prompt_harm")
        evidence = _evidence(self.model, samples, task)
        share = (time.perf_counter() - started) / max(len(samples), 1)
        tick(len(samples))
        return Recording(
            evidence={MemberLogits: evidence},
            traces=[Trace(seconds=share) for _ in samples],
        )


def _evidence(model: TfidfModel, samples: Sequence[Sample], task: str) -> MemberLogits:
    margin = model.margin([read_text(sample) for sample in samples])
    return as_evidence(
        as_logits(margin),
        np.arange(len(samples) + 1),
        classes=CLASSES,
        polarity=(-1, 1),
        task=task,
        members=[NAME],
    )


def _whole(text: tuple[str, str]) -> str:
    return "\n".join(filter(None, text))
