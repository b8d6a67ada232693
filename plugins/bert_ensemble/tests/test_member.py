"""One member: its numbers, its precision, its best epoch, its own rows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from sklearn import metrics

from safebench.torch_utils import ModelFolder
from safebench_bert_ensemble.model.checkpoints import load_members
from safebench_bert_ensemble.model.location import MEMBER_FILE
from safebench_bert_ensemble.train.members import bagged_rows, validation_scores
from safebench_bert_ensemble.train.trainer import fit
from safebench_bert_ensemble.train.training_job import LabelledTexts, TrainingJob

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.training import Trained, Training

    MakeTraining = Callable[..., Training]

pytestmark = pytest.mark.slow


def test_validation_scores_are_those_of_scikit_learn() -> None:
    """F1, accuracy, AUROC and loss of rows, however they were batched."""
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(50, 2)), rng.integers(0, 2, 50)
    p = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)

    scores = validation_scores(transformers.EvalPrediction(logits, y))

    assert metrics.f1_score(y, p > 0.5) == pytest.approx(scores["f1"])
    assert metrics.accuracy_score(y, p > 0.5) == pytest.approx(scores["accuracy"])
    assert metrics.roc_auc_score(y, p) == pytest.approx(scores["auroc"])
    assert metrics.log_loss(y, p) == pytest.approx(scores["loss"])


def test_the_reported_loss_is_that_of_the_kept_epoch(
    finished: tuple[Training, Trained],
) -> None:
    """The loss in the manifest is the log loss of the member over validation rows."""
    training, trained = finished
    member = trained.manifest["members"][0]
    kept = next(e for e in member["epochs"] if 6 * e["epoch"] == member["best_step"])
    ensemble = load_members(
        [training.out / "member-01"],
        root=training.out,
        classes=("safe", "harmful"),
        max_length=16,
        max_windows=1,
        device="cpu",
        batch_tokens=512,
    )
    texts = [("", sample.judged.text) for sample in training.val.samples]
    logits = ensemble.predict(texts, lambda _: None).values[:, 0].astype(float)
    y = [gold.label.value for gold in training.val.ground_truth]

    p = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)

    assert metrics.log_loss(y, p) == pytest.approx(kept["eval_loss"], rel=1e-4)


def test_weights_stay_in_float32_where_arithmetic_is_in_bfloat16(
    make_training: MakeTraining,
) -> None:
    """Autocast changes what is learnt a little, and the stored numbers' format not."""
    plain = make_training("fp32", members=1, epochs=1.0)
    halved = make_training("bf16", members=1, epochs=1.0, precision="bf16")

    fit(plain)
    fit(halved)

    first, second = (
        load_file(t.out / "member-01" / "model.safetensors") for t in (plain, halved)
    )
    assert {torch.float32} == {tensor.dtype for tensor in second.values()}
    gaps = [float((first[key] - second[key]).abs().max()) for key in first]
    assert 0 < max(gaps) < 0.1


def test_best_epoch_is_kept_and_training_stops_early(
    make_training: MakeTraining,
) -> None:
    """A perfect first epochs cannot be beaten: patience 1 ends the training."""
    training = make_training(members=1, epochs=30.0, patience=1)

    fit(training)

    facts = json.loads((training.out / "member-01" / MEMBER_FILE).read_text())
    scores = [epoch["eval_f1"] for epoch in facts["epochs"]]
    assert len(scores) < 30
    assert facts["val_f1"] == max(scores)
    assert facts["best_step"] == 6 * (1 + scores.index(max(scores)))


def test_bagging_draws_other_rows_for_each_member(make_training: MakeTraining) -> None:
    """Draws of whole groups differ between members, and come back with the seed."""
    training = make_training(bagging=True)
    part = LabelledTexts.from_dataset(training.train)
    part.groups[:] = [f"g{i // 2}" for i in range(48)]
    base = ModelFolder(training.out, "none")
    job = TrainingJob(
        options=training.options,
        bases=(base, base),
        out=training.out,
        train=part,
        val=part,
    )
    rows = [{"input_ids": [i]} for i in range(48)]

    draws = [bagged_rows(job, member, rows) for member in (0, 1, 0)]

    assert draws[0] == draws[2] != draws[1]
    assert draws[0][1] != draws[1][1]
    times = Counter(row["input_ids"][0] for row in draws[0][0])
    assert all(times[i] == times[i + 1] for i in range(0, 48, 2))
    assert len({*times.values()}) > 1
    plain = replace(job, options=replace(job.options, bagging=False))
    assert (rows, None) == bagged_rows(plain, 0, rows)
