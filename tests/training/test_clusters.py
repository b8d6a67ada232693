"""Groups across sources: whatever is linked by any chain is one group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from safebench.records import Gold, Label, Sample, Turn
from safebench.training.clusters import regrouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    Made = tuple[int, int, int]  # source, prompt, group of the source

LINKS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 8)), max_size=25
)


def told(rows: Sequence[Made]) -> list[tuple[str, tuple[Sample, Gold]]]:
    """Return rows as `regrouped` takes them; group 0 is the default one."""
    return [
        (
            f"source{source}",
            (
                Sample(
                    id=str(i),
                    turns=(Turn("user", f"prompt {prompt}"),),
                    group=f"g{group}" if group else "",
                ),
                Gold(label=Label(value=True)),
            ),
        )
        for i, (source, prompt, group) in enumerate(rows)
    ]


def linked(a: Made, b: Made) -> bool:
    """Tell whether two rows belong together at once."""
    return a[1] == b[1] or (a[2] != 0 and (a[0], a[2]) == (b[0], b[2]))


def reached(rows: Sequence[Made], start: int) -> frozenset[int]:
    """Return the rows that any chain of links reaches (brute force)."""
    found, new = {start}, {start}
    while new:
        new = {
            j for j in range(len(rows)) for i in new if linked(rows[i], rows[j])
        } - found
        found |= new
    return frozenset(found)


@given(rows=LINKS)
def test_groups_are_what_chains_of_links_reach(rows: list[Made]) -> None:
    """Compared with a search over all pairs of rows."""
    groups = [sample.group for sample, _ in regrouped(told(rows))]

    for i in range(len(rows)):
        same = frozenset(j for j in range(len(rows)) if groups[j] == groups[i])
        assert reached(rows, i) == same


@given(rows=LINKS)
def test_names_of_groups_do_not_depend_on_the_order(rows: list[Made]) -> None:
    """A row has the same group when the rows come backwards."""
    forward = [sample.group for sample, _ in regrouped(told(rows))]
    backward = [sample.group for sample, _ in regrouped(told(rows[::-1]))]

    assert forward == backward[::-1]


def test_a_pair_is_one_group_even_of_two_prompts() -> None:
    """Twins stay together; another source's pair of that name is another group."""
    rows = [
        (
            source,
            (
                Sample(id=f"{source}{i}", turns=(Turn("user", f"{source} {i}"),)),
                Gold(label=Label(value=bool(i)), pair=("p1", "safer")),
            ),
        )
        for source in ("a", "b")
        for i in (0, 1)
    ]

    one, two, three, four = (sample.group for sample, _ in regrouped(rows))

    assert one == two
    assert three == four
    assert one != three
