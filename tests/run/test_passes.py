"""Rows tell what the evidence cost that their own strategy read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safebench.classifiers import Trace
from safebench.evidence import GreedyPath, Scores, SeedTree, VerdictTree
from safebench.evidence.bundle import Bundle
from safebench.run.grid import ChosenStrategy
from safebench.run.passes import Pass, highest, summed
from safebench.run.recorder import Evidenced
from safebench.specs import ClassifierSpec, StrategySpec

GUARD = ClassifierSpec(
    name="guard",
    load="",
    provides=frozenset({VerdictTree}),
    on_request=frozenset({SeedTree}),
)
MAIN = [
    Trace(tokens_in=5, tokens_out=2, forward_passes=1.5, seconds=0.5, raw="safe"),
    Trace(tokens_in=7, tokens_dropped=3, dropped_side="left", error="main failed"),
]
ASKED = [
    Trace(tokens_in=5, tokens_out=9, forward_passes=8.0, seconds=4.0, error="no room"),
    Trace(tokens_in=7, forward_passes=2.0, seconds=1.0, raw="unsafe"),
]
PASSES = (
    Pass(frozenset({VerdictTree}), MAIN, 10.0),
    Pass(frozenset({SeedTree}), ASKED, 30.0),
)


def reader(*kinds: type, decider: ChosenStrategy | None = None) -> ChosenStrategy:
    """Return a strategy that reads some kinds of evidence."""
    spec = StrategySpec(name="s", load="", needs=frozenset(kinds))
    return ChosenStrategy(
        label="s", spec=spec, options=None, threshold=0.5, params={}, decider=decider
    )


@pytest.fixture
def both() -> Evidenced:
    """Return evidence of two samples from two passes."""
    scores = Scores({"values": [[0.0], [1.0]]}, meta={"labels": ["x"]})
    bundle = Bundle({Scores: scores})
    return Evidenced("key", {}, bundle, summed(PASSES), highest(PASSES), passes=PASSES)


def test_a_strategy_pays_for_what_it_reads(both: Evidenced) -> None:
    """The default record and evidence on request have costs and failures apart."""
    main = both.read_by(GUARD, reader(VerdictTree))
    asked = both.read_by(GUARD, reader(SeedTree))

    assert (MAIN, 10.0) == (main.traces, main.peak_memory_mib)
    assert (ASKED, 30.0) == (asked.traces, asked.peak_memory_mib)
    assert main.bundle is both.bundle
    assert main.parts is asked.parts


def test_derived_evidence_costs_what_it_was_derived_from(both: Evidenced) -> None:
    """A greedy path is read from the tree: its traces are the tree's."""
    assert MAIN == both.read_by(GUARD, reader(GreedyPath)).traces


@pytest.mark.parametrize(
    "strategy",
    [reader(VerdictTree, SeedTree), reader(SeedTree, decider=reader(VerdictTree))],
)
def test_a_strategy_that_rests_on_both_pays_for_both(
    both: Evidenced, strategy: ChosenStrategy
) -> None:
    """Costs add up, and either failure is one; the prompt's cut is told once."""
    found = both.read_by(GUARD, strategy)
    first = Trace(
        tokens_in=10,
        tokens_out=11,
        forward_passes=9.5,
        seconds=4.5,
        raw="safe",
        error="no room",
    )
    second = Trace(
        tokens_in=14,
        tokens_dropped=3,
        dropped_side="left",
        forward_passes=2.0,
        seconds=1.0,
        raw="unsafe",
        error="main failed",
    )

    assert [first, second] == found.traces
    assert found.traces == both.traces
    assert 30.0 == found.peak_memory_mib


def test_evidence_that_knows_no_passes_stays_as_it_is(both: Evidenced) -> None:
    """One record, made outside a run, is what everybody reads."""
    bare = replace(both, passes=())

    assert bare.read_by(GUARD, reader(SeedTree)) is bare


def test_unknown_peaks_are_left_out() -> None:
    """The largest of what is known, None if nothing is."""
    kinds = frozenset({VerdictTree})
    known, unknown = Pass(kinds, [], 3.0), Pass(kinds, [])

    assert 3.0 == highest([unknown, known])
    assert highest([unknown]) is None
