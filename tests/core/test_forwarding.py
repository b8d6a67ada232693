"""Names of version 0.1 are answered by what is called otherwise today."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench import ClassifierSpec, DatasetSpec, StrategySpec, forwarding
from safebench.classifiers import Classifier
from safebench.datasets import DatasetRequest
from safebench.evidence import Scores
from safebench.records import Dataset, GroundTruth, Label, Sample, Turn
from safebench.training import Trained

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize("module", forwarding.MODULES)
def test_every_old_module_can_be_imported(module: str) -> None:
    """The import system finds it, and what it holds comes from where that is now."""
    old, new = import_module(module), import_module(forwarding.MODULES[module])
    public = [name for name in getattr(new, "__all__", vars(new)) if name[0] != "_"]

    assert public
    for name in public:
        assert getattr(new, name) is getattr(old, name)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (m, old, new)
        for m, names in forwarding.NAMES.items()
        for old, new in names.items()
    ],
)
def test_every_old_name_is_the_new_one(module: str, old: str, new: str) -> None:
    """The module that holds the new name answers to the old one as well."""
    holder = import_module(module)

    assert getattr(holder, new) is getattr(holder, old)


def test_what_never_was_is_no_attribute() -> None:
    """A module with old names still refuses a name that is neither."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = import_module("safebench.records").Nothing
    with pytest.raises(ImportError, match="Nothing"):
        exec("from safebench.judgements import Nothing")


def test_specs_are_built_and_read_by_old_names() -> None:
    """Fields of 0.1 reach the fields of today; both at once are refused."""
    common: dict[str, Any] = {"name": "a", "load": "a:b"}
    spec = StrategySpec(**common, needs=frozenset({Scores}), decision_from="score")  # type: ignore[call-arg]

    assert "score" == spec.decision_fallback
    assert "score" == spec.decision_from  # type: ignore[attr-defined]
    guard = ClassifierSpec(**common, provides=frozenset({Scores}), asks="conversation")  # type: ignore[call-arg]
    assert "conversation" == guard.evidence_scope
    with pytest.raises(TypeError, match="decision_from is decision_fallback today"):
        replace(spec, decision_from="other")  # type: ignore[call-arg]


def test_members_are_reached_by_old_names() -> None:
    """Rows of evidence are taken, and golds of a dataset read, as in 0.1."""
    scores: Any = Scores({"values": [[0.1], [0.2], [0.3]]})
    gold = GroundTruth(label=Label(value=True))
    sample = Sample(id="1", turns=(Turn("user", "hi"),))
    fields: dict[str, Any] = {
        "name": "d",
        "config": None,
        "split": "test",
        "task": "prompt_harm",
    }
    fields |= {"policy": None, "revision": "local:1", "samples": [sample]}
    dataset: Any = Dataset(**fields, golds=[gold])

    assert np.array_equal([[0.3]], scores.take([2])["values"])
    assert "B" == Scores.lead("values")  # type: ignore[attr-defined]
    assert [gold] == dataset.golds == dataset.ground_truth


def test_dataset_functions_and_trainers_use_old_names() -> None:
    """A reader notes skipped rows in the ledger; a trainer says that it fell short."""
    spec = DatasetSpec(name="d", load="a:b")
    request: Any = DatasetRequest(spec=spec, split="test")
    trained = Trained(classifier="c", manifest={}, short=True)  # type: ignore[call-arg]

    request.ledger.skip("row 1", "empty prompt")

    assert [("row 1", "empty prompt")] == request.report.skipped
    assert trained.incomplete is True


def test_an_override_by_an_old_name_is_used() -> None:
    """A classifier that tells its tokens' texts by the old method is asked for them."""

    class Guard(Classifier):
        def pieces(self, tokens: Sequence[int]) -> list[bytes]:
            return [b"x" for _ in tokens]

    assert [b"x", b"x"] == Guard().token_bytes([1, 2])
