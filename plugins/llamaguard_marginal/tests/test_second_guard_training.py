"""Teachers and students of the second embedded guard, at the smallest scale."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PLUGIN = Path(__file__).resolve().parents[1]
FIRST = PLUGIN / "src" / "safebench_llamaguard_marginal" / "tiny_guard"
REGISTERED = PLUGIN.parents[1] / "benchmarks" / "registered" / "embedded_guard.yaml"
WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"),
    *("cat", "dog", "tree", "house", "river", "stone"),
]
LAYERS = 3

pytestmark = pytest.mark.slow  # for what they import


@pytest.fixture(autouse=True)
def _build_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the build, which lies beside the package."""
    monkeypatch.syspath_prepend(str(PLUGIN))


def teacher_recipe() -> Any:
    """Return the registered teachers, small."""
    from tiny_guard.second.recipe import read_recipe

    recipe = read_recipe(REGISTERED).teacher
    return dataclasses.replace(
        recipe, trained_layers=2, epochs=10, batch=8, rate=3e-3, characters=100
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store a BERT of three narrow layers with a vocabulary of a few words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS), "utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.3,  # large, so that what is attended to matters
    )
    BertModel(config).save_pretrained(folder)
    return folder


def texts_and_labels(n: int) -> tuple[list[str], Any]:
    """Random words; those with `bad` are harmful."""
    draw = np.random.default_rng(0)
    texts = [
        " ".join(draw.choice(WORDS[7:], draw.integers(2, 6))) + f" {word}"
        for word in draw.choice(["good", "bad"], n)
    ]
    return texts, np.array(["bad" in text for text in texts])


def test_states_and_trained_layers_together_are_the_whole_encoder(
    encoder: Path,
) -> None:
    """Cut where the training starts, the network says what it says in one piece."""
    import torch
    from tiny_guard.second.encoder import HarmEncoder, states_below
    from transformers import AutoModel, AutoTokenizer

    texts, _ = texts_and_labels(9)
    recipe = teacher_recipe()
    states = states_below(encoder, recipe, texts)
    parts = HarmEncoder(encoder, recipe, 0)
    parts.layers.eval()

    found = parts.decision_function(states, range(len(texts)))

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model: Any = AutoModel.from_pretrained(encoder)
    for text, odds in zip(texts, found, strict=True):
        with torch.inference_mode():
            hidden = model.eval()(**tokenizer(text, return_tensors="pt"))
            whole = parts.head(hidden.last_hidden_state.mean(1))
        # bfloat16 keeps three digits
        assert odds == pytest.approx(float(whole), abs=0.05)


def test_encoder_learns_from_some_rows_and_judges_others(encoder: Path) -> None:
    """It orders texts that it was not fitted on."""
    from sklearn.metrics import roc_auc_score
    from tiny_guard.second.encoder import HarmEncoder, states_below

    texts, labels = texts_and_labels(120)
    states = states_below(encoder, teacher_recipe(), texts)

    fitted = HarmEncoder(encoder, teacher_recipe(), 0)
    fitted.fit(states, range(80), labels[:80])

    rest = fitted.decision_function(states, range(80, 120))
    assert roc_auc_score(labels[80:], rest) > 0.9


def test_states_of_the_same_texts_are_kept_and_those_of_others_are_not(
    encoder: Path, tmp_path: Path
) -> None:
    """A file of other texts would give every text another's states."""
    from tiny_guard.second.encoder import cached_states

    texts, _ = texts_and_labels(5)
    path = tmp_path / "states.pt"
    first = cached_states(encoder, teacher_recipe(), texts, path)
    again = cached_states(encoder, teacher_recipe(), texts, path)
    assert first.flat.equal(again.flat)
    with pytest.raises(ValueError, match="other texts"):
        cached_states(encoder, teacher_recipe(), texts[1:], path)


