"""A session whose nodes are numbered as they are submitted, some of them beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .draft import Drafted
from .protocol import DraftModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .draft import Draft
    from .protocol import NextTokenModel, TreeSession

    Array = np.ndarray[Any, np.dtype[Any]]


class Numbered:
    """Counts what is submitted to a session, so that callers need not know handles.

    Nodes of the draft were run together with the B prompts: they are looked up.
    """

    def __init__(self, session: TreeSession, draft: Drafted | None = None) -> None:
        self._session = session
        self._draft = draft
        self._count = draft.size if draft else 0

    def roots(self) -> Array:
        """Return the logits after each prompt, (B, V)."""
        return self._session.roots()

    def knows(self, parents: Array, tokens: Array) -> Array:
        """Say of each node whether its logits cost no forward pass, (Q,)."""
        if self._draft is None:
            return np.zeros(len(parents), dtype=bool)
        return self._draft.find(parents, tokens) >= 0

    def expand(self, rows: Array, parents: Array, tokens: Array) -> tuple[Array, Array]:
        """Return the logits (Q, V) of nodes, and their handles (Q,)."""
        if self._draft is None:
            return self._submit(rows, parents, tokens)
        place = self._draft.find(parents, tokens)
        logits, handles = self._draft.read(rows, place)
        if (new := place < 0).any():
            asked = (rows[new], parents[new], tokens[new])
            logits[new], handles[new] = self._submit(*asked)
        return logits, handles

    def drop(self, rows: Array) -> None:
        """Free the prompts `rows`."""
        self._session.drop(rows)
        if self._draft is not None:
            self._draft.drop(rows)

    def join(self, other: Numbered) -> None:
        """Take over the prompts of another session; they are numbered on."""
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
    model: NextTokenModel, prompts: Sequence[Sequence[int]], draft: Draft | None
) -> Numbered:
    """Open a session, with a draft if there is one and the model can run it."""
    if draft is None or not isinstance(model, DraftModel):
        return Numbered(model.open(prompts))
    session = model.open_drafted(prompts, draft.parents, draft.tokens)
    return Numbered(session, Drafted(draft, session.drafted()))


def on_host(logits: Any) -> Array:
    """Return logits, which may be a device's tensor, as a float64 array."""
    if hasattr(logits, "cpu"):
        logits = logits.cpu()
    return np.asarray(logits, dtype=np.float64)
