"""Trained cost models as classifiers: reloaded, recorded, read by strategies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.errors import IncompatibleError, ModelError, OptionError
from safebench.evidence import Cost
from safebench.evidence.bundle import Bundle
from safebench.judgements import Context
from safebench.records import Sample, Turn
from safebench.testing.conformance import (
    assert_classifier_is_sound,
    assert_strategy_is_sound,
)
from safebench.training.artifact import write_manifest
from safebench_cost_model import strategies
from safebench_cost_model.baseline import CostTfidf
from safebench_cost_model.classifier import CostModel
from safebench_cost_model.fit import fit
from safebench_cost_model.identity import baseline_identity, identity
from safebench_cost_model.measures import order_right, sign_right, told
from safebench_cost_model.options import BaselineOptions, CostOptions
from safebench_cost_model.pairs import read_pairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset
    from safebench.training import Trained, Training

    Make = Callable[..., Training]

CONTEXT = Context(task="response_harm")


def finish(out: Path, trained: Trained, **changes: Any) -> Path:
    """Write the manifest as the core does."""
    content = {"kind": trained.classifier, "status": "done", **trained.manifest}
    write_manifest(out, content | changes)
    return out


def sample(prompt: str, response: str | None, name: str = "x") -> Sample:
    """Return an exchange, or a prompt alone."""
    turns = [Turn("user", prompt)]
    turns += [Turn("assistant", response)] if response is not None else []
    return Sample(id=name, turns=tuple(turns), task="response_harm")


SAMPLES = [
    sample("what about the dog", "then kills the cat"),
    sample("what", "then helps the cat and the tree and the river and the road"),
    sample("what about the lamp and the chair", "waits"),
    sample("what", ""),
]


@pytest.fixture(scope="module")
def artifacts(
    bases: dict[str, Path],
    make_training: Make,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Path, Trained]]:
    """Return a whole encoder, a decoder with adapters, and a baseline."""
    found = {}
    kinds = {**bases, "mean": bases["bert"], "tfidf": "tfidf"}
    for name, base in kinds.items():
        out = tmp_path_factory.mktemp("artifacts") / name
        more = {"pooling": "mean", "layers": 1} if name == "mean" else {}
        trained = fit(make_training(out, base, batch=32, epochs=1.0, **more))
        found[name] = (finish(out, trained), trained)
    return found


def load(folder: Path, **options: Any) -> Any:
    """Return the classifier of an artifact."""
    kind = json.loads((folder / "safebench.json").read_text())["kind"]
    if kind == "cost_tfidf":
        return CostTfidf(BaselineOptions(model=str(folder)))
    return CostModel(CostOptions(model=str(folder), device="cpu", **options))


def costs(classifier: Any, samples: list[Sample]) -> Cost:
    """Return the recorded costs."""
    found = classifier.record(samples, frozenset({Cost}), lambda _: None)
    evidence: Cost = found.evidence[Cost]
    return evidence


@pytest.mark.parametrize("name", ["bert", "mean", "llama", "tfidf"])
def test_a_reloaded_model_measures_as_it_did_when_trained(
    name: str,
    artifacts: dict[str, tuple[Path, Trained]],
    severity_set: dict[str, Dataset],
) -> None:
    """Template, adapters, head and truncation come back: same accuracies on test."""
    folder, trained = artifacts[name]
    dataset = severity_set["test"]
    found = costs(load(folder), dataset.samples)["value"]
    by_text = {
        (s.turns[0].text, s.judged.text): value
        for s, value in zip(dataset.samples, found, strict=True)
    }
    pairs = read_pairs(dataset)
    columns = np.array([[by_text[p.prompt, r] for r in p.responses] for p in pairs])

    measured = {m.metric: m.value for m in trained.measures if m.part == "test"}
    truth = told(pairs)
    for metric, right in (
        ("sign_accuracy", sign_right),
        ("ranking_accuracy", order_right),
    ):
        assert right(truth, columns).mean() == pytest.approx(measured[metric])


@pytest.mark.parametrize("name", ["bert", "mean", "llama", "tfidf"])
def test_costs_depend_on_the_sample_alone(
    name: str, artifacts: dict[str, tuple[Path, Trained]]
) -> None:
    """Neither neighbours nor order nor batches change a cost beyond rounding."""
    classifier = load(artifacts[name][0])

    assert_classifier_is_sound(classifier, SAMPLES, frozenset({Cost}), 1e-5)


def test_small_batches_give_the_same_costs(
    artifacts: dict[str, tuple[Path, Trained]],
) -> None:
    """A budget of one row a batch changes nothing but rounding."""
    folder = artifacts["llama"][0]

    one = costs(load(folder, batch_tokens=1), SAMPLES)["value"]

    np.testing.assert_allclose(costs(load(folder), SAMPLES)["value"], one, atol=1e-5)


def test_adapters_reload_to_the_network_that_was_trained(
    artifacts: dict[str, tuple[Path, Trained]], tiny_llama: Path
) -> None:
    """Base, adapters and head on disk give the costs of the merged classifier."""
    import peft
    import torch

    from safebench.neural.loading import quiet
    from safebench_cost_model.network import load_network

    folder = artifacts["llama"][0]
    classifier = load(folder)
    base = load_network(tiny_llama, "tiny", new_head=True)
    with quiet():
        network = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
    rows = [classifier.encoder.encode("what about the dog", "then kills the cat")]
    with torch.inference_mode():
        found = network(**classifier.collator.padded(rows)).logits[0, 0].item()

    assert found == pytest.approx(costs(classifier, SAMPLES)["value"][0], abs=1e-5)
    assert not (folder / "model").exists()


def test_means_are_those_of_the_tokens_of_prompt_and_response(
    artifacts: dict[str, tuple[Path, Trained]],
) -> None:
    """By hand: mean states of either side, side by side, times the head."""
    import torch

    classifier = load(artifacts["mean"][0])
    row = classifier.encoder.encode("what about the dog", "then kills the cat")
    padded = classifier.collator.padded(
        [row, classifier.encoder.encode("a", "dog " * 9)]
    )
    sides = padded.pop("sides")
    network = classifier.network
    with torch.inference_mode():
        states = network.body(**padded).last_hidden_state[0]
    # [CLS] four words [SEP] four words [SEP]
    mean = torch.cat([states[1:5].mean(dim=0), states[6:10].mean(dim=0)])
    cost = mean @ network.score.weight[0] + network.score.bias[0]

    assert [-1, 0, 0, 0, 0, -1, 1, 1, 1, 1, -1] == sides[0, :11].tolist()
    assert 1 == network.config.num_hidden_layers
    assert cost.item() == pytest.approx(
        costs(classifier, SAMPLES)["value"][0], abs=1e-5
    )


def test_whole_models_load_with_the_library_alone(
    artifacts: dict[str, tuple[Path, Trained]],
) -> None:
    """`AutoModelForSequenceClassification` reads the folder and gives the same cost."""
    import torch
    from transformers import AutoModelForSequenceClassification

    folder = artifacts["bert"][0]
    classifier = load(folder)
    network = AutoModelForSequenceClassification.from_pretrained(
        folder / "model"
    ).eval()
    rows = [classifier.encoder.encode("what about the dog", "then kills the cat")]
    with torch.inference_mode():
        found = network(**classifier.collator.padded(rows)).logits[0, 0].item()

    assert found == pytest.approx(costs(classifier, SAMPLES)["value"][0], abs=1e-6)


def test_constants_travel_from_training_to_the_probability(
    artifacts: dict[str, tuple[Path, Trained]],
) -> None:
    """cost_platt is the logistic function with the manifest's bias and temperature."""
    folder, trained = artifacts["llama"]
    constants = trained.manifest["calibration"]
    evidence = costs(load(folder), SAMPLES)
    bundle = Bundle({Cost: evidence})

    p = strategies.cost_platt(bundle, CONTEXT).score

    expected = 1 / (
        1 + np.exp(-(evidence["value"] - constants["bias"]) / constants["temperature"])
    )
    np.testing.assert_allclose(expected, p)
    default = strategies.cost(bundle, CONTEXT)
    assert default.probability
    np.testing.assert_array_equal(p, default.score)
    for judge in (strategies.cost, strategies.cost_sign, strategies.cost_sigmoid):
        assert_strategy_is_sound(judge, bundle, CONTEXT)


