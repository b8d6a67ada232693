"""The search that grows verdict trees: one forward pass a level, for all live prompts.

Prompts that do not fit into the batch wait, and are admitted as others finish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .session import open_session
from .stopping import ExpansionStep
from .tree import Nodes, TreeBatch, root_nodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    from .logits import LogitSummarizer
    from .model import NextTokenModel
    from .session import SessionHandles, SpeculativeTree
    from .stopping import ExpansionRule
    from .tree import NodeExpander


class BatchAdmission:
    """Admits N prompts in order, with rows x longest row within `batch_tokens`.

    A batch is refilled once fewer than half of its rows are live: prefilling often, a
    few prompts at a time, would cost more than it gains. Admission depends on lengths
    and on which prompts are live, so that it is reproducible. A prompt that is alone
    may be longer than `batch_tokens` (None: no limit).
    """

    def __init__(self, lengths: Sequence[int], batch_tokens: int | None = None) -> None:
        self._lengths = np.asarray(lengths, dtype=np.int64)
        self._batch_tokens = np.inf if batch_tokens is None else batch_tokens
        self._next = 0
        self._peak_rows = 0  # rows after the last admission

    @property
    def waiting(self) -> bool:
        """Whether there are prompts that have not been admitted."""
        return self._next < len(self._lengths)

    def has_room(self, live: Array) -> bool:
        """Return whether prompts wait and a batch with the prompts `live` has room."""
        return self.waiting and (not len(live) or 2 * len(live) < self._peak_rows)

    def admit(self, live: Array) -> range:
        """Return the prompts to admit beside those that are `live`; may be none."""
        lengths = self._lengths[self._next :]
        longest = np.maximum.accumulate(lengths)
        longest = np.maximum(longest, self._lengths[live].max(initial=0))
        rows = len(live) + 1 + np.arange(len(lengths))
        too_many = np.nonzero(rows * longest > self._batch_tokens)[0]
        count = int(too_many[0]) if len(too_many) else len(lengths)
        if not len(live):
            count = max(
                1, count
            )  # or a prompt longer than the limit would wait forever
        first, self._next = self._next, self._next + count
        self._peak_rows = len(live) + count
        return range(first, self._next)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpansionContext:
    """What a search needs: the model, and what turns its logits into nodes."""

    model: NextTokenModel
    expander: NodeExpander
    summarize: LogitSummarizer
    draft: SpeculativeTree | None
    root_continuation: int
    root_allows_level: bool


class TreeSearch:
    """Grows the trees of prompts, wave by wave, until the rule selects no node.

    `failed` are the prompts whose logits were NaN. With `keep_session` no prompt is
    dropped, so that the session can be used after the search.
    """

    def __init__(
        self, context: ExpansionContext, rule: ExpansionRule, *, keep_session: bool
    ) -> None:
        self.trees = TreeBatch()
        self.failed: set[int] = set()
        self.session: SessionHandles | None = None
        self._context = context
        self._rule = rule
        self._keep_session = keep_session

    def run(
        self, prompts: Sequence[Sequence[int]], admission: BatchAdmission
    ) -> SessionHandles:
        """Grow the trees of one or more prompts; return their session."""
        nodes = root_nodes(0, self._context.root_continuation, allows_level=False)
        while True:
            nodes = self._refill(nodes, prompts, admission)
            assert self.session is not None
            if not len(nodes):
                return self.session
            wave, waiting = _split_due(self.session, nodes)
            logits, handles = self.session.expand(
                wave.row, wave.parent_handle, wave.token
            )
            nodes = self._expand_wave(wave, logits, handles, waiting)

    def _refill(
        self, nodes: Nodes, prompts: Sequence[Sequence[int]], admission: BatchAdmission
    ) -> Nodes:
        """Return the nodes to expand, with those of prompts that are admitted."""
        while admission.waiting and admission.has_room(live := np.unique(nodes.row)):
            admitted = admission.admit(live)
            if not admitted:
                break
            nodes = self._admit([prompts[i] for i in admitted], nodes)
        return nodes

    def _admit(self, prompts: Sequence[Sequence[int]], waiting: Nodes) -> Nodes:
        """Prefill prompts in one pass; return `waiting` and their nodes to expand."""
        context, trees = self._context, self.trees
        session = open_session(context.model, prompts, context.draft)
        logits = session.root_logits()
        if self.session is None:
            self.session = session
        else:
            self.session.join(session)
        numbers = {"row": trees.n_trees, "index": trees.n_nodes}
        roots = root_nodes(
            len(prompts),
            context.root_continuation,
            allows_level=context.root_allows_level,
            **numbers,
        )
        trees.add_roots(roots)
        self._rule.add_roots(roots)
        return self._expand_wave(roots, logits, np.full(len(roots), -1), waiting)

    def _expand_wave(
        self, wave: Nodes, logits: Array, handles: Array, waiting: Nodes
    ) -> Nodes:
        """Add the children of a wave; return `waiting` with the nodes to expand.

        `logits` (Q, V) are those of its nodes. Prompts of which nothing is left to
        expand are dropped.
        """
        expander, session = self._context.expander, self.session
        expected = (len(wave), len(expander.vocabulary))
        assert logits.shape == expected, f"logits {logits.shape}, not {expected}"
        summary = self._context.summarize(
            logits, expander.query(wave), expander.vocabulary
        )
        # NaN in one prompt's logits must not stop the others of its batch.
        self.failed.update(wave.row[summary.invalid].tolist())
        children, remainders = expander.children(
            wave, handles, summary, self.trees.n_nodes
        )
        self.trees.add_expansion(wave, remainders, summary, children)
        nodes = Nodes.concat(
            [waiting, self._rule.select(ExpansionStep(wave, remainders, children))]
        )
        nodes = nodes.select(~np.isin(nodes.row, sorted(self.failed)))
        finished = np.setdiff1d(wave.row, nodes.row)
        if len(finished) and session is not None and not self._keep_session:
            session.drop(finished)
        return nodes


def _split_due(session: SessionHandles, nodes: Nodes) -> tuple[Nodes, Nodes]:
    """Return the nodes to expand now, and those that wait.

    Drafted nodes cost nothing: they come first, so that all that need a forward pass
    share the next one.
    """
    # Sessions require ascending rows; stable, so that results do not depend on ties.
    nodes = nodes.select(np.argsort(nodes.row, kind="stable"))
    drafted = session.is_drafted(nodes.parent_handle, nodes.token)
    due = drafted if drafted.any() else ~drafted
    return nodes.select(due), nodes.select(~due)
