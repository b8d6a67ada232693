"""Baselines: kept without pickle, equal to what scikit-learn fitted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from safebench.errors import DataError, ModelError
from safebench.evidence import EvidenceBundle, MemberLogits
from safebench.strategies import Context
from safebench.testing import assert_classifier_is_sound
from safebench_bert_ensemble.model.frozen_encoder import FrozenEncoder
from safebench_bert_ensemble.model.identity import frozen_identity, tfidf_identity
from safebench_bert_ensemble.model.logistic_regression import fit_logistic
from safebench_bert_ensemble.model.tfidf import VECTORIZER_SETTINGS, Tfidf
from safebench_bert_ensemble.options import FrozenOptions, TfidfOptions
from safebench_bert_ensemble.strategies.ensemble import mean_probs
from safebench_bert_ensemble.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained, Training

    MakeTraining = Callable[..., Training]

KINDS = frozenset({MemberLogits})


def finish(training: Training, trained: Trained) -> Path:
    """Write the manifest that the core writes, and return the folder."""
    content = {"schema_version": 1, "kind": trained.classifier, "status": "done"}
    text = json.dumps(content | {**trained.manifest})
    (training.out / "safebench.json").write_text(text)
    return training.out


def scores(classifier: Any, samples: list[Any]) -> Any:
    """Return the classifier's probabilities."""
    recording = classifier.record(samples, KINDS, lambda _: None)
    return mean_probs(
        EvidenceBundle(recording.evidence), Context(task="prompt_harm")
    ).score


def test_tfidf_is_the_pipeline_of_scikit_learn(make_training: MakeTraining) -> None:
    """Saved and read again, it gives the probabilities of the plain pipeline."""
    training = make_training(base="tfidf")
    trained = fit(training)
    folder = finish(training, trained)
    texts = [sample.judged.text for sample in training.train.samples]
    y = [gold.label.value for gold in training.train.ground_truth]
    pipeline = make_pipeline(
        TfidfVectorizer(**VECTORIZER_SETTINGS),
        LogisticRegression(
            C=trained.manifest["strength"], max_iter=2000, random_state=0
        ),
    ).fit(texts, y)
    samples = training.test.samples

    classifier = Tfidf(TfidfOptions(model=str(folder)))

    expected = pipeline.predict_proba([s.judged.text for s in samples])[:, 1]
    # evidence is kept in float32
    np.testing.assert_allclose(expected, scores(classifier, samples), atol=1e-6)
    assert_classifier_is_sound(classifier, samples[:5], KINDS, 1e-6)
    assert ("tfidf", "out") == (trained.classifier, classifier.label)


def test_tfidf_is_kept_without_pickle(make_training: MakeTraining) -> None:
    """Terms are JSON, numbers an .npz that loads without pickle; there is no more."""
    training = make_training(base="tfidf")
    fit(training)

    assert {"vocabulary.json", "weights.npz"} == {
        p.name for p in training.out.iterdir()
    }
    with np.load(training.out / "weights.npz", allow_pickle=False) as numbers:
        assert len(numbers["idf"]) == len(numbers["coefficients"])


@pytest.mark.parametrize("name", ["vocabulary.json", "weights.npz"])
def test_a_torn_tfidf_model_is_one_line(make_training: MakeTraining, name: str) -> None:
    """The message names the folder and what to do."""
    training = make_training(base="tfidf")
    folder = finish(training, fit(training))
    (folder / name).write_text("{")

    with pytest.raises(
        ModelError, match=rf"out.*({name}|no whole TF-IDF model).*train it again"
    ):
        Tfidf(TfidfOptions(model=str(folder)))


def test_a_frozen_encoder_learns_from_its_embeddings(
    make_training: MakeTraining, tiny_base: Path
) -> None:
    """Even a random encoder's words tell the classes apart; evidence conforms."""
    training = make_training(base=f"{tiny_base}-frozen")
    trained = fit(training)
    folder = finish(training, trained)

    classifier = FrozenEncoder(FrozenOptions(model=str(folder), device="cpu"))

    assert "frozen_encoder" == trained.classifier
    auroc = next(
        m.value for m in trained.measures if (m.part, m.metric) == ("test", "auroc")
    )
    assert auroc is not None
    assert auroc > 0.9
    assert_classifier_is_sound(classifier, training.test.samples[:5], KINDS, 1e-5)


def test_logistic_regression_takes_the_strength_that_validates_best() -> None:
    """The chosen strength has the largest validation AUROC of all that were tried."""
    rng = np.random.default_rng(0)
    x, held_out = rng.normal(size=(60, 30)), rng.normal(size=(200, 30))
    truth = rng.normal(size=30)
    y = (x @ truth + rng.normal(0, 4, 60) > 0).astype(int).tolist()
    y_val = (held_out @ truth > 0).astype(int).tolist()

    fitted = fit_logistic(x, y, held_out, y_val, 0)

    assert (
        max(fitted.val_auroc.values())
        == fitted.val_auroc[f"{fitted.inverse_regularization:g}"]
    )
    assert len(set(fitted.val_auroc.values())) > 1
    plain = LogisticRegression(C=fitted.inverse_regularization, max_iter=2000).fit(x, y)
    np.testing.assert_allclose(
        plain.decision_function(held_out), fitted.decision_function(held_out), atol=1e-6
    )
    with pytest.raises(DataError, match="one class"):
        fit_logistic(x, [1] * 60, held_out, y_val, 0)


def test_baselines_without_a_model_say_how_to_get_one() -> None:
    """Each names the command that trains it."""
    with pytest.raises(ModelError, match="--base tfidf"):
        tfidf_identity(TfidfOptions())
    with pytest.raises(ModelError, match="--base minilm-frozen"):
        frozen_identity(FrozenOptions())
