"""The seed's own search for labels, on any model that the engine can drive.

Where its description leaves a choice open: a token that ends the verdict counts as a
child, but matches no label and is not searched further; labels are matched in the
verdict alone, never across the end of the prompt; special tokens decode to themselves.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.engine.session import Numbered, on_host
from safebench.evidence import SeedTree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.engine.protocol import NextTokenModel
    from safebench.engine.vocabulary import Vocabulary

    Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1  # part of the evidence: raise it when recorded values change
SURE = 0.7  # an end of this probability hides the children after it
LAST = 2  # the place of the child at which a node stops if an end is among them


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """The seed's parameters: where a node's children and paths are cut.

    `max_new_tokens` and `eps` bound the search (one token more is said than its number
    says), `top_p` the children of a node, `greedy_tokens` the greedy verdict.
    """

    top_p: float = 0.99
    eps: float = 0.01
    max_new_tokens: int = 20
    greedy_tokens: int = 50


class _Node(NamedTuple):
    """A path that is searched further; `said` is its text, `number` its node's."""

    row: int
    number: int
    handle: int
    mass: float
    said: bytes


class _Tree:
    """The columns of the nodes found so far, over all prompts."""

    def __init__(self, batch: int) -> None:
        self._columns: list[tuple[int, int, int, float, int, bool]] = [
            (row, -1, -1, 1.0, 0, True) for row in range(batch)
        ]

    def add(self, node: _Node, token: int, mass: float, ends: int, wide: bool) -> int:
        """Store a child of `node` and return its number."""
        self._columns.append((node.row, node.number, token, mass, ends, wide))
        return len(self._columns) - 1

    def pack(self, batch: int) -> tuple[dict[str, Array], Array]:
        """Return the columns by sample, and their offsets."""
        row, parent, token, mass, ends, wide = map(
            np.array, zip(*self._columns, strict=True)
        )
        order = np.argsort(row, kind="stable")
        offsets = _offsets(row, batch)
        place = np.empty(len(row), dtype=np.int64)
        place[order] = np.arange(len(row)) - offsets[row[order]]
        within = np.where(parent < 0, -1, place[parent])
        named = {"parent": within, "token": token, "mass": mass}
        named |= {"ends": ends.astype(np.uint64), "expanded": wide}
        return {name: column[order] for name, column in named.items()}, offsets


