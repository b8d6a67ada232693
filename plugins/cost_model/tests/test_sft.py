"""The supervised stage: what it learns from, and that the cost model starts from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from safebench.errors import OptionError
from safebench.training.artifact import write_manifest
from safebench_cost_model.batches import Collator
from safebench_cost_model.classifier import CostModel
from safebench_cost_model.encode import Encoder
from safebench_cost_model.fit import fit
from safebench_cost_model.network import load_tokenizer
from safebench_cost_model.options import CostOptions
from safebench_cost_model.pairs import read_pairs
from safebench_cost_model.sft import WritingCollator, safer_texts
from safebench_cost_model.template import QA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset
    from safebench.training import Training


def test_only_the_response_and_its_end_are_learnt(tiny_llama: Path) -> None:
    """Frame, prompt and padding are hidden from the loss."""
    tokenizer = load_tokenizer(tiny_llama, "tiny")
    encoder = Encoder(tokenizer, QA, 48)
    rows = [encoder.encode("what dog", "the cat"), encoder.encode("what", "waits")]

    labels = WritingCollator(Collator(0, with_types=False))(rows)["labels"]

    learnt = [tokenizer.convert_ids_to_tokens(row[row >= 0].tolist()) for row in labels]
    assert [["the", "cat", "</s>"], ["waits", "</s>"]] == learnt


def test_safer_responses_are_taken_once(make_dataset: Callable[..., Dataset]) -> None:
    """One pair twice gives one text; an undecided pair gives none."""
    bad, good = ("kills", True, None), ("helps", False, None)
    turned = (("waits", True, None), ("nods", False, None))
    rows = [("a", bad, good)] * 2 + [("b", *turned)]
    rows += [("b", ("nods", True, None), ("waits", False, None))]

    assert [("a", "helps")] == safer_texts(read_pairs(make_dataset(rows)))


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
    assert {"name": "sft", "folder": "", "revision": ""} == trained.manifest["base"]
    content = {"kind": "cost_model", "status": "done", **trained.manifest}
    write_manifest(tmp_path, content)
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert CostModel(CostOptions(model=str(moved))).found.folder == moved / "sft"


def test_an_encoder_writes_nothing(
    tiny_bert: Path, make_training: Callable[..., Training], tmp_path: Path
) -> None:
    """--sft on an encoder is refused before anything is trained."""
    with pytest.raises(OptionError, match="is an encoder and writes nothing"):
        fit(make_training(tmp_path, tiny_bert, sft=True))
