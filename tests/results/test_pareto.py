"""Fronts of quality against cost, by enumeration and through the command."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.metrics.catalog import SPECS
from safebench.plugins import Plugins
from safebench.results import Row
from safebench.results.pareto import COSTS, pareto
from safebench.results.rows import to_json

Write = Callable[..., Path]


def row(name: str, value: float | None = 0.5, **fields: Any) -> Row:
    """Return a result row of AUROC on 100 samples."""
    return Row(**{
        "run": "r", "classifier": name, "model": "m", "strategy": "s",
        "dataset": "set", "split": "test", "task": "prompt_harm", "metric": "auroc",
        "value": value, "n": 100, "n_pos": 40, "seconds": 1.0, "forward_passes": 100.0,
        "tokens": 1000, "samples_per_second": 100.0, "device": "cpu",
    } | fields)  # fmt: skip


def spec_of(name: str) -> Any:
    """Return a metric of the core."""
    return next(spec for spec in SPECS if spec.name == name)


@pytest.mark.parametrize("cost", list(COSTS))
@pytest.mark.parametrize("metric", ["auroc", "fpr"])
def test_front(cost: str, metric: str) -> None:
    """The front is what no other cell beats, ties in both being on it together."""
    rng = np.random.default_rng(0)
    # tenths: there are ties in quality, in cost and in both
    value, price = rng.integers(1, 11, (2, 40)) / 10
    field = "samples_per_second" if cost == "prompts_per_second" else cost
    pairs = enumerate(zip(value, price, strict=True))
    rows = []
    for place, (v, p) in pairs:
        name = f"c{place}"
        if cost.startswith("latency"):
            rows += [row(name, v, metric=metric), row(name, p, metric=cost)]
        else:
            rows.append(row(name, v, metric=metric, **{field: p}))

    (front,) = pareto(rows, [], spec_of(metric), cost).fronts

    good = value if metric == "auroc" else -value
    cheap = price if cost == "prompts_per_second" else -price
    beaten = {
        a
        for a, b in itertools.permutations(range(40), 2)
        if good[b] >= good[a]
        and cheap[b] >= cheap[a]
        and (good[b], cheap[b]) != (good[a], cheap[a])
    }
    assert {c.classifier for c in front.cells if c.dominated_by} == {
        f"c{place}" for place in beaten
    }
    for cell in front.cells:
        if cell.dominated_by:
            best = int(cell.dominated_by.split("/")[0][1:])
            mine = int(cell.classifier[1:])
            assert good[best] >= good[mine]
            assert cheap[best] >= cheap[mine]
            assert best not in beaten


def test_what_is_not_compared() -> None:
    """Other samples and devices have tables of their own, unknown costs a reason."""
    rows = [
        row("a", 0.9),
        row("b", 0.8, device="cuda", seconds=0.1),
        row("c", 0.7, n=99),
        row("d", None, note="no score"),
        row("e", 0.6, cost_shared_with="other (12)"),
        row("f", 0.6, seconds=None, note="10 samples; cost not known: no evidence"),
        row("g", 0.6, threshold_from="test (original)"),
    ]

    result = pareto(rows, [], spec_of("auroc"), "seconds")
    by_tokens = pareto(rows[:2], [], spec_of("auroc"), "tokens")

    assert [len(front.cells) for front in result.fronts] == [1, 1, 1]
    assert "3 tables" in result.notes[0]
    assert {cell[0]: reason for *cell, reason in result.left_out} == {
        "d/s": "no score",
        "e/s": "its evidence was recorded, and paid, with other (12)",
        "f/s": "cost not known: no evidence",
        "g/s": "its threshold was chosen on the test labels",
    }
    assert [len(front.cells) for front in by_tokens.fronts] == [2]


def run(*words: str) -> Result:
    """Run the command line, and let faults of its code through."""
    return CliRunner().invoke(cli, words, obj=Plugins(), catch_exceptions=False)


@pytest.fixture
def three(write: Write) -> None:
    """Write a run of a good, a slightly worse and a bad guard of rising cost."""
    rng = np.random.default_rng(0)
    y = rng.random(100) < 0.4
    good = np.clip(rng.normal(np.where(y, 0.65, 0.35), 0.15), 0, 1)
    near = np.clip(good + rng.normal(0, 0.08, 100), 0, 1)
    scores = {"good": good, "near": near, "bad": rng.random(100)}
    rows = []
    for place, (name, score) in enumerate(scores.items()):
        write("three", f"{name}/s", y, score, threshold=0.5, probability=True)
        auroc = float((score[y][:, None] > score[~y]).mean())
        seconds = 1.0 + place
        rows.append(row(name, auroc, run="three", n_pos=int(y.sum()), seconds=seconds))
    text = "".join(to_json(line) + "\n" for line in rows)
    Path("runs/three/results.jsonl").write_text(text)


@pytest.mark.slow
def test_command(three: None) -> None:
    """A paired test says which of the beaten cells is worse in truth."""
    result = run("pareto", "three", "--format", "json", "--plot", "front.svg")

    assert result.exit_code == 0, result.output
    (front,) = json.loads(result.stdout)["fronts"]
    cells = {cell["classifier"]: cell for cell in front["cells"]}
    assert list(cells) == ["good", "near", "bad"]
    assert cells["good"]["dominated_by"] is None
    assert cells["bad"]["dominated_by"] == "good/s"
    assert cells["bad"]["significant"] is True
    assert cells["near"]["significant"] in (False, None)
    assert cells["bad"]["cost"] == pytest.approx(0.03)
    assert Path("front.svg").read_text().startswith("<?xml")
    for form in ("table", "md"):
        printed = run("pareto", "three", "--format", form).output
        assert "on the front" in printed
        assert max(map(len, printed.splitlines())) <= (80 if form == "table" else 999)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("three", "--metric", "aurok"), "did you mean 'auroc'"),
        (("three", "--metric", "recall"), "no result of recall"),
        (("three", "--cost", "second"), "seconds"),
        (("three", "--plot", "front.pdf"), ".png or .svg"),
        (("three", "-d", "sett"), "did you mean"),
    ],
)
def test_refused(three: None, words: tuple[str, ...], match: str) -> None:
    """What cannot be shown is refused with the nearest name."""
    result = run("pareto", *words)

    assert result.exit_code == 2
    assert match in result.output
