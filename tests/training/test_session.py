"""The default folder of an artifact, and what is looked up first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import SafebenchError
from safebench.specs import TrainerSpec
from safebench.training.config import TrainConfig
from safebench.training.session import default_output_folder, run_training

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


@pytest.mark.parametrize("where", ["dataset", "val_dataset", "test_dataset"])
def test_datasets_are_looked_up_before_the_trainer_checks(
    plugins: Plugins, tmp_path: Path, where: str
) -> None:
    """A mistyped name costs no search for a base, whichever part it is for."""
    # Whose check cannot even be imported.
    spec = replace(plugins.get(TrainerSpec, "words"), check="gone:check")
    config = TrainConfig(**{where: ("startr",), "out": str(tmp_path / "out")})

    with pytest.raises(SafebenchError, match="'startr'; did you mean 'starter'"):
        run_training(spec, config, plugins, print)
