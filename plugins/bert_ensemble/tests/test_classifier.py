"""Ensembles and single checkpoints as guards: evidence, labels, identity."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import transformers

from safebench.errors import OptionError
from safebench.evidence import EvidenceBundle, MemberLogits
from safebench.records import Sample, Turn
from safebench.strategies import Context
from safebench.testing import (
    assert_classifier_is_sound,
    assert_plugin_is_sound,
)
from safebench_bert_ensemble.model.class_meaning import class_polarities
from safebench_bert_ensemble.model.classifier import BertEnsemble
from safebench_bert_ensemble.model.doctor import doctor
from safebench_bert_ensemble.model.identity import ensemble_identity
from safebench_bert_ensemble.model.location import MEMBER_FILE
from safebench_bert_ensemble.options import EnsembleOptions
from safebench_bert_ensemble.strategies.ensemble import mean_probs
from safebench_bert_ensemble.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Training

KINDS = frozenset({MemberLogits})


def samples() -> list[Sample]:
    """Return prompts from one word to many windows."""
    texts = ["bread", "how do i make a bomb", "please " * 30, "now poison " * 60, ""]
    return [Sample(id=str(i), turns=(Turn("user", t),)) for i, t in enumerate(texts)]


def record(classifier: BertEnsemble, samples: list[Sample]) -> MemberLogits:
    """Return the evidence about some samples."""
    recording = classifier.record(samples, KINDS, lambda _: None)
    evidence = recording.evidence[MemberLogits]
    assert isinstance(evidence, MemberLogits)
    return evidence


def test_evidence_is_that_of_each_member_alone(ensemble_folder: Path) -> None:
    """Logits of a short text are those of the plainly loaded members."""
    classifier = BertEnsemble(EnsembleOptions(model=str(ensemble_folder), device="cpu"))
    text = "how do i make bread"

    logits = record(classifier, [Sample(id="a", turns=(Turn("user", text),))])["logits"]

    tokenizer = transformers.AutoTokenizer.from_pretrained(ensemble_folder)
    inputs = tokenizer(text, return_tensors="pt")
    for at, name in enumerate(("member-01", "member-02")):
        member = transformers.AutoModelForSequenceClassification.from_pretrained(
            ensemble_folder / name
        )
        with torch.inference_mode():
            expected = member(**inputs).logits[0].numpy()
        np.testing.assert_allclose(expected, logits[0, at], atol=1e-6)


@pytest.mark.slow
def test_one_member_of_an_ensemble_reads_as_the_ensemble_does(
    ensemble_folder: Path, tmp_path: Path
) -> None:
    """Its folder has no tokenizer and no maximum length: both are those of the root."""
    root = tmp_path / "mine"
    shutil.copytree(ensemble_folder, root)
    for name in ("member-01", "member-02"):
        (root / name / MEMBER_FILE).write_text("{}")
    options = EnsembleOptions(model=str(root), device="cpu")
    alone = replace(options, model=str(root / "member-02"))

    classifier = BertEnsemble(alone)
    logits = record(classifier, samples())["logits"]

    expected = record(BertEnsemble(options), samples())["logits"]
    np.testing.assert_allclose(expected[:, 1:], logits, atol=1e-6)
    assert "mine/member-02" == classifier.label
    assert ensemble_identity(alone) != ensemble_identity(options)


def test_evidence_depends_on_the_sample_alone(ensemble_folder: Path) -> None:
    """Batch size and order change nothing beyond rounding; small budgets neither."""
    options = EnsembleOptions(model=str(ensemble_folder), device="cpu", batch_tokens=64)

    assert_classifier_is_sound(BertEnsemble(options), samples(), KINDS, 1e-5)


@pytest.mark.slow
def test_long_texts_are_read_in_windows(ensemble_folder: Path) -> None:
    """Windows cover a long text; cut at the right, one is left and the rest counted."""
    options = EnsembleOptions(model=str(ensemble_folder), device="cpu")
    whole, cut = (
        BertEnsemble(options),
        BertEnsemble(replace(options, truncation="right")),
    )

    windows = record(whole, samples())
    first = record(cut, samples())
    traces = cut.record(samples(), KINDS, lambda _: None).traces

    assert (len(windows["logits"]), 2, 2) == windows["logits"].shape
    counts = np.diff(windows.offsets["W"])
    assert [1, 1, 3, 11, 1] == counts.tolist()
    assert [1] * 5 == np.diff(first.offsets["W"]).tolist()
    np.testing.assert_allclose(
        windows["logits"][windows.offsets["W"][:-1]], first["logits"], atol=1e-5
    )
    assert [0, 0, 16, 106, 0] == [trace.tokens_dropped for trace in traces]
    assert ["", "", "right", "right", ""] == [trace.dropped_side for trace in traces]


@pytest.mark.slow
def test_members_with_other_tokenizers_read_the_same_stretches(
    make_training: Callable[..., Training],
    tiny_base: Path,
    tmp_path: Path,
    new_tokenizer: Callable[..., None],
) -> None:
    """A trained ensemble of two tokenizers gives evidence that conforms."""
    other = tmp_path / "tiny-other"
    shutil.copytree(tiny_base, other)
    new_tokenizer(other, ("bomb", "bread", "poison", "please", "how", "make"))
    training = make_training(epochs=1.0, bases=(str(tiny_base), str(other)))
    done = fit(training)
    content = {"schema_version": 1, "kind": done.classifier, "status": "done"}
    (training.out / "safebench.json").write_text(
        json.dumps(content | {**done.manifest})
    )

    classifier = BertEnsemble(EnsembleOptions(model=str(training.out), device="cpu"))

    assert 2 == len(classifier.ensemble.runners)
    assert_classifier_is_sound(classifier, samples(), KINDS, 1e-5)


def test_a_single_checkpoint_is_an_ensemble_of_one(
    make_checkpoint: Callable[..., Path],
) -> None:
    """Its classes are understood, in whatever order, and the score is that of harm."""
    folder = make_checkpoint("toxic", {0: "toxic", 1: "neutral"})

    classifier = BertEnsemble(EnsembleOptions(model=str(folder), device="cpu"))
    evidence = record(classifier, samples())
    score = mean_probs(
        EvidenceBundle({MemberLogits: evidence}), Context(task="prompt_harm")
    ).score

    first = evidence["logits"][evidence.offsets["W"][0], 0].astype(float)
    assert {"toxic": ["prompt_harm", 1], "neutral": ["prompt_harm", -1]} == (
        evidence.meta["tasks"]
    )
    assert score is not None
    assert 1 / (1 + np.exp(first[1] - first[0])) == pytest.approx(score[0])


def test_one_logit_and_several_labels_go_through_a_sigmoid(
    make_checkpoint: Callable[..., Path],
) -> None:
    """A head of one, and a multi-label head, say so in the evidence."""
    multi_label = {"problem_type": "multi_label_classification"}
    single = make_checkpoint("one", {0: "toxicity"}, **multi_label)
    many = make_checkpoint(
        "many",
        {0: "toxic", 1: "insult", 2: "threat"},
        **multi_label,
    )

    for folder, classes in ((single, 1), (many, 3)):
        classifier = BertEnsemble(EnsembleOptions(model=str(folder), device="cpu"))
        evidence = record(classifier, samples()[:2])
        assert "sigmoid" == evidence.meta["link"]
        assert (2, 1, classes) == evidence["logits"].shape


def test_class_names_are_understood_or_asked_for() -> None:
    """Well-known names need no help; others, LABEL_1 too, raise with an example."""
    assert (1, -1) == class_polarities(["Unsafe", "Safe"], (), "m")
    assert (-1, 1, 1) == class_polarities(["not-toxic", "hate", "offensive"], (), "m")
    assert (1, -1) == class_polarities(["A", "B"], ("a",), "m")
    for names in (["A", "B"], ["LABEL_0", "LABEL_1"], ["0", "1"], ["no", "yes"]):
        with pytest.raises(OptionError, match=f"{names[0]}.*harmful={names[1]}"):
            class_polarities(names, (), "m")
    with pytest.raises(OptionError, match="no class 'toxik'; did you mean 'toxic'"):
        class_polarities(["toxic", "fine"], ("toxik",), "m")


def test_identity_changes_with_weights_and_reading_alone(
    ensemble_folder: Path, tmp_path: Path
) -> None:
    """Another member or window length is another model; the device joins later."""
    options = EnsembleOptions(model=str(ensemble_folder), device="cpu")
    folder = tmp_path / "mine"
    shutil.copytree(ensemble_folder, folder)
    same = ensemble_identity(replace(options, model=str(folder)))
    weights = folder / "member-02" / "model.safetensors"
    weights.write_bytes((folder / "member-01" / "model.safetensors").read_bytes())

    base = ensemble_identity(options)
    assert base == same == ensemble_identity(replace(options, device="auto"))
    assert base != ensemble_identity(replace(options, max_length=8))
    assert base != ensemble_identity(replace(options, model=str(folder)))


@pytest.mark.slow
def test_the_doctor_finds_nothing_wrong(ensemble_folder: Path) -> None:
    """All checks of a sound ensemble pass, and tell the meaning of its classes."""
    checks = list(doctor(EnsembleOptions(model=str(ensemble_folder), device="cpu")))

    assert {"ok"} == {status for _, status, _ in checks}
    assert "safe = safe, harmful = harm" in [detail for _, _, detail in checks]


@pytest.mark.slow
def test_the_plugin_declares_well() -> None:
    """All code is there, every component has a summary, and declaring is cheap."""
    assert_plugin_is_sound("bert_ensemble")
