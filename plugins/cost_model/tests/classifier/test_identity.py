"""What tells two recorded cost models apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench_cost_model.model.location import baseline_identity, cost_model_identity
from safebench_cost_model.options import BaselineOptions, CostOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained


def test_identity_tells_weights_template_and_constants_apart(
    artifacts: dict[str, tuple[Path, Trained]],
    finish: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """The same folder has one identity; other constants or options another."""
    import shutil

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
