"""Which split a source means, and which task its rows are read for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench.datasets.loader import load_dataset
from safebench.specs import TrainerSpec
from safebench.training.config import TrainConfig
from safebench.training.data import resolve_source

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.plugins import Plugins


@pytest.mark.parametrize(
    ("text", "purpose", "split"),
    [
        ("wildguardmix", "train", "train"),
        ("wildguardmix", "test", "test"),
        ("wildguardmix:test", "train", "test"),
        ("beavertails", "train", "30k_train"),
        ("beavertails:330k_test", "train", "330k_test"),
        ("diasafety", "train", "train"),
        ("diasafety", "val", "validation"),
        ("toxic_chat", "val", "test"),
        ("toxic_chat:toxicchat0124", "train", "train"),
        ("xstest", "train", "test"),
        ("starter", "train", "all"),
        ("org/name:test", "train", "test"),
    ],
)
def test_a_name_means_the_split_of_its_purpose(
    plugins: Plugins, text: str, purpose: str, split: str
) -> None:
    """Training reads the training split, unless a split is named or there is none."""
    spec = plugins.get(TrainerSpec, "words")

    assert split == resolve_source(text, purpose, spec, TrainConfig(), plugins).split


def test_a_file_is_read_for_the_task_that_is_learnt(
    plugins: Plugins, tmp_path: Path
) -> None:
    """Rows with a response are prompts for the one trainer, answers for the other."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "ask", "response": "answer", "label": "unsafe"}\n')

    def judged(trainer: str) -> tuple[str, str]:
        spec = plugins.get(TrainerSpec, trainer)
        request = resolve_source(str(path), "train", spec, TrainConfig(), plugins)
        dataset = load_dataset(request)
        return dataset.task, dataset.samples[0].judged.text

    assert ("prompt_harm", "ask") == judged("words")
    assert ("response_harm", "answer") == judged("word_pairs")
