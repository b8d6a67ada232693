"""A trained ensemble: what it says, what it leaves, and how it is measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
import transformers

from safebench_bert_ensemble.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained, Training

    MakeTraining = Callable[..., Training]
    EqualWeights = Callable[[Path, Path], bool]


def measured(trained: Trained, who: str, metric: str) -> float | None:
    """Return a test number."""
    return next(
        m.value
        for m in trained.measures
        if (m.who, m.part, m.metric) == (who, "test", metric)
    )


@pytest.mark.slow
def test_an_ensemble_learns_and_its_members_load_plainly(
    finished: tuple[Training, Trained],
) -> None:
    """Words tell the class: both pools find out, `from_pretrained` needs no more."""
    training, trained = finished

    for pool in ("mean_logits", "mean_probs"):
        assert measured(trained, f"ensemble ({pool})", "f1") == 1.0
    member = transformers.AutoModelForSequenceClassification.from_pretrained(
        training.out / "member-02"
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(training.out)
    right = 0
    for sample, gold in zip(
        training.test.samples, training.test.ground_truth, strict=True
    ):
        inputs = tokenizer(
            sample.judged.text, return_tensors="pt", truncation=True, max_length=16
        )
        with torch.inference_mode():
            label = member.config.id2label[int(member(**inputs).logits.argmax())]
        right += (label == "harmful") is gold.label.value
    assert right / 24 == pytest.approx(measured(trained, "member-02", "accuracy"))
    assert member.dtype == torch.float32
    assert not list(training.out.glob("checkpoint-*"))


@pytest.mark.slow
def test_the_manifest_tells_members_apart(
    finished: tuple[Training, Trained], equal_weights: EqualWeights
) -> None:
    """Each member has its own seed for the head and for the order, and its numbers."""
    training, trained = finished

    first, second = trained.manifest["members"]
    assert {"member-01", "member-02"} == {first["path"], second["path"]}
    assert 4 == len({m[k] for m in (first, second) for k in ("seed", "data_seed")})
    assert {"safe": 0, "harmful": 1} == trained.manifest["label_map"]
    assert first["steps"] == 6 * len(first["epochs"])
    assert not equal_weights(training.out / "member-01", training.out / "member-02")
    json.dumps(trained.manifest)


@pytest.mark.slow
def test_measures_have_intervals_and_tell_disagreement(
    finished: tuple[Training, Trained],
) -> None:
    """Every member and pool has an interval; pairs of members are compared."""
    _, trained = finished

    test = [m for m in trained.measures if m.part == "test"]
    assert {"member-01", "member-02", "members"} <= {m.who for m in test}
    aurocs = [m for m in test if m.metric == "auroc"]
    assert 4 == len(aurocs)
    for m in aurocs:  # a perfect ranking has one, too
        assert m.n == 24
        assert m.low is not None
        assert m.high is not None
        assert m.low < m.value <= m.high
    disagreement = next(m for m in test if m.metric == "disagreement")
    assert disagreement.value is not None
    assert 0 <= disagreement.value <= 1


@pytest.mark.slow
def test_members_may_differ_in_architecture_and_tokenizer(
    make_training: MakeTraining,
    tiny_base: Path,
    tmp_path: Path,
    new_tokenizer: Callable[..., None],
) -> None:
    """A BERT and a DistilBERT with other words learn, and are asked together."""
    other = tmp_path / "tiny-distilbert"
    config = transformers.DistilBertConfig(
        vocab_size=16, dim=32, n_layers=1, n_heads=2, hidden_dim=64,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    transformers.DistilBertModel(config).save_pretrained(other)
    new_tokenizer(other, ("bomb", "bread", "poison", "garden", "how", "make"))

    training = make_training(epochs=2.0, bases=(str(tiny_base), str(other)))
    trained = fit(training)

    assert ["tiny-bert", "tiny-distilbert"] == trained.manifest["base"]
    kinds = [
        json.loads((training.out / name / "config.json").read_text())["model_type"]
        for name in ("member-01", "member-02")
    ]
    assert ["bert", "distilbert"] == kinds
