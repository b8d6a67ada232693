"""Folds of prompts: nothing is measured by what has seen it, and nothing is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.errors import DataError, ModelError, OptionError
from safebench.statistics import mean_difference
from safebench.torch_utils import ModelFolder
from safebench_cost_model.model.encoding import ExchangeEncoder
from safebench_cost_model.model.template import PAIR
from safebench_cost_model.options import CostTrainOptions
from safebench_cost_model.train import evaluation
from safebench_cost_model.train.cross_fit import cross_fit, split_folds
from safebench_cost_model.train.dataset import load_splits
from safebench_cost_model.train.evaluation import difference_interval
from safebench_cost_model.train.folds import assign_folds
from safebench_cost_model.train.stack import LearningRows
from safebench_cost_model.train.trainer import check, fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset
    from safebench.training import Training


def groups_of(dataset: Dataset | None) -> set[str]:
    """Return the prompt groups of a dataset."""
    return {sample.group for sample in dataset.samples} if dataset else set()


@pytest.fixture
def training(
    make_training: Callable[..., Training],
    severity_set: dict[str, Dataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Training:
    """Return a training of word counts, with half of the test rows as singles."""
    for name in ("TAU_RESAMPLES", "TAU_BLOCKS"):  # no test here looks at tau
        monkeypatch.setattr(evaluation, name, 10)
    made = make_training(tmp_path / "out", "tfidf", cross_fit=3)
    test = severity_set["test"]
    singles = replace(
        test, samples=test.samples[:60], ground_truth=test.ground_truth[:60]
    )
    # As if a test set had been named: its rows are in no fold.
    return replace(
        made, singles=singles, data={"sources": [{"part": "train"}, {"part": "test"}]}
    )


def test_folds_share_no_prompt_and_cover_all_rows(training: Training) -> None:
    """Of train and val; a named test set stays out."""
    folds = list(split_folds(training, 3))
    pool = groups_of(training.train) | groups_of(training.val)
    tests = [groups_of(fold.training.test) for fold in folds]
    assert pool == set.union(*tests)
    assert sum(map(len, tests)) == len(pool)
    seen = 0
    for fold, test in zip(folds, tests, strict=True):
        parts = [groups_of(fold.training.train), groups_of(fold.training.val), test]
        assert pool == set.union(*parts)
        assert sum(map(len, parts)) == len(pool)
        assert not (parts[1] | parts[2]) & groups_of(fold.training.singles)
        unseen = {single.group for single in fold.singles}
        assert not unseen & groups_of(fold.training.singles)
        seen += len(fold.singles)
    contents = {sample.content for sample in training.singles.samples}  # type: ignore[union-attr]
    assert len(contents) == seen


def test_folds_of_pairs_do_not_depend_on_singles() -> None:
    """So that a model with singles and one without are measured on one cut."""
    names = [f"g{i}" for i in range(20)]
    alone = assign_folds(names, [], 4, 7)
    beside = assign_folds(names, ["g3", *(f"s{i}" for i in range(9))], 4, 7)
    assert alone.items() <= beside.items()
    sizes = np.bincount(list(alone.values()))
    assert [5, 5, 5, 5] == sizes.tolist()


def test_a_fold_that_was_cut_is_not_gone_on_with_by_other_folds(
    training: Training,
) -> None:
    """What is half learnt there has seen prompts that the other fold measures."""
    found: list[list[str]] = []

    def cut(fold: Training, _: Any) -> Any:
        found.append([path.name for path in fold.out.iterdir()])
        (fold.out / "half-learnt").touch()
        raise KeyboardInterrupt

    for k in (3, 2, 3):
        options = replace(training.options, cross_fit=k)
        with pytest.raises(KeyboardInterrupt):
            cross_fit(replace(training, options=options), "cost_model", cut)
    assert found == [[], [], ["half-learnt"]]


@pytest.mark.slow
def test_a_cross_fit_is_measured_kept_and_resumed(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracies are those of the predictions; finished folds are not fitted again."""
    trained = fit(training)
    text = (training.out / "cross-fit.jsonl").read_text(encoding="utf-8")
    found = {(m.who, m.metric): m for m in trained.measures if m.part == "cross-fit"}
    lines = [json.loads(line) for line in text.splitlines()]
    for who in ("cost_tfidf", "cost_tfidf on pairs"):
        pairs = [line for line in lines if len(line["contents"]) == 2]
        costs = np.array([line["costs"][who] for line in pairs])
        unsafe = np.array([line["unsafe"] for line in pairs])
        right = np.where(costs > 0, unsafe, 1 - unsafe).mean(axis=1)
        assert pytest.approx(right.mean()) == found[who, "sign_accuracy"].value
        alone = [line for line in lines if len(line["contents"]) == 1]
        natural = np.mean(
            [(line["costs"][who][0] > 0) == line["unsafe"][0] for line in alone]
        )
        assert pytest.approx(natural) == found[who, "sign_accuracy (natural mix)"].value
    gain = found["cost_tfidf - cost_tfidf on pairs", "sign_accuracy"].value
    expected = [
        found[who, "sign_accuracy"].value
        for who in ("cost_tfidf", "cost_tfidf on pairs")
    ]
    assert pytest.approx(np.subtract(*expected)) == gain
    assert not (training.out / "cross-fit" / "3-folds" / "fold-1").exists()

    def never(*_: Any) -> Any:
        raise AssertionError("a finished fold was fitted again")

    monkeypatch.setattr("safebench_cost_model.train.baseline.fit_baseline", never)
    again = cross_fit(training, "cost_tfidf", never)
    assert {m.metric: m.value for m in again if m.who == "cost_tfidf"} == {
        metric: m.value for (who, metric), m in found.items() if who == "cost_tfidf"
    }
    damaged = training.out / "cross-fit" / "3-folds" / "fold-2-cost_tfidf.json"
    damaged.write_text("{}")
    with pytest.raises(ModelError, match="is damaged: remove it"):
        cross_fit(training, "cost_tfidf", never)


