"""Cost models that others published, which carry no manifest of ours."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from safebench_cost_model.model.classifier import CostModel
from safebench_cost_model.options import CostOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.evidence import Cost
    from safebench.records import Sample


def test_published_cost_models_are_read_with_their_head_and_frame(
    tiny_llama: Path,
    tmp_path: Path,
    samples: list[Sample],
    costs: Callable[..., Cost],
) -> None:
    """A checkpoint of a class ...ForScore keeps its head as score_head."""
    folder = shutil.copytree(tiny_llama, tmp_path / "beaver-cost")
    weights = load_file(folder / "model.safetensors")
    kept = {k: v for k, v in weights.items() if not k.startswith("lm_head")}
    kept["score_head.weight"] = torch.arange(32.0)[None] / 32
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["LlamaForScore"], "id2label": {"0": "cost"}}
    (folder / "config.json").write_text(json.dumps(config))

    classifier = CostModel(CostOptions(model=str(folder), device="cpu"))

    head = classifier.ensemble.first_network.score.weight[0]
    torch.testing.assert_close(torch.arange(32.0) / 32, head.detach())
    assert classifier.location.template.between == " ASSISTANT:"
    assert {} == classifier.location.calibration
    assert np.isfinite(costs(classifier, samples)["value"]).all()
