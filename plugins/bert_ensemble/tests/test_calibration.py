"""Calibration of pools on validation rows, and weights of classes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

from safebench.errors import DataError, OptionError
from safebench.evidence import EvidenceBundle, MemberLogits
from safebench.strategies import Context
from safebench_bert_ensemble.model.calibration import (
    fit_calibration,
    read_calibration,
)
from safebench_bert_ensemble.model.evidence import build_evidence
from safebench_bert_ensemble.model.identity import (
    ensemble_capabilities,
    ensemble_identity,
)
from safebench_bert_ensemble.model.location import find_ensemble
from safebench_bert_ensemble.model.reading import find_reading
from safebench_bert_ensemble.options import (
    EnsembleOptions,
    EnsembleTrainOptions,
    PoolOptions,
)
from safebench_bert_ensemble.strategies.ensemble import mean_logits, mean_probs
from safebench_bert_ensemble.train.training_job import LabelledTexts, TrainingJob

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.strategies import Judgements


def _overconfident(n: int = 400) -> tuple[Any, Any]:
    """Return probabilities whose log-odds are three times too large, and labels."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    return expit(3 * z), rng.random(n) < expit(z)


def _nll(p: Any, y: Any) -> float:
    return float(-np.log(np.where(y, p, 1 - p)).mean())


def test_a_temperature_has_the_least_log_loss() -> None:
    """Compared with a search over temperatures."""
    p, y = _overconfident()

    fitted = read_calibration(fit_calibration(p, y, weighted=False))

    best = minimize_scalar(
        lambda t: _nll(expit(logit(p) / t), y), bounds=(0.1, 20), method="bounded"
    ).x
    assert fitted is not None
    assert 1 / fitted.slope == pytest.approx(best, rel=1e-4)
    assert (fitted.offset, fitted.at_one_half, fitted.n) == (0.0, 0.5, 400)
    assert fitted.described.startswith(
        f"calibrated probability: temperature {best:.3g}"
    )


def test_weights_of_classes_are_taken_back() -> None:
    """Log-odds that weights moved by 2 get the line of a logistic regression."""
    p, y = _overconfident()
    moved = expit(logit(p) + 2)

    fitted = read_calibration(fit_calibration(moved, y, weighted=True))

    line = LogisticRegression(C=1e9, tol=1e-10).fit(logit(moved)[:, None], y)
    assert fitted is not None
    assert fitted.slope == pytest.approx(float(line.coef_[0, 0]), rel=1e-3)
    assert fitted.offset == pytest.approx(float(line.intercept_[0]), rel=1e-3)


@pytest.mark.parametrize(
    ("p", "y", "reason"),
    [
        ([0.2] * 20 + [0.9] * 9, [0] * 20 + [1] * 9, "9 validation rows of the rarer"),
        ([0.2] * 20 + [0.9] * 20, [0] * 20 + [1] * 20, "0.5 separates the classes"),
        ([0.9, 0.2] * 20, [0, 1] * 20, ""),
    ],
)
def test_where_nothing_is_fitted_the_reason_is_stored(
    p: list[float], y: list[int], reason: str
) -> None:
    """Too few labels, no error at all, probabilities that fall as harm rises."""
    content = fit_calibration(np.array(p), np.array(y, bool), weighted=False)

    assert content["none"].startswith(reason)
    assert read_calibration(content) is None


def _judge(
    pool: Any, stored: dict[str, Any] | None, logits: Any, **options: Any
) -> Judgements:
    evidence = build_evidence(
        logits,
        np.arange(len(logits) + 1),
        classes=("safe", "harmful"),
        polarity=(-1, 1),
        task="prompt_harm",
        members=("a", "b", "c"),
        meta={} if stored is None else {"calibration": stored},
    )
    context = Context(task="prompt_harm", options=PoolOptions(**options))
    judgements: Judgements = pool(EvidenceBundle({MemberLogits: evidence}), context)
    return judgements


@pytest.mark.parametrize("pool", [mean_logits, mean_probs])
@pytest.mark.parametrize("offset", [0.0, -1.3])
def test_no_decision_depends_on_a_calibration(pool: Any, offset: float) -> None:
    """One half decides as before; with an offset its place is told with the scores."""
    logits = np.random.default_rng(1).normal(scale=3, size=(50, 3, 2))
    own = {"slope": 0.4, "offset": offset, "n": 200}
    other = {"slope": 9.0, "offset": 3.0, "n": 1}
    name = pool.__name__
    both = {"mean_logits": other, "mean_probs": other} | {name: own}

    raw = _judge(pool, None, logits)
    calibrated = _judge(pool, both, logits)
    switched_off = _judge(pool, both, logits, calibration="none")

    assert raw.score is not None
    assert calibrated.score is not None
    expected = expit(0.4 * logit(raw.score) + offset)
    np.testing.assert_allclose(calibrated.score, expected, rtol=1e-9)
    assert "fitted on 200 validation rows" in calibrated.note
    threshold = 0.5 if calibrated.threshold is None else calibrated.threshold
    np.testing.assert_array_equal(calibrated.score >= threshold, raw.score >= 0.5)
    assert (calibrated.decision is None) == (offset == 0)
    if calibrated.decision is not None:
        np.testing.assert_array_equal(calibrated.decision, raw.score >= 0.5)
    np.testing.assert_array_equal(switched_off.score, raw.score)
    assert (raw.note, switched_off.note) == ("", "")


