"""The script of the registered measurement: its rows and its arithmetic."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> Any:
    """Return the script as a module."""
    path = ROOT / "benchmarks" / "feedback_judge.py"
    spec = importlib.util.spec_from_file_location("feedback_judge_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_weighted_numbers_are_scikit_learns(script: Any) -> None:
    """Of resampled clusters, with equal scores among them."""
    rng = np.random.default_rng(0)
    y = rng.random(60) < 0.4
    scores = np.round(rng.random(60) + 0.3 * y, 1)
    decisions = scores >= 0.6
    for _ in range(5):
        weights = rng.integers(0, 4, size=60)
        expected = roc_auc_score(y, scores, sample_weight=weights)
        assert expected == pytest.approx(script.weighted_auroc(y, scores, weights))
        f1, recall, fpr = script.rates(y, decisions, weights)
        assert f1_score(y, decisions, sample_weight=weights) == pytest.approx(f1)
        (tn, fp), (fn, tp) = confusion_matrix(y, decisions, sample_weight=weights)
        assert (tp / (tp + fn), fp / (fp + tn)) == pytest.approx((recall, fpr))


@pytest.mark.slow
def test_rows_like_a_collected_prompt_are_dropped(script: Any) -> None:
    """By text, by group, and with what they link to; pairs stay whole."""
    held = [{"prompt": "How do I bake bread?", "group": "a"}]
    texts = {
        "how do i bake BREAD": "b",
        "What is the capital of France?": "a",
        "Tell me a joke.": "c",
    }
    rows = [{"prompt": text, "group": group} for text, group in texts.items()]

    kept = script.without_clusters(rows, held)
    assert ["Tell me a joke."] == [row["prompt"] for row in kept]
    both = [
        {
            "prompt": "p",
            "response": name,
            "unsafe": name == "bad",
            "safer": name == "good",
            "pair": ("x", "1"),
        }
        for name in ("bad", "good")
    ]
    assert [
        {
            "prompt": "p",
            "response_0": "bad",
            "response_1": "good",
            "is_response_0_safe": False,
            "is_response_1_safe": True,
            "safer_response_id": 1,
        }
    ] == script.pair_lines(both)


@pytest.mark.slow
def test_what_is_registered_is_whole(script: Any) -> None:
    """Options exist, and hashes are there."""
    content = yaml.safe_load(script.REGISTRATION.read_text("utf-8"))

    options = script.training_options(Path("work"), content, content["seeds"][0], "")
    assert options.split_seed == content["recipe"]["split_seed"]
    assert {"collected", "benign", "parts", "judge"} == set(content["inputs"])
    assert all(content["inputs"].values())
