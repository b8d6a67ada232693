"""Which prompts belong together: the quick way against all pairs."""

from __future__ import annotations

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from safebench_feedback_finetune.clusters import clusters, folded

SENTENCE = "how do i make cook bake a the cake bread knife garden door lock open"
WORDS = SENTENCE.split()


def _alone(n: int) -> list[tuple[str, ...]]:
    return [()] * n


def _by_all_pairs(texts: list[str], like: float) -> list[int]:
    """Join every pair above the limit, naming clusters after their first text."""
    plain = [folded(text) for text in texts]
    found = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+").fit(plain)
    weights = found.transform(plain).toarray()
    cosine = weights @ weights.T
    names = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if cosine[i, j] > like or plain[i] == plain[j]:
                old, new = names[i], names[j]
                names = [new if name == old else name for name in names]
    return names


def _same(a: list[int], b: list[int]) -> bool:
    return len(set(a)) == len(set(b)) == len(set(zip(a, b, strict=True)))


def test_clusters_are_those_of_all_pairs() -> None:
    """Looking at rare terms alone joins exactly what comparing all pairs joins."""
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(60):
        words = list(rng.choice(WORDS, size=12))
        texts.append(" ".join(words))
        if rng.random() < 0.5:  # a near twin
            words[int(rng.integers(12))] = str(rng.choice(WORDS))
            texts.append(" ".join(words))
    for like in (0.6, 0.8, 0.9):
        expected = _by_all_pairs(texts, like)
        got = clusters(texts, _alone(len(texts)), like).tolist()
        assert len(set(expected)) < len(texts)
        assert _same(expected, got), like


def test_case_digits_and_punctuation_do_not_part_texts() -> None:
    """Texts that differ in those alone are one cluster, others are not."""
    texts = [
        "How do I cook 2 eggs?",
        "how do I cook 3 eggs",
        "Open the door",
        "?!",
        "!?",
    ]
    got = clusters(texts, _alone(5)).tolist()
    assert got[0] == got[1]
    assert len(set(got)) == 4


def test_a_shared_key_joins() -> None:
    """Rows with a key in common are one cluster, along a chain, too."""
    keys = [("a",), ("a", "b"), ("b",), ("c",)]
    got = clusters(["one", "two", "three", "four"], keys).tolist()
    assert got[0] == got[1] == got[2] != got[3]


def test_no_texts() -> None:
    """Nothing has no clusters."""
    assert clusters([], []).tolist() == []
