"""The protocols of a language model whose verdicts can be explored.

`explorer.TreeExplorer(model, grammar, options, encode=...)` binds a model once and
explores batches of prompts; `safebench.testing.TableModel` is the smallest model there
is. A search opens one session a batch, reads the logits of the roots once, and calls
`expand` once a level. It drops each prompt at most once and never returns to it. Only
a batch that is refilled (`explore` with `batch_tokens`) lets sessions `join`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array


class TreeSession(Protocol):
    """A batch of B prompts, prefilled, whose continuations can be explored."""

    def root_logits(self) -> Array:
        """Return the logits after each prompt, (B, V) float32 or float64."""

    def expand(self, rows: Array, parents: Array, tokens: Array) -> Array:
        """Run new tree nodes in one forward pass and return their logits, (Q, V).

        Of each node, (Q,), `rows` is the prompt, ascending, `tokens` the token id and
        `parents` the handle of the node that it follows (-1: the root). Handles number
        the nodes of a session in the order in which they were submitted, from 0 on and
        over all calls.
        """

    def drop(self, rows: Array) -> None:
        """Free the prompts `rows`: none of them will be expanded again."""

    def join(self, other: Any) -> None:
        """Take over the prompts of `other`, a session of the same model.

        Nothing has been expanded there. Its prompts, and the nodes of its draft if it
        has one, are numbered on from those of this one. The logits of its roots have
        been read.
        """


class NextTokenModel(Protocol):
    """A language model that gives next-token logits after prompts and their trees."""

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """The bytes of every token, (V,); those of special tokens are empty.

        V is the width of the logits, so that padded ids have a place, an empty one. An
        empty token that does not end a verdict is off every strict grammar.
        """

    @property
    def eos(self) -> frozenset[int]:
        """The ids of the tokens that end a verdict."""

    @property
    def forward_calls(self) -> int:
        """How many forward passes have been run so far."""

    def open(self, prompts: Sequence[Sequence[int]]) -> TreeSession:
        """Prefill prompts (token ids, one BOS included) and return their session."""


class DraftSession(TreeSession, Protocol):
    """A session whose prompts were prefilled together with a static tree of n nodes."""

    def draft_logits(self) -> Array:
        """Return the logits at the tree's nodes after each prompt, (B, n, V).

        Node j of prompt i has the handle ``i * n + j``; `expand` goes on from there.
        """


@runtime_checkable
class DraftModel(NextTokenModel, Protocol):
    """A model that can also prefill a static tree; others need not have the method."""

    def open_with_draft(
        self, prompts: Sequence[Sequence[int]], parents: Array, tokens: Array
    ) -> DraftSession:
        """Prefill prompts, each with a static tree after it.

        A parent of -1 is the prompt's last token. Siblings do not attend to one
        another; positions count from the end of the prompt by depth.
        """
