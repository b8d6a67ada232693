"""Clusters of near-duplicate texts, which must not be divided by a split.

Two texts are joined by a shared key (the group of their dataset), by equal text up to
case, digits and punctuation, or by a cosine of TF-IDF vectors above a limit. Clusters
are the connected components of these pairs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from safebench.typing import Array

    RowPairs = tuple[Array, Array]

MIN_COSINE = 0.9
_BLOCK_ROWS = 512  # rows of the n x n product in memory at a time
_WHITESPACE_TOKENS: Any = {"token_pattern": r"\S+"}
_NON_LETTERS = re.compile(r"[\W\d_]+")


def near_duplicate_clusters(
    texts: Sequence[str],
    keys: Sequence[Sequence[Hashable]],
    min_cosine: float = MIN_COSINE,
) -> Array:
    """Return the number of each text's cluster, (n,) int64.

    `keys` holds the keys of each text; texts that share a key are joined.
    """
    n = len(texts)
    if not n:
        return np.zeros(0, dtype=np.int64)
    folded = [fold_text(text) for text in texts]
    same = _shared_key_pairs(
        [
            [*text_keys, ("text", text)]
            for text_keys, text in zip(keys, folded, strict=True)
        ]
    )
    pairs = [same, *_similar_pairs(folded, min_cosine)]
    rows, columns = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    graph = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, dtype=np.int64)


def fold_text(text: str) -> str:
    """Return a text without case, digits and punctuation.

    A text of nothing else is returned as it is: two of them are not alike for that.
    """
    return _NON_LETTERS.sub(" ", text.casefold()).strip() or text


def _shared_key_pairs(keys: Sequence[Sequence[Hashable]]) -> RowPairs:
    """Pair each row with the first row that has a key in common with it."""
    first_row: dict[Hashable, int] = {}
    pairs = [
        (first_row.setdefault(key, row), row)
        for row, row_keys in enumerate(keys)
        for key in row_keys
    ]
    ends = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


def _similar_pairs(texts: Sequence[str], min_cosine: float) -> Iterator[RowPairs]:
    """Yield the pairs of texts whose cosine is above `min_cosine`.

    Two vectors with such a cosine share one of the rarest terms of either, those
    without which the rest of the vector is shorter than `min_cosine` (prefix filtering,
    Bayardo et al. 2007, "Scaling up all pairs similarity search"). Only pairs that do
    are compared.
    """
    weights = _tfidf_rows(texts)
    if weights is None:
        return
    rarest = _rarest_terms(weights, min_cosine)
    for start in range(0, len(texts), _BLOCK_ROWS):
        candidates = (rarest[start : start + _BLOCK_ROWS] @ weights.T).tocoo()
        rows, columns = candidates.row + start, candidates.col
        ordered = rows < columns  # each pair once, and no row with itself
        rows, columns = rows[ordered], columns[ordered]
        cosine = np.asarray(
            weights[rows].multiply(weights[columns]).sum(axis=1)
        ).ravel()
        similar = cosine > min_cosine
        yield rows[similar], columns[similar]


def _tfidf_rows(texts: Sequence[str]) -> Any:
    """Return TF-IDF rows (n, terms) of length 1, rarest terms first; None if empty."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(texts):
        return None
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), analyzer="word", **_WHITESPACE_TOKENS
    )
    weights = vectorizer.fit_transform(texts)
    n_texts_with_term = np.asarray((weights > 0).sum(axis=0)).ravel()
    by_rarity = np.argsort(n_texts_with_term, kind="stable")
    weights = sparse.csr_matrix(weights)[:, by_rarity]
    weights.sort_indices()
    return weights


def _rarest_terms(weights: Any, min_cosine: float) -> Any:
    """Return the rows with their rarest terms only.

    A term is kept if, of a vector of length 1, the terms from it on are at least
    `min_cosine` long: the squares before it sum to at most 1 - min_cosine**2.
    """
    squares = weights.data**2
    # Sums within a row, as differences of one cumulative sum over all rows.
    total = np.concatenate([[0.0], np.cumsum(squares)])
    row_starts = np.repeat(total[weights.indptr[:-1]], np.diff(weights.indptr))
    sum_before = total[:-1] - row_starts
    rarest = weights.copy()
    # The tolerance covers rounding of the sums: a term too many costs time only.
    rarest.data = np.where(sum_before <= 1 - min_cosine**2 + 1e-9, weights.data, 0.0)
    rarest.eliminate_zeros()
    return rarest
