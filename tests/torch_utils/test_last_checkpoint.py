"""An interrupted training goes on from the last checkpoint that is whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("transformers", reason="checkpoints are those of its Trainer")

from safebench.torch_utils.hf_trainer import last_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


def test_checkpoints_that_were_cut_short_are_passed_over(tmp_path: Path) -> None:
    """Steps count as numbers; a state that is missing, torn or empty does not."""
    states = {9: json.dumps({"global_step": 9}), 10: json.dumps({"global_step": 10}),
              11: '{"global_st', 12: "{}", 13: None}  # fmt: skip
    for step, state in states.items():
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)

    assert tmp_path / "checkpoint-10" == last_checkpoint(tmp_path)


def test_without_any_there_is_none(tmp_path: Path) -> None:
    """Neither an empty folder nor a missing one is an error."""
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "gone") is None
