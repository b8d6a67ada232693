"""Two maps by way of a third policy, compared with sets and with direct maps."""

from __future__ import annotations

import json
from functools import cache
from itertools import product

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.datasets.catalog import SPECS
from safebench.plugins import Plugins
from safebench.policies import load_policy
from safebench.policies.mapping import (
    PIVOT,
    PolicyMap,
    find_links,
    find_map,
    map_ids,
    project,
)
from safebench.policies.policy import policy_ids
from safebench.records import GroundTruth, Label

DIRECT = {(source, target) for source, target, _ in map_ids()}
COMPOSED = [
    (source, target)
    for source, target in product(policy_ids(), repeat=2)
    if source != target
    and (source, target) not in DIRECT
    and {(source, PIVOT), (PIVOT, target)} <= DIRECT
]


@cache
def get_map(source: str, target: str) -> PolicyMap:
    """Return the map between two policies, which must be there."""
    policy_map = find_map(load_policy(source), load_policy(target))
    assert policy_map is not None
    return policy_map


def cells(
    source: str, target: str, samples: list[set[str]]
) -> list[dict[str, bool | None]]:
    """Return each sample's truth in the target's codes, None where it is unknown."""
    truths = [
        GroundTruth(label=Label(value=True), categories=frozenset(codes))
        for codes in samples
    ]
    policy = load_policy(target)
    projected = project(truths, load_policy(source), policy)
    return [
        {
            code: bool(is_true) if is_known else None
            for code, is_true, is_known in zip(policy.codes, gold, known, strict=True)
        }
        for gold, known in zip(projected.gold, projected.mask, strict=True)
    ]


def surely(source: str, code: str, target: str) -> set[str]:
    """Return the targets that apply whatever pivot code a true code stands for."""
    pivots = get_map(source, PIVOT).entries[code].targets
    second = get_map(PIVOT, target).entries
    meant = [
        set(second[p].targets) if len(second[p].targets) == 1 else set() for p in pivots
    ]
    return set.intersection(*meant) if meant else set()


SOURCES = sorted({source for source, _ in COMPOSED})


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_said_by_way_of_the_pivot(source: str) -> None:
    """A true code makes true what every pivot code of it means, and no more."""
    codes = load_policy(source).codes
    for target in (b for a, b in COMPOSED if a == source):
        rows = cells(source, target, [{code} for code in codes])
        for code, row in zip(codes, rows, strict=True):
            true = {c for c, value in row.items() if value}
            assert surely(source, code, target) == true

            if len(get_map(source, PIVOT).entries[code].targets) != 1:
                # the pivot cannot say what it is: nothing else is known to be absent
                assert all(value is not False for value in row.values())


@pytest.mark.parametrize("source", SOURCES)
def test_a_sample_without_categories_has_none(source: str) -> None:
    """What some code leads to is known to be absent; the rest stays unknown."""
    codes = load_policy(source).codes
    for target in (b for a, b in COMPOSED if a == source):
        reachable = set().union(*(surely(source, code, target) for code in codes))

        (row,) = cells(source, target, [set()])

        assert {c for c, value in row.items() if value is False} == reachable
        assert not any(row.values())


# parts of a category that are a category of their own in one of the two OpenAI policies
# alone: the pivot knows the whole only
PARTS = {"H2", "V2", "harassment/threatening", "hate/threatening", "violence/graphic"}


@pytest.mark.parametrize(
    ("source", "target"), sorted(pair for pair in DIRECT if PIVOT not in pair)
)
def test_maps_agree_with_the_way_over_the_pivot(source: str, target: str) -> None:
    """What a direct map says of a code is not excluded by two maps in a row."""
    direct = get_map(source, target).entries
    first, second = get_map(source, PIVOT).entries, get_map(PIVOT, target).entries
    for code in direct.keys() - PARTS:
        pivots = first[code].targets
        through = {t for p in pivots for t in second[p].targets}
        targets = set(direct[code].targets)
        if len(pivots) == 1 and through and targets:
            assert through & targets, code


def test_the_note_names_both_maps() -> None:
    """Numbers that rest on two translations say so."""
    links = find_links(load_policy("catqa"), load_policy("qwen3guard"))

    assert links is not None
    expected = "catqa__llama-guard-3@1+llama-guard-3__qwen3guard@1"
    assert expected == links.map_id
    assert links.note.startswith("by way of llama-guard-3: 9 partial; from there: ")


def test_there_may_be_no_way() -> None:
    """Nothing leads to the taxonomy of a set: nothing is known, as the note says."""
    projected = project(
        [GroundTruth(label=Label(value=True), categories=frozenset({"S1"}))],
        load_policy("aegis-2"),
        load_policy("sorry-bench"),
    )

    assert projected.map_id is None
    assert not projected.mask.any()
    assert "no map from policy aegis-2 to sorry-bench" == projected.note


@pytest.mark.parametrize("kind", ["policies", "maps"])
def test_policies_and_maps_are_listed(kind: str) -> None:
    """Each by its name, and one with what it says."""
    lines = CliRunner().invoke(cli, ["list", kind, "--json"], obj=Plugins()).stdout
    records = {r["name"]: r for r in map(json.loads, lines.splitlines())}
    name = {"policies": "harmbench", "maps": "harmbench__llama-guard-3@1"}[kind]

    text = CliRunner().invoke(cli, ["list", kind, name], obj=Plugins()).stdout

    assert {"policies": len(policy_ids()), "maps": len(map_ids())}[kind] == len(records)
    assert text.startswith(name)
    if kind == "policies":
        assert ["llama-guard-3"] == records[name]["maps_to"]
        assert "  copyright: Copyright Violations\n" in text
    else:
        assert (1, 6, 0) == tuple(
            records[name][key] for key in ("exact", "partial", "missing")
        )
        assert "  copyright Copyright Violations\n    exact: S8 Intell" in text


@pytest.mark.parametrize("name", sorted({s.policy for s in SPECS if s.policy}))
def test_categories_of_every_public_set_reach_the_guards(name: str) -> None:
    """Metrics of categories are null for no guard of the core's policies."""
    guards = {"llama-guard-3", "qwen3guard", "aegis-2", "md-judge"} - {name}

    for guard in sorted(guards):
        assert find_links(load_policy(name), load_policy(guard)) is not None, guard
