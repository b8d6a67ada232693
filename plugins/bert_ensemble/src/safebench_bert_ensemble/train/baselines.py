"""Training of the baselines `tfidf` and `frozen_encoder`, and their test numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.training import ProgressBar, Trained
from safebench_bert_ensemble.model.evidence import CLASSES, two_class_evidence
from safebench_bert_ensemble.model.frozen_encoder import Embedder, save_frozen_encoder
from safebench_bert_ensemble.model.location import FROZEN_KIND, TFIDF_KIND, find_base
from safebench_bert_ensemble.model.logistic_regression import fit_logistic
from safebench_bert_ensemble.model.tfidf import (
    TextTfidfModel,
    join_text,
    new_vectorizer,
)
from safebench_bert_ensemble.options import FROZEN_SUFFIX, FrozenOptions

from .evaluation import ensemble_measures
from .training_job import LabelledTexts

if TYPE_CHECKING:
    from safebench.training import Measure, Training
    from safebench.typing import Floats
    from safebench_bert_ensemble.model.logistic_regression import LinearModel
    from safebench_bert_ensemble.options import EnsembleTrainOptions


def fit_tfidf(training: Training) -> Trained:
    """Learn terms from the training rows, and the strength from the validation rows."""
    data = _labelled_texts(training)
    joined = {
        name: [join_text(text) for text in rows.texts] for name, rows in data.items()
    }
    vectorizer = new_vectorizer()
    train = vectorizer.fit_transform(joined["train"])
    val = vectorizer.transform(joined["val"])
    linear_model = fit_logistic(
        train, data["train"].labels, val, data["val"].labels, training.seed
    )
    TextTfidfModel(vectorizer, linear_model).save(training.out)
    # What is measured is what was stored.
    model = TextTfidfModel.load(training.out)
    training.say(
        f"tfidf: {train.shape[1]} terms, C = {linear_model.inverse_regularization:g}"
    )
    log_odds = {
        name: model.decision_function(data[name].texts) for name in ("val", "test")
    }
    return Trained(
        classifier=TFIDF_KIND,
        manifest={
            "base": TFIDF_KIND,
            "label_map": {name: i for i, name in enumerate(CLASSES)},
            "task": training.train.task,
            "terms": train.shape[1],
            **_choice(linear_model),
        },
        measures=_measures(training, log_odds, TFIDF_KIND),
    )


def fit_frozen(training: Training) -> Trained:
    """Embed all rows once, and choose the strength by the validation rows."""
    options: EnsembleTrainOptions = training.options
    base = find_base(options.base.removesuffix(FROZEN_SUFFIX), options.revision)
    embedder = Embedder(
        base.folder,
        base.label,
        FrozenOptions(
            max_length=options.max_length,
            # One row a text, as there is one label: windows would be several.
            truncation="right",
            device=options.device,
            batch_tokens=options.eval_tokens,
        ),
    )
    data = _labelled_texts(training)
    vectors = {}
    for name, rows in data.items():
        with ProgressBar(f"embedding {name}", len(rows.texts), "texts") as bar:
            vectors[name] = embedder.embed(rows.texts, bar.move)[1]
    linear_model = fit_logistic(
        vectors["train"],
        data["train"].labels,
        vectors["val"],
        data["val"].labels,
        training.seed,
    )
    training.say(f"{base.label}, frozen: C = {linear_model.inverse_regularization:g}")
    save_frozen_encoder(embedder, linear_model, training.out)
    log_odds = {
        name: linear_model.decision_function(vectors[name]) for name in ("val", "test")
    }
    return Trained(
        classifier=FROZEN_KIND,
        manifest={
            "base": base.label,
            "revision": base.commit,
            "bases": [base.base_record()],
            "label_map": {name: i for i, name in enumerate(CLASSES)},
            "task": training.train.task,
            "max_length": options.max_length,
            **_choice(linear_model),
        },
        measures=_measures(training, log_odds, FROZEN_KIND),
    )


def _labelled_texts(training: Training) -> dict[str, LabelledTexts]:
    splits = {"train": training.train, "val": training.val, "test": training.test}
    return {name: LabelledTexts.from_dataset(split) for name, split in splits.items()}


def _choice(model: LinearModel) -> dict[str, Any]:
    """Return how the strength was chosen, for the manifest."""
    return {"strength": model.inverse_regularization, "val_auroc": model.val_auroc}


def _measures(
    training: Training, log_odds: dict[str, Floats], member: str
) -> list[Measure]:
    """Return measures of log-odds on the validation and the test rows."""
    measures: list[Measure] = []
    for name, dataset in (("val", training.val), ("test", training.test)):
        offsets = np.arange(len(log_odds[name]) + 1)  # a window for each text
        evidence = two_class_evidence(
            log_odds[name], offsets, task=dataset.task, member=member
        )
        measures += ensemble_measures(evidence, dataset, name, training.seed)
    return measures
