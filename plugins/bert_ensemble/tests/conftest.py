"""Tiny random encoders, and rows that can be learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

from safebench.records import Dataset, GroundTruth, Label, Sample, Turn
from safebench.training import Training
from safebench_bert_ensemble.options import EnsembleTrainOptions
from safebench_bert_ensemble.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained

BAD = ("poison", "bomb", "steal", "attack", "hurt", "kill")
GOOD = ("bread", "garden", "piano", "letter", "river", "paint")
FILL = ("how", "do", "i", "make", "a", "the", "with", "my", "please", "now")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny models are slower on several threads."""
    torch.set_num_threads(1)


def save_tokenizer(folder: Path, words: tuple[str, ...] = BAD + GOOD + FILL) -> None:
    """Save a tokenizer of whole words that reads as BERT's do."""
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(folder)


def tiny_config(**changes: Any) -> BertConfig:
    """Return the configuration of a BERT of one layer."""
    settings = {
        "vocab_size": 32,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }
    return BertConfig(**(settings | changes))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random encoder without a head."""
    folder = tmp_path_factory.mktemp("bases") / "tiny-bert"
    torch.manual_seed(0)
    BertModel(tiny_config()).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of single classification checkpoints with named classes."""

    def make(name: str, id2label: dict[int, str], **changes: Any) -> Path:
        folder = tmp_path / name
        torch.manual_seed(1)
        config = tiny_config(id2label=id2label, **changes)
        config.label2id = {label: i for i, label in id2label.items()}
        BertForSequenceClassification(config).save_pretrained(folder)
        save_tokenizer(folder)
        return folder

    return make


@pytest.fixture
def new_tokenizer() -> Callable[..., None]:
    """Return a maker of tokenizers, (folder, words)."""
    return save_tokenizer


def prompt(text: str, number: int = 0) -> Sample:
    """Return a prompt of one turn."""
    return Sample(id=f"s/{number}", turns=(Turn("user", text),), group=f"g{number}")


def rows(count: int, offset: int, split: str) -> Dataset:
    """Return prompts whose label is told by one of their words, of many lengths."""
    samples, golds = [], []
    for i in range(offset, offset + count):
        harmful = i % 2 == 1
        word = (BAD if harmful else GOOD)[i // 2 % 6]
        filling = [FILL[(i * 7 + k) % len(FILL)] for k in range(3 + i % 17)]
        samples.append(prompt(" ".join([*filling[:2], word, *filling[2:]]), i))
        golds.append(GroundTruth(label=Label(value=harmful)))
    return Dataset(
        name="words",
        config=None,
        split=split,
        task="prompt_harm",
        policy=None,
        revision="local:test",
        samples=samples,
        ground_truth=golds,
    )


def new_training(encoder: Path, out: Path, **changes: Any) -> Training:
    """Return a small training; keywords change options or the training."""
    defaults = {
        "base": str(encoder),
        "members": 2,
        "epochs": 2.0,
        "batch_size": 8,
        "lr": 5e-3,
        "max_length": 16,
        "device": "cpu",
        "precision": "fp32",
    }
    training = Training(
        name="bert_ensemble",
        options=None,
        out=out,
        train=rows(48, 0, "train"),
        val=rows(24, 48, "val"),
        test=rows(24, 72, "test"),
        say=lambda _: None,
    )
    fields = {k: changes.pop(k) for k in list(changes) if hasattr(training, k)}
    return replace(
        training, options=EnsembleTrainOptions(**(defaults | changes)), **fields
    )


@pytest.fixture
def make_training(tiny_base: Path, tmp_path: Path) -> Callable[..., Training]:
    """Return a maker of small trainings; keywords change options or the training."""

    def make(out: str = "out", **changes: Any) -> Training:
        return new_training(tiny_base, tmp_path / out, **changes)

    return make


@pytest.fixture(scope="session")
def finished(
    tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Training, Trained]:
    """Return a training that is done, and what it gave; tests must not change it."""
    out = tmp_path_factory.mktemp("finished") / "out"
    training = new_training(tiny_base, out, epochs=5.0)
    return training, fit(training)


@pytest.fixture
def equal_weights() -> Callable[[Path, Path], bool]:
    """Return what tells whether two members' folders are equal to the last bit."""

    def equal(a: Path, b: Path) -> bool:
        first, second = (load_file(folder / "model.safetensors") for folder in (a, b))
        return first.keys() == second.keys() and all(
            torch.equal(first[key], second[key]) for key in first
        )

    return equal


@pytest.fixture(scope="session")
def ensemble_folder(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """Return an untrained ensemble of two, laid out as a training leaves it."""
    out = tmp_path_factory.mktemp("ensemble") / "mine"
    for seed, name in enumerate(("member-01", "member-02")):
        torch.manual_seed(seed)
        AutoModelForSequenceClassification.from_pretrained(
            tiny_base, id2label={0: "safe", 1: "harmful"}, dtype=torch.float32
        ).save_pretrained(out / name)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(out)
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
