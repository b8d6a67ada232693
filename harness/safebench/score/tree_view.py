"""A stored verdict tree as an outline of its likeliest branches, for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safebench.verdict_tree.automaton import label_bitmask
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.tree import ENDED, EXPANDED, GREEDY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.evidence import VerdictTree
    from safebench.typing import Array

    TokenBytes = Callable[[Sequence[int]], list[bytes]]

MIN_PROBABILITY = 0.005  # branches below it are counted, and not shown
MAX_NODES = 60
MERGE_SHARE = 0.995  # a child of this share or more goes on the line of its parent
_UNDECODABLE = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewToken:
    """One token of a verdict: its text, or that it ends the verdict."""

    text: str
    ends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeBranch:
    """One line of a view: tokens that follow each other almost surely.

    `mass` is the probability of the verdict up to its last token, `share` that given
    the line above. `level` and `labels` (policy codes) are what has been read so far.
    Of its continuations, `hidden` ones with `hidden_mass` were explored and are too
    unlikely to show, and the probability `unexplored` was not followed at all, after
    the line or between its tokens.
    """

    depth: int
    tokens: tuple[ViewToken, ...]
    mass: float
    share: float
    level: str | None
    labels: tuple[str, ...]
    ended: bool
    greedy: bool
    unexplored: float
    hidden: int
    hidden_mass: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeView:
    """The lines of one tree, children after their parents.

    `other` is the probability of all beginnings without a line, `open_mass` that of
    which it is not known what the verdict says, `nodes` how many the whole tree has.
    """

    branches: tuple[TreeBranch, ...]
    other: float
    open_mass: float
    nodes: int


def build_tree_view(
    tree: VerdictTree,
    token_bytes: TokenBytes,
    *,
    min_probability: float = MIN_PROBABILITY,
    max_nodes: int = MAX_NODES,
) -> TreeView:
    """Return the likeliest branches of a single tree (B = 1), the likeliest first.

    `token_bytes` gives the bytes of tokens. At most `max_nodes` nodes are shown, of
    `min_probability` or more.
    """
    assert len(tree) == 1, f"an outline of {len(tree)} trees"
    assert not tree.questions, "one outline for several questions"
    bounds = tree.cached(TreeBounds)
    builder = _TreeViewBuilder(
        bounds, token_bytes, _likeliest(bounds.mass, min_probability, max_nodes)
    )
    branches = tuple(builder.branches_below(0, 1.0, 0))
    return TreeView(
        branches=branches,
        other=max(0.0, 1.0 - sum(b.share for b in branches if b.depth == 0)),
        open_mass=float(bounds.open_mass[0]),
        nodes=len(bounds.mass),
    )


def build_tree_views(
    tree: VerdictTree, token_bytes: TokenBytes
) -> tuple[tuple[str, TreeView], ...]:
    """Return the trees of a single sample, each with what the guard was asked.

    A guard that is asked about several criteria, or reads its verdict after several
    reasonings, has a tree for each; one that is asked once has one, without a name.
    """
    questions = tree.questions or ("",)
    single = tree.unfold() if tree.questions else tree
    return tuple(
        (question, build_tree_view(single.select([i]), token_bytes))
        for i, question in enumerate(questions)
    )


def _likeliest(mass: Array, min_probability: float, max_nodes: int) -> set[int]:
    """Return the nodes to show: with a node its ancestors, which are likelier."""
    # A node is never likelier than the one before it, so that the likeliest ones are
    # always connected; the root comes first and is no line.
    order = np.argsort(-mass, kind="stable")[: max_nodes + 1]
    return {int(node) for node in order if mass[node] >= min_probability}


class _TreeViewBuilder:
    """Builds the lines of one tree; `shown` are the nodes on them."""

    def __init__(
        self, bounds: TreeBounds, token_bytes: TokenBytes, shown: set[int]
    ) -> None:
        self.tree, self.mass = bounds.tree, bounds.mass
        self.grammar = bounds.automaton.grammar
        self.shown = shown
        self.children: dict[int, list[int]] = {}
        for node, parent in enumerate(self.tree["parent"].tolist()):
            self.children.setdefault(parent, []).append(node)
        tokens = [int(self.tree["token"][node]) for node in sorted(shown - {0})]
        self.text = dict(zip(tokens, token_bytes(tokens), strict=True))
        self.ends = set(self.tree.meta["eos"])

    def branches_below(
        self, node: int, mass: float, depth: int
    ) -> Iterator[TreeBranch]:
        """Yield the lines under a node of that mass, the likeliest first."""
        for child in self._shown_children(node):
            # The floor is for masses that underflowed: their share means nothing, and
            # must not divide by zero.
            line, share = [child], float(self.mass[child]) / max(mass, 1e-300)
            while follower := self._merged_child(line[-1]):
                line.append(follower)
            yield self._branch(line, share, depth)
            yield from self.branches_below(
                line[-1], float(self.mass[line[-1]]), depth + 1
            )

    def _shown_children(self, node: int) -> list[int]:
        children = [n for n in self.children.get(node, ()) if n in self.shown]
        return sorted(children, key=lambda n: -self.mass[n])

    def _merged_child(self, node: int) -> int:
        """Return the child that almost surely follows; 0 (the root) for none."""
        for child in self._shown_children(node)[:1]:
            if self.mass[child] >= MERGE_SHARE * self.mass[node]:
                return child
        return 0

    def _branch(self, line: Sequence[int], share: float, depth: int) -> TreeBranch:
        tree, last = self.tree, line[-1]
        level = int(tree["level"][last])
        children = [n for node in line for n in self.children.get(node, ())]
        hidden = [n for n in children if n not in self.shown]
        return TreeBranch(
            depth=depth,
            tokens=tuple(self._token(node) for node in line),
            mass=float(self.mass[last]),
            share=share,
            level=self.grammar.levels[level].name if level >= 0 else None,
            labels=self._labels(last),
            ended=int(tree["status"][last]) == ENDED,
            greedy=bool(tree["flags"][last] & GREEDY),
            unexplored=sum(map(self._unexplored, line)),
            hidden=len(hidden),
            hidden_mass=sum(float(self.mass[n]) for n in hidden),
        )

    def _unexplored(self, node: int) -> float:
        """Return the probability of what follows a node and is not in the tree."""
        if int(self.tree["status"][node]) != EXPANDED:
            return 0.0
        # By difference, so that it holds all kinds of remainders; rounding may leave it
        # a little below zero.
        kept = sum(float(self.mass[n]) for n in self.children.get(node, ()))
        return max(0.0, float(self.mass[node]) - kept)

    def _labels(self, node: int) -> tuple[str, ...]:
        mask = self.tree["labels_mask"][node]
        level_codes = self.grammar.label_codes
        codes = (*level_codes, *self.grammar.all_labels[len(level_codes) :])
        bits = label_bitmask(np.arange(len(codes)))
        return tuple(code for code, bit in zip(codes, bits, strict=True) if mask & bit)

    def _token(self, node: int) -> ViewToken:
        token = int(self.tree["token"][node])
        if token in self.ends:
            return ViewToken(text="", ends=True)
        raw = self.text[token]
        text = raw.decode(errors="replace")
        if _UNDECODABLE in text or not raw:  # part of a character, or a special token
            text = raw.hex(" ") or f"#{token}"
        return ViewToken(text=text)