@pytest.fixture(scope="module")
def first_guard() -> tuple[Any, Any]:
    """Load the guard from which the students start."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(FIRST, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(FIRST)


def test_interrupted_student_ends_as_one_that_was_not(
    first_guard: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored state of two steps, gone on from, gives the same weights."""
    import torch
    from tiny_guard.rows import TrainingRow
    from tiny_guard.second import student
    from tiny_guard.second.recipe import read_recipe

    model, tokenizer = first_guard
    monkeypatch.setattr(student, "STORE_EVERY", 2)
    recipe = dataclasses.replace(
        read_recipe(REGISTERED).student, steps=4, long_steps=0, limits=(60, 60)
    )
    rows = [TrainingRow("x", f"word {i}", None, i % 2 == 0) for i in range(6)]

    def train(folder: Path, said: list[str]) -> Any:
        folder.mkdir(exist_ok=True)
        return student.train_student(
            model, tokenizer, rows, np.full(6, 0.5), recipe, 0, folder, said.append
        )

    whole = train(tmp_path / "whole", [])

    class StoppedError(Exception):
        """An interruption after the second step."""

    def stop(text: str) -> None:
        if text.startswith("step 2"):
            raise StoppedError

    (tmp_path / "parts").mkdir()
    with pytest.raises(StoppedError):
        student.train_student(
            model, tokenizer, rows, np.full(6, 0.5), recipe, 0, tmp_path / "parts", stop
        )
    said: list[str] = []
    parts = train(tmp_path / "parts", said)

    assert not any(text.startswith("step 2") for text in said)
    start = dict(model.named_parameters())
    for (name, one), other in zip(
        whole.named_parameters(), parts.parameters(), strict=True
    ):
        assert torch.equal(one, other), name
        assert name.endswith("norm.weight") or not torch.equal(one, start[name])


def test_mean_of_weights_is_the_mean_of_each(first_guard: tuple[Any, Any]) -> None:
    """Two guards, and one of their mean."""
    import torch
    from tiny_guard.second.student import mean_of_weights

    torch.manual_seed(0)
    models = [torch.nn.Linear(3, 2) for _ in range(3)]

    mean = mean_of_weights(models)

    expected = sum(m.weight.detach().numpy() for m in models) / 3
    assert mean.weight.detach().numpy() == pytest.approx(expected)


def test_comparison_has_the_auroc_of_each_and_the_lead_between_them() -> None:
    """As scikit-learn counts it; a near copy stands in its cluster."""
    from sklearn.metrics import roc_auc_score
    from tiny_guard.rows import TrainingRow
    from tiny_guard.second.compare import compare_set

    draw = np.random.default_rng(3)
    rows = [
        TrainingRow("x", f"{draw.integers(10**9)} text {i % 29}", None, bool(i % 3))
        for i in range(60)
    ]
    labels = np.array([row.unsafe for row in rows])
    scores = {
        name: 1 / (1 + np.exp(-(labels * strength + draw.normal(size=60))))
        for name, strength in (("tf-idf", 0.5), ("tiny-guard", 1), ("tiny-guard-2", 2))
    }

    found = compare_set(rows, scores, 0.5)

    aurocs = {name: roc_auc_score(labels, s) for name, s in scores.items()}
    for name, value in aurocs.items():
        assert found["auroc"][name]["value"] == pytest.approx(value, abs=1e-4)
    lead = found["lead"]["tf-idf"]
    difference = aurocs["tiny-guard-2"] - aurocs["tf-idf"]
    assert lead["value"] == pytest.approx(difference, abs=1e-4)
    assert lead["low"] < lead["value"] < lead["high"]
    json.dumps(found)


def test_measurement_names_every_set_and_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first guard measured against itself has no lead and is not shipped."""
    from collections import Counter

    from tiny_guard.rows import TrainingRow
    from tiny_guard.second import build
    from tiny_guard.second.recipe import read_recipe
    from tiny_guard.second.rows import SecondCorpus

    monkeypatch.setattr(build, "CATEGORY_ROWS", 1)
    words = ("bread", "chess", "rivers", "murder", "poison", "bombs")
    rows = [
        TrainingRow("x", f"Tell me {i} things about {word}", None, place > 2, ("S1",))
        for place, word in enumerate(words)
        for i in (3, 7)
    ]
    recipe = read_recipe(REGISTERED)
    corpus = SecondCorpus(
        rows,
        np.arange(12),
        rows,
        [],
        dict.fromkeys(recipe.sets, rows),
        set(),
        Counter(),
    )

    found = build.measure(corpus, recipe, FIRST, [FIRST])

    assert list(found["sets"]) == list(recipe.sets)
    assert found["decision"]["ship"] is False
    assert {
        facts["lead"]["tiny-guard"]["value"] for facts in found["sets"].values()
    } == {0}
    assert found["categories"]["starter"]["tiny-guard-2"]["n"] == 1
    json.dumps(found)
