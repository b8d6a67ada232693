"""Which split a name means in each part of a training, and where the artifact goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safebench.datasets.assemble import load_dataset
from safebench.specs import TrainerSpec
from safebench.training.config import TrainConfig
from safebench.training.session import default_out
from safebench.training.sources import choose_source

if TYPE_CHECKING:
    from safebench.plugins import Plugins


@pytest.mark.parametrize(
    ("text", "part", "split"),
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
def test_a_name_means_the_split_of_its_part(
    plugins: Plugins, text: str, part: str, split: str
) -> None:
    """Training reads the training split, unless a split is named or there is none."""
    spec = plugins.get(TrainerSpec, "words")

    assert split == choose_source(text, part, spec, TrainConfig(), plugins).split


def test_a_file_is_read_for_the_task_that_is_learnt(
    plugins: Plugins, tmp_path: Path
) -> None:
    """Rows with a response are prompts for the one trainer, answers for the other."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "ask", "response": "answer", "label": "unsafe"}\n')

    def judged(trainer: str) -> tuple[str, str]:
        spec = plugins.get(TrainerSpec, trainer)
        request = choose_source(str(path), "train", spec, TrainConfig(), plugins)
        dataset = load_dataset(request)
        return dataset.task, dataset.samples[0].judged.text

    assert ("prompt_harm", "ask") == judged("words")
    assert ("response_harm", "answer") == judged("word_pairs")


class Based:
    """Options with a base, or several."""

    def __init__(self, base: str = "", bases: tuple[str, ...] = ()) -> None:
        self.base, self.bases = base, bases


@pytest.mark.parametrize(
    ("options", "config", "folder"),
    [
        (None, {}, "words-starter"),
        (Based("org/tiny-bert"), {"seed": 3}, "words-tiny-bert-starter-seed3"),
        (Based("a", ("x/b", "c")), {}, "words-b-c-starter"),
        (None, {"dataset": ("./in/my.jsonl,label=y",)}, "words-my"),
        (None, {"dataset": ("xstest", "org/n:test")}, "words-xstest-n_test"),
    ],
)
def test_the_default_folder_tells_trainings_apart(
    plugins: Plugins, options: Any, config: dict[str, Any], folder: str
) -> None:
    """Trainer, base, data and seed are in its name."""
    spec = plugins.get(TrainerSpec, "words")

    assert Path("models", folder) == default_out(spec, options, TrainConfig(**config))