def test_more_folds_than_prompts_are_refused(training: Training) -> None:
    """There would be folds with nothing to measure on."""
    many = replace(training, options=CostTrainOptions(base="tfidf", cross_fit=5000))
    with pytest.raises(DataError, match="--cross-fit 5000: there are"):
        fit(many)
    with pytest.raises(ValueError, match="cross_fit=1: 2 folds or more"):
        CostTrainOptions(base="tfidf", cross_fit=1)


@pytest.mark.slow
def test_networks_are_cross_fitted_with_single_responses(
    training: Training, make_training: Callable[..., Training], tiny_bert: Path
) -> None:
    """They learn singles beside pairs, and judge those of their fold."""
    lines: list[str] = []
    networks = make_training(
        training.out, tiny_bert, cross_fit=2, batch=64, evaluations=1, lines=lines
    )
    both = replace(networks, singles=training.singles, data=training.data)
    tokenizer = ModelFolder(tiny_bert, "tiny").tokenizer()
    splits = load_splits(both, ExchangeEncoder(tokenizer, PAIR, 48))
    singles = [p for p in splits.train.encoded.pairs if np.isnan(p.targets[0])]
    assert len(splits.train.encoded) == len(splits.train.pairs) + len(singles)
    assert all(single.first is single.second for single in singles)
    found = {(m.who, m.metric): m for m in fit(both).measures if m.part == "cross-fit"}
    natural = found["cost_model", "sign_accuracy (natural mix)"]
    assert natural.n == len({s.content for s in training.singles.samples})  # type: ignore[union-attr]
    gain = found["cost_model - cost_tfidf on pairs", "ranking_accuracy"].value
    parts = [
        found[who, "ranking_accuracy"].value
        for who in ("cost_model", "cost_tfidf on pairs")
    ]
    assert gain == pytest.approx(np.subtract(*parts))
    assert "fold 2/2: cost_tfidf on pairs on" in " ".join(lines)


def test_folds_are_fitted_by_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others would wait for models that the first one removes."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="start it without a launcher"):
        check(CostTrainOptions(base="tfidf", cross_fit=2), {})


def test_the_interval_of_a_difference_is_that_of_whole_groups() -> None:
    """Beside the core's own, which draws other resamples."""
    rng = np.random.default_rng(3)
    groups = rng.integers(60, size=300)
    a = (rng.random(300) < 0.6).astype(float)
    b = (rng.random(300) < 0.7).astype(float)
    ours = difference_interval(a, b, groups)
    core = mean_difference(a, b, groups)
    assert ours.value == pytest.approx((b - a).mean())
    assert ours.low == pytest.approx(core.low, abs=0.01)
    assert ours.high == pytest.approx(core.high, abs=0.01)


def test_rows_of_a_fold_and_of_the_others_are_all_rows() -> None:
    """None twice."""
    from types import SimpleNamespace as Row

    rows = LearningRows(
        [Row(group=f"g{i}") for i in range(6)],  # type: ignore[misc]
        [Row(group=f"g{i}") for i in range(3, 9)],  # type: ignore[misc]
    )
    folds = {f"g{i}": i % 3 for i in range(9)}
    inside, outside = (rows.subset(folds, 1, inside=x) for x in (True, False))
    assert ["g1", "g4"] == [pair.group for pair in inside.pairs]
    assert ["g4", "g7"] == [single.group for single in inside.singles]
    assert 6 == len(inside.pairs) + len(outside.pairs)
    assert 6 == len(inside.singles) + len(outside.singles)
