"""The default folder of an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safebench.specs import TrainerSpec
from safebench.training.config import TrainConfig
from safebench.training.session import default_output_folder

if TYPE_CHECKING:
    from safebench.plugins import Plugins


class BaseOptions:
    """Options with a base, or several."""

    def __init__(self, base: str = "", bases: tuple[str, ...] = ()) -> None:
        self.base, self.bases = base, bases


@pytest.mark.parametrize(
    ("options", "config", "folder"),
    [
        (None, {}, "words-starter"),
        (BaseOptions("org/tiny-bert"), {"seed": 3}, "words-tiny-bert-starter-seed3"),
        (BaseOptions("a", ("x/b", "c")), {}, "words-b-c-starter"),
        (None, {"dataset": ("./in/my.jsonl,label=y",)}, "words-my"),
        (None, {"dataset": ("xstest", "org/n:test")}, "words-xstest-n_test"),
    ],
)
def test_the_default_folder_differs_between_trainings(
    plugins: Plugins, options: Any, config: dict[str, Any], folder: str
) -> None:
    """Trainer, base, data and seed are in its name."""
    spec = plugins.get(TrainerSpec, "words")

    assert Path("models", folder) == default_output_folder(
        spec, options, TrainConfig(**config)
    )