def test_without_constants_the_sign_decides_and_probabilities_are_refused() -> None:
    """The default takes the sign, cost_platt says which strategies would work."""
    meta = {"bias": None, "temperature": None, "n_calibration": 0}
    bundle = Bundle({Cost: Cost({"value": [-2.0, 0.1, 3.0]}, meta=meta)})

    fallen = strategies.cost(bundle, CONTEXT)
    assert not fallen.probability
    assert fallen.score is not None
    assert [False, True, True] == (fallen.score >= 0.5).tolist()
    assert "calibration" in fallen.note
    sign = strategies.cost_sign(bundle, CONTEXT)
    assert [-2.0, 0.1, 3.0] == (sign.score.tolist() if sign.score is not None else None)
    assert not sign.probability
    assert not strategies.cost_sigmoid(bundle, CONTEXT).probability
    with pytest.raises(IncompatibleError, match="cost_sign and cost_sigmoid read it"):
        strategies.cost_platt(bundle, CONTEXT)


@pytest.mark.parametrize("name", ["bert", "tfidf"])
def test_a_prompt_alone_and_broken_text_have_no_cost(
    name: str, artifacts: dict[str, tuple[Path, Trained]]
) -> None:
    """Their traces say why; the others are judged."""
    broken = [sample("what", None), sample("what", "helps"), sample("what", "\ud800")]

    found = load(artifacts[name][0]).record(broken, frozenset({Cost}), lambda _: None)

    errors = [trace.error for trace in found.traces]
    assert "judges a response" in (errors[0] or "")
    assert errors[1] is None
    if name == "bert":
        assert "cannot be tokenised" in (errors[2] or "")


