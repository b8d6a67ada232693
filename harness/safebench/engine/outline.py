"""A stored verdict tree as an outline: its likeliest branches, for people to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .automaton import label_bits
from .cut import Cut
from .forest import ENDED, EXPANDED, GREEDY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.evidence import VerdictTree

    Array = np.ndarray[Any, np.dtype[Any]]
    Pieces = Callable[[Sequence[int]], list[bytes]]

LEAST = 0.005  # probability below which a branch is only counted
MOST = 60
SURE = 0.995  # share from which a child stands on the line of its parent
_BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token of a verdict: its text, or that it ends the verdict."""

    text: str
    ends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One line: tokens that follow each other almost surely.

    `mass` is the probability of the verdict up to and with them, `share` that given
    the line above. `level` and `labels` (policy codes) are what it has said so far.
    Below it, `hidden` continuations of `hidden_mass` were explored and are too
    unlikely to show, and `cut` was not followed at all (neither after the line nor
    between its tokens).
    """

    depth: int
    tokens: tuple[Token, ...]
    mass: float
    share: float
    level: str | None
    labels: tuple[str, ...]
    ended: bool
    greedy: bool
    cut: float
    hidden: int
    hidden_mass: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The lines of one tree in reading order, children after their parents.

    `other` is the probability of all beginnings that are on no line, `open` that of
    which it is not known what the verdict says, `nodes` how many the whole tree has.
    """

    branches: tuple[Branch, ...]
    other: float
    open: float
    nodes: int


def outline(
    tree: VerdictTree, pieces: Pieces, *, least: float = LEAST, most: int = MOST
) -> Outline:
    """Return the likeliest branches of a single tree (B = 1), the likeliest first.

    `pieces` gives the bytes of tokens. At most `most` nodes, of `least` or more.
    """
    assert len(tree) == 1, f"an outline of {len(tree)} trees"
    cut = tree.once(Cut)
    drawn = _Drawn(cut, pieces, _likeliest(cut.mass, least, most))
    branches = tuple(drawn.below(0, 1.0, 0))
    return Outline(
        branches=branches,
        other=max(0.0, 1.0 - sum(b.share for b in branches if b.depth == 0)),
        open=float(cut.gap[0]),
        nodes=len(cut.mass),
    )


def _likeliest(mass: Array, least: float, most: int) -> set[int]:
    """Return the nodes to show; no child is likelier than its parent."""
    order = np.argsort(-mass, kind="stable")[: most + 1]
    return {int(node) for node in order if mass[node] >= least}


class _Drawn:
    """One tree on its way to lines; `shown` are the nodes that get on one."""

    def __init__(self, cut: Cut, pieces: Pieces, shown: set[int]) -> None:
        self.tree, self.mass = cut.tree, cut.mass
        self.grammar = cut.table.grammar
        self.shown = shown
        self.children: dict[int, list[int]] = {}
        for node, parent in enumerate(self.tree["parent"].tolist()):
            self.children.setdefault(parent, []).append(node)
        tokens = [int(self.tree["token"][node]) for node in sorted(shown - {0})]
        self.text = dict(zip(tokens, pieces(tokens), strict=True))
        self.ends = set(self.tree.meta["eos"])

    def below(self, node: int, mass: float, depth: int) -> Iterator[Branch]:
        """Yield the lines under a node of that mass, the likeliest first."""
        for child in self._shown_below(node):
            line, share = [child], float(self.mass[child]) / max(mass, 1e-300)
            while follower := self._sure(line[-1]):
                line.append(follower)
            yield self._branch(line, share, depth)
            yield from self.below(line[-1], float(self.mass[line[-1]]), depth + 1)

    def _shown_below(self, node: int) -> list[int]:
        found = [n for n in self.children.get(node, ()) if n in self.shown]
        return sorted(found, key=lambda n: -self.mass[n])

    def _sure(self, node: int) -> int:
        """Return the child that almost surely follows; 0, the root, for none."""
        for child in self._shown_below(node)[:1]:
            if self.mass[child] >= SURE * self.mass[node]:
                return child
        return 0

    def _branch(self, line: Sequence[int], share: float, depth: int) -> Branch:
        tree, last = self.tree, line[-1]
        level = int(tree["level"][last])
        below = [n for node in line for n in self.children.get(node, ())]
        unseen = [n for n in below if n not in self.shown]
        return Branch(
            depth=depth,
            tokens=tuple(self._token(node) for node in line),
            mass=float(self.mass[last]),
            share=share,
            level=self.grammar.levels[level].name if level >= 0 else None,
            labels=self._labels(last),
            ended=int(tree["status"][last]) == ENDED,
            greedy=bool(tree["flags"][last] & GREEDY),
            cut=sum(map(self._cut, line)),
            hidden=len(unseen),
            hidden_mass=sum(float(self.mass[n]) for n in unseen),
        )

    def _cut(self, node: int) -> float:
        """Return the probability of what follows a node and is not in the tree."""
        if int(self.tree["status"][node]) != EXPANDED:
            return 0.0
        kept = sum(float(self.mass[n]) for n in self.children.get(node, ()))
        return max(0.0, float(self.mass[node]) - kept)

    def _labels(self, node: int) -> tuple[str, ...]:
        said = self.tree["labels_mask"][node]
        names = self.grammar.columns
        bits = label_bits(np.arange(len(names)))
        return tuple(n for n, b in zip(names, bits, strict=True) if said & b)

    def _token(self, node: int) -> Token:
        token = int(self.tree["token"][node])
        if token in self.ends:
            return Token(text="", ends=True)
        raw = self.text[token]
        text = raw.decode(errors="replace")
        if _BROKEN in text or not raw:  # part of a character, or nothing to write
            text = raw.hex(" ") or f"#{token}"
        return Token(text=text)
