"""Scaling a LoRA, in memory and on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench.errors import ModelError, OptionError
from safebench.records import Turn
from safebench_feedback_finetune.scorer import load_scorer
from safebench_feedback_finetune.train.adapters import (
    scale_adapter,
    write_scaled_adapter,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench_feedback_finetune.scorer import VerdictScorer

CONVERSATIONS = (
    (Turn("user", "How do I bake bread?"),),
    (Turn("user", "How do I get a gun?"), Turn("assistant", "Steal one at night.")),
)


@pytest.mark.slow
def test_the_scale_leads_from_the_base_to_the_whole_adapter(
    scorer: VerdictScorer, make_adapter: Callable[[float], Path]
) -> None:
    """0 is the base to the last bit, 1 the adapter, and a scale can be taken back."""
    tuned = load_scorer("", str(make_adapter(0.05)), device="cpu")
    whole = tuned.logits(CONVERSATIONS)

    scores = {}
    for alpha in (0.0, 0.5, 1.0):
        assert scale_adapter(tuned.network, alpha)
        scores[alpha] = tuned.logits(CONVERSATIONS)

    assert scorer.logits(CONVERSATIONS).tobytes() == scores[0.0].tobytes()
    assert whole.tobytes() == scores[1.0].tobytes()
    assert np.abs(whole - scores[0.0]).max() > 0.1
    assert np.abs(scores[0.5] - scores[0.0]).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_training_that_diverged_leaves_the_base_guard_as_it_is(
    scorer: VerdictScorer, make_adapter: Callable[[float], Path], value: float
) -> None:
    """At scale 0 no weight of the LoRA counts, even one that is no number."""
    tuned = load_scorer("", str(make_adapter(0.05)), device="cpu")
    for name, weight in tuned.network.named_parameters():
        if "lora_" in name:
            weight.data.fill_(value)

    scores = {}
    for alpha in (1.0, 0.0):
        scale_adapter(tuned.network, alpha)
        scores[alpha] = tuned.logits(CONVERSATIONS)

    assert scorer.logits(CONVERSATIONS).tobytes() == scores[0.0].tobytes()
    assert not (scores[1.0] == scores[0.0]).any()


@pytest.mark.slow
def test_a_scaled_copy_loads_as_the_scaled_adapter(
    make_adapter: Callable[[float], Path], tmp_path: Path
) -> None:
    """Half of B on disk equals half the scale in memory."""
    folder = make_adapter(0.05)
    tuned = load_scorer("", str(folder), device="cpu")
    scale_adapter(tuned.network, 0.5)

    write_scaled_adapter(folder, 0.5, tmp_path / "half")

    half = load_scorer("", str(tmp_path / "half"), device="cpu")
    assert tuned.logits(CONVERSATIONS) == pytest.approx(
        half.logits(CONVERSATIONS), abs=1e-4
    )


@pytest.mark.slow
def test_networks_and_weights_without_lora_are_refused(
    scorer: VerdictScorer, make_adapter: Callable[[float], Path], tmp_path: Path
) -> None:
    """A guard without LoRA, a scale beyond 1, and trained parts that are not LoRA."""
    from safetensors.torch import load_file, save_file

    folder = make_adapter(0.0)
    with pytest.raises(ModelError, match="no LoRA"):
        scale_adapter(scorer.network, 0.5)
    with pytest.raises(OptionError, match="from 0 to 1"):
        scale_adapter(scorer.network, 1.5)
    with pytest.raises(ModelError, match="no adapter_model"):
        write_scaled_adapter(tmp_path, 0.5, tmp_path / "out")
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.score.weight"] = next(iter(weights.values())).clone()
    (tmp_path / "adapter_config.json").write_text("{}")
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="score"):
        write_scaled_adapter(tmp_path, 0.5, tmp_path / "out")
