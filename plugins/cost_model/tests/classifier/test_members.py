"""Several networks as one cost model: the mean of their costs, and their spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from safebench.torch_utils import quiet_transformers
from safebench_cost_model.model.location import cost_model_identity
from safebench_cost_model.options import CostOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.evidence import Cost
    from safebench.records import Sample
    from safebench.training import Trained

    Artifacts = dict[str, tuple[Path, Trained]]
    Load = Callable[..., Any]


def alone(folder: Path, base: Path, classifier: Any, samples: list[Sample]) -> Any:
    """Return the costs of one member's folder, by Hugging Face's libraries alone."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    load = AutoModelForSequenceClassification.from_pretrained
    with quiet_transformers():
        if (folder / "adapter").is_dir():
            network = load(base, num_labels=1)
            network = PeftModel.from_pretrained(network, folder / "adapter")
        else:
            network = load(folder / "model")
    network.config.pad_token_id = classifier.collator.pad_token_id
    texts = [(s.turns[0].text, s.judged.text) for s in samples]
    rows = [classifier.encoder.encode(*text) for text in texts]
    with torch.inference_mode():
        output = network.eval()(**classifier.collator.pad_rows(rows))
    return output.logits[:, 0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_cost_is_the_mean_of_the_members(
    kind: str,
    artifacts: Artifacts,
    bases: dict[str, Path],
    samples: list[Sample],
    load: Load,
    costs: Callable[..., Cost],
) -> None:
    """Each folder, loaded by itself, gives one of the costs; spread is their width."""
    folder = artifacts[f"three {kind}s"][0]
    classifier = load(folder)
    by_member = [
        alone(folder / f"member-{i}", bases[kind], classifier, samples)
        for i in (1, 2, 3)
    ]

    evidence = costs(classifier, samples)

    assert not np.allclose(by_member[0], by_member[1], atol=1e-3)
    np.testing.assert_allclose(np.mean(by_member, axis=0), evidence["value"], atol=1e-5)
    np.testing.assert_allclose(np.std(by_member, axis=0), evidence["spread"], atol=1e-5)
    assert 3 == classifier.facts["members"]


@pytest.mark.slow
def test_one_network_has_no_spread(
    artifacts: Artifacts, samples: list[Sample], load: Load, costs: Callable[..., Cost]
) -> None:
    """Evidence of a single model is what it always was."""
    classifier = load(artifacts["bert"][0])

    assert ["value"] == list(costs(classifier, samples).arrays)
    assert 1 == classifier.facts["members"]


@pytest.mark.slow
def test_identity_covers_every_member(artifacts: Artifacts, tmp_path: Path) -> None:
    """Other weights of the last member alone are another model."""
    import shutil

    folder = shutil.copytree(artifacts["three berts"][0], tmp_path / "three berts")
    options = CostOptions(model=str(folder))
    before = cost_model_identity(options)
    shutil.rmtree(folder / "member-3")
    shutil.copytree(folder / "member-2", folder / "member-3")

    assert before == cost_model_identity(
        CostOptions(model=str(artifacts["three berts"][0]))
    )
    assert before["weights"] != cost_model_identity(options)["weights"]