@pytest.fixture
def calibrated_folder(ensemble_folder: Path, tmp_path: Path) -> Path:
    """Return an ensemble whose manifest carries a calibration of pools and members."""
    folder = tmp_path / "calibrated"
    shutil.copytree(ensemble_folder, folder)
    manifest = json.loads((folder / "safebench.json").read_text())
    content = {"slope": 0.5, "offset": 0.0, "n": 24}
    manifest["calibration"] = {
        "pools": {"mean_logits": content, "mean_probs": {"none": "9 rows"}},
        "members": {"member-01": content | {"slope": 0.7}, "member-02": {"none": "x"}},
    }
    (folder / "safebench.json").write_text(json.dumps(manifest))
    for member in folder.glob("member-*"):
        (member / "member.json").write_text("{}")
    return folder


def test_each_model_has_the_calibration_that_was_fitted_to_it(
    ensemble_folder: Path, calibrated_folder: Path
) -> None:
    """An ensemble, a member alone, passes with dropout, an artifact of before."""

    def read(folder: Path, **options: Any) -> tuple[dict[str, Any], str]:
        given = EnsembleOptions(model=str(folder), **options)
        meta = find_reading(given, find_ensemble(str(folder))).meta
        return meta.get("calibration", {}), ensemble_capabilities(given).note

    def identity(folder: Path) -> dict[str, Any]:
        return ensemble_identity(EnsembleOptions(model=str(folder)))["record"]

    own = {"slope": 0.7, "offset": 0.0, "n": 24}
    assert read(calibrated_folder) == ({"mean_logits": own | {"slope": 0.5}}, "")
    assert read(calibrated_folder / "member-01")[0] == dict.fromkeys(
        ("mean_logits", "mean_probs"), own
    )
    assert read(calibrated_folder / "member-02")[0] == {}
    uncalibrated, note = read(calibrated_folder, mc_dropout=3)
    assert uncalibrated == {}
    assert "passes with dropout" in note
    old, note = read(ensemble_folder)
    assert old == {}
    assert "trained before calibrations were stored" in note
    # evidence of before keeps its key
    assert "calibration" not in identity(ensemble_folder)
    assert "calibration" in identity(calibrated_folder)


@pytest.mark.slow
def test_a_training_stores_its_calibration(finished: Any) -> None:
    """For each pool and member: constants, or why there are none."""
    _, trained = finished
    content = trained.manifest["calibration"]

    assert content["part"] == "val"
    assert set(content["pools"]) == {"mean_logits", "mean_probs"}
    assert set(content["members"]) == {"member-01", "member-02"}
    for entry in (*content["pools"].values(), *content["members"].values()):
        assert ("slope" in entry) != ("none" in entry)
    assert any("mean_probs: " in note and "calibrat" in note for note in trained.notes)


def _job(labels: list[int], *weights: str) -> TrainingJob:
    texts = LabelledTexts([("", "x")] * len(labels), labels, ["g"] * len(labels))
    options = EnsembleTrainOptions(class_weights=weights)
    return TrainingJob(options=options, bases=(), out=None, train=texts, val=texts)  # type: ignore[arg-type]


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    """Given ones count as they are; a class without rows has no weight."""
    labels = [0] * 7 + [1] * 3
    expected = compute_class_weight("balanced", classes=np.arange(2), y=labels)

    assert _job(labels, "balanced").class_weights() == pytest.approx(tuple(expected))
    assert _job(labels, "1", "2.5").class_weights() == (1.0, 2.5)
    assert _job(labels).class_weights() == ()
    with pytest.raises(DataError, match="all of one class"):
        _job([1, 1], "balanced").class_weights()


@pytest.mark.parametrize(
    "weights", [("1",), ("1", "2", "3"), ("1", "0"), ("1", "inf"), ("balancd",)]
)
def test_weights_that_are_none_are_refused(weights: tuple[str, ...]) -> None:
    """Two numbers above 0, or the word."""
    with pytest.raises(OptionError, match="class_weights: balanced, or the weights"):
        EnsembleTrainOptions(class_weights=weights)


@pytest.mark.slow
def test_weights_move_what_members_say(make_training: Callable[..., Any]) -> None:
    """Ten times the weight on harmful rows raises P(harmful); the artifact says so."""
    from safebench_bert_ensemble.train.trainer import fit

    settings: dict[str, Any] = {"members": 1, "epochs": 1.0}
    plain = fit(make_training("plain", **settings))
    weighted = fit(make_training("w", class_weights=("1", "10"), **settings))

    def recall(trained: Any) -> float:
        return next(
            m.value
            for m in trained.measures
            if (m.part, m.metric) == ("test", "recall")
        )

    assert weighted.manifest["class_weights"] == [1.0, 10.0]
    assert any("log-odds of harm by about +2.30" in note for note in weighted.notes)
    assert recall(weighted) >= recall(plain)
    assert recall(weighted) > 0.9


def test_the_weighted_loss_is_a_mean_over_rows(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """Each row's cross-entropy times the weight of its class, by hand."""
    import transformers

    from safebench_bert_ensemble.train.member_trainer import MemberTrainer

    folder = make_checkpoint("m", {0: "safe", 1: "harmful"})
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "o"), use_cpu=True, report_to="none"
    )
    trainer = MemberTrainer(
        model=network.eval(), args=arguments, eval_tokens=64, class_weights=(1.0, 3.0)
    )
    inputs = {
        "input_ids": torch.tensor([[2, 5, 3], [2, 9, 3], [2, 7, 3]]),
        "attention_mask": torch.ones(3, 3, dtype=torch.long),
        "labels": torch.tensor([0, 1, 1]),
    }

    loss = trainer.compute_loss(network, dict(inputs)).item()

    with torch.no_grad():
        logits = network(**{k: x for k, x in inputs.items() if k != "labels"}).logits
    logp = torch.log_softmax(logits, dim=1)
    by_hand = -(logp[0, 0] + 3 * logp[1, 1] + 3 * logp[2, 1]) / 3
    assert loss == pytest.approx(float(by_hand), rel=1e-6)
