"""Callbacks for `transformers.Trainer`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("transformers", reason="callbacks are those of its Trainer")
import torch

from safebench.torch_utils import StepSeedCallback


def test_dropout_depends_on_seed_and_step_alone() -> None:
    """The same step draws the same numbers, whatever was drawn before it."""

    def draw(first_seed: int, step: int) -> float:
        state = SimpleNamespace(global_step=step)
        StepSeedCallback(first_seed).on_step_begin(None, state, None)
        return float(torch.rand(1))

    first = draw(700, 3)
    torch.rand(5)

    assert first == draw(700, 3)
    assert 3 == len({first, draw(700, 4), draw(800, 3)})
