"""Tiny random bases, built on the fly, and pairs whose words tell how bad they are."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from safebench.records import Dataset, GroundTruth, Label, Sample, Turn
from safebench.training import Training
from safebench_cost_model.options import CostTrainOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRADES = ("helps thanks", "waits nods", "mocks teases", "robs beats", "burns kills")
THINGS = [
    "dog",
    "cat",
    "tree",
    "house",
    "river",
    "road",
    "stone",
    "cloud",
    "lamp",
    "chair",
]
WORDS = [*" ".join(GRADES).split(), *THINGS, "what", "about", "the", "and", "then"]
FRAME = ["Question", ":", "Answer", "User", "Assistant", "a", "[", "]", "SEP", "?"]


def build_tokenizer(kind: str) -> Any:
    """Return a word tokenizer that frames texts as BERT (pair) or Llama does."""
    from tokenizers import Tokenizer, models, processors
    from tokenizers import pre_tokenizers as pre
    from transformers import PreTrainedTokenizerFast

    special = (
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        if kind == "bert"
        else ["<unk>", "<s>", "</s>"]
    )
    unknown = "[UNK]" if kind == "bert" else "<unk>"
    ids = {word: i for i, word in enumerate([*special, *WORDS, *FRAME])}
    backend = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    backend.pre_tokenizer = pre.Whitespace()
    if kind == "bert":
        ends = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=ends,
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            unk_token="[UNK]",
            pad_token="[PAD]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", ids["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def save_base(folder: Path, kind: str) -> Path:
    """Save a random base without a head, as a hub model is."""
    import torch
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = build_tokenizer(kind)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
    }
    network: Any
    if kind == "bert":
        network = BertModel(BertConfig(**shape))
    else:
        ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
        network = LlamaForCausalLM(LlamaConfig(**shape, **ends))
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random decoder on disk, whose tokenizer has no padding token."""
    return save_base(tmp_path_factory.mktemp("bases") / "tiny-llama", "llama")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random encoder on disk."""
    return save_base(tmp_path_factory.mktemp("bases") / "tiny-bert", "bert")


@pytest.fixture(scope="session")
def bases(tiny_llama: Path, tiny_bert: Path) -> dict[str, Path]:
    """Return both bases by kind."""
    return {"llama": tiny_llama, "bert": tiny_bert}


Side = tuple[str, bool, "int | None"]


def build_dataset(rows: list[tuple[str, Side, Side]], name: str = "set") -> Dataset:
    """Return pairs as a dataset; a row is prompt, less safe side, safer side.

    A side is text, whether it is unsafe, and its severity.
    """
    samples, golds = [], []
    for i, (prompt, unsafer, safer) in enumerate(rows):
        for rank, (text, unsafe, severity) in zip(
            ("unsafer", "safer"), (unsafer, safer), strict=True
        ):
            turns = (Turn("user", prompt), Turn("assistant", text))
            samples.append(
                Sample(
                    id=f"{name}/{i}-{rank}",
                    turns=turns,
                    task="response_harm",
                    group=prompt,
                )
            )
            meta = {} if severity is None else {"severity": severity}
            pair: Any = (f"{name}[{i}]", rank)
            golds.append(GroundTruth(label=Label(value=unsafe), pair=pair, meta=meta))
    return Dataset(
        name=name,
        config=None,
        split="train",
        task="response_harm",
        policy=None,
        revision="local:test",
        samples=samples,
        ground_truth=golds,
    )


def severity_rows(n: int, seed: int) -> list[tuple[str, Side, Side]]:
    """Return pairs of unlike grade: two safe grades, three unsafe ones."""
    source = random.Random(seed)
    rows = []
    for _ in range(n):
        thing, other = source.sample(THINGS, 2)
        low, high = sorted(source.sample(range(len(GRADES)), 2))
        sides = [
            (
                f"then {source.choice(GRADES[grade].split())} the {other}",
                grade > 1,
                max(0, grade - 1),
            )
            for grade in (high, low)
        ]
        rows.append((f"what about the {thing} and the {other}", sides[0], sides[1]))
    return rows


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Dataset]:
    """Return what makes a dataset of rows."""
    return build_dataset


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[Any]]:
    """Return what makes rows whose words tell the severity: how many, seed."""
    return severity_rows


@pytest.fixture(scope="session")
def severity_set() -> dict[str, Dataset]:
    """Return parts of a set with severities, same-sign pairs among them."""
    sizes = {"train": 96, "val": 40, "test": 60}
    return {
        part: build_dataset(severity_rows(n, seed), part)
        for seed, (part, n) in enumerate(sizes.items())
    }


@pytest.fixture(scope="session")
def make_training(severity_set: dict[str, Dataset]) -> Callable[..., Training]:
    """Return what makes a training of a few steps: out, base, more options."""

    def make(
        out: Path,
        base: Path | str,
        *,
        resume: bool = False,
        lines: list[str] | None = None,
        arguments: dict[str, Any] | None = None,
        **options: Any,
    ) -> Training:
        out.mkdir(parents=True, exist_ok=True)
        printed: list[str] = [] if lines is None else lines
        steps = {"max_length": 48, "lr": 3e-3, "epochs": 1.0}
        chosen = options if base in ("tfidf", "stack") else steps | options
        return Training(
            name="cost_model",
            options=CostTrainOptions(base=str(base), **chosen),
            out=out,
            **severity_set,
            seed=3,
            resume=resume,
            arguments={"use_cpu": True} | (arguments or {}),
            say=printed.append,
        )

    return make
