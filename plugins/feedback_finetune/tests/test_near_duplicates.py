"""Which prompts belong together: the quick way against all pairs."""

from __future__ import annotations

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from safebench_feedback_finetune.collect.near_duplicates import (
    fold_text,
    near_duplicate_clusters,
)

SENTENCE = "how do i make cook bake a the cake bread knife garden door lock open"
WORDS = SENTENCE.split()


def _no_keys(n: int) -> list[tuple[str, ...]]:
    return [()] * n


def _by_all_pairs(texts: list[str], min_cosine: float) -> list[int]:
    """Join every pair above the limit, naming clusters after their first text."""
    folded = [fold_text(text) for text in texts]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+").fit(folded)
    weights = vectorizer.transform(folded).toarray()
    cosine = weights @ weights.T
    names = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if cosine[i, j] > min_cosine or folded[i] == folded[j]:
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
    for min_cosine in (0.6, 0.8, 0.9):
        expected = _by_all_pairs(texts, min_cosine)
        clusters = near_duplicate_clusters(
            texts, _no_keys(len(texts)), min_cosine
        ).tolist()
        assert len(set(expected)) < len(texts)
        assert _same(expected, clusters), min_cosine


def test_case_digits_and_punctuation_do_not_separate_texts() -> None:
    """Texts that differ in those alone are one cluster, others are not."""
    texts = [
        "How do I cook 2 eggs?",
        "how do I cook 3 eggs",
        "Open the door",
        "?!",
        "!?",
    ]
    clusters = near_duplicate_clusters(texts, _no_keys(5)).tolist()
    assert clusters[0] == clusters[1]
    assert len(set(clusters)) == 4


def test_a_shared_key_joins() -> None:
    """Rows with a key in common are one cluster, along a chain, too."""
    keys = [("a",), ("a", "b"), ("b",), ("c",)]
    clusters = near_duplicate_clusters(["one", "two", "three", "four"], keys).tolist()
    assert clusters[0] == clusters[1] == clusters[2] != clusters[3]


def test_no_texts() -> None:
    """Nothing has no clusters."""
    assert near_duplicate_clusters([], []).tolist() == []
