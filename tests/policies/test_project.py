"""Projection of categories, by hand and against a per-sample reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safebench.policies import load_policy
from safebench.policies.mapping import find_map, project
from safebench.records import GroundTruth, Label

if TYPE_CHECKING:
    from collections.abc import Iterable

OPENAI = load_policy("openai-moderation")
LLAMA_GUARD_3 = load_policy("llama-guard-3")
BEAVERTAILS = load_policy("beavertails")


def truth(
    categories: Iterable[str] | None, known: Iterable[str] | None = None
) -> GroundTruth:
    """Return the ground truth of a sample with these categories."""
    return GroundTruth(
        label=Label(value=bool(categories)),
        categories=None if categories is None else frozenset(categories),
        known=None if known is None else frozenset(known),
    )


def cells(sample: GroundTruth, target: str, source: str = "openai-moderation") -> str:
    """Return one projected sample as text: 1, 0 or ? per target code, in order."""
    projected = project([sample], load_policy(source), load_policy(target))
    pairs = zip(projected.gold[0], projected.mask[0], strict=True)
    return "".join(
        "?" if not known else str(int(positive)) for positive, known in pairs
    )


# S1 from V or V2; S4 from S3; S10 from H or H2; S11 from SH; S12 from S; no other.
@pytest.mark.parametrize(
    ("categories", "known", "expected"),
    [
        ("", None, "0??0?????000??"),
        ("V", None, "1??0?????000??"),
        (["H2"], None, "0??0?????100??"),
        (["SH", "S"], None, "0??0?????011??"),
        (["HR"], None, "0??0?????000??"),  # no counterpart: says nothing
        ("V", ["V"], "1????????" + "?????"),  # OR is 1 though V2 is unknown
        ("", ["V"], "?????????" + "?????"),  # V is 0, V2 unknown: unknown
        ("", ["V", "V2"], "0????????" + "?????"),
        (["H"], ["H", "H2", "S"], "?????????" + "1?0??"),
        (None, None, "??????????????"),
    ],
)
def test_projection_of_openai_moderation_by_hand(
    categories: list[str] | None, known: list[str] | None, expected: str
) -> None:
    """Many-to-one is OR, unknown if nothing is 1 and something is unknown."""
    assert expected == cells(truth(categories, known), "llama-guard-3")


def test_one_to_many_is_masked() -> None:
    """Drugs or weapons: S2 or S9 is meant, and nothing else tells of S9."""
    drugs = truth(["drug_abuse,weapons,banned_substance"])
    both = truth(
        ["drug_abuse,weapons,banned_substance", "financial_crime,property_crime,theft"]
    )

    s2, s9 = LLAMA_GUARD_3.codes.index("S2"), LLAMA_GUARD_3.codes.index("S9")
    assert "?" == cells(drugs, "llama-guard-3", "beavertails")[s2]
    assert "1" == cells(both, "llama-guard-3", "beavertails")[s2]
    assert "0" == cells(truth([]), "llama-guard-3", "beavertails")[s2]
    for sample in (drugs, both, truth([])):
        assert "?" == cells(sample, "llama-guard-3", "beavertails")[s9]


def test_eight_categories_of_the_moderation_are_among_the_thirteen() -> None:
    """Those of the evaluation set stay known; the five that came later are unknown."""
    eight = truth(["S3", "HR"], OPENAI.codes)

    # harassment, hate, illicit, self-harm, sexual, violence, each with its subclasses
    expected = "1?" + "00" + "??" + "0??" + "01" + "00"
    assert expected == cells(eight, "openai-moderation-13")


def test_a_target_that_nothing_reaches_is_masked() -> None:
    """Defamation and elections are no Llama Guard 2 codes: S5, S13, S14 are unknown."""
    text = cells(truth(["S1"]), "llama-guard-3", "llama-guard-2")

    assert "1000?0000000??" == text


def test_identical_policies_need_no_map() -> None:
    """Categories stay, the known ones are the mask."""
    projection = project(
        [truth(["S1"], ["S1", "S2"]), truth(None)], LLAMA_GUARD_3, LLAMA_GUARD_3
    )

    assert ("identity", "") == (projection.map_id, projection.note)
    assert [2, 0] == projection.mask.sum(axis=1).tolist()
    assert [1, 0] == projection.gold.sum(axis=1).tolist()


def test_without_a_map_nothing_is_known_and_the_note_says_so() -> None:
    """No guess is made."""
    target = load_policy("sorry-bench")
    projection = project([truth(["S1"])], load_policy("llama-guard-2"), target)

    assert projection.map_id is None
    assert not projection.mask.any()
    assert "no map from policy llama-guard-2 to sorry-bench" == projection.note


def test_the_note_names_what_the_map_covers_in_part() -> None:
    """Partial and missing entries are named with the result."""
    projection = project([], OPENAI, LLAMA_GUARD_3)

    assert "openai-moderation__llama-guard-3@1" == projection.map_id
    assert "3 partial; no counterpart for HR" == projection.note
    assert (0, 14) == projection.gold.shape


def reference(sample: GroundTruth, source: str, target: str) -> str:
    """Project one sample in plain Python, by the rule in the docstring of `project`."""
    policy_map = find_map(load_policy(source), load_policy(target))
    assert policy_map is not None
    result = ""
    for code in load_policy(target).codes:
        single = [c for c, e in policy_map.entries.items() if e.targets == (code,)]
        several = [
            c
            for c, e in policy_map.entries.items()
            if len(e.targets) > 1 and code in e.targets
        ]
        known = policy_map.entries.keys() if sample.known is None else sample.known
        if sample.categories is None or not single:
            result += "?"
        elif any(c in sample.categories and c in known for c in single):
            result += "1"
        elif any(c not in known for c in single + several) or any(
            c in sample.categories for c in several
        ):
            result += "?"
        else:
            result += "0"
    return result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("openai-moderation", "llama-guard-3"),
        ("beavertails", "llama-guard-3"),
        ("llama-guard-1", "llama-guard-3"),
        ("llama-guard-3", "openai-moderation"),
        ("llama-guard-3", "llama-guard-2"),
        ("openai-moderation-13", "llama-guard-3"),
        ("openai-moderation", "openai-moderation-13"),
    ],
)
def test_projection_agrees_with_a_reference_for_each_sample(
    source: str, target: str
) -> None:
    """The arrays say what the rule says of each sample alone."""
    codes = load_policy(source).codes
    subsets = st.frozensets(st.sampled_from(codes))
    truths = st.builds(
        truth,
        st.one_of(st.none(), subsets),
        st.one_of(st.none(), st.just(codes), subsets),
    )

    @settings(deadline=None, max_examples=60)
    @given(sample=truths)
    def check(sample: GroundTruth) -> None:
        assert reference(sample, source, target) == cells(sample, target, source)

    check()


def test_samples_are_projected_independently() -> None:
    """A sample's projection is the same alone and among others."""
    truths = [truth([code]) for code in BEAVERTAILS.codes]

    together = project(truths, BEAVERTAILS, LLAMA_GUARD_3)

    for row, sample in enumerate(truths):
        alone = project([sample], BEAVERTAILS, LLAMA_GUARD_3)
        assert alone.gold[0].tolist() == together.gold[row].tolist()
        assert alone.mask[0].tolist() == together.mask[row].tolist()
