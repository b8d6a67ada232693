"""What the engine asks of a language model, so that any model can drive it.

`explore.Explorer(model, grammar, options, spell=...)` binds a model once and explores
batches of prompts; `testing.table_model.TableModel` is the smallest model there is.
The engine opens one session a batch, asks for `roots` once, then calls `expand` once
a level; it drops every prompt at most once and never asks about it again. Only where a
batch is refilled (a token budget is given to `explore`) does it let sessions `join`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class TreeSession(Protocol):
    """One batch of B prompts, prefilled, whose continuations can be explored."""

    def roots(self) -> Array:
        """Return the logits after each prompt, (B, V) float32 or float64."""

    def expand(self, rows: Array, parents: Array, tokens: Array) -> Array:
        """Run new tree nodes in one forward pass and return their logits, (Q, V).

        `rows` (Q,) prompt of each node, ascending; `tokens` (Q,) its token id;
        `parents` (Q,) the handle of the node it follows, -1 for the root. Handles
        number the nodes of a session in the order in which they were submitted, from
        0 on and over all calls.
        """

    def drop(self, rows: Array) -> None:
        """Free the prompts `rows`: nothing will be asked about them again."""

    def join(self, other: Any) -> None:
        """Take over the prompts of `other`, a session of the same model.

        Nothing has been expanded there. Its prompts, and its draft's nodes if it has
        some, are numbered on from those of this one; the roots are not asked for again.
        """


class NextTokenModel(Protocol):
    """A language model that gives next-token logits at nodes of prompts' trees."""

    @property
    def pieces(self) -> Sequence[bytes]:
        """Return the bytes of every token, (V,); special tokens are empty.

        V is the width of the logits: padded ids have empty pieces too. A token with
        an empty piece that does not end a verdict is off every strict grammar.
        """

    @property
    def eos(self) -> frozenset[int]:
        """Return the ids that end a verdict."""

    @property
    def forward_calls(self) -> int:
        """Return how many forward passes have been run so far."""

    def open(self, prompts: Sequence[Sequence[int]]) -> TreeSession:
        """Prefill prompts (token ids, one BOS included) and return their session."""


class DraftSession(TreeSession, Protocol):
    """A session whose prompts were prefilled together with a static tree of n nodes."""

    def drafted(self) -> Array:
        """Return the logits at the tree's nodes after each prompt, (B, n, V).

        Node j of prompt i has the handle ``i * n + j``; `expand` goes on from there.
        """


@runtime_checkable
class DraftModel(NextTokenModel, Protocol):
    """A model that can also do that; one that cannot need not say so."""

    def open_drafted(
        self, prompts: Sequence[Sequence[int]], parents: Array, tokens: Array
    ) -> DraftSession:
        """Prefill prompts, each followed by the tree; -1 is the prompt's last token.

        Siblings do not see one another; positions count from the prompt's end by depth.
        """
