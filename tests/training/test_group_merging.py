"""Groups across sources: rows that a chain of links connects are one group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from safebench.records import GroundTruth, Label, Sample, Turn
from safebench.training.splits import merge_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    Link = tuple[int, int, int]  # source, prompt, group of the source

LINKS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 8)), max_size=25
)


def named_rows(rows: Sequence[Link]) -> list[tuple[str, tuple[Sample, GroundTruth]]]:
    """Return rows as `merge_groups` takes them; group 0 means none."""
    return [
        (
            f"source{source}",
            (
                Sample(
                    id=str(i),
                    turns=(Turn("user", f"prompt {prompt}"),),
                    group=f"g{group}" if group else "",
                ),
                GroundTruth(label=Label(value=True)),
            ),
        )
        for i, (source, prompt, group) in enumerate(rows)
    ]


def linked(a: Link, b: Link) -> bool:
    """Tell whether two rows share a prompt, or a group of one source."""
    return a[1] == b[1] or (a[2] != 0 and (a[0], a[2]) == (b[0], b[2]))


def reachable(rows: Sequence[Link], start: int) -> frozenset[int]:
    """Return the rows that any chain of links reaches (brute force)."""
    visited, new = {start}, {start}
    while new:
        new = {
            j for j in range(len(rows)) for i in new if linked(rows[i], rows[j])
        } - visited
        visited |= new
    return frozenset(visited)


@settings(deadline=None)  # the first call imports scipy
@given(rows=LINKS)
def test_groups_are_what_chains_of_links_reach(rows: list[Link]) -> None:
    """Compared with a search over all pairs of rows."""
    groups = [sample.group for sample, _ in merge_groups(named_rows(rows))]

    for i in range(len(rows)):
        same = frozenset(j for j in range(len(rows)) if groups[j] == groups[i])
        assert reachable(rows, i) == same


@settings(deadline=None)  # the first call imports scipy
@given(rows=LINKS)
def test_names_of_groups_do_not_depend_on_the_order(rows: list[Link]) -> None:
    """A row has the same group when the rows come backwards."""
    forward = [sample.group for sample, _ in merge_groups(named_rows(rows))]
    backward = [sample.group for sample, _ in merge_groups(named_rows(rows[::-1]))]

    assert forward == backward[::-1]


def test_a_pair_is_one_group_even_of_two_prompts() -> None:
    """A pair stays together; another source's pair of that id is another group."""
    rows = [
        (
            source,
            (
                Sample(id=f"{source}{i}", turns=(Turn("user", f"{source} {i}"),)),
                GroundTruth(label=Label(value=bool(i)), pair=("p1", "safer")),
            ),
        )
        for source in ("a", "b")
        for i in (0, 1)
    ]

    a0, a1, b0, b1 = (sample.group for sample, _ in merge_groups(rows))

    assert a0 == a1
    assert b0 == b1
    assert a0 != b0
