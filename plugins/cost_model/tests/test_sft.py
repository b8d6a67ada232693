"""The supervised stage: what it learns from, and that the cost model starts from it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from safebench.errors import ModelError, OptionError
from safebench.torch_utils.loading import load_tokenizer
from safebench.training.artifact import Artifact
from safebench_cost_model.model.classifier import CostModel
from safebench_cost_model.model.encoding import ExchangeCollator, ExchangeEncoder
from safebench_cost_model.model.template import QA
from safebench_cost_model.options import CostOptions
from safebench_cost_model.train import sft
from safebench_cost_model.train.pairs import read_pairs
from safebench_cost_model.train.sft import ResponseCollator, safer_responses
from safebench_cost_model.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset
    from safebench.training import Training


def test_only_the_response_and_its_end_are_learnt(tiny_llama: Path) -> None:
    """Frame, prompt and padding are hidden from the loss."""
    tokenizer = load_tokenizer(tiny_llama, "tiny")
    encoder = ExchangeEncoder(tokenizer, QA, 48)
    rows = [encoder.encode("what dog", "the cat"), encoder.encode("what", "waits")]

    labels = ResponseCollator(ExchangeCollator(0, with_token_types=False))(rows)[
        "labels"
    ]

    learnt = [tokenizer.convert_ids_to_tokens(row[row >= 0].tolist()) for row in labels]
    assert [["the", "cat", "</s>"], ["waits", "</s>"]] == learnt


def test_safer_responses_are_taken_once(make_dataset: Callable[..., Dataset]) -> None:
    """One pair twice gives one text; an undecided pair gives none."""
    bad, good = ("kills", True, None), ("helps", False, None)
    turned = (("waits", True, None), ("nods", False, None))
    rows = [("a", bad, good)] * 2 + [("b", *turned)]
    rows += [("b", ("nods", True, None), ("waits", False, None))]

    assert [("a", "helps")] == safer_responses(read_pairs(make_dataset(rows)))


@pytest.mark.slow
def test_the_cost_model_starts_from_the_tuned_decoder(
    tiny_llama: Path, make_training: Callable[..., Training], tmp_path: Path
) -> None:
    """The artifact holds the tuned base, and loads after the first base is gone."""
    training = make_training(tmp_path, tiny_llama, sft=True, batch=32, epochs=1.0)

    trained = fit(training)

    before = load_file(tiny_llama / "model.safetensors")
    after = load_file(tmp_path / "sft" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(before[name], after[name])
    tuned = (tmp_path / "sft" / "model.safetensors").read_bytes()
    base = dict(trained.manifest["base"])
    assert hashlib.sha256(tuned).hexdigest() == base.pop("hashes")["weights"]
    assert {"name": "sft", "folder": "", "revision": ""} == base
    content = {"kind": "cost_model", "status": "done", **trained.manifest}
    Artifact(tmp_path).write(content)
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert CostModel(CostOptions(model=str(moved))).location.folder == moved / "sft"
    assert ["adapter", "safebench.json", "sft"] == sorted(
        path.name for path in moved.iterdir() if not path.name.startswith(".")
    )
    (moved / "sft").rename(moved / "gone")
    with pytest.raises(ModelError, match="its folder sft is gone"):
        CostModel(CostOptions(model=str(moved)))


@pytest.mark.slow
def test_an_interrupted_stage_goes_on_to_the_same_end(
    tiny_llama: Path,
    make_training: Callable[..., Training],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tuned base, and what is learnt on it, are those of an uninterrupted run."""

    class Interrupt(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 5:
                raise KeyboardInterrupt

    class Interrupted(sft.GroupedTrainer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.add_callback(Interrupt())

    options = {"sft": True, "batch": 16, "epochs": 0.5}
    whole = fit(make_training(tmp_path / "whole", tiny_llama, **options))
    again = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr(sft, "GroupedTrainer", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(make_training(again, tiny_llama, **options))
    lines: list[str] = []

    resumed = fit(make_training(again, tiny_llama, resume=True, lines=lines, **options))

    assert any("sft-checkpoints/checkpoint-3" in line for line in lines)
    assert whole.measures == resumed.measures
    first, second = (
        load_file(tmp_path / out / "sft" / "model.safetensors")
        for out in ("whole", "again")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_encoder_writes_nothing(
    tiny_bert: Path, make_training: Callable[..., Training], tmp_path: Path
) -> None:
    """--sft on an encoder is refused before anything is trained."""
    with pytest.raises(OptionError, match="is an encoder and writes nothing"):
        fit(make_training(tmp_path, tiny_bert, sft=True))
