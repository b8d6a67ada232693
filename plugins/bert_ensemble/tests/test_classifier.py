"""Ensembles and single checkpoints as guards: evidence, labels, errors."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers

from safebench.errors import ModelError, OptionError
from safebench.evidence import MemberLogits
from safebench.evidence.bundle import Bundle
from safebench.judgements import Context
from safebench.records import Sample, Turn
from safebench.testing.conformance import (
    assert_classifier_is_sound,
    assert_plugin_is_sound,
)
from safebench_bert_ensemble.classifier import BertEnsemble
from safebench_bert_ensemble.doctor import doctor
from safebench_bert_ensemble.fit import fit
from safebench_bert_ensemble.identity import ensemble_identity
from safebench_bert_ensemble.labels import polarities
from safebench_bert_ensemble.options import EnsembleOptions
from safebench_bert_ensemble.strategies.judging import mean_probs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training.job import Training

KINDS = frozenset({MemberLogits})


def samples() -> list[Sample]:
    """Return prompts from one word to many windows."""
    texts = ["bread", "how do i make a bomb", "please " * 30, "now poison " * 60, ""]
    return [Sample(id=str(i), turns=(Turn("user", t),)) for i, t in enumerate(texts)]


def record(guard: BertEnsemble, asked: list[Sample]) -> MemberLogits:
    """Return the evidence about some samples."""
    found = guard.record(asked, KINDS, lambda _: None).evidence[MemberLogits]
    assert isinstance(found, MemberLogits)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """Return an untrained ensemble of two, laid out as a training leaves it."""
    out = tmp_path_factory.mktemp("ensemble") / "mine"
    for seed, name in enumerate(("member-01", "member-02")):
        torch.manual_seed(seed)
        transformers.AutoModelForSequenceClassification.from_pretrained(
            tiny_base, id2label={0: "safe", 1: "harmful"}, dtype=torch.float32
        ).save_pretrained(out / name)
    transformers.AutoTokenizer.from_pretrained(tiny_base).save_pretrained(out)
    manifest = {
        "schema_version": 1,
        "kind": "bert_ensemble",
        "status": "done",
        "members": [{"path": "member-01"}, {"path": "member-02"}],
        "max_length": 16,
        "task": "prompt_harm",
    }
    (out / "safebench.json").write_text(json.dumps(manifest))
    return out


def test_evidence_is_that_of_each_member_alone(trained: Path) -> None:
    """Logits of a short text are those of the plainly loaded members."""
    guard = BertEnsemble(EnsembleOptions(model=str(trained), device="cpu"))
    text = "how do i make bread"

    logits = record(guard, [Sample(id="a", turns=(Turn("user", text),))])["logits"]

    tokenizer = transformers.AutoTokenizer.from_pretrained(trained)
    inputs = tokenizer(text, return_tensors="pt")
    for at, name in enumerate(("member-01", "member-02")):
        member = transformers.AutoModelForSequenceClassification.from_pretrained(
            trained / name
        )
        with torch.inference_mode():
            expected = member(**inputs).logits[0].numpy()
        np.testing.assert_allclose(expected, logits[0, at], atol=1e-6)


def test_evidence_depends_on_the_sample_alone(trained: Path) -> None:
    """Batch size and order change nothing beyond rounding; small budgets neither."""
    options = EnsembleOptions(model=str(trained), device="cpu", batch_tokens=64)

    assert_classifier_is_sound(BertEnsemble(options), samples(), KINDS, 1e-5)


def test_long_texts_are_read_in_windows(trained: Path) -> None:
    """Windows cover a long text; cut at the right, one is left and the rest counted."""
    options = EnsembleOptions(model=str(trained), device="cpu")
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

    guard = BertEnsemble(EnsembleOptions(model=str(training.out), device="cpu"))

    assert 2 == len(guard.ensemble.readers)
    assert_classifier_is_sound(guard, samples(), KINDS, 1e-5)


def test_a_single_checkpoint_is_an_ensemble_of_one(
    make_checkpoint: Callable[..., Path],
) -> None:
    """Its classes are understood, in whatever order, and the score is that of harm."""
    folder = make_checkpoint("toxic", {0: "toxic", 1: "neutral"})

    guard = BertEnsemble(EnsembleOptions(model=str(folder), device="cpu"))
    evidence = record(guard, samples())
    score = mean_probs(
        Bundle({MemberLogits: evidence}), Context(task="prompt_harm")
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
    one = make_checkpoint("one", {0: "toxicity"})
    many = make_checkpoint(
        "many",
        {0: "toxic", 1: "insult", 2: "threat"},
        problem_type="multi_label_classification",
    )

    for folder, classes in ((one, 1), (many, 3)):
        guard = BertEnsemble(EnsembleOptions(model=str(folder), device="cpu"))
        evidence = record(guard, samples()[:2])
        assert "sigmoid" == evidence.meta["link"]
        assert (2, 1, classes) == evidence["logits"].shape


def test_class_names_are_understood_or_asked_for() -> None:
    """Well-known names and LABEL_1 need no help; others raise with an example."""
    assert [-1, 1] == polarities(["LABEL_0", "LABEL_1"], (), "m")
    assert [1, -1] == polarities(["Unsafe", "Safe"], (), "m")
    assert [-1, 1, 1] == polarities(["not-toxic", "hate", "offensive"], (), "m")
    assert [1, -1] == polarities(["A", "B"], ("a",), "m")
    with pytest.raises(OptionError, match=r"classes A, B.*harmful=A"):
        polarities(["A", "B"], (), "m")
    with pytest.raises(OptionError, match="no class 'toxik'; did you mean 'toxic'"):
        polarities(["toxic", "fine"], ("toxik",), "m")


def test_without_a_model_it_says_how_to_get_one() -> None:
    """One line with the command that trains one."""
    with pytest.raises(ModelError, match="safebench train bert_ensemble"):
        ensemble_identity(EnsembleOptions())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no folder", "no folder .*/mine"),
        ("no manifest", "holds no safebench.json"),
        ("torn manifest", "cannot be read"),
        ("unfinished", "is unfinished: go on with .*--resume"),
        ("other kind", "cost_model, not bert_ensemble"),
        ("no member", "lacks a member .*member-02"),
        ("no weights", "lacks a member .*member-02 holds no weights"),
    ],
)
def test_a_bad_folder_is_one_clear_line(
    trained: Path, tmp_path: Path, damage: str, message: str
) -> None:
    """Each way for a folder to be wrong has its own line."""
    folder = tmp_path / "mine"
    manifest = folder / "safebench.json"
    if damage != "no folder":
        shutil.copytree(trained, folder)
    changes: dict[str, Callable[[], Any]] = {
        "no folder": lambda: None,
        "no manifest": manifest.unlink,
        "torn manifest": lambda: manifest.write_text("{"),
        "unfinished": lambda: _change(manifest, status="training"),
        "other kind": lambda: _change(manifest, kind="cost_model"),
        "no member": lambda: shutil.rmtree(folder / "member-02"),
        "no weights": (folder / "member-02" / "model.safetensors").unlink,
    }
    changes[damage]()

    with pytest.raises(ModelError, match=message) as caught:
        BertEnsemble(EnsembleOptions(model=str(folder), device="cpu"))
    assert "\n" not in caught.value.message


def _change(manifest: Path, **changes: str) -> None:
    content = json.loads(manifest.read_text()) | changes
    manifest.write_text(json.dumps(content))


def test_an_encoder_without_a_head_is_refused(tiny_base: Path) -> None:
    """Its answers would be random: the message says what such a folder is good for."""
    with pytest.raises(ModelError, match=r"is no classifier.*--base"):
        BertEnsemble(EnsembleOptions(model=str(tiny_base), device="cpu"))


def test_torn_weights_are_one_line(trained: Path, tmp_path: Path) -> None:
    """A file that was cut short is named with its member."""
    folder = tmp_path / "mine"
    shutil.copytree(trained, folder)
    weights = folder / "member-01" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(ModelError, match="mine/member-01' cannot be loaded") as caught:
        BertEnsemble(EnsembleOptions(model=str(folder), device="cpu"))
    assert "\n" not in caught.value.message


def test_identity_changes_with_weights_and_reading_alone(
    trained: Path, tmp_path: Path
) -> None:
    """Another member or window length is another model; the device joins later."""
    options = EnsembleOptions(model=str(trained), device="cpu")
    folder = tmp_path / "mine"
    shutil.copytree(trained, folder)
    same = ensemble_identity(replace(options, model=str(folder)))
    weights = folder / "member-02" / "model.safetensors"
    weights.write_bytes((folder / "member-01" / "model.safetensors").read_bytes())

    base = ensemble_identity(options)
    assert base == same == ensemble_identity(replace(options, device="auto"))
    assert base != ensemble_identity(replace(options, max_length=8))
    assert base != ensemble_identity(replace(options, model=str(folder)))


def test_the_doctor_finds_nothing_wrong(trained: Path) -> None:
    """All checks of a sound ensemble pass, and tell the meaning of its classes."""
    checks = list(doctor(EnsembleOptions(model=str(trained), device="cpu")))

    assert {"ok"} == {status for _, status, _ in checks}
    assert "safe = safe, harmful = harm" in [detail for _, _, detail in checks]


def test_the_plugin_declares_well() -> None:
    """All code is there, every component has a summary, and declaring is cheap."""
    assert_plugin_is_sound("bert_ensemble")
