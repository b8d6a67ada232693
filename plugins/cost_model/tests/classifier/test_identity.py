"""What tells two recorded cost models apart."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from safebench_cost_model.model.location import baseline_identity, cost_model_identity
from safebench_cost_model.options import BaselineOptions, CostOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained


@pytest.mark.slow
def test_identity_tells_weights_template_and_constants_apart(
    artifacts: dict[str, tuple[Path, Trained]],
    finish: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """The same folder has one identity; other constants or options another."""
    folder, trained = artifacts["bert"]
    changed = shutil.copytree(folder, tmp_path / "other")
    finish(changed, trained, calibration={"bias": 1.0, "temperature": 2.0, "n": 9})

    first = cost_model_identity(CostOptions(model=str(folder)))
    assert first == cost_model_identity(CostOptions(model=str(folder)))
    assert first != cost_model_identity(CostOptions(model=str(folder), max_length=20))
    other = cost_model_identity(CostOptions(model=str(changed)))
    assert first["weights"] == other["weights"]
    assert first["calibration"] != other["calibration"]
    baseline = baseline_identity(BaselineOptions(model=str(artifacts["tfidf"][0])))
    assert {"model", "weights", "words", "calibration"} == baseline.keys()


@pytest.mark.slow
def test_the_hash_of_one_network_is_that_of_its_weights(
    artifacts: dict[str, tuple[Path, Trained]],
) -> None:
    """So runs of models from before there were members are found again."""
    from safebench.training import Artifact

    folder = artifacts["bert"][0]

    assert (
        f"sha256:{Artifact(folder / 'model').weights_hash()}"
        == (cost_model_identity(CostOptions(model=str(folder)))["weights"])
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "vocab.txt"])
def test_small_files_that_shape_costs_are_noted(
    name: str, artifacts: dict[str, tuple[Path, Trained]], tmp_path: Path
) -> None:
    """Another tokenizer gives other costs, and the weights are what they were."""
    folder = shutil.copytree(artifacts["bert"][0], tmp_path / "other")
    before = cost_model_identity(CostOptions(model=str(folder)))
    path = folder / "model" / name
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b" ")

    after = cost_model_identity(CostOptions(model=str(folder)))

    assert before["noted_files"] != after["noted_files"]
    assert before | {"noted_files": 0} == after | {"noted_files": 0}
