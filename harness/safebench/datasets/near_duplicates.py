"""Texts that read nearly the same: Jaccard similarity of their character sequences.

Two texts are compared by the sets of all sequences of five letters and digits in them;
case, punctuation and white space do not count. MinHash finds the candidates (Broder,
"On the resemblance and containment of documents", 1997), and each of them is then
compared exactly: no pair is reported that is less alike than asked for, and the chance
to miss one is below `MAX_MISS`.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from safebench.records import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.typing import Array

SEQUENCE = 5  # characters
DEFAULT_SIMILARITY = 0.8  # as Lee et al., "Deduplicating Training Data", 2022
MIN_SIMILARITY = 0.3  # below, the hashes no longer find nearly all pairs
MAX_MISS = 1e-6
_HASHES = 128
_SEED = 20  # any: it decides which of 2^64 hash families is used, in every process
_BLOCK = 4096  # sequences that are hashed at once, so that long texts fit in memory


def near_pairs(
    texts: Sequence[str], members: Sequence[frozenset[int]], similarity: float
) -> Iterator[tuple[int, int, float]]:
    """Yield (i, j, similarity) of texts that are alike and belong to two sets.

    `members` says to which sets each text belongs: two texts that belong to one and
    the same set alone are not compared. `similarity` is from `MIN_SIMILARITY` to 1.
    """
    sequences = [character_sequences(text) for text in texts]
    for i, j in sorted(_candidates(sequences, members, similarity)):
        alike = jaccard(sequences[i], sequences[j])
        if alike >= similarity:
            yield i, j, alike


def fold(text: str) -> str:
    """Return the letters and digits of a text, in lower case."""
    return "".join(filter(str.isalnum, normalise(text).casefold()))


def character_sequences(text: str) -> Array:
    """Return hashes of the sequences in a text, (n,) uint64, sorted and distinct.

    A text that is shorter than a sequence has itself as the only one; one without
    letters and digits is taken as it is.
    """
    import numpy as np

    folded = fold(text) or normalise(text)
    codes = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    codes = codes.astype(np.uint64)
    width = min(SEQUENCE, len(codes))
    if not width:
        return codes
    hashes = np.zeros(len(codes) - width + 1, dtype=np.uint64)
    # a polynomial modulo 2^64: sequences of one hash are one in 10^19
    factor = np.uint64(0x9E3779B97F4A7C15)
    for offset in range(width):
        hashes = hashes * factor + codes[offset : offset + len(hashes)]
    return np.unique(hashes)


def jaccard(left: Array, right: Array) -> float:
    """Return what share of the sequences of either text both have."""
    import numpy as np

    shared = len(np.intersect1d(left, right, assume_unique=True))
    union = len(left) + len(right) - shared
    return shared / union if union else 1.0


def rows_per_band(similarity: float) -> int:
    """Return how many hashes must agree for a candidate: the most that miss none.

    Of n hashes in bands of r, a pair of similarity s agrees in no band with probability
    (1 - s^r)^(n/r) (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4).
    """
    for rows in (8, 4, 2):
        if (1 - similarity**rows) ** (_HASHES // rows) <= MAX_MISS:
            return rows
    return 1


def _candidates(
    sequences: Sequence[Array], members: Sequence[frozenset[int]], similarity: float
) -> set[tuple[int, int]]:
    """Return the pairs of texts that agree in a band of their MinHashes."""
    import numpy as np

    generator = np.random.default_rng(_SEED)
    # odd factors permute the numbers modulo 2^64
    factors = generator.integers(0, 2**63, _HASHES, dtype=np.uint64) * 2 + 1
    summands = generator.integers(0, 2**63, _HASHES, dtype=np.uint64)
    rows = rows_per_band(similarity)
    buckets: dict[tuple[int, bytes], list[int]] = {}
    for position, hashes in enumerate(sequences):
        if len(hashes):
            smallest = _minhashes(hashes, factors, summands)
            for band in range(_HASHES // rows):
                key = smallest[band * rows : (band + 1) * rows].tobytes()
                buckets.setdefault((band, key), []).append(position)
    return {
        (i, j)
        for bucket in buckets.values()
        for i, j in combinations(bucket, 2)
        if len(members[i] | members[j]) > 1
    }


def _minhashes(hashes: Array, factors: Array, summands: Array) -> Array:
    """Return the least value of each of the hash functions, (n hashes,) uint64."""
    import numpy as np

    smallest = np.full(len(factors), np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK, None]
        # the high bits: the low ones of a product depend on low bits alone
        values = (block * factors + summands) >> np.uint64(16)
        smallest = np.minimum(smallest, values.min(axis=0))
    return smallest
