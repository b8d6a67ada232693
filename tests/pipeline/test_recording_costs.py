"""The costs of a row are those of the evidence that its strategy read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from safebench.classifiers import Trace
from safebench.evidence import GreedyPath, Scores, SeedTree, VerdictTree
from safebench.evidence.base import EvidenceBundle
from safebench.pipeline.evidence_set import (
    EvidenceSet,
    RecordingCost,
    peak_memory,
    sum_traces,
)
from safebench.pipeline.recording import left_out_notes
from safebench.pipeline.resolved import ResolvedStrategy
from safebench.specs import ClassifierSpec, StrategySpec

GUARD = ClassifierSpec(
    name="guard",
    load="",
    provides=frozenset({VerdictTree}),
    on_request=frozenset({SeedTree}),
)
DEFAULT = [
    Trace(tokens_in=5, tokens_out=2, forward_passes=1.5, seconds=0.5, raw="safe"),
    Trace(tokens_in=7, tokens_dropped=3, dropped_side="left", error="main failed"),
]
ON_REQUEST = [
    Trace(tokens_in=5, tokens_out=9, forward_passes=8.0, seconds=4.0, error="no room"),
    Trace(tokens_in=7, forward_passes=2.0, seconds=1.0, raw="unsafe"),
]
COSTS = (
    RecordingCost(frozenset({VerdictTree}), DEFAULT, 10.0),
    RecordingCost(frozenset({SeedTree}), ON_REQUEST, 30.0),
)


def strategy_reading(
    *kinds: type, fallback: ResolvedStrategy | None = None
) -> ResolvedStrategy:
    """Return a strategy that reads some kinds of evidence."""
    spec = StrategySpec(name="s", load="", needs=frozenset(kinds))
    return ResolvedStrategy(
        label="s",
        spec=spec,
        options=None,
        threshold=0.5,
        params={},
        decision_fallback=fallback,
    )


@pytest.fixture
def both() -> EvidenceSet:
    """Return evidence of two samples that was recorded in two parts."""
    scores = Scores({"values": [[0.0], [1.0]]}, meta={"labels": ["x"]})
    bundle = EvidenceBundle({Scores: scores})
    return EvidenceSet(
        "key", {}, bundle, sum_traces(COSTS), peak_memory(COSTS), costs=COSTS
    )


def test_a_strategy_pays_for_what_it_reads(both: EvidenceSet) -> None:
    """The default record and evidence on request have costs and failures apart."""
    main = both.for_strategy(GUARD, strategy_reading(VerdictTree))
    on_request = both.for_strategy(GUARD, strategy_reading(SeedTree))

    assert (DEFAULT, 10.0) == (main.traces, main.peak_memory_mib)
    assert (ON_REQUEST, 30.0) == (on_request.traces, on_request.peak_memory_mib)
    assert main.bundle is both.bundle
    assert main.subsets is on_request.subsets


def test_derived_evidence_costs_what_it_was_derived_from(both: EvidenceSet) -> None:
    """A greedy path is read from the tree: its traces are the tree's."""
    assert DEFAULT == both.for_strategy(GUARD, strategy_reading(GreedyPath)).traces


@pytest.mark.parametrize(
    "strategy",
    [
        strategy_reading(VerdictTree, SeedTree),
        strategy_reading(SeedTree, fallback=strategy_reading(VerdictTree)),
    ],
)
def test_a_strategy_that_rests_on_both_pays_for_both(
    both: EvidenceSet, strategy: ResolvedStrategy
) -> None:
    """Costs add up, either failure is one, and the prompt is cut once."""
    read = both.for_strategy(GUARD, strategy)
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

    assert [first, second] == read.traces
    assert read.traces == both.traces
    assert 30.0 == read.peak_memory_mib


def test_evidence_without_costs_stays_as_it_is(both: EvidenceSet) -> None:
    """Evidence of a single prompt is what every strategy reads."""
    bare = replace(both, costs=())

    assert bare.for_strategy(GUARD, strategy_reading(SeedTree)) is bare


@pytest.mark.parametrize(
    ("sides", "start"),
    [
        (["left", "", "right"], None),
        (["template", "left"], "1 of 2 samples was judged without earlier turns"),
        (["template"] * 3, "3 of 3 samples were judged without earlier turns"),
    ],
)
def test_turns_that_a_template_leaves_out_are_noted(
    sides: list[str], start: str | None
) -> None:
    """Truncation alone has a note of its own below the table."""
    notes = left_out_notes([Trace(dropped_side=side) for side in sides])

    assert [start] * (start is not None) == [n.partition(":")[0] for n in notes]


def test_unknown_peaks_are_left_out() -> None:
    """The largest of what is known, None if nothing is."""
    kinds = frozenset({VerdictTree})
    known, unknown = RecordingCost(kinds, [], 3.0), RecordingCost(kinds, [])

    assert 3.0 == peak_memory([unknown, known])
    assert peak_memory([unknown]) is None
