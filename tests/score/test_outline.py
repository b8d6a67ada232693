"""A verdict tree as an outline: what it shows, hides and counts adds up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.engine.cut import Cut
from safebench.engine.explore import ExploreOptions, explore
from safebench.engine.grammar import Grammar, Level
from safebench.engine.outline import outline
from safebench.testing.spoken import spoken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.engine.outline import Outline
    from safebench.evidence import VerdictTree

PIECES = ["safe", "unsafe", " S1", " S2", ",", "é"[:1], "?"]
GRAMMAR = Grammar(
    levels=(
        Level(name="safe"),
        Level(name="unsafe", takes_labels=True, positive=True),
    ),
    labels=("S1", "S2"),
    intro=" ",
    separators=(",",),
)
SAID = {
    "safe": 0.3,
    "unsafe| S1": 0.4,
    "unsafe| S2": 0.28,
    "?": 0.02,
}


def grown(odds: dict[str, float], eps: float = 0.0, budget: int = 6) -> VerdictTree:
    """Return the tree of a table model that says texts with these odds."""
    options = ExploreOptions(eps=eps, budget=budget, forced=False)
    return explore(spoken(PIECES, odds), [[0]], GRAMMAR, options).tree


def pieces(tokens: Sequence[int]) -> list[bytes]:
    """Return the pieces as the model has them; the end has none."""
    return [[*(p.encode() for p in PIECES), b""][token] for token in tokens]


def written(found: Outline) -> list[tuple[int, str, float]]:
    """Return depth, text (``$`` for an end) and mass of every line."""
    return [
        (b.depth, "".join("$" if t.ends else t.text for t in b.tokens), b.mass)
        for b in found.branches
    ]


def test_lines_are_the_branches_by_hand() -> None:
    """Children stand under their parents, the likeliest first; sure tokens join."""
    found = outline(grown(SAID), pieces)

    lines = written(found)
    assert ["unsafe", " S1$", " S2$", "safe$"] == [text for _, text, _ in lines]
    assert [0, 1, 1, 0] == [depth for depth, _, _ in lines]
    assert_allclose([0.68, 0.4, 0.28, 0.3], [mass for *_, mass in lines])
    shares = [b.share for b in found.branches]
    assert_allclose([0.68, 0.4 / 0.68, 0.28 / 0.68, 0.3], shares)
    assert_allclose(0.02, found.other)


def test_lines_say_what_the_verdict_is_so_far() -> None:
    """Level and labels are those of the grammar; the written verdict is marked."""
    drawn = outline(grown(SAID), pieces)
    texts = [text for _, text, _ in written(drawn)]
    found = dict(zip(texts, drawn.branches, strict=True))

    assert ("unsafe", ("S1",), True) == (
        found[" S1$"].level,
        found[" S1$"].labels,
        found[" S1$"].ended,
    )
    assert ("safe", ()) == (found["safe$"].level, found["safe$"].labels)
    assert ["unsafe", " S1$"] == [text for text, b in found.items() if b.greedy]
    assert None is outline(grown({"?": 1.0}), pieces).branches[0].level


def test_rare_branches_are_counted_and_weighed() -> None:
    """What is below `least` is hidden under the line that it would follow."""
    found = outline(grown(SAID), pieces, least=0.3)

    assert ["unsafe", " S1$", "safe$"] == [text for _, text, _ in written(found)]
    top = found.branches[0]
    assert 1 == top.hidden
    assert_allclose(0.28, top.hidden_mass)


def test_what_was_not_followed_is_shown() -> None:
    """With eps above a label's mass it is not in the tree, and its mass is cut."""
    tree = grown(SAID, eps=0.35)

    found = outline(tree, pieces)

    top = next(b for b in found.branches if "unsafe" == b.tokens[0].text)
    assert_allclose(0.28, top.cut, atol=1e-12)
    assert_allclose(Cut(tree).gap[0], found.open)


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.35])
@pytest.mark.parametrize("least", [0.0, 0.1])
def test_every_line_accounts_for_its_mass(eps: float, least: float) -> None:
    """What follows a line is below it, hidden or cut, unless nothing follows."""
    rng = np.random.default_rng(3)
    odds = rng.dirichlet(np.ones(5))
    texts = ["safe", "unsafe| S1", "unsafe| S2", "unsafe| S1|,| S2", "?"]
    found = outline(
        grown(dict(zip(texts, odds, strict=True)), eps), pieces, least=least
    )

    for place, branch in enumerate(found.branches):
        rest = found.branches[place + 1 :]
        until = next((i for i, b in enumerate(rest) if b.depth <= branch.depth), None)
        below = sum(b.mass for b in rest[:until] if b.depth == branch.depth + 1)
        whole = below + branch.hidden_mass + branch.cut
        first = branch.mass  # of the line's last token
        if not branch.ended and whole > 0:
            assert_allclose(first, whole, rtol=0.006)


def test_parts_of_characters_are_written_in_hex() -> None:
    """A token that is no text of its own shows its bytes; an unknown one its number."""
    tree = grown({"safe": 0.6, "unsafe| S1": 0.4})

    found = outline(tree, lambda tokens: [b"\xc3" if t == 0 else b"" for t in tokens])

    assert ["c3$", "#1#2$"] == [text for _, text, _ in written(found)]