def test_long_responses_are_cut_on_the_left_and_say_so(
    artifacts: dict[str, tuple[Path, Trained]],
) -> None:
    """Traces tell how many tokens went."""
    long = sample("what " * 100, "helps " * 100)

    found = load(artifacts["bert"][0]).record([long], frozenset({Cost}), lambda _: None)

    assert (48, 155, "left") == (
        found.traces[0].tokens_in,
        found.traces[0].tokens_dropped,
        found.traces[0].dropped_side,
    )


def test_identity_tells_weights_template_and_constants_apart(
    artifacts: dict[str, tuple[Path, Trained]], tmp_path: Path
) -> None:
    """The same folder has one identity; other constants or options another."""
    import shutil

    folder, trained = artifacts["bert"]
    changed = shutil.copytree(folder, tmp_path / "other")
    finish(changed, trained, calibration={"bias": 1.0, "temperature": 2.0, "n": 9})

    first = identity(CostOptions(model=str(folder)))
    assert first == identity(CostOptions(model=str(folder)))
    assert first != identity(CostOptions(model=str(folder), max_length=20))
    other = identity(CostOptions(model=str(changed)))
    assert first["weights"] == other["weights"]
    assert first["calibration"] != other["calibration"]
    baseline = baseline_identity(BaselineOptions(model=str(artifacts["tfidf"][0])))
    assert {"model", "weights", "words", "calibration"} == baseline.keys()


def test_models_that_are_none_are_refused_in_one_line(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """No model, a missing folder, a base without a head: each says what would work."""
    with pytest.raises(OptionError, match="which one"):
        CostModel(CostOptions())
    with pytest.raises(ModelError, match="no such folder"):
        CostModel(CostOptions(model=str(tmp_path / "gone")))
    with pytest.raises(OptionError, match="carries no template"):
        CostModel(CostOptions(model=str(tiny_bert)))
    with pytest.raises(ModelError, match="safebench train cost_model trains one"):
        CostModel(CostOptions(model=str(tiny_bert), template="pair"))
    write_manifest(tmp_path, {"kind": "cost_model", "status": "training"})
    with pytest.raises(ModelError, match="unfinished"):
        CostModel(CostOptions(model=str(tmp_path)))


def test_published_cost_models_are_read_with_their_head_and_frame(
    tiny_llama: Path, tmp_path: Path
) -> None:
    """A checkpoint of a class ...ForScore keeps its head as score_head."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_llama, tmp_path / "beaver-cost")
    weights = load_file(folder / "model.safetensors")
    kept = {k: v for k, v in weights.items() if not k.startswith("lm_head")}
    kept["score_head.weight"] = torch.arange(32.0)[None] / 32
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["LlamaForScore"], "id2label": {"0": "cost"}}
    (folder / "config.json").write_text(json.dumps(config))

    found = CostModel(CostOptions(model=str(folder), device="cpu"))

    head = found.network.score.weight[0]
    torch.testing.assert_close(torch.arange(32.0) / 32, head.detach())
    assert found.found.template.between == " ASSISTANT:"
    assert {} == found.found.calibration
    assert np.isfinite(costs(found, SAMPLES)["value"]).all()


def test_a_classifier_of_several_classes_is_no_cost_model(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """Two outputs are refused by their number."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    network = AutoModelForSequenceClassification.from_pretrained(
        tiny_bert, num_labels=2
    )
    network.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)

    with pytest.raises(ModelError, match="tells 2 classes apart"):
        CostModel(CostOptions(model=str(tmp_path), template="pair"))
