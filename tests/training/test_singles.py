"""Responses labelled alone, beside pairs: which are learnt from, and which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench.errors import DataError, OptionError
from safebench.records import Dataset, GroundTruth, Label, Sample, Turn
from safebench.specs import TrainerSpec
from safebench.training.config import TrainConfig
from safebench.training.data import load_training_data
from safebench.training.singles import attach_singles

if TYPE_CHECKING:
    from safebench.plugins import Plugins

SPEC = TrainerSpec(
    name="pairs", summary="", load="a:b", dataset="d", task="response_harm",
    pairs=True, singles=True,
)  # fmt: skip
Row = tuple[str, str, "bool | None", str]


def responses(name: str, rows: list[Row]) -> Dataset:
    """Return a dataset of (prompt, response, unsafe, group) rows."""
    return Dataset(
        name=name,
        config=None,
        split="train",
        task="response_harm",
        policy=None,
        revision="r",
        samples=[
            Sample(
                id=f"{name}{i}",
                turns=(Turn("user", prompt), Turn("assistant", response)),
                task="response_harm",
                group=group,
            )
            for i, (prompt, response, _, group) in enumerate(rows)
        ],
        ground_truth=[GroundTruth(label=Label(value=unsafe)) for *_, unsafe, _ in rows],
    )


def splits() -> dict[str, Dataset]:
    """Return one prompt in each split, by its own name as a group."""
    return {
        name: responses(
            name, [(name, "bad", True, f"g-{name}"), (name, "good", False, f"g-{name}")]
        )
        for name in ("train", "val", "test")
    }


def test_what_shares_a_prompt_with_val_or_test_is_left_out_and_counted() -> None:
    """By its prompt, or by a chain: of a group, one member of which has that prompt."""
    lines: list[str] = []
    singles = responses(
        "s",
        [
            ("test", "x", True, ""),
            ("val ", "y", True, ""),  # outer space does not make another prompt
            ("new", "z", False, ""),
            ("chained", "z", False, "c"),
            ("test", "w", False, "c"),
            ("nobody knows", "z", None, ""),
        ],
    )
    train, kept = attach_singles([singles], splits(), SPEC, lines.append)
    assert ["new"] == [sample.turns[0].text for sample in kept.samples]
    assert 2 == len(train)
    assert "s:train: 1 rows without a label: left out" in lines
    assert (
        "singles 1 rows (0 positive); 4 share a prompt with val or test: left out"
        == (lines[-1])
    )


def test_singles_and_training_pairs_of_one_prompt_are_one_group() -> None:
    """Folds by group must not part them; the rows of train are the same ones."""
    singles = responses("s", [("train", "x", True, "q"), ("other", "y", True, "q")])
    before = splits()
    train, kept = attach_singles([singles], before, SPEC, lambda _: None)
    assert 1 == len({sample.group for sample in [*train.samples, *kept.samples]})
    assert before["train"].data_hash == train.data_hash


def test_singles_that_are_all_held_out_are_an_error() -> None:
    """A training that silently learnt from none would be taken for one that did."""
    with pytest.raises(DataError, match="no response is left"):
        attach_singles(
            [responses("s", [("val", "x", True, "")])], splits(), SPEC, lambda _: None
        )


def test_a_trainer_that_learns_from_no_singles_refuses_them(plugins: Plugins) -> None:
    """Before any data are read."""
    config = TrainConfig(singles=("nowhere.jsonl",))
    spec = plugins.get(TrainerSpec, "word_pairs")
    with pytest.raises(OptionError, match="word_pairs learns from no responses alone"):
        load_training_data(spec, config, plugins, lambda _: None)
