"""Sessions of a model, with node handles, and trees that are run ahead with a prompt.

The canonical encodings of all verdicts are known before anything is generated. Run
along with the prompt, as in speculative decoding, they give every level and every first
label in one forward pass. Results stay the same: a drafted node is used where the tree
asks for it, with its own probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from safebench.errors import OptionError

from .model import DraftModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    from .forced_tokens import ForcedContinuations
    from .model import NextTokenModel, TreeSession
    from .vocabulary import Vocabulary


class SpeculativeTree:
    """A static tree of n nodes to be run after every prompt.

    `parents` (n,) come before their children; -1 is the end of the prompt.
    """

    def __init__(self, parents: Array, tokens: Array) -> None:
        self.parents = parents
        self.tokens = tokens
        # (parent, token) as one number: many nodes are found by one sorted search.
        self._width = 1 + int(tokens.max(initial=0))
        self._keys = (parents + 1) * self._width + tokens
        self._order = np.argsort(self._keys)

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def after_opener(
        cls,
        opener: str,
        vocabulary: Vocabulary,
        continuations: ForcedContinuations,
        *,
        at_root: bool = True,
    ) -> Self | None:
        """Return the tree of what is forced after an opener, and `at_root`, too.

        None where the opener cannot be encoded, or is encoded otherwise before a level.
        """
        levels = vocabulary.automaton.grammar.levels
        try:
            opener_tokens = list(vocabulary.encode(opener))
            verdicts = [
                list(vocabulary.encode(opener + level.surface_form)) for level in levels
            ]
        except OptionError:
            return None
        # A tokenizer may merge the end of the opener with the level: the drafted nodes
        # would then not be those that the tree asks for.
        if any(tokens[: len(opener_tokens)] != opener_tokens for tokens in verdicts):
            return None
        tree = _TreeBuilder()
        if at_root and vocabulary.automaton.allows_level[0]:
            tree.graft(-1, *continuations.subtree())
        end = -1
        for token in opener_tokens:
            end = tree.add(end, token)
        tree.graft(end, *continuations.subtree())
        nodes = np.array(list(tree.nodes), dtype=np.int64).reshape(-1, 2)
        return cls(nodes[:, 0], nodes[:, 1])

    def find(self, parents: Array, tokens: Array) -> Array:
        """Return the child of each parent with a token, (Q,); -1: there is none."""
        keys = (parents + 1) * self._width + tokens
        position = np.searchsorted(self._keys, keys, sorter=self._order)
        node = self._order[np.minimum(position, len(self) - 1)]
        same = (self._keys[node] == keys) & (tokens < self._width)
        return np.where(same, node, -1)


class _TreeBuilder:
    """Numbers nodes (parent, token) as they come, each once, parents first."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], int] = {}

    def add(self, parent: int, token: int) -> int:
        """Return the number of a node, new or known."""
        return self.nodes.setdefault((parent, token), len(self.nodes))

    def graft(self, anchor: int, parents: Array, tokens: Array) -> None:
        """Add a tree, whose top nodes have the parent -1, below the node `anchor`."""
        numbers: list[int] = []
        for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True):
            numbers.append(self.add(numbers[parent] if parent >= 0 else anchor, token))


class _DraftBatch(NamedTuple):
    """One run of a draft, after B prompts from `first_row` on; `logits` are (B, n, V).

    Node j after the i-th of them has the handle ``first_handle + i * n + j``.
    """

    first_row: int
    first_handle: int
    logits: Array


