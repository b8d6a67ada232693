"""Encoders of any-guardrail: the real package on random weights."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError
from safebench.evidence import Scores
from safebench.records import Sample, Turn

pytest.importorskip("any_guardrail", reason="any-guardrail, an extra, is not installed")
pytest.importorskip("torch", reason="the library's encoders need torch")
pytest.importorskip("transformers", reason="the library's encoders need transformers")

import torch
import transformers

from safebench_any_guardrail.adapter import AnyGuardrailClassifier
from safebench_any_guardrail.guard_options import GuardOptions

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "day", "spell"]
TEXTS = ["good day", "bad spell", "spell", "bad bad day", "good good good"]


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes random weights the only model of a guard."""

    def build(guard: str, labels: list[str], **options: Any) -> tuple[Any, Path]:
        folder = tmp_path / guard
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        torch.manual_seed(8)  # gives verdicts of both kinds on TEXTS
        config = transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            initializer_range=1.0,
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
        )
        transformers.BertForSequenceClassification(config).save_pretrained(folder)
        tokenizer = transformers.BertTokenizer(
            str(folder / "vocab.txt"), model_max_length=8
        )
        tokenizer.save_pretrained(folder)
        module = importlib.import_module(f"any_guardrail.guardrails.{guard}.{guard}")
        name = "".join(part.capitalize() for part in guard.split("_"))
        monkeypatch.setattr(getattr(module, name), "SUPPORTED_MODELS", [str(folder)])
        given = GuardOptions(guard=guard, model=str(folder), **options)
        return AnyGuardrailClassifier(given), folder

    return build


@cache
def plain(folder: Path) -> tuple[Any, Any]:
    """Return a model and its tokenizer, loaded by plain transformers."""
    return (
        transformers.AutoModelForSequenceClassification.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )


def logits(folder: Path, text: str, second: str | None = None) -> Any:
    """Return a model's logits by plain transformers, (classes,)."""
    model, tokenizer = plain(folder)
    with torch.no_grad():
        batch = tokenizer(text, second, return_tensors="pt", truncation=True)
        return model(**batch).logits[0]


def record(model: Any, texts: list[str], task: str) -> Any:
    """Record evidence of prompts."""
    samples = [
        Sample(id=str(i), turns=(Turn("user", t),), task=task)
        for i, t in enumerate(texts)
    ]
    return model.record(samples, frozenset({Scores}), lambda _: None)


# classes as on the cards; the one that means an attack is not always the second
CLASSES = {
    "deepset": (["LEGIT", "INJECTION"], 1),
    "jasper": (["INJECTION", "LEGIT"], 0),
    "protectai": (["SAFE", "INJECTION"], 1),
    "sentinel": (["benign", "jailbreak"], 1),
    "pangolin": (["safe", "unsafe"], 1),
    "prompt_guard": (["LABEL_0", "LABEL_1"], 1),
}


@pytest.mark.parametrize("guard", CLASSES)
def test_the_score_is_the_probability_of_an_attack(encoder: Any, guard: str) -> None:
    """By plain transformers, whichever class is likelier."""
    labels, attack = CLASSES[guard]
    model, folder = encoder(guard, labels)

    recording = record(model, TEXTS, "injection")

    scores = recording.evidence[Scores]
    expected = [
        float(torch.softmax(logits(folder, text), -1)[attack]) for text in TEXTS
    ]
    assert expected == pytest.approx(scores["values"][:, 0].tolist(), abs=1e-6)
    assert [p > 0.5 for p in expected] == scores["flagged"].tolist()
    assert "probability" == scores.meta["scale"]
    assert {True, False} == {p > 0.5 for p in expected}, "both verdicts are seen"


def test_independent_categories_are_kept(encoder: Any) -> None:
    """Sigmoids of all heads, and the largest as the score, which only ranks."""
    names = ["HATE", "VULGAR", "SEX", "CRIME", "SELF-HARM"]
    model, folder = encoder("bielik_guard", names)

    recording = record(model, TEXTS, "prompt_harm")

    scores = recording.evidence[Scores]
    assert ["score", *names] == scores.meta["labels"]
    for row, text in zip(scores["values"], TEXTS, strict=True):
        expected = torch.sigmoid(logits(folder, text)).tolist()
        assert [max(expected), *expected] == pytest.approx(row.tolist(), abs=1e-6)
    assert "score" == scores.meta["scale"]


def test_pairs_are_read_as_pairs(encoder: Any) -> None:
    """Prompt and response are two segments; the verdict turns at the guard's cut."""
    model, folder = encoder("harm_guard", ["safe", "unsafe"], threshold="0.25")
    turns = (Turn("user", "good day"), Turn("assistant", "bad spell"))
    sample = Sample(id="x", turns=turns, task="response_harm")

    recording = model.record([sample], frozenset({Scores}), lambda _: None)

    pair = torch.softmax(logits(folder, "good day", "bad spell"), -1)[1]
    scores = recording.evidence[Scores]
    assert float(pair) == pytest.approx(scores["values"][0, 0], abs=1e-6)
    assert (float(pair) >= 0.25) == scores["flagged"][0]


def test_what_the_guard_cuts_off_is_counted(encoder: Any) -> None:
    """The library cuts without a word: 12 words and two marks are 14 tokens."""
    model, _ = encoder("prompt_guard", ["LABEL_0", "LABEL_1"])

    recording = record(model, ["good " * 12, "good"], "injection")

    assert [6, 0] == [trace.tokens_dropped for trace in recording.traces]
    assert [None, None] == [trace.error for trace in recording.traces]


def test_a_model_of_other_classes_is_refused(encoder: Any) -> None:
    """The library would call every text valid: no class has the expected name."""
    with pytest.raises(ModelError, match="its answer has no score"):
        encoder("protectai", ["NORMAL", "REJECTION"])


def test_a_score_against_the_verdict_fails(encoder: Any) -> None:
    """A direction that is not the documented one is not recorded in silence."""
    model, _ = encoder("deepset", ["LEGIT", "INJECTION"])
    validate = model.guard.validate

    def reversed_score(text: str) -> Any:
        output = validate(text)
        output.score = 1 - output.score
        return output

    model.guard.validate = reversed_score

    recording = record(model, TEXTS, "injection")

    assert all(
        "contradict each other" in str(trace.error) for trace in recording.traces
    )


def test_a_model_in_this_process_answers_one_at_a_time(encoder: Any) -> None:
    """Threads on one model would share its state."""
    from safebench.errors import OptionError

    with pytest.raises(OptionError, match="leave concurrency out"):
        encoder("deepset", ["LEGIT", "INJECTION"], concurrency=4)
