"""Several networks as one cost model: the mean of their costs, and their spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from safebench.neural.loading import quiet
from safebench_cost_model.identity import identity
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
    with quiet():
        if (folder / "adapter").is_dir():
            network = load(base, num_labels=1)
            network = PeftModel.from_pretrained(network, folder / "adapter")
        else:
            network = load(folder / "model")
    network.config.pad_token_id = classifier.collator.pad
    texts = [(s.turns[0].text, s.judged.text) for s in samples]
    rows = [classifier.encoder.encode(*text) for text in texts]
    with torch.inference_mode():
        found = network.eval()(**classifier.collator.padded(rows))
    return found.logits[:, 0].numpy()


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
    each = [
        alone(folder / f"member-{i}", bases[kind], classifier, samples)
        for i in (1, 2, 3)
    ]

    found = costs(classifier, samples)

    assert not np.allclose(each[0], each[1], atol=1e-3)
    np.testing.assert_allclose(np.mean(each, axis=0), found["value"], atol=1e-5)
    np.testing.assert_allclose(np.std(each, axis=0), found["spread"], atol=1e-5)
    assert 3 == classifier.facts["members"]


def test_one_network_has_no_spread(
    artifacts: Artifacts, samples: list[Sample], load: Load, costs: Callable[..., Cost]
) -> None:
    """Evidence of a single model is what it always was."""
    classifier = load(artifacts["bert"][0])

    assert ["value"] == list(costs(classifier, samples).arrays)
    assert 1 == classifier.facts["members"]


def test_identity_covers_every_member(artifacts: Artifacts, tmp_path: Path) -> None:
    """Other weights of the last member alone are another model."""
    import shutil

    folder = shutil.copytree(artifacts["three berts"][0], tmp_path / "three berts")
    options = CostOptions(model=str(folder))
    before = identity(options)
    shutil.rmtree(folder / "member-3")
    shutil.copytree(folder / "member-2", folder / "member-3")

    assert before == identity(CostOptions(model=str(artifacts["three berts"][0])))
    assert before["weights"] != identity(options)["weights"]