class DraftLogits:
    """The logits of a draft after each prompt, a block for every batch that joined."""

    def __init__(self, draft: SpeculativeTree, logits: Array) -> None:
        self._draft = draft
        self._blocks: list[_DraftBatch] = [_DraftBatch(0, 0, logits)]
        self._live = np.array([len(logits)])  # prompts of each block not yet dropped
        self._rows = len(logits)

    @property
    def size(self) -> int:
        """How many nodes were run."""
        return self._rows * len(self._draft)

    def join(self, other: DraftLogits, first_handle: int) -> None:
        """Take over a draft that was run once; its handles start at `first_handle`."""
        (block,) = other._blocks
        self._blocks.append(_DraftBatch(self._rows, first_handle, block.logits))
        self._live = np.concatenate([self._live, other._live])
        self._rows += other._rows

    def drop(self, rows: Array) -> None:
        """Free the logits of blocks whose prompts have all been dropped."""
        dropped = np.bincount(self._block_of(rows), minlength=len(self._blocks))
        self._live = self._live - dropped
        for index in np.nonzero((dropped > 0) & (self._live == 0))[0]:
            block = self._blocks[index]
            self._blocks[index] = block._replace(logits=block.logits[:0])

    def find(self, parents: Array, tokens: Array) -> Array:
        """Return the draft's node after each handle with a token; -1: none."""
        first_handles = np.array([block.first_handle for block in self._blocks])
        block_rows = np.diff(
            [block.first_row for block in self._blocks], append=self._rows
        )
        block = np.searchsorted(first_handles, parents, side="right") - 1
        offset = parents - first_handles[block]
        inside = (parents < 0) | (offset < block_rows[block] * len(self._draft))
        parent_nodes = np.where(parents < 0, -1, offset % len(self._draft))
        return np.where(inside, self._draft.find(parent_nodes, tokens), -1)

    def lookup(self, rows: Array, nodes: Array) -> tuple[Array, Array]:
        """Return logits (Q, V) and handles; they mean nothing where a node is -1."""
        index = self._block_of(rows)
        blocks = [(i, self._blocks[i]) for i in np.unique(index).tolist()]
        offset = rows - np.array([block.first_row for block in self._blocks])[index]
        first_handles = np.array([block.first_handle for block in self._blocks])[index]
        handles = first_handles + offset * len(self._draft) + nodes
        # The usual case, a single batch, needs no copy of the logits.
        (_, first), *others = blocks
        if not others:
            return first.logits[offset, nodes], handles
        logits = first.logits[np.zeros_like(rows), nodes]
        for i, block in blocks:
            inside = index == i
            logits[inside] = block.logits[offset[inside], nodes[inside]]
        return logits, handles

    def _block_of(self, rows: Array) -> Array:
        first_rows = [block.first_row for block in self._blocks]
        index: Array = np.searchsorted(first_rows, rows, side="right") - 1
        return index


class SessionHandles:
    """A session that returns the handles of the nodes that are submitted to it.

    The nodes of a draft were run together with the prompts: they are looked up.
    """

    def __init__(self, session: TreeSession, draft: DraftLogits | None = None) -> None:
        self._session = session
        self._draft = draft
        self._count = draft.size if draft else 0

    def root_logits(self) -> Array:
        """Return the logits after each prompt, (B, V)."""
        return self._session.root_logits()

    def is_drafted(self, parents: Array, tokens: Array) -> Array:
        """Return whether the logits of each node are known already, (Q,)."""
        if self._draft is None:
            return np.zeros(len(parents), dtype=bool)
        return self._draft.find(parents, tokens) >= 0

    def expand(self, rows: Array, parents: Array, tokens: Array) -> tuple[Array, Array]:
        """Return the logits (Q, V) of nodes, and their handles (Q,)."""
        if self._draft is None:
            return self._submit(rows, parents, tokens)
        nodes = self._draft.find(parents, tokens)
        logits, handles = self._draft.lookup(rows, nodes)
        if (undrafted := nodes < 0).any():
            submitted = (rows[undrafted], parents[undrafted], tokens[undrafted])
            logits[undrafted], handles[undrafted] = self._submit(*submitted)
        return logits, handles

    def drop(self, rows: Array) -> None:
        """Free the prompts `rows`."""
        self._session.drop(rows)
        if self._draft is not None:
            self._draft.drop(rows)

    def join(self, other: SessionHandles) -> None:
        """Take over the prompts of another session, numbered on from these."""
        self._session.join(other._session)
        if self._draft is not None and other._draft is not None:
            self._draft.join(other._draft, self._count)
        self._count += other._count

    def _submit(
        self, rows: Array, parents: Array, tokens: Array
    ) -> tuple[Array, Array]:
        handles = self._count + np.arange(len(rows))
        self._count += len(rows)
        return self._session.expand(rows, parents, tokens), handles


def open_session(
    model: NextTokenModel,
    prompts: Sequence[Sequence[int]],
    draft: SpeculativeTree | None,
) -> SessionHandles:
    """Open a session, with a draft if one is given and the model can run it."""
    if draft is None or not isinstance(model, DraftModel):
        return SessionHandles(model.open(prompts))
    session = model.open_with_draft(prompts, draft.parents, draft.tokens)
    return SessionHandles(session, DraftLogits(draft, session.draft_logits()))


def to_host(logits: Any) -> Array:
    """Return logits, which may be a device's tensor, as a float64 array."""
    if hasattr(logits, "cpu"):
        logits = logits.cpu()
    return np.asarray(logits, dtype=np.float64)
