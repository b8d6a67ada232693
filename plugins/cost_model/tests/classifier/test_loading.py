"""What a training left gives the costs that were measured when it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from safebench.torch_utils import quiet_transformers
from safebench_cost_model.train.evaluation import (
    pair_labels,
    ranking_correct,
    sign_correct,
)
from safebench_cost_model.train.pairs import read_pairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset, Sample
    from safebench.training import Trained

    Artifacts = dict[str, tuple[Path, Trained]]
    Load = Callable[..., Any]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["bert", "mean", "llama", "three berts", "three llamas", "tfidf", "stack"]
)
def test_a_reloaded_model_measures_as_it_did_when_trained(
    name: str,
    artifacts: Artifacts,
    severity_set: dict[str, Dataset],
    load: Load,
    costs: Load,
) -> None:
    """Template, adapters, head and truncation come back: same accuracies on test."""
    folder, trained = artifacts[name]
    dataset = severity_set["test"]
    values = costs(load(folder), dataset.samples)["value"]
    by_text = {
        (s.turns[0].text, s.judged.text): value
        for s, value in zip(dataset.samples, values, strict=True)
    }
    pairs = read_pairs(dataset)
    columns = np.array([[by_text[p.prompt, r] for r in p.responses] for p in pairs])

    measured = {
        m.metric: m.value
        for m in trained.measures
        if (m.part, m.who) == ("test", trained.classifier)
    }
    truth = pair_labels(pairs)
    for metric, right in (
        ("sign_accuracy", sign_correct),
        ("ranking_accuracy", ranking_correct),
    ):
        assert right(truth, columns).mean() == pytest.approx(measured[metric])


@pytest.mark.slow
def test_adapters_reload_to_the_network_that_was_trained(
    artifacts: Artifacts,
    tiny_llama: Path,
    samples: list[Sample],
    load: Load,
    costs: Load,
) -> None:
    """Base, adapters and head on disk give the costs of the merged classifier."""
    import peft

    from safebench_cost_model.model.network import load_cost_network

    folder = artifacts["llama"][0]
    classifier = load(folder)
    base = load_cost_network(tiny_llama, "tiny", new_head=True)
    with quiet_transformers():
        network = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
    rows = [classifier.encoder.encode("what about the dog", "then kills the cat")]
    with torch.inference_mode():
        cost = network(**classifier.collator.pad_rows(rows)).logits[0, 0].item()

    assert cost == pytest.approx(costs(classifier, samples)["value"][0], abs=1e-5)
    assert not (folder / "model").exists()


@pytest.mark.slow
def test_means_are_those_of_the_tokens_of_prompt_and_response(
    artifacts: Artifacts, samples: list[Sample], load: Load, costs: Load
) -> None:
    """By hand: mean states of either side, side by side, times the head."""
    classifier = load(artifacts["mean"][0])
    row = classifier.encoder.encode("what about the dog", "then kills the cat")
    padded = classifier.collator.pad_rows(
        [row, classifier.encoder.encode("a", "dog " * 9)]
    )
    sides = padded.pop("sides")
    network = classifier.ensemble.first_network
    with torch.inference_mode():
        states = network.body(**padded).last_hidden_state[0]
    # [CLS] four words [SEP] four words [SEP]
    mean = torch.cat([states[1:5].mean(dim=0), states[6:10].mean(dim=0)])
    cost = mean @ network.score.weight[0] + network.score.bias[0]

    assert [-1, 0, 0, 0, 0, -1, 1, 1, 1, 1, -1] == sides[0, :11].tolist()
    assert 1 == network.config.num_hidden_layers
    assert cost.item() == pytest.approx(
        costs(classifier, samples)["value"][0], abs=1e-5
    )


@pytest.mark.slow
def test_whole_models_load_with_the_library_alone(
    artifacts: Artifacts, samples: list[Sample], load: Load, costs: Load
) -> None:
    """`AutoModelForSequenceClassification` reads the folder and gives the same cost."""
    from transformers import AutoModelForSequenceClassification

    folder = artifacts["bert"][0]
    classifier = load(folder)
    network = AutoModelForSequenceClassification.from_pretrained(
        folder / "model"
    ).eval()
    rows = [classifier.encoder.encode("what about the dog", "then kills the cat")]
    with torch.inference_mode():
        cost = network(**classifier.collator.pad_rows(rows)).logits[0, 0].item()

    assert cost == pytest.approx(costs(classifier, samples)["value"][0], abs=1e-6)