class SeedSearch:
    """A model bound to a grammar's labels: records what the seed would have seen."""

    def __init__(
        self,
        model: NextTokenModel,
        vocabulary: Vocabulary,
        options: SearchOptions | None = None,
    ) -> None:
        self.options = options or SearchOptions()
        self._model = model
        self._vocabulary = vocabulary
        self._grammar = vocabulary.automaton.grammar
        level = next(level for level in self._grammar.levels if level.takes_labels)
        self._texts = [text.encode() for text in (*self._grammar.labels, level.words)]
        self._forced = level.words + self._grammar.intro + self._grammar.stem
        self._decoded: dict[int, str] = {}

    @property
    def labels(self) -> int:
        """How many labels are searched for."""
        return len(self._grammar.labels)

    @property
    def forward_calls(self) -> int:
        """How many passes the model has run."""
        return self._model.forward_calls

    @property
    def forced_tokens(self) -> list[int]:
        """The words after which the logits of labels are read."""
        return [int(token) for token in self._vocabulary.spell(self._forced)]

    def text(self, tokens: Sequence[int]) -> str:
        """Return what tokens say."""
        said = b"".join(self._vocabulary.pieces[token] for token in tokens)
        return said.decode(errors="replace")

    @property
    def meta(self) -> dict[str, Any]:
        """What is the same for all samples, as JSON values."""
        return {
            "search": VERSION,
            "grammar": self._grammar.to_json(),
            "eos": sorted(self._model.eos),
            **asdict(self.options),
        }

    def record(self, prompts: Sequence[Sequence[int]]) -> SeedTree:
        """Search a batch of prompts (token ids)."""
        batch = len(prompts)
        session = Numbered(self._model.open(prompts))
        nodes, at_nodes = self._search(session, batch)
        path, at_tokens = self._greedy(session, batch)
        return SeedTree(
            {**nodes, **path, "label_logits": self._label_logits(session, batch)},
            offsets={"N": at_nodes, "T": at_tokens},
            meta=self.meta,
            size=batch,
        )

    def _search(self, session: Numbered, batch: int) -> tuple[dict[str, Array], Array]:
        tree, logits = _Tree(batch), session.roots()
        wave = [_Node(row, row, -1, 1.0, b"") for row in range(batch)]
        for depth in range(self.options.max_new_tokens + 1):
            deeper = depth < self.options.max_new_tokens
            found = [
                child
                for node, z in zip(wave, logits, strict=True)
                for child in self._expand(tree, node, z, deeper)
            ]
            if not found:
                break
            rows, parents, tokens = np.array(
                [(node.row, node.handle, token) for node, token in found]
            ).T
            logits, handles = session.expand(rows, parents, tokens)
            wave = [
                node._replace(handle=int(handle))
                for (node, _), handle in zip(found, handles, strict=True)
            ]
        return tree.pack(batch)

    def _expand(
        self, tree: _Tree, node: _Node, logits: Array, deeper: bool
    ) -> Iterator[tuple[_Node, int]]:
        """Store the children of a node; yield those to search, with their tokens."""
        children = self._children(logits)
        plausible = any(token in self._model.eos for token, _ in children)
        for place, (token, p) in enumerate(children):
            ends = token in self._model.eos
            said = node.said + self._vocabulary.pieces[token]
            mass, matched = node.mass * p, 0 if ends else self._matched(said)
            last = (plausible and place == LAST) or (ends and p >= SURE)
            wide = deeper and not (last or ends) and mass >= self.options.eps
            if matched or wide:
                number = tree.add(node, token, mass, matched, wide)
                if wide:
                    yield _Node(node.row, number, node.handle, mass, said), token
            if last:
                return

    def _children(self, logits: Array) -> list[tuple[int, float]]:
        """Return the likeliest tokens up to `top_p`, one for each text.

        Of tokens that decode alike the last counts, in the place of the first.
        """
        p = _softmax(logits)
        # All tokens below this together are less than what top_p leaves out.
        some = np.nonzero(p > (1.0 - self.options.top_p) / len(p))[0]
        some = some[np.argsort(-p[some], kind="stable")]
        count = np.searchsorted(np.cumsum(p[some]), self.options.top_p) + 1
        by_text = {self._decode(int(t)): (int(t), float(p[t])) for t in some[:count]}
        return list(by_text.values())

    def _decode(self, token: int) -> str:
        if token not in self._decoded:
            piece = self._vocabulary.pieces[token]
            text = piece.decode(errors="replace") if piece else f"<{token}>"
            self._decoded[token] = text
        return self._decoded[token]

    def _matched(self, said: bytes) -> int:
        """Return, as bits, which labels a text ends in; the level comes last."""
        return sum(1 << i for i, text in enumerate(self._texts) if said.endswith(text))

    def _greedy(self, session: Numbered, batch: int) -> tuple[dict[str, Array], Array]:
        """Return the tokens of the greedy verdicts, and their offsets."""
        rows, handles = np.arange(batch), np.full(batch, -1)
        logits, said = session.roots(), [b""] * batch
        waves = [tuple(np.empty(0, dtype=np.int64) for _ in range(4))]
        for _ in range(self.options.greedy_tokens):
            tokens = on_host(logits).argmax(axis=1)
            chance = np.array([_softmax(z).max() for z in logits])
            going = ~np.isin(tokens, sorted(self._model.eos))
            rows, handles, tokens = rows[going], handles[going], tokens[going]
            if not len(rows):
                break
            for row, token in zip(rows, tokens, strict=True):
                said[row] += self._vocabulary.pieces[token]
            ends = np.array([self._matched(said[row]) for row in rows])
            waves.append((rows, tokens, chance[going], ends))
            logits, handles = session.expand(rows, handles, tokens)
        owner, *columns = (np.concatenate(parts) for parts in zip(*waves, strict=True))
        order = np.argsort(owner, kind="stable")
        named = zip(("said", "p", "said_ends"), columns, strict=True)
        return {name: column[order] for name, column in named}, _offsets(owner, batch)

    def _label_logits(self, session: Numbered, batch: int) -> Array:
        """Return the logits of labels' second tokens after the forced words, (B, L)."""
        rows, handles, logits = np.arange(batch), np.full(batch, -1), session.roots()
        for token in self.forced_tokens:
            logits, handles = session.expand(rows, handles, np.full(batch, token))
        spelled = [self._vocabulary.spell(label) for label in self._grammar.labels]
        out = np.full((batch, len(spelled)), np.nan)
        for label, (_, *more) in enumerate(spelled):
            if more:
                out[:, label] = on_host(logits[:, more[0]])
        return out


def _softmax(logits: Array) -> Array:
    z = on_host(logits)
    p = np.exp(z - z.max())
    scaled: Array = p / p.sum()
    return scaled


def _offsets(rows: Array, batch: int) -> Array:
    return np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=batch))))
