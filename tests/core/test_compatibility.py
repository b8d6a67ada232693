"""Whether a strategy can read a classifier is settled by types, before any import."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from safebench import ClassifierSpec, StrategySpec
from safebench.compatibility import (
    IncompatiblePair,
    format_skipped,
    missing_requirements,
    source_kinds,
)
from safebench.evidence import Evidence, Scores
from safebench.evidence.base import EvidenceBundle


class Whole(Evidence):
    """What is recorded."""

    SCHEMA = {"value": ("f64", "B")}


class Half(Evidence):
    """Derived from the whole."""

    SCHEMA = {"value": ("f64", "B"), "spare": ("f64", "B")}
    OPTIONAL = frozenset({"spare"})
    derived_from = {Whole: f"{__name__}:halve"}


class Quarter(Evidence):
    """Derived from a half, and so from the whole."""

    SCHEMA = {"value": ("f64", "B")}
    derived_from = {Half: f"{__name__}:quarter"}


def halve(whole: Whole) -> Half:
    """Return half of each value."""
    return Half({"value": whole["value"] / 2})


def quarter(half: Half) -> Quarter:
    """Return half of each half."""
    return Quarter({"value": half["value"] / 2})


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `module:function` find this file, whatever pytest calls it."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Whole.__module__])


def classifier(**fields: Any) -> ClassifierSpec:
    """Return a classifier that records the whole."""
    return ClassifierSpec(
        **({"name": "c", "load": "a:b", "provides": frozenset({Whole})} | fields)
    )


def strategy(needs: Any) -> StrategySpec:
    """Return a strategy with some needs."""
    return StrategySpec(name="s", load="a:b", needs=needs)


def test_needs_are_closed_under_derivation() -> None:
    """A quarter can be had from a half, which can be had from the whole."""
    needs = strategy(frozenset({Quarter, Whole}))

    assert [] == missing_requirements(classifier(), needs)
    assert {Whole} == source_kinds(classifier(), needs)


def test_what_is_derived_is_computed_from_what_is_recorded() -> None:
    """The bundle derives through the chain, once."""
    bundle = EvidenceBundle({Whole: Whole({"value": [8.0, 4.0]})})

    assert [2.0, 1.0] == bundle[Quarter]["value"].tolist()
    assert bundle[Quarter] is bundle[Quarter]


def test_the_other_direction_is_refused() -> None:
    """A whole cannot be had from a half."""
    only_half = classifier(provides=frozenset({Half}))

    assert ["Whole"] == missing_requirements(only_half, strategy(frozenset({Whole})))
    with pytest.raises(KeyError, match="Whole is not recorded, only Half"):
        EvidenceBundle({Half: Half({"value": [1.0]})})[Whole]


def test_evidence_on_request_counts_as_available() -> None:
    """It is recorded because the strategy asks for it."""
    guard = classifier(on_request=frozenset({Scores}))

    assert [] == missing_requirements(guard, strategy(frozenset({Scores})))
    assert {Scores} == source_kinds(guard, strategy(frozenset({Scores})))


def test_optional_fields_must_be_provided_where_they_are_needed() -> None:
    """A strategy that needs a spare field is refused by name of the field."""
    needs = strategy({Half: frozenset({"spare"})})
    without = classifier(provides=frozenset({Half}))
    filled = classifier(provides={Half: frozenset({"spare"})})

    assert ["Half.spare"] == missing_requirements(without, needs)
    assert [] == missing_requirements(filled, needs)


def test_pairs_that_fail_alike_share_a_line() -> None:
    """Three of one reason are told at once, one of another alone."""
    pairs = [
        IncompatiblePair("keyword", n, f"{n} needs VerdictTree")
        for n in ("a", "b", "c")
    ]

    lines = format_skipped([*pairs, IncompatiblePair("keyword", "d", "d needs Cost")])

    assert lines == [
        "keyword x a, b, c: each needs VerdictTree",
        "keyword x d: d needs Cost",
    ]
