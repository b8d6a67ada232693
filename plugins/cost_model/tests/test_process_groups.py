"""Two processes of a launcher learn what one learns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.torch import load_file

from safebench.errors import OptionError
from safebench.testing.process_groups import run_in_group
from safebench_cost_model.train.trainer import check, fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Training


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(
    make_training: Callable[..., Training],
    make_dataset: Callable[..., Any],
    make_rows: Callable[..., Any],
    bases: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Of 21 pairs in batches of 8, the last is shared 2 to 3; both stages."""
    train = make_dataset(make_rows(21, 5), "train")

    def learn(name: str) -> None:
        training = make_training(
            tmp_path / name,
            bases["llama"],
            sft=True,
            batch=8,
            lora_dropout=0.0,
            evaluations=1,
        )
        fit(replace(training, train=train))

    learn("one")
    run_in_group(2, learn, "two")

    for file, largest in (("adapter/adapter_model", 5e-5), ("sft/model", 5e-6)):
        one, two = (
            load_file(tmp_path / name / f"{file}.safetensors")
            for name in ("one", "two")
        )
        assert one.keys() == two.keys()
        for key, weights in one.items():
            np.testing.assert_allclose(two[key], weights, atol=largest, rtol=0)


def test_processes_share_a_batch_evenly_or_not_at_all(
    make_training: Callable[..., Training],
    bases: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Said before data are read, with what would work."""
    options = make_training(tmp_path / "out", bases["llama"], batch=9).options
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(OptionError, match="8 or 10 would work"):
        check(options, {})
