"""Gaps between slices: by hand, against SciPy, and where slices are alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import permutation_test
from sklearn.metrics import roc_auc_score

from safebench.analysis import slice_gaps
from safebench.analysis.slice_gaps import MIN_A_CLASS, slice_gap
from safebench.analysis.slices import SliceMasks
from safebench.cli import cli
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path


def by(values: Any) -> SliceMasks:
    """Return a mask for each distinct value."""
    values = np.asarray(values)
    return SliceMasks("c", {str(v): values == v for v in np.unique(values)})


def test_gap_and_p_of_two_slices() -> None:
    """Two slices without groups are a permutation test of SciPy."""
    rng = np.random.default_rng(0)
    of = np.repeat([0, 1], [40, 70])
    hits = (rng.random(110) < np.where(of, 0.75, 0.55)).astype(float)
    y = np.ones(110, dtype=bool)

    gap = slice_gap("recall", y, hits, np.arange(110), by(of))

    expected = permutation_test(
        (hits[of == 0], hits[of == 1]),
        lambda a, b: abs(a.mean() - b.mean()),
        alternative="greater",
        n_resamples=9999,
        rng=1,
    )
    assert gap.gap == pytest.approx(expected.statistic)
    assert gap.p == pytest.approx(expected.pvalue, abs=0.03)
    assert gap.expected == pytest.approx(expected.null_distribution.mean(), abs=0.01)
    # of two slices, either differs exactly where both do
    assert [part.p for part in gap.slices] == pytest.approx([gap.p] * 2, abs=0.05)
    assert next(part.value for part in gap.slices) == str(
        np.argmin([hits[of == 0].mean(), hits[of == 1].mean()])
    )
    assert gap.low is not None
    assert gap.high is not None
    assert gap.low <= gap.gap <= gap.high


def test_auroc_by_slice() -> None:
    """Each slice's AUROC is that of scikit-learn, ties and overlaps included."""
    rng = np.random.default_rng(1)
    y = rng.random(300) < 0.5
    score = (rng.random(300) + 0.3 * y).round(1)
    score[3] = np.nan
    masks = {str(k): rng.random(300) < 0.5 for k in range(3)}

    gap = slice_gap("auroc", y, score, np.arange(300), SliceMasks("c", masks))

    for part in gap.slices:
        rows = masks[part.value] & ~np.isnan(score)
        assert part.metric == pytest.approx(roc_auc_score(y[rows], score[rows]))
        assert part.n == rows.sum()
    numbers = [part.metric for part in gap.slices]
    assert gap.gap == pytest.approx(numbers[-1] - numbers[0])
    assert numbers == sorted(numbers)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["fpr", "auroc"])
def test_slices_that_are_alike(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gap of equal slices is significant in 5 % of data, however groups cohere."""
    monkeypatch.setattr(slice_gaps, "N_PERMUTATIONS", 99)
    monkeypatch.setattr(slice_gaps, "MIN_PERMUTATIONS", 99)
    rng = np.random.default_rng(2)
    found = worst = 0
    runs = 120
    for _ in range(runs):
        size = rng.integers(1, 4, 110)
        index = np.repeat(np.arange(110), size)
        y = rng.random(len(index)) < (0.5 if metric == "auroc" else 0.0)
        # what a group shares moves all of its samples
        shared = rng.normal(size=110)[index]
        score = shared + 0.3 * rng.normal(size=len(index)) + y
        values = score if metric == "auroc" else (score > 0.5).astype(float)
        gap = slice_gap(metric, y, values, index, by(rng.integers(0, 3, 110)[index]))
        assert gap.p is not None
        found += gap.p <= 0.05
        worst += min(part.p for part in gap.slices) <= 0.05
    # 6 of 120 on average; 15 are the 99.9 % quantile
    assert 1 <= found <= 14
    assert 1 <= worst <= 14


@pytest.mark.slow
def test_ends_hold_the_true_gap() -> None:
    """The ends hold the gap that would be seen in endless data."""
    rng = np.random.default_rng(3)
    true = np.array([0.5, 0.6, 0.8])
    of = np.repeat([0, 1, 2], 40)
    y = np.ones(120, dtype=bool)
    held = 0
    for _ in range(100):
        hits = (rng.random(120) < true[of]).astype(float)
        masks = list(by(of).masks.values())
        low, high = slice_gaps._ends("recall", y, hits, np.arange(120), masks)
        assert low is not None
        assert high is not None
        held += low <= 0.3 <= high
    assert held >= 90  # 95 of 100 or more are expected


def test_small_slices() -> None:
    """Slices under 20 unrelated samples of a class are left out with the reason."""
    index = np.concatenate([np.arange(60), np.repeat(60 + np.arange(10), 4)])
    of = np.repeat(["a", "b", "c", "d"], [25, 25, 10, 40])
    y = np.ones(100, dtype=bool)

    gap = slice_gap("recall", y, y.astype(float), index, by(of))
    alone = slice_gap("recall", y[:35], y[:35].astype(float), index[:35], by(of[10:45]))

    assert [part.value for part in gap.slices] == ["a", "b"]
    assert gap.left_out == (
        ("c", f"10 unsafe, it takes {MIN_A_CLASS}"),
        ("d", f"10 unsafe, it takes {MIN_A_CLASS}"),
    )
    assert gap.gap == 0
    assert gap.p == 1
    assert alone.gap is None
    assert "1 of 2 slices" in alone.note


def test_command(tmp_path: Path) -> None:
    """`analyze --gaps` names the worst slice, with p-values adjusted by Holm."""
    rng = np.random.default_rng(4)
    folder = tmp_path / "run" / "predictions" / "guard" / "set.test"
    folder.mkdir(parents=True)
    lines = []
    for row in range(300):
        y, language = bool(rng.random() < 0.5), ("de", "en", "fr")[row % 3]
        good = 0.2 if language == "fr" and y else 0.8
        score = float(rng.uniform(0.5, 1) if (rng.random() < good) == y else 0.2)
        lines.append({
            "id": str(row), "content": str(row), "group": str(row),
            "classifier": "guard", "model": "m", "strategy": "s", "dataset": "set",
            "config": None, "split": "test", "part": "test", "task": "prompt_harm",
            "score": score, "decision": score >= 0.5, "label": y,
            "columns": {"language": language},
        })  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "s.jsonl").write_text(text)
    words = ["analyze", str(tmp_path / "run"), "--gaps", "--slice", "language"]

    read, shown = (
        CliRunner().invoke(cli, [*words, *more], obj=Plugins(), catch_exceptions=False)
        for more in (["--format", "json"], ["--format", "md"])
    )

    gaps = {g["metric"]: g for g in json.loads(read.stdout)["combinations"][0]["gaps"]}
    assert gaps["recall"]["slices"][0]["value"] == "fr"
    assert gaps["recall"]["slices"][0]["p"] < 0.05
    assert gaps["recall"]["holm"] < 0.05 < gaps["fpr"]["holm"]
    assert gaps["recall"]["holm"] >= gaps["recall"]["p"]
    of_fr = [li for li in lines if li["columns"]["language"] == "fr" and li["label"]]
    expected = np.mean([line["decision"] for line in of_fr])
    assert gaps["recall"]["slices"][0]["metric"] == pytest.approx(expected)
    assert "recall by language | fr" in shown.output
