"""The script that trains a cost model beside its baseline."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.datasets import load_dataset, resolve_dataset
from safebench.plugins import Plugins
from safebench.statistics import Interval

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Return the script as a module."""
    path = ROOT / "benchmarks" / "cost_model.py"
    spec = importlib.util.spec_from_file_location("cost_model_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_made_up_set_is_read_as_pairs_with_severities(
    script: Any, tmp_path: Path
) -> None:
    """The safer response has the lower grade; both signs and all gaps occur."""
    from safebench_cost_model.train.pairs import read_pairs

    script.write_severity_set(tmp_path)

    dataset = load_dataset(
        resolve_dataset("pku_safe_rlhf:test", Plugins(), data_root=tmp_path)
    )
    pairs = read_pairs(dataset)
    words = {word: i for i, text in enumerate(script.GRADES) for word in text.split()}
    grades = [[words[r.split()[2]] for r in pair.responses] for pair in pairs]
    assert all(first > second for first, second in grades)
    assert {"mixed", "both unsafe", "both safe"} == {pair.kind for pair in pairs}
    assert {0, 1, 2, 3} == {pair.gap for pair in pairs}
    assert [[max(0, first - 1), max(0, second - 1)] for first, second in grades] == [
        list(pair.severity or ()) for pair in pairs
    ]


def test_people_of_the_two_halves_differ(script: Any, tmp_path: Path) -> None:
    """Nobody learns the test part's prompts."""
    script.write_severity_set(tmp_path)

    folder = tmp_path / "PKU-Alignment" / "PKU-SafeRLHF"
    texts = [(folder / f"{part}.jsonl").read_text() for part in ("train", "test")]
    prompts = [{json.loads(line)["prompt"] for line in t.splitlines()} for t in texts]
    people = [
        {w for p in part for w in p.split() if w in script.THINGS} for part in prompts
    ]
    assert not prompts[0] & prompts[1]
    assert not people[0] & people[1]


def test_only_a_whole_interval_above_0_is_shown(script: Any) -> None:
    """A better value is not enough."""
    assert "shown" == script.verdict(Interval(0.1, 0.01, 0.2, "bca", 9))
    assert "not shown" == script.verdict(Interval(0.1, -0.01, 0.2, "bca", 9))
    assert "not shown" == script.verdict(Interval(0.1, None, None, "few groups", 9))
    assert "not shown" == script.verdict(Interval(0.6, 0.49, 0.7, "bca", 9), 0.5)


def test_differences_are_those_of_the_same_pairs(script: Any) -> None:
    """Model right where the baseline is wrong on a third of the prompts."""
    from safebench_cost_model.train.evaluation import PairLabels

    n = 60
    truth = PairLabels(
        p_first=np.ones(n),
        unsafe=np.tile([1.0, 0.0], (n, 1)),
        gap=np.full(n, np.nan),
        severity=np.full((n, 2), np.nan),
        kind=np.full(n, "mixed"),
        rows=np.ones(n, dtype=int),
        group=np.array([f"g{i // 2}" for i in range(n)]),
    )
    model = np.tile([1.0, -1.0], (n, 1))
    baseline = model.copy()
    baseline[:20] *= -1

    found = script.differences(truth, {"model": model, "baseline": baseline})

    for name in ("sign_accuracy", "ranking_accuracy"):
        assert 1 / 3 == pytest.approx(found[name]["difference"]["value"], abs=1e-4)
        assert "shown" == found[name]["verdict"]
        assert (1.0, 2 / 3) == pytest.approx(
            (found[name]["model"]["value"], found[name]["baseline"]["value"]), abs=1e-4
        )
    assert {"pairs": 0} == script.same_sign(truth, {"model": model})
