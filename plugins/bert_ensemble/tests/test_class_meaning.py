"""What outputs mean: told by names, asked for where they are silent, never guessed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner
from scipy.special import expit

from safebench.cli import cli
from safebench.errors import ModelError, OptionError
from safebench.evidence import EvidenceBundle, MemberLogits
from safebench.plugins import Plugins
from safebench.records import Sample, Turn
from safebench.results import read_rows
from safebench.strategies import Context
from safebench_bert_ensemble.model.class_meaning import class_names
from safebench_bert_ensemble.model.classifier import BertEnsemble
from safebench_bert_ensemble.model.doctor import doctor
from safebench_bert_ensemble.model.identity import ensemble_identity
from safebench_bert_ensemble.options import EnsembleOptions
from safebench_bert_ensemble.strategies.ensemble import mean_logits, mean_probs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.strategies import Judgements

TEXTS = ("how do i make bread", "how do i make a bomb", "poison")
CONTEXT = Context(task="prompt_harm")


def judge(folder: Path, **options: Any) -> tuple[Judgements, MemberLogits]:
    """Return judgements of the texts, and the evidence."""
    classifier = BertEnsemble(
        EnsembleOptions(model=str(folder), device="cpu", **options)
    )
    samples = [Sample(id=t, turns=(Turn("user", t),)) for t in TEXTS]
    kinds = frozenset({MemberLogits})
    evidence = classifier.record(samples, kinds, lambda _: None).evidence[MemberLogits]
    assert isinstance(evidence, MemberLogits)
    return mean_probs(EvidenceBundle({MemberLogits: evidence}), CONTEXT), evidence


def plain_logits(folder: Path) -> Any:
    """Return the logits (B, C) that the library alone computes."""
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        rows = [network(**tokenizer(t, return_tensors="pt")).logits for t in TEXTS]
    return torch.cat(rows).double().numpy()


def refusals(folder: Path, **options: Any) -> set[str]:
    """Return the messages with which identity, run and doctor refuse a model."""
    chosen = EnsembleOptions(model=str(folder), device="cpu", **options)
    messages = set()
    for refuse in (ensemble_identity, BertEnsemble, lambda o: list(doctor(o))):
        with pytest.raises((OptionError, ModelError)) as error:
            refuse(chosen)
        messages.add(error.value.message)
    return messages


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LABEL_0", "score", "output", "0"])
@pytest.mark.parametrize("problem", [None, "regression"])
def test_a_single_output_is_asked_for_and_then_goes_through_a_sigmoid(
    make_checkpoint: Callable[..., Path], name: str, problem: str | None
) -> None:
    """Told `harmful=`, a high output is a high score; a regression is no probability.

    Expected scores are the logistic function of the plain library's outputs.
    """
    folder = make_checkpoint("one", {0: name}, problem_type=problem)

    (message,) = refusals(folder)
    judgements, evidence = judge(folder, harmful=(name,))

    assert "\n" not in message
    assert f"harmful={name}" in message
    np.testing.assert_allclose(
        expit(plain_logits(folder)[:, 0]), judgements.score, atol=1e-6
    )
    assert not judgements.probability
    assert "no probability" in judgements.note
    assert "sigmoid" == evidence.meta["link"]


@pytest.mark.slow
def test_an_output_that_is_named_safe_counts_the_other_way(
    make_checkpoint: Callable[..., Path],
) -> None:
    """The score of a multi-label head of one safe class is one minus its sigmoid."""
    folder = make_checkpoint(
        "one", {0: "safe"}, problem_type="multi_label_classification"
    )

    judgements, _ = judge(folder)

    expected = 1 - expit(plain_logits(folder)[:, 0])
    np.testing.assert_allclose(expected, judgements.score, atol=1e-6)
    assert judgements.probability


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "harmful"),
    [
        (("toxic", "insult", "threat"), ()),
        (("hate", "offensive"), ()),
        (("A", "B"), ("A", "B")),
    ],
)
def test_classes_that_all_mean_harm_do_not_exclude_each_other(
    make_checkpoint: Callable[..., Path],
    names: tuple[str, ...],
    harmful: tuple[str, ...],
) -> None:
    """They are read one by one, and never as shares of 1; exclusive ones are asked."""
    folder = make_checkpoint("many", dict(enumerate(names)))

    judgements, evidence = judge(folder, harmful=harmful)

    expected = expit(plain_logits(folder)).max(axis=1)
    np.testing.assert_allclose(expected, judgements.score, atol=1e-6)
    assert judgements.score is not None
    assert (judgements.score < 1).all()
    pooled = mean_logits(EvidenceBundle({MemberLogits: evidence}), CONTEXT)
    np.testing.assert_allclose(expected, pooled.score, atol=1e-6)
    exclusive = make_checkpoint(
        "exclusive",
        dict(enumerate(names)),
        problem_type="single_label_classification",
    )
    (message,) = refusals(exclusive, harmful=harmful)
    assert "exclude each other" in message


@pytest.mark.parametrize(
    "names", [("LABEL_0", "LABEL_1"), ("A", "B"), ("no", "yes"), ("toxic", "LABEL_1")]
)
def test_names_that_tell_nothing_are_asked_for_by_run_and_doctor_alike(
    make_checkpoint: Callable[..., Path], names: tuple[str, ...]
) -> None:
    """What is refused by one is refused by all, in the same words."""
    folder = make_checkpoint("two", dict(enumerate(names)))

    (message,) = refusals(folder)

    assert "harmful=" in message
    assert judge(folder, harmful=(names[1],))[0].probability


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label2id": {"safe": 1, "unsafe": 0}}, "contradicts itself"),
        ({"label2id": {"fine": 0, "bad": 1}}, "contradicts itself"),
        ({"num_labels": 3}, "num_labels 3"),
        ({"id2label": {"0": "safe", "1": "Safe"}, "label2id": None}, "one name"),
        ({"id2label": {"1": "safe", "2": "unsafe"}}, "does not name"),
        ({"id2label": ["safe", "unsafe"]}, "does not name"),
        ({"label2id": ["safe", "unsafe"]}, "does not number"),
        ({"problem_type": "multilabel_classification"}, "did you mean 'multi_label"),
    ],
)
def test_configurations_that_contradict_themselves_are_refused(
    make_checkpoint: Callable[..., Path], changes: dict[str, Any], expected: str
) -> None:
    """The line names both sayings; nothing is loaded."""
    folder = make_checkpoint("odd", {0: "safe", 1: "unsafe"})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    (message,) = refusals(folder)

    assert expected in message
    assert "\n" not in message


def test_names_in_either_of_two_places_are_taken() -> None:
    """Who sets `id2label` or `label2id` alone leaves the other at its default."""
    named, default = {"0": "safe", "1": "bad"}, {"0": "LABEL_0", "1": "LABEL_1"}
    inverse, default_inverse = {"bad": 1, "safe": 0}, {"LABEL_0": 0, "LABEL_1": 1}
    for config in (
        {"id2label": named, "label2id": default_inverse},
        {"id2label": default, "label2id": inverse},
        {"label2id": inverse},
        {"id2label": named},
        {"id2label": dict(reversed(named.items())), "label2id": inverse},
    ):
        assert ("safe", "bad") == class_names(config, "m")
    assert ("LABEL_0", "LABEL_1") == class_names({}, "m")


@pytest.mark.slow
def test_members_with_other_classes_are_refused(
    ensemble_folder: Path, tmp_path: Path
) -> None:
    """An ensemble whose second member numbers its classes otherwise has no mean."""
    import shutil

    folder = tmp_path / "mine"
    shutil.copytree(ensemble_folder, folder)
    path = folder / "member-02" / "config.json"
    content = json.loads(path.read_text())
    swapped = {"id2label": {"0": "harmful", "1": "safe"}}
    swapped["label2id"] = {"harmful": 0, "safe": 1}
    path.write_text(json.dumps(content | swapped))

    (message,) = refusals(folder)

    assert "member-01 and member-02 have other classes" in message


@pytest.mark.slow
def test_a_regression_head_has_no_brier_score_in_the_table(
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`run` writes Brier score and ECE as null with a reason, AUROC as a number."""
    monkeypatch.chdir(tmp_path)
    folder = make_checkpoint("one", {0: "LABEL_0"}, problem_type="regression")
    lines = [
        {"prompt": f"{text} {i}", "label": "unsafe" if i % 2 else "safe"}
        for i in range(6)
        for text in TEXTS
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = [
        "run",
        "-c",
        f"bert_ensemble,model={folder},device=cpu",
        "-d",
        "d.jsonl",
    ]

    asked = CliRunner().invoke(cli, arguments, obj=Plugins())
    arguments[2] += ",harmful=LABEL_0"
    told = CliRunner().invoke(cli, [*arguments, "--out", "runs"], obj=Plugins())

    assert 2 == asked.exit_code
    assert "harmful=LABEL_0" in asked.output
    assert 0 == told.exit_code, told.output
    rows = {row.metric: row for row in read_rows(tmp_path / "runs" / "results.jsonl")}
    assert rows["auroc"].value is not None
    for name in ("brier", "ece"):
        assert rows[name].value is None
        assert "probabilit" in rows[name].note


def decoder(folder: Path, *, tokenizer_pads: bool, config_pads: int | None) -> Path:
    """Save a random decoder with two classes, whose padding is named here or there."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ("<s>", "</s>", "<unk>", "<pad>", *" ".join(TEXTS).split())
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(words))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    special |= {"pad_token": "<pad>"} if tokenizer_pads else {}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=64, **special
    ).save_pretrained(folder)
    torch.manual_seed(2)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=config_pads,
        id2label={0: "safe", 1: "unsafe"},
        label2id={"safe": 0, "unsafe": 1},
        initializer_range=0.5,
    )
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer_pads", [True, False])
@pytest.mark.parametrize("config_pads", [None, 3, 1])
def test_decoders_run_wherever_their_padding_is_named(
    tmp_path: Path, tokenizer_pads: bool, config_pads: int | None
) -> None:
    """In the tokenizer, in the configuration, in both or none: each text as alone."""
    folder = decoder(
        tmp_path / "llama", tokenizer_pads=tokenizer_pads, config_pads=config_pads
    )

    judgements, evidence = judge(folder)

    np.testing.assert_allclose(
        plain_logits(folder), evidence["logits"][:, 0], atol=1e-5
    )
    assert judgements.probability


def test_an_encoder_without_padding_runs_too(
    make_checkpoint: Callable[..., Path],
) -> None:
    """Its texts are read one by one; training says what to add."""
    folder = make_checkpoint("bare", {0: "safe", 1: "unsafe"}, pad_token_id=None)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if path.is_file():
            content = json.loads(path.read_text())
            content.pop("pad_token", None)
            path.write_text(json.dumps(content))

    _, evidence = judge(folder)

    np.testing.assert_allclose(
        plain_logits(folder), evidence["logits"][:, 0], atol=1e-5
    )


def test_an_empty_text_is_read_by_a_decoder(tmp_path: Path) -> None:
    """Tokenizers of decoders make nothing of it; one special token stands for it."""
    folder = decoder(tmp_path / "llama", tokenizer_pads=True, config_pads=None)
    classifier = BertEnsemble(EnsembleOptions(model=str(folder), device="cpu"))
    samples = [Sample(id=t, turns=(Turn("user", t),)) for t in ("", "bread")]

    recording = classifier.record(samples, frozenset({MemberLogits}), lambda _: None)

    assert [None, None] == [trace.error for trace in recording.traces]
    assert np.isfinite(recording.evidence[MemberLogits]["logits"]).all()
