"""Training of several members: what each is, and what is measured of their mean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from safebench.torch_utils.loading import load_tokenizer
from safebench_cost_model.model.encoding import ExchangeEncoder
from safebench_cost_model.model.platt_scaling import fit_platt
from safebench_cost_model.model.template import PAIR
from safebench_cost_model.options import CostTrainOptions
from safebench_cost_model.train.dataset import load_splits
from safebench_cost_model.train.trainer import fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.training import Trained, Training
    from safebench_cost_model.model.encoding import EncodedExchange
    from safebench_cost_model.train.dataset import PairSplits

    Make = Callable[..., Training]

pytestmark = pytest.mark.slow

OPTIONS = {"epochs": 2.0, "batch": 16, "members": 3}


@pytest.fixture(scope="module")
def ensemble(
    tiny_bert: Path, make_training: Make, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Trained, list[str]]:
    """Return three members, what their training gave back, and what it lines."""
    out, lines = tmp_path_factory.mktemp("ensemble") / "out", []
    return out, fit(make_training(out, tiny_bert, lines=lines, **OPTIONS)), lines


@pytest.fixture
def parts(tiny_bert: Path, make_training: Make, tmp_path: Path) -> PairSplits:
    """Return the parts as the members saw them."""
    encoder = ExchangeEncoder(load_tokenizer(tiny_bert, "tiny"), PAIR, 48)
    return load_splits(make_training(tmp_path / "parts", tiny_bert), encoder)


def own_costs(out: Path, part: str) -> np.ndarray:
    """Return the members' costs (M, N, 2) of a part, as their folders have them."""
    texts = [
        (out / f"member-{i}" / "model" / "member.json").read_text() for i in (1, 2, 3)
    ]
    return np.array([json.loads(text)["costs"][part] for text in texts])


def test_the_folder_holds_a_folder_a_member(
    ensemble: tuple[Path, Trained, list[str]],
) -> None:
    """Weights alone stay; the manifest says how many there are."""
    out, trained, _ = ensemble

    names = sorted(path.relative_to(out).as_posix() for path in out.glob("*/*"))
    assert [f"member-{i}/model" for i in (1, 2, 3)] == names
    assert (3, "model") == (trained.manifest["members"], trained.manifest["files"])


def test_a_member_is_what_a_training_by_its_seed_gives(
    ensemble: tuple[Path, Trained, list[str]],
    tiny_bert: Path,
    make_training: Make,
    tmp_path: Path,
) -> None:
    """The second member of seed 3 is the only one of seed 4."""
    training = make_training(tmp_path, tiny_bert, **OPTIONS | {"members": 1})

    fit(replace(training, seed=4))

    alone = load_file(tmp_path / "model" / "model.safetensors")
    first, second = (
        load_file(ensemble[0] / f"member-{i}" / "model" / "model.safetensors")
        for i in (1, 2)
    )
    assert all(torch.equal(alone[key], second[key]) for key in alone)
    assert not all(torch.equal(first[key], second[key]) for key in first)


def test_measures_are_those_of_the_mean_cost(
    ensemble: tuple[Path, Trained, list[str]], parts: PairSplits
) -> None:
    """AUROC by scikit-learn, and bias and temperature, on the mean of stored costs."""
    out, trained, _ = ensemble
    values = {(m.who, m.part, m.metric): m.value for m in trained.measures}
    mean = {name: own_costs(out, name).mean(axis=0) for name in ("val", "test")}
    unsafe = parts.test.labels.unsafe.reshape(-1)

    platt = fit_platt(mean["val"].reshape(-1), parts.val.labels.unsafe.reshape(-1))

    assert {0.0, 1.0} == set(unsafe)
    assert roc_auc_score(unsafe, mean["test"].reshape(-1)) == pytest.approx(
        values["cost_model", "test", "auroc"]
    )
    assert platt is not None
    assert platt.as_json() == trained.manifest["calibration"]


def test_every_member_is_measured_by_itself(
    ensemble: tuple[Path, Trained, list[str]], parts: PairSplits
) -> None:
    """Sign and ranking accuracy on both parts, beside those of the mean."""
    out, trained, _ = ensemble
    values = {
        (m.who, m.part, m.metric): m.value
        for m in trained.measures
        if m.who.startswith("member ")
    }

    names = ("sign_accuracy", "ranking_accuracy")
    assert values.keys() == {
        (f"member {i}", part, name)
        for i in (1, 2, 3)
        for part in ("val", "test")
        for name in names
    }
    for i, costs in enumerate(own_costs(out, "test"), 1):
        signs = ((costs > 0) == (parts.test.labels.unsafe > 0.5)).mean()
        order = (costs[:, 0] > costs[:, 1]).mean()
        assert (signs, order) == pytest.approx(
            tuple(values[f"member {i}", "test", name] for name in names)
        )


def test_progress_names_the_member(
    ensemble: tuple[Path, Trained, list[str]],
) -> None:
    """Every evaluation says whose it is, and each member its seed."""
    lines = ensemble[2]

    assert [f"member {i}/3: seed {i + 2}" for i in (1, 2, 3)] == [
        line for line in lines if "seed" in line
    ]
    steps = [line for line in lines if ": step " in line]
    assert 12 == len(steps)
    assert 3 == sum(": best at step " in line for line in lines)
    assert ["member 1/3: step 3/12, loss "] == [line[:28] for line in steps[:1]]
    assert 1 == sum(line.startswith("train: ") for line in lines)


def test_texts_are_tokenised_once(
    tiny_bert: Path,
    make_training: Make,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Three members encode no more exchanges than one does."""
    counts = []
    encode = ExchangeEncoder.encode

    def counted(self: ExchangeEncoder, prompt: str, response: str) -> EncodedExchange:
        counts[-1] += 1
        return encode(self, prompt, response)

    monkeypatch.setattr(ExchangeEncoder, "encode", counted)
    for members in (1, 3):
        counts.append(0)
        options = {"epochs": 0.2, "batch": 32, "members": members}
        fit(make_training(tmp_path / str(members), tiny_bert, **options))

    assert counts[0] == counts[1] > 0


def test_a_baseline_is_one() -> None:
    """Word counts have no seeds to differ by."""
    with pytest.raises(ValueError, match="members=3: the base tfidf is one"):
        CostTrainOptions(base="tfidf", members=3)
    with pytest.raises(ValueError, match="members=0 is not above 0"):
        CostTrainOptions(members=0)
