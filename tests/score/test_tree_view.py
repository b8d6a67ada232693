"""A view of a verdict tree: what it shows, hides and counts adds up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.score.tree_view import build_tree_view, build_tree_views
from safebench.testing.table_model import model_from_texts
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench.verdict_tree.grammar import Grammar, Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree
    from safebench.score.tree_view import TreeView

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
PROBABILITIES = {
    "safe": 0.3,
    "unsafe| S1": 0.4,
    "unsafe| S2": 0.28,
    "?": 0.02,
}


def tree_of(
    probabilities: dict[str, float], eps: float = 0.0, max_tokens: int = 6
) -> VerdictTree:
    """Return the tree of a model that writes texts with these probabilities."""
    options = ExploreOptions(eps=eps, max_tokens=max_tokens, force_canonical=False)
    return explore(
        model_from_texts(PIECES, probabilities), [[0]], GRAMMAR, options
    ).tree


def token_bytes(tokens: Sequence[int]) -> list[bytes]:
    """Return the bytes of tokens; EOS has none."""
    return [[*(p.encode() for p in PIECES), b""][token] for token in tokens]


def lines_of(view: TreeView) -> list[tuple[int, str, float]]:
    """Return depth, text (``$`` for an end) and mass of every line."""
    return [
        (b.depth, "".join("$" if t.ends else t.text for t in b.tokens), b.mass)
        for b in view.branches
    ]


def test_lines_are_the_branches_by_hand() -> None:
    """Children stand under their parents, likeliest first; sure tokens are merged."""
    view = build_tree_view(tree_of(PROBABILITIES), token_bytes)

    lines = lines_of(view)
    assert ["unsafe", " S1$", " S2$", "safe$"] == [text for _, text, _ in lines]
    assert [0, 1, 1, 0] == [depth for depth, _, _ in lines]
    assert_allclose([0.68, 0.4, 0.28, 0.3], [mass for *_, mass in lines])
    shares = [b.share for b in view.branches]
    assert_allclose([0.68, 0.4 / 0.68, 0.28 / 0.68, 0.3], shares)
    assert_allclose(0.02, view.other)


def test_lines_say_what_the_verdict_is_so_far() -> None:
    """Level and labels are those of the grammar; the greedy verdict is marked."""
    view = build_tree_view(tree_of(PROBABILITIES), token_bytes)
    texts = [text for _, text, _ in lines_of(view)]
    branches = dict(zip(texts, view.branches, strict=True))

    first_label = branches[" S1$"]
    assert ("unsafe", ("S1",), True) == (
        first_label.level,
        first_label.labels,
        first_label.ended,
    )
    assert ("safe", ()) == (branches["safe$"].level, branches["safe$"].labels)
    assert ["unsafe", " S1$"] == [text for text, b in branches.items() if b.greedy]
    unread = build_tree_view(tree_of({"?": 1.0}), token_bytes)
    assert None is unread.branches[0].level


def test_rare_branches_are_counted_and_weighed() -> None:
    """What is below `min_probability` is hidden under the line that it would follow."""
    view = build_tree_view(tree_of(PROBABILITIES), token_bytes, min_probability=0.3)

    assert ["unsafe", " S1$", "safe$"] == [text for _, text, _ in lines_of(view)]
    unsafe = view.branches[0]
    assert 1 == unsafe.hidden
    assert_allclose(0.28, unsafe.hidden_mass)


def test_what_was_not_followed_is_shown() -> None:
    """A label below eps is not in the tree, and its mass is unexplored."""
    tree = tree_of(PROBABILITIES, eps=0.35)

    view = build_tree_view(tree, token_bytes)

    unsafe = next(b for b in view.branches if "unsafe" == b.tokens[0].text)
    assert_allclose(0.28, unsafe.unexplored, atol=1e-12)
    assert_allclose(TreeBounds(tree).open_mass[0], view.open_mass)


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.35])
@pytest.mark.parametrize("min_probability", [0.0, 0.1])
def test_every_line_accounts_for_its_mass(eps: float, min_probability: float) -> None:
    """What follows a line is below it, hidden or unexplored, unless it has ended."""
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(5))
    texts = ["safe", "unsafe| S1", "unsafe| S2", "unsafe| S1|,| S2", "?"]
    view = build_tree_view(
        tree_of(dict(zip(texts, probabilities, strict=True)), eps),
        token_bytes,
        min_probability=min_probability,
    )

    for index, branch in enumerate(view.branches):
        rest = view.branches[index + 1 :]
        until = next((i for i, b in enumerate(rest) if b.depth <= branch.depth), None)
        below = sum(b.mass for b in rest[:until] if b.depth == branch.depth + 1)
        whole = below + branch.hidden_mass + branch.unexplored
        first = branch.mass  # of the line's last token
        if not branch.ended and whole > 0:
            assert_allclose(first, whole, rtol=0.006)


def test_parts_of_characters_are_written_in_hex() -> None:
    """A token that is no text of its own shows its bytes; an unknown one its number."""
    tree = tree_of({"safe": 0.6, "unsafe| S1": 0.4})

    view = build_tree_view(
        tree, lambda tokens: [b"\xc3" if t == 0 else b"" for t in tokens]
    )

    assert ["c3$", "#1#2$"] == [text for _, text, _ in lines_of(view)]


def test_every_question_has_its_own_tree() -> None:
    """A guard that is asked about two criteria: both trees, each under its name."""
    others = {"safe": 0.9, "?": 0.1}
    both = tree_of(PROBABILITIES).concat([tree_of(PROBABILITIES), tree_of(others)])

    views = build_tree_views(both.fold(["hate", "violence"]), token_bytes)
    alone = build_tree_views(tree_of(others), token_bytes)

    assert ["hate", "violence"] == [question for question, _ in views]
    assert lines_of(views[0][1]) == lines_of(
        build_tree_view(tree_of(PROBABILITIES), token_bytes)
    )
    assert lines_of(views[1][1]) == lines_of(alone[0][1])
    assert [""] == [question for question, _ in alone]
