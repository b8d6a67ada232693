"""Which prompts say nearly the same: they must not be parted by a split.

Prompts are joined by a shared key (the group of their dataset), by equal text up to
case, digits and punctuation, or by a cosine of TF-IDF weights above a limit, along any
chain of such pairs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    Array = np.ndarray[Any, np.dtype[Any]]
    Edges = tuple[Array, Array]

LIKE = 0.9
_ROWS = 512  # of the product of all with all that are looked at together
_SPLIT: Any = {"token_pattern": r"\S+"}
_NO_WORD = re.compile(r"[\W\d_]+")


def clusters(
    texts: Sequence[str], keys: Sequence[Sequence[Hashable]], like: float = LIKE
) -> Array:
    """Return the number of each text's cluster, (n,); `keys` join what shares one."""
    n = len(texts)
    if not n:
        return np.zeros(0, dtype=np.int64)
    plain = [folded(text) for text in texts]
    same = _shared(
        [[*mine, ("text", text)] for mine, text in zip(keys, plain, strict=True)]
    )
    found = [same, *_alike(plain, like)]
    rows, columns = (np.concatenate(ends) for ends in zip(*found, strict=True))
    graph = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, dtype=np.int64)


def folded(text: str) -> str:
    """Return a text without case, digits and punctuation, unless nothing is left."""
    return _NO_WORD.sub(" ", text.casefold()).strip() or text


def _shared(keys: Sequence[Sequence[Hashable]]) -> Edges:
    """Return an edge from each row to the first one that has a key of it."""
    first: dict[Hashable, int] = {}
    edges = [
        (first.setdefault(key, row), row)
        for row, mine in enumerate(keys)
        for key in mine
    ]
    ends = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


def _alike(texts: Sequence[str], like: float) -> Iterator[Edges]:
    """Yield the pairs of texts whose cosine is above `like`.

    A pair above it must share one of the rarest terms of either: those without which
    the rest of a vector is shorter than `like` (prefix filtering, Bayardo et al. 2007,
    "Scaling up all pairs similarity search"). So only few pairs are compared.
    """
    weights = _weights(texts)
    if weights is None:
        return
    rare = _rarest(weights, like)
    for at in range(0, len(texts), _ROWS):
        pairs = (rare[at : at + _ROWS] @ weights.T).tocoo()
        rows, columns = pairs.row + at, pairs.col
        ahead = rows < columns
        rows, columns = rows[ahead], columns[ahead]
        cosine = np.asarray(
            weights[rows].multiply(weights[columns]).sum(axis=1)
        ).ravel()
        close = cosine > like
        yield rows[close], columns[close]


def _weights(texts: Sequence[str]) -> Any:
    """Return unit rows of TF-IDF, rarest terms first; None if there is no word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(texts):
        return None
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), analyzer="word", **_SPLIT)
    found = vectorizer.fit_transform(texts)
    spread = np.asarray((found > 0).sum(axis=0)).ravel()
    found = sparse.csr_matrix(found)[:, np.argsort(spread, kind="stable")]
    found.sort_indices()
    return found


def _rarest(weights: Any, like: float) -> Any:
    """Return the rows with only the terms before which a rest of `like` is left."""
    squares = weights.data**2
    total = np.concatenate([[0.0], np.cumsum(squares)])
    starts = np.repeat(total[weights.indptr[:-1]], np.diff(weights.indptr))
    before = total[:-1] - starts
    kept = weights.copy()
    kept.data = np.where(before <= 1 - like**2 + 1e-9, weights.data, 0.0)
    kept.eliminate_zeros()
    return kept
